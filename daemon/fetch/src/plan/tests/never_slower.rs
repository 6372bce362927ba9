//! Whatever else is said to hold an object: the origin alone would hardly have been faster.

use std::time::Duration;

use super::simulation::{Actor, MB_S, Outcome, Trouble, fetch, megabytes};
use super::*;

/// As the promise says.
const SLOWER_MAX: f64 = 1.05;

/// A download that takes less than this many seconds alone may take so much longer: somebody who falls silent just when
/// he has taken over is missed only then.
const SHORT_S: f64 = 8.0;
const MOMENT_S: f64 = 0.35;

const TROUBLES: [Trouble; 12] = [
    Trouble::Nothing,
    Trouble::Silent,
    Trouble::Dies(0),
    Trouble::Dies(40),
    Trouble::Dies(400),
    Trouble::Stalls(10),
    Trouble::Stalls(100),
    Trouble::Stalls(1000),
    Trouble::Refuses,
    Trouble::Busy,
    Trouble::Lies,
    Trouble::Flaps(Duration::from_secs(1)),
];

fn check(others: &[Actor]) {
    for (speed, size) in [(2.5, 20), (2.5, 100), (12.5, 20), (12.5, 200)] {
        let groups = megabytes(size);
        let alone = fetch(&[Actor::origin(speed)], groups, 1).seconds;
        for seed in 1..3 {
            let mut actors = vec![Actor::origin(speed)];
            actors.extend(others.iter().cloned());
            let outcome = fetch(&actors, groups, seed);
            let Outcome { complete, seconds, .. } = outcome;
            assert!(complete, "{size} MB at {speed} MB/s, {others:?}");
            let most = alone * SLOWER_MAX + if alone < SHORT_S { MOMENT_S } else { 0.0 };
            assert!(
                seconds <= most,
                "{seconds:.2} s, alone {alone:.2} s: {size} MB at {speed} MB/s with {others:?}, {:?}",
                outcome.requests
            );
        }
    }
}

#[test]
fn a_bad_neighbour_costs_at_most_a_twentieth() {
    for trouble in TROUBLES {
        for speed in [0.001, 0.1, 2.0, 10.0, 100.0] {
            check(&[Actor::neighbour(speed).with(trouble)]);
        }
    }
}

#[test]
fn a_bad_mirror_costs_at_most_a_twentieth() {
    for trouble in TROUBLES {
        for speed in [0.01, 1.0, 20.0] {
            check(&[Actor::mirror(speed).with(trouble)]);
            check(&[Actor::stranger(speed).with(trouble)]);
        }
    }
}

#[test]
fn a_crowd_of_bad_ones_costs_no_more() {
    let crowd = [
        Actor::neighbour(50.0).with(Trouble::Flaps(Duration::from_secs(1))),
        Actor::neighbour(50.0).with(Trouble::Silent),
        Actor::neighbour(0.05),
        Actor::mirror(5.0).with(Trouble::Stalls(50)),
        Actor::mirror(5.0).with(Trouble::Busy),
    ];
    check(&crowd);
}

#[test]
fn a_mirror_that_was_good_once_and_is_not_costs_no_more() {
    for trouble in [Trouble::Silent, Trouble::Dies(0), Trouble::Stalls(100), Trouble::Refuses, Trouble::Lies]
    {
        check(&[Actor::mirror(20.0).known(1.0).with(trouble)]);
        check(&[Actor::stranger(20.0).known(1.0).with(trouble)]);
    }
}

/// It took everything over after a first piece at the speed of the LAN, and nobody looked again: the first group of the
/// origin had come late or not at all, and the neighbour still seemed to be many times faster when it was known to be slow.
#[test]
fn a_neighbour_that_begins_with_a_burst_is_compared_with_the_origin_after_all() {
    [0, 1].into_iter().for_each(check_burst);
}

/// The neighbour begins after so many groups of the origin.
fn check_burst(came: u64) {
    let groups = megabytes(200);
    let mut plan = Plan::new(Some(groups), GroupSet::new(), 1);
    plan.readers(vec![Demand { cursor: 0, end: groups }]);
    let origin = plan.source_added(Facts { lanes_max: 3, ..Facts::of(Place::Far) });
    let first = plan.lane_given(origin, GroupSpan::clamped(0, groups), Duration::ZERO);
    let neighbour = plan.source_added(Facts { lanes_max: 4, ..Facts::of(Place::Near) });
    let mut now = Duration::from_millis(300);
    if came > 0 {
        plan.delivered(first, GroupSpan::clamped(0, came), now);
    }
    let (mut lanes, mut burst) = (BTreeMap::new(), 2.0 * as_f64(PIECE));
    while now < Duration::from_secs(8) {
        while let Some(action) = plan.poll(now) {
            match action {
                Action::Open { source, .. } if source == origin => return,
                Action::Open { lane, source, span } if source == neighbour => {
                    lanes.insert(lane, (as_f64(span.start()), span));
                }
                Action::Cut { lane, end } if lane == first => {
                    if came > 0 {
                        plan.delivered(first, GroupSpan::clamped(came, end), now);
                    }
                    plan.lane_ended(first, Ending::Done, now);
                }
                Action::Cut { lane, end } => {
                    let (_, span) = lanes.get_mut(&lane).expect("it is open");
                    *span = GroupSpan::clamped(span.start(), end);
                }
                Action::Close { lane } => drop(lanes.remove(&lane)),
                _ => {}
            }
        }
        now += STEP;
        let speed = if burst > 0.0 { 100.0 } else { 4.0 } * MB_S * STEP.as_secs_f64();
        burst -= speed;
        let Some((lane, (next, span))) = lanes.iter_mut().next() else { continue };
        let (lane, from) = (*lane, whole(*next));
        *next = (*next + speed).min(as_f64(span.end()));
        let (to, is_over) = (whole(*next), *next >= as_f64(span.end()));
        plan.delivered(lane, GroupSpan::clamped(from, to), now);
        if is_over {
            lanes.remove(&lane);
            plan.lane_ended(lane, Ending::Done, now);
        }
    }
    panic!("nobody looked how fast the origin is: {plan:?}");
}
