//! Misses: a cold file by curl straight from the origin, through Kith, and through nginx's own cache.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kith_tests::MIB;
use kith_tests::kith::Kith;
use kith_tests::tool;
use kith_tests::usage::cpu_seconds;

use crate::figures::{GB, Table, figure, median_of};
use crate::nginx::Nginx;

const LENGTH: u64 = 512 * MIB;

/// As the origin names its rates in URLs, and as people read them.
const SPEEDS: [(&str, &str); 2] = [("slow", "50 MB/s"), ("fresh", "unlimited")];

/// In which the three are measured in turn.
const ROUNDS: u64 = 3;

/// Prints a row for each way, at the origin's limited rate and at full rate.
pub(crate) fn measure() -> Result<()> {
    // What was never seen under any name: Kith knows contents again.
    let names: Vec<String> =
        (0..ROUNDS).flat_map(|round| SPEEDS.map(|(speed, _)| format!("{speed}-{round}"))).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), LENGTH)).collect();
    let origin = Nginx::serving(&files)?;
    let cache = Nginx::caching(&origin)?;
    let kith = Kith::start_one("misses")?;
    let columns = ["origin", "way", "first byte ms", "wall s", "wall/direct", "CPU-s/GB"];
    let table = Table::titled("misses (512 MiB, cold)", &columns);
    for (speed, label) in SPEEDS {
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            let path = format!("{speed}/cold/{speed}-{round}");
            let direct = fetch(&origin.url(&path), None)?;
            let stored = kith.metrics()?.count("kith_store_objects");
            let by_kith = Ways::Kith(&kith, stored);
            let through_kith =
                fetch(&format!("http://{}/{}", kith.clients(), origin.url(&path)), Some(&by_kith))?;
            let through_nginx = fetch(&cache.url(&path), Some(&Ways::Nginx(&cache)))?;
            rounds.push([direct, through_kith, through_nginx]);
        }
        for (index, way) in ["direct", "kith", "nginx proxy_cache"].iter().enumerate() {
            let wall = median_of(&rounds, |round| round[index].wall);
            let ratio = median_of(&rounds, |round| round[index].wall / round[0].wall);
            let cpu = median_of(&rounds, |round| round[index].cpu) / figure(LENGTH) * GB;
            table.row(&[
                label.to_owned(),
                (*way).to_owned(),
                format!("{:.1}", median_of(&rounds, |round| round[index].first_byte) * 1000.0),
                format!("{wall:.3}"),
                format!("{ratio:.3}"),
                if index == 0 { String::new() } else { format!("{cpu:.2}") },
            ]);
        }
    }
    Ok(())
}

/// Whose processor time counts.
pub(crate) enum Ways<'a> {
    /// With the number of objects on its shelf before.
    Kith(&'a Kith, u64),
    Nginx(&'a Nginx),
}

impl Ways<'_> {
    fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(match self {
            Self::Kith(kith, _) => kith.pid(),
            Self::Nginx(nginx) => nginx.pid(),
        })
    }

    /// What is done after the last byte was sent belongs to the price.
    fn settle(&self) -> Result<()> {
        let Self::Kith(kith, stored) = self else { return Ok(()) };
        kith.wait_metrics("the object is on the shelf", Duration::from_secs(30), |metrics| {
            metrics.count("kith_store_objects") > *stored
        })
        .map(drop)
    }
}

/// In seconds.
pub(crate) struct Fetch {
    pub(crate) first_byte: f64,
    wall: f64,
    cpu: f64,
}

/// Fetches by curl, and counts whose processor time counts.
pub(crate) fn fetch(url: &str, way: Option<&Ways<'_>>) -> Result<Fetch> {
    let before = way.map(Ways::cpu_seconds).transpose()?;
    let mut curl = Command::new("curl");
    curl.args(["-sSf", "-o", "/dev/null", "-w", "%{time_starttransfer} %{time_total}", url]);
    let said = tool::succeed(&mut curl)?.out;
    let (first_byte, wall) = said.split_once(' ').with_context(|| format!("curl said {said:?}"))?;
    way.map(Ways::settle).transpose()?;
    let after = way.map(Ways::cpu_seconds).transpose()?;
    Ok(Fetch {
        first_byte: first_byte.parse()?,
        wall: wall.parse()?,
        cpu: after.unwrap_or_default() - before.unwrap_or_default(),
    })
}
