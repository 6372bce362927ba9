//! What can deliver groups of one object: the seam between the job and the wells.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use kith_model::key::Target;
use kith_model::ladder::{Algorithm, Digest, Ladder};
use kith_model::object::ObjectId;
use kith_model::range::GroupSpan;
use kith_model::representation::{Representation, StrongValidator};
use kith_model::sharing::Audience;
use kith_model::trust::Role;
use kith_model::verify::{Leaf, Run};

use crate::share::{Gathering, Share};

use crate::pieces::Pieces;

/// Where bytes come from, as metrics and people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// The website itself.
    Origin,
    /// Another Kith box on the LAN.
    Neighbour,
    /// Another website that the origin says has the same bytes.
    Mirror,
}

impl SourceKind {
    /// The value of the `source` label.
    pub fn as_str(self) -> &'static str {
        match self {
            SourceKind::Origin => "origin",
            SourceKind::Neighbour => "neighbour",
            SourceKind::Mirror => "mirror",
        }
    }
}

/// What a source can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Whether a lane may start anywhere. Without it only a lane from group 0 can be opened.
    pub ranges: bool,
    /// How many lanes may be open at once.
    pub lanes_max: usize,
    /// Groups that it delivers together or not at all, at multiples of this number: 1, or the length of a piece.
    pub grain: u64,
}

/// Delivers groups of one representation or object.
pub trait Source: Send + Sync + 'static {
    /// What kind it is.
    fn kind(&self) -> SourceKind;

    /// Its name in logs and views: the origin's host, or a neighbour's short node id.
    fn label(&self) -> &str;

    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// Starts to deliver `span`. The end of the span may lie beyond the object when the length is not known.
    ///
    /// # Cancel safety
    /// Dropping the future asks for nothing further.
    fn open(&self, span: GroupSpan) -> BoxFuture<'static, Result<Box<dyn Lane>, SourceError>>;

    /// Where programs of the household may have the whole from it by its digest; only a box of the same owner tells.
    fn door(&self) -> Option<SocketAddr> {
        None
    }

    /// Tells the source what the job found out about it.
    fn blame(&self, fault: Fault);

    /// Whether its word still counts: not that of a box that was unpaired or put away since it spoke.
    fn vouches(&self) -> bool {
        true
    }

    /// What its answer pointed to besides itself; only the origin's does. Nothing is asked before the stream is.
    ///
    /// # Cancel safety
    /// Dropping the stream ends what is asked for it.
    fn leads(&self) -> BoxStream<'static, Lead> {
        stream::empty().boxed()
    }
}

/// Groups that arrive in order. Dropping a lane ends it: what is in flight is thrown away, nothing more is asked for.
pub trait Lane: Send {
    /// The next run; runs follow one another without a gap. Nothing after the last group of the span.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing that `next` would return later.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Run>, SourceError>>;
}

/// Raw bytes that arrive in order.
pub type ByteStream = BoxStream<'static, Result<Bytes, SourceError>>;

/// What can go wrong with a source, cut by what to do next.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It has another version now. The fetch is bound to the old one and ends.
    #[error("the origin has changed the file")]
    Changed,
    /// It does not have what was asked for: ask it no more.
    #[error("the source does not hold this")]
    NotHeld,
    /// It has too much to do: ask again later.
    #[error("the source is busy")]
    Busy,
    /// What it sent is not what the tree says. Its fault.
    #[error("the source sent bytes that do not match the object")]
    Mismatch,
    /// It said less than it promised, or nothing in time. May be tried again.
    #[error("the source broke off")]
    BrokeOff(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It said something that makes no sense. Its fault.
    #[error("the source answered nonsense")]
    Nonsense(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the job found out about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It claimed that an object is what a URL or digest stands for, and it is not.
    FalseClaim(Truth),
    /// It stalled or trickled while somebody waited.
    TooSlow,
    /// It may have signed for a unit that its origin sent, and this is what the origin sends.
    Unit {
        /// Which.
        unit: GroupSpan,
        /// Its chaining value by the bytes that were found right.
        truth: Leaf,
    },
}

/// What showed that a claim is false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// What the origin sent is this object.
    Object(ObjectId),
    /// The claimed object does not have the digest that the origin told.
    Digest(Algorithm),
    /// What the origin sent is no part of the claimed object.
    Parts,
    /// The piece of the claimed object that begins at this byte does not have the hash that the origin told.
    Piece(u64),
}

/// What an answer points to besides itself.
pub enum Lead {
    /// Further digests of the whole.
    Digests(Ladder),
    /// Hashes of its pieces, told by the origin over an authenticated channel.
    Pieces(std::sync::Arc<Pieces>),
    /// A place that is said to have the same bytes.
    Mirror {
        /// Delivers them; what it sends is proven by nobody yet, or by the origin's piece hashes.
        source: std::sync::Arc<dyn Source>,
        /// Which of both.
        proof: Proof,
    },
    /// A torrent of it.
    Torrent(Target),
}

/// What a mirror's bytes are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The digest of the whole: only once it is all here.
    Whole,
    /// The origin's list of piece hashes: piece by piece.
    Pieces,
}

/// What is looked for next door.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The URL the origin was asked for.
    pub target: Target,
    /// The validator that the origin just gave.
    pub validator: StrongValidator,
    /// The length that the origin just gave.
    pub length: u64,
    /// A strong digest the origin just gave, when it did.
    pub digest: Option<Digest>,
    /// The farthest who may be asked: who must not be given it is not asked for it either.
    pub audience: Audience,
}

/// Somebody who claims to hold what is wanted, by a claim that was checked as far as it can be.
pub struct Found {
    /// The object it says this is.
    pub object: ObjectId,
    /// Which box says so. One box counts once, whatever it says.
    pub claimant: Claimant,
    /// Delivers groups of that object, each proven against it.
    pub source: std::sync::Arc<dyn Source>,
}

/// A box that claims something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Which, by the hash of its key.
    pub node: [u8; 32],
    /// What it is to us.
    pub role: Role,
}

/// Looks for sources besides the origin.
pub trait Finder: Send + Sync + 'static {
    /// Asks around; the stream ends when nobody else will answer.
    ///
    /// # Cancel safety
    /// Dropping the stream ends the search.
    fn find(&self, wanted: Wanted) -> BoxStream<'static, Found>;

    /// Hears that an origin took back what is stored, so that others can be told. Does not wait for them.
    fn withdrawn(&self, _stored: &Representation) {}

    /// Makes a fetch known to boxes of the same owner, as long as `share` lives, and listens to those that fetch the
    /// same.
    fn gather(&self, wanted: &Wanted, share: &std::sync::Arc<Share>) -> Option<Gathering> {
        let _ = (wanted, share);
        None
    }
}
