//! The first byte of a miss, often: what it takes is a few hand-overs and a few operations of the file system, so that
//! a handful of downloads says more of what else the machine does than of who answers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_tests::MIB;
use kith_tests::kith::{Kith, Setup};
use kith_tests::pairing::{Window, join};
use kith_tests::patience::until_true;

use crate::figures::{Table, median_of};
use crate::miss::fetch;
use crate::nginx::Nginx;

/// Enough to be looked up next door.
const LENGTH: u64 = 8 * MIB;

/// In which all ways are measured in turn.
const ROUNDS: usize = 41;

const WAYS: [&str; 4] = ["direct", "kith", "kith beside a box that holds nothing", "nginx proxy_cache"];

/// Prints a row for each way.
pub(crate) fn measure() -> Result<()> {
    let origin = Nginx::serving(&[("file", LENGTH)])?;
    let cache = Nginx::caching(&origin)?;
    let alone = Kith::start_one("alone")?;
    let (beside, _other) = pair()?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        // Nobody has seen a file of that name.
        let path = |way: &str| format!("slow/{way}-{round}/file");
        let through = |kith: &Kith, way| format!("http://{}/{}", kith.clients(), origin.url(&path(way)));
        let urls = [
            origin.url(&path("direct")),
            through(&alone, "alone"),
            through(&beside, "beside"),
            cache.url(&path("cache")),
        ];
        let took = urls.map(|url| fetch(&url, None).map(|fetch| fetch.first_byte * 1000.0));
        rounds.push(took.into_iter().collect::<Result<Vec<_>>>()?);
    }
    let table =
        Table::titled("first byte of a miss (8 MiB, cold, ms)", &["median", "fastest", "slowest", "way"]);
    for (index, way) in WAYS.iter().enumerate() {
        let all = || rounds.iter().map(|round| round[index]);
        let median = median_of(&rounds, |round| round[index]);
        let (fastest, slowest) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
        let cells = [median, fastest, slowest].map(|ms| format!("{ms:.2}"));
        table.row(&[cells[0].as_str(), &cells[1], &cells[2], way]);
    }
    Ok(())
}

/// Two connected boxes of one owner on this machine.
fn pair() -> Result<(Kith, Kith)> {
    let neighbourly = |setup: Setup| {
        setup.set("neighbours.enabled", "true").set("neighbours.listen", "\"127.0.0.1:0\"").start()
    };
    let (one, other) = (neighbourly(Kith::named("beside"))?, neighbourly(Kith::named("other"))?);
    let status = other.status()?;
    let address = status["neighbours"][0].as_str().context("the status names where neighbours connect")?;
    let window = Window::open(&other)?;
    let said = join(&one, address, &window.code)?;
    ensure!(said.code == 0, "kith pair {address}: {said:?}");
    window.ended()?;
    until_true("the boxes are connected", Duration::from_secs(20), || {
        one.neighbour("other").ok().flatten().is_some_and(|view| view["state"] == "connected")
    })?;
    Ok((one, other))
}
