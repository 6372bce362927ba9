//! Boxes in virtual time: each has its own machine, an uplink of its own and a reader; the LAN is fast.
//!
//! What the origin sends is counted as in life: a request that is cut short costs what was on its way.

use super::*;

/// One step of the simulation.
const TICK: Duration = Duration::from_millis(10);

/// A box tells the others at most so often.
const TELL: Duration = Duration::from_millis(50);

/// Groups that arrive for nothing when a request is cut short: 320 KiB, as a socket and a shaped uplink hold.
const CUT: f64 = 20.0;

/// 20 Mbit/s.
const UPLINK: f64 = 152.0;

/// A reader of one box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    InOrder,
    /// The last 8 MiB first.
    TailFirst,
}

#[derive(Debug)]
struct Node {
    crowd: Crowd,
    held: GroupSet,
    first_hand: GroupSet,
    foreign: GroupSet,
    begins: Duration,
    leaves: Option<Duration>,
    /// From when on it has another rate.
    uplink: f64,
    trickles: Option<Duration>,
    reading: Reading,
    /// Groups asked of the origin and not here yet, as a fraction.
    budget: f64,
    at: Option<u64>,
    /// What the origin sent it.
    sent: f64,
    received: u64,
    told: Vec<(Duration, Told)>,
    takes: Vec<(Duration, Take)>,
    done: Option<Duration>,
    tail: Option<Duration>,
}

struct Street {
    groups: u64,
    nodes: Vec<Node>,
    now: Duration,
}

fn id_of(node: usize) -> MemberId {
    MemberId(weight(MemberId(0x5eed), node as u64))
}

impl Street {
    fn new(boxes: usize, mib: u64) -> Self {
        let groups = mib * UNIT;
        let node = |at| Node {
            crowd: Crowd::new(id_of(at), groups),
            held: GroupSet::new(),
            first_hand: GroupSet::new(),
            foreign: GroupSet::new(),
            begins: Duration::from_millis(3 * at as u64),
            leaves: None,
            uplink: UPLINK,
            trickles: None,
            reading: Reading::InOrder,
            budget: 0.0,
            at: None,
            sent: 0.0,
            received: 0,
            told: Vec::new(),
            takes: Vec::new(),
            done: None,
            tail: None,
        };
        Self { groups, nodes: (0..boxes).map(node).collect(), now: Duration::ZERO }
    }

    fn run(mut self) -> Self {
        while self.nodes.iter().any(|node| node.done.is_none() && node.leaves.is_none_or(|at| at > self.now))
        {
            assert!(self.now < Duration::from_secs(600), "it never ends: {:?}", self.summary());
            for at in 0..self.nodes.len() {
                self.step(at);
            }
            self.now += TICK;
        }
        self
    }

    fn is_there(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        node.begins <= self.now && node.leaves.is_none_or(|leaves| leaves > self.now)
    }

    fn step(&mut self, at: usize) {
        if !self.is_there(at) {
            return;
        }
        self.listen(at);
        self.arrive(at);
        let (now, groups) = (self.now, self.groups);
        let node = &mut self.nodes[at];
        let wanted = wanted(node, groups);
        let held = node.held.clone();
        let view = View { held: &held, wanted: &wanted, received: node.received, whole: true };
        let confines = if node.crowd.is_alone() {
            GroupSet::of(GroupSpan::clamped(0, groups))
        } else {
            node.crowd.look(&view, now);
            while let Some(take) = node.crowd.next_take(&view, now) {
                node.takes.push((now + TICK, take));
            }
            node.crowd.confines()
        };
        fetch(node, &wanted, &confines, groups, now);
        tell(node, now);
        if node.done.is_none() && node.held.len() == groups {
            node.done = Some(now);
        }
        let tail = GroupSpan::clamped(groups.saturating_sub(8 * UNIT), groups);
        if node.tail.is_none() && node.held.contains_all(tail) {
            node.tail = Some(now);
        }
    }

