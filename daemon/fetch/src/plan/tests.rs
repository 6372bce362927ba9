//! The plan under schedules of every kind: a simulated network of sources with their own speeds and faults.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::sources::whole;
use super::*;

mod bursts;
mod circles;
mod efficiency;
mod fairness;
mod never_slower;
mod simulation;
mod twice;

const STEP: Duration = Duration::from_millis(10);

/// How a simulated source behaves.
#[derive(Clone, Debug)]
struct Behaviour {
    facts: Facts,
    /// Groups a second over each lane.
    rate: f64,
    /// From when on.
    appears: Duration,
    /// After so many groups it fails each lane, then recovers.
    fails_after: Option<u64>,
    /// After so many groups it delivers nothing more, without an error.
    stalls_after: Option<u64>,
}

impl Behaviour {
    fn near(rate: f64) -> Self {
        let facts = Facts { lanes_max: 2, ..Facts::of(Place::Near) };
        Self { facts, rate, appears: Duration::from_millis(20), fails_after: None, stalls_after: None }
    }

    fn mirror(rate: f64) -> Self {
        let facts = Facts { lanes_max: 2, is_shown: false, ..Facts::of(Place::Mirror) };
        Self { facts, rate, appears: Duration::from_millis(100), fails_after: None, stalls_after: None }
    }

    fn far(rate: f64) -> Self {
        let facts = Facts { lanes_max: 4, ..Facts::of(Place::Far) };
        Self { facts, rate, appears: Duration::ZERO, fails_after: None, stalls_after: None }
    }
}

#[derive(Debug)]
struct SimLane {
    source: SourceId,
    next: u64,
    end: u64,
    credit: f64,
}

/// What a run came to.
#[derive(Debug)]
struct Outcome {
    complete: bool,
    took: Duration,
    by_source: Vec<u64>,
    lanes_seen_max: usize,
}

/// Runs a plan against sources until it is complete or the patience is over. The first source is the origin and has
/// its first lane at once.
fn run(groups: u64, sources: &[Behaviour], demands: &[Demand], patience: Duration, seed: u64) -> Outcome {
    let mut plan = Plan::new(Some(groups), GroupSet::new(), seed);
    plan.readers(demands.to_vec());
    let mut now = Duration::ZERO;
    let mut ids: BTreeMap<SourceId, usize> = BTreeMap::new();
    let mut lanes: BTreeMap<LaneId, SimLane> = BTreeMap::new();
    let mut by_source = vec![0u64; sources.len()];
    let mut lanes_seen_max = 0;
    let mut readers = demands.to_vec();
    while now < patience {
        for (index, source) in sources.iter().enumerate() {
            if source.appears <= now && !ids.values().any(|known| *known == index) {
                let id = plan.source_added(source.facts);
                ids.insert(id, index);
                if index == 0 {
                    let lane = plan.lane_given(id, GroupSpan::clamped(0, groups), now);
                    lanes.insert(lane, SimLane { source: id, next: 0, end: groups, credit: 0.0 });
                }
            }
        }
        let mut actions = 0;
        while let Some(action) = plan.poll(now) {
            actions += 1;
            assert!(actions < 1000, "the plan goes in circles at {now:?}: {action:?} in {plan:?}");
            match action {
                Action::Open { lane, source, span } => {
                    assert!(!span.is_empty(), "an empty lane is no lane");
                    assert!(span.end() <= groups, "nothing lies behind the object");
                    assert!(span.start() == 0 || sources[ids[&source]].facts.ranges);
                    lanes.insert(lane, SimLane { source, next: span.start(), end: span.end(), credit: 0.0 });
                }
                Action::Cut { lane, end } => {
                    let lane = lanes.get_mut(&lane).expect("only lanes that are open are cut");
                    assert!(end <= lane.end, "an end only moves down");
                    lane.end = end;
                }
                Action::Close { lane } => {
                    lanes.remove(&lane);
                }
                Action::Slow { .. } => {}
            }
            lanes_seen_max = lanes_seen_max.max(lanes.len());
        }
        for id in lanes.keys().copied().collect::<Vec<_>>() {
            let lane = lanes.get_mut(&id).expect("listed");
            let index = ids[&lane.source];
            let source = &sources[index];
            if source.stalls_after.is_some_and(|after| by_source[index] >= after) {
                continue;
            }
            lane.credit += source.rate * STEP.as_secs_f64();
            let count = whole(lane.credit).min(lane.end - lane.next);
            lane.credit -= as_f64(count);
            if count > 0 {
                let span = GroupSpan::clamped(lane.next, lane.next + count);
                lane.next += count;
                by_source[index] += count;
                plan.delivered(id, span, now);
            }
            if lane.next >= lane.end {
                lanes.remove(&id);
                plan.lane_ended(id, Ending::Done, now);
            } else if source.fails_after.is_some_and(|after| by_source[index] % after.max(1) < count) {
                lanes.remove(&id);
                plan.lane_ended(id, Ending::Failed, now);
            }
        }
        for reader in &mut readers {
            reader.cursor +=
                plan.held().run_from(reader.cursor).min(reader.end.saturating_sub(reader.cursor));
        }
        plan.readers(readers.clone());
        if readers.iter().all(|reader| reader.cursor >= reader.end) {
            break;
        }
        now += STEP;
    }
    let complete = readers.iter().all(|reader| {
        plan.held().contains_all(GroupSpan::clamped(reader.cursor.min(reader.end), reader.end))
    });
    Outcome {
        complete: complete && readers.iter().all(|r| r.cursor >= r.end),
        took: now,
        by_source,
        lanes_seen_max,
    }
}

