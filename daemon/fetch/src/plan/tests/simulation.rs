//! A network in virtual time: sources with their own speeds, delays and troubles deliver what a plan asks for.
//!
//! The clock moves in steps of a millisecond, chance comes from a seed, so that a figure measured here is the same on
//! every machine. What a source had sent already when a lane ended counts as sent twice.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_model::range::{GroupSet, GroupSpan};

use crate::plan::sources::{as_f64, whole};
use crate::plan::{Action, Demand, Ending, Estimate, Facts, LANES_MAX, LaneId, Place, Plan, SourceId};

/// The clock's step, in seconds and as a duration.
const STEP_S: f64 = 0.001;
const STEP: Duration = Duration::from_millis(1);

/// Groups in one run at most, and between two runs that are not full at least, as [`crate::assemble`] hands them out.
const RUN: u64 = 16;
const RUN_PAUSE: Duration = Duration::from_millis(8);

/// Groups a second at 1 MB/s.
pub(super) const MB_S: f64 = 1e6 / 16384.0;

/// What a burst comes at: 1 Gbit/s.
const LAN: f64 = 125.0 * MB_S;

/// Groups of so many MB.
pub(super) fn megabytes(count: u64) -> u64 {
    (count * 1_000_000).div_ceil(16384)
}

/// What is wrong with a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trouble {
    Nothing,
    /// After so many groups nothing comes any more, and nobody is told.
    Stalls(u64),
    /// After so many groups every lane breaks off, and new ones fail.
    Dies(u64),
    /// Nobody answers, ever.
    Silent,
    /// New lanes are refused for good.
    Refuses,
    /// New lanes are put off.
    Busy,
    /// The first piece is wrong.
    Lies,
    /// Up and down, for so long each; lanes break off when it goes.
    Flaps(Duration),
}

/// A source.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) facts: Facts,
    /// Groups a second, over all its lanes together.
    pub(super) rate: f64,
    /// From a question to the first byte.
    pub(super) delay: Duration,
    /// Groups that it has saved up at first, and at most after a pause: they come at the speed of the LAN.
    pub(super) burst: f64,
    /// By which share the rate swings each tenth of a second.
    pub(super) swing: f64,
    pub(super) appears: Duration,
    pub(super) trouble: Trouble,
    /// Lanes that it serves at once, of all downloads; the next one hears that it is busy.
    pub(super) places: usize,
}

impl Actor {
    fn new(place: Place, rate: f64, delay_ms: u64) -> Self {
        let lanes_max = match place {
            Place::Near => 4,
            Place::Far => 3,
            Place::Mirror => 2,
        };
        let appears = match place {
            Place::Near => Duration::from_millis(20),
            Place::Far => Duration::ZERO,
            Place::Mirror => Duration::from_millis(10),
        };
        Self {
            facts: Facts { lanes_max, ..Facts::of(place) },
            rate,
            delay: Duration::from_millis(delay_ms),
            burst: 0.0,
            swing: 0.1,
            appears,
            trouble: Trouble::Nothing,
            places: usize::MAX,
        }
    }

    /// The origin, at so many MB/s.
    pub(super) fn origin(speed: f64) -> Self {
        Self::new(Place::Far, speed * MB_S, 20)
    }

    /// A mirror whose pieces can be checked.
    pub(super) fn mirror(speed: f64) -> Self {
        Self::new(Place::Mirror, speed * MB_S, 20)
    }

    /// A mirror whose bytes nobody can check before the end.
    pub(super) fn stranger(speed: f64) -> Self {
        let mirror = Self::mirror(speed);
        Self { facts: Facts { is_shown: false, ..mirror.facts }, ..mirror }
    }

    pub(super) fn neighbour(speed: f64) -> Self {
        Self::new(Place::Near, speed * MB_S, 1)
    }

    /// It was so many times as fast in an earlier download.
    pub(super) fn known(mut self, times: f64) -> Self {
        self.facts.earlier = Some(Estimate { rate: self.rate * times, first_byte: self.delay });
        self
    }

    /// It may send so many KiB at once before its rate holds, as a token bucket lets it.
    pub(super) fn with_burst(self, kibibytes: u32) -> Self {
        Self { burst: f64::from(kibibytes) / 16.0, ..self }
    }

    pub(super) fn with(self, trouble: Trouble) -> Self {
        Self { trouble, ..self }
    }

    pub(super) fn with_places(self, places: usize) -> Self {
        Self { places, ..self }
    }

