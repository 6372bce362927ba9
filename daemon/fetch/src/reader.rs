//! Reads one range of an object in order, while it arrives or after: the only way bytes reach a client by way of
//! the store.
//!
//! A reader tells its job where it stands, so that the plan fetches what it waits for; dropping it is how a job
//! learns that nobody waits any more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kith_model::range::{ByteRange, ChunkGroup, GROUP_BYTES, GroupSet, GroupSpan};
use kith_store::Body;
use tokio::sync::{Notify, watch};

use crate::counters::Counters;
use crate::plan::Demand;
use crate::source::SourceKind;

/// Bytes handed out at once at most: 256 KiB, where copying is cheapest (larger leaves the processor's cache).
const PIECE_BYTES: u64 = 256 * 1024;

/// Why a reader stops before its range is through. The client must see an incomplete transfer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The fetch ended before these bytes came.
    #[error("the fetch ended before the object was complete")]
    Incomplete,
    /// The shelf cannot give them.
    #[error("the shelf could not be read")]
    Shelf(#[source] kith_store::ReadError),
}

/// Reads a range of one object.
#[derive(Debug)]
pub struct Reader {
    body: Body,
    began: u64,
    at: u64,
    /// One past the last byte; open while the length is not known.
    end: Option<u64>,
    counters: Arc<Counters>,
    seat: Option<Seat>,
}

impl Reader {
    pub(crate) fn stored(body: Body, range: ByteRange, counters: Arc<Counters>) -> Self {
        Self { body, began: range.start(), at: range.start(), end: Some(range.end()), counters, seat: None }
    }

    pub(crate) fn arriving(
        body: Body,
        start: u64,
        end: Option<u64>,
        counters: Arc<Counters>,
        audience: &Arc<Audience>,
    ) -> Self {
        let seat = audience.sit(Demand { cursor: start / GROUP_BYTES, end: end_group(end) });
        Self { body, began: start, at: start, end, counters, seat: Some(seat) }
    }

    /// Bytes still to come; nothing while the length is not known.
    pub fn remaining(&self) -> Option<u64> {
        self.known_end().map(|end| end.saturating_sub(self.at))
    }

    fn known_end(&self) -> Option<u64> {
        let told = || self.seat.as_ref().and_then(|seat| seat.audience.lock().length);
        self.end.or_else(|| self.body.length()).or_else(told)
    }

    /// The next piece, in order, as soon as it is here; nothing at the end of the range.
    ///
    /// The last piece of an object whose whole has to be checked comes after the check: a client never gets a complete
    /// response that is wrong.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the piece is read again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            let end = self.known_end();
            self.not_misled()?;
            if end.is_some_and(|end| self.at >= end) {
                return Ok(None);
            }
            let group = self.at / GROUP_BYTES;
            let mut visible = self.body.visible_from(group);
            if end.is_none() {
                // The last group of a body without a length may be short: it is handed out when the next one, or
                // the length, is here.
                visible = visible.saturating_sub(1);
            }
            if visible == 0 {
                self.wait_for(group + u64::from(end.is_none() && self.body.visible_from(group) > 0)).await?;
                continue;
            }
            let there = ChunkGroup(group.saturating_add(visible)).offset();
            let to = there.min(self.at + PIECE_BYTES).min(end.unwrap_or(u64::MAX));
            let Some(range) = ByteRange::new(self.at, to).filter(|range| !range.is_empty()) else {
                return Err(ReadError::Incomplete);
            };
            if Some(to) == end && !self.tail_may_go().await? {
                continue;
            }
            let bytes = self.body.read(range).await.map_err(ReadError::Shelf)?;
            self.count(range);
            self.at = range.end();
            self.tell(self.at / GROUP_BYTES);
            return Ok(Some(bytes));
        }
    }

    async fn wait_for(&self, group: u64) -> Result<(), ReadError> {
        self.tell(group);
        let Some(seat) = &self.seat else { return Err(ReadError::Incomplete) };
        let telling = seat.audience.telling.notified();
        if self.end.is_none() && seat.audience.lock().length.is_some() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = telling => Ok(()),
            changed = self.body.changed(group) => changed.map_err(|_| ReadError::Incomplete),
            verdict = seat.audience.decided() => match verdict {
                // What is right is complete; the store shows it in the same breath.
                Verdict::Right | Verdict::Open => self.body.changed(group).await.map_err(|_| ReadError::Incomplete),
                Verdict::Ended if self.body.visible_from(group) > 0 => Ok(()),
                Verdict::Ended => Err(ReadError::Incomplete),
            },
        }
    }

    /// Whether the last piece may be handed out now; waits for the check when there is one.
    async fn tail_may_go(&self) -> Result<bool, ReadError> {
        let Some(seat) = &self.seat else { return Ok(true) };
        if !seat.audience.lock().check_the_tail || seat.audience.verdict() == Verdict::Right {
            return Ok(true);
        }
        // The group may be taken back while we wait; then it has to come again.
        tokio::select! {
            biased;
            verdict = seat.audience.decided() => match verdict {
                Verdict::Right => Ok(true),
                Verdict::Open | Verdict::Ended => Err(ReadError::Incomplete),
            },
            () = seat.audience.retraction.notified() => Ok(false),
        }
    }

    /// Whoever was shown bytes that turned out wrong must not see a proper end.
    fn not_misled(&self) -> Result<(), ReadError> {
        let Some(seat) = &self.seat else { return Ok(()) };
        let read = GroupSpan::clamped(self.began / GROUP_BYTES, self.at.div_ceil(GROUP_BYTES));
        if seat.audience.lock().wrong.within(read).is_empty() { Ok(()) } else { Err(ReadError::Incomplete) }
    }

    fn tell(&self, group: u64) {
        if let Some(seat) = &self.seat {
            seat.audience.move_to(seat.number, group);
        }
    }

    fn count(&self, range: ByteRange) {
        match &self.seat {
            None => self.counters.served_store.add(range.len()),
            Some(seat) => seat.audience.count(range, &self.counters),
        }
    }
}