fn all(groups: u64) -> Vec<Demand> {
    vec![Demand { cursor: 0, end: groups }]
}

const PATIENCE: Duration = Duration::from_mins(10);
/// 200 MiB.
const FILE: u64 = 12_800;
/// 20 Mbit/s.
const UPLINK: f64 = 152.0;
/// 1 Gbit/s.
const LAN: f64 = 7600.0;

#[test]
fn a_neighbour_that_holds_it_all_leaves_the_origin_two_percent() {
    let outcome = run(FILE, &[Behaviour::far(UPLINK), Behaviour::near(LAN)], &all(FILE), PATIENCE, 1);
    assert!(outcome.complete);
    assert!(outcome.by_source[0] * 50 <= FILE, "{outcome:?}");
    assert!(outcome.took < Duration::from_secs(4), "{outcome:?}");
}

#[test]
fn the_origin_alone_sends_each_group_once() {
    let outcome = run(FILE, &[Behaviour::far(UPLINK * 20.0)], &all(FILE), PATIENCE, 1);
    assert!(outcome.complete);
    assert_eq!(outcome.by_source[0], FILE);
}

#[test]
fn a_slow_neighbour_does_not_slow_the_origin() {
    let alone = run(FILE, &[Behaviour::far(1000.0)], &all(FILE), PATIENCE, 1);
    for rate in [0.06, 1.0, 50.0, 500.0] {
        let outcome = run(FILE, &[Behaviour::far(1000.0), Behaviour::near(rate)], &all(FILE), PATIENCE, 1);
        assert!(outcome.complete, "{rate}: {outcome:?}");
        assert!(outcome.took.as_secs_f64() <= alone.took.as_secs_f64() * 1.05 + 0.1, "{rate}: {outcome:?}");
    }
}

#[test]
fn a_neighbour_that_stalls_half_way_is_left_within_moments() {
    let alone = run(FILE, &[Behaviour::far(UPLINK)], &all(FILE), PATIENCE, 1);
    for after in [0, 1, 31, 100, FILE / 2] {
        let near = Behaviour { stalls_after: Some(after), ..Behaviour::near(LAN) };
        let outcome = run(FILE, &[Behaviour::far(UPLINK), near], &all(FILE), PATIENCE, 1);
        assert!(outcome.complete, "{after}: {outcome:?}");
        assert!(outcome.took <= alone.took.mul_f64(1.05) + STALL, "{after}: {outcome:?} against {alone:?}");
    }
}

#[test]
fn a_neighbour_that_fails_again_and_again_is_given_up() {
    let near = Behaviour { fails_after: Some(1), rate: 3.0, ..Behaviour::near(3.0) };
    let outcome = run(FILE, &[Behaviour::far(1000.0), near], &all(FILE), PATIENCE, 3);
    assert!(outcome.complete, "{outcome:?}");
    assert!(outcome.took < Duration::from_secs(14), "{outcome:?}");
}

