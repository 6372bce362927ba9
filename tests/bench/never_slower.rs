//! Bad neighbours: how long a download takes beside each kind of them, against the origin alone in turn.
//!
//! `KITH_BENCH_ROWS` picks kinds whose name has that word, `KITH_BENCH_RUNS` says how often each is tried (20).

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::lab::House;
use kith_tests::origin::{Origin, Script};
use kith_tests::patience::until;
use kith_tests::resource::Resource;
use kith_tests::tool;

use crate::figures::Table;

const LENGTH: u64 = 32 * MIB;

/// A file takes 2.7 s over it.
const UPLINK_MBIT: u32 = 100;

/// What is wrong with the neighbour. It claims to hold every file, or does.
#[derive(Clone, Copy, PartialEq)]
enum Badness {
    /// Nothing: it is as slow as this, by its own setting.
    Slow(&'static str),
    /// Its process is gone.
    Dead,
    /// Its cable is pulled.
    Unplugged,
    /// Its process stands still.
    Frozen,
    /// Its process stands still every other second.
    Flapping,
    /// Another program in its place, with this manner.
    Liar(&'static str),
}

const KINDS: [(&str, Badness); 11] = [
    ("slow: 0.2 Mbit/s", Badness::Slow("\"200kbit/s\"")),
    ("slow: 20 Mbit/s", Badness::Slow("\"20Mbit/s\"")),
    ("dead", Badness::Dead),
    ("unplugged", Badness::Unplugged),
    ("frozen", Badness::Frozen),
    ("flapping each second", Badness::Flapping),
    ("flips bits", Badness::Liar("flip")),
    ("trickles", Badness::Liar("trickle")),
    ("claims, then says nothing", Badness::Liar("mute")),
    ("claims, then refuses", Badness::Liar("refuse")),
    ("absurd lengths", Badness::Liar("absurd")),
];

/// Prints a row for each kind. Needs root, as the lab does.
pub(crate) fn measure() -> Result<()> {
    let columns = ["neighbour", "median s", "p95 s", "worst s", "alone median s", "alone p95 s", "p95 ratio"];
    let table =
        Table::titled("bad neighbours (32 MiB, uplink 100 Mbit/s; wanted: ratio at most 1.05)", &columns);
    let only = std::env::var("KITH_BENCH_ROWS").unwrap_or_default();
    let runs = std::env::var("KITH_BENCH_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    for (name, badness) in KINDS.into_iter().filter(|(name, _)| name.contains(&only)) {
        let mut street = Street::with(badness, runs)?;
        let [mut beside, mut alone] = street.measure()?;
        beside.sort_by(f64::total_cmp);
        alone.sort_by(f64::total_cmp);
        let (median, late) =
            (|times: &[f64]| times[times.len() / 2], |times: &[f64]| times[late_of(times.len())]);
        table.row(&[
            name.to_owned(),
            format!("{:.3}", median(&beside)),
            format!("{:.3}", late(&beside)),
            format!("{:.3}", beside.last().copied().unwrap_or_default()),
            format!("{:.3}", median(&alone)),
            format!("{:.3}", late(&alone)),
            format!("{:.3}", late(&beside) / late(&alone)),
        ]);
    }
    Ok(())
}

/// Which one of so many, in order, is the 95th of a hundred.
fn late_of(count: usize) -> usize {
    (count * 95).div_ceil(100).saturating_sub(1)
}

struct Street {
    house: House,
    badness: Badness,
    runs: u64,
    _liar: Option<Liar>,
}

impl Street {
    fn with(badness: Badness, runs: u64) -> Result<Self> {
        let body = Body::seeded(900, LENGTH);
        let mut script = Origin::empty();
        for run in 0..runs {
            script = script.and(&beside(run), Resource::of(body.clone()));
            script = script.and(&alone(run), Resource::of(Body::seeded(1000 + run, LENGTH)));
        }
        let mut house = house(script, badness)?;
        if !matches!(badness, Badness::Liar(_)) {
            for run in 0..runs {
                let received = house.request(&house.a, &beside(run)).fetch()?;
                ensure!(received.whole, "{:?}", received.head);
            }
            house.a.wait_stored(1)?;
        }
        let liar = match badness {
            Badness::Liar(manner) => Some(Liar::start(&mut house, &body, manner, runs)?),
            _ => None,
        };
        house.lab.shape_uplinks(UPLINK_MBIT)?;
        match badness {
            Badness::Dead => house.a.kill()?,
            Badness::Unplugged => house.lab.unplug("a")?,
            _ => {}
        }
        Ok(Self { house, badness, runs, _liar: liar })
    }

    /// Seconds beside the neighbour, and alone.
    fn measure(&mut self) -> Result<[Vec<f64>; 2]> {
        let mut times = [Vec::new(), Vec::new()];
        for run in 0..self.runs {
            times[1].push(self.fetch(&alone(run))?);
            times[0].push(self.fetch_beside(&beside(run))?);
        }
        Ok(times)
    }

    fn fetch_beside(&self, path: &str) -> Result<f64> {
        if !matches!(self.badness, Badness::Frozen | Badness::Flapping) {
            return self.fetch(path);
        }
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let flapping = scope.spawn(|| -> Result<()> {
                while !is_over.load(Ordering::SeqCst) {
                    self.house.a.freeze()?;
                    pause(&is_over, self.badness == Badness::Frozen);
                    self.house.a.thaw()?;
                    pause(&is_over, false);
                }
                Ok(())
            });
            let took = self.fetch(path);
            is_over.store(true, Ordering::SeqCst);
            flapping.join().expect("it does not panic")?;
            took
        })
    }

