//! What a plan knows of each of its sources: the facts it was told, and what their lanes have shown since.
//!
//! Knows no lane and no span: lanes report groups and seconds, the plan asks for rates and ranks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::terms::{Facts, Place, SourceId};

/// A source that fails so often without a group in between is given up.
const FAILURES_MAX: u32 = 5;

/// First pause after a failure; doubled each time, with jitter.
const PAUSE: Duration = Duration::from_millis(200);

/// Time constant of the rate average.
const RATE_WINDOW_S: f64 = 1.0;

/// One source.
#[derive(Debug)]
pub(super) struct SourceState {
    pub(super) facts: Facts,
    pub(super) delivered: u64,
    /// Seconds in which lanes were open, each lane counted.
    pub(super) active_s: f64,
    /// Groups a second; nothing until measured.
    pub(super) rate: Option<f64>,
    failures: u32,
    pub(super) rests_until: Duration,
    pub(super) useless: bool,
}

impl SourceState {
    /// Counts groups that took so long to come. The rate is the plain average at first and an exponentially
    /// weighted one later, so that neither a first burst nor an old past tells the speed.
    pub(super) fn deliver(&mut self, groups: u64, seconds: f64) {
        self.failures = 0;
        self.delivered += groups;
        self.active_s += seconds;
        let window = self.active_s.min(RATE_WINDOW_S);
        let weight = if window > 0.0 { (seconds / window).min(1.0) } else { 1.0 };
        let now = as_f64(groups) / seconds.max(1e-4);
        self.rate = Some(self.rate.map_or(now, |before| before + weight * (now - before)));
    }

    /// Somebody had to wait: what it delivered before no longer tells how fast it is.
    pub(super) fn stall(&mut self) {
        self.rate = Some(0.0);
    }

    /// A lane broke off: it rests, longer each time, and is given up in the end.
    pub(super) fn fail(&mut self, now: Duration, jitter: f64) {
        self.failures += 1;
        self.useless |= self.failures >= FAILURES_MAX;
        let pause = PAUSE.saturating_mul(1 << self.failures.min(6));
        self.rests_until = now + pause.mul_f64(jitter);
    }
}

/// All sources of one job.
#[derive(Debug, Default)]
pub(super) struct Sources {
    known: BTreeMap<SourceId, SourceState>,
    added: u32,
}

impl Sources {
    pub(super) fn add(&mut self, facts: Facts) -> SourceId {
        let id = SourceId(self.added);
        self.added += 1;
        let state = SourceState {
            facts,
            delivered: 0,
            active_s: 0.0,
            rate: None,
            failures: 0,
            rests_until: Duration::ZERO,
            useless: false,
        };
        self.known.insert(id, state);
        id
    }

    pub(super) fn get(&self, id: SourceId) -> Option<&SourceState> {
        self.known.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: SourceId) -> Option<&mut SourceState> {
        self.known.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SourceId, &SourceState)> {
        self.known.iter().map(|(id, source)| (*id, source))
    }

    /// Groups a second; nothing until measured.
    pub(super) fn rate(&self, id: SourceId) -> Option<f64> {
        self.get(id)?.rate
    }

    pub(super) fn place(&self, id: SourceId) -> Option<Place> {
        Some(self.get(id)?.facts.place)
    }

    /// Whether lanes of it may start anywhere.
    pub(super) fn has_ranges(&self, id: SourceId) -> bool {
        self.get(id).is_some_and(|source| source.facts.ranges)
    }

    /// Whether none of them is of use any more.
    pub(super) fn are_useless(&self) -> bool {
        self.known.values().all(|source| source.useless)
    }

    /// When the next one has rested.
    pub(super) fn rests(&self) -> impl Iterator<Item = Duration> {
        self.known.values().filter(|source| !source.useless).map(|source| source.rests_until)
    }

    /// The rate of the fastest origin.
    pub(super) fn far_rate(&self) -> f64 {
        self.known
            .values()
            .filter(|source| source.facts.place == Place::Far && !source.useless)
            .filter_map(|source| source.rate)
            .fold(0.0, f64::max)
    }

    /// Whether a neighbour has shown that it delivers: then nobody else's uplink is bothered.
    pub(super) fn has_proven_neighbour(&self) -> bool {
        self.known
            .values()
            .any(|source| source.facts.place == Place::Near && source.delivered > 0 && !source.useless)
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate; counts of groups stay far below 2^52")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, as wanted")]
pub(super) fn whole(estimate: f64) -> u64 {
    estimate as u64
}
