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
//! download is to be there tomorrow. But what came from next door is a *second* copy: its worth is the bare time, without
//! weight. When room is needed, and it is lowest, it is looked at: if another box still holds it, it goes; if not, it has
//! become the neighbourhood's last copy, and is a *first* one from now on, with its weight. What a website sent is a first
//! copy from the start, and asks nobody: filters that hit by chance must not cost the last copy. So of copies that came
//! from each other one stays, where it was asked for first, and no two boxes throw the same thing away because of each
//! other. What goes leaves a ghost: if it comes back soon, its uses count again.

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
    /// Which copy it is.
    pub copy: Copy,
}

/// Which of the neighbourhood's copies an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// The first one, or the last: it has its weight.
    First,
    /// It came from next door: it goes when it is low while another box holds it.
    Second,
}

impl Stay {
    /// The stay that begins with a use, at this time of the clock.
    fn begin(clock: u32, hour: u32, uses: u32, length: u64, copy: Copy) -> Self {
        let weight = if copy == Copy::First { weight(uses, length) } else { 0 };
        Self { worth: clock.saturating_add(weight), last_hour: hour, uses, copy }
    }

    /// Nobody else holds it any more.
    fn left_alone(self, length: u64) -> Self {
        let worth = self.worth.saturating_add(weight(self.uses, length));
        Self { worth, copy: Copy::First, ..self }
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
    pub fn arrived(&mut self, id: &ObjectId, length: u64, copy: Copy, hour: u32) -> Stay {
        let before = self.ghosts.take(id).map_or(0, |ghost| ghost.uses_left(hour));
        Stay::begin(self.clock(hour), hour, before.saturating_add(1).min(USES_MAX), length, copy)
    }

    /// An object was found that arrived in an hour long ago: the index was made anew. Who else has it will show.
    pub fn found(length: u64, arrived_hour: u32) -> Stay {
        Stay::begin(arrived_hour, arrived_hour, 1, length, Copy::Second)
    }

    /// An object was used `count` times more.
    pub fn used(&self, stay: Stay, length: u64, hour: u32, count: u32) -> Stay {
        let uses = stay.uses_left(hour).saturating_add(count).clamp(1, USES_MAX);
        Stay::begin(self.clock(hour), hour, uses, length, stay.copy)
    }

    /// Takes objects off the shelf until `goal_bytes` are free or nothing is left that may go. `copies` says how
    /// many other boxes hold an object. Returns how many went, and their bytes.
    pub fn make_room<O: Order>(
        &mut self,
        order: &mut O,
        goal_bytes: u64,
        hour: u32,
        copies: &dyn Fn(&ObjectId) -> u32,
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
                if stay.copy == Copy::Second && copies(&id) == 0 {
                    let alone = stay.left_alone(length);
                    least_moved = least_moved.min(alone.worth);
                    order.put(&id, alone)?;
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
