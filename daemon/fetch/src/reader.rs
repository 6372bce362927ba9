//! Reads one range of an object in order, while it arrives or after: the only way bytes reach a client by way of
//! the store.
//!
//! A reader tells its job where it stands, so that the plan fetches what it waits for; dropping it is how a job
//! learns that nobody waits any more. When the shelf fails, the rest comes past it (`past_shelf`).

use std::sync::Arc;

use bytes::Bytes;
use kith_model::range::{ByteRange, ChunkGroup, GROUP_BYTES};
use kith_store::Body;
pub use kith_store::FileExtent;

use crate::audience::{Audience, Seat, Verdict};
use crate::counters::Counters;
use crate::past_shelf::PastShelf;
use crate::plan::Demand;
use crate::source::SourceKind;

/// Bytes handed out at once at most: 256 KiB, where copying is cheapest (larger leaves the processor's cache).
pub const PIECE_BYTES: u64 = 256 * 1024;

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
    extent: Extent,
    /// The rest, when the shelf has failed meanwhile.
    past_shelf: Option<Box<PastShelf>>,
}

/// How much of the object a reader is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it: its end comes after the check of the whole.
    Whole,
    /// A part: the rest may never be fetched, so that there is nothing to wait for.
    Part,
}

impl Reader {
    pub(crate) fn stored(body: Body, range: ByteRange, counters: Arc<Counters>) -> Self {
        let (at, end) = (range.start(), Some(range.end()));
        Self { body, at, end, counters, seat: None, extent: Extent::Part, past_shelf: None }
    }

    pub(crate) fn arriving(
        body: Body,
        start: u64,
        end: Option<u64>,
        counters: Arc<Counters>,
        audience: &Arc<Audience>,
        extent: Extent,
    ) -> Self {
        let seat = audience.sit(Demand { cursor: start / GROUP_BYTES, end: end_group(end) }, extent);
        Self { body, at: start, end, counters, seat: Some(seat), extent, past_shelf: None }
    }

    /// Bytes still to come; nothing while the length is not known.
    pub fn remaining(&self) -> Option<u64> {
        self.known_end().map(|end| end.saturating_sub(self.at))
    }

    fn known_end(&self) -> Option<u64> {
        let told = || self.seat.as_ref().and_then(|seat| seat.audience.length());
        self.end.or_else(|| self.body.length()).or_else(told)
    }

