//! How a source with nothing to do relieves one that is busy: rules 5 to 7 of the plan.

use std::time::Duration;

use kith_model::range::GroupSpan;

use super::lanes::LaneState;
use super::sources::{as_f64, whole};
use super::terms::{Action, Place, SourceId};
use super::{PIECE, Plan, STEAL_MIN};

/// Seconds that a neighbour's lanes are open, each counted, before it may be found too slow.
const NEAR_WATCH_S: f64 = 0.25;

/// The same for an origin before it may be found faster: longer than the burst that a shaped uplink begins with.
const FAR_WATCH_S: f64 = 0.05;

impl Plan {
    // rules 5, 6 and 7
    pub(super) fn relieve(&mut self, now: Duration) -> Option<Action> {
        self.groups?;
        let idle: Vec<SourceId> =
            self.sources.iter().map(|(id, _)| id).filter(|id| self.is_idle(*id, now)).collect();
        for source in idle {
            let Some(state) = self.sources.get(source) else { continue };
            match (state.facts.place, state.delivered) {
                (Place::Near, 0) => self.lay_trial(source, now),
                (Place::Mirror, _) if self.sources.has_proven_neighbour() => {}
                (Place::Mirror, 0) => self.try_mirror(source, now),
                _ if state.facts.ranges => self.take_over(source, now),
                _ => {}
            }
            if let Some(action) = self.lanes.take_action() {
                return Some(action);
            }
        }
        None
    }

    // rule 5
    fn lay_trial(&mut self, source: SourceId, now: Duration) {
        if self.lanes.of(source).next().is_some() {
            return;
        }
        let Some((_, victim)) = self.lanes.longest(|lane| lane.source != source) else { return };
        let rest = victim.rest();
        if rest.len() < 2 * STEAL_MIN {
            return;
        }
        // Far enough ahead that the piece is here before the other lane gets there, near enough to be of use.
        let ahead =
            self.sources.rate(victim.source).map_or(16, |rate| whole(rate * 0.25)).clamp(4, rest.len() / 2);
        // A piece that is here already proves nothing.
        let later = GroupSpan::clamped(rest.start() + ahead, rest.end());
        let Some(gap) = self.held.missing_in(later).next() else { return };
        let piece = GroupSpan::clamped(gap.start(), (gap.start() + STEAL_MIN).min(gap.end()));
        self.lanes.open_trial(source, piece, now);
    }

    // rule 7
    fn try_mirror(&mut self, source: SourceId, now: Duration) {
        let is_far = |lane: &LaneState| self.sources.place(lane.source) != Some(Place::Near);
        let Some((id, victim)) = self.lanes.longest(is_far) else { return };
        let rest = victim.rest();
        if !self.sources.has_ranges(source) || rest.len() < 2 * PIECE {
            return;
        }
        let start = rest.end() - PIECE;
        self.lanes.cut(id, start);
        self.lanes.open(source, GroupSpan::clamped(start, rest.end()), now);
    }

    // rules 6 and 7
    fn take_over(&mut self, thief: SourceId, now: Duration) {
        let Some(place) = self.sources.place(thief) else { return };
        let busy = self.lanes.of(thief).next().is_some();
        let eligible = |lane: &LaneState| {
            lane.source != thief
                && match (place, self.sources.place(lane.source)) {
                    (Place::Near, _)
                    | (Place::Far, Some(Place::Near))
                    | (Place::Mirror, Some(Place::Far | Place::Mirror)) => true,
                    // The origin is never split against itself, and takes from mirrors only when it is done.
                    (Place::Far, Some(Place::Mirror)) => !busy,
                    (Place::Far | Place::Mirror, _) => false,
                }
        };
        let Some((id, victim)) = self.lanes.longest(eligible) else { return };
        let (rest, source) = (victim.rest(), victim.source);
        let Some(victim_place) = self.sources.place(source) else { return };
        let theirs = self.sources.rate(source);
        let Some(ours) = self.sources.rate(thief).filter(|rate| *rate > 0.0) else { return };
        if (place, victim_place) == (Place::Far, Place::Near) && !self.is_known_slow(source, thief) {
            return;
        }
        let share = match (place, victim_place, theirs) {
            (Place::Near, Place::Far | Place::Mirror, Some(theirs)) if ours < 0.9 * theirs => {
                tail_share(rest.len(), ours, theirs)
            }
            // What is on the way arrives anyhow; all that follows comes from next door.
            (Place::Near, Place::Far | Place::Mirror, theirs) => {
                rest.len().saturating_sub(whole(theirs.unwrap_or(0.0) * 0.03).max(1))
            }
            (Place::Far, Place::Near, Some(theirs)) if theirs * 4.0 < ours => rest.len(),
            (Place::Far, Place::Near, Some(theirs)) if theirs * 2.0 < ours => {
                tail_share(rest.len(), ours, theirs)
            }
            (Place::Far, Place::Near | Place::Far, _) => 0,
            // Who waits for the end of a download waits for nobody who is much slower.
            (Place::Far, Place::Mirror, theirs) if theirs.is_none_or(|theirs| theirs * 4.0 < ours) => {
                rest.len()
            }
            (Place::Near, Place::Near, theirs) | (Place::Far | Place::Mirror, _, theirs) => {
                tail_share(rest.len(), ours, theirs.unwrap_or(ours))
            }
        };
        let takes_all = victim_place == Place::Mirror && share == rest.len() && share > 0;
        if share < STEAL_MIN && !takes_all {
            return;
        }
        let start = rest.end() - share;
        self.lanes.cut(id, start);
        self.lanes.open(thief, GroupSpan::clamped(start, rest.end()), now);
    }

    /// Whether all lanes of a neighbour together carry less than half of what the origin does, and both were watched
    /// for long enough to say so: a shaped uplink begins with a burst, a LAN with a handshake.
    fn is_known_slow(&self, neighbour: SourceId, origin: SourceId) -> bool {
        let lanes = self.lanes.of(neighbour).filter(|(_, lane)| !lane.stalled).count();
        let together = self.sources.rate(neighbour).unwrap_or(0.0) * as_f64(lanes as u64);
        let watched = |id, seconds| self.sources.get(id).is_some_and(|source| source.active_s >= seconds);
        watched(neighbour, NEAR_WATCH_S)
            && watched(origin, FAR_WATCH_S)
            && together * 2.0 < self.sources.rate(origin).unwrap_or(0.0)
    }
}

/// How much of `rest` the second source takes so that both are done at the same time.
fn tail_share(rest: u64, ours: f64, theirs: f64) -> u64 {
    whole(as_f64(rest) * ours / (ours + theirs)).min(rest)
}
