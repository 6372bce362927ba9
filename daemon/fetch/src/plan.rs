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
//! 6. A proven neighbour with nothing to do takes over what a slower lane would need longer for. One that is as fast
//!    as the origin takes everything but what is in flight, so that the origin need not send it.
//! 7. Websites, the origin among them, share what no neighbour brings, each by what it can do.
//! 8. A lane without progress for [`STALL`] is not counted on: its groups are a gap again for every other source.
//! 9. While other boxes fetch the rest, a website's lane ends where their part begins, and gaps there are none.
//!
//! What is known of each source is in `sources`, the open lanes are in `lanes`, rules 5 and 6 in `relief`, rule 7 in
//! `pool`, what guesses may cost in `twice`.
//!
//! Knows no clock, no task, no bytes: times are durations since the job began. Never plans more than
//! [`LANES_MAX`] lanes, and never a group twice but by rules 5 and 8, whose pieces are bounded by [`PIECE`], and by what
//! websites take from each other near the end, a hundredth of the object at most.

use std::time::Duration;

use kith_model::range::{GroupSet, GroupSpan};

use self::lanes::{LaneState, Lanes};
use self::sources::{SourceState, Sources, as_f64};
pub use self::terms::{Action, Demand, Ending, Estimate, Facts, LaneId, Place, SourceId};

mod lanes;
mod pool;
mod relief;
mod sources;
mod terms;
mod twice;

/// Lanes open at once, over all sources of one job.
pub const LANES_MAX: usize = 8;

/// Actions that follow from one event at most, far from what was ever seen. More than that are two rules that undo each
/// other.
pub const ACTIONS_MAX: usize = 64;

/// Groups that a source delivers to prove itself, and the alignment of what is fetched around a small range: 1 MiB.
/// Small ranges must not cost the origin a multiple of themselves, nor one request each.
pub const PIECE: u64 = 64;

/// A lane that delivers nothing for this long is not counted on. G42 asks for a hedge within three seconds.
pub const STALL: Duration = Duration::from_millis(1500);

/// A reader waits at most this long for a slow lane to reach it before it gets its own.
const SEEK_PATIENCE: Duration = Duration::from_millis(400);

/// A span shorter than this is not worth a second source: 512 KiB.
const STEAL_MIN: u64 = 32;

/// What nobody delivers yet.
struct Gap {
    span: GroupSpan,
    /// Whether a reader waits for its first group, or nobody delivers anything that the reader wants.
    is_awaited: bool,
}

/// The plan of one job.
#[derive(Debug)]
pub struct Plan {
    // facts
    groups: Option<u64>,
    held: GroupSet,
    whole: bool,
    /// What websites may be asked for, when other boxes fetch the rest.
    confines: Option<GroupSet>,
    // players
    sources: Sources,
    lanes: Lanes,
    readers: Vec<Demand>,
    // bookkeeping
    seed: u64,
    twice: Twice,
}

/// Groups that may have come twice by what was guessed.
#[derive(Debug, Default)]
struct Twice(f64);

impl Plan {
    /// A plan for an object of `groups` groups (unknown for a body without a length), of which `held` are here.
    /// The seed only spreads retries.
    pub fn new(groups: Option<u64>, held: GroupSet, seed: u64) -> Self {
        Self {
            groups,
            held,
            whole: false,
            confines: None,
            sources: Sources::default(),
            lanes: Lanes::default(),
            readers: Vec::new(),
            seed: seed | 1,
            twice: Twice::default(),
        }
    }

    /// Adds a source.
    pub fn source_added(&mut self, facts: Facts) -> SourceId {
        let id = self.sources.add(facts);
        if facts.grain > 1 {
            self.lanes.be_patient_with(id);
        }
        id
    }

    /// A source turned out to know no ranges.
    pub fn without_ranges(&mut self, id: SourceId) {
        if let Some(source) = self.sources.get_mut(id) {
            source.facts.ranges = false;
        }
    }

    /// Takes a source out, with its lanes.
    pub fn source_removed(&mut self, id: SourceId) {
        if let Some(source) = self.sources.get_mut(id) {
            source.useless = true;
        }
        self.lanes.close_all(|lane| lane.source == id);
    }

    /// All lanes were ended from outside.
    pub fn lanes_closed(&mut self) {
        self.lanes.clear();
    }

    /// Whether a source is given up.
    pub fn is_useless(&self, id: SourceId) -> bool {
        self.sources.get(id).is_none_or(|source| source.useless)
    }

    /// Takes note of a lane that is open already: the body of the origin's first answer.
    pub fn lane_given(&mut self, source: SourceId, span: GroupSpan, now: Duration) -> LaneId {
        self.lanes.given(source, span, now)
    }

    /// Groups came in over a lane, were checked and are stored.
    pub fn delivered(&mut self, lane: LaneId, span: GroupSpan, now: Duration) {
        self.held.insert(span);
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        let (since, delivered) = lane.deliver(span, now);
        if let Some(source) = self.sources.get_mut(lane.source) {
            source.deliver(span.len(), since, now, !delivered);
        }
    }

