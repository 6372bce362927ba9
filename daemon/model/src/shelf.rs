//! What stays on the shelf and what goes: worth, the order of eviction, and the memory of what has gone.
//!
//! Pure: hours and what neighbours hold are told, the order itself stands elsewhere ([`Order`]): in the store's index,
//! or in memory. It is `GreedyDual` (Cao and Irani 1997) with frequencies: everything has a place in one order, its
//! *worth*, which is the clock's time when it was used last and its weight on top. The lowest goes first, and pushes the
//! clock ahead to its own worth; so what is not used again sinks, however often it once was, and a scan, which weighs
//! little, passes below what is used again and again. The weight is what a miss would cost a byte of shelf: it grows
//! with the square of the uses, and is more for small objects. All numbers here are chosen by simulation
//! (`tests/simulation/README.md`).
//!
//! **Admission.** Everything that arrives is kept, since what goes to a client goes over the disk in any case, and a
//! download is to be there tomorrow. But it is on probation: its worth is the bare time, without weight. When room is
//! needed, what is lowest is looked at once: if another box that holds it comes first, it goes; if not, this is the
//! neighbourhood's last copy and has its weight. Who comes first all boxes reckon alike and without a word
//! ([`precedence`]), so of two copies never both go because of each other. Each use begins a new probation. What goes
//! leaves a ghost: if it comes back soon, its uses count again.

use std::collections::VecDeque;

use crate::limits::{EVICTIONS_AT_ONCE_MAX, GHOSTS_MAX};
use crate::object::ObjectId;

/// What one use of a large object weighs, in hours: three weeks. On a shelf that turns faster the clock runs ahead, and
/// one use is about one turn. Two uses weigh four times as much: what was asked for once mostly never is again.
const USE_HOURS: u32 = 512;

/// Uses that count. With more, old favourites stay for too long after they went out of fashion; with fewer, a shelf that
/// is small for its house cannot tell them apart.
const USES_COUNTED_MAX: u32 = 12;

/// Uses that are remembered at all. Bounded so that one bit more fits four bytes.
const USES_MAX: u32 = 1 << 24;

/// What a miss costs besides the bytes themselves, in bytes: somebody waits. Hits become more by a twentieth, and their
/// bytes not fewer.
const MISS_BYTES: u64 = 16 * 1024 * 1024;

/// How many times as much as a byte of a large object one of a small object weighs at most.
const DENSITY_MAX: u64 = 8;

/// Copies in other boxes that count as uses: a box that lies tells of as many as it likes.
const USES_BEHIND_MAX: u32 = 3;

/// After this many hours without use half of the uses are forgotten: a week.
const FORGET_AFTER_HOURS: u32 = 7 * 24;

/// How an object was used, and what that is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Its place in the order of eviction: hours of the clock. The lowest goes first.
    pub worth: u32,
    /// Hour of the last use, since 1970.
    pub last_hour: u32,
    /// How often it was used; half is forgotten for each week without.
    pub uses: u32,
    /// Whether it was looked at since.
    pub stage: Stage,
}

/// Where an object is in its stay. Each use begins a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It was not looked at yet: it goes if another box keeps a copy.
    Probation,
    /// This box keeps the neighbourhood's last copy.
    Kept,
}

impl Stay {
    /// The stay that begins with a use, at this time of the clock.
    fn begin(clock: u32, hour: u32, uses: u32) -> Self {
        Self { worth: clock, last_hour: hour, uses, stage: Stage::Probation }
    }

    /// With its weight. Copies behind it will go: each was somebody's use.
    fn kept(self, length: u64, behind: u32) -> Self {
        let uses = self.uses.saturating_add(behind.min(USES_BEHIND_MAX)).min(USES_MAX);
        let worth = self.worth.saturating_add(weight(uses, length));
        Self { worth, uses, stage: Stage::Kept, ..self }
    }

    fn uses_left(self, hour: u32) -> u32 {
        let idle_hours = hour.saturating_sub(self.last_hour);
        self.uses >> (idle_hours / FORGET_AFTER_HOURS).min(31)
    }
}

/// What a stay weighs, in hours.
fn weight(uses: u32, length: u64) -> u32 {
    let hours = u64::from(USE_HOURS);
    let for_the_wait = (MISS_BYTES * hours / length.max(1)).min((DENSITY_MAX - 1) * hours);
    let uses = u64::from(uses.clamp(1, USES_COUNTED_MAX));
    u32::try_from(uses * uses * (hours + for_the_wait)).unwrap_or(u32::MAX)
}

/// Which of the boxes that hold an object keeps it longest: the one with the highest number. All boxes reckon it alike,
/// and it is another one for each object (rendezvous hashing).
pub fn precedence(object: &ObjectId, node: &[u8; 32]) -> u64 {
    let hash = blake3::keyed_hash(node, object.as_bytes());
    hash.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// How many other boxes hold an object, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Those that come before this one, and so keep it longer.
    pub ahead: u32,
    /// Those that come after it.
    pub behind: u32,
}

