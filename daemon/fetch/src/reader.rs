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
use tokio::sync::Notify;

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
    at: u64,
    /// One past the last byte; open while the length is not known.
    end: Option<u64>,
    counters: Arc<Counters>,
    seat: Option<Seat>,
}

impl Reader {
    pub(crate) fn stored(body: Body, range: ByteRange, counters: Arc<Counters>) -> Self {
        Self { body, at: range.start(), end: Some(range.end()), counters, seat: None }
    }

    pub(crate) fn arriving(
        body: Body,
        start: u64,
        end: Option<u64>,
        counters: Arc<Counters>,
        audience: &Arc<Audience>,
    ) -> Self {
        let seat = audience.sit(Demand { cursor: start / GROUP_BYTES, end: end_group(end) });
        Self { body, at: start, end, counters, seat: Some(seat) }
    }

    /// Bytes still to come; nothing while the length is not known.
    pub fn remaining(&self) -> Option<u64> {
        self.end.or(self.body.length()).map(|end| end.saturating_sub(self.at))
    }

    /// The next piece, in order, as soon as it is here; nothing at the end of the range.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the piece is read again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            let end = self.end.or(self.body.length());
            if end.is_some_and(|end| self.at >= end) {
                return Ok(None);
            }
            let group = self.at / GROUP_BYTES;
            let visible = self.body.visible_from(group);
            if visible == 0 {
                self.tell(group);
                self.body.changed(group).await.map_err(|_| ReadError::Incomplete)?;
                continue;
            }
            let there = ChunkGroup(group.saturating_add(visible)).offset();
            // Without a length only whole groups count as here, so the last one is seen when the length is.
            let to = there.min(self.at + PIECE_BYTES).min(end.unwrap_or(u64::MAX));
            let Some(range) = ByteRange::new(self.at, to).filter(|range| !range.is_empty()) else {
                return Err(ReadError::Incomplete);
            };
            let bytes = self.body.read(range).await.map_err(ReadError::Shelf)?;
            self.count(range);
            self.at = range.end();
            self.tell(self.at / GROUP_BYTES);
            return Ok(Some(bytes));
        }
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

/// Everybody who reads an arriving object, and who delivered what.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    inner: Mutex<Seats>,
    /// Somebody came, went, or moved on by so much that the plan should know.
    moved: Notify,
    sat: AtomicU64,
}

#[derive(Debug, Default)]
struct Seats {
    demands: BTreeMap<u64, Demand>,
    from_neighbours: GroupSet,
    on_shelf: GroupSet,
}

impl Audience {
    /// `on_shelf` is what an earlier fetch had left.
    pub(crate) fn new(on_shelf: GroupSet) -> Self {
        Self { inner: Mutex::new(Seats { on_shelf, ..Seats::default() }), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(crate) fn delivered(&self, span: GroupSpan, kind: SourceKind) {
        if kind == SourceKind::Neighbour {
            self.lock().from_neighbours.insert(span);
        }
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
