//! From box to box over a LAN of network namespaces, against plain TCP (iperf3) over the same bridge.

use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::kith::Kith;
use kith_tests::lab::{House, Lab, Spot};
use kith_tests::origin::Origin;
use kith_tests::resource::Resource;
use kith_tests::tool;

use crate::figures::{GB, Table, figure, median_of};
use crate::usage::cpu_seconds;

const LENGTH: u64 = 512 * MIB;

/// In which TCP and the boxes are measured in turn; each with a file of its own.
const ROUNDS: u64 = 4;

/// So slow that what comes fast came from next door.
const UPLINK_MBIT: u32 = 20;

/// One way, one run.
struct Run {
    bytes_a_second: f64,
    giver_cpu_s: f64,
    taker_cpu_s: f64,
    /// Of the bytes, those that came from next door.
    from_neighbour: f64,
}

/// Prints a row for TCP and one for the boxes. Needs root, as the lab does.
pub(crate) fn measure() -> Result<()> {
    let house = house()?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        rounds.push([tcp(&house)?, boxes(&house, round)?]);
    }
    let columns = [
        "way",
        "Gbit/s",
        "of TCP",
        "giver CPU-s/GB",
        "taker CPU-s/GB",
        "giver Gbit/CPU-s",
        "taker Gbit/CPU-s",
        "from next door",
    ];
    let table = Table::titled("LAN (512 MiB from box A by box B to a client)", &columns);
    for (index, way) in ["TCP", "kith"].iter().enumerate() {
        let gbit = |bytes: f64| bytes * 8.0 / GB;
        let of = |figure: fn(&Run) -> f64| median_of(&rounds, |round| figure(&round[index]));
        let (giver, taker) = (of(|run| run.giver_cpu_s), of(|run| run.taker_cpu_s));
        table.row(&[
            (*way).to_owned(),
            format!("{:.2}", gbit(of(|run| run.bytes_a_second))),
            format!(
                "{:.2}",
                median_of(&rounds, |round| round[index].bytes_a_second / round[0].bytes_a_second)
            ),
            format!("{:.2}", giver * GB),
            format!("{:.2}", taker * GB),
            format!("{:.2}", gbit(1.0 / giver)),
            format!("{:.2}", gbit(1.0 / taker)),
            format!("{:.3}", of(|run| run.from_neighbour)),
        ]);
    }
    Ok(())
}

/// A holds every file; the way to the origin is slow from then on.
fn house() -> Result<House> {
    let mut lab = Lab::new()?;
    let (a_spot, b_spot, client) = (lab.plug_box("a")?, lab.plug_box("b")?, lab.plug_client()?);
    let (place, address) = lab.origin();
    let first = Origin::serving(&file(0), &Body::seeded(1, LENGTH));
    let script = (1..ROUNDS)
        .fold(first, |script, round| script.and(&file(round), Resource::of(Body::seeded(round + 1, LENGTH))));
    let origin = script.at(&place, address).start()?;
    let start = |name: &str, spot: &Spot| {
        Lab::setup(name, spot).set("neighbours.upload_rate", "\"10000Mbit/s\"").start()
    };
    let (a, b) = (start("a", &a_spot)?, start("b", &b_spot)?);
    let house = House { a, b, origin, a_spot, b_spot, client, lab };
    for (one, other) in [(&house.a, "b"), (&house.b, "a")] {
        kith_tests::patience::until_true(
            "the boxes see each other",
            std::time::Duration::from_secs(15),
            || one.neighbour(other).is_ok_and(|found| found.is_some()),
        )?;
    }
    kith_tests::pairing::pair(&house.a, &house.b)?;
    house.wait_connected()?;
    for round in 0..ROUNDS {
        house.fill_a(&file(round))?;
    }
    house.a.wait_stored(ROUNDS)?;
    house.lab.shape_uplinks(UPLINK_MBIT)?;
    Ok(house)
}

fn file(round: u64) -> String {
    format!("file-{round}")
}

fn boxes(house: &House, round: u64) -> Result<Run> {
    let cpu = |kith: &Kith| cpu_seconds(kith.pid());
    let served = || Ok::<_, anyhow::Error>(house.b.metrics()?.served("neighbour"));
    let before = (cpu(&house.a)?, cpu(&house.b)?, served()?);
    let mut curl = house.client.place.command("curl");
    curl.args(["-sSf", "-o", "/dev/null", "-w", "%{time_total} %{size_download}"]);
    curl.arg(format!("http://{}/{}", house.b.clients(), house.origin.url(&file(round))));
    let said = tool::succeed(&mut curl)?.out;
    let (wall, bytes) = said.split_once(' ').with_context(|| format!("curl said {said:?}"))?;
    ensure!(bytes.parse() == Ok(LENGTH), "curl got {bytes} bytes");
    house.b.wait_stored(round + 1)?;
    Ok(Run {
        bytes_a_second: figure(LENGTH) / wall.parse::<f64>()?,
        giver_cpu_s: (cpu(&house.a)? - before.0) / figure(LENGTH),
        taker_cpu_s: (cpu(&house.b)? - before.1) / figure(LENGTH),
        from_neighbour: figure(served()? - before.2) / figure(LENGTH),
    })
}

/// A sends, B receives, as the boxes do.
fn tcp(house: &House) -> Result<Run> {
    let mut server = house.b_spot.place.command("iperf3");
    server.args(["--server", "--one-off", "--forceflush"]).stdout(Stdio::piped());
    let _server = Ended(listening(server.spawn().context("starting iperf3")?)?);
    let mut client = house.a_spot.place.command("iperf3");
    client.args(["--json", "--time", "3", "--client"]).arg(house.b_spot.address.to_string());
    let told: serde_json::Value = serde_json::from_str(&tool::succeed(&mut client)?.out)?;
    let end = &told["end"];
    let number = |value: &serde_json::Value| value.as_f64().context("iperf3 tells its figures");
    let bytes_a_second = number(&end["sum_received"]["bits_per_second"])? / 8.0;
    let cpu = |side: &str| Ok::<_, anyhow::Error>(number(&end["cpu_utilization_percent"][side])? / 100.0);
    Ok(Run {
        bytes_a_second,
        giver_cpu_s: cpu("host_total")? / bytes_a_second,
        taker_cpu_s: cpu("remote_total")? / bytes_a_second,
        from_neighbour: 1.0,
    })
}

/// Waits until it says so.
fn listening(mut server: Child) -> Result<Child> {
    use std::io::BufRead as _;
    let said = server.stdout.take().context("piped")?;
    let mut lines = std::io::BufReader::new(said);
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        ensure!(lines.read_line(&mut line)? > 0, "iperf3 ended at once");
    }
    // Read on, or it would stop at a full pipe.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    Ok(server)
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
