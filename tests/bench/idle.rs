//! A street at rest: how soon thirty boxes know of each other, and what each says and costs while nobody wants anything.
//!
//! `KITH_BENCH_SECONDS` is for how long it is looked at (300), `KITH_BENCH_BOXES` how many there are (30).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use kith_tests::lab::{Spot, Street};
use kith_tests::pairing::{Window, join};
use kith_tests::patience::until_true;
use kith_tests::tool;
use kith_tests::usage::{cpu_seconds, memory};

use crate::figures::{Table, figure};

/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// After it is built, a street comes to rest: filters are told, packet sizes tried, questions asked again.
const SETTLES: Duration = Duration::from_secs(60);

/// How the boxes stand to each other.
#[derive(Clone, Copy, PartialEq)]
enum Pairs {
    /// Nobody knows anybody.
    None,
    /// Each is a pair with the next.
    Ring,
    /// Each of the first five with each other.
    Household,
}

/// Prints a row for each way to stand to each other. Needs root, as the lab does.
pub(crate) fn measure() -> Result<()> {
    let number =
        |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let seconds = number("KITH_BENCH_SECONDS", 300);
    let count = usize::try_from(number("KITH_BENCH_BOXES", 30))?;
    let title =
        format!("{count} boxes at rest for {seconds} s (wanted: found in 10 s, 200 B/s and 0.5 % a box)");
    let columns = [
        "pairs",
        "started s",
        "found s",
        "sent B/s",
        "at most",
        "heard B/s",
        "CPU %",
        "at most",
        "MiB at most",
    ];
    let table = Table::titled(&title, &columns);
    let only = std::env::var("KITH_BENCH_ROWS").unwrap_or_default();
    let rows = [("none", Pairs::None), ("a ring", Pairs::Ring), ("a household of 5", Pairs::Household)];
    for (name, pairs) in rows.into_iter().filter(|(name, _)| name.contains(&only)) {
        let began = Instant::now();
        let street = Street::of(count)?;
        let (started, run) = (began.elapsed(), Instant::now());
        street.wait_seen(PATIENCE)?;
        let found = run.elapsed();
        pair_up(&street, pairs)?;
        std::thread::sleep(SETTLES.min(Duration::from_secs(seconds)));
        let before = looks(&street)?;
        std::thread::sleep(Duration::from_secs(seconds));
        let after = looks(&street)?;
        let rests = before.iter().zip(&after).map(|(before, after)| before.until(after, figure(seconds)));
        let rests: Vec<Rest> = rests.collect();
        let mean = |of: fn(&Rest) -> f64| rests.iter().map(of).sum::<f64>() / figure(rests.len() as u64);
        let most = |of: fn(&Rest) -> f64| rests.iter().map(of).fold(0.0, f64::max);
        let cells = [
            format!("{:.1}", started.as_secs_f64()),
            format!("{:.1}", found.as_secs_f64()),
            format!("{:.0}", mean(|rest| rest.sent)),
            format!("{:.0}", most(|rest| rest.sent)),
            format!("{:.0}", mean(|rest| rest.heard)),
            format!("{:.2}", mean(|rest| rest.cpu)),
            format!("{:.2}", most(|rest| rest.cpu)),
            format!("{:.1}", most(|rest| rest.memory) / f64::from(1 << 20)),
        ];
        let cells: Vec<String> = std::iter::once(name.to_owned()).chain(cells).collect();
        table.row(&cells);
    }
    Ok(())
}

/// Makes pairs by their codes, as their owners would.
fn pair_up(street: &Street, pairs: Pairs) -> Result<()> {
    let count = street.boxes.len();
    let all: Vec<(usize, usize)> = match pairs {
        Pairs::None => Vec::new(),
        Pairs::Ring => (0..count).map(|number| (number, (number + 1) % count)).collect(),
        Pairs::Household => (0..5).flat_map(|one| (one + 1..5).map(move |other| (one, other))).collect(),
    };
    for (one, other) in &all {
        let (host, guest) = (&street.boxes[*one], &street.boxes[*other]);
        let window = Window::open(host)?;
        let said = join(guest, host.name(), &window.code)?;
        anyhow::ensure!(said.code == 0, "{said:?}");
        window.ended()?;
    }
    let is_connected = |one: usize, other: usize| {
        let view = street.boxes[one].neighbour(street.boxes[other].name()).ok().flatten();
        view.is_some_and(|view| view["state"] == "connected")
    };
    until_true("all pairs are connected", PATIENCE, || {
        all.iter().all(|(one, other)| is_connected(*one, *other) && is_connected(*other, *one))
    })
}

/// What is counted of a box at one moment.
struct Look {
    sent: u64,
    heard: u64,
    cpu_s: f64,
    memory: u64,
}

/// What it came to: bytes a second, a hundredth of a core, bytes.
struct Rest {
    sent: f64,
    heard: f64,
    cpu: f64,
    memory: f64,
}

impl Look {
    fn until(&self, later: &Self, seconds: f64) -> Rest {
        Rest {
            sent: figure(later.sent - self.sent) / seconds,
            heard: figure(later.heard - self.heard) / seconds,
            cpu: (later.cpu_s - self.cpu_s) / seconds * 100.0,
            memory: figure(later.memory),
        }
    }
}

fn looks(street: &Street) -> Result<Vec<Look>> {
    let look = |(number, spot): (usize, &Spot)| {
        let pid = street.boxes[number].pid();
        let (heard, sent) = bytes(spot)?;
        Ok(Look { sent, heard, cpu_s: cpu_seconds(pid)?, memory: memory(pid)?.now })
    };
    street.spots.iter().enumerate().map(look).collect()
}

/// Bytes that came in and went out by a box's cable, all headers counted.
fn bytes(spot: &Spot) -> Result<(u64, u64)> {
    let said = tool::succeed(spot.place.command("cat").arg("/proc/net/dev"))?.out;
    let line = said.lines().find_map(|line| line.trim().strip_prefix("lan0:"));
    let words: Vec<&str> = line.context("the cable is there")?.split_whitespace().collect();
    let at = |index: usize| -> Result<u64> { Ok(words.get(index).context("sixteen counts")?.parse()?) };
    Ok((at(0)?, at(8)?))
}
