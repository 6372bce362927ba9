//! The two doors: the admin port and the control socket. Bounded connections, one HTTP/1.1 exchange after another.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::house::Admin;
use crate::problem::Problem;
use crate::routes::{self, Answer, Door};

/// Connections at one door: a page, a collector and a few commands.
const CONNECTIONS_MAX: usize = 64;

/// Time for a request head, also between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Fields of a request.
const HEADERS_MAX: usize = 64;

/// Bytes of a request head: hyper's smallest buffer.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a request body: the largest is a pairing.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// A pause after a failed accept, such as when descriptors have run out: trying at once would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the admin port until `stop`; open exchanges are finished.
///
/// # Cancel safety
/// Dropping the future stops accepting; connections go on in `tasks`.
pub async fn port(admin: Admin, listener: TcpListener, tasks: TaskTracker, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some(permit) = permit(&permits, &stop).await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(local) = stream.local_addr() else { continue };
                if !admin.parts().gate.admits(peer, local) {
                    // Nobody outside of the house learns that there is an admin room.
                    continue;
                }
                let visitor = Visitor { admin: admin.clone(), door: Door::Port, local: Some(local.ip()) };
                tasks.spawn(connection(visitor, Box::new(stream), permit, stop.clone()).boxed());
            }
            Err(error) => failed_accept(&error).await,
        }
    }
}

/// Serves the control socket until `stop`.
///
/// # Cancel safety
/// As [`port`].
pub async fn control(admin: Admin, listener: UnixListener, tasks: TaskTracker, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some(permit) = permit(&permits, &stop).await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let visitor = Visitor { admin: admin.clone(), door: Door::Control, local: None };
                tasks.spawn(connection(visitor, Box::new(stream), permit, stop.clone()).boxed());
            }
            Err(error) => failed_accept(&error).await,
        }
    }
}

async fn permit(permits: &Arc<Semaphore>, stop: &CancellationToken) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        permit = Arc::clone(permits).acquire_owned() => permit.ok(),
        () = stop.cancelled() => None,
    }
}

async fn failed_accept(error: &std::io::Error) {
    tracing::warn!(%error, "the admin room cannot accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Who asks, and through which door.
#[derive(Clone)]
struct Visitor {
    admin: Admin,
    door: Door,
    /// The address it connected to; absent on the control socket.
    local: Option<IpAddr>,
}

/// A connection through either door: one kind, so that what serves it is compiled once.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connection(
    visitor: Visitor,
    stream: Box<dyn Stream>,
    permit: OwnedSemaphorePermit,
    stop: CancellationToken,
) {
    let _permit = permit;
    let service = service_fn(|request| {
        let visitor = visitor.clone();
        async move { Ok::<_, Infallible>(exchange(&visitor, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the admin room ended early");
    }
}

async fn exchange(visitor: &Visitor, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    if let Some(local) = visitor.local
        && let Err(problem) = check_host(visitor, &head.headers, local)
    {
        return closing(problem.response());
    }
    match read_body(body).await {
        Ok(body) => routes::answer(&visitor.admin, visitor.door, &head, &body).await,
        Err(problem) => closing(problem.response()),
    }
}

/// Only names and addresses of the box: a page of somebody else's name that points here must not read anything
/// (DNS rebinding).
fn check_host(visitor: &Visitor, headers: &HeaderMap, local: IpAddr) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        let detail = "exactly one Host field is needed";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_host", detail, "send one Host field"));
    };
    let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    if authority.is_some_and(|authority| visitor.admin.parts().gate.answers_to(authority.host(), local)) {
        return Ok(());
    }
    let fix = "use the box's address, or add the name to clients.hosts";
    let detail = "this box does not answer to that name";
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", detail, fix))
}

async fn read_body(body: Incoming) -> Result<Bytes, Problem> {
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let too_large = |_| {
        let detail = "the body is too large or broke off";
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "bad_body", detail, "send less")
    };
    body.map(http_body_util::Collected::to_bytes).map_err(too_large)
}

fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}
