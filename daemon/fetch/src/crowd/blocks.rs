//! How an object is cut for boxes that fetch it together. All of them have to cut it alike.

use kith_model::range::GroupSpan;

/// Groups that change hands at once: 1 MiB, a complete subtree of the object.
pub const UNIT: u64 = 64;

/// Groups that one box fetches from the origin: 4 MiB.
pub const BLOCK: u64 = 4 * UNIT;

/// Units at the end of an object that are blocks each: 32 MiB.
const FINE_UNITS: u64 = 32;

/// How an object is cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub(super) whole: GroupSpan,
    /// Blocks that are not of one unit.
    coarse: u64,
}

impl Blocks {
    /// Of an object of so many groups.
    pub fn of(groups: u64) -> Self {
        let coarse = groups.div_ceil(UNIT).saturating_sub(FINE_UNITS) / (BLOCK / UNIT);
        Self { whole: GroupSpan::clamped(0, groups), coarse }
    }

    /// How many there are.
    pub fn count(self) -> u64 {
        self.coarse + (self.whole.end() - self.coarse * BLOCK).div_ceil(UNIT)
    }

    /// The number of the block that holds a group.
    pub(super) fn holding(self, group: u64) -> u64 {
        match group.checked_sub(self.coarse * BLOCK) {
            Some(beyond) => self.coarse + beyond / UNIT,
            None => group / BLOCK,
        }
    }

    pub(super) fn span_of(self, block: u64) -> GroupSpan {
        let start = match block.checked_sub(self.coarse) {
            Some(beyond) => (self.coarse * BLOCK).saturating_add(beyond.saturating_mul(UNIT)),
            None => block * BLOCK,
        };
        let len = if block < self.coarse { BLOCK } else { UNIT };
        GroupSpan::clamped(start, start.saturating_add(len)).intersection(self.whole)
    }
}