/// An object low in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub id: ObjectId,
    /// Its bytes.
    pub length: u64,
    /// What it is worth.
    pub stay: Stay,
}

/// The order of eviction, wherever it stands.
pub trait Order {
    /// Why it could not be read or changed.
    type Error;

    /// At most `count_max` objects of the lowest worth, the lowest first, but for those that may not go: pinned ones, and
    /// ones that are being read.
    fn lowest(&mut self, count_max: usize) -> Result<Vec<Candidate>, Self::Error>;

    /// Moves an object to another place.
    fn put(&mut self, id: &ObjectId, stay: Stay) -> Result<(), Self::Error>;

    /// Takes an object off the shelf. Returns the bytes that become free.
    fn remove(&mut self, id: &ObjectId) -> Result<u64, Self::Error>;
}

/// What a shelf has to remember besides its order.
#[derive(Debug, Default)]
pub struct Policy {
    /// By how many hours the clock is ahead of the time of day.
    lead_hours: u32,
    ghosts: Ghosts,
}

impl Policy {
    /// The policy of a shelf whose clock is so far ahead.
    pub fn new(lead_hours: u32) -> Self {
        Self { lead_hours, ghosts: Ghosts::default() }
    }

    /// By how many hours the clock is ahead of the time of day: all that has to outlive a restart.
    pub fn lead_hours(&self) -> u32 {
        self.lead_hours
    }

    fn clock(&self, hour: u32) -> u32 {
        hour.saturating_add(self.lead_hours)
    }

    /// An object has arrived.
    pub fn arrived(&mut self, id: &ObjectId, hour: u32) -> Stay {
        let before = self.ghosts.take(id).map_or(0, |ghost| ghost.uses_left(hour));
        Stay::begin(self.clock(hour), hour, before.saturating_add(1).min(USES_MAX))
    }

    /// An object was found that arrived in an hour long ago: the index was made anew.
    pub fn found(arrived_hour: u32) -> Stay {
        Stay::begin(arrived_hour, arrived_hour, 1)
    }

    /// An object was used `count` times more.
    pub fn used(&self, stay: Stay, hour: u32, count: u32) -> Stay {
        let uses = stay.uses_left(hour).saturating_add(count).clamp(1, USES_MAX);
        Stay::begin(self.clock(hour), hour, uses)
    }

    /// Takes objects off the shelf until `goal_bytes` are free or nothing is left that may go. `copies` says who else
    /// holds an object. Returns how many went, and their bytes.
    pub fn make_room<O: Order>(
        &mut self,
        order: &mut O,
        goal_bytes: u64,
        hour: u32,
        copies: &dyn Fn(&ObjectId) -> Copies,
    ) -> Result<(u64, u64), O::Error> {
        let (mut count, mut freed_bytes) = (0, 0);
        while freed_bytes < goal_bytes {
            let lowest = order.lowest(EVICTIONS_AT_ONCE_MAX)?;
            if lowest.is_empty() {
                break;
            }
            // One of these may be worth less than the next once it was looked at: then the order is asked again.
            let mut least_moved = u32::MAX;
            for Candidate { id, length, stay } in lowest {
                if freed_bytes >= goal_bytes || stay.worth > least_moved {
                    break;
                }
                let kept = match stay.stage {
                    Stage::Kept => None,
                    Stage::Probation => match copies(&id) {
                        Copies { ahead: 0, behind } => Some(stay.kept(length, behind)),
                        Copies { .. } => None,
                    },
                };
                if let Some(kept) = kept {
                    least_moved = least_moved.min(kept.worth);
                    order.put(&id, kept)?;
                } else {
                    freed_bytes += order.remove(&id)?;
                    count += 1;
                    self.gone(id, stay, hour);
                }
            }
        }
        Ok((count, freed_bytes))
    }

    fn gone(&mut self, id: ObjectId, stay: Stay, hour: u32) {
        self.lead_hours = self.lead_hours.max(stay.worth.saturating_sub(hour));
        self.ghosts.note(id, stay);
    }
}

/// What went lately, the oldest first.
#[derive(Debug, Default)]
struct Ghosts {
    latest: VecDeque<(u64, Stay)>,
}

impl Ghosts {
    fn note(&mut self, id: ObjectId, stay: Stay) {
        if self.latest.len() >= GHOSTS_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back((fingerprint(&id), stay));
    }

    fn take(&mut self, id: &ObjectId) -> Option<Stay> {
        let wanted = fingerprint(id);
        let at = self.latest.iter().position(|(fingerprint, _)| *fingerprint == wanted)?;
        self.latest.remove(at).map(|(_, stay)| stay)
    }
}

/// The first 64 bits: two of some thousand objects share them once in 10^12 shelves, and then one is kept longer.
fn fingerprint(id: &ObjectId) -> u64 {
    id.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
