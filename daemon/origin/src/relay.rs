//! Requests that pass by the store: each over a connection of its own, with content, or on its way to another
//! protocol.
//!
//! The connection is never used again, so nothing that a client or an origin left on it can be read as part of
//! another exchange. Content goes out as it comes, one piece at a time. Knows no client and no store.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{Stream, StreamExt};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kith_fetch::ask::{AskError, Verb};
use kith_fetch::relay::{Answer, Duplex, Relayed, Reply, Scope, Switched, Upload, UploadError};
use kith_fetch::source::SourceError;
use kith_model::key::Target;
use kith_model::limits::{
    CONTINUE_TIMEOUT, ORIGIN_FIRST_BYTE_TIMEOUT, ORIGIN_READ_BUFFER_BYTES, RESPONSE_HEADERS_COUNT_MAX,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::{Interim, chatter, fault, unreadable, uri_of};
use crate::content::Content;
use crate::request;
use crate::strict::{end_to_end, framing_of_passed};
use crate::web::Shared;

/// Port of tunnels (`LIMITS.md`).
const TUNNEL_PORT: u16 = 443;

/// Passes a request on.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub(crate) async fn relay(shared: &Arc<Shared>, asked: Relayed) -> Result<Reply, AskError> {
    if shared.signature().is_on(&asked.headers) {
        return Err(AskError::Loop);
    }
    let place = shared.client().place(&asked.target);
    let stream = shared.client().connect(&asked.target).await?;
    let failed = |error: hyper::Error| fault(asked.target.authority(), &error);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(ORIGIN_READ_BUFFER_BYTES)
        // one more than allowed, so that it is our own check that names the reason
        .max_headers(RESPONSE_HEADERS_COUNT_MAX + 1)
        .handshake(stream)
        .await
        .map_err(failed)?;
    let end = CancellationToken::new();
    shared.tasks().run(end.clone().run_until_cancelled_owned(connection.with_upgrades()));
    let end = end.drop_guard();
    let headers = request::relayed(&asked, shared.signature());
    let (target, method, upgrade) = (asked.target, asked.method, asked.upgrade);
    let progress = Arc::<Progress>::default();
    let mut request = Request::new(Outgoing::new(asked.content, &progress));
    *request.uri_mut() = match asked.scope {
        Scope::Resource => path_of(&target)?,
        Scope::Site => Uri::from_static("*"),
    };
    *request.method_mut() = method.clone();
    *request.headers_mut() = headers;
    let interim = Interim::count(&mut request, {
        let progress = progress.clone();
        move || progress.wanted.notify_one()
    });
    let answered = tokio::select! {
        // Too many are too many, also when the answer stands right behind them.
        biased;
        () = interim.exhausted() => Err(chatter(&target)),
        answered = sender.send_request(request) => answered.map_err(|error| fault(target.authority(), &error)),
        () = progress.stalled() => Err(AskError::Timeout(target.authority())),
    };
    progress.lock().answered = true;
    let response = answered?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switched(&target, upgrade.as_ref(), response).await.map(Reply::Switched);
    }
    let (head, incoming) = response.into_parts();
    let verb = if method == Method::HEAD { Verb::Head } else { Verb::Get };
    let framing = framing_of_passed(verb, head.version, head.status, &head.headers)
        .map_err(|reason| AskError::Nonsense(target.authority(), reason))?;
    let content = Content::new(incoming, framing.end, head.version, place, shared.tasks().clone());
    Ok(Reply::Answer(Answer {
        status: head.status,
        headers: end_to_end(&head.headers),
        length: framing.length,
        body: Guarded { content, _end: end }.boxed(),
    }))
}

/// Connects for a tunnel.
///
/// # Cancel safety
/// Dropping the future gives up.
pub(crate) async fn tunnel(
    shared: &Arc<Shared>,
    host: String,
    port: u16,
) -> Result<Box<dyn Duplex>, AskError> {
    if port != TUNNEL_PORT {
        return Err(AskError::Denied(format!("{host}:{port}")));
    }
    let stream = shared.client().connect_plainly(&host, port).await?;
    Ok(Box::new(stream))
}