fn end_group(end: Option<u64>) -> u64 {
    end.map_or(u64::MAX, |end| end.div_ceil(GROUP_BYTES))
}

/// A place in the audience, given up on drop.
#[derive(Debug)]
struct Seat {
    audience: Arc<Audience>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.audience.lock().demands.remove(&self.number);
        self.audience.moved.notify_one();
    }
}

/// What became of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It arrives.
    Open,
    /// The whole is here and is what it should be.
    Right,
    /// The fetch ended; nothing more will come.
    Ended,
}

/// Everybody who reads an arriving object, and who delivered what.
#[derive(Debug)]
pub(crate) struct Audience {
    seats: Mutex<Seats>,
    /// Somebody came, went, or moved on by so much that the plan should know.
    moved: Notify,
    sat: AtomicU64,
    verdict: watch::Sender<Verdict>,
    retraction: Notify,
    telling: Notify,
}

#[derive(Debug, Default)]
struct Seats {
    demands: BTreeMap<u64, Demand>,
    /// What an earlier fetch had left.
    on_shelf: GroupSet,
    from_neighbours: GroupSet,
    origin_bytes: u64,
    neighbour_bytes: u64,
    /// What was readable and turned out wrong.
    wrong: GroupSet,
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
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sit(self: &Arc<Self>, demand: Demand) -> Seat {
        let number = self.sat.fetch_add(1, Relaxed);
        self.lock().demands.insert(number, demand);
        self.moved.notify_one();
        Seat { audience: Arc::clone(self), number }
    }

    fn move_to(&self, number: u64, group: u64) {
        if let Some(demand) = self.lock().demands.get_mut(&number) {
            demand.cursor = group;
        }
    }

    /// Waits until somebody came or went.
    pub(crate) async fn changed(&self) {
        self.moved.notified().await;
    }

    /// What everybody waits for now.
    pub(crate) fn demands(&self) -> Vec<Demand> {
        self.lock().demands.values().copied().collect()
    }

    /// Notes who delivered groups, for the counts of what clients were served from where.
    pub(crate) fn delivered(&self, span: GroupSpan, kind: SourceKind, bytes: u64) {
        let mut seats = self.lock();
        match kind {
            SourceKind::Origin => seats.origin_bytes += bytes,
            SourceKind::Neighbour => {
                seats.neighbour_bytes += bytes;
                seats.from_neighbours.insert(span);
            }
        }
    }

    /// Bytes that came from the origin and from neighbours.
    pub(crate) fn bytes_by_source(&self) -> (u64, u64) {
        let seats = self.lock();
        (seats.origin_bytes, seats.neighbour_bytes)
    }

    /// All groups that neighbours delivered and that were not thrown away.
    pub(crate) fn neighbour_groups(&self) -> GroupSet {
        self.lock().from_neighbours.clone()
    }

    /// A body that came without a length is all here.
    pub(crate) fn length_told(&self, length: u64) {
        self.lock().length = Some(length);
        self.telling.notify_waiters();
    }

    /// From now on the end of the object is handed out only after its check.
    pub(crate) fn check_the_tail(&self) {
        self.lock().check_the_tail = true;
    }

    /// What neighbours delivered was thrown away; whoever was shown any of it must not get a complete response.
    pub(crate) fn retracted(&self, shown: bool) {
        let mut seats = self.lock();
        let lies = std::mem::take(&mut seats.from_neighbours);
        if shown {
            for span in lies.spans() {
                seats.wrong.insert(*span);
            }
        }
        drop(seats);
        self.retraction.notify_waiters();
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

    async fn decided(&self) -> Verdict {
        let mut verdict = self.verdict.subscribe();
        let decided = verdict.wait_for(|verdict| *verdict != Verdict::Open).await;
        decided.map_or(Verdict::Ended, |verdict| *verdict)
    }

    fn count(&self, range: ByteRange, counters: &Counters) {
        let seats = self.lock();
        let bytes_in = |set: &GroupSet| -> u64 {
            let span = GroupSpan::covering(range);
            set.within(span).spans().iter().map(|part| overlap(*part, range)).sum()
        };
        let (near, shelf) = (bytes_in(&seats.from_neighbours), bytes_in(&seats.on_shelf));
        counters.served(SourceKind::Neighbour).add(near);
        counters.served_store.add(shelf);
        counters.served(SourceKind::Origin).add(range.len().saturating_sub(near + shelf));
    }
}

fn overlap(span: GroupSpan, range: ByteRange) -> u64 {
    let span = span.bytes(u64::MAX);
    span.end().min(range.end()).saturating_sub(span.start().max(range.start()))
}
