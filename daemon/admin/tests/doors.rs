//! The two doors of the admin room, over real sockets: what each lets in, what each tells, what each may change.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kith_admin::house::{
    Admin, ClientDoor, EvidenceView, Facts, Gate, GroupChange, GroupView, Join, Metrics, NeighbourTotals,
    NeighbourView, Neighbourhood, NextKey, Outcome, PairingError, Parts, Window,
};
use kith_admin::serve;
use kith_fetch::ask::{Answer, AskError, Origin, Question};
use kith_fetch::fetcher::{self, Fetcher};
use kith_model::time::UnixMillis;
use kith_model::trust::Role;
use kith_store::Store;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

struct Nowhere;

impl Origin for Nowhere {
    fn ask(&self, _question: Question) -> BoxFuture<'static, Result<Answer, AskError>> {
        async { Err(AskError::Dns("nowhere".into())) }.boxed()
    }
}

struct OpenGate;

impl Gate for OpenGate {
    fn admits(&self, _peer: SocketAddr, _local: SocketAddr) -> bool {
        true
    }

    fn answers_to(&self, host: &str, _local: IpAddr) -> bool {
        host == "attic"
    }
}

struct ShutGate;

impl Gate for ShutGate {
    fn admits(&self, _peer: SocketAddr, _local: SocketAddr) -> bool {
        false
    }

    fn answers_to(&self, _host: &str, _local: IpAddr) -> bool {
        true
    }
}

struct Requests;

impl ClientDoor for Requests {
    fn requests(&self) -> Vec<(&'static str, u64)> {
        vec![("hit", 3)]
    }
}

/// One paired box; the code it takes is 12345678.
struct Cellar;

fn cellar() -> NeighbourView {
    NeighbourView { name: "cellar".into(), role: "mine", state: "connected", ..NeighbourView::default() }
}

impl Neighbourhood for Cellar {
    fn views(&self) -> Vec<NeighbourView> {
        let evidence = EvidenceView {
            said: "it signed that a file of example.org is another".into(),
            claim: Some("c0ffee".into()),
            signature: "5151".into(),
            ..EvidenceView::default()
        };
        vec![NeighbourView { evidence: Some(Box::new(evidence)), ..cellar() }]
    }

    fn totals(&self) -> NeighbourTotals {
        NeighbourTotals { received_bytes: 7, ..NeighbourTotals::default() }
    }

    fn open_pairing(&self, role: Role) -> BoxFuture<'_, Result<Window, PairingError>> {
        let cellar = NeighbourView { role: role.as_str(), ..cellar() };
        let outcome = async { Outcome::Paired(Box::new(cellar)) }.boxed();
        async { Ok(Window { code: "12345678".into(), open_for: Duration::from_mins(2), outcome }) }.boxed()
    }

    fn join(&self, join: Join) -> BoxFuture<'_, Result<NeighbourView, PairingError>> {
        let cellar = NeighbourView { role: join.role.as_str(), ..cellar() };
        async move { if join.code == "12345678" { Ok(cellar) } else { Err(PairingError::WrongCode) } }.boxed()
    }

    fn unpair<'a>(&'a self, neighbour: &'a str) -> BoxFuture<'a, Result<NeighbourView, PairingError>> {
        async move { if neighbour == "cellar" { Ok(cellar()) } else { Err(PairingError::NotFound) } }.boxed()
    }

    fn group(&self) -> GroupView {
        GroupView { role: Some("mine"), words: None }
    }

    fn change_group(&self, change: GroupChange) -> BoxFuture<'_, Result<GroupView, PairingError>> {
        let view = match change {
            GroupChange::Found(role) => {
                GroupView { role: Some(role.as_str()), words: Some("six words".into()) }
            }
            GroupChange::Join(words, role) if words == "six words" => {
                GroupView { role: Some(role.as_str()), words: None }
            }
            GroupChange::Join(..) => return async { Err(PairingError::Words) }.boxed(),
            GroupChange::Leave => GroupView::default(),
        };
        async { Ok(view) }.boxed()
    }

    fn rotate_key(&self) -> BoxFuture<'_, Result<NextKey, PairingError>> {
        async { Ok(NextKey { node_id: "11ff".into(), key_words: "lusab-babad-gutih-tugad".into() }) }.boxed()
    }
}

