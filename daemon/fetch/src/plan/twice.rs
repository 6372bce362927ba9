//! What may come twice: a hundredth of the object pays for all guesses.
//!
//! A guess is that a source which pauses will not come back, or that another one brings the rest sooner. What it may
//! cost is what has come of it already, or is on its way, and can be used no more: the begun piece of a source whose
//! pieces can only be checked whole, or what a line holds. What a source owes that hangs, broke off or stalled is lost
//! and no guess: it is asked for again whatever that costs.

use std::time::Duration;

use super::lanes::LaneState;
use super::sources::{SourceState, as_f64};
use super::terms::LaneId;
use super::{Plan, Twice};

/// The share of an object that guesses may cost.
const TWICE_MAX: f64 = 0.01;

/// Who is silent for so many times longer than a piece takes, and for so many seconds, does not just pause.
const HUNG_PIECES: f64 = 3.0;
const HUNG_S: f64 = 0.5;

/// Seconds that bytes are on their way, at least, as far as is known.
const WAY_S: f64 = 0.02;

impl Plan {
    /// Whether so many groups more may come twice.
    pub(super) fn affords(&self, groups: f64) -> bool {
        let Twice(spent) = self.twice;
        spent + groups <= as_f64(self.groups.unwrap_or(0)) * TWICE_MAX
    }

    /// Takes note of groups that may come twice.
    pub(super) fn pay(&mut self, groups: f64) {
        self.twice.0 += groups;
    }

    /// Cuts a lane of which something may be on its way.
    pub(super) fn cut(&mut self, id: LaneId, end: u64) {
        let waste = self.lanes.get(id).map_or(0.0, |lane| self.waste_of(lane));
        self.pay(waste);
        self.lanes.cut(id, end);
    }

    /// Groups that are on their way when a lane is cut: what comes behind its new end was asked for, unless it was cut
    /// before.
    pub(super) fn waste_of(&self, lane: &LaneState) -> f64 {
        if lane.end == lane.asked_end { self.underway(lane) } else { 0.0 }
    }

    /// Groups that may have come of what a lane owes and are not here: those on their way, or in a piece that is not
    /// whole.
    pub(super) fn begun_of(&self, lane: &LaneState) -> f64 {
        let grain = self.sources.get(lane.source).map_or(1, |source| source.facts.grain);
        self.underway(lane).max(if grain > 1 { as_f64(grain) } else { 0.0 })
    }

    fn underway(&self, lane: &LaneState) -> f64 {
        let source = self.sources.get(lane.source);
        source.map_or(0.0, |source| source.rate.unwrap_or(0.0) * source.first_byte_s().max(WAY_S) / 2.0)
    }

    /// Whether a lane is silent for so long that what was on its way is lost.
    pub(super) fn is_hung(&self, lane: &LaneState, now: Duration) -> bool {
        let piece_s = self.sources.get(lane.source).map_or(0.0, SourceState::piece_s);
        now.saturating_sub(lane.progress_at).as_secs_f64() >= HUNG_S.max(HUNG_PIECES * piece_s)
    }
}
