//! How websites share the work: the origin, and mirrors that have shown what they can do.
//!
//! Work is handed out in portions from the front, so that readers and digests follow closely behind: each source gets
//! as much as makes all end together when it were all there is, and of that a half, so that what was judged wrongly is
//! mended with the next portion. A source asks for its next portion before the last one is through. When nothing is
//! left to hand out, whoever has nothing to do takes the back of the portion that would end last. Sources whose bytes
//! nobody can read before the whole is checked get no portions in front of readers: they take the back of the
//! longest lane at once.

use std::time::Duration;

use kith_model::range::GroupSpan;

use super::lanes::LaneState;
use super::sources::{SourceState, as_f64, whole};
use super::terms::{Place, SourceId};
use super::{PIECE, Plan};

/// What a mirror of which nothing is known gets to show what it can do: 256 KiB.
const TRIAL: u64 = 16;

/// Least groups in a portion: 128 KiB.
const PORTION_MIN: u64 = 8;

/// Seconds that a portion lasts at most, and as a share of what the download took so far: at first readers should get
/// what fast sources could bring, later few questions count for more.
const PORTION_S: f64 = 2.0;
const PORTION_GROWS: f64 = 0.5;

/// Seconds that a slow source goes on in front of a reader when a faster one could.
const EDGE_S: f64 = 0.5;

/// How many times more than it has delivered so far a source is given at once.
const TRUST: u64 = 4;

/// A portion lasts so many times longer than its answer takes to begin, that the wait is small beside it.
const PORTION_WAITS: f64 = 2.0;

/// A source that carries less than this share of all is left alone: its end would be waited for longer than it helps.
pub(super) const SHARE_MIN: f64 = 0.03;

/// Seconds that must be left for a source to be tried, and for one that has stalled to be tried again: its piece may have
/// to be fetched from another after all.
const TRIED_S: f64 = 0.5;
const TRIED_AGAIN_S: f64 = 5.0;

/// Seconds by which a download must end sooner for a lane to be split.
const GAIN_MIN_S: f64 = 0.04;

/// How many times more is taken from a lane than comes over it for nothing: near the end crumbs were cut off crumbs.
const WASTE_WORTH: f64 = 2.0;

/// Groups of an object of which one may be asked of two sources at once near the end, when one of them is silent.
const RACE_SHARE: u64 = 200;

impl Plan {
    /// Groups a second of all that work in portions, but not of those that rest.
    pub(super) fn pool_rate(&self, now: Duration) -> f64 {
        let pool = self.sources.iter().filter(|(_, source)| is_in_pool(source) && source.rests_until <= now);
        pool.filter_map(|(_, source)| source.rate).sum()
    }

    /// Whether a source carries enough to take part.
    fn is_worth_it(&self, id: SourceId, now: Duration) -> bool {
        self.sources.rate(id).is_some_and(|rate| rate > 0.0 && rate >= self.pool_rate(now) * SHARE_MIN)
    }

    /// Whether another website has nothing to do, or soon will have, so that something should be left for it.
    fn is_shared(&self, id: SourceId, now: Duration) -> bool {
        let Some(source) = self.sources.get(id) else { return false };
        is_in_pool(source)
            && !self.sources.has_proven_neighbour()
            && self
                .sources
                .iter()
                .any(|(other, source)| other != id && is_in_pool(source) && self.is_worth_it(other, now))
    }

    /// How much a source is given at once.
    fn quota(&self, id: SourceId, now: Duration) -> u64 {
        let Some(source) = self.sources.get(id) else { return 0 };
        let Some(rate) = source.rate.filter(|rate| *rate > 0.0) else { return TRIAL.max(source.facts.grain) };
        let fair = as_f64(self.missing()) * rate / self.pool_rate(now).max(rate);
        let longest_s = PORTION_S.max(now.as_secs_f64() * PORTION_GROWS);
        whole((fair / 2.0).min(rate * longest_s)).min(trusted(source)).max(least(source))
    }

    /// Groups that the first reader waits for.
    fn missing(&self) -> u64 {
        let wanted = self.wanted();
        let missing = wanted.iter().take(1).flat_map(|span| self.held.missing_in(*span));
        missing.map(GroupSpan::len).sum()
    }

    /// How much of a lane its source keeps when another one, of rate `ours`, has nothing to do.
    fn keeps(&self, lane: &LaneState, ours: f64, now: Duration) -> u64 {
        let quota = self.quota(lane.source, now);
        let rate = self.sources.rate(lane.source).unwrap_or(0.0);
        let is_at_edge = self.readers.iter().any(|reader| lane.rest().contains(reader.cursor));
        if is_at_edge && rate * 2.0 < ours { quota.min(whole(rate * EDGE_S).max(PORTION_MIN)) } else { quota }
    }

