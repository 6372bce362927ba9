//! What is asked of an origin and what it answers: the seam between the fetcher and the origin room.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderMap;
use kith_model::key::Target;
use kith_model::ladder::Ladder;
use kith_model::representation::{Head, StrongValidator};

use crate::source::{ByteStream, Source};

/// A request to an origin.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is asked for.
    pub target: Target,
    /// Whether its content is wanted.
    pub verb: Verb,
    /// End-to-end request fields to pass on, conditional ones included; `Range` and `If-Range` are never among them.
    pub headers: HeaderMap,
    /// Ask for a part only.
    pub part: Option<Part>,
    /// Whether redirects are followed here or handed to the client.
    pub redirects: Redirects,
}

/// What is wanted of a target (RFC 9110 sections 9.3.1 and 9.3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    /// Head and content.
    #[default]
    Get,
    /// The head alone: its answer passes through and is never stored.
    Head,
}

/// A part of a representation: `Range: bytes=start-` or `bytes=start-(end-1)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// First byte, at a group's edge.
    pub start: u64,
    /// One past the last byte; open when absent.
    pub end: Option<u64>,
    /// The version it is bound to (`If-Range`); absent on the very first request for a target.
    pub of: Option<StrongValidator>,
}

/// Who follows redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// The origin room, at most five, each vetted anew.
    Follow,
    /// The client: a 3xx is an answer like any other.
    HandBack,
}

/// One answer on the way to the last one.
#[derive(Clone, Debug)]
pub struct Hop {
    /// What was asked.
    pub target: Target,
    /// What it said.
    pub status: http::StatusCode,
    /// Its fields: each hop may name digests.
    pub headers: HeaderMap,
}

/// A final answer.
pub struct Answer {
    /// The redirects that were followed to it, in order; empty when there were none.
    pub hops: Vec<Hop>,
    /// Who gave it.
    pub target: Target,
    /// Status as sent (200, 206, 304, ...) and end-to-end fields.
    pub head: Head,
    /// First byte that the body carries; not 0 only for a 206.
    pub start: u64,
    /// One past the last byte that the body carries, when the answer said so.
    pub end: Option<u64>,
    /// Length of the whole representation, when the answer said so.
    pub length: Option<u64>,
    /// Whether the end of the body can be told from a broken connection: by a length or by chunked coding. A body
    /// that ends with the connection is passed on and never stored.
    pub delimited: bool,
    /// The digests of the whole that this answer and the hops before it named.
    pub ladder: Ladder,
    /// The content. Ends with an error when the origin broke off. Dropping it ends the exchange.
    pub body: ByteStream,
    /// Further lanes to the same version; only for a 200 or 206.
    pub source: Option<Arc<dyn Source>>,
}

/// Why there is no answer. The variants say which step failed (RFC 9209 names them).
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The address guard refuses the destination, or its port.
    #[error("{0} is an address that this box does not fetch from")]
    Denied(String),
    /// No address for the name.
    #[error("the name {0} could not be resolved")]
    Dns(String),
    /// Nobody answers there.
    #[error("no connection to {0}")]
    Connect(String, #[source] Option<std::io::Error>),
    /// Its certificate or handshake is not acceptable.
    #[error("no secure connection to {0}: {1}")]
    Tls(String, String),
    /// It took the request and said nothing in time.
    #[error("{0} did not answer in time")]
    Timeout(String),
    /// It answered, but not in HTTP that may be used.
    #[error("{0} answered nonsense: {1}")]
    Nonsense(String, &'static str),
    /// More than five redirects, or a circle.
    #[error("too many redirects from {0}")]
    Redirects(String),
    /// The request came through this box already.
    #[error("the request came back to this box")]
    Loop,
}

/// Asks origins.
pub trait Origin: Send + Sync + 'static {
    /// Sends the question at once and returns when the head of the final answer is there.
    ///
    /// # Cancel safety
    /// Dropping the future drops the exchange.
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Answer, AskError>>;
}
