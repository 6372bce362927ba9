//! From box to box over a LAN of network namespaces, against plain TCP (iperf3) and QUIC with the same crate and
//! nothing around it (`tests/bin/raw_quic.rs`) over the same bridge.

use std::io::BufRead as _;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::kith::Kith;
use kith_tests::lab::House;
use kith_tests::origin::Origin;
use kith_tests::resource::Resource;
use kith_tests::tool;
use kith_tests::usage::cpu_seconds;

use crate::figures::{GB, Table, figure, median_of};

const LENGTH: u64 = 512 * MIB;

/// In which TCP, QUIC and the boxes are measured in turn; the boxes with a file of its own in each.
const ROUNDS: usize = 4;

/// A's cable in Mbit/s: as fast as the machine, and what homes have. The first shows what a byte costs, the others
/// whether anybody waits for it.
const CABLES: [Option<u32>; 3] = [None, Some(2500), Some(1000)];

const FILES: usize = ROUNDS * CABLES.len();

/// Where QUIC with nothing around it listens.
const QUIC_PORT: u16 = 9999;

/// So slow that what comes fast came from next door.
const UPLINK_MBIT: u32 = 20;

/// What raw QUIC is tried with, after nothing special: larger packets, no offload, fewer acknowledgements, what a
/// processor without AES instructions would use.
const SETTINGS: [&[&str]; 6] =
    [&[], &["mtu=9000"], &["gso=off"], &["acks=10"], &["cipher=chacha20"], &["cipher=aes256"]];

/// An Ethernet's, and what some networks allow.
const MTU: u16 = 1500;
const JUMBO_MTU: u16 = 9000;

const COLUMNS: [&str; 9] = [
    "way",
    "Gbit/s",
    "of TCP",
    "of QUIC",
    "giver CPU-s/GB",
    "taker CPU-s/GB",
    "giver Gbit/CPU-s",
    "taker Gbit/CPU-s",
    "from next door",
];

/// One way, one run.
struct Run {
    bytes_a_second: f64,
    giver_cpu_s: f64,
    taker_cpu_s: f64,
    /// Of the bytes, those that came from next door.
    from_neighbour: f64,
}

/// Prints a row for TCP, one for QUIC with nothing around it, and one for the boxes; then what QUIC does otherwise
/// configured. Needs root, as the lab does.
pub(crate) fn measure() -> Result<()> {
    let house = house()?;
    let mut files = (0..FILES).map(file);
    for cable in CABLES {
        let speed = match cable {
            Some(mbit) => {
                house.lab.shape_cable("a", mbit)?;
                format!("{mbit} Mbit/s")
            }
            None => "as fast as the machine".to_owned(),
        };
        let mut rounds = Vec::new();
        for path in files.by_ref().take(ROUNDS) {
            rounds.push(vec![tcp(&house)?, quic(&house, &[])?, boxes(&house, &path)?]);
        }
        let title = format!("LAN (512 MiB from box A by box B to a client), {speed}");
        print(&title, &["TCP", "QUIC", "kith"], &rounds);
    }
    house.lab.unshape_cable("a")?;

    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut round = vec![tcp(&house)?];
        for settings in SETTINGS {
            let jumbo = settings.contains(&"mtu=9000");
            house.lab.lan_mtu(if jumbo { JUMBO_MTU } else { MTU })?;
            round.push(quic(&house, settings)?);
        }
        house.lab.lan_mtu(MTU)?;
        rounds.push(round);
    }
    let names: Vec<String> = SETTINGS.iter().map(|settings| format!("QUIC {}", settings.join(" "))).collect();
    let names: Vec<&str> = std::iter::once("TCP").chain(names.iter().map(|name| name.trim_end())).collect();
    print("QUIC on this machine, otherwise configured", &names, &rounds);
    Ok(())
}

