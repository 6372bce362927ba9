//! Connections and single exchanges: one request out, one checked head and its content back.
//!
//! Owns the pools, the roots of trust, the time-outs, and the count of exchanges with each host. Follows no redirect
//! and draws no conclusion from a status.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::rt::TokioTimer;
use kith_fetch::ask::{AskError, Part, Verb};
use kith_model::key::Target;
use kith_model::limits::{
    INTERIM_ANSWERS_MAX, ORIGIN_CONNECT_TIMEOUT, ORIGIN_CONNECTION_WINDOW_BYTES, ORIGIN_FIRST_BYTE_TIMEOUT,
    ORIGIN_IDLE_TIMEOUT, ORIGIN_READ_BUFFER_BYTES, ORIGIN_STREAM_WINDOW_BYTES, RESPONSE_HEADERS_BYTES_MAX,
    RESPONSE_HEADERS_COUNT_MAX,
};
use kith_model::time::UnixMillis;
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tower_service::Service as _;

use crate::content::Content;
use crate::dial::{Connector, DialError, Dialer, Stream, innermost};
use crate::request;
use crate::strict::{Asked, Framing, end_to_end, framing};
use crate::tasks::Tasks;

type Pool = legacy::Client<Connector, Empty<Bytes>>;

/// Roots that cannot be used. The owner's fault.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// Not PEM.
    #[error("a file of certificates is not PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// No certificate in it.
    #[error("a file of certificates holds none")]
    Empty,
    /// No certificate that can sign others.
    #[error("a certificate cannot be a root: {0}")]
    Certificate(#[source] rustls::Error),
    /// The TLS library cannot be set up.
    #[error("no TLS: {0}")]
    Tls(#[source] rustls::Error),
}

/// Which connection may carry an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Any, also a shared one.
    Shared,
    /// One of its own: parallel ranges over one HTTP/2 connection are no faster than one of them.
    Own,
}

/// One request to one target.
pub(crate) struct Call<'a> {
    pub(crate) target: &'a Target,
    pub(crate) verb: Verb,
    /// Complete but for the range.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) part: Option<&'a Part>,
    pub(crate) way: Way,
}

/// The answer to it.
pub(crate) struct Exchange {
    pub(crate) status: StatusCode,
    /// End-to-end fields only.
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    pub(crate) requested_at: UnixMillis,
    pub(crate) received_at: UnixMillis,
    pub(crate) content: Content,
}

/// Makes exchanges.
pub(crate) struct Client {
    shared: Pool,
    own: Pool,
    /// For exchanges that share nothing.
    connector: Connector,
    dialer: Dialer,
    hosts: Arc<Hosts>,
    tasks: Tasks,
}

impl Client {
    pub(crate) fn new(
        dialer: &Dialer,
        extra_roots: &[Vec<u8>],
        idle_per_host_max: usize,
        tasks: Tasks,
    ) -> Result<Self, RootsError> {
        let tls = tls(extra_roots)?;
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http();
        let shared = Connector(builder.enable_http1().enable_http2().wrap_connector(dialer.clone()));
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let own = Connector(builder.enable_http1().wrap_connector(dialer.clone()));
        let pools = pools(idle_per_host_max, &tasks);
        Ok(Self {
            shared: pools.build(shared),
            own: pools.build(own.clone()),
            connector: own,
            dialer: dialer.clone(),
            hosts: Arc::default(),
            tasks,
        })
    }

    /// A new connection to the host of `target`, HTTP/1.1 only, vetted as all are.
    ///
    /// # Cancel safety
    /// Dropping the future gives up.
    pub(crate) async fn connect(&self, target: &Target) -> Result<Stream, AskError> {
        let uri = uri_of(target).ok_or_else(|| unreadable(target))?;
        self.connector.clone().call(uri).await.map_err(|error| fault(target.authority(), &error))
    }

    /// A plain connection for a tunnel, vetted as all are.
    ///
    /// # Cancel safety
    /// Dropping the future gives up.
    pub(crate) async fn connect_plainly(&self, host: &str, port: u16) -> Result<TcpStream, AskError> {
        let dialled = timeout(ORIGIN_CONNECT_TIMEOUT, self.dialer.dial(host, port)).await;
        let dialled = dialled.unwrap_or_else(|elapsed| Err(DialError::Connect(elapsed.into())));
        dialled.map_err(|error| fault(host.to_owned(), &error))
    }

    /// Takes a place among the exchanges with the host of `target`, however many there are.
    pub(crate) fn place(&self, target: &Target) -> Place {
        Hosts::enter(&self.hosts, target)
    }

    /// As [`Self::place`], while there are fewer than `most`.
    pub(crate) fn spare_place(&self, target: &Target, most: usize) -> Option<Place> {
        Hosts::enter_below(&self.hosts, target, most)
    }

