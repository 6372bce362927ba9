//! Counts that only ever grow, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::source::SourceKind;

/// A count.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Reads it.
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What the fetcher counts since start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes given to clients that lay on the shelf before they asked.
    pub served_store: Counter,
    /// Bytes given to clients that the origin delivered for a job they had joined.
    pub served_origin: Counter,
    /// Bytes given to clients that a neighbour delivered for a job they had joined.
    pub served_neighbour: Counter,
    /// Bytes given to clients that a mirror delivered for a job they had joined.
    pub served_mirror: Counter,
    /// Body bytes that origins delivered, also those nobody read.
    pub fetched_origin: Counter,
    /// Body bytes that neighbours delivered, all verified.
    pub fetched_neighbour: Counter,
    /// Body bytes that mirrors delivered, also those that turned out wrong.
    pub fetched_mirror: Counter,
    /// Requests sent to origins.
    pub asked: Counter,
    /// Groups that came proven by a tree.
    pub groups_proven: Counter,
    /// Wholes of origins that were not what they said themselves.
    pub mismatched_origin: Counter,
    /// Pieces and wholes of mirrors that were not what the origin said. Neighbours are counted in their own room.
    pub mismatched_mirror: Counter,
    /// Objects whose whole was not what a claim or digest said.
    pub false_claims: Counter,
    /// Milliseconds that clients were spared, against the rate of the origin in the same job.
    pub saved_ms: Counter,
}

/// Bytes that each kind of source delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BySource {
    /// The website itself.
    pub origin: u64,
    /// Other boxes.
    pub neighbour: u64,
    /// Other websites.
    pub mirror: u64,
}

impl Counters {
    pub(crate) fn fetched(&self, kind: SourceKind) -> &Counter {
        match kind {
            SourceKind::Origin => &self.fetched_origin,
            SourceKind::Neighbour => &self.fetched_neighbour,
            SourceKind::Mirror => &self.fetched_mirror,
        }
    }

    pub(crate) fn served(&self, kind: SourceKind) -> &Counter {
        match kind {
            SourceKind::Origin => &self.served_origin,
            SourceKind::Neighbour => &self.served_neighbour,
            SourceKind::Mirror => &self.served_mirror,
        }
    }
}