    /// A lane is over.
    pub fn lane_ended(&mut self, lane: LaneId, ending: Ending, now: Duration) {
        let Some(lane) = self.lanes.remove(lane) else { return };
        let (jitter, lanes_open) = (self.jitter(), self.lanes.of(lane.source).count());
        let Some(source) = self.sources.get_mut(lane.source) else { return };
        match ending {
            Ending::Done => {}
            Ending::Useless => source.useless = true,
            Ending::Failed => source.fail(now, jitter),
            Ending::Busy => source.put_off(now, jitter, lanes_open),
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

    /// Websites are asked for nothing else from now on: other boxes fetch it and hand it over.
    pub fn confine(&mut self, confines: Option<GroupSet>) {
        self.confines = confines;
    }

    /// Whether a neighbour that holds the whole has shown that it delivers.
    pub(crate) fn has_proven_neighbour(&self) -> bool {
        self.sources.has_proven_neighbour()
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
        self.lanes.len() == 0
            && self.sources.are_useless()
            && self.wanted().iter().any(|span| self.held.missing_in(*span).next().is_some())
    }

    /// What is here.
    pub fn held(&self) -> &GroupSet {
        &self.held
    }

    /// Whether a source has delivered enough to be counted on, and how fast it is in groups a second.
    pub fn proven_rate(&self, source: SourceId) -> Option<f64> {
        let source = self.sources.get(source)?;
        (source.delivered > 0).then_some(source.rate).flatten()
    }

    /// What a source has shown, for later downloads.
    pub fn estimate(&self, source: SourceId) -> Option<Estimate> {
        self.sources.get(source)?.estimate()
    }

    /// The next thing to do at `now`; call until there is nothing. An action counts as done once it is returned.
    pub fn poll(&mut self, now: Duration) -> Option<Action> {
        self.lanes
            .take_action()
            .or_else(|| self.mark_stalls(now))
            .or_else(|| self.trim())
            .or_else(|| self.drop_unwanted())
            .or_else(|| self.keep_within())
            .or_else(|| self.fill_gap(now))
            .or_else(|| self.follow_seek(now))
            .or_else(|| self.relieve(now))
    }

    /// When to call [`Self::poll`] again though nothing happened.
    pub fn next_wake(&self, now: Duration) -> Option<Duration> {
        let alarms = self.lanes.stalls().chain(self.sources.rests()).chain(self.doubts(now));
        alarms.filter(|at| *at > now).min()
    }

    // rule 8
    fn mark_stalls(&mut self, now: Duration) -> Option<Action> {
        let source = self.lanes.mark_stalled(now)?;
        self.sources.get_mut(source)?.stall(now);
        Some(Action::Slow { source })
    }

    // rule 1
    fn trim(&mut self) -> Option<Action> {
        // A short island costs less than a new request: the lane runs over it.
        // A source without ranges would have to begin anew behind it.
        let worth_it = |island: &GroupSpan, lane: &LaneState| {
            island.end() == lane.end || (island.len() >= PIECE && self.sources.has_ranges(lane.source))
        };
        let (id, end) = self.lanes.iter().find_map(|(id, lane)| {
            let held = self.held.within(lane.rest());
            let island = held.spans().iter().find(|island| worth_it(island, lane))?;
            Some((id, island.start()))
        })?;
        self.lanes.cut(id, end);
        self.lanes.take_action()
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
            (end < lane.end).then_some((id, end))
        })?;
        self.lanes.cut(id, end);
        self.lanes.take_action()
    }

    /// What websites may be asked for. An origin without ranges cannot be asked for a part.
    fn confines(&self) -> Option<&GroupSet> {
        let is_whole = |source: &SourceState| {
            source.facts.place == Place::Far && !source.facts.ranges && !source.useless
        };
        self.confines.as_ref().filter(|_| !self.sources.iter().any(|(_, source)| is_whole(source)))
    }

    // rule 9
    fn keep_within(&mut self) -> Option<Action> {
        let confines = self.confines()?;
        let (id, end) = self.lanes.iter().find_map(|(id, lane)| {
            let is_far = self.sources.place(lane.source) != Some(Place::Near);
            let outside = confines.missing_in(lane.rest()).next().filter(|_| is_far)?;
            Some((id, outside.start()))
        })?;
        self.lanes.cut(id, end);
        self.lanes.take_action()
    }

    // rule 3
    fn fill_gap(&mut self, now: Duration) -> Option<Action> {
        let (gap, source) = self.gaps().into_iter().find_map(|gap| {
            let first = gap.is_awaited.then(|| self.best_idle(gap.span.start(), now)).flatten();
            let source =
                first.filter(|id| self.is_in_time(*id, now)).or_else(|| self.best_free(gap.span, now));
            Some((gap.span, source?))
        })?;
        // A lane of a source without ranges starts at the front, whatever is missing.
        let span = if self.sources.has_ranges(source) {
            self.portion(source, gap, now)
        } else {
            GroupSpan::clamped(0, gap.end())
        };
        self.lanes.close_all(|lane| lane.stalled && lane.rest().contains(gap.start()));
        self.lanes.open(source, span, now);
        self.lanes.take_action()
    }