#[test]
fn a_dead_origin_is_replaced_by_the_neighbour() {
    let far = Behaviour { stalls_after: Some(10), ..Behaviour::far(UPLINK) };
    let outcome = run(FILE, &[far, Behaviour::near(LAN)], &all(FILE), PATIENCE, 1);
    assert!(outcome.complete, "{outcome:?}");
    assert!(outcome.took < Duration::from_secs(8), "{outcome:?}");
}

#[test]
fn a_seek_gets_its_own_lane_and_nothing_is_sent_twice() {
    let demands = [Demand { cursor: 0, end: FILE }, Demand { cursor: FILE / 2, end: FILE }];
    let outcome = run(FILE, &[Behaviour::far(UPLINK)], &demands, PATIENCE, 1);
    assert!(outcome.complete);
    assert!(outcome.by_source[0] <= FILE, "{outcome:?}");
    assert!(outcome.lanes_seen_max >= 2);
}

#[test]
fn a_small_range_costs_the_origin_its_window_only() {
    let demands = [Demand { cursor: 1000, end: 1004 }];
    let mut plan = Plan::new(Some(FILE), GroupSet::new(), 1);
    plan.readers(demands.to_vec());
    let source = plan.source_added(Behaviour::far(UPLINK).facts);
    let action = plan.poll(Duration::ZERO);
    let expected = GroupSpan::clamped(1000, 1024);
    assert_eq!(action, Some(Action::Open { lane: LaneId(0), source, span: expected }));
    assert_eq!(plan.poll(Duration::ZERO), None);
}

#[test]
fn when_nobody_reads_any_more_the_lanes_end_unless_the_whole_is_wanted() {
    for (whole, expected) in [(false, Some(Action::Close { lane: LaneId(0) })), (true, None)] {
        let mut plan = Plan::new(Some(FILE), GroupSet::new(), 1);
        plan.readers(all(FILE));
        let source = plan.source_added(Behaviour::far(UPLINK).facts);
        let lane = plan.lane_given(source, GroupSpan::clamped(0, FILE), Duration::ZERO);
        plan.delivered(lane, GroupSpan::clamped(0, 8), Duration::from_millis(1));
        plan.readers(Vec::new());
        plan.want_whole(whole);
        assert_eq!(plan.poll(Duration::from_millis(2)), expected);
    }
}

/// A source without ranges begins at the front: what is here already must not end its lane before the rest came.
#[test]
fn a_source_without_ranges_runs_over_what_is_here() {
    let held = GroupSet::of(GroupSpan::clamped(0, 200));
    let mut plan = Plan::new(Some(300), held, 1);
    plan.readers(all(300));
    let source = plan.source_added(Facts { ranges: false, ..Facts::of(Place::Far) });
    let span = GroupSpan::clamped(0, 300);
    assert_eq!(plan.poll(Duration::ZERO), Some(Action::Open { lane: LaneId(0), source, span }));
    assert_eq!(plan.poll(Duration::ZERO), None);
}

#[test]
fn a_body_of_unknown_length_comes_over_one_lane() {
    let mut plan = Plan::new(None, GroupSet::new(), 1);
    plan.readers(vec![Demand { cursor: 0, end: u64::MAX }]);
    let facts = Facts { ranges: false, ..Facts::of(Place::Far) };
    let source = plan.source_added(facts);
    let lane = plan.lane_given(source, GroupSpan::clamped(0, u64::MAX), Duration::ZERO);
    plan.delivered(lane, GroupSpan::clamped(0, 5), Duration::from_millis(1));
    assert_eq!(plan.poll(Duration::from_millis(1)), None);
    assert!(!plan.complete());
    plan.length_known(5);
    assert!(plan.complete());
}

