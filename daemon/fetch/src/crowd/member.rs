//! What a box knows of another one that fetches the same: what it told, and how fast that grows.

use std::time::Duration;

use super::{STALL, Taken, Told, as_f64};

/// Time constant of the rates.
const RATE_WINDOW_S: f64 = 2.0;

/// Seconds at work before a rate tells anything: an uplink begins with a burst.
const RATE_KNOWN_S: f64 = 0.5;

/// A box that fails to give so often in a row is not asked again.
const FAILURES_MAX: u32 = 3;

/// How long a box that failed to give is left alone; doubled each time that it is busy.
const REST: Duration = Duration::from_millis(200);

/// Most doublings of that: six seconds.
const BUSY_MAX: u32 = 5;

/// How fast a box gets groups from the origin.
#[derive(Debug, Default)]
pub(super) struct Pace {
    received: u64,
    measured_at: Duration,
    /// Seconds in which it was at work.
    active_s: f64,
    rate: f64,
}

impl Pace {
    /// Counts what came while it was at work; the plain average at first, an exponentially weighted one later.
    pub(super) fn measure(&mut self, received: u64, is_at_work: bool, now: Duration) {
        let seconds = now.saturating_sub(self.measured_at).as_secs_f64();
        if seconds > 0.0 && is_at_work {
            self.active_s += seconds;
            let weight = seconds / self.active_s.min(RATE_WINDOW_S).max(seconds);
            let latest = as_f64(received.saturating_sub(self.received)) / seconds;
            self.rate += weight * (latest - self.rate);
        }
        (self.received, self.measured_at) = (received, now);
    }

    /// Groups a second, once known.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.active_s >= RATE_KNOWN_S).then_some(self.rate)
    }
}

/// Another box.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) told: Told,
    pub(super) pace: Pace,
    progress_at: Duration,
    failures: u32,
    /// How often in a row it was busy.
    busy: u32,
    pub(super) rests_until: Duration,
    /// Units that are on their way from it.
    pub(super) taking: usize,
}

impl Member {
    /// One that got so much from the origin before we heard of it.
    pub(super) fn new(received: u64, now: Duration) -> Self {
        Self {
            told: Told::default(),
            pace: Pace { received, measured_at: now, ..Pace::default() },
            progress_at: now,
            failures: 0,
            busy: 0,
            rests_until: Duration::ZERO,
            taking: 0,
        }
    }

    pub(super) fn hear(&mut self, told: Told, now: Duration) {
        let is_at_work = !self.told.working.is_empty();
        self.pace.measure(told.received, is_at_work, now);
        if told.received > self.told.received || !is_at_work {
            self.progress_at = now;
        }
        self.told = told;
    }

    /// A take is over.
    pub(super) fn take_ended(&mut self, taken: Taken, now: Duration) {
        self.taking = self.taking.saturating_sub(1);
        match taken {
            Taken::Here => (self.failures, self.busy) = (0, 0),
            Taken::Busy => {
                self.rests_until = now + REST * (1 << self.busy);
                self.busy = (self.busy + 1).min(BUSY_MAX);
            }
            Taken::Failed => {
                self.failures += 1;
                self.rests_until = now + REST;
            }
            Taken::Useless => self.failures = FAILURES_MAX,
        }
    }

    pub(super) fn is_useless(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// Whether what it told as ready can be counted on: not when it failed last, or is busy all the time.
    pub(super) fn is_reliable(&self) -> bool {
        self.failures == 0 && self.busy < 2
    }

    pub(super) fn is_live(&self, now: Duration) -> bool {
        self.told.working.is_empty() || now.saturating_sub(self.progress_at) < STALL
    }

    pub(super) fn has_begun(&self, block: u64, now: Duration) -> bool {
        self.told.working.contains(&block) && self.is_live(now)
    }
}