    /// What is wanted, not here and not coming; at readers' cursors first.
    fn gaps(&self) -> Vec<Gap> {
        let mut coming = GroupSet::new();
        for (_, lane) in self.lanes.iter().filter(|(_, lane)| lane.is_relied_on()) {
            coming.insert(lane.rest());
        }
        let mut covered = self.held.clone();
        coming.spans().iter().for_each(|span| covered.insert(*span));
        let first = |wanted: GroupSpan| match self.confines() {
            None => covered.missing_in(wanted).next(),
            Some(open) => {
                open.within(wanted).spans().iter().find_map(|part| covered.missing_in(*part).next())
            }
        };
        let gap = |wanted: &GroupSpan| {
            let span = first(*wanted)?;
            let is_awaited = span.start() == wanted.start() || coming.within(*wanted).is_empty();
            Some(Gap { span, is_awaited })
        };
        self.wanted().iter().filter_map(gap).collect()
    }

    // rule 4
    fn follow_seek(&mut self, now: Duration) -> Option<Action> {
        let (victim, cursor) = self.readers.iter().find_map(|demand| self.left_waiting(*demand))?;
        let source = self.best_idle(cursor, now)?;
        let end = self.lanes.get(victim)?.end;
        if !self.sources.has_ranges(source) {
            return None;
        }
        self.lanes.cut(victim, cursor);
        self.lanes.open(source, GroupSpan::clamped(cursor, end), now);
        self.lanes.take_action()
    }

    /// The lane that will reach a reader too late, and where that reader is.
    fn left_waiting(&self, demand: Demand) -> Option<(LaneId, u64)> {
        if demand.cursor >= demand.end || self.held.contains(demand.cursor) {
            return None;
        }
        let (id, lane) =
            self.lanes.iter().find(|(_, lane)| lane.is_relied_on() && lane.rest().contains(demand.cursor))?;
        let distance = demand.cursor - lane.next;
        let late = match self.sources.rate(lane.source) {
            Some(rate) if rate > 0.0 => {
                as_f64(distance) / rate > SEEK_PATIENCE.as_secs_f64() && distance >= STEAL_MIN
            }
            _ => distance >= PIECE,
        };
        late.then_some((id, demand.cursor))
    }

    /// The best source that could open a lane at `group` now. A near source that keeps up goes first, then the fastest
    /// website, and one that stalled last; one whose stalled lane makes the gap is no help.
    fn best_idle(&self, group: u64, now: Duration) -> Option<SourceId> {
        let far = self.sources.far_rate();
        let rank = |source: &SourceState| match (source.facts.place, source.rate) {
            (Place::Near, Some(rate)) if source.delivered > 0 && rate > 0.0 && rate >= far * 0.25 => 0,
            (Place::Mirror, Some(rate)) if source.facts.is_shown && rate > far => 1,
            (Place::Far, _) if source.facts.ranges || group == 0 => 2,
            (Place::Near, None) => 3,
            (Place::Near, Some(_)) => 4,
            (Place::Far, _) => 5,
            // What it delivers is not shown before the whole was checked: better than nothing.
            (Place::Mirror, _) => 6,
        };
        let stuck_there =
            |id: SourceId| self.lanes.of(id).any(|(_, lane)| lane.stalled && lane.rest().contains(group));
        self.sources
            .iter()
            .filter(|(id, _)| self.is_idle(*id, now) && !stuck_there(*id))
            .filter(|(_, source)| source.facts.ranges || self.confines().is_none())
            .min_by(|(_, one), (_, other)| {
                let faster = || other.rate.unwrap_or(0.0).total_cmp(&one.rate.unwrap_or(0.0));
                rank(one).cmp(&rank(other)).then_with(faster)
            })
            .map(|(id, _)| id)
    }

    fn is_idle(&self, id: SourceId, now: Duration) -> bool {
        let Some(source) = self.sources.get(id) else { return false };
        !source.useless
            && source.rests_until <= now
            && self.lanes.of(id).count() < source.facts.lanes_max
            && self.lanes.len() < LANES_MAX
    }

    /// What is to be fetched, most urgent first, in pieces so that small ranges neither multiply nor shatter.
    pub(crate) fn wanted(&self) -> Vec<GroupSpan> {
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

    /// A factor between 0.5 and 1.5 (xorshift; good enough to spread retries).
    fn jitter(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        0.5 + f64::from(u32::try_from(self.seed >> 40).unwrap_or(0)) / f64::from(1u32 << 24)
    }
}

#[cfg(test)]
mod tests;