struct House {
    directory: tempfile::TempDir,
    port: SocketAddr,
    store: Store,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl House {
    async fn with_gate(gate: Arc<dyn Gate>) -> House {
        let directory = tempfile::tempdir().expect("a directory");
        let config = kith_store::Config {
            dir: directory.path().join("data"),
            bytes_max: 1 << 30,
            reserve_bytes: 0,
            object_bytes_max: 1 << 28,
            cache_bytes: 1 << 20,
        };
        let opened = tokio::task::spawn_blocking(move || Store::open(config, UnixMillis(1))).await;
        let store = opened.expect("no panic").expect("opened");
        let config = fetcher::Config { neighbour_bytes_min: 1 };
        let fetcher = Fetcher::new(store.clone(), Arc::new(Nowhere), Vec::new(), config);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound");
        let facts = Facts {
            name: "attic".into(),
            node_id: "00ff".into(),
            key_words: "two words".into(),
            version: "0.0.0",
            profile: "board",
            started: Instant::now(),
            clients: vec!["127.0.0.1:8480".parse().expect("address")],
            apt: Vec::new(),
            admin: vec![port],
            neighbours: Vec::new(),
            metrics: Metrics::Shown,
        };
        let parts = Parts {
            facts,
            store: store.clone(),
            fetcher,
            neighbourhood: Arc::new(Cellar),
            clients: Arc::new(Requests),
            gate,
        };
        let admin = Admin::new(parts);
        let control = UnixListener::bind(directory.path().join("control.sock")).expect("bound");
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(serve::port(admin.clone(), listener, tasks.clone(), stop.clone()));
        tasks.spawn(serve::control(admin, control, tasks.clone(), stop.clone()));
        House { directory, port, store, tasks, stop }
    }

    async fn open() -> House {
        Self::with_gate(Arc::new(OpenGate)).await
    }

    async fn on_port(&self, request: &str) -> (u16, String) {
        exchange(TcpStream::connect(self.port).await.expect("listening"), request).await
    }

    async fn on_socket(&self, request: &str) -> (u16, String) {
        let path: &Path = self.directory.path();
        exchange(UnixStream::connect(path.join("control.sock")).await.expect("listening"), request).await
    }

    async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.store.close().await;
    }
}

/// Sends `METHOD PATH[\nfield]...[\n\nbody]`; returns status and body.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> (u16, String) {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let (line, fields) = head.split_once('\n').unwrap_or((head, "Host: attic"));
    let fields = fields.replace('\n', "\r\n");
    let text = format!(
        "{line} HTTP/1.1\r\n{fields}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read to the end");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

fn value(body: &str) -> Value {
    serde_json::from_str(body).expect(body)
}

#[tokio::test]
async fn the_port_tells_and_changes_nothing() {
    let house = House::open().await;
    for path in
        ["/healthz", "/metrics", "/api/v1/status", "/api/v1/neighbours", "/api/v1/objects", "/api/v1/jobs"]
    {
        assert_eq!(house.on_port(&format!("GET {path}")).await.0, 200, "{path}");
        assert_eq!(house.on_port(&format!("HEAD {path}")).await, (200, String::new()), "{path}");
    }
    for request in [
        "PUT /api/v1/objects/pin?of=http://e/x",
        "DELETE /api/v1/objects?of=e",
        "POST /api/v1/pairing",
        "POST /api/v1/neighbours\nHost: attic\n\n{}",
        "DELETE /api/v1/neighbours?box=cellar",
        "POST /api/v1/group\nHost: attic\n\n{}",
        "DELETE /api/v1/group",
        "POST /api/v1/identity",
    ] {
        let (status, body) = house.on_port(request).await;
        assert_eq!((status, value(&body)["code"].as_str()), (405, Some("read_only")), "{request}");
    }
    assert_eq!(house.on_port("GET /api/v1/group").await.0, 404);
    assert_eq!(house.on_port("GET /api/v1/pairing").await.0, 404, "nobody but the owner awaits a pairing");
    assert_eq!(house.on_port("GET /").await.0, 404);
    house.close().await;
}