fn path_of(target: &Target) -> Result<Uri, AskError> {
    let path = uri_of(target).and_then(|uri| uri.path_and_query().cloned());
    path.map(Uri::from).ok_or_else(|| unreadable(target))
}

/// RFC 9110 section 15.2.2: a switch that was asked for, to a protocol that was named.
async fn switched(
    target: &Target,
    asked: Option<&HeaderValue>,
    response: Response<Incoming>,
) -> Result<Switched, AskError> {
    let nonsense = |reason| AskError::Nonsense(target.authority(), reason);
    let chosen = response.headers().get(UPGRADE).cloned();
    let (Some(asked), Some(chosen)) = (asked, chosen) else {
        return Err(nonsense("an upgrade that was not asked for"));
    };
    let is_asked = |protocol: &[u8]| {
        asked
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|one| one.trim_ascii().eq_ignore_ascii_case(protocol.trim_ascii()))
    };
    let says_so = response.headers().get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    if !is_asked(chosen.as_bytes()) || !says_so {
        return Err(nonsense("an upgrade that was not asked for"));
    }
    let headers = end_to_end(response.headers());
    let stream = hyper::upgrade::on(response).await.map_err(|error| fault(target.authority(), &error))?;
    Ok(Switched { headers, upgrade: chosen, stream: Box::new(TokioIo::new(stream)) })
}

/// Content of an answer; the connection ends with it.
struct Guarded {
    content: Content,
    _end: DropGuard,
}

impl Stream for Guarded {
    type Item = Result<Bytes, SourceError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.content).poll_next(context)
    }
}

/// How far a request has got.
#[derive(Debug, Default)]
struct Progress {
    state: Mutex<State>,
    /// The origin said 100.
    wanted: Notify,
}

#[derive(Debug)]
struct State {
    /// The client is waited for; its slowness is judged elsewhere.
    with_client: bool,
    /// Since when the origin is waited for.
    since: Instant,
    /// The final answer is there.
    answered: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { with_client: false, since: Instant::now(), answered: false }
    }
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when the origin neither took nor said anything for [`ORIGIN_FIRST_BYTE_TIMEOUT`].
    async fn stalled(&self) {
        loop {
            let due = {
                let state = self.lock();
                let since = if state.with_client { Instant::now() } else { state.since };
                since + ORIGIN_FIRST_BYTE_TIMEOUT
            };
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }
}

/// Content of a request on its way out.
struct Outgoing {
    bytes: Option<Upload>,
    length: Option<u64>,
    /// Until the origin wants it.
    held: Option<BoxFuture<'static, ()>>,
    progress: Arc<Progress>,
}

impl Outgoing {
    fn new(content: Option<kith_fetch::relay::Content>, progress: &Arc<Progress>) -> Self {
        let progress = progress.clone();
        let Some(content) = content else {
            return Self { bytes: None, length: Some(0), held: None, progress };
        };
        let held = content.expects_continue.then(|| {
            let progress = progress.clone();
            let held: BoxFuture<'static, ()> = Box::pin(async move {
                tokio::select! {
                    () = progress.wanted.notified() => {}
                    () = sleep(CONTINUE_TIMEOUT) => {}
                }
            });
            held
        });
        Self { bytes: Some(content.bytes), length: content.length, held, progress }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = &mut *self;
        if let Some(held) = &mut this.held {
            ready!(held.as_mut().poll(context));
            if this.progress.lock().answered {
                // The origin decided without it (RFC 9110 section 10.1.1): the client is not told to send.
                return Poll::Pending;
            }
            this.held = None;
        }
        let Some(bytes) = &mut this.bytes else { return Poll::Ready(None) };
        let next = bytes.poll_next_unpin(context);
        let mut state = this.progress.lock();
        state.with_client = next.is_pending();
        state.since = Instant::now();
        drop(state);
        next.map(|next| next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
