//! A gateway with a scripted site behind it.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kith_fetch::ask::{Answer, AskError, Origin, Question};
use kith_fetch::fetcher::{Config as FetchConfig, Fetcher};
use kith_fetch::relay::{self, Duplex, Relay, Relayed};
use kith_fetch::source::{ByteStream, SourceError};
use kith_gateway::{Allow, Config, Connect, Gateway, Touch};
use kith_model::key::Target;
use kith_model::ladder::Ladder;
use kith_model::representation::Head;
use kith_model::signature::Signature;
use kith_model::time::UnixMillis;
use kith_store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

pub(crate) fn sample(length: usize) -> Bytes {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 11).to_le_bytes()[0]).collect()
}

/// What the site does with the next question.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) status: StatusCode,
    pub(crate) fields: Vec<(&'static str, &'static str)>,
    pub(crate) body: Bytes,
    /// It ends its body with an error after so many bytes.
    pub(crate) breaks_after: Option<u64>,
    /// It does not say how long its body is.
    pub(crate) length_told: bool,
    pub(crate) trouble: Option<fn() -> AskError>,
}

impl Site {
    /// A file that stays fresh for an hour.
    pub(crate) fn serving(body: Bytes) -> Self {
        Self {
            status: StatusCode::OK,
            fields: vec![
                ("etag", "\"one\""),
                ("cache-control", "max-age=3600"),
                ("content-type", "text/html"),
            ],
            body,
            breaks_after: None,
            length_told: true,
            trouble: None,
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.retain(|(other, _)| *other != name);
        self.fields.push((name, value));
        self
    }
}

pub(crate) struct ScriptedOrigin {
    pub(crate) site: Mutex<Site>,
    pub(crate) questions: Mutex<Vec<Question>>,
    asked: Semaphore,
    pub(crate) sent: Arc<AtomicU64>,
    /// Pieces that may still be sent.
    pub(crate) pieces: Arc<Semaphore>,
}

impl ScriptedOrigin {
    fn answer(&self, question: &Question) -> Result<Answer, AskError> {
        self.questions.lock().expect("lock").push(question.clone());
        self.asked.add_permits(1);
        let site = self.site.lock().expect("lock").clone();
        if let Some(trouble) = site.trouble {
            return Err(trouble());
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &site.fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let length = site.body.len() as u64;
        let ok = site.status == StatusCode::OK;
        let known = question.headers.get("if-none-match").is_some_and(|tag| headers.get("etag") == Some(tag));
        let part = question.part.as_ref().filter(|_| ok);
        let (status, start, end) = match part {
            _ if known && ok => (StatusCode::NOT_MODIFIED, 0, 0),
            Some(part) => (StatusCode::PARTIAL_CONTENT, part.start, part.end.unwrap_or(length).min(length)),
            None => (site.status, 0, length),
        };
        let body = self.stream(&site, start, end);
        let told = site.length_told.then_some(length);
        Ok(Answer {
            hops: Vec::new(),
            target: question.target.clone(),
            head: Head { status, headers, requested_at: now(), received_at: now() },
            start,
            end: site.length_told.then_some(end),
            length: told,
            delimited: true,
            ladder: Ladder::default(),
            body,
            source: None,
        })
    }

    fn stream(&self, site: &Site, start: u64, end: u64) -> ByteStream {
        const PIECE: u64 = 64 * 1024;
        let breaks_at = site.breaks_after.map(|after| start + after);
        let (body, sent, pieces) = (site.body.clone(), Arc::clone(&self.sent), Arc::clone(&self.pieces));
        stream::unfold(start, move |at| {
            let (body, sent, pieces) = (body.clone(), Arc::clone(&sent), Arc::clone(&pieces));
            async move {
                if at >= end {
                    return None;
                }
                if breaks_at.is_some_and(|breaks_at| at >= breaks_at) {
                    return Some((Err(SourceError::BrokeOff("cut".into())), end));
                }
                pieces.acquire().await.expect("never closed").forget();
                let to = (at + PIECE).min(end);
                sent.fetch_add(to - at, SeqCst);
                let range = usize::try_from(at).expect("small")..usize::try_from(to).expect("small");
                Some((Ok(body.slice(range)), to))
            }
        })
        .boxed()
    }
}

struct Asked(Arc<ScriptedOrigin>);

impl Origin for Asked {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Answer, AskError>> {
        let origin = Arc::clone(&self.0);
        async move { origin.answer(&question) }.boxed()
    }
}

/// What passes by the store is shown with real origins; here nobody is reached.
impl Relay for Asked {
    fn relay(&self, request: Relayed) -> BoxFuture<'static, Result<relay::Reply, AskError>> {
        async move { Err(AskError::Connect(request.target.authority(), None)) }.boxed()
    }

    fn tunnel(&self, host: String, _: u16) -> BoxFuture<'static, Result<Box<dyn Duplex>, AskError>> {
        async move { Err(AskError::Connect(host, None)) }.boxed()
    }
}

pub(crate) fn now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    UnixMillis(u64::try_from(since.as_millis()).expect("fits"))
}

pub(crate) struct House {
    _dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) origin: Arc<ScriptedOrigin>,
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
}

impl House {
    pub(crate) fn start(site: Site) -> Self {
        Self::start_with(site, |_| {})
    }

    pub(crate) fn start_with(site: Site, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(site, change, |_| {})
    }