#[test]
fn it_says_so_when_nobody_can_deliver() {
    let mut plan = Plan::new(Some(10), GroupSet::new(), 1);
    plan.readers(all(10));
    let source = plan.source_added(Behaviour::far(1.0).facts);
    let lane = plan.lane_given(source, GroupSpan::clamped(0, 10), Duration::ZERO);
    assert!(!plan.exhausted());
    plan.lane_ended(lane, Ending::Useless, Duration::ZERO);
    assert_eq!(plan.poll(Duration::ZERO), None);
    assert!(plan.exhausted());
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let rate = prop_oneof![0.5..20.0, 20.0..500.0, 500.0..8000.0];
    (rate, 0u8..3, 0u64..2000, prop::option::of(1u64..3000), prop::option::of(0u64..3000)).prop_map(
        |(rate, kind, appears, fails_after, stalls_after)| {
            let mut base = match kind {
                0 => Behaviour::near(rate),
                1 => Behaviour::mirror(rate),
                _ => Behaviour::far(rate),
            };
            base.facts.ranges = kind < 2 || fails_after.is_none();
            Behaviour { appears: Duration::from_millis(appears), fails_after, stalls_after, ..base }
        },
    )
}

#[test]
fn a_mirror_and_the_origin_end_together() {
    let alone = run(FILE, &[Behaviour::far(UPLINK)], &all(FILE), PATIENCE, 1);
    let sources = [Behaviour::far(UPLINK), Behaviour::mirror(UPLINK), Behaviour::mirror(UPLINK)];
    let outcome = run(FILE, &sources, &all(FILE), PATIENCE, 1);
    assert!(outcome.complete);
    assert!(outcome.took.as_secs_f64() <= alone.took.as_secs_f64() * 0.4, "{outcome:?} {alone:?}");
    let sent: u64 = outcome.by_source.iter().sum();
    assert!(sent <= FILE + 2 * PIECE, "{outcome:?}");
}

#[test]
fn a_slow_or_silent_mirror_does_not_slow_the_origin() {
    let alone = run(FILE, &[Behaviour::far(1000.0)], &all(FILE), PATIENCE, 1);
    for rate in [0.0, 0.06, 1.0, 50.0, 400.0] {
        let outcome = run(FILE, &[Behaviour::far(1000.0), Behaviour::mirror(rate)], &all(FILE), PATIENCE, 1);
        assert!(outcome.complete, "{rate}: {outcome:?}");
        assert!(outcome.took.as_secs_f64() <= alone.took.as_secs_f64() * 1.05, "{rate}: {outcome:?}");
    }
}

#[test]
fn with_a_good_neighbour_no_mirror_is_bothered_further() {
    let sources = [Behaviour::far(UPLINK), Behaviour::near(LAN), Behaviour::mirror(UPLINK)];
    let outcome = run(FILE, &sources, &all(FILE), PATIENCE, 1);
    assert!(outcome.complete);
    assert!(outcome.by_source[2] <= PIECE, "{outcome:?}");
}

#[test]
fn mirrors_go_on_where_the_origin_ends() {
    let origin = Behaviour { stalls_after: Some(500), ..Behaviour::far(1000.0) };
    let outcome = run(FILE, &[origin, Behaviour::mirror(500.0)], &all(FILE), PATIENCE, 1);
    assert!(outcome.complete, "{outcome:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever the other sources do, a plan with one origin that goes on delivering completes what readers want,
    /// within its bounds.
    #[test]
    fn every_schedule_makes_progress(
        others in prop::collection::vec(behaviour(), 0..5),
        origin_rate in 50.0..2000.0,
        groups in 1u64..3000,
        seeks in prop::collection::vec((0u64..3000, 0u64..3000), 0..4),
        seed in any::<u64>(),
    ) {
        let mut sources = vec![Behaviour::far(origin_rate)];
        sources.extend(others);
        let mut demands = all(groups);
        demands.extend(seeks.into_iter().map(|(a, b)| Demand { cursor: a.min(b).min(groups), end: a.max(b).min(groups) }));
        let outcome = run(groups, &sources, &demands, PATIENCE, seed);
        prop_assert!(outcome.complete, "{outcome:?}");
        prop_assert!(outcome.lanes_seen_max <= LANES_MAX, "{outcome:?}");
    }

    /// Groups come twice only by trial pieces, by hedging, and over short islands.
    #[test]
    fn little_is_sent_twice_between_healthy_sources(near_rate in 20.0..8000.0, far_rate in 20.0..3000.0, groups in 1000u64..13_000) {
        let outcome = run(groups, &[Behaviour::far(far_rate), Behaviour::near(near_rate)], &all(groups), PATIENCE, 7);
        prop_assert!(outcome.complete);
        let sent: u64 = outcome.by_source.iter().sum();
        prop_assert!(sent <= groups + 2 * PIECE, "{outcome:?}");
    }
}