    /// Groups it can deliver within so long, as far as it is known beforehand.
    fn capacity(&self, seconds: f64) -> f64 {
        let plain = (self.rate * seconds + self.burst).min(self.rate.max(LAN) * seconds);
        match self.trouble {
            Trouble::Nothing => plain,
            Trouble::Stalls(after) | Trouble::Dies(after) => plain.min(as_f64(after)),
            Trouble::Silent | Trouble::Refuses | Trouble::Busy | Trouble::Lies => 0.0,
            Trouble::Flaps(_) => plain / 2.0,
        }
    }
}

/// The shortest time in which all of them together could deliver so much.
pub(super) fn ideal(actors: &[Actor], groups: u64) -> f64 {
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        let sum: f64 = actors.iter().map(|actor| actor.capacity(middle)).sum();
        if sum < as_f64(groups) {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// What a run came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) complete: bool,
    pub(super) seconds: f64,
    /// Groups that each source sent, also in vain.
    pub(super) sent: Vec<f64>,
    pub(super) requests: Vec<u64>,
    /// When the first reader was where.
    pub(super) read_at: Vec<(Duration, u64)>,
}

impl Outcome {
    /// Which share of the object was sent once too often.
    pub(super) fn duplicates(&self, groups: u64) -> f64 {
        self.sent.iter().sum::<f64>() / as_f64(groups) - 1.0
    }

    /// How much the first reader had after that share of the time.
    pub(super) fn read_after(&self, share: f64) -> u64 {
        let at = Duration::from_secs_f64(self.seconds * share);
        self.read_at.iter().take_while(|(when, _)| *when <= at).last().map_or(0, |(_, group)| *group)
    }
}

struct Lane {
    source: SourceId,
    /// The next group its source sends: of a whole piece, also when less of it was asked for.
    next: u64,
    /// What is wanted of it.
    start: u64,
    end: u64,
    /// What was asked for.
    asked_end: u64,
    opened: Duration,
    /// Whether its source has a place for it.
    admitted: bool,
    handed_out: Duration,
    /// Groups that came and are not handed out.
    credit: f64,
}

/// A network with its plan.
pub(super) struct Network<'a> {
    actors: &'a [Actor],
    groups: u64,
    now: Duration,
    plan: Plan,
    ids: BTreeMap<SourceId, usize>,
    lanes: BTreeMap<LaneId, Lane>,
    readers: Vec<Demand>,
    outcome: Outcome,
    seed: u64,
    weather: Vec<f64>,
    /// Groups that each source has saved up, and what it may send in this step.
    saved: Vec<f64>,
    allowed: Vec<f64>,
    /// Lanes that other downloads have at each source.
    elsewhere: Vec<usize>,
}

/// Fetches all of an object of so many groups for one reader. The first source has its first lane at once.
pub(super) fn fetch(actors: &[Actor], groups: u64, seed: u64) -> Outcome {
    let readers = vec![Demand { cursor: 0, end: groups }];
    Network::new(actors, groups, readers, seed).run(Duration::from_mins(30))
}

/// Several downloads at once that share the sources, each of so many groups.
pub(super) fn fetch_together(actors: &[Actor], sizes: &[u64], seed: u64) -> Vec<Outcome> {
    let network = |(number, groups): (u64, &u64)| {
        let readers = vec![Demand { cursor: 0, end: *groups }];
        Network::new(actors, *groups, readers, seed * 64 + number)
    };
    let mut networks: Vec<Network<'_>> = (0..).zip(sizes).map(network).collect();
    while networks.iter().any(|network| !network.outcome.complete) {
        assert!(networks[0].now < Duration::from_mins(30), "somebody starves");
        for at in 0..networks.len() {
            let lanes_at = |index| networks.iter().map(|network| network.lanes_at(index)).sum::<usize>();
            let all: Vec<usize> = (0..actors.len()).map(lanes_at).collect();
            let network = &mut networks[at];
            network.elsewhere = (0..actors.len()).map(|index| all[index] - network.lanes_at(index)).collect();
            if !network.outcome.complete && network.step() {
                network.close();
            }
            network.now += STEP;
        }
    }
    networks.into_iter().map(|network| network.outcome).collect()
}

impl<'a> Network<'a> {
    pub(super) fn new(actors: &'a [Actor], groups: u64, readers: Vec<Demand>, seed: u64) -> Self {
        let mut plan = Plan::new(Some(groups), GroupSet::new(), seed);
        plan.readers(readers.clone());
        let outcome = Outcome {
            complete: false,
            seconds: 0.0,
            sent: vec![0.0; actors.len()],
            requests: vec![0; actors.len()],
            read_at: Vec::new(),
        };
        Self {
            actors,
            groups,
            now: Duration::ZERO,
            plan,
            ids: BTreeMap::new(),
            lanes: BTreeMap::new(),
            readers,
            outcome,
            seed: seed * 2 + 1,
            weather: vec![1.0; actors.len()],
            saved: actors.iter().map(|actor| actor.burst).collect(),
            allowed: vec![0.0; actors.len()],
            elsewhere: vec![0; actors.len()],
        }
    }

