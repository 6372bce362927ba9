//! The way past the shelf: what a reader gets when the shelf fails under its fetch.
//!
//! The rest comes straight from the origin: over the lane whose bytes the shelf did not take, by the one reader that
//! comes there first, or over a new one, bound to the same version. It is neither kept nor checked, as all that passes
//! through. Knows nothing of why the shelf failed, nor of who else reads.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kith_model::range::{ChunkGroup, GROUP_BYTES, GroupSpan};

use crate::source::{Lane, Source, SourceError};

/// What a lane of the origin brings from the first bytes on that the shelf did not take.
pub(crate) struct Rest {
    first: ChunkGroup,
    came: VecDeque<Bytes>,
    /// Nothing once it has ended.
    lane: Option<Box<dyn Lane>>,
}

impl Rest {
    /// `came` begins with the group `first`.
    pub(crate) fn new(first: ChunkGroup, came: VecDeque<Bytes>, lane: Option<Box<dyn Lane>>) -> Self {
        Self { first, came, lane }
    }

    /// Its first group.
    pub(crate) fn first(&self) -> u64 {
        self.first.0
    }

    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        if let Some(bytes) = self.came.pop_front() {
            return Ok(Some(bytes));
        }
        let Some(lane) = &mut self.lane else { return Ok(None) };
        Ok(lane.next().await?.map(|run| run.bytes().clone()))
    }
}

/// The rest of one reader's range.
pub(crate) struct PastShelf {
    rest: Rest,
    /// What came and was not handed out.
    came: Bytes,
    /// Bytes in front of the range that come with its first group.
    skip: u64,
    /// Bytes that are wanted; open while the length is not known.
    left: Option<u64>,
}

impl PastShelf {
    /// Of what comes over a lane, what lies between two offsets. It begins with the group of the first.
    pub(crate) fn over(rest: Rest, at: u64, end: Option<u64>) -> Self {
        let left = end.map(|end| end.saturating_sub(at));
        Self { rest, came: Bytes::new(), skip: at % GROUP_BYTES, left }
    }

    /// Asks for what lies between two offsets.
    ///
    /// # Cancel safety
    /// Dropping the future asks for nothing further.
    pub(crate) async fn ask(
        origin: &Arc<dyn Source>,
        at: u64,
        end: Option<u64>,
    ) -> Result<Self, SourceError> {
        let first = ChunkGroup(at / GROUP_BYTES);
        let last = end.map_or(u64::MAX, |end| end.div_ceil(GROUP_BYTES));
        let lane = origin.open(GroupSpan::clamped(first.0, last)).await?;
        Ok(Self::over(Rest::new(first, VecDeque::new(), Some(lane)), at, end))
    }

    /// The next bytes, in order; nothing at the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self, bytes_max: u64) -> Result<Option<Bytes>, SourceError> {
        while self.left != Some(0) {
            let skipped = split_front(&mut self.came, self.skip);
            self.skip -= skipped.len() as u64;
            if !self.came.is_empty() {
                let bytes = split_front(&mut self.came, bytes_max.min(self.left.unwrap_or(u64::MAX)));
                self.left = self.left.map(|left| left - bytes.len() as u64);
                return Ok(Some(bytes));
            }
            match self.rest.next().await? {
                Some(bytes) => self.came = bytes,
                None if self.left.is_none() => return Ok(None),
                None => return Err(SourceError::BrokeOff("less came than there is".into())),
            }
        }
        Ok(None)
    }
}

fn split_front(bytes: &mut Bytes, count_max: u64) -> Bytes {
    let count = usize::try_from(count_max).unwrap_or(usize::MAX).min(bytes.len());
    bytes.split_to(count)
}

impl std::fmt::Debug for PastShelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PastShelf").field("left", &self.left).finish_non_exhaustive()
    }
}
