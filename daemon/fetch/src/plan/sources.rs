//! What a plan knows of each of its sources: the facts it was told, and what their lanes have shown since.
//!
//! Knows no lane and no span: lanes report groups and moments, the plan asks for rates and ranks.

use std::time::Duration;

use kith_model::limits::SLICE_GROUPS;
use litemap::LiteMap;

use super::terms::{Estimate, Facts, Place, SourceId};

/// A source that fails so often without a group in between is given up.
const FAILURES_MAX: u32 = 5;

/// A source that is busy so often without a group in between is given up: after a minute.
const BUSY_MAX: u32 = 8;

/// The same of a neighbour, whose other guests are through within seconds.
const BUSY_NEAR_MAX: u32 = 16;

/// How often the pause after "busy" is doubled at most: 16 s, and 4 s next door.
const BUSY_DOUBLED_MAX: u32 = 5;
const BUSY_NEAR_DOUBLED_MAX: u32 = 3;

/// A mirror that stalls so often is given up. Twice the pause follows the first time, four times the second.
const STALLS_MAX: u32 = 4;
const STALL_PAUSE: Duration = Duration::from_millis(500);

/// First pause after a failure; doubled each time, with jitter.
const PAUSE: Duration = Duration::from_millis(200);

/// The same after "busy": whoever has too much to do is not helped by questions.
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// A neighbour of this share of the origin's rate does all the work: the download is hardly slower for it.
pub(super) const KEEPS_UP: f64 = 0.95;

/// Time constant of the rate average: half of the time watched, between these. What came first is soon forgotten.
const RATE_WINDOW_S: f64 = 1.0;
const RATE_WINDOW_MIN_S: f64 = 0.01;

/// Seconds of watching that an estimate from earlier downloads counts for. When it was so many times too high or too low
/// for as long it counts no more: by an average the slow present would outweigh a fast past only after many seconds.
const EARLIER_COUNTS_S: f64 = 0.2;
const EARLIER_WRONG: f64 = 4.0;

/// The share of delays after which nothing came yet that are longer: one in ten.
const LATE_SHARE: f64 = 0.1;

/// How fast the bound of delays follows, as a share of itself.
const DELAY_STEP: f64 = 0.2;

/// First bound of delays between two deliveries, and the bounds of that bound, in seconds. No source is thought ill of
/// for what a busy machine or a full queue explains.
const DELAY_FIRST_S: f64 = 0.3;
const DELAY_MIN_S: f64 = 0.1;
const DELAY_MAX_S: f64 = 2.0;

/// A piece that is checked whole may be so many times later than usual.
const PIECE_DELAYS: f64 = 1.5;

/// How much the latest answer counts for how long answers take to begin.
const FIRST_BYTE_WEIGHT: f64 = 0.3;

/// The share of the first wait for which a guess at the speed counts.
const GUESS_COUNTS: f64 = 0.1;

/// One source.
#[derive(Debug)]
pub(super) struct SourceState {
    pub(super) facts: Facts,
    pub(super) delivered: u64,
    /// Seconds in which lanes were open.
    pub(super) active_s: f64,
    /// Groups a second, all lanes together; nothing until measured or known from earlier.
    pub(super) rate: Option<f64>,
    /// What has come while an estimate from earlier downloads is not judged: groups, and seconds.
    since_earlier: Option<(u64, f64)>,
    /// Seconds from a question to the first group.
    first_byte_s: Option<f64>,
    /// Nine in ten deliveries follow the one before within so many seconds.
    delay_s: f64,
    /// Of any lane.
    delivered_at: Duration,
    failures: u32,
    busy: u32,
    pub(super) stalls: u32,
    pub(super) rests_until: Duration,
    pub(super) useless: bool,
}

impl SourceState {
    fn new(facts: Facts) -> Self {
        Self {
            facts,
            delivered: 0,
            active_s: facts.earlier.map_or(0.0, |_| EARLIER_COUNTS_S),
            rate: facts.earlier.map(|earlier| earlier.rate),
            since_earlier: facts.earlier.map(|_| (0, 0.0)),
            first_byte_s: facts.earlier.map(|earlier| earlier.first_byte.as_secs_f64()),
            delay_s: DELAY_FIRST_S,
            delivered_at: Duration::ZERO,
            failures: 0,
            busy: 0,
            stalls: 0,
            rests_until: Duration::ZERO,
            useless: false,
        }
    }

    /// Counts groups that a lane delivered; `since` is when that lane delivered last, or was opened. The rate is an
    /// average that forgets, at first faster than later, so that neither a first burst nor an old past tells the speed.
    pub(super) fn deliver(&mut self, groups: u64, since: Duration, now: Duration, is_first: bool) {
        self.failures = 0;
        self.busy = 0;
        self.delivered += groups;
        let silence_s = now.saturating_sub(since).as_secs_f64();
        // Lanes that deliver by turns share the time.
        let seconds = now.saturating_sub(since.max(self.delivered_at)).as_secs_f64();
        let was_waited_for = since >= self.delivered_at;
        self.delivered_at = now;
        if is_first {
            self.begin(groups, silence_s);
            // While another lane delivered the answer kept nobody waiting.
            if was_waited_for {
                return;
            }
        } else {
            let step = if silence_s > self.delay_s { 1.0 - LATE_SHARE } else { -LATE_SHARE };
            self.delay_s = (self.delay_s * (1.0 + DELAY_STEP * step)).clamp(DELAY_MIN_S, DELAY_MAX_S);
        }
        self.active_s += seconds;
        let window = (self.active_s / 2.0).clamp(RATE_WINDOW_MIN_S, RATE_WINDOW_S).max(seconds);
        let faded = self.rate.unwrap_or(0.0) * (1.0 - seconds / window);
        self.rate = Some(faded + as_f64(groups) / window);
        self.judge_earlier(groups, seconds);
    }

