//! Everybody who reads one arriving object, what they wait for, and what became of it.
//!
//! Shared by the job, which asks what is wanted and tells how it ends, and by its readers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use kith_model::range::{ByteRange, GroupSet, GroupSpan};
use kith_model::verify::Provenance;
use litemap::LiteMap;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};

use crate::counters::{BySource, Counters};
use crate::past_shelf::Rest;
use crate::plan::Demand;
use crate::reader::Extent;
use crate::source::{Source, SourceKind};

/// What became of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It arrives.
    Open,
    /// The whole is here and is what it should be.
    Right,
    /// The shelf has failed: what came is readable for a while, and the rest goes past it.
    Passing,
    /// The fetch ended; nothing more will come.
    Ended,
}

/// Everybody who reads an arriving object, and who delivered what.
pub(crate) struct Audience {
    seats: Mutex<Seats>,
    /// Somebody came, went, or moved on by so much that the plan should know.
    moved: Notify,
    sat: AtomicU64,
    verdict: watch::Sender<Verdict>,
    retraction: Notify,
    telling: Notify,
    /// Set when the shelf has failed.
    passing: OnceLock<Passing>,
}

/// What there is past the shelf.
struct Passing {
    /// What the shelf did not take, for the reader that comes there first.
    rest: Mutex<Option<Rest>>,
    /// Its first group; those before it are full.
    first: Option<u64>,
    /// For everybody else.
    origin: Option<Arc<dyn Source>>,
}

impl std::fmt::Debug for Audience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audience").field("seats", &self.seats).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Seats {
    demands: LiteMap<u64, Demand>,
    /// What an earlier fetch had left.
    on_shelf: GroupSet,
    from_neighbours: GroupSet,
    /// What neighbours delivered and nobody may see before the whole was checked.
    in_quarantine: GroupSet,
    /// What neighbours delivered and was found to match the origin's piece hashes: it needs nobody's word.
    in_pieces: GroupSet,
    from_mirrors: GroupSet,
    bytes: BySource,
    /// Who reads a part only, by seat.
    parts: BTreeSet<u64>,
    /// The length of a body that came without one, once it is all here.
    length: Option<u64>,
    /// The end is handed out only when the whole was checked.
    check_the_tail: bool,
}

