//! How a neighbour relieves the origin, and the origin a slow neighbour: rules 5 and 6 of the plan. Asks
//! [`super::pool`] for what websites do among themselves.

use std::time::Duration;

use kith_model::limits::SLICE_GROUPS;
use kith_model::range::{GroupSet, GroupSpan};

use super::lanes::LaneState;
use super::pool::{SHARE_MIN, next_edge};
use super::sources::{KEEPS_UP, SourceState, as_f64, whole};
use super::terms::{Action, Place, SourceId};
use super::{PIECE, Plan, STEAL_MIN};

/// Seconds that a neighbour's lanes are open, each counted, before it may be found too slow.
const NEAR_WATCH_S: f64 = 0.25;

/// The same for an origin before it may be found faster: longer than the burst that a shaped uplink begins with.
const FAR_WATCH_S: f64 = 0.05;

/// What [`KEEPS_UP`] is while less than [`FAR_SURE`] groups, 2 MiB, came of the origin: it may be a quarter faster than it seemed.
const KEEPS_UP_PERHAPS: f64 = 1.25;
const FAR_SURE: u64 = 128;

/// Groups that an origin has delivered before its rate is more than the burst that a shaped uplink begins with: 512 KiB.
const FAR_KNOWN: u64 = 32;

/// Seconds that a neighbour must need for the rest before the origin's rate is looked at.
const LOOK_S: f64 = 1.0;

/// A neighbour is so many times faster than the first groups of the origin came: they hardly have misled that much.
const CLEARLY_FASTER: f64 = 8.0;

/// Seconds that a neighbour must need for the rest before the origin's rate is looked at all the same: few groups that
/// were late say nothing, and half a MiB is little beside so much.
const LOOK_AFTER_ALL_S: f64 = 5.0;

/// Seconds that a slow neighbour's end is waited for: a question to the origin would take as long.
const NEAR_WAIT_S: f64 = 0.25;