#[tokio::test]
async fn the_status_names_the_box_and_its_ports() {
    let house = House::open().await;
    let status = value(&house.on_port("GET /api/v1/status").await.1);
    assert_eq!(status["name"], "attic");
    assert_eq!(status["clients"], json!(["127.0.0.1:8480"]));
    assert_eq!(status["admin"], json!([house.port.to_string()]));
    assert_eq!((&status["paired"], &status["connected"]), (&json!(1), &json!(1)));
    let text = house.on_port("GET /metrics").await.1;
    for line in ["kith_requests_total{result=\"hit\"} 3", "kith_neighbour_bytes_total{direction=\"in\"} 7"] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_foreign_name_or_source_gets_nothing() {
    let house = House::open().await;
    assert_eq!(house.on_port("GET /healthz\nHost: evil.example").await.0, 421);
    assert_eq!(house.on_port("GET /healthz\nHost: attic:8481").await.0, 200);
    assert_eq!(house.on_port("GET /healthz\nHost: attic\nHost: attic").await.0, 400);
    assert_eq!(house.on_port("GET /healthz\nAccept: */*").await.0, 400);
    house.close().await;
    let house = House::with_gate(Arc::new(ShutGate)).await;
    let mut stream = TcpStream::connect(house.port).await.expect("listening");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{read:?} {answer:?}");
    house.close().await;
}

/// What was signed names a URL: the house sees that there is a proof, and the owner sees all of it.
#[tokio::test]
async fn the_bytes_of_a_signed_lie_are_for_the_owner() {
    let house = House::open().await;
    for (answer, claim) in [
        (house.on_port("GET /api/v1/neighbours\nHost: attic").await, Value::Null),
        (house.on_socket("GET /api/v1/neighbours").await, json!("c0ffee")),
    ] {
        let evidence = &value(&answer.1)["neighbours"][0]["evidence"];
        assert_eq!((&evidence["claim"], &evidence["signature"]), (&claim, &json!("5151")));
    }
    house.close().await;
}

#[tokio::test]
async fn the_owner_changes_the_group_and_the_key_on_the_socket() {
    let house = House::open().await;
    let group = |body| format!("POST /api/v1/group\nHost: attic\n\n{body}");
    let founded = value(&house.on_socket(&group(r#"{"role":"neighbour"}"#)).await.1);
    assert_eq!(founded, json!({"role": "neighbour", "words": "six words"}));
    assert_eq!(value(&house.on_socket("GET /api/v1/group").await.1), json!({"role": "mine"}));
    let joined = house.on_socket(&group(r#"{"words":"six words"}"#)).await;
    assert_eq!((joined.0, value(&joined.1)), (200, json!({"role": "mine"})));
    for wrong in [r#"{"words":"other words"}"#, r#"{"role":"friend"}"#, r#"{"word":"x"}"#, ""] {
        assert_eq!(house.on_socket(&group(wrong)).await.0, 400, "{wrong}");
    }
    assert_eq!(value(&house.on_socket("DELETE /api/v1/group").await.1), json!({"role": null}));
    let next = value(&house.on_socket("POST /api/v1/identity").await.1);
    assert_eq!(next, json!({"node_id": "11ff", "key_words": "lusab-babad-gutih-tugad"}));
    house.close().await;
}

#[tokio::test]
async fn the_owner_pairs_joins_and_unpairs_on_the_socket() {
    let house = House::open().await;
    assert_eq!(value(&house.on_socket("GET /api/v1/pairing").await.1)["state"], "closed");
    let opened = value(&house.on_socket("POST /api/v1/pairing").await.1);
    assert_eq!((&opened["code"], &opened["expires_s"]), (&json!("12345678"), &json!(120)));
    let ended = value(&house.on_socket("GET /api/v1/pairing").await.1);
    assert_eq!((&ended["state"], &ended["neighbour"]["name"]), (&json!("paired"), &json!("cellar")));
    for (code, role, status) in [
        ("12345678", "mine", 200),
        ("87654321", "mine", 403),
        ("1234", "mine", 400),
        ("12345678", "neighbour", 200),
        ("12345678", "stranger", 400),
    ] {
        let body = json!({"box": "cellar", "code": code, "role": role});
        let request = format!("POST /api/v1/neighbours\nHost: attic\n\n{body}");
        let (found, answer) = house.on_socket(&request).await;
        assert_eq!(found, status, "{body}");
        if status == 200 {
            assert_eq!(value(&answer)["role"], role);
        }
    }
    for (body, role) in [("{}", "mine"), ("{\"role\":\"neighbour\"}", "neighbour")] {
        house.on_socket(&format!("POST /api/v1/pairing\nHost: attic\n\n{body}")).await;
        let ended = value(&house.on_socket("GET /api/v1/pairing").await.1);
        assert_eq!(ended["neighbour"]["role"], role);
    }
    assert_eq!(house.on_socket("DELETE /api/v1/neighbours?box=cellar").await.0, 200);
    assert_eq!(house.on_socket("DELETE /api/v1/neighbours?box=shed").await.0, 404);
    house.close().await;
}

#[tokio::test]
async fn orders_about_what_is_not_there_are_told_so() {
    let house = House::open().await;
    let id = "0".repeat(64);
    for (request, status, code) in [
        ("PUT /api/v1/objects/pin?of=http://e/x".to_owned(), 404, "not_stored"),
        (format!("PUT /api/v1/objects/pin?of={id}"), 404, "not_stored"),
        (format!("DELETE /api/v1/objects/pin?of={id}"), 404, "not_stored"),
        ("PUT /api/v1/objects/pin?of=nonsense".to_owned(), 400, "bad_name"),
        ("PUT /api/v1/objects/pin".to_owned(), 400, "bad_request"),
        ("DELETE /api/v1/objects?of=http://e/x".to_owned(), 404, "not_stored"),
        (format!("DELETE /api/v1/objects?of={id}"), 404, "not_stored"),
        ("DELETE /api/v1/objects?of=e.example".to_owned(), 404, "not_stored"),
        ("DELETE /api/v1/objects?of=a%20b".to_owned(), 400, "bad_name"),
        ("PUT /api/v1/status".to_owned(), 405, "read_only"),
        ("PUT /api/v1/nothing".to_owned(), 404, "no_such_path"),
        ("POST /api/v1/neighbours\nHost: attic\n\n{\"box\":1}".to_owned(), 400, "bad_request"),
        (format!("POST /api/v1/neighbours\nHost: attic\n\n{}", "x".repeat(20_000)), 413, "bad_body"),
        ("GET /api/v1/objects?after=zz".to_owned(), 400, "bad_request"),
    ] {
        let (found, body) = house.on_socket(&request).await;
        assert_eq!((found, value(&body)["code"].as_str()), (status, Some(code)), "{request:.80}");
    }
    house.close().await;
}