impl Audience {
    /// `on_shelf` is what an earlier fetch had left; `tail` says whether the origin told a digest to check.
    pub(crate) fn new(on_shelf: GroupSet, check_the_tail: bool) -> Self {
        let seats = Seats { on_shelf, check_the_tail, ..Seats::default() };
        let verdict = watch::Sender::new(Verdict::Open);
        Self {
            seats: Mutex::new(seats),
            moved: Notify::new(),
            sat: AtomicU64::new(0),
            verdict,
            retraction: Notify::new(),
            telling: Notify::new(),
            passing: OnceLock::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sit(self: &Arc<Self>, demand: Demand, extent: Extent) -> Seat {
        let number = self.sat.fetch_add(1, Relaxed);
        let mut seats = self.lock();
        seats.demands.insert(number, demand);
        if extent == Extent::Part {
            seats.parts.insert(number);
        }
        drop(seats);
        self.moved.notify_one();
        Seat { audience: Arc::clone(self), number }
    }

    pub(crate) fn move_to(&self, number: u64, group: u64) {
        if let Some(demand) = self.lock().demands.get_mut(&number) {
            demand.cursor = group;
        }
    }

    /// Waits until somebody came or went.
    pub(crate) async fn changed(&self) {
        self.moved.notified().await;
    }

    /// Whether somebody waits for a part, which has no digest of its own to be checked by.
    pub(crate) fn has_part_reader(&self) -> bool {
        !self.lock().parts.is_empty()
    }

    /// What everybody waits for now.
    pub(crate) fn demands(&self) -> Vec<Demand> {
        self.lock().demands.values().copied().collect()
    }

    /// Notes that groups of somebody else than the origin are about to become readable: before they are, since a reader
    /// that follows closely has to be counted and, should they be taken back, told. `held` came from another source.
    pub(crate) fn expect_from(
        &self,
        kind: SourceKind,
        provenance: Provenance,
        span: GroupSpan,
        held: &GroupSet,
    ) {
        let mut seats = self.lock();
        let from = match (kind, provenance) {
            (SourceKind::Origin, _) => return,
            (SourceKind::Neighbour, Provenance::Nobody) => &mut seats.in_quarantine,
            (SourceKind::Neighbour, Provenance::Pieces) => &mut seats.in_pieces,
            (SourceKind::Neighbour, _) => &mut seats.from_neighbours,
            (SourceKind::Mirror, _) => &mut seats.from_mirrors,
        };
        for missing in held.missing_in(span) {
            from.insert(missing);
        }
    }

    /// Of what waited for the check of the whole only this is left; the rest was never shown.
    pub(crate) fn dropped(&self, left: &GroupSet) {
        let mut seats = self.lock();
        seats.from_mirrors = of_both(&seats.from_mirrors, left);
        seats.in_quarantine = of_both(&seats.in_quarantine, left);
    }

    /// Whether mirrors delivered any of what is here.
    pub(crate) fn is_mirrored(&self) -> bool {
        !self.lock().from_mirrors.is_empty()
    }

    /// Notes how much was delivered by whom.
    pub(crate) fn delivered(&self, kind: SourceKind, bytes: u64) {
        let mut seats = self.lock();
        match kind {
            SourceKind::Origin => seats.bytes.origin += bytes,
            SourceKind::Neighbour => seats.bytes.neighbour += bytes,
            SourceKind::Mirror => seats.bytes.mirror += bytes,
        }
    }

    /// Bytes that came from each kind of source.
    pub(crate) fn bytes_by_source(&self) -> BySource {
        self.lock().bytes
    }

    /// All groups that neighbours delivered under a claim and that were not thrown away.
    pub(crate) fn neighbour_groups(&self) -> GroupSet {
        let seats = self.lock();
        let mut groups = seats.from_neighbours.clone();
        seats.in_quarantine.spans().iter().for_each(|span| groups.insert(*span));
        groups
    }

    /// A body that came without a length is all here.
    pub(crate) fn length_told(&self, length: u64) {
        self.lock().length = Some(length);
        self.telling.notify_waiters();
    }

    /// The length of a body that came without one, once it is all here.
    pub(crate) fn length(&self) -> Option<u64> {
        self.lock().length
    }

    /// Resolves when the length becomes known after this call.
    pub(crate) fn telling(&self) -> Notified<'_> {
        self.telling.notified()
    }

    /// Resolves when groups are taken back after this call.
    pub(crate) fn retraction(&self) -> Notified<'_> {
        self.retraction.notified()
    }

    /// Whether the end is handed out only after the check of the whole.
    pub(crate) fn is_tail_checked(&self) -> bool {
        self.lock().check_the_tail
    }

    /// From now on the end of the object is handed out only after its check.
    pub(crate) fn check_the_tail(&self) {
        self.lock().check_the_tail = true;
    }

    /// What others than the origin delivered was thrown away. Whoever has read any of it knows by its body.
    pub(crate) fn retracted(&self) {
        let mut seats = self.lock();
        seats.from_neighbours = GroupSet::new();
        seats.in_quarantine = GroupSet::new();
        seats.in_pieces = GroupSet::new();
        seats.from_mirrors = GroupSet::new();
        drop(seats);
        self.retraction.notify_waiters();
    }

    /// The shelf has failed: whoever was given nothing but what the origin sent may have the rest from it too. What
    /// others sent counts only after the check of the whole, which there will not be.
    pub(crate) fn pass(&self, rest: Option<Rest>, origin: Option<Arc<dyn Source>>) {
        let is_doubtful = {
            let seats = self.lock();
            let from_others = [&seats.from_neighbours, &seats.in_quarantine, &seats.from_mirrors];
            from_others.iter().any(|groups| !groups.is_empty())
                || (seats.check_the_tail && !seats.on_shelf.is_empty())
        };
        if is_doubtful || (rest.is_none() && origin.is_none()) {
            return;
        }
        let first = rest.as_ref().map(Rest::first);
        if self.passing.set(Passing { rest: Mutex::new(rest), first, origin }).is_ok() {
            self.decide(Verdict::Passing);
        }
    }

    /// The first group that the shelf did not take of a lane that was cut off by that.
    pub(crate) fn passes_from(&self) -> Option<u64> {
        self.passing.get()?.first
    }

    /// What the shelf did not take, when it begins with this group and nobody has it yet.
    pub(crate) fn take_rest(&self, group: u64) -> Option<Rest> {
        let mut rest = self.passing.get()?.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = rest.take_if(|rest| rest.first() == group)?;
        drop(rest);
        self.moved.notify_one();
        Some(taken)
    }