    pub(super) fn run(mut self, patience: Duration) -> Outcome {
        while self.now < patience && !self.step() {
            self.now += STEP;
        }
        self.close();
        self.outcome
    }

    /// Whether all is here.
    fn step(&mut self) -> bool {
        self.appear();
        self.act();
        self.change_weather();
        self.allow();
        self.send();
        self.read();
        self.outcome.complete = self.readers.iter().all(|reader| reader.cursor >= reader.end);
        self.outcome.complete
    }

    fn close(&mut self) {
        for id in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.drop_lane(id);
        }
        self.outcome.seconds = self.now.as_secs_f64();
    }

    /// Lanes that a source serves.
    fn lanes_at(&self, index: usize) -> usize {
        self.lanes.values().filter(|lane| lane.admitted && self.ids[&lane.source] == index).count()
    }

    fn appear(&mut self) {
        for (index, actor) in self.actors.iter().enumerate() {
            if actor.appears > self.now || self.ids.values().any(|known| *known == index) {
                continue;
            }
            let id = self.plan.source_added(actor.facts);
            self.ids.insert(id, index);
            if index == 0 {
                let lane = self.plan.lane_given(id, GroupSpan::clamped(0, self.groups), self.now);
                self.open(lane, id, GroupSpan::clamped(0, self.groups));
                // The question was asked before the job began.
                let lane = self.lanes.get_mut(&lane).expect("just opened");
                lane.opened = self.now.saturating_sub(actor.delay);
            }
        }
    }

    fn act(&mut self) {
        let mut actions = 0;
        while let Some(action) = self.plan.poll(self.now) {
            actions += 1;
            assert!(actions < 200, "the plan goes in circles at {:?}: {action:?} {:?}", self.now, self.plan);
            match action {
                Action::Open { lane, source, span } => {
                    assert!(!span.is_empty() && span.end() <= self.groups, "{span:?}");
                    let actor = &self.actors[self.ids[&source]];
                    assert!(span.start() == 0 || actor.facts.ranges, "{span:?}");
                    self.open(lane, source, span);
                    assert!(self.lanes.len() <= LANES_MAX, "{} lanes", self.lanes.len());
                }
                Action::Cut { lane, end } => {
                    if let Some(lane) = self.lanes.get_mut(&lane) {
                        assert!(end <= lane.end, "an end only moves down");
                        lane.end = end;
                    }
                }
                Action::Close { lane } => self.drop_lane(lane),
                Action::Slow { .. } => {}
            }
        }
    }

    fn open(&mut self, id: LaneId, source: SourceId, span: GroupSpan) {
        let index = self.ids[&source];
        self.outcome.requests[index] += 1;
        let grain = self.actors[index].facts.grain.max(1);
        let lane = Lane {
            source,
            next: span.start() / grain * grain,
            start: span.start(),
            end: span.end(),
            asked_end: span.end().next_multiple_of(grain).min(self.groups),
            opened: self.now,
            admitted: false,
            handed_out: self.now,
            credit: 0.0,
        };
        self.lanes.insert(id, lane);
    }

    /// Ends a lane: what its source had sent already was sent in vain.
    fn drop_lane(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.remove(&id) else { return };
        let index = self.ids[&lane.source];
        let actor = &self.actors[index];
        let on_its_way = if lane.admitted { actor.rate * actor.delay.as_secs_f64() / 2.0 } else { 0.0 };
        let left = as_f64(lane.asked_end.saturating_sub(lane.next));
        self.outcome.sent[index] += (on_its_way + lane.credit).min(left);
    }

    fn change_weather(&mut self) {
        if !self.now.as_millis().is_multiple_of(100) {
            return;
        }
        for index in 0..self.actors.len() {
            self.seed ^= self.seed << 13;
            self.seed ^= self.seed >> 7;
            self.seed ^= self.seed << 17;
            let chance = f64::from(u32::try_from(self.seed >> 40).expect("24 bits")) / f64::from(1u32 << 23);
            self.weather[index] = 1.0 + self.actors[index].swing * (chance - 1.0);
        }
    }

    /// What no lane takes is saved up.
    fn allow(&mut self) {
        for (index, actor) in self.actors.iter().enumerate() {
            let came = actor.rate * self.weather[index] * STEP_S;
            let there = self.saved[index] + came;
            self.allowed[index] = there.min(came.max(LAN * STEP_S));
            self.saved[index] = there.min(actor.burst);
        }
    }

    fn is_down(&self, index: usize) -> bool {
        match self.actors[index].trouble {
            Trouble::Dies(after) => self.outcome.sent[index] >= as_f64(after),
            Trouble::Flaps(period) => (self.now.as_millis() / period.as_millis()) % 2 == 1,
            _ => false,
        }
    }

    fn is_mute(&self, index: usize) -> bool {
        match self.actors[index].trouble {
            Trouble::Stalls(after) => self.outcome.sent[index] >= as_f64(after),
            Trouble::Silent => true,
            _ => false,
        }
    }

    fn send(&mut self) {
        for id in self.lanes.keys().copied().collect::<Vec<_>>() {
            let lane = &self.lanes[&id];
            let index = self.ids[&lane.source];
            let is_answered = self.now >= lane.opened + self.actors[index].delay;
            if self.is_down(index) {
                self.end(id, Ending::Failed);
            } else if !is_answered || self.is_mute(index) {
                // nothing comes yet, or ever
            } else {
                match self.actors[index].trouble {
                    Trouble::Refuses => self.end(id, Ending::Useless),
                    Trouble::Busy => self.end(id, Ending::Busy),
                    _ => self.serve(id, index),
                }
            }
        }
    }

    /// Carries a lane that has a place at its source, or gets one.
    fn serve(&mut self, id: LaneId, index: usize) {
        let taken = self.lanes_at(index) + self.elsewhere[index];
        let lane = self.lanes.get_mut(&id).expect("listed");
        lane.admitted |= taken < self.actors[index].places;
        if lane.admitted {
            self.carry(id, index);
        } else {
            self.end(id, Ending::Busy);
        }
    }

    fn carry(&mut self, id: LaneId, index: usize) {
        let actor = &self.actors[index];
        let sharing = self.lanes_at(index) + self.elsewhere[index];
        let came = match self.turn(index) {
            _ if actor.burst == 0.0 => self.allowed[index] / as_f64(sharing as u64),
            turn if turn == Some(id) => self.allowed[index],
            _ => 0.0,
        };
        self.saved[index] = (self.saved[index] - came).max(0.0);
        let (now, grain) = (self.now, actor.facts.grain.max(1));
        let lane = self.lanes.get_mut(&id).expect("listed");
        lane.credit += came;
        // Only whole pieces can be checked.
        let last = lane.end.next_multiple_of(grain).min(self.groups);
        let there = whole(lane.credit).min(last.saturating_sub(lane.next));
        let checked = if lane.next + there >= self.groups { there } else { there / grain * grain };
        // What has saved up is sent by slices, each at once.
        let is_paced = actor.burst == 0.0 && now >= lane.handed_out + RUN_PAUSE;
        let is_due = checked >= RUN || is_paced || lane.next + checked >= lane.end;
        if checked > 0 && is_due {
            let span = GroupSpan::clamped(lane.next.max(lane.start), (lane.next + checked).min(lane.end));
            lane.credit -= as_f64(checked);
            lane.next += checked;
            lane.handed_out = now;
            if actor.trouble == Trouble::Lies {
                self.outcome.sent[index] += as_f64(checked);
                self.end(id, Ending::Useless);
                return;
            }
            self.outcome.sent[index] += as_f64(checked);
            self.plan.delivered(id, span, now);
        }
        if self.lanes.get(&id).is_some_and(|lane| lane.next >= lane.end) {
            self.end(id, Ending::Done);
        }
    }

    /// Whose slice a source that sends by slices sends now: who got one longest ago.
    fn turn(&self, index: usize) -> Option<LaneId> {
        let served = self.lanes.iter().filter(|(_, lane)| lane.admitted && self.ids[&lane.source] == index);
        served.min_by_key(|(id, lane)| (lane.handed_out, **id)).map(|(id, _)| *id)
    }

    fn end(&mut self, id: LaneId, ending: Ending) {
        self.drop_lane(id);
        self.plan.lane_ended(id, ending, self.now);
    }

    fn read(&mut self) {
        let mut moved = false;
        for reader in &mut self.readers {
            let run = self.plan.held().run_from(reader.cursor);
            let step = run.min(reader.end.saturating_sub(reader.cursor));
            moved |= step > 0;
            reader.cursor += step;
        }
        if moved {
            self.outcome.read_at.push((self.now, self.readers[0].cursor));
            self.plan.readers(self.readers.clone());
        }
    }
}