    /// Hears what the others have told a tick ago; a box that is gone says nothing.
    fn listen(&mut self, at: usize) {
        let now = self.now;
        let heard: Vec<(MemberId, Told)> = (0..self.nodes.len())
            .filter(|other| *other != at && self.is_there(*other))
            .filter_map(|other| {
                let told = self.nodes[other].told.iter().rev().find(|(when, _)| *when + TICK <= now);
                told.map(|(_, told)| (id_of(other), told.clone()))
            })
            .collect();
        let crowd = &mut self.nodes[at].crowd;
        for (id, told) in heard {
            if crowd.members.get(&id).is_none_or(|member| member.told != told) {
                crowd.told(id, told, now);
            }
        }
    }

    fn arrive(&mut self, at: usize) {
        let now = self.now;
        let takes = std::mem::take(&mut self.nodes[at].takes);
        for (when, take) in takes {
            let giver = (0..self.nodes.len()).find(|other| id_of(*other) == take.member).expect("a box");
            let is_there = self.is_there(giver);
            let node = &mut self.nodes[at];
            if when > now {
                node.takes.push((when, take));
            } else if is_there {
                node.held.insert(take.unit);
                node.foreign.insert(take.unit);
                node.crowd.take_ended(take, Taken::Here, now);
            } else if when + STALL > now {
                // It answers no more; the driver waits so long.
                node.takes.push((when, take));
            } else {
                node.crowd.take_ended(take, Taken::Useless, now);
            }
        }
    }

    fn copies(&self) -> f64 {
        self.nodes.iter().map(|node| node.sent).sum::<f64>() / as_f64(self.groups)
    }

    /// The last box's time against the best there is: one copy over all uplinks.
    fn slowdown(&self) -> f64 {
        let last = self.nodes.iter().filter_map(|node| node.done).max().expect("somebody ended");
        last.as_secs_f64() / (as_f64(self.groups) / (UPLINK * as_f64(self.nodes.len() as u64)))
    }

    fn summary(&self) -> String {
        let nodes = self.nodes.iter().map(|node| {
            format!(
                "sent {:.0} held {} done {:?} work {:?}",
                node.sent,
                node.held.len(),
                node.done,
                node.crowd.working
            )
        });
        nodes.collect::<Vec<_>>().join("\n")
    }

    fn check_copies(&self, copies_max: f64) {
        assert!(self.copies() <= copies_max, "{:.3} copies\n{}", self.copies(), self.summary());
    }

    fn check_slowdown(&self, slowdown_max: f64) {
        assert!(self.slowdown() <= slowdown_max, "{:.3} times as long\n{}", self.slowdown(), self.summary());
    }
}

fn uplink(node: &Node, now: Duration) -> f64 {
    if node.trickles.is_some_and(|at| at <= now) { 1.0 } else { node.uplink }
}

/// What the reader waits for: it takes what is there at once.
fn wanted(node: &Node, groups: u64) -> Vec<GroupSpan> {
    let from = |start: u64| {
        let cursor = start + node.held.run_from(start);
        GroupSpan::clamped(cursor, groups)
    };
    let tail = groups.saturating_sub(8 * UNIT);
    match node.reading {
        Reading::TailFirst if !from(tail).is_empty() => vec![from(tail), from(0)],
        _ => vec![from(0)],
    }
}

fn fetch(node: &mut Node, wanted: &[GroupSpan], confines: &GroupSet, groups: u64, now: Duration) {
    node.budget += uplink(node, now) * TICK.as_secs_f64();
    while node.budget >= 1.0 {
        let next = |at: u64| {
            let open = |group: &u64| confines.contains(*group) && !node.held.contains(*group);
            Some(at).filter(|group| *group < groups && open(group))
        };
        let onwards = node.at.and_then(|at| next(at + 1));
        let group = onwards.or_else(|| {
            let spans = wanted.iter().flat_map(|span| confines.within(*span).spans().to_vec());
            spans.filter_map(|span| node.held.missing_in(span).next()).map(GroupSpan::start).next()
        });
        let Some(group) = group else {
            node.at = None;
            node.budget = 0.0;
            return;
        };
        let blocks = node.crowd.blocks;
        let in_the_middle = |at: u64| at + 1 < groups && blocks.holding(at) == blocks.holding(at + 1);
        if onwards.is_none() && node.at.is_some_and(in_the_middle) {
            node.sent += CUT;
        }
        node.at = Some(group);
        let span = GroupSpan::clamped(group, group + 1);
        node.held.insert(span);
        node.first_hand.insert(span);
        node.received += 1;
        node.sent += 1.0;
        node.budget -= 1.0;
    }
}