    /// The part of a gap that a source is given.
    pub(super) fn portion(&self, id: SourceId, gap: GroupSpan, now: Duration) -> GroupSpan {
        if !self.is_shared(id, now) {
            return gap;
        }
        let grain = self.grain();
        let end = next_edge(gap.start() + self.quota(id, now), grain);
        // Crumbs are no use to anybody.
        let end = if end + grain.max(PORTION_MIN) > gap.end() { gap.end() } else { end };
        GroupSpan::clamped(gap.start(), end)
    }

    /// Whether a piece that a website is given now is here before the others would have fetched it and everything else.
    /// What needs no pieces can be taken back in part.
    pub(super) fn is_in_time(&self, id: SourceId, now: Duration) -> bool {
        let is_website = self.sources.place(id) != Some(Place::Near);
        let Some(ours_s) = self.piece_s(id).filter(|_| is_website && self.grain() > 1) else { return true };
        let is_steady =
            |other| !self.lanes.of(other).any(|(_, lane)| lane.stalled || self.doubt_s(lane, now) > 0.0);
        let mut others = self.sources.iter().filter(|(other, source)| {
            *other != id
                && is_in_pool(source)
                && source.rests_until <= now
                && self.is_worth_it(*other, now)
                && is_steady(*other)
        });
        let (mut rate, mut soonest_s) = (0.0, f64::INFINITY);
        for (other, source) in &mut others {
            rate += source.rate.unwrap_or(0.0);
            soonest_s = self.piece_s(other).map_or(soonest_s, |seconds| soonest_s.min(seconds));
        }
        rate <= 0.0 || ours_s <= soonest_s.max(as_f64(self.missing()) / rate)
    }

    /// Seconds until a source has fetched what it was asked for and one piece more.
    fn piece_s(&self, id: SourceId) -> Option<f64> {
        let source = self.sources.get(id)?;
        let rate = source.rate.filter(|rate| *rate > 0.0)?;
        let rest: u64 = self.lanes.of(id).map(|(_, lane)| lane.rest().len()).sum();
        Some(as_f64(rest + self.grain().max(PORTION_MIN)) / rate + source.first_byte_s())
    }

    /// Where lanes of websites begin and end.
    pub(super) fn grain(&self) -> u64 {
        let pool = self.sources.iter().filter(|(_, source)| is_in_pool(source));
        pool.map(|(_, source)| source.facts.grain).max().unwrap_or(1).max(1)
    }

    /// Whether anybody who carries a fair share does so now.
    fn is_anybody_at_work(&self, now: Duration) -> bool {
        self.lanes.iter().any(|(_, lane)| {
            let is_near = self.sources.place(lane.source) == Some(Place::Near);
            lane.is_relied_on() && (is_near || self.is_worth_it(lane.source, now))
        })
    }

    /// Who is to take a gap that no reader waits for yet: the fastest website with nothing to do, or a neighbour that
    /// keeps up. Anybody, when nobody is at work.
    pub(super) fn best_free(&self, gap: GroupSpan, now: Duration) -> Option<SourceId> {
        if !self.is_anybody_at_work(now) {
            return self.best_idle(gap.start(), now);
        }
        let keeps_up = |id: SourceId| self.is_idle(id, now) && self.sources.has_proven_neighbour();
        let is_able = |id: SourceId, source: &SourceState| match source.facts.place {
            Place::Near => source.delivered > 0 && source.rate.is_some_and(|rate| rate > 0.0) && keeps_up(id),
            Place::Far | Place::Mirror => {
                (source.facts.ranges || gap.start() == 0)
                    && self.is_free(id, now)
                    && self.is_worth_it(id, now)
                    && self.is_in_time(id, now)
            }
        };
        let able = self.sources.iter().filter(|(id, source)| is_able(*id, source));
        let speed = |source: &SourceState| {
            let is_near = source.facts.place == Place::Near;
            (is_near, source.rate.unwrap_or(0.0))
        };
        let best = able.max_by(|(_, one), (_, other)| {
            let (one, other) = (speed(one), speed(other));
            one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
        });
        best.map(|(id, _)| id)
    }

    /// Whether a website has nothing to do, or will have before an answer to its next question could begin.
    pub(super) fn is_free(&self, id: SourceId, now: Duration) -> bool {
        let Some(source) = self.sources.get(id) else { return false };
        if self.lanes.of(id).any(|(_, lane)| lane.stalled || self.doubt_s(lane, now) > 0.0) {
            return false;
        }
        let rest: u64 = self.lanes.of(id).map(|(_, lane)| lane.rest().len()).sum();
        let left_s = match source.rate {
            _ if rest == 0 => 0.0,
            Some(rate) if rate > 0.0 => as_f64(rest) / rate,
            _ => f64::INFINITY,
        };
        self.is_idle(id, now) && left_s <= if rest == 0 { 0.0 } else { source.first_byte_s() }
    }

