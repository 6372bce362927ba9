//! Neighbours that bound what they upload begin with a burst at the speed of the LAN, and then send slice by slice.

use super::simulation::{Actor, MB_S, Outcome, fetch, ideal, megabytes};
use super::*;

const SEEDS: std::ops::Range<u64> = 1..4;

/// In KiB. A box bursts for a quarter of a second's bytes; links that are shaped elsewhere for more or less.
const BURSTS: [u32; 4] = [128, 512, 1024, 2048];

/// The origin and its mirrors; those hand on whole pieces.
fn websites() -> Vec<Actor> {
    let mut actors = vec![Actor::origin(5.0), Actor::mirror(2.0), Actor::mirror(10.0)];
    actors.iter_mut().skip(1).for_each(|mirror| mirror.facts.grain = 16);
    actors
}

fn run(name: &str, actors: &[Actor], groups: u64, seed: u64) -> Outcome {
    let outcome = fetch(actors, groups, seed);
    let neighbour = actors.last().expect("it is the last");
    println!(
        "{name:<6} seed {seed}, {:.0} MB/s after {:.0} KiB: {:.2} s, {:.2} % twice, sent {:.0?}, requests {:?}",
        neighbour.rate / MB_S,
        neighbour.burst * 16.0,
        outcome.seconds,
        outcome.duplicates(groups) * 100.0,
        outcome.sent,
        outcome.requests
    );
    assert!(outcome.complete, "{outcome:?}");
    outcome
}

/// It seemed to be many times as fast as it is for seconds, and had hoarded spans in several lanes by then.
#[test]
fn a_burst_leaves_no_website_idle() {
    let groups = megabytes(200);
    for burst in BURSTS {
        for is_known in [false, true] {
            for seed in SEEDS {
                let mut actors = websites();
                actors.push(Actor::neighbour(4.0).with_burst(burst));
                if is_known {
                    actors = actors.into_iter().map(|actor| actor.known(1.0)).collect();
                }
                let outcome = run("shared", &actors, groups, seed);
                let (reached, twice) = (ideal(&actors, groups) / outcome.seconds, outcome.duplicates(groups));
                assert!(reached >= 0.93, "{burst} KiB, known {is_known}: {reached:.3} of the ideal");
                assert!(twice <= 0.01, "{burst} KiB, known {is_known}: {twice:.4} twice");
            }
        }
    }
}

/// What the origin may send where a neighbour could: 2 %, or 1 MiB.
fn spared(groups: u64) -> f64 {
    (as_f64(groups) * 0.02).max(64.0)
}

#[test]
fn a_neighbour_that_is_as_fast_as_the_origin_does_all_the_work_with_a_burst_or_without() {
    for burst in [0].into_iter().chain(BURSTS) {
        for (origin, size) in [(5.0, 200), (2.5, 20), (7.0, 200)] {
            for seed in SEEDS {
                let groups = megabytes(size);
                let neighbour = Actor::neighbour(8.0).with_burst(burst);
                let two = [Actor::origin(origin), neighbour.clone()];
                let four = [websites(), vec![neighbour.clone()]].concat();
                for actors in [two.as_slice(), four.as_slice()] {
                    let outcome = run("alone", actors, groups, seed);
                    let sent = outcome.sent[0];
                    assert!(sent <= spared(groups), "{burst} KiB, {origin} MB/s: {outcome:?}");
                    let alone_s = as_f64(groups) / neighbour.rate;
                    assert!(outcome.seconds <= alone_s / 0.93, "{burst} KiB, {origin} MB/s: {outcome:?}");
                }
            }
        }
    }
}

#[test]
fn a_neighbour_at_the_speed_of_the_lan_is_trusted_at_once() {
    for (origin, speed) in [(2.5, 100.0), (2.5, 40.0), (12.5, 100.0)] {
        for size in [4, 20, 200] {
            for seed in SEEDS {
                let groups = megabytes(size);
                let actors = [Actor::origin(origin), Actor::mirror(5.0), Actor::neighbour(speed)];
                let outcome = run("lan", &actors, groups, seed);
                let alone_s = as_f64(groups) / actors[2].rate;
                assert!(outcome.seconds <= alone_s * 1.08 + 0.06, "alone {alone_s} s: {outcome:?}");
                assert!(outcome.sent[0] <= spared(groups), "{outcome:?}");
            }
        }
    }
}

#[test]
fn two_neighbours_that_send_by_slices_are_not_taken_for_silent() {
    let groups = megabytes(200);
    for seed in SEEDS {
        let near = |speed, burst| Actor::neighbour(speed).with_burst(burst);
        let actors = [Actor::origin(2.5), near(4.0, 1024), near(2.0, 512)];
        let outcome = run("two", &actors, groups, seed);
        assert!(outcome.duplicates(groups) <= 0.01, "{outcome:?}");
        // Together they spare the origin's uplink.
        let alone_s = as_f64(groups) / (actors[1].rate + actors[2].rate);
        assert!(outcome.seconds <= alone_s * 1.05, "alone {alone_s} s: {outcome:?}");
    }
}

/// A plan, its neighbour, and two lanes of that.
fn two_lanes() -> (Plan, SourceId, [LaneId; 2]) {
    let mut plan = Plan::new(Some(FILE), GroupSet::new(), 1);
    let neighbour = plan.source_added(Facts { lanes_max: 4, ..Facts::of(Place::Near) });
    let lanes = [0, FILE / 2]
        .map(|start| plan.lane_given(neighbour, GroupSpan::clamped(start, start + FILE / 2), Duration::ZERO));
    (plan, neighbour, lanes)
}

/// What came less than a tenth of a millisecond after something else counted for next to nothing.
#[test]
fn what_comes_over_two_lanes_at_once_counts_in_full() {
    let (mut plan, neighbour, lanes) = two_lanes();
    for step in 0..50 {
        let now = Duration::from_millis(100 * (step + 1));
        for (lane, start) in lanes.into_iter().zip([0, FILE / 2]) {
            plan.delivered(lane, GroupSpan::clamped(start + 16 * step, start + 16 * (step + 1)), now);
        }
    }
    let rate = plan.proven_rate(neighbour).expect("it delivered");
    assert!((300.0..=345.0).contains(&rate), "320 groups a second came, and {rate}");
}

/// The first groups of each lane were left out while the time in which they came was not.
#[test]
fn the_first_groups_of_a_further_lane_count_while_another_one_delivers() {
    let (mut plan, neighbour, [lane, _]) = two_lanes();
    for step in 0..50 {
        let now = Duration::from_millis(100 * (step + 1));
        plan.delivered(lane, GroupSpan::clamped(16 * step, 16 * (step + 1)), now);
        let start = FILE / 2 + 32 * step;
        let opened = now.saturating_sub(Duration::from_millis(80));
        let short = plan.lane_given(neighbour, GroupSpan::clamped(start, start + 16), opened);
        plan.delivered(short, GroupSpan::clamped(start, start + 16), now + Duration::from_millis(50));
        plan.lane_ended(short, Ending::Done, now + Duration::from_millis(50));
    }
    let rate = plan.proven_rate(neighbour).expect("it delivered");
    assert!((300.0..=345.0).contains(&rate), "320 groups a second came, and {rate}");
}
