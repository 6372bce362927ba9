//! The two ways to the bytes: the client port of the running box, or the origin itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyDataStream, BodyExt, Full};
use kith_fetch::ask::{AskError, Origin, Part, Question, Redirects, Verb};
use kith_model::representation::StrongValidator;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::address::Address;
use crate::cli::connection;
use crate::cli::exit::{Exit, Failure};

/// Bytes of an error's text that are shown: it is one line.
const REASON_BYTES_MAX: usize = 300;

/// A box or origin that says nothing for so long is given up; the limits of the box itself are shorter.
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// Where the bytes come from.
pub(super) enum Route {
    /// The client port of a running box.
    Box(SocketAddr),
    /// The origin room of this program, without a box.
    Direct(Arc<dyn Origin>),
}

/// A response whose body is still to come.
pub(super) struct Incoming {
    /// First byte of the body in the whole.
    pub(super) start: u64,
    /// Length of the whole, when told.
    pub(super) length: Option<u64>,
    /// Fields of the answer.
    pub(super) headers: HeaderMap,
    /// The bytes.
    pub(super) body: BoxStream<'static, Result<Bytes, String>>,
    // The connection lives as long as this.
    _connection: JoinSet<()>,
}

impl Incoming {
    /// The next bytes; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let next = tokio::time::timeout(SILENCE_MAX, self.body.next()).await;
        match next {
            Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
            Ok(None) => Ok(None),
            Ok(Some(Err(message))) => Err(Failure::new(Exit::Network, message)),
            Err(_) => Err(Failure::new(Exit::Network, "nothing came for 90 seconds")),
        }
    }
}

impl Route {
    /// Asks for everything from `resume` on, or from the start.
    pub(super) async fn ask(
        &self,
        address: &Address,
        resume: Option<(u64, HeaderValue)>,
    ) -> Result<Incoming, Failure> {
        match self {
            Route::Box(port) => ask_box(*port, address, resume).await,
            Route::Direct(origin) => ask_origin(origin.as_ref(), address, resume).await,
        }
    }

    /// The digest that the box knows by now of what it has just delivered.
    pub(super) async fn digest_afterwards(&self, address: &Address, tag: &HeaderValue) -> Option<[u8; 32]> {
        let Route::Box(port) = self else { return None };
        let request = Request::head(address.on_box())
            .header(header::HOST, port.to_string())
            .header(header::CACHE_CONTROL, "only-if-cached, max-stale")
            .body(Full::default())
            .ok()?;
        let (head, _, _) = exchange(*port, request).await.ok()?;
        let same = head.status == StatusCode::OK && head.headers.get(header::ETAG) == Some(tag);
        same.then(|| super::address::told_sha256(&head.headers)).flatten()
    }
}

/// An address that can be dialled from here, of one that is listened on.
pub(super) fn dialable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

async fn ask_box(
    port: SocketAddr,
    address: &Address,
    resume: Option<(u64, HeaderValue)>,
) -> Result<Incoming, Failure> {
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(address.on_box())
        .header(header::HOST, port.to_string())
        .header(header::USER_AGENT, concat!("kith/", env!("CARGO_PKG_VERSION")));
    if let Some((start, validator)) = &resume {
        request =
            request.header(header::RANGE, format!("bytes={start}-")).header(header::IF_RANGE, validator);
    }
    let request =
        request.body(Full::default()).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let (head, body, connection) = exchange(port, request).await?;
    let (start, length) = extent(head.status, &head.headers);
    if !matches!(head.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return Err(refusal(head.status, body).await);
    }
    let body = BodyDataStream::new(body).map(|item| item.map_err(|error| broke_off(&error))).boxed();
    Ok(Incoming { start, length, headers: head.headers, body, _connection: connection })
}

type Exchanged = (http::response::Parts, hyper::body::Incoming, JoinSet<()>);

async fn exchange(port: SocketAddr, request: Request<Full<Bytes>>) -> Result<Exchanged, Failure> {
    let unreachable = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::NoDaemon, format!("the box does not answer at {port}: {error}"))
    };
    let stream = TcpStream::connect(port).await.map_err(|error| unreachable(&error))?;
    let (mut sender, connection) = connection::open(stream).await.map_err(|error| unreachable(&error))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // What went wrong shows in the body or the answer.
        let _ = connection.await;
    });
    let answer = tokio::time::timeout(SILENCE_MAX, sender.send_request(request)).await;
    let response = answer
        .map_err(|_| Failure::new(Exit::Temporary, "the box did not answer for 90 seconds"))?
        .map_err(|error| unreachable(&error))?;
    let (head, body) = response.into_parts();
    Ok((head, body, tasks))
}