    /// Sends one request and waits for the head of its answer.
    ///
    /// # Cancel safety
    /// Dropping the future drops the exchange.
    pub(crate) async fn exchange(&self, call: Call<'_>, place: Place) -> Result<Exchange, AskError> {
        let mut headers = call.headers.clone();
        if let Some(part) = call.part {
            request::ask_for(part, &mut headers);
        }
        let asked = Asked::new(call.verb, call.part.cloned(), &headers);
        let requested_at = now();
        let response = self.send(&call, headers).await?;
        let (head, incoming) = response.into_parts();
        let nonsense = |reason| AskError::Nonsense(call.target.authority(), reason);
        let framing = framing(&asked, head.version, head.status, &head.headers).map_err(nonsense)?;
        let count = framing.end.map(|end| end - framing.start);
        Ok(Exchange {
            status: head.status,
            headers: end_to_end(&head.headers),
            framing,
            requested_at,
            received_at: now(),
            content: Content::new(incoming, count, head.version, place, self.tasks.clone()),
        })
    }

    /// A connection that was kept may have been closed by the origin just when the request went out. A GET may be
    /// sent again then (RFC 9110 section 9.2.2), once.
    async fn send(&self, call: &Call<'_>, headers: HeaderMap) -> Result<Response<Incoming>, AskError> {
        match self.try_send(call, headers.clone()).await? {
            Ok(response) => Ok(response),
            Err(error) if may_be_stale(&error) => match self.try_send(call, headers).await? {
                Ok(response) => Ok(response),
                Err(error) => Err(fault(call.target.authority(), &error)),
            },
            Err(error) => Err(fault(call.target.authority(), &error)),
        }
    }

    async fn try_send(
        &self,
        call: &Call<'_>,
        headers: HeaderMap,
    ) -> Result<Result<Response<Incoming>, legacy::Error>, AskError> {
        let uri = uri_of(call.target).ok_or_else(|| unreadable(call.target))?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        if call.verb == Verb::Head {
            *request.method_mut() = Method::HEAD;
        }
        *request.headers_mut() = headers;
        let patience = Interim::count(&mut request, || {});
        let pool = match call.way {
            Way::Shared => &self.shared,
            Way::Own => &self.own,
        };
        let answered = timeout(ORIGIN_CONNECT_TIMEOUT + ORIGIN_FIRST_BYTE_TIMEOUT, pool.request(request));
        tokio::select! {
            // Too many are too many, also when the answer stands right behind them.
            biased;
            () = patience.exhausted() => Err(chatter(call.target)),
            answered = answered => answered.map_err(|_| AskError::Timeout(call.target.authority())),
        }
    }
}

pub(crate) fn unreadable(target: &Target) -> AskError {
    AskError::Nonsense(target.authority(), "its name is no host of HTTP")
}

/// An origin that says "wait" and nothing else.
pub(crate) fn chatter(target: &Target) -> AskError {
    AskError::Nonsense(target.authority(), "it sent interim answers without end")
}

/// Counts the interim answers (1xx) to one request, which the library skips without a bound.
pub(crate) struct Interim(Arc<Notify>);

impl Interim {
    /// Counts those to `request`; `on_continue` is called at each 100.
    pub(crate) fn count<B>(request: &mut Request<B>, on_continue: impl Fn() + Send + Sync + 'static) -> Self {
        let full = Arc::new(Notify::new());
        let (seen, notify) = (AtomicUsize::new(0), full.clone());
        hyper::ext::on_informational(request, move |answer| {
            if answer.status() == StatusCode::CONTINUE {
                on_continue();
            }
            if seen.fetch_add(1, Relaxed) >= INTERIM_ANSWERS_MAX {
                notify.notify_one();
            }
        });
        Self(full)
    }

    /// Ready when there were more than [`INTERIM_ANSWERS_MAX`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn exhausted(&self) {
        self.0.notified().await;
    }
}

/// The target as the HTTP library reads URLs. Nothing when it reads another host, port or path out of it than we do:
/// what is vetted, dialled, asked for and filed must be one and the same.
pub(crate) fn uri_of(target: &Target) -> Option<Uri> {
    let uri: Uri = target.as_str().parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or_else(|| target.scheme().default_port());
    let is_same = host == target.host()
        && port == target.port()
        && uri.scheme_str() == Some(target.scheme().as_str())
        && uri.path_and_query().is_some_and(|path| path.as_str() == target.path_and_query());
    is_same.then_some(uri)
}

fn pools(idle_per_host_max: usize, tasks: &Tasks) -> legacy::Builder {
    let mut builder = legacy::Client::builder(tasks.clone());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(ORIGIN_IDLE_TIMEOUT)
        .pool_max_idle_per_host(idle_per_host_max)
        .http1_max_buf_size(ORIGIN_READ_BUFFER_BYTES)
        // one more than allowed, so that it is our own check that names the reason
        .http1_max_headers(RESPONSE_HEADERS_COUNT_MAX + 1)
        .http2_initial_stream_window_size(ORIGIN_STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(ORIGIN_CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(u32::try_from(RESPONSE_HEADERS_BYTES_MAX * 2).unwrap_or(u32::MAX))
        .http2_keep_alive_interval(ORIGIN_CONNECT_TIMEOUT * 2)
        .http2_keep_alive_timeout(ORIGIN_CONNECT_TIMEOUT);
    builder
}

/// The system's roots, or the ones built in where the system has none, and the owner's further ones.
fn tls(extra_roots: &[Vec<u8>]) -> Result<ClientConfig, RootsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for pem in extra_roots {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate?).map_err(RootsError::Certificate)?;
        }
        if roots.len() == before {
            return Err(RootsError::Empty);
        }
    }
    let provider = CryptoProvider { key_provider: &NoKeys, ..rustls::crypto::ring::default_provider() };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(RootsError::Tls)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A website is shown no key. The library's own reader of all kinds of private keys would come along for nothing.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("websites are shown no key".to_owned()))
    }
}

