//! The frames of boxes that fetch the same at the same time: kinds 12 to 15.

use kith_model::limits;
use minicbor::{Decode, Encode};

use super::{RendezvousId, Span};

/// Asks to be told of a fetch, as long as it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Gather {
    /// Days since 1970 that the name was made for.
    #[n(0)]
    pub day: u32,
    /// The name of what is fetched.
    #[n(1)]
    pub id: RendezvousId,
}

/// How far a fetch is; again and again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Progress {
    /// Units that are ready and were not told before, in order and apart; at most [`limits::CROWD_REPORT_SPANS_MAX`].
    #[n(0)]
    pub ready: Vec<Span>,
    /// Blocks that are being fetched from the origin; at most [`limits::CROWD_REPORT_BLOCKS_MAX`].
    #[n(1)]
    pub working: Vec<u64>,
    /// Groups that the origin sent so far.
    #[n(2)]
    pub received: u64,
    /// Whether the whole is fetched.
    #[n(3)]
    pub fetches: bool,
}

impl Progress {
    pub(super) fn is_within_bounds(&self) -> bool {
        self.ready.len() <= limits::CROWD_REPORT_SPANS_MAX
            && self.working.len() <= limits::CROWD_REPORT_BLOCKS_MAX
            && self.ready.iter().all(|span| span.0 < span.1)
            && self.ready.windows(2).all(|pair| pair[0].1 <= pair[1].0)
    }
}

/// Asks for a unit that was told as ready.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Take {
    /// As in [`Gather`].
    #[n(0)]
    pub day: u32,
    /// As in [`Gather`].
    #[n(1)]
    pub id: RendezvousId,
    /// Which unit.
    #[n(2)]
    pub unit: u64,
}

/// Stands before the raw bytes of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Part {
    /// Count of raw bytes that follow.
    #[n(0)]
    pub bytes: u32,
    /// Ed25519 over the unit; see `PROTOCOL.md`.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}