    /// Forgets an estimate from earlier downloads that is far from what comes now.
    fn judge_earlier(&mut self, groups: u64, seconds: f64) {
        let (Some(earlier), Some((came, took_s))) = (self.facts.earlier, self.since_earlier) else { return };
        let (came, took_s) = (came + groups, took_s + seconds);
        let is_judged = took_s >= EARLIER_COUNTS_S;
        self.since_earlier = (!is_judged).then_some((came, took_s));
        let now = as_f64(came) / took_s.max(1e-4);
        if is_judged && (now * EARLIER_WRONG < earlier.rate || now > earlier.rate * EARLIER_WRONG) {
            (self.rate, self.active_s) = (Some(now), took_s);
            self.facts.earlier = None;
        }
    }

    /// The first groups of a lane tell how long an answer takes to begin. That is no part of the speed; where nothing
    /// else is known of it, it is a guess that soon counts for nothing.
    fn begin(&mut self, groups: u64, waited_s: f64) {
        let known = self.rate.filter(|rate| *rate > 0.0);
        let waited_s = (waited_s - known.map_or(0.0, |rate| as_f64(groups) / rate)).max(0.0);
        let before = self.first_byte_s.unwrap_or(waited_s);
        self.first_byte_s = Some(before + FIRST_BYTE_WEIGHT * (waited_s - before));
        if known.is_none() {
            self.rate = Some(as_f64(groups) / waited_s.max(1e-4));
            self.active_s += waited_s * GUESS_COUNTS;
        }
    }

    /// Somebody had to wait: what it delivered before no longer tells how fast it is. A mirror or neighbour rests, longer
    /// each time; a mirror is given up in the end.
    pub(super) fn stall(&mut self, now: Duration) {
        self.rate = Some(0.0);
        self.active_s = 0.0;
        self.stalls += 1;
        self.useless |= self.facts.place == Place::Mirror && self.stalls >= STALLS_MAX;
        if self.facts.place != Place::Far {
            self.rests_until = now + STALL_PAUSE.saturating_mul(1 << self.stalls.min(6));
        }
    }

    /// A lane broke off: it rests, longer each time, and is given up in the end.
    pub(super) fn fail(&mut self, now: Duration, jitter: f64) {
        self.failures += 1;
        self.useless |= self.failures >= FAILURES_MAX;
        let pause = PAUSE.saturating_mul(1 << self.failures.min(6));
        self.rests_until = now + pause.mul_f64(jitter);
    }

    /// It has too much to do: it gets no more than the lanes that it carries, and a longer rest each time.
    pub(super) fn put_off(&mut self, now: Duration, jitter: f64, lanes_open: usize) {
        self.busy += 1;
        let (busy_max, doubled_max) = match self.facts.place {
            Place::Near => (BUSY_NEAR_MAX, BUSY_NEAR_DOUBLED_MAX),
            Place::Far | Place::Mirror => (BUSY_MAX, BUSY_DOUBLED_MAX),
        };
        self.useless |= self.busy >= busy_max;
        self.facts.lanes_max = lanes_open.max(1);
        let pause = BUSY_PAUSE.saturating_mul(1 << self.busy.min(doubled_max));
        self.rests_until = now + pause.mul_f64(jitter);
    }

    /// Seconds that an answer takes to begin; a guess until one did.
    pub(super) fn first_byte_s(&self) -> f64 {
        self.first_byte_s.unwrap_or(0.05).min(1.0)
    }

    /// Seconds between two pieces that are checked whole, or slices of a neighbour, as far as is known.
    pub(super) fn piece_s(&self) -> f64 {
        let piece = if self.facts.place == Place::Near { SLICE_GROUPS } else { self.facts.grain };
        let rate = self.rate.filter(|rate| *rate > 0.0 && piece > 1);
        rate.map_or(0.0, |rate| as_f64(piece) / rate)
    }

    /// How long it may be silent before that means something.
    pub(super) fn patience(&self, has_delivered: bool) -> Duration {
        let delay_s = self.delay_s.max(PIECE_DELAYS * self.piece_s()).min(DELAY_MAX_S);
        let seconds = if has_delivered { delay_s } else { delay_s + 2.0 * self.first_byte_s() };
        Duration::from_secs_f64(seconds)
    }

    /// What it has shown, for later downloads.
    pub(super) fn estimate(&self) -> Option<Estimate> {
        let rate = self.rate.filter(|rate| *rate > 0.0 && self.delivered > 0)?;
        Some(Estimate { rate, first_byte: Duration::from_secs_f64(self.first_byte_s()) })
    }
}

/// All sources of one job.
#[derive(Debug, Default)]
pub(super) struct Sources {
    known: LiteMap<SourceId, SourceState>,
    added: u32,
}

impl Sources {
    pub(super) fn add(&mut self, facts: Facts) -> SourceId {
        let id = SourceId(self.added);
        self.added += 1;
        self.known.insert(id, SourceState::new(facts));
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

    /// Groups a second, all its lanes together; nothing until measured.
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

    /// Whether a neighbour has shown that it delivers, and keeps up: then nobody else's uplink is bothered.
    pub(super) fn has_proven_neighbour(&self) -> bool {
        let least = self.far_rate() * KEEPS_UP;
        self.known.values().any(|source| {
            let keeps_up = source.rate.is_some_and(|rate| rate > 0.0 && rate >= least);
            source.facts.place == Place::Near && source.delivered > 0 && keeps_up && !source.useless
        })
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
