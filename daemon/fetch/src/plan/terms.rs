//! The words the plan is told things in and says things in.

use std::time::Duration;

use kith_model::range::GroupSpan;

/// A source of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// A lane of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u64);

/// What a reader waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Its next group.
    pub cursor: u64,
    /// One past its last group.
    pub end: u64,
}

/// What the plan has to know of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Facts {
    /// Near sources are preferred: what they deliver costs no uplink.
    pub place: Place,
    /// Whether lanes may start anywhere.
    pub ranges: bool,
    /// Lanes at once.
    pub lanes_max: usize,
    /// Groups that are checked together: less than that is fetched in vain.
    pub grain: u64,
    /// Whether what it delivers can be read before the whole is checked.
    pub is_shown: bool,
    /// What it has shown in earlier downloads.
    pub earlier: Option<Estimate>,
}

impl Facts {
    /// A source with one lane, of which nothing more is known.
    pub fn of(place: Place) -> Self {
        Self { place, ranges: true, lanes_max: 1, grain: 1, is_shown: true, earlier: None }
    }
}

/// How fast a source is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Groups a second, all its lanes together.
    pub rate: f64,
    /// From a question to its first group.
    pub first_byte: Duration,
}

/// Where a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the LAN.
    Near,
    /// The origin.
    Far,
    /// Another website with the same bytes.
    Mirror,
}

/// How a lane ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It delivered its span, or was told to stop.
    Done,
    /// It broke off; the source may be asked again.
    Failed,
    /// The source has too much to do; it may be asked again later.
    Busy,
    /// The source is of no use any more.
    Useless,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a lane.
    Open {
        /// Its name from now on.
        lane: LaneId,
        /// Of which source.
        source: SourceId,
        /// What it shall deliver.
        span: GroupSpan,
    },
    /// Move a lane's end down; nothing at or past it is to be delivered.
    Cut {
        /// Which.
        lane: LaneId,
        /// One past the last group it still delivers.
        end: u64,
    },
    /// End a lane now.
    Close {
        /// Which.
        lane: LaneId,
    },
    /// Tell a source that somebody had to wait for it.
    Slow {
        /// Which.
        source: SourceId,
    },
}