/// What the library's error means, and whose fault it is.
pub(crate) fn fault(host: String, error: &(dyn std::error::Error + 'static)) -> AskError {
    if let Some(dial) = cause::<DialError>(error) {
        return match dial {
            DialError::Denied(_) => AskError::Denied(host),
            DialError::Dns(_) => AskError::Dns(host),
            DialError::Connect(error) => {
                AskError::Connect(host, Some(std::io::Error::new(error.kind(), error.to_string())))
            }
            DialError::Tls(reason) => AskError::Tls(host, reason.clone()),
        };
    }
    match cause::<hyper::Error>(error) {
        Some(error) if error.is_parse_too_large() => {
            AskError::Nonsense(host, "its fields are too long or too many")
        }
        Some(error) if error.is_parse() => AskError::Nonsense(host, "its head is not HTTP"),
        Some(error) if error.is_incomplete_message() => {
            AskError::Nonsense(host, "it closed the connection before its head was there")
        }
        _ => AskError::Connect(host, Some(std::io::Error::other(innermost(error)))),
    }
}

/// Whether the connection ended before anything was said.
fn may_be_stale(error: &legacy::Error) -> bool {
    let closed = cause::<hyper::Error>(error)
        .is_some_and(|error| error.is_incomplete_message() || error.is_canceled() || error.is_closed());
    let reset = cause::<std::io::Error>(error).is_some_and(|error| {
        matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
    });
    !error.is_connect() && (closed || reset)
}

fn cause<'a, E: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// How many exchanges go on with each host. Holds a row only while there are some, so it is bounded by them.
#[derive(Debug, Default)]
struct Hosts(Mutex<HashMap<String, usize>>);

impl Hosts {
    fn enter(hosts: &Arc<Self>, target: &Target) -> Place {
        let host = target.authority();
        *hosts.0.lock().unwrap_or_else(PoisonError::into_inner).entry(host.clone()).or_default() += 1;
        Place { hosts: hosts.clone(), host }
    }

    fn enter_below(hosts: &Arc<Self>, target: &Target, most: usize) -> Option<Place> {
        let place = Self::enter(hosts, target);
        let rows = hosts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = rows.get(&place.host).is_some_and(|count| *count <= most);
        // Leaving takes the lock as well.
        drop(rows);
        is_free.then_some(place)
    }
}

/// One exchange with a host; gone when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    hosts: Arc<Hosts>,
    host: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut hosts = self.hosts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = hosts.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                hosts.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_and_odd_urls_are_read_alike() {
        for url in [
            "http://example.org",
            "https://example.org:8443/a%20b/?c=d&e=%22",
            "http://[2001:db8::1]:8080/x?",
            "http://b\u{fc}cher.example/\u{fc}",
            "http://under_score.example/a;b=c/(d)/[e]/{f}/|g^h`i?q={}|^`[]'",
            "http://example.org/a\\b//c/../d",
            "http://0x7f.1/",
        ] {
            let target = Target::parse(url).expect(url);
            assert!(uri_of(&target).is_some(), "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_url_is_read_in_two_ways(rest in "[a-z0-9.:/?#@%\\[\\]\\\\!$&'()*+,;=_~|^`{}<>\"-]{1,40}") {
            if let Ok(target) = Target::parse(&format!("http://{rest}"))
                && let Some(uri) = uri_of(&target)
            {
                prop_assert_eq!(uri.authority().map(ToString::to_string), Some(target.authority()));
            }
        }
    }

    #[test]
    fn a_host_is_remembered_only_while_it_is_talked_to() {
        let hosts = Arc::new(Hosts::default());
        let target = Target::parse("http://example.org/a").expect("a target");
        let places = [Hosts::enter(&hosts, &target), Hosts::enter(&hosts, &target)];
        assert!(Hosts::enter_below(&hosts, &target, 2).is_none());
        assert!(Hosts::enter_below(&hosts, &target, 3).is_some());
        drop(places);
        assert!(hosts.0.lock().expect("no panic").is_empty());
    }

    #[test]
    fn roots_that_are_none_are_refused() {
        assert!(tls(&[]).is_ok());
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
        assert!(matches!(tls(&[broken]), Err(RootsError::Certificate(_))));
        assert!(matches!(tls(&[b"no certificate".to_vec()]), Err(RootsError::Empty)));
        assert!(matches!(tls(&[b"-----BEGIN CERTIFICATE-----\n!\n".to_vec()]), Err(RootsError::Pem(_))));
    }
}