    fn fetch(&self, path: &str) -> Result<f64> {
        let mut curl = self.house.client.place.command("curl");
        curl.args(["-sSf", "-o", "/dev/null", "-w", "%{time_total} %{size_download}"]);
        curl.arg(format!("http://{}/{}", self.house.b.clients(), self.house.origin.url(path)));
        let said = tool::succeed(&mut curl)?.out;
        let (wall, bytes) = said.split_once(' ').with_context(|| format!("curl said {said:?}"))?;
        ensure!(bytes.parse() == Ok(LENGTH), "curl got {bytes} bytes");
        Ok(wall.parse()?)
    }
}

/// A second, or until it is over.
fn pause(is_over: &AtomicBool, is_long: bool) {
    let mut steps = 0;
    while !is_over.load(Ordering::SeqCst) && (is_long || steps < 50) {
        std::thread::sleep(Duration::from_millis(20));
        steps += 1;
    }
}

fn beside(run: u64) -> String {
    format!("beside-{run}")
}

fn alone(run: u64) -> String {
    format!("alone-{run}")
}

fn house(script: Script, badness: Badness) -> Result<House> {
    House::paired_as(script, |setup| match badness {
        Badness::Slow(rate) => setup.set("neighbours.upload_rate", rate),
        _ => setup,
    })
}

/// Takes the place of the first box, with its key and its pairs.
struct Liar(Child);

impl Liar {
    fn start(house: &mut House, body: &Body, manner: &str, runs: u64) -> Result<Self> {
        house.a.terminate()?;
        let mut command = house.a_spot.place.command(kith_tests::binary::liar()?);
        let file = house.a.data().join("lie");
        std::fs::write(&file, body.part(0..body.length()))?;
        let urls: Vec<String> = (0..runs).map(|run| house.origin.url(&beside(run))).collect();
        command.arg(house.a.data()).arg(format!("{}:8482", house.b_spot.address)).arg(&file);
        command.args([&urls.join(","), &format!("\"{}\"", &body.blake3()[..16]), manner]);
        let liar = Self(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?);
        until("the liar is connected", Duration::from_secs(20), || {
            house.b.neighbour("a").ok().flatten().filter(|view| view["state"] == "connected")
        })?;
        Ok(liar)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