    /// The next piece, in order, as soon as it is here; nothing at the end of the range.
    ///
    /// To who reads the whole of an object that has to be checked, the last piece comes after the check: a client never
    /// gets a complete response that is wrong. A part cannot be checked by a digest of the whole.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the piece is read again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        self.next_within(PIECE_BYTES).await
    }

    /// The same, of at most `bytes_max` bytes, for who cannot give a whole piece's memory away.
    ///
    /// # Cancel safety
    /// As of [`Self::next`].
    pub async fn next_within(&mut self, bytes_max: u64) -> Result<Option<Bytes>, ReadError> {
        let bytes_max = bytes_max.clamp(1, PIECE_BYTES);
        if self.past_shelf.is_none() {
            match self.next_stored(bytes_max).await {
                Err(error) => self.past_shelf = Some(Box::new(self.leave_shelf(error).await?)),
                read => return read,
            }
        }
        let Some(past_shelf) = &mut self.past_shelf else { return Ok(None) };
        let Some(bytes) = past_shelf.next(bytes_max).await.map_err(|_| ReadError::Incomplete)? else {
            return Ok(None);
        };
        self.at += bytes.len() as u64;
        for counter in [self.counters.fetched(SourceKind::Origin), self.counters.served(SourceKind::Origin)] {
            counter.add(bytes.len() as u64);
        }
        Ok(Some(bytes))
    }

    /// Goes on with the lane that the shelf did not take, or asks the origin for the rest itself, when the shelf has
    /// failed.
    async fn leave_shelf(&mut self, error: ReadError) -> Result<PastShelf, ReadError> {
        let (at, end) = (self.at, self.known_end());
        let Some(seat) = &self.seat else { return Err(error) };
        if let Some(rest) = seat.audience.take_rest(at / GROUP_BYTES) {
            return Ok(PastShelf::over(rest, at, end));
        }
        let origin = seat.audience.origin_past_shelf().ok_or(error)?;
        PastShelf::ask(origin, at, end).await.map_err(|_| ReadError::Incomplete)
    }

    async fn next_stored(&mut self, bytes_max: u64) -> Result<Option<Bytes>, ReadError> {
        loop {
            let end = self.known_end();
            self.not_misled()?;
            if end.is_some_and(|end| self.at >= end) {
                return Ok(None);
            }
            let group = self.at / GROUP_BYTES;
            let visible = self.readable_from(group, end);
            if visible == 0 {
                self.wait_for(group + u64::from(end.is_none() && self.body.visible_from(group) > 0)).await?;
                continue;
            }
            let there = ChunkGroup(group.saturating_add(visible)).offset();
            let to = there.min(self.at.saturating_add(bytes_max)).min(end.unwrap_or(u64::MAX));
            let Some(range) = ByteRange::new(self.at, to).filter(|range| !range.is_empty()) else {
                return Err(ReadError::Incomplete);
            };
            if Some(to) == end && !self.tail_may_go().await? {
                continue;
            }
            let bytes = self.body.read_front(range, bytes_max * 2).await.map_err(ReadError::Shelf)?;
            let Some(read) = ByteRange::new(self.at, self.at + bytes.len() as u64) else {
                return Err(ReadError::Incomplete);
            };
            self.count(read);
            self.at = read.end();
            self.tell(self.at / GROUP_BYTES);
            return Ok(Some(bytes));
        }
    }

    /// The next bytes, at most `bytes_max`, as a place in a file of the shelf that they can be sent from without being
    /// read; nothing when they have to be read, or there are none.
    pub fn next_extent(&mut self, bytes_max: u64) -> Option<FileExtent> {
        // What still arrives may be taken back until it was checked.
        if self.seat.is_some() {
            return None;
        }
        let end = self.end?.min(self.at.saturating_add(bytes_max));
        let extent = self.body.extent(ByteRange::new(self.at, end)?)?;
        self.count(extent.range());
        self.at = end;
        Some(extent)
    }

    /// How many groups can be handed out from `group` on. The last one of a body without a length may be short: it is
    /// handed out when the next one, or the length, is here.
    fn readable_from(&self, group: u64, end: Option<u64>) -> u64 {
        let visible = self.body.visible_from(group);
        let passes_from = || self.seat.as_ref().and_then(|seat| seat.audience.passes_from());
        if end.is_some() || passes_from().is_some_and(|first| group.saturating_add(visible) <= first) {
            return visible;
        }
        visible.saturating_sub(1)
    }

    async fn wait_for(&mut self, group: u64) -> Result<(), ReadError> {
        self.tell(group);
        let Some(seat) = &self.seat else { return Err(ReadError::Incomplete) };
        let telling = seat.audience.telling();
        if self.end.is_none() && seat.audience.length().is_some() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = telling => Ok(()),
            changed = self.body.changed(group) => changed.map_err(|_| ReadError::Incomplete),
            verdict = seat.audience.decided() => match verdict {
                // What is right is complete; the store shows it in the same breath.
                Verdict::Right | Verdict::Open => self.body.changed(group).await.map_err(|_| ReadError::Incomplete),
                Verdict::Passing if self.readable_from(self.at / GROUP_BYTES, self.known_end()) > 0 => Ok(()),
                Verdict::Ended if self.body.visible_from(group) > 0 => Ok(()),
                Verdict::Passing | Verdict::Ended => Err(ReadError::Incomplete),
            },
        }
    }

    /// Whether the last piece may be handed out now; waits for the check when there is one.
    async fn tail_may_go(&mut self) -> Result<bool, ReadError> {
        let Some(seat) = &self.seat else { return Ok(true) };
        if self.extent == Extent::Part
            || !seat.audience.is_tail_checked()
            || seat.audience.verdict() == Verdict::Right
        {
            return Ok(true);
        }
        // The group may be taken back while we wait; then it has to come again.
        tokio::select! {
            biased;
            verdict = seat.audience.decided() => match verdict {
                Verdict::Right => Ok(true),
                Verdict::Open | Verdict::Passing | Verdict::Ended => Err(ReadError::Incomplete),
            },
            () = seat.audience.retraction() => Ok(false),
        }
    }

    /// Whoever was shown bytes that turned out wrong must not see a proper end.
    fn not_misled(&self) -> Result<(), ReadError> {
        if self.body.is_misled() { Err(ReadError::Incomplete) } else { Ok(()) }
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
