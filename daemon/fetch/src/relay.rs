//! Requests that pass by the store: uploads, methods other than GET and HEAD, protocol switches and tunnels. The seam
//! between the gateway and the origin room.
//!
//! Nothing that goes this way is stored, joined or repeated, and every exchange has a connection of its own: what one
//! client left unread or unsaid can never become part of another's message. Knows no sockets and no store.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use kith_model::key::Target;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::ask::AskError;
use crate::source::ByteStream;

/// A request to pass on as it is.
pub struct Relayed {
    /// Where to.
    pub target: Target,
    /// Whether its path counts.
    pub scope: Scope,
    /// Any but CONNECT and TRACE.
    pub method: Method,
    /// End-to-end request fields; those that frame the message are not among them.
    pub headers: HeaderMap,
    /// What follows the head.
    pub content: Option<Content>,
    /// The protocols that the client would switch to (RFC 9110 section 7.8).
    pub upgrade: Option<HeaderValue>,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Its target.
    Resource,
    /// The whole site: OPTIONS with a `*` for a target (RFC 9112 section 3.2.4).
    Site,
}

/// Content of a request, while it comes.
pub struct Content {
    /// Bytes, when the client told them; else it goes out in chunks.
    pub length: Option<u64>,
    /// Whether the client waits for a 100 before it sends (RFC 9110 section 10.1.1).
    pub expects_continue: bool,
    /// The bytes. Ends with an error when the client broke off, was too slow or framed them wrongly: what went out
    /// then never looks complete.
    pub bytes: Upload,
}

/// Bytes from a client, in order.
pub type Upload = BoxStream<'static, Result<Bytes, UploadError>>;

/// Why content of a request ends early. The client's fault, and told to it elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's content broke off")]
pub struct UploadError;

/// What came of a request that was passed on.
pub enum Reply {
    /// An answer like any other.
    Answer(Answer),
    /// 101: both sides speak another protocol from here on.
    Switched(Switched),
}

/// An answer to pass back.
pub struct Answer {
    /// As sent.
    pub status: StatusCode,
    /// End-to-end fields.
    pub headers: HeaderMap,
    /// Of the content, when the head said so.
    pub length: Option<u64>,
    /// Ends with an error when the origin broke off. Dropping it ends the exchange and its connection.
    pub body: ByteStream,
}

/// A connection that speaks another protocol now.
pub struct Switched {
    /// End-to-end fields of the 101.
    pub headers: HeaderMap,
    /// The protocol that was chosen.
    pub upgrade: HeaderValue,
    /// Both directions, from the first byte behind the 101.
    pub stream: Box<dyn Duplex>,
}

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// Passes requests on to origins, under the same guard, strictness and time-outs as questions.
pub trait Relay: Send + Sync + 'static {
    /// Sends the request and returns when the head of the final answer is there, possibly before all of the content
    /// went out.
    ///
    /// # Cancel safety
    /// Dropping the future ends the exchange and its connection; the origin never sees a complete request unless all
    /// of it was sent.
    fn relay(&self, request: Relayed) -> BoxFuture<'static, Result<Reply, AskError>>;

    /// Connects to a host for a blind tunnel.
    ///
    /// # Cancel safety
    /// Dropping the future gives up.
    fn tunnel(&self, host: String, port: u16) -> BoxFuture<'static, Result<Box<dyn Duplex>, AskError>>;
}
