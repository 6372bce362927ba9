//! TLS and HTTP/2: only who can prove its name is talked to.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kith_fetch::ask::AskError;
use kith_fetch::source::SourceError;
use kith_model::key::Scheme;
use kith_model::ladder::{Strength, Teller};
use kith_model::range::GroupSpan;
use kith_origin::web::{Config, Web};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::origin::{get, read, read_some, room, room_with};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    fn room(&self) -> Web {
        room_with(Config { extra_roots: vec![self.0.pem().into_bytes()], ..Config::default() })
    }

    fn server(&self, name: &str, alpn: &[&[u8]]) -> rustls::ServerConfig {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate: CertificateDer<'static> = params.signed_by(&key, &self.0).expect("signed").into();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate");
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config
    }
}

struct Server {
    address: SocketAddr,
    sent: Arc<AtomicU64>,
    /// Lets a stream go on.
    go: Arc<Notify>,
    _tasks: JoinSet<()>,
}

const PIECE: usize = 16 * 1024;
const ENDLESS: u64 = 1 << 30;
const DIGEST: &str = "sha-256=:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=:";

impl Server {
    async fn start(config: rustls::ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let sent = Arc::new(AtomicU64::new(0));
        let (counted, go) = (sent.clone(), Arc::new(Notify::new()));
        let waiting = go.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counted, waiting) = (acceptor.clone(), counted.clone(), waiting.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let service = service_fn(move |request| {
                        ready(Ok::<_, Infallible>(answer(&request, counted.clone(), waiting.clone())))
                    });
                    let io = TokioIo::new(stream);
                    if is_h2 {
                        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        let _ = server.serve_connection(io, service).await;
                    } else {
                        let _ =
                            hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                    }
                });
            }
        });
        Self { address, sent, go, _tasks: tasks }
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

fn whole(said: &'static str) -> UnsyncBoxBody<Bytes, h2::Error> {
    Full::from(said).map_err(|never| match never {}).boxed_unsync()
}

fn answer(
    request: &Request<Incoming>,
    sent: Arc<AtomicU64>,
    go: Arc<Notify>,
) -> Response<UnsyncBoxBody<Bytes, h2::Error>> {
    let is_h2 = request.version() == Version::HTTP_2;
    let said = if is_h2 { "by h2" } else { "by h1" };
    let response = Response::builder().header("etag", "\"a\"").header("repr-digest", DIGEST);
    if request.uri().path() == "/endless" {
        let body = stream::iter(0..ENDLESS / PIECE as u64).map(move |_| {
            sent.fetch_add(PIECE as u64, Ordering::Relaxed);
            Ok(Frame::data(Bytes::from_static(&[7; PIECE])))
        });
        let body = UnsyncBoxBody::new(StreamBody::new(body));
        return response.header("content-length", ENDLESS).body(body).expect("a response");
    }
    if request.uri().path() == "/reset" {
        // the whole of it, and then not an end but a reset that claims to be no error
        let reset = async move {
            go.notified().await;
            Err(h2::Error::from(h2::Reason::NO_ERROR))
        };
        let pieces = stream::iter([Ok(Frame::data(Bytes::from_static(b"hello")))]).chain(stream::once(reset));
        return response.body(UnsyncBoxBody::new(StreamBody::new(pieces))).expect("a response");
    }
    if request.uri().path() == "/long-head" {
        let response = response.header("x-long", "x".repeat(33 * 1024));
        return response.body(whole(said)).expect("a response");
    }
    if let Some(range) = request.headers().get("range") {
        assert_eq!(range, "bytes=0-4");
        let response = response.status(206).header("content-range", "bytes 0-4/5");
        return response.body(whole(said)).expect("a response");
    }
    response.body(whole(said)).expect("a response")
}

#[tokio::test]
async fn the_owners_root_is_trusted_and_h2_spoken_where_offered() {
    let authority = Authority::new();
    for (alpn, said) in [(&[&b"h2"[..], b"http/1.1"][..], "by h2"), (&[b"http/1.1"], "by h1"), (&[], "by h1")]
    {
        let server = Server::start(authority.server("127.0.0.1", alpn)).await;
        let answer = get(&authority.room(), &server.url("/")).await.expect("an answer");
        assert_eq!((answer.length, answer.delimited), (Some(5), true));
        assert_eq!(answer.ladder.rungs()[0].teller, Teller::Origin(Scheme::Https));
        assert_eq!(answer.ladder.anchor(), Strength::Strong);
        assert_eq!(read(answer).await.0, said.as_bytes());
    }
}

#[tokio::test]
async fn further_lanes_have_connections_of_their_own_by_http_1() {
    let authority = Authority::new();
    let server = Server::start(authority.server("127.0.0.1", &[b"h2", b"http/1.1"])).await;
    let answer = get(&authority.room(), &server.url("/")).await.expect("an answer");
    let source = answer.source.expect("a source");
    let mut lane = source.open(GroupSpan::clamped(0, 1)).await.expect("a lane");
    let run = lane.next().await.expect("no error").expect("a run");
    assert_eq!(&run.bytes()[..], b"by h1");
}

#[tokio::test]
async fn who_cannot_prove_its_name_is_not_talked_to() {
    let authority = Authority::new();
    let other_name = Server::start(authority.server("127.0.0.9", &[])).await;
    let outcome = get(&authority.room(), &other_name.url("/")).await;
    assert!(matches!(outcome, Err(AskError::Tls(..))), "{:?}", outcome.err());

    let unknown = Server::start(Authority::new().server("127.0.0.1", &[])).await;
    for web in [authority.room(), room()] {
        let outcome = get(&web, &unknown.url("/")).await;
        assert!(matches!(outcome, Err(AskError::Tls(..))), "{:?}", outcome.err());
    }
}

#[tokio::test]
async fn a_cut_resets_the_stream_within_a_mebibyte_and_keeps_the_connection() {
    let authority = Authority::new();
    let server = Server::start(authority.server("127.0.0.1", &[b"h2"])).await;
    let web = authority.room();
    let mut answer = get(&web, &server.url("/endless")).await.expect("an answer");
    let taken: u64 = read_some(&mut answer, 256 * 1024).await.iter().map(|piece| piece.len() as u64).sum();
    drop(answer);
    let answer = get(&web, &server.url("/")).await.expect("an answer");
    assert_eq!(read(answer).await.0, b"by h2");
    // the window, and what the server's library had taken from the body but not sent
    let wasted = server.sent.load(Ordering::Relaxed) - taken;
    assert!(wasted <= 1024 * 1024 + 512 * 1024, "{wasted} bytes wasted");
}

#[tokio::test]
async fn a_stream_that_was_reset_is_not_whole() {
    let authority = Authority::new();
    let server = Server::start(authority.server("127.0.0.1", &[b"h2"])).await;
    let mut answer = get(&authority.room(), &server.url("/reset")).await.expect("a head");
    read_some(&mut answer, 5).await;
    server.go.notify_one();
    let (_, end) = read(answer).await;
    assert!(matches!(end, Err(SourceError::BrokeOff(_))), "{end:?}");
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused_by_h2_too() {
    let authority = Authority::new();
    let server = Server::start(authority.server("127.0.0.1", &[b"h2"])).await;
    let outcome = get(&authority.room(), &server.url("/long-head")).await;
    assert!(matches!(outcome, Err(AskError::Nonsense(..))), "{:?}", outcome.err());
}