    /// Gives a website with nothing to do something.
    pub(super) fn share_out(&mut self, id: SourceId, now: Duration) {
        let Some(source) = self.sources.get(id) else { return };
        if !self.is_free(id, now) || !source.facts.ranges {
            return;
        }
        if source.rate.is_none_or(|rate| rate <= 0.0) {
            self.try_out(id, now);
        } else if source.facts.is_shown
            && self.is_worth_it(id, now)
            && self.is_in_time(id, now)
            && self.leave_portion(id, now)
        {
            // What was freed is handed out like any gap.
        } else {
            self.take_back(id, now);
        }
    }

    /// Gives a website that is not known yet, or has stalled, a piece at the back.
    fn try_out(&mut self, id: SourceId, now: Duration) {
        let is_far = |lane: &LaneState| self.sources.place(lane.source) != Some(Place::Near);
        let has_stalled = self.sources.get(id).is_some_and(|source| source.stalls > 0);
        let Some((victim, lane)) = self.lanes.longest(is_far) else { return };
        let (rest, grain) = (self.owed(lane), self.grain());
        let start = rest.end().saturating_sub(TRIAL.max(grain)) / grain * grain;
        let left_s = self.lane_rate(lane).map_or(f64::INFINITY, |rate| as_f64(rest.len()) / rate);
        if start < rest.start() + PIECE || left_s < if has_stalled { TRIED_AGAIN_S } else { TRIED_S } {
            return;
        }
        self.cut(victim, start);
        self.lanes.open(id, GroupSpan::clamped(start, rest.end()), now);
    }

    /// Cuts the lane that has the most beyond its own portion down to that; says whether there was one.
    fn leave_portion(&mut self, id: SourceId, now: Duration) -> bool {
        if !self.is_shared(id, now) {
            return false;
        }
        let grain = self.grain();
        let least = self.sources.get(id).map_or(0, least);
        let ours = self.sources.rate(id).unwrap_or(0.0);
        let cuts = self.lanes.iter().filter(|(_, lane)| lane.is_relied_on() && lane.source != id);
        // Before a source has shown how fast it is nobody can say what is too much for it.
        let is_known = |source: &SourceState| is_in_pool(source) && source.rate.is_some();
        let pooled = cuts.filter(|(_, lane)| self.sources.get(lane.source).is_some_and(is_known));
        let spare = pooled.filter_map(|(lane_id, lane)| {
            let end = next_edge(lane.next + self.keeps(lane, ours, now), grain);
            let spare = lane.end.checked_sub(end).filter(|spare| *spare >= 2 * least.max(grain))?;
            Some((spare, lane_id, end))
        });
        let Some((_, lane, end)) = spare.max() else { return false };
        self.cut(lane, end);
        true
    }

    /// Takes the back of the lane that would end last.
    fn take_back(&mut self, id: SourceId, now: Duration) {
        let Some(source) = self.sources.get(id) else { return };
        let Some(ours) = source.rate.filter(|rate| *rate > 0.0) else { return };
        let lead_s = source.first_byte_s();
        let candidates = self.lanes.iter().filter(|(_, lane)| {
            let is_known = self.sources.rate(lane.source).is_some() || self.doubt_s(lane, now) > 0.0;
            let is_website = self.sources.place(lane.source) != Some(Place::Near);
            lane.is_relied_on() && lane.source != id && is_website && is_known
        });
        let last = candidates
            .map(|(lane_id, lane)| (self.ends_in_s(lane, ours, now), lane_id))
            .max_by(|one, other| one.0.total_cmp(&other.0));
        let Some((ends_s, victim)) = last else { return };
        let Some(lane) = self.lanes.get(victim) else { return };
        let (rest, grain) = (self.owed(lane), self.grain());
        let theirs = self.lane_rate(lane).filter(|rate| *rate > 0.0).unwrap_or(ours);
        // Both end at the same time.
        let share = (ends_s - lead_s) * ours * theirs / (ours + theirs);
        let share = whole(share.max(0.0)).min(trusted(source).max(least(source)));
        let start = next_edge(rest.end().saturating_sub(share), grain);
        let is_silent = self.doubt_s(lane, now) > 0.0;
        // A piece that may have come in part is asked for again only when nothing comes, and that is paid for.
        let begun_end = next_edge(rest.start() + 1, grain);
        let begun = as_f64(begun_end.min(rest.end()) - rest.start()).min(self.begun_of(lane));
        let is_lost = is_silent && (self.affords(begun) || self.is_hung(lane, now));
        let first = if is_lost { rest.start() } else { begun_end };
        let taken = GroupSpan::clamped(start.max(first), rest.end());
        let gain_s = ends_s - lead_s - as_f64(taken.len()) / ours;
        if taken.is_empty() || gain_s < GAIN_MIN_S.max(lead_s / 2.0) {
            return;
        }
        if taken == rest && rest.len() * RACE_SHARE <= self.groups.unwrap_or(0) {
            self.race(id, taken, now);
            return;
        }
        let waste = self.waste_of(lane);
        if !is_silent && (as_f64(taken.len()) < waste * WASTE_WORTH || !self.affords(waste)) {
            return;
        }
        let loser = lane.source;
        if taken.start() < begun_end {
            self.pay(begun);
        }
        self.cut(victim, taken.start());
        self.lanes.open(id, taken, now);
        if let Some(loser) = self.sources.get_mut(loser).filter(|_| is_silent && taken == rest) {
            loser.stall(now);
        }
    }

