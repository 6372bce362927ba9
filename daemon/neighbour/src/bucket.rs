//! A token bucket: so many units a second, so many at once after a pause. Pure.

use std::time::{Duration, Instant};

/// Units that refill with time.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    burst: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// Full at first.
    pub(crate) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self { per_second: per_second.max(1).into(), burst: burst.into(), level: burst.into(), at: now }
    }

    /// Takes one unit, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let there = self.level >= 1.0;
        if there {
            self.level -= 1.0;
        }
        there
    }

    /// How long to wait until the debt is paid.
    pub(crate) fn debt(&mut self, now: Instant) -> Duration {
        self.refill(now);
        Duration::from_secs_f64((-self.level / self.per_second).max(0.0))
    }

    /// Takes `units` at once, going into debt when there are not so many.
    pub(crate) fn borrow(&mut self, units: u32) {
        self.level -= f64::from(units);
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.level = (self.level + passed * self.per_second).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 3, start);
        let taken = |bucket: &mut Bucket, at: u64| {
            (0..10).filter(|_| bucket.take(start + Duration::from_millis(at))).count()
        };
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 100), 1);
        assert_eq!(taken(&mut bucket, 10_000), 3);
        assert_eq!(taken(&mut bucket, 0), 0, "a clock that goes back gives nothing");
    }

    #[test]
    fn debt_is_paid_by_waiting() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1000, 500, start);
        bucket.borrow(500);
        assert_eq!(bucket.debt(start), Duration::ZERO);
        bucket.borrow(500);
        assert_eq!(bucket.debt(start), Duration::from_millis(500));
        assert_eq!(bucket.debt(start + Duration::from_millis(200)), Duration::from_millis(300));
        assert_eq!(bucket.debt(start + Duration::from_secs(1)), Duration::ZERO);
    }
}