fn tell(node: &mut Node, now: Duration) {
    if node.told.last().is_some_and(|(when, _)| *when + TELL > now) {
        return;
    }
    let mut ready = GroupSet::new();
    for span in node.first_hand.spans() {
        let aligned = GroupSpan::clamped(span.start().div_ceil(UNIT) * UNIT, span.end() / UNIT * UNIT);
        ready.insert(aligned);
    }
    node.foreign.spans().iter().for_each(|span| ready.remove(*span));
    let told = Told {
        ready,
        working: node.crowd.working().to_vec(),
        received: node.received,
        fetches: node.done.is_none(),
    };
    if node.told.last().is_none_or(|(_, before)| *before != told) {
        node.told.push((now, told));
    }
}

#[test]
fn any_number_of_boxes_fetches_one_copy_and_each_does_its_share() {
    for boxes in [2, 3, 5, 8, 16] {
        let street = Street::new(boxes, 200).run();
        println!("{boxes} boxes: {:.3} copies, {:.3} of the ideal time", street.copies(), street.slowdown());
        street.check_copies(1.05);
        street.check_slowdown(if boxes < 16 { 1.3 } else { 1.6 });
        let most = street.nodes.iter().map(|node| node.sent).fold(0.0, f64::max);
        let fair = as_f64(street.groups) / as_f64(boxes as u64);
        assert!(most <= fair * 1.3 + as_f64(BLOCK), "{most} of {fair}\n{}", street.summary());
    }
}

#[test]
fn nobody_waits_long_for_the_last_block() {
    for (boxes, mib) in [(2, 16), (5, 16), (3, 40), (5, 40), (5, 100)] {
        let street = Street::new(boxes, mib).run();
        let (copies, slowdown) = (street.copies(), street.slowdown());
        println!("{boxes} boxes, {mib} MiB: {copies:.3} copies, {slowdown:.3} of the ideal time");
        street.check_slowdown(1.5);
    }
}

#[test]
fn blocks_are_all_of_the_object_and_each_is_once() {
    for groups in [0, 1, UNIT, UNIT + 1, 32 * UNIT, 36 * UNIT - 1, 36 * UNIT, 36 * UNIT + 1, 200 * UNIT] {
        let blocks = Blocks::of(groups);
        let mut end = 0;
        for block in 0..blocks.count() {
            let span = blocks.span_of(block);
            assert_eq!(span.start(), end, "{groups}: {block}");
            assert!(!span.is_empty() && span.start().is_multiple_of(UNIT), "{groups}: {span:?}");
            assert_eq!((blocks.holding(span.start()), blocks.holding(span.end() - 1)), (block, block));
            end = span.end();
        }
        assert_eq!(end, groups);
        assert!(blocks.span_of(blocks.count()).is_empty() && blocks.span_of(u64::MAX).is_empty());
    }
}

#[test]
fn a_box_that_is_busy_is_asked_less_and_less_and_again_once_it_gives() {
    let mut crowd = Crowd::new(MemberId(0), 4 * BLOCK);
    let ready = GroupSet::of(GroupSpan::clamped(0, 4 * BLOCK));
    crowd.told(MemberId(1), Told { ready, fetches: true, ..Told::default() }, Duration::ZERO);
    let wanted = [GroupSpan::clamped(0, 4 * BLOCK)];
    let view = View { held: &GroupSet::new(), wanted: &wanted, received: 0, whole: true };
    let mut now = Duration::ZERO;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let since = now;
        let take = loop {
            match crowd.next_take(&view, now) {
                Some(take) => break take,
                None => now += Duration::from_millis(100),
            }
        };
        pauses.push(now.saturating_sub(since).as_millis());
        crowd.take_ended(take, Taken::Busy, now);
        crowd.look(&view, now);
    }
    assert_eq!(pauses, [0, 200, 400, 800, 1600, 3200, 6400, 6400]);
    // Nobody waits for it meanwhile: the origin is asked.
    assert!(crowd.confines().contains(0), "{crowd:?}");
    now += Duration::from_secs(10);
    let take = crowd.next_take(&view, now).expect("it is asked again");
    crowd.take_ended(take, Taken::Here, now);
    assert!(crowd.next_take(&view, now).is_some());
    assert!(!crowd.confines().contains(0), "what it has is counted on again");
}