impl Plan {
    // rules 5, 6 and 7
    pub(super) fn relieve(&mut self, now: Duration) -> Option<Action> {
        self.groups?;
        let idle: Vec<SourceId> =
            self.sources.iter().map(|(id, _)| id).filter(|id| self.is_idle(*id, now)).collect();
        for source in idle {
            let Some(facts) = self.sources.get(source).map(|source| source.facts) else { continue };
            match facts.place {
                // Its first pieces tell how fast it is; until then the other lane runs on.
                Place::Near if self.is_tried(source) && self.sources.rate(source) > Some(0.0) => {
                    self.take_over(source, now);
                }
                Place::Near => self.lay_trial(source, now),
                // What neighbours owe may be somebody else's to fetch while others fetch it too.
                Place::Far if facts.ranges && self.confines().is_none() && self.stand_in(source, now) => {}
                Place::Far
                    if facts.ranges && self.confines().is_none() && self.take_from_slow(source, now) => {}
                // Then nobody else's uplink is bothered.
                _ if self.sources.has_proven_neighbour() => {}
                _ => self.share_out(source, now),
            }
            // What was freed for a source is a gap now.
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
        let Some(gap) = self.first_wanted(later, &self.held) else { return };
        let piece = GroupSpan::clamped(gap.start(), (gap.start() + STEAL_MIN).min(gap.end()));
        self.lanes.open_trial(source, piece, now);
    }

    // rule 6
    fn take_over(&mut self, thief: SourceId, now: Duration) {
        let Some((id, victim)) = self.lanes.longest(|lane| lane.source != thief) else { return };
        let (rest, source) = (self.owed(victim), victim.source);
        let Some(ours) = self.sources.rate(thief).filter(|rate| *rate > 0.0) else { return };
        let theirs = self.sources.rate(source);
        let is_near = self.sources.place(source) == Some(Place::Near);
        let share = match theirs {
            Some(theirs) if ours < SHARE_MIN * theirs => 0,
            // What is on the way arrives anyhow; all that follows comes from next door.
            theirs if !is_near && !self.is_slower(thief, source) && !self.is_known_slow(thief, source) => {
                rest.len().saturating_sub(whole(theirs.unwrap_or(0.0) * 0.03).max(1))
            }
            theirs if self.is_free(thief, now) => tail_share(rest.len(), ours, theirs.unwrap_or(ours)),
            _ => 0,
        };
        if share < STEAL_MIN {
            return;
        }
        // A piece that is not whole would be lost; but a neighbour is given all that it can bring.
        let grain = match self.sources.get(source) {
            Some(source) if share * 2 > rest.len() => source.facts.grain,
            _ => self.grain(),
        };
        let start = next_edge(rest.end() - share, grain);
        if start >= rest.end() {
            return;
        }
        self.cut(id, start);
        self.lanes.open(thief, GroupSpan::clamped(start, rest.end()), now);
    }

    /// Goes on, piece by piece, where a neighbour is silent for longer than it usually is, until it comes back or is
    /// not counted on any more; says whether there is such a neighbour.
    fn stand_in(&mut self, origin: SourceId, now: Duration) -> bool {
        let is_silent = |lane: &LaneState| {
            self.sources.place(lane.source) == Some(Place::Near) && self.doubt_s(lane, now) > 0.0
        };
        let Some((id, lane)) = self.lanes.longest(is_silent) else { return false };
        if !self.is_free(origin, now) {
            return false;
        }
        let neighbour = lane.source;
        let mut coming = self.held.clone();
        for (_, other) in self.lanes.iter().filter(|(other, _)| *other != id) {
            coming.insert(other.rest());
        }
        let Some(gap) = self.first_wanted(lane.rest(), &coming) else { return false };
        let piece = GroupSpan::clamped(gap.start(), gap.end().min(gap.start() + PIECE));
        self.lanes.open_trial(origin, piece, now);
        if let Some(neighbour) =
            self.sources.get_mut(neighbour).filter(|it| it.rate.is_some_and(|rate| rate > 0.0))
        {
            neighbour.stall(now);
        }
        true
    }

    /// The first of a span that is not in `but` and that somebody waits for: a reader may have passed what was not
    /// reported yet.
    pub(super) fn first_wanted(&self, span: GroupSpan, but: &GroupSet) -> Option<GroupSpan> {
        let missing = |wanted: &GroupSpan| but.missing_in(wanted.intersection(span)).next();
        self.wanted().iter().filter_map(missing).min_by_key(|gap| gap.start())
    }

    /// Takes from a neighbour what it would need much longer for; says whether it did.
    fn take_from_slow(&mut self, origin: SourceId, now: Duration) -> bool {
        let is_near = |lane: &LaneState| self.sources.place(lane.source) == Some(Place::Near);
        let Some((id, victim)) = self.lanes.longest(is_near) else { return false };
        let (rest, source) = (victim.rest(), victim.source);
        // Of an origin that was taken over before its first group came nothing is known.
        let (ours, Some(theirs)) = (self.sources.rate(origin).unwrap_or(0.0), self.sources.rate(source))
        else {
            return false;
        };
        let owed: u64 = self.lanes.of(source).map(|(_, lane)| lane.rest().len()).sum();
        if !self.is_free(origin, now) || as_f64(owed) < theirs * NEAR_WAIT_S {
            return false;
        }
        // Mirrors share what the origin takes. The slice that is begun comes anyhow.
        let together = self.pool_rate(now).max(ours);
        let most = if rest.len() > SLICE_GROUPS { rest.len() - SLICE_GROUPS } else { rest.len() };
        let share = match () {
            () if self.is_known_slow(source, origin) && theirs * 4.0 < ours => rest.len(),
            () if self.is_known_slow(source, origin) || self.is_slower(source, origin) => {
                tail_share(owed, together, theirs).min(most)
            }
            () if self.is_worth_a_look(victim, origin) => FAR_KNOWN.min(rest.len() / 4),
            () => 0,
        };
        if share == 0 {
            return false;
        }
        // They do so by pieces.
        let least = rest.end() - share;
        let edge = next_edge(least, self.grain());
        let start = if share < rest.len() && edge < rest.end() { edge } else { least };
        self.cut(id, start);
        self.lanes.open(origin, GroupSpan::clamped(start, rest.end()), now);
        true
    }

    /// Whether a neighbour carries less than a website alone would. While little was seen of that, what looks like as
    /// much may be less.
    fn is_slower(&self, neighbour: SourceId, website: SourceId) -> bool {
        let Some(origin) = self.sources.get(website) else { return false };
        let rate = |id| self.sources.rate(id).unwrap_or(0.0);
        let least = if origin.delivered < FAR_SURE { KEEPS_UP_PERHAPS } else { KEEPS_UP };
        self.is_origin_known(website) && self.is_tried(neighbour) && rate(neighbour) < least * rate(website)
    }

    /// Whether too little was seen of the origin to say that it would not be faster than a neighbour, which has enough
    /// before it that a piece of the origin's makes no difference.
    fn is_worth_a_look(&self, lane: &LaneState, origin: SourceId) -> bool {
        let theirs = self.sources.rate(lane.source).unwrap_or(0.0);
        let is_clear = self.sources.rate(origin).is_some_and(|ours| theirs >= ours * CLEARLY_FASTER);
        let least_s = if is_clear { LOOK_AFTER_ALL_S } else { LOOK_S };
        !self.is_origin_known(origin)
            && self.lanes.of(origin).next().is_none()
            && self.is_tried(lane.source)
            && as_f64(lane.rest().len()) > theirs * least_s
    }

    fn is_origin_known(&self, origin: SourceId) -> bool {
        self.sources.get(origin).is_some_and(|source| source.delivered >= FAR_KNOWN)
    }

    /// Whether enough was seen of a neighbour to say how fast it is.
    fn is_tried(&self, neighbour: SourceId) -> bool {
        let is_enough =
            |source: &SourceState| source.delivered >= STEAL_MIN || source.active_s >= NEAR_WATCH_S;
        self.sources.get(neighbour).is_some_and(|source| source.delivered > 0 && is_enough(source))
    }

    /// Whether a neighbour carries less than half of what the origin does, and both were watched
    /// for long enough to say so: a shaped uplink begins with a burst, a LAN with a handshake.
    fn is_known_slow(&self, neighbour: SourceId, origin: SourceId) -> bool {
        let theirs = self.sources.rate(neighbour).unwrap_or(0.0);
        let watched = |id, seconds| self.sources.get(id).is_some_and(|source| source.active_s >= seconds);
        watched(neighbour, NEAR_WATCH_S)
            && watched(origin, FAR_WATCH_S)
            && theirs * 2.0 < self.sources.rate(origin).unwrap_or(0.0)
    }
}

/// How much of `rest` the second source takes so that both are done at the same time.
fn tail_share(rest: u64, ours: f64, theirs: f64) -> u64 {
    whole(as_f64(rest) * ours / (ours + theirs)).min(rest)
}
