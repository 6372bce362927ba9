//! Who fetches which groups next: a pure machine, fed with events and the time, asked for actions.
//!
//! The unit is the *lane*: one source delivering one span of groups in order. The origin's first lane runs from the
//! moment it answers; everything else is the art of cutting spans. The rules, in the order they are tried:
//!
//! 1. A lane that runs into groups that are here already ends there.
//! 2. A lane that nobody waits for any more ends, unless the whole object is wanted.
//! 3. A gap that no lane covers gets one, gaps at a reader's cursor first.
//! 4. A reader far ahead of the lane that will reach it gets a lane of its own (a seek).
//! 5. A neighbour that has not proven itself gets a small piece ahead of the lane it may relieve; the lane runs on.
//! 6. A proven source with nothing to do takes over what a slower lane would need longer for. A neighbour that is
//!    as fast as the origin takes everything but what is in flight, so that the origin need not send it.
//! 7. A mirror takes the back of the longest far lane: a piece at first, then as much as makes both end together.
//!    An origin that is done takes the back of a mirror's.
//! 8. A lane without progress for [`STALL`] is not counted on: its groups are a gap again for every other source.
//!
//! Knows no clock, no task, no bytes: times are durations since the job began. Never plans more than
//! [`LANES_MAX`] lanes, and never a group twice but by rules 5 and 8, whose pieces are bounded by [`PIECE`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kith_model::range::{GroupSet, GroupSpan};

pub use self::terms::{Action, Demand, Ending, Facts, LaneId, Place, SourceId};

mod terms;

/// Lanes open at once, over all sources of one job.
pub const LANES_MAX: usize = 8;

/// Groups that a source delivers to prove itself, and the alignment of what is fetched around a small range: 1 MiB.
/// Small ranges must not cost the origin a multiple of themselves, nor one request each.
pub const PIECE: u64 = 64;

/// A lane that delivers nothing for this long is not counted on. G42 asks for a hedge within three seconds.
pub const STALL: Duration = Duration::from_millis(1500);

/// A reader waits at most this long for a slow lane to reach it before it gets its own.
const SEEK_PATIENCE: Duration = Duration::from_millis(400);

/// A span shorter than this is not worth a second source: 512 KiB.
const STEAL_MIN: u64 = 32;

/// A source that fails so often without a group in between is given up.
const FAILURES_MAX: u32 = 5;

/// First pause after a failure; doubled each time, with jitter.
const PAUSE: Duration = Duration::from_millis(200);

/// Time constant of the rate average.
const RATE_WINDOW_S: f64 = 1.0;

/// Seconds that a neighbour's lanes are open, each counted, before it may be found too slow.
const NEAR_WATCH_S: f64 = 0.25;

/// The same for an origin before it may be found faster: longer than the burst that a shaped uplink begins with.
const FAR_WATCH_S: f64 = 0.05;

#[derive(Debug)]
struct SourceState {
    facts: Facts,
    delivered: u64,
    /// Seconds in which lanes were open, each lane counted.
    active_s: f64,
    /// Groups a second; nothing until measured.
    rate: Option<f64>,
    failures: u32,
    rests_until: Duration,
    useless: bool,
}

impl SourceState {
    /// Counts groups that took so long to come. The rate is the plain average at first and an exponentially
    /// weighted one later, so that neither a first burst nor an old past tells the speed.
    fn deliver(&mut self, groups: u64, seconds: f64) {
        self.failures = 0;
        self.delivered += groups;
        self.active_s += seconds;
        let window = self.active_s.min(RATE_WINDOW_S);
        let weight = if window > 0.0 { (seconds / window).min(1.0) } else { 1.0 };
        let now = as_f64(groups) / seconds.max(1e-4);
        self.rate = Some(self.rate.map_or(now, |before| before + weight * (now - before)));
    }
}