    /// Listens only where apt looks for a proxy.
    pub(crate) fn start_for_apt(site: Site) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        Self::start_at(listener, site, |config| config.apt_ports = vec![port], |_| {})
    }

    pub(crate) fn start_on(
        site: Site,
        change: impl FnOnce(&mut Config),
        change_shelf: impl FnOnce(&mut kith_store::Config),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self::start_at(listener, site, change, change_shelf)
    }

    fn start_at(
        listener: TcpListener,
        site: Site,
        change: impl FnOnce(&mut Config),
        change_shelf: impl FnOnce(&mut kith_store::Config),
    ) -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        let mut shelf = kith_store::Config {
            dir: dir.path().to_owned(),
            bytes_max: 1 << 32,
            reserve_bytes: 0,
            object_bytes_max: 1 << 31,
            cache_bytes: 1 << 20,
        };
        change_shelf(&mut shelf);
        let store = Store::open(shelf, now()).expect("a fresh store");
        let origin = Arc::new(ScriptedOrigin {
            site: Mutex::new(site),
            questions: Mutex::default(),
            asked: Semaphore::new(0),
            sent: Arc::default(),
            pieces: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        });
        let asked = Arc::new(Asked(Arc::clone(&origin)));
        let fetcher =
            Fetcher::new(store.clone(), asked.clone(), vec![], FetchConfig { neighbour_bytes_min: 1 << 20 });
        let address = listener.local_addr().expect("bound");
        let mut config = Config {
            name: "attic".to_owned(),
            version: "0.0.0".to_owned(),
            node_id: "00".to_owned(),
            hosts: vec![],
            allow: vec![Allow::Lan],
            interfaces: vec![],
            connections_max: 128,
            connections_per_address_max: 32,
            touch: Touch::Downloads,
            apt_ports: vec![],
            connect: Connect::Off,
            signature: Signature::new("k7"),
        };
        change(&mut config);
        let gateway = Gateway::start(config, vec![listener], fetcher, asked).expect("it starts");
        Self { _dir: dir, store, origin, gateway, address }
    }

    pub(crate) fn change_site(&self, change: impl FnOnce(&mut Site)) {
        change(&mut self.origin.site.lock().expect("lock"));
    }

    pub(crate) fn questions(&self) -> usize {
        self.origin.questions.lock().expect("lock").len()
    }

    /// Waits until the origin was asked once more than it was waited for so far.
    pub(crate) async fn asked(&self) {
        self.origin.asked.acquire().await.expect("never closed").forget();
    }

    pub(crate) fn count(&self, result: &str) -> u64 {
        self.gateway.counters().requests().find(|(label, _)| *label == result).expect("a known label").1
    }

    /// Waits until something is on the shelf for the URL.
    pub(crate) async fn stored(&self, url: &str) {
        let target = Target::parse(url).expect("a URL");
        let mut changes = self.store.changes();
        while self.store.representations(&target).expect("the index is fine").is_empty() {
            changes.changed().await.expect("the store is open");
        }
    }

    /// Fetches by prefix, on a connection of its own.
    pub(crate) async fn get(&self, url: &str, fields: &str) -> Reply {
        self.say(&format!("GET /{url} HTTP/1.1\r\nHost: attic\r\nConnection: close\r\n{fields}\r\n")).await
    }

    /// Says something and hears all of the answer.
    pub(crate) async fn say(&self, request: &str) -> Reply {
        Reply::parse(&self.say_bytes(request.as_bytes()).await)
    }

    pub(crate) async fn say_bytes(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(request).await.expect("it reads");
        let mut heard = Vec::new();
        // A cut connection may end with a reset.
        let _ = stream.read_to_end(&mut heard).await;
        heard
    }
}

/// One answer, taken apart by hand.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
    /// What came behind a complete answer.
    pub(crate) rest: Vec<u8>,
    pub(crate) complete: bool,
}

impl Reply {
    pub(crate) fn parse(heard: &[u8]) -> Self {
        let end = heard.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head") + 4;
        let head = String::from_utf8(heard[..end].to_vec()).expect("a head of ASCII");
        let status = head[9..12].parse().expect("a status");
        let mut reply = Self { status, head, body: Vec::new(), rest: Vec::new(), complete: true };
        let content = &heard[end..];
        if let Some(length) = reply.field("content-length").filter(|_| status != 304) {
            let length = length.parse::<usize>().expect("a number");
            reply.complete = content.len() >= length;
            let (body, rest) = content.split_at(length.min(content.len()));
            (reply.body, reply.rest) = (body.to_vec(), rest.to_vec());
        } else if reply.field("transfer-encoding").is_some() {
            reply.unchunk(content);
        }
        reply
    }

    fn unchunk(&mut self, mut content: &[u8]) {
        loop {
            let Some(line) = content.windows(2).position(|two| two == b"\r\n") else {
                self.complete = false;
                return;
            };
            let size = std::str::from_utf8(&content[..line]).expect("hex");
            let size = usize::from_str_radix(size, 16).expect("hex");
            content = &content[line + 2..];
            if size == 0 {
                self.rest = content[2..].to_vec();
                return;
            }
            if content.len() < size + 2 {
                self.complete = false;
                return;
            }
            self.body.extend_from_slice(&content[..size]);
            content = &content[size + 2..];
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}