#[test]
fn a_box_that_begins_late_joins_and_nothing_comes_twice() {
    let mut street = Street::new(4, 128);
    street.nodes[3].begins = Duration::from_secs(4);
    let street = street.run();
    street.check_copies(1.05);
    street.check_slowdown(1.6);
}

#[test]
fn what_a_box_had_begun_when_it_left_is_fetched_by_the_others() {
    let mut street = Street::new(5, 200);
    street.nodes[2].leaves = Some(Duration::from_secs(8));
    let street = street.run();
    street.check_copies(1.15);
    street.check_slowdown(1.6);
}

#[test]
fn nobody_waits_for_a_box_that_trickles() {
    let mut street = Street::new(5, 200);
    street.nodes[1].trickles = Some(Duration::from_secs(5));
    let street = street.run();
    street.check_copies(1.10);
    street.check_slowdown(1.6);
}

#[test]
fn one_leaves_and_one_trickles() {
    let mut street = Street::new(5, 200);
    street.nodes[0].leaves = Some(Duration::from_secs(8));
    street.nodes[4].trickles = Some(Duration::from_secs(3));
    let street = street.run();
    street.check_copies(1.15);
    street.check_slowdown(2.2);
}

#[test]
fn who_wants_the_end_first_gets_it_first() {
    let mut street = Street::new(4, 128);
    street.nodes[1].reading = Reading::TailFirst;
    let street = street.run();
    street.check_copies(1.05);
    let tail = street.nodes[1].tail.expect("it has the end");
    let alone = Duration::from_secs_f64(as_f64(8 * UNIT) / UPLINK);
    assert!(tail <= alone + Duration::from_secs(1), "{tail:?}, alone {alone:?}\n{}", street.summary());
}

#[test]
fn uplinks_of_different_speed_share_by_their_speed() {
    let mut street = Street::new(3, 128);
    street.nodes[0].uplink = UPLINK * 4.0;
    let street = street.run();
    street.check_copies(1.05);
    let ideal = as_f64(street.groups) / (UPLINK * 6.0);
    let last = street.nodes.iter().filter_map(|node| node.done).max().expect("all ended").as_secs_f64();
    assert!(last <= ideal * 1.4, "{last} s, ideal {ideal} s\n{}", street.summary());
}

#[test]
fn a_crowd_is_bounded_and_a_useless_box_stays_out() {
    let mut crowd = Crowd::new(MemberId(0), 4 * BLOCK);
    for member in 1..100 {
        crowd.told(MemberId(member), Told::default(), Duration::ZERO);
    }
    assert_eq!(crowd.members.len(), CROWD_MEMBERS_MAX);
    let ready = GroupSet::of(GroupSpan::clamped(0, UNIT));
    crowd.told(MemberId(1), Told { ready, ..Told::default() }, Duration::ZERO);
    let wanted = [GroupSpan::clamped(0, 4 * BLOCK)];
    let view = View { held: &GroupSet::new(), wanted: &wanted, received: 0, whole: true };
    let take = crowd.next_take(&view, Duration::ZERO).expect("something is ready");
    assert_eq!(take, Take { member: MemberId(1), unit: GroupSpan::clamped(0, UNIT) });
    crowd.take_ended(take, Taken::Useless, Duration::ZERO);
    assert_eq!(crowd.members.len(), CROWD_MEMBERS_MAX - 1);
    crowd.told(MemberId(1), Told::default(), Duration::ZERO);
    assert_eq!(crowd.members.len(), CROWD_MEMBERS_MAX - 1);
}