#[derive(Debug)]
struct LaneState {
    source: SourceId,
    next: u64,
    end: u64,
    /// Where this lane's piece was laid ahead of another lane on purpose.
    trial: bool,
    progress_at: Duration,
    stalled: bool,
}

impl LaneState {
    fn rest(&self) -> GroupSpan {
        GroupSpan::clamped(self.next, self.end)
    }
}

/// The plan of one job.
#[derive(Debug)]
pub struct Plan {
    // facts
    groups: Option<u64>,
    held: GroupSet,
    whole: bool,
    // players
    sources: BTreeMap<SourceId, SourceState>,
    lanes: BTreeMap<LaneId, LaneState>,
    readers: Vec<Demand>,
    // bookkeeping
    pending: VecDeque<Action>,
    lanes_opened: u64,
    sources_added: u32,
    seed: u64,
}

impl Plan {
    /// A plan for an object of `groups` groups (unknown for a body without a length), of which `held` are here.
    /// The seed only spreads retries.
    pub fn new(groups: Option<u64>, held: GroupSet, seed: u64) -> Self {
        Self {
            groups,
            held,
            whole: false,
            sources: BTreeMap::new(),
            lanes: BTreeMap::new(),
            readers: Vec::new(),
            pending: VecDeque::new(),
            lanes_opened: 0,
            sources_added: 0,
            seed: seed | 1,
        }
    }

    /// Adds a source.
    pub fn source_added(&mut self, facts: Facts) -> SourceId {
        let id = SourceId(self.sources_added);
        self.sources_added += 1;
        let state = SourceState {
            facts,
            delivered: 0,
            active_s: 0.0,
            rate: None,
            failures: 0,
            rests_until: Duration::ZERO,
            useless: false,
        };
        self.sources.insert(id, state);
        id
    }