/// First byte and whole length, from `Content-Range` or `Content-Length`.
fn extent(status: StatusCode, headers: &HeaderMap) -> (u64, Option<u64>) {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = text(header::CONTENT_RANGE).and_then(|value| value.strip_prefix("bytes "));
        let parsed = range.and_then(|range| {
            let (span, whole) = range.split_once('/')?;
            let (start, _) = span.split_once('-')?;
            Some((start.parse().ok()?, whole.parse().ok()))
        });
        return parsed.unwrap_or((u64::MAX, None));
    }
    (0, text(header::CONTENT_LENGTH).and_then(|value| value.parse().ok()))
}

async fn refusal(status: StatusCode, body: hyper::body::Incoming) -> Failure {
    let mut body = body;
    let mut text = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            text.extend_from_slice(&data);
        }
        if text.len() >= REASON_BYTES_MAX {
            break;
        }
    }
    text.truncate(REASON_BYTES_MAX);
    let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned();
    let readable = !line.is_empty() && !line.starts_with('<') && !line.contains(char::is_control);
    let reason = if readable { format!(": {line}") } else { String::new() };
    Failure::new(exit_of(status), format!("the answer was {status}{reason}"))
}

/// For a download, 401 and 451 are refusals too.
fn exit_of(status: StatusCode) -> Exit {
    match status.as_u16() {
        401 | 402 | 451 => Exit::Refused,
        400 => Exit::General,
        500..=599 if !matches!(status.as_u16(), 502..=504 | 507) => Exit::Temporary,
        _ => Exit::of_status(status),
    }
}

fn broke_off(error: &dyn std::fmt::Display) -> String {
    format!("the transfer broke off: {error}")
}

async fn ask_origin(
    origin: &dyn Origin,
    address: &Address,
    resume: Option<(u64, HeaderValue)>,
) -> Result<Incoming, Failure> {
    let Address::Web(target) = address else {
        let failure = Failure::new(Exit::NoDaemon, "files by hash come from a running box only");
        return Err(failure.fix("start it with `kith run`"));
    };
    let part = resume.map(|(start, value)| Part { start, end: None, of: Some(validator(value)) });
    let mut headers = HeaderMap::new();
    let agent = concat!("kith/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    let question =
        Question { target: target.clone(), verb: Verb::Get, headers, part, redirects: Redirects::Follow };
    let answer = origin.ask(question).await.map_err(|error| unasked(&error))?;
    let status = answer.head.status;
    if !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return Err(Failure::new(exit_of(status), format!("{} answered {status}", answer.target.host())));
    }
    let body = answer.body.map(|item| item.map_err(|error| broke_off(&error))).boxed();
    let (start, length, headers) = (answer.start, answer.length, answer.head.headers);
    Ok(Incoming { start, length, headers, body, _connection: JoinSet::new() })
}

fn validator(value: HeaderValue) -> StrongValidator {
    if value.as_bytes().starts_with(b"\"") {
        StrongValidator::ETag(value)
    } else {
        StrongValidator::LastModified(value)
    }
}

fn unasked(error: &AskError) -> Failure {
    let exit = match error {
        AskError::Denied(_) | AskError::Loop => Exit::Refused,
        AskError::Timeout(_) => Exit::Temporary,
        _ => Exit::Network,
    };
    let failure = Failure::new(exit, error.to_string());
    match error {
        AskError::Denied(_) => failure.fix("allow its network with --set origins.allow_private='[\"CIDR\"]'"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extent_comes_from_the_fields_of_the_status() {
        let fields = |name: header::HeaderName, value: &'static str| {
            HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
        };
        let range = |value| extent(StatusCode::PARTIAL_CONTENT, &fields(header::CONTENT_RANGE, value));
        assert_eq!(range("bytes 5-9/10"), (5, Some(10)));
        assert_eq!(range("bytes 5-9/*"), (5, None));
        assert_eq!(range("bytes nonsense"), (u64::MAX, None));
        let whole = extent(StatusCode::OK, &fields(header::CONTENT_LENGTH, "10"));
        assert_eq!(whole, (0, Some(10)));
    }

    #[test]
    fn one_can_dial_what_listens_everywhere() {
        for (listening, expected) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("192.168.1.1:1", "192.168.1.1:1")]
        {
            assert_eq!(dialable(listening.parse().expect("address")), expected.parse().expect("address"));
        }
    }
}