/// The first way is TCP, the second QUIC.
fn print(title: &str, ways: &[&str], rounds: &[Vec<Run>]) {
    let table = Table::titled(title, &COLUMNS);
    for (index, way) in ways.iter().enumerate() {
        let of = |figure: fn(&Run) -> f64| median_of(rounds, |round| figure(&round[index]));
        let against = |other: usize| {
            median_of(rounds, |round| round[index].bytes_a_second / round[other].bytes_a_second)
        };
        let (giver, taker) = (of(|run| run.giver_cpu_s), of(|run| run.taker_cpu_s));
        let gbit = |bytes: f64| bytes * 8.0 / GB;
        table.row(&[
            (*way).to_owned(),
            format!("{:.2}", gbit(of(|run| run.bytes_a_second))),
            format!("{:.2}", against(0)),
            format!("{:.2}", against(1)),
            format!("{:.2}", giver * GB),
            format!("{:.2}", taker * GB),
            format!("{:.2}", gbit(1.0 / giver)),
            format!("{:.2}", gbit(1.0 / taker)),
            format!("{:.3}", of(|run| run.from_neighbour)),
        ]);
    }
}

/// A holds every file; the way to the origin is slow from then on.
fn house() -> Result<House> {
    let script = (0..FILES).zip(1..).fold(Origin::empty(), |script, (number, seed)| {
        script.and(&file(number), Resource::of(Body::seeded(seed, LENGTH)))
    });
    let house = House::paired_as(script, |setup| setup.set("neighbours.upload_rate", "\"10000Mbit/s\""))?;
    for number in 0..FILES {
        house.fill_a(&file(number))?;
    }
    house.lab.shape_uplinks(UPLINK_MBIT)?;
    Ok(house)
}

fn file(number: usize) -> String {
    format!("file-{number}")
}

fn boxes(house: &House, path: &str) -> Result<Run> {
    let cpu = |kith: &Kith| cpu_seconds(kith.pid());
    let served = || Ok::<_, anyhow::Error>(house.b.metrics()?.served("neighbour"));
    let stored = house.b.metrics()?.count("kith_store_objects");
    let before = (cpu(&house.a)?, cpu(&house.b)?, served()?);
    let mut curl = house.client.place.command("curl");
    curl.args(["-sSf", "-o", "/dev/null", "-w", "%{time_total} %{size_download}"]);
    curl.arg(format!("http://{}/{}", house.b.clients(), house.origin.url(path)));
    let said = tool::succeed(&mut curl)?.out;
    let (wall, bytes) = said.split_once(' ').with_context(|| format!("curl said {said:?}"))?;
    ensure!(bytes.parse() == Ok(LENGTH), "curl got {bytes} bytes");
    house.b.wait_stored(stored + 1)?;
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

/// A gives, B takes and drops what comes.
fn quic(house: &House, settings: &[&str]) -> Result<Run> {
    let program = kith_tests::binary::raw_quic()?;
    let home = tempfile::tempdir()?;
    let certificate = home.path().join("certificate.der");
    let address = format!("{}:{QUIC_PORT}", house.a_spot.address);
    let mut giver = house.a_spot.place.command(&program);
    giver.args(["serve", &address]).arg(&certificate).arg(LENGTH.to_string()).args(settings);
    let giver = Ended(listening(giver.stdout(Stdio::piped()).spawn().context("starting raw-quic")?)?);
    let mut taker = house.b_spot.place.command(&program);
    taker.args(["fetch", &address]).arg(&certificate).args(settings);
    let mut taker = Ended(taker.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    std::io::BufReader::new(taker.0.stdout.take().context("piped")?).read_line(&mut line)?;
    let seconds: f64 = line.trim().parse().with_context(|| format!("raw-quic said {line:?}"))?;
    Ok(Run {
        bytes_a_second: figure(LENGTH) / seconds,
        giver_cpu_s: cpu_seconds(giver.0.id())? / figure(LENGTH),
        taker_cpu_s: cpu_seconds(taker.0.id())? / figure(LENGTH),
        from_neighbour: 1.0,
    })
}

/// Waits until it says so.
fn listening(mut server: Child) -> Result<Child> {
    let said = server.stdout.take().context("piped")?;
    let mut lines = std::io::BufReader::new(said);
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        ensure!(lines.read_line(&mut line)? > 0, "it ended at once");
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
