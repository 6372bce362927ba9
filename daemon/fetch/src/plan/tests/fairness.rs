//! Several downloads at once that share their sources: none starves, and together they are as fast as one.

use super::simulation::{Actor, Outcome, fetch_together, ideal, megabytes};

const SEEDS: std::ops::Range<u64> = 1..4;

/// Runs downloads of so many MB, and says how long each took against all of them together at the best.
fn run(name: &str, actors: &[Actor], sizes: &[u64], seed: u64) -> (Vec<Outcome>, Vec<f64>) {
    let sizes: Vec<u64> = sizes.iter().map(|size| megabytes(*size)).collect();
    let outcomes = fetch_together(actors, &sizes, seed);
    let best = ideal(actors, sizes.iter().sum());
    let times: Vec<f64> = outcomes.iter().map(|outcome| outcome.seconds / best).collect();
    println!("{name:<10} seed {seed}: {times:.2?} of {best:.1} s");
    (outcomes, times)
}

fn largest(times: &[f64]) -> f64 {
    times.iter().copied().fold(0.0, f64::max)
}

#[test]
fn equal_downloads_take_equally_long_and_waste_little() {
    let actors = [Actor::origin(2.0), Actor::mirror(5.0), Actor::mirror(10.0)];
    for seed in SEEDS {
        let (_, times) = run("equal", &actors, &[60; 4], seed);
        let least = times.iter().copied().fold(f64::MAX, f64::min);
        assert!(largest(&times) <= 1.15 && least >= 0.7, "{times:?}");
    }
}

#[test]
fn a_small_download_among_large_ones_gets_its_share() {
    let actors = [Actor::origin(2.0), Actor::mirror(5.0), Actor::mirror(10.0)];
    for seed in SEEDS {
        let (outcomes, times) = run("small", &actors, &[100, 100, 100, 5], seed);
        // A quarter of all.
        let fair = ideal(&actors, megabytes(4 * 5));
        assert!(outcomes[3].seconds <= 2.0 * fair, "{} s, fair {fair} s", outcomes[3].seconds);
        assert!(largest(&times) <= 1.15, "{times:?}");
    }
}

#[test]
fn a_neighbour_without_a_place_for_everybody_starves_nobody() {
    let actors = [Actor::origin(2.0), Actor::neighbour(20.0).with_places(4)];
    for seed in SEEDS {
        let (outcomes, times) = run("places", &actors, &[40; 6], seed);
        assert!(largest(&times) <= 1.4, "{times:?}");
        for outcome in outcomes {
            // Whoever hears that it is busy asks again, and not all the time.
            assert!(outcome.sent[1] > 0.0 && outcome.requests[1] <= 40, "{:?}", outcome.requests);
        }
    }
}