    /// Waits until nobody can come any more for what the shelf did not take.
    pub(crate) async fn rest_taken(&self) {
        let is_left =
            |passing: &Passing| passing.rest.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        while self.passing.get().is_some_and(is_left) && !self.demands().is_empty() {
            self.changed().await;
        }
    }

    /// Who can be asked for the rest when the shelf has failed.
    pub(crate) fn origin_past_shelf(&self) -> Option<&Arc<dyn Source>> {
        self.passing.get()?.origin.as_ref()
    }

    /// Tells everybody what became of it.
    pub(crate) fn decide(&self, verdict: Verdict) {
        self.verdict.send_if_modified(|now| {
            // What was found right stays right.
            let news = *now == Verdict::Open && verdict != Verdict::Open;
            if news {
                *now = verdict;
            }
            news
        });
    }

    /// What became of it so far.
    pub(crate) fn verdict(&self) -> Verdict {
        *self.verdict.borrow()
    }

    pub(crate) async fn decided(&self) -> Verdict {
        let mut verdict = self.verdict.subscribe();
        let decided = verdict.wait_for(|verdict| *verdict != Verdict::Open).await;
        decided.map_or(Verdict::Ended, |verdict| *verdict)
    }

    pub(crate) fn count(&self, range: ByteRange, counters: &Counters) {
        let seats = self.lock();
        let bytes_in = |set: &GroupSet| -> u64 {
            let span = GroupSpan::covering(range);
            set.within(span).spans().iter().map(|part| overlap(*part, range)).sum()
        };
        let near = [&seats.from_neighbours, &seats.in_quarantine, &seats.in_pieces]
            .map(bytes_in)
            .iter()
            .sum::<u64>();
        let shelf = bytes_in(&seats.on_shelf);
        let mirrored = bytes_in(&seats.from_mirrors);
        counters.served(SourceKind::Neighbour).add(near);
        counters.served(SourceKind::Mirror).add(mirrored);
        counters.served_store.add(shelf);
        counters.served(SourceKind::Origin).add(range.len().saturating_sub(near + shelf + mirrored));
    }
}

/// A place in the audience, given up on drop.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) audience: Arc<Audience>,
    pub(crate) number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.audience.lock();
        seats.demands.remove(&self.number);
        seats.parts.remove(&self.number);
        drop(seats);
        self.audience.moved.notify_one();
    }
}

fn of_both(one: &GroupSet, other: &GroupSet) -> GroupSet {
    let mut both = GroupSet::new();
    for span in one.spans() {
        other.within(*span).spans().iter().for_each(|part| both.insert(*part));
    }
    both
}

fn overlap(span: GroupSpan, range: ByteRange) -> u64 {
    let span = span.bytes(u64::MAX);
    span.end().min(range.end()).saturating_sub(span.start().max(range.start()))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use kith_model::range::ChunkGroup;

    use super::*;

    fn rest() -> Rest {
        Rest::new(ChunkGroup(9), VecDeque::new(), None)
    }

    #[test]
    fn what_others_sent_is_no_beginning_for_a_rest_that_nobody_checks() {
        let span = GroupSpan::clamped(3, 5);
        for (kind, provenance, passes) in [
            (SourceKind::Origin, Provenance::Origin, true),
            (SourceKind::Neighbour, Provenance::Pieces, true),
            (SourceKind::Neighbour, Provenance::Nobody, false),
            (SourceKind::Mirror, Provenance::Nobody, false),
        ] {
            let audience = Audience::new(GroupSet::new(), true);
            audience.expect_from(kind, provenance, span, &GroupSet::new());
            audience.pass(Some(rest()), None);
            assert_eq!(audience.take_rest(9).is_some(), passes, "{kind:?}, {provenance:?}");
            assert_eq!(audience.verdict() == Verdict::Passing, passes);
        }
        for (is_checked, passes) in [(true, false), (false, true)] {
            let audience = Audience::new(GroupSet::of(span), is_checked);
            audience.pass(Some(rest()), None);
            assert_eq!(audience.take_rest(9).is_some(), passes, "an earlier fetch left some of it");
        }
    }

    #[test]
    fn the_rest_is_for_one_who_has_come_so_far() {
        let audience = Audience::new(GroupSet::new(), false);
        audience.pass(Some(rest()), None);
        assert!(audience.take_rest(8).is_none());
        assert!(audience.take_rest(9).is_some());
        assert!(audience.take_rest(9).is_none());
    }
}
