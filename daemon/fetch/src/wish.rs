//! What a client wants from the fetcher and what it gets: the seam between the fetcher and the gateway.

use http::HeaderMap;
use kith_model::key::Target;
use kith_model::range::ByteRange;
use kith_model::representation::{Head, Representation};

use crate::ask::{Answer, Redirects, Verb};
use crate::counters::BySource;
use crate::reader::Reader;

/// What a client wants that the shelf alone cannot answer.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The URL.
    pub target: Target,
    /// Whether the content is wanted.
    pub verb: Verb,
    /// End-to-end request fields to pass to the origin. Conditional and range fields are not among them.
    pub headers: HeaderMap,
    /// What the client made its request depend on: it is passed on while nothing is stored to judge it by, so that
    /// who has the file already need not wait for it once more. A 304 to it is this client's alone.
    pub conditions: HeaderMap,
    /// Which bytes the client waits for; the whole when absent.
    pub range: Option<ByteWish>,
    /// The stored response to revalidate, when there is one.
    pub stored: Option<Representation>,
    /// Who follows redirects.
    pub redirects: Redirects,
    /// Whether others may share the answer.
    pub company: Company,
}

/// Whether a request may be answered by an exchange that somebody else began, and the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Like anybody's.
    Shared,
    /// It carries `Authorization`, `Cookie` or a field that nobody here knows: its exchange is its own. When the answer
    /// may be stored at all, it stays within the household.
    Alone,
}

/// Bytes wished for while the length may not be known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteWish {
    /// From this byte to the end.
    From(u64),
    /// From the first to before the second.
    FromTo(u64, u64),
    /// The last so many bytes.
    Last(u64),
}

impl ByteWish {
    /// The range in an object of `length` bytes; nothing when it lies outside (RFC 9110 section 14.1.1).
    pub fn resolve(self, length: u64) -> Option<ByteRange> {
        let range = match self {
            ByteWish::From(start) => ByteRange::new(start, length)?,
            ByteWish::FromTo(start, end) => ByteRange::new(start, end.min(length))?,
            ByteWish::Last(count) => ByteRange::new(length.saturating_sub(count), length)?,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// What came of a wish.
pub enum Fetched {
    /// The origin confirmed the stored response; it is stored with its renewed head.
    Renewed(Representation),
    /// It comes by way of the store.
    Arriving(Arriving),
    /// It is not stored: stream its body straight to the client.
    Passed(Answer, Passing),
}

/// Why an answer is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// RFC 9111 or the client's request says so, or it is no success.
    NotStorable,
    /// The shelf cannot take it: full, read-only or broken.
    Storage,
}

/// A response that arrives in the store while it is read.
pub struct Arriving {
    /// The head as that of the whole; what was meant for one asker stands in the head of the first one only.
    pub head: Head,
    /// Length of the whole, when known.
    pub length: Option<u64>,
    /// The wished range in that length; the whole when absent. `Unsatisfiable` is told by [`FetchError`].
    pub range: Option<ByteRange>,
    /// Whether somebody else's request to the origin was joined.
    pub collapsed: Collapsed,
    /// Whether an earlier fetch had left a part of it.
    pub partial: bool,
    /// Who delivered what is here already.
    pub delivered: BySource,
    /// Positioned at the range.
    pub reader: Reader,
}

/// Whose request to the origin brings a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collapsed {
    /// The asker's own.
    Own,
    /// Somebody else's, which goes on.
    Joined,
    /// Somebody else's; all of it was here already and is being filed.
    Whole,
}

/// Why a wish cannot be granted.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The origin could not be asked.
    #[error(transparent)]
    Ask(std::sync::Arc<crate::ask::AskError>),
    /// The wished range lies outside of the object of this length.
    #[error("the range lies outside of the {length} bytes")]
    Unsatisfiable {
        /// Length of the whole in bytes.
        length: u64,
    },
    /// The index or a file of the shelf cannot be read.
    #[error("the shelf cannot be read")]
    Shelf(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The daemon is stopping.
    #[error("the box is stopping")]
    Stopping,
}
