//! One download in virtual time: the hearth's plan, and sources that deliver what it asks for.
//!
//! The clock moves in steps of a five-hundredth of the ideal time. Nothing is sent but what lanes bring.

use std::time::Duration;

use kith_fetch::plan::{Action, Demand, Ending, Facts, LaneId, Place, Plan, SourceId};
use kith_model::range::{GroupSet, GroupSpan};

use crate::numbers::{as_f64, whole};

/// Groups a second at 1 MB/s.
pub(crate) const MB_S: f64 = 1e6 / 16384.0;

/// Where groups come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Road {
    pub(crate) place: Place,
    /// Groups a second, all lanes together.
    pub(crate) rate: f64,
    /// From a question to the first byte.
    pub(crate) delay: Duration,
    /// When it is there: neighbours have to be asked first.
    pub(crate) appears: Duration,
    /// Whether what it brings is found wrong.
    pub(crate) lies: bool,
}

impl Road {
    pub(crate) fn origin(mb_s: f64) -> Self {
        let (delay, appears) = (Duration::from_millis(20), Duration::ZERO);
        Self { place: Place::Far, rate: mb_s * MB_S, delay, appears, lies: false }
    }

    pub(crate) fn neighbour(mb_s: f64) -> Self {
        let (delay, appears) = (Duration::from_millis(1), Duration::from_millis(10));
        Self { place: Place::Near, rate: mb_s * MB_S, delay, appears, lies: false }
    }

    fn facts(&self) -> Facts {
        let lanes_max = if self.place == Place::Near { 4 } else { 3 };
        Facts { lanes_max, ..Facts::of(self.place) }
    }
}

/// What a download came to.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) seconds: f64,
    /// Groups that each road brought, also in vain.
    pub(crate) groups: Vec<u64>,
    /// Which of them were caught at a lie.
    pub(crate) liars: Vec<bool>,
}

struct Lane {
    id: LaneId,
    source: SourceId,
    next: u64,
    end: u64,
    opened: Duration,
    credit: f64,
}

/// Fetches all of an object for one reader. The first road is the origin.
pub(crate) fn carry(roads: &[Road], groups: u64, seed: u64) -> Carried {
    if let [origin] = roads {
        // One source: there is nothing to plan.
        let seconds = origin.delay.as_secs_f64() + as_f64(groups) / origin.rate;
        return Carried { seconds, groups: vec![groups], liars: vec![false] };
    }
    Transfer::new(roads, groups, seed).run()
}

struct Transfer<'a> {
    roads: &'a [Road],
    groups: u64,
    plan: Plan,
    sources: Vec<(SourceId, usize)>,
    lanes: Vec<Lane>,
    now: Duration,
    carried: Carried,
}

impl<'a> Transfer<'a> {
    fn new(roads: &'a [Road], groups: u64, seed: u64) -> Self {
        let mut plan = Plan::new(Some(groups), GroupSet::new(), seed);
        plan.readers(vec![Demand { cursor: 0, end: groups }]);
        plan.want_whole(true);
        let carried = Carried { seconds: 0.0, groups: vec![0; roads.len()], liars: vec![false; roads.len()] };
        Self { roads, groups, plan, sources: Vec::new(), lanes: Vec::new(), now: Duration::ZERO, carried }
    }

    fn run(mut self) -> Carried {
        let rate: f64 = self.roads.iter().filter(|road| !road.lies).map(|road| road.rate).sum();
        let step = (as_f64(self.groups) / rate / 500.0).clamp(0.001, 0.2);
        let step = Duration::from_secs_f64(step);
        while !self.plan.complete() && self.now < Duration::from_hours(24) {
            self.appear();
            self.act();
            self.send(step);
            let cursor = self.plan.held().run_from(0);
            self.plan.readers(vec![Demand { cursor, end: self.groups }]);
            self.now += step;
        }
        self.carried.seconds = self.now.as_secs_f64();
        self.carried
    }

    fn appear(&mut self) {
        for (index, road) in self.roads.iter().enumerate() {
            if road.appears > self.now || self.sources.iter().any(|(_, known)| *known == index) {
                continue;
            }
            let source = self.plan.source_added(road.facts());
            self.sources.push((source, index));
            if index == 0 {
                let span = GroupSpan::clamped(0, self.groups);
                let lane = self.plan.lane_given(source, span, self.now);
                self.open(lane, source, span);
            }
        }
    }

    fn open(&mut self, id: LaneId, source: SourceId, span: GroupSpan) {
        let (next, end) = (span.start(), span.end());
        self.lanes.push(Lane { id, source, next, end, opened: self.now, credit: 0.0 });
    }

    fn act(&mut self) {
        let mut actions = 0;
        while let Some(action) = self.plan.poll(self.now) {
            actions += 1;
            assert!(actions < 500, "the plan goes in circles: {action:?}");
            match action {
                Action::Open { lane, source, span } => self.open(lane, source, span),
                Action::Cut { lane, end } => {
                    self.lanes.iter_mut().filter(|one| one.id == lane).for_each(|one| one.end = end);
                }
                Action::Close { lane } => self.lanes.retain(|one| one.id != lane),
                Action::Slow { .. } => {}
            }
        }
    }

    fn road_of(&self, source: SourceId) -> usize {
        self.sources.iter().find(|(id, _)| *id == source).expect("it was added").1
    }

    fn send(&mut self, step: Duration) {
        let ids: Vec<LaneId> = self.lanes.iter().map(|lane| lane.id).collect();
        for id in ids {
            let Some(at) = self.lanes.iter().position(|lane| lane.id == id) else { continue };
            let (source, opened) = (self.lanes[at].source, self.lanes[at].opened);
            let index = self.road_of(source);
            let road = self.roads[index];
            let answered = |lane: &&Lane| lane.source == source && self.now >= lane.opened + road.delay;
            let sharing = self.lanes.iter().filter(answered).count();
            if self.now < opened + road.delay {
                continue;
            }
            if road.lies {
                self.carried.groups[index] += 1;
                self.carried.liars[index] = true;
                self.end(id, Ending::Useless);
                continue;
            }
            let lane = &mut self.lanes[at];
            lane.credit += road.rate * step.as_secs_f64() / as_f64(sharing as u64);
            let there = whole(lane.credit).min(lane.end.saturating_sub(lane.next));
            if there > 0 {
                let span = GroupSpan::clamped(lane.next, lane.next + there);
                lane.credit -= as_f64(there);
                lane.next += there;
                self.carried.groups[index] += there;
                self.plan.delivered(id, span, self.now);
            }
            if self.lanes[at].next >= self.lanes[at].end {
                self.end(id, Ending::Done);
            }
        }
    }

    fn end(&mut self, id: LaneId, ending: Ending) {
        self.lanes.retain(|lane| lane.id != id);
        self.plan.lane_ended(id, ending, self.now);
    }
}
