//! Counts of requests by what came of them, for metrics. Bytes are counted by the fetch room.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Served from the shelf without asking.
    Hit,
    /// Served from the shelf after the origin confirmed it.
    Confirmed,
    /// Served from the shelf as the origin could not be reached.
    Stale,
    /// Fetched and stored.
    Miss,
    /// Fetched by joining a fetch under way.
    Collapsed,
    /// Passed from the origin without storing.
    Passed,
    /// A page of ours.
    Page,
    /// Refused: the asker's fault or our rules.
    Refused,
    /// Failed: the origin, the uplink or the box.
    Failed,
}

impl Outcome {
    const ALL: [Outcome; 9] = [
        Outcome::Hit,
        Outcome::Confirmed,
        Outcome::Stale,
        Outcome::Miss,
        Outcome::Collapsed,
        Outcome::Passed,
        Outcome::Page,
        Outcome::Refused,
        Outcome::Failed,
    ];

    /// The value of the `result` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Hit => "hit",
            Outcome::Confirmed => "confirmed",
            Outcome::Stale => "stale",
            Outcome::Miss => "miss",
            Outcome::Collapsed => "collapsed",
            Outcome::Passed => "passed",
            Outcome::Page => "page",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        }
    }
}

/// Counts that only ever grow.
#[derive(Debug, Default)]
pub struct Counters {
    requests: [AtomicU64; Outcome::ALL.len()],
    connections: AtomicU64,
}

impl Counters {
    /// Requests by result: (label, count).
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Outcome::ALL
            .iter()
            .zip(&self.requests)
            .map(|(outcome, count)| (outcome.as_str(), count.load(Relaxed)))
    }

    /// Connections accepted.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        self.requests[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_connection(&self) {
        self.connections.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_counts_under_its_own_label() {
        let counters = Counters::default();
        for outcome in Outcome::ALL {
            counters.count(outcome);
        }
        assert!(counters.requests().all(|(_, count)| count == 1));
        let mut labels: Vec<_> = counters.requests().map(|(label, _)| label).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Outcome::ALL.len());
    }
}