    /// What a lane has to bring from the first group on that somebody waits for: without ranges it begins far in front.
    pub(super) fn owed(&self, lane: &LaneState) -> GroupSpan {
        let first = self.first_wanted(lane.rest(), &self.held).map_or(lane.end, GroupSpan::start);
        GroupSpan::clamped(first, lane.end)
    }

    /// Asks a second source for what a silent one still owes: whoever is first ends the other.
    fn race(&mut self, id: SourceId, span: GroupSpan, now: Duration) {
        let is_raced = |lane: &LaneState| lane.trial && !lane.rest().intersection(span).is_empty();
        let stake = as_f64(span.len());
        if !self.lanes.iter().any(|(_, lane)| is_raced(lane)) && self.affords(stake) {
            self.pay(stake);
            self.lanes.open_trial(id, span, now);
        }
    }

    /// Groups a second of one lane of several.
    pub(super) fn lane_rate(&self, lane: &LaneState) -> Option<f64> {
        let lanes = self.lanes.of(lane.source).filter(|(_, lane)| !lane.stalled).count().max(1);
        Some(self.sources.rate(lane.source)? / as_f64(lanes as u64))
    }

    /// Seconds until a lane is through.
    fn ends_in_s(&self, lane: &LaneState, otherwise: f64, now: Duration) -> f64 {
        let rate = self.lane_rate(lane).filter(|rate| *rate > 0.0).unwrap_or(otherwise);
        self.doubt_s(lane, now) + as_f64(lane.rest().len()) / rate
    }

    /// Once a lane is silent for longer than it usually is, it is thought to stay so for as long again.
    pub(super) fn doubt_s(&self, lane: &LaneState, now: Duration) -> f64 {
        let silent = now.saturating_sub(lane.progress_at);
        self.patience(lane).filter(|usual| silent > *usual).map_or(0.0, |_| silent.as_secs_f64())
    }

    /// How long a lane may be silent before that means something: those of one source deliver by turns.
    fn patience(&self, lane: &LaneState) -> Option<Duration> {
        let lanes = self.lanes.of(lane.source).count();
        let usual = self.sources.get(lane.source)?.patience(lane.delivered);
        Some(usual.saturating_mul(u32::try_from(lanes).unwrap_or(1)))
    }

    /// When silence will begin to mean something, while somebody has nothing to do.
    pub(super) fn doubts(&self, now: Duration) -> Option<Duration> {
        let is_website = |id| self.sources.place(id) != Some(Place::Near);
        let mut free = self.sources.iter().filter(|(id, _)| is_website(*id) && self.is_free(*id, now));
        free.next()?;
        let doubts = self
            .lanes
            .iter()
            .filter_map(|(_, lane)| Some((lane.progress_at + self.patience(lane)?).max(now + GLANCE)));
        doubts.min()
    }
}

/// Between two looks at a silent lane.
const GLANCE: Duration = Duration::from_millis(50);

/// Whether a source works in portions.
fn is_in_pool(source: &SourceState) -> bool {
    let facts = &source.facts;
    !source.useless && facts.ranges && facts.is_shown && facts.place != Place::Near
}

/// Most groups that what a source has shown is good for: a short trial may have been a burst, an earlier download long
/// ago.
fn trusted(source: &SourceState) -> u64 {
    let earlier = source.facts.earlier.map_or(0, |earlier| whole(earlier.rate * PORTION_S));
    (source.delivered * TRUST).max(TRIAL * TRUST).max(earlier)
}

/// Least groups that are worth a question to a source.
fn least(source: &SourceState) -> u64 {
    let waits = source.rate.unwrap_or(0.0) * source.first_byte_s() * PORTION_WAITS;
    whole(waits).clamp(PORTION_MIN, 16 * PIECE).max(source.facts.grain)
}

pub(super) fn next_edge(group: u64, grain: u64) -> u64 {
    group.checked_next_multiple_of(grain).unwrap_or(group)
}