    /// Takes a source out, with its lanes.
    pub fn source_removed(&mut self, id: SourceId) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.useless = true;
        }
        let lanes: Vec<LaneId> =
            self.lanes.iter().filter(|(_, lane)| lane.source == id).map(|(lane, _)| *lane).collect();
        for lane in lanes {
            self.close(lane);
        }
    }

    /// All lanes were ended from outside.
    pub fn lanes_closed(&mut self) {
        self.lanes.clear();
        self.pending.clear();
    }

    /// Whether a source is given up.
    pub fn is_useless(&self, id: SourceId) -> bool {
        self.sources.get(&id).is_none_or(|source| source.useless)
    }

    /// Takes note of a lane that is open already: the body of the origin's first answer.
    pub fn lane_given(&mut self, source: SourceId, span: GroupSpan, now: Duration) -> LaneId {
        self.lane(source, span, now, false)
    }

    /// Groups came in over a lane, were checked and are stored.
    pub fn delivered(&mut self, lane: LaneId, span: GroupSpan, now: Duration) {
        self.held.insert(span);
        let Some(lane) = self.lanes.get_mut(&lane) else { return };
        let seconds = now.saturating_sub(lane.progress_at).as_secs_f64();
        lane.next = lane.next.max(span.end());
        lane.progress_at = now;
        lane.stalled = false;
        if let Some(source) = self.sources.get_mut(&lane.source) {
            source.deliver(span.len(), seconds);
        }
    }

    /// A lane is over.
    pub fn lane_ended(&mut self, lane: LaneId, ending: Ending, now: Duration) {
        let Some(lane) = self.lanes.remove(&lane) else { return };
        let jitter = self.jitter();
        let Some(source) = self.sources.get_mut(&lane.source) else { return };
        match ending {
            Ending::Done => {}
            Ending::Useless => source.useless = true,
            Ending::Failed => {
                source.failures += 1;
                source.useless |= source.failures >= FAILURES_MAX;
                let pause = PAUSE.saturating_mul(1 << source.failures.min(6));
                source.rests_until = now + pause.mul_f64(jitter);
            }
        }
    }

    /// Groups turned out wrong and are gone from the store.
    pub fn lost(&mut self, held: GroupSet) {
        self.held = held;
    }

    /// What the readers wait for now, all of them.
    pub fn readers(&mut self, demands: Vec<Demand>) {
        self.readers = demands;
    }

    /// Whether to fetch what no reader waits for.
    pub fn want_whole(&mut self, whole: bool) {
        self.whole = whole;
    }

    /// The length became known.
    pub fn length_known(&mut self, groups: u64) {
        self.groups = Some(groups);
    }

    /// Whether every group is here.
    pub fn complete(&self) -> bool {
        self.groups.is_some_and(|groups| self.held.contains_all(GroupSpan::clamped(0, groups)))
    }

    /// Whether something is wanted that nobody can deliver.
    pub fn exhausted(&self) -> bool {
        self.lanes.is_empty()
            && self.sources.values().all(|source| source.useless)
            && self.wanted().iter().any(|span| self.held.missing_in(*span).next().is_some())
    }

    /// What is here.
    pub fn held(&self) -> &GroupSet {
        &self.held
    }

    /// Whether a source has delivered enough to be counted on, and how fast it is in groups a second.
    pub fn proven_rate(&self, source: SourceId) -> Option<f64> {
        let source = self.sources.get(&source)?;
        (source.delivered > 0).then_some(source.rate).flatten()
    }

    /// The next thing to do at `now`; call until there is nothing. An action counts as done once it is returned.
    pub fn poll(&mut self, now: Duration) -> Option<Action> {
        self.pending
            .pop_front()
            .or_else(|| self.mark_stalls(now))
            .or_else(|| self.trim())
            .or_else(|| self.drop_unwanted())
            .or_else(|| self.fill_gap(now))
            .or_else(|| self.follow_seek(now))
            .or_else(|| self.relieve(now))
    }

    /// When to call [`Self::poll`] again though nothing happened.
    pub fn next_wake(&self, now: Duration) -> Option<Duration> {
        let stalls = self.lanes.values().filter(|lane| !lane.stalled).map(|lane| lane.progress_at + STALL);
        let rests = self.sources.values().filter(|source| !source.useless).map(|source| source.rests_until);
        stalls.chain(rests).filter(|at| *at > now).min()
    }

    // rule 8
    fn mark_stalls(&mut self, now: Duration) -> Option<Action> {
        let stalled = self
            .lanes
            .values_mut()
            .find(|lane| !lane.stalled && now.saturating_sub(lane.progress_at) >= STALL)?;
        stalled.stalled = true;
        let source = stalled.source;
        let state = self.sources.get_mut(&source)?;
        // What it delivered before no longer tells how fast it is.
        state.rate = Some(0.0);
        Some(Action::Slow { source })
    }

    // rule 1
    fn trim(&mut self) -> Option<Action> {
        // A short island costs less than a new request: the lane runs over it.
        // A source without ranges would have to begin anew behind it.
        let ranges =
            |lane: &LaneState| self.sources.get(&lane.source).is_some_and(|source| source.facts.ranges);
        let worth_it = |island: &GroupSpan, lane: &LaneState| {
            island.end() == lane.end || (island.len() >= PIECE && ranges(lane))
        };
        let (id, end) = self.lanes.iter().find_map(|(id, lane)| {
            let held = self.held.within(lane.rest());
            let island = held.spans().iter().find(|island| worth_it(island, lane))?;
            Some((*id, island.start()))
        })?;
        self.cut(id, end);
        self.pending.pop_front()
    }

    // rule 2
    fn drop_unwanted(&mut self) -> Option<Action> {
        if self.whole || self.groups.is_none() {
            return None;
        }
        let wanted = self.wanted();
        let (id, end) = self.lanes.iter().find_map(|(id, lane)| {
            let parts =
                wanted.iter().map(|span| span.intersection(lane.rest())).filter(|span| !span.is_empty());
            let end = parts.map(GroupSpan::end).max().unwrap_or(lane.next);
            (end < lane.end).then_some((*id, end))
        })?;
        self.cut(id, end);
        self.pending.pop_front()
    }

    // rule 3
    fn fill_gap(&mut self, now: Duration) -> Option<Action> {
        let gap = self.gaps().into_iter().next()?;
        let source = self.best_idle(gap.start(), now)?;
        // A lane of a source without ranges starts at the front, whatever is missing.
        let start = if self.sources[&source].facts.ranges { gap.start() } else { 0 };
        let relieved: Vec<LaneId> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.stalled && lane.rest().contains(gap.start()))
            .map(|(id, _)| *id)
            .collect();
        for lane in relieved {
            self.close(lane);
        }
        self.open(source, GroupSpan::clamped(start, gap.end()), now, false);
        self.pending.pop_front()
    }

    /// What is wanted, not here and not coming; at readers' cursors first.
    fn gaps(&self) -> Vec<GroupSpan> {
        let mut covered = self.held.clone();
        for lane in self.lanes.values().filter(|lane| !lane.stalled && !lane.trial) {
            covered.insert(lane.rest());
        }
        self.wanted().iter().filter_map(|span| covered.missing_in(*span).next()).collect()
    }

    // rule 4
    fn follow_seek(&mut self, now: Duration) -> Option<Action> {
        let (victim, cursor) = self.readers.iter().find_map(|demand| self.left_waiting(*demand))?;
        let source = self.best_idle(cursor, now)?;
        let end = self.lanes.get(&victim)?.end;
        if !self.sources[&source].facts.ranges {
            return None;
        }
        self.cut(victim, cursor);
        self.open(source, GroupSpan::clamped(cursor, end), now, false);
        self.pending.pop_front()
    }

    /// The lane that will reach a reader too late, and where that reader is.
    fn left_waiting(&self, demand: Demand) -> Option<(LaneId, u64)> {
        if demand.cursor >= demand.end || self.held.contains(demand.cursor) {
            return None;
        }
        let (id, lane) = self
            .lanes
            .iter()
            .find(|(_, lane)| !lane.stalled && !lane.trial && lane.rest().contains(demand.cursor))?;
        let distance = demand.cursor - lane.next;
        let late = match self.rate(lane.source) {
            Some(rate) if rate > 0.0 => {
                as_f64(distance) / rate > SEEK_PATIENCE.as_secs_f64() && distance >= STEAL_MIN
            }
            _ => distance >= PIECE,
        };
        late.then_some((*id, demand.cursor))
    }

    // rules 5, 6 and 7
    fn relieve(&mut self, now: Duration) -> Option<Action> {
        self.groups?;
        let idle: Vec<SourceId> = self.sources.keys().copied().filter(|id| self.is_idle(*id, now)).collect();
        for source in idle {
            let Some(state) = self.sources.get(&source) else { continue };
            match (state.facts.place, state.delivered) {
                (Place::Near, 0) => self.lay_trial(source, now),
                (Place::Mirror, _) if self.is_relieved_next_door() => {}
                (Place::Mirror, 0) => self.try_mirror(source, now),
                _ if state.facts.ranges => self.take_over(source, now),
                _ => {}
            }
            if let Some(action) = self.pending.pop_front() {
                return Some(action);
            }
        }
        None
    }

    // rule 5
    fn lay_trial(&mut self, source: SourceId, now: Duration) {
        if self.lanes.values().any(|lane| lane.source == source) {
            return;
        }
        let Some((_, victim)) = self.longest_lane(|lane| lane.source != source) else { return };
        let rest = victim.rest();
        if rest.len() < 2 * STEAL_MIN {
            return;
        }
        // Far enough ahead that the piece is here before the other lane gets there, near enough to be of use.
        let ahead = self.rate(victim.source).map_or(16, |rate| whole(rate * 0.25)).clamp(4, rest.len() / 2);
        // A piece that is here already proves nothing.
        let later = GroupSpan::clamped(rest.start() + ahead, rest.end());
        let Some(gap) = self.held.missing_in(later).next() else { return };
        self.open(
            source,
            GroupSpan::clamped(gap.start(), (gap.start() + STEAL_MIN).min(gap.end())),
            now,
            true,
        );
    }

    /// Whether a neighbour has shown that it delivers: then nobody else's uplink is bothered.
    fn is_relieved_next_door(&self) -> bool {
        self.sources
            .values()
            .any(|source| source.facts.place == Place::Near && source.delivered > 0 && !source.useless)
    }

    // rule 7
    fn try_mirror(&mut self, source: SourceId, now: Duration) {
        let place = |id| self.sources.get(&id).map(|source: &SourceState| source.facts.place);
        let Some((id, victim)) = self.longest_lane(|lane| place(lane.source) != Some(Place::Near)) else {
            return;
        };
        let rest = victim.rest();
        if !self.sources[&source].facts.ranges || rest.len() < 2 * PIECE {
            return;
        }
        let start = rest.end() - PIECE;
        self.cut(id, start);
        self.open(source, GroupSpan::clamped(start, rest.end()), now, false);
    }

    // rules 6 and 7
    fn take_over(&mut self, thief: SourceId, now: Duration) {
        let place = self.sources[&thief].facts.place;
        let busy = self.lanes.values().any(|lane| lane.source == thief);
        let eligible = |lane: &LaneState| {
            let victim = self.sources.get(&lane.source).map(|source| source.facts.place);
            lane.source != thief
                && match (place, victim) {
                    (Place::Near, _)
                    | (Place::Far, Some(Place::Near))
                    | (Place::Mirror, Some(Place::Far | Place::Mirror)) => true,
                    // The origin is never split against itself, and takes from mirrors only when it is done.
                    (Place::Far, Some(Place::Mirror)) => !busy,
                    (Place::Far | Place::Mirror, _) => false,
                }
        };
        let Some((id, victim)) = self.longest_lane(eligible) else { return };
        let (rest, victim_place) = (victim.rest(), self.sources[&victim.source].facts.place);
        let theirs = self.rate(victim.source);
        let Some(ours) = self.rate(thief).filter(|rate| *rate > 0.0) else { return };
        if (place, victim_place) == (Place::Far, Place::Near) && !self.is_known_slow(victim.source, thief) {
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
        self.cut(id, start);
        self.open(thief, GroupSpan::clamped(start, rest.end()), now, false);
    }

    /// Whether all lanes of a neighbour together carry less than half of what the origin does, and both were watched
    /// for long enough to say so: a shaped uplink begins with a burst, a LAN with a handshake.
    fn is_known_slow(&self, neighbour: SourceId, origin: SourceId) -> bool {
        let lanes = self.lanes.values().filter(|lane| lane.source == neighbour && !lane.stalled).count();
        let together = self.rate(neighbour).unwrap_or(0.0) * as_f64(lanes as u64);
        let watched = |id, seconds| self.sources.get(&id).is_some_and(|source| source.active_s >= seconds);
        watched(neighbour, NEAR_WATCH_S)
            && watched(origin, FAR_WATCH_S)
            && together * 2.0 < self.rate(origin).unwrap_or(0.0)
    }

    fn longest_lane(&self, eligible: impl Fn(&LaneState) -> bool) -> Option<(LaneId, &LaneState)> {
        self.lanes
            .iter()
            .filter(|(_, lane)| !lane.trial && !lane.stalled && eligible(lane))
            .max_by_key(|(_, lane)| lane.rest().len())
            .map(|(id, lane)| (*id, lane))
    }

    /// The best source that could open a lane at `group` now. A near source that keeps up goes first, one that
    /// stalled goes last; one whose stalled lane makes the gap is no help.
    fn best_idle(&self, group: u64, now: Duration) -> Option<SourceId> {
        let far = self
            .sources
            .values()
            .filter(|source| source.facts.place == Place::Far && !source.useless)
            .filter_map(|source| source.rate)
            .fold(0.0, f64::max);
        let rank = |source: &SourceState| match (source.facts.place, source.rate) {
            (Place::Near, Some(rate)) if source.delivered > 0 && rate > 0.0 && rate >= far * 0.25 => 0,
            (Place::Far, _) if source.facts.ranges || group == 0 => 1,
            (Place::Near, None) => 2,
            (Place::Near, Some(_)) => 3,
            (Place::Far, _) => 4,
            // What it delivers is not shown before the whole was checked: better than nothing.
            (Place::Mirror, _) => 5,
        };
        let stuck_there = |id: SourceId| {
            self.lanes.values().any(|lane| lane.source == id && lane.stalled && lane.rest().contains(group))
        };
        self.sources
            .iter()
            .filter(|(id, _)| self.is_idle(**id, now) && !stuck_there(**id))
            .min_by_key(|(_, source)| rank(source))
            .map(|(id, _)| *id)
    }

    fn is_idle(&self, id: SourceId, now: Duration) -> bool {
        let Some(source) = self.sources.get(&id) else { return false };
        let open = self.lanes.values().filter(|lane| lane.source == id).count();
        !source.useless
            && source.rests_until <= now
            && open < source.facts.lanes_max
            && self.lanes.len() < LANES_MAX
    }

    fn rate(&self, id: SourceId) -> Option<f64> {
        self.sources.get(&id).and_then(|source| source.rate)
    }

    /// What is to be fetched, most urgent first, in pieces so that small ranges neither multiply nor shatter.
    fn wanted(&self) -> Vec<GroupSpan> {
        let limit = self.groups.unwrap_or(u64::MAX);
        let rounded = |demand: &Demand| {
            let end = demand.end.checked_next_multiple_of(PIECE).unwrap_or(u64::MAX);
            GroupSpan::clamped(demand.cursor.min(limit), end.min(limit))
        };
        let mut wanted: Vec<GroupSpan> =
            self.readers.iter().filter(|demand| demand.cursor < demand.end).map(rounded).collect();
        if self.whole {
            wanted.push(GroupSpan::clamped(0, limit));
        }
        wanted
    }

    fn open(&mut self, source: SourceId, span: GroupSpan, now: Duration, trial: bool) {
        let lane = self.lane(source, span, now, trial);
        self.pending.push_back(Action::Open { lane, source, span });
    }

    fn lane(&mut self, source: SourceId, span: GroupSpan, now: Duration, trial: bool) -> LaneId {
        let id = LaneId(self.lanes_opened);
        self.lanes_opened += 1;
        let state = LaneState {
            source,
            next: span.start(),
            end: span.end(),
            trial,
            progress_at: now,
            stalled: false,
        };
        self.lanes.insert(id, state);
        id
    }

    fn cut(&mut self, id: LaneId, end: u64) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if end <= lane.next {
            self.close(id);
            return;
        }
        lane.end = lane.end.min(end);
        self.pending.push_back(Action::Cut { lane: id, end });
    }

    fn close(&mut self, id: LaneId) {
        self.lanes.remove(&id);
        self.pending.push_back(Action::Close { lane: id });
    }

    /// A factor between 0.5 and 1.5 (xorshift; good enough to spread retries).
    fn jitter(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        0.5 + f64::from(u32::try_from(self.seed >> 40).unwrap_or(0)) / f64::from(1u32 << 24)
    }
}

/// How much of `rest` the second source takes so that both are done at the same time.
fn tail_share(rest: u64, ours: f64, theirs: f64) -> u64 {
    whole(as_f64(rest) * ours / (ours + theirs)).min(rest)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate; counts of groups stay far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, as wanted")]
fn whole(estimate: f64) -> u64 {
    estimate as u64
}

#[cfg(test)]
mod tests;
