//! The last runs of an arriving object, still in memory: who reads right behind the writer gets the bytes that were
//! just written without asking the disk for them.
//!
//! A shortcut and nothing more: all of it is in the file as well, and whether it may be read is not decided here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use kith_model::limits::{EDGE_BYTES_MAX, EDGE_OBJECT_BYTES_MAX, EDGE_RUN_BYTES_MIN};
use kith_model::verify::Run;

/// What all objects together keep, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Budget(AtomicUsize);

impl Budget {
    fn take(&self, bytes: usize) -> bool {
        let grown = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= EDGE_BYTES_MAX);
        self.0.fetch_update(Relaxed, Relaxed, grown).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }
}

/// The last runs of one object, the youngest at the end. No two overlap.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    runs: VecDeque<(u64, Bytes)>,
    /// Sum of their lengths, taken from the budget.
    bytes: usize,
    budget: Arc<Budget>,
}

impl Edge {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { runs: VecDeque::new(), bytes: 0, budget }
    }

    /// Keeps what was just written, as far as there is room for it. What it was written over is forgotten.
    pub(crate) fn keep(&mut self, run: &Run) {
        let (start, len) = (run.first().offset(), run.bytes().len());
        let end = start.saturating_add(len as u64);
        self.forget(|at, bytes| at < end && start < at.saturating_add(bytes.len() as u64));
        // A small run may hang on a far larger buffer.
        if !(EDGE_RUN_BYTES_MIN..=EDGE_OBJECT_BYTES_MAX).contains(&len) {
            return;
        }
        while self.bytes + len > EDGE_OBJECT_BYTES_MAX {
            self.drop_oldest();
        }
        if self.budget.take(len) {
            self.bytes += len;
            self.runs.push_back((start, run.bytes().clone()));
        }
    }

    /// Bytes from `start` on, at most `len_max`, out of a run of at most `run_max` bytes: a reader that is slow holds
    /// on to all of the run.
    pub(crate) fn from(&self, start: u64, len_max: u64, run_max: u64) -> Option<Bytes> {
        let holds = |(at, bytes): &&(u64, Bytes)| *at <= start && start - *at < bytes.len() as u64;
        let (at, bytes) = self.runs.iter().rev().find(holds)?;
        if bytes.len() as u64 > run_max {
            return None;
        }
        let skip = usize::try_from(start - at).ok()?;
        let len = usize::try_from(len_max).unwrap_or(usize::MAX).min(bytes.len() - skip);
        Some(bytes.slice(skip..skip + len))
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.budget.give_back(std::mem::take(&mut self.bytes));
    }

    fn forget(&mut self, is_meant: impl Fn(u64, &Bytes) -> bool) {
        self.runs.retain(|(at, bytes)| !is_meant(*at, bytes));
        let left = self.runs.iter().map(|(_, bytes)| bytes.len()).sum();
        self.budget.give_back(self.bytes - left);
        self.bytes = left;
    }

    fn drop_oldest(&mut self) {
        if let Some((_, bytes)) = self.runs.pop_front() {
            self.bytes -= bytes.len();
            self.budget.give_back(bytes.len());
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use kith_model::range::{ChunkGroup, GROUP_BYTES};

    use super::*;

    const RUN: usize = EDGE_OBJECT_BYTES_MAX / 2;

    fn run(group: u64, len: usize, fill: u8) -> Run {
        Run::from_origin(ChunkGroup(group), vec![fill; len].into())
    }

    fn groups(len: usize) -> u64 {
        len as u64 / GROUP_BYTES
    }

    #[test]
    fn the_last_runs_are_kept_and_older_ones_make_room() {
        let mut edge = Edge::default();
        for number in 0..3u8 {
            edge.keep(&run(u64::from(number) * groups(RUN), RUN, number));
        }
        let len = RUN as u64;
        assert!(edge.from(0, len, len).is_none());
        assert_eq!(edge.from(len + 5, 7, len).expect("kept"), vec![1; 7]);
        assert_eq!(edge.from(3 * len - 5, 7, len).expect("kept"), vec![2; 5]);
        assert!(edge.from(3 * len, 7, len).is_none());
        assert!(edge.from(len, 7, len - 1).is_none(), "a slow reader is not given a large run to hold");
    }

    #[test]
    fn what_was_written_over_is_forgotten() {
        let mut edge = Edge::default();
        edge.keep(&run(0, RUN, 1));
        edge.keep(&run(1, 16 * 1024, 2));
        assert!(edge.from(0, 1, u64::MAX).is_none());
        assert_eq!(edge.bytes, 0);
    }

    #[test]
    fn all_objects_together_keep_a_bounded_number_of_bytes() {
        let budget = Arc::new(Budget::default());
        let mut all: Vec<Edge> = Vec::new();
        for _ in 0..3 * EDGE_BYTES_MAX / EDGE_OBJECT_BYTES_MAX {
            let mut edge = Edge::new(Arc::clone(&budget));
            edge.keep(&run(0, EDGE_OBJECT_BYTES_MAX, 1));
            all.push(edge);
        }
        let kept: usize = all.iter().map(|edge| edge.bytes).sum();
        assert_eq!(kept, EDGE_BYTES_MAX);
        drop(all);
        assert_eq!(budget.0.load(Relaxed), 0);
    }
}
