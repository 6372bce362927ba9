//! A flood of mDNS names (G43): the box neither grows nor loses its neighbours, and finds new ones.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kith_model::limits::Profile;
use kith_tests::MIB;
use kith_tests::body::hex;
use kith_tests::kith::Kith;
use kith_tests::lab::{Lab, Spot};
use kith_tests::pairing::pair;
use kith_tests::patience::until_true;
use kith_tests::usage::{cpu_seconds, memory};

const NAMES: u32 = 40_000;

/// Ten a millisecond: twice what the kernel's buffer lets through to a busy machine.
const NAMES_AT_ONCE: u32 = 10;

const GROWTH_MAX: u64 = 8 * MIB;

/// While other tests keep the machine busy; the figure is printed.
const FOUND_LIMIT: Duration = Duration::from_secs(20);

/// In which the processor's time is counted afterwards.
const REST: Duration = Duration::from_secs(5);

const SERVICE: &str = "_kith._udp.local";

const PTR: u16 = 12;
const TXT: u16 = 16;
const SRV: u16 = 33;
const A: u16 = 1;

/// One of the names, as a box would announce it; some without an address, some nothing but an address.
fn announcement(number: u32) -> Vec<u8> {
    let name = format!("flood {number}.{SERVICE}");
    let host = format!("flood-{number}.local");
    let id = hex(blake3::hash(&number.to_be_bytes()).as_bytes());
    let mut service = vec![0, 0, 0, 0, 0x21, 0x22];
    service.extend(labels(&host));
    let text: Vec<u8> = ["v=1".to_owned(), format!("id={id}")].iter().flat_map(|part| string(part)).collect();
    let address = [192, 168, 77, 30 + u8::try_from(number % 200).expect("small")];
    let all = [
        record(SERVICE, PTR, 4500, &labels(&name)),
        record(&name, SRV, 120, &service),
        record(&name, TXT, 4500, &text),
        record(&host, A, 120, &address),
    ];
    let records = match number % 8 {
        6 => &all[..1],
        7 => &all[3..],
        _ => &all[..],
    };
    let count = u8::try_from(records.len()).expect("small");
    [&[0, 0, 0x84, 0, 0, 0, 0, count, 0, 0, 0, 0][..], &records.concat()].concat()
}

fn record(name: &str, kind: u16, seconds: u32, data: &[u8]) -> Vec<u8> {
    // What only one may have drives out what was there before (RFC 6762 section 10.2).
    let class: u16 = if kind == PTR { 1 } else { 0x8001 };
    let mut bytes = labels(name);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(class.to_be_bytes());
    bytes.extend(seconds.to_be_bytes());
    bytes.extend(u16::try_from(data.len()).expect("small").to_be_bytes());
    bytes.extend(data);
    bytes
}

fn labels(name: &str) -> Vec<u8> {
    name.split('.').flat_map(string).chain([0]).collect()
}

fn string(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat()
}

fn flood(from: &Spot) -> Result<()> {
    let socket = from.place.enter(|| UdpSocket::bind(SocketAddr::new(from.address.into(), 5353)))?;
    let began = Instant::now();
    for number in 0..NAMES {
        socket.send_to(&announcement(number), (Ipv4Addr::new(224, 0, 0, 251), 5353))?;
        let due = began + Duration::from_millis(u64::from(number / NAMES_AT_ONCE));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn sees(kith: &Kith, name: &str) -> bool {
    kith.neighbour(name).is_ok_and(|found| found.is_some())
}

#[test]
fn a_flood_of_names_costs_little_memory_and_no_neighbour() -> Result<()> {
    let mut lab = Lab::new()?;
    let spots = [lab.plug_bare("a")?, lab.plug_bare("b")?, lab.plug_bare("c")?, lab.plug_bare("flood")?];
    let start = |name, spot| Lab::setup(name, spot).start();
    let (a, b) = (start("a", &spots[0])?, start("b", &spots[1])?);
    until_true("the boxes see each other", FOUND_LIMIT, || sees(&a, "b") && sees(&b, "a"))?;
    pair(&a, &b)?;
    let is_connected = || a.neighbour("b").ok().flatten().is_some_and(|view| view["state"] == "connected");
    until_true("the boxes are connected", FOUND_LIMIT, is_connected)?;
    let before = memory(a.pid())?.now;

    let mut most = (0, 0);
    let mut look = || -> Result<()> {
        let listed = a.neighbours()?.len();
        most = (most.0.max(memory(a.pid())?.now), most.1.max(listed));
        Ok(())
    };
    // While it lasts another box comes, which is nobody's friend.
    let c = std::thread::scope(|scope| -> Result<Kith> {
        let flooding = scope.spawn(|| flood(&spots[3]));
        let starting = scope.spawn(|| start("c", &spots[2]));
        while !flooding.is_finished() {
            look()?;
        }
        flooding.join().expect("it does not panic")?;
        starting.join().expect("it does not panic")
    })?;
    let ended = Instant::now();
    until_true("c is found", FOUND_LIMIT, || {
        let _ = look();
        sees(&a, "c")
    })?;
    let found = ended.elapsed();
    let _ = &c;
    let cpu_before = cpu_seconds(a.pid())?;
    std::thread::sleep(REST);
    let share = (cpu_seconds(a.pid())? - cpu_before) / REST.as_secs_f64();
    look()?;

    let (memory, listed) = most;
    let growth = memory.saturating_sub(before);
    println!(
        "{NAMES} names: {:.1} MiB more at most, another box found after {found:.1?}, {listed} boxes listed at most, \
         {:.1} % of a core afterwards",
        f64::from(u32::try_from(growth)?) / f64::from(1 << 20),
        share * 100.0
    );
    ensure!(growth <= GROWTH_MAX, "{growth} bytes more");
    let roster_max = [Profile::Router, Profile::Board].map(|profile| profile.limits().roster_max);
    ensure!(listed <= roster_max[1] + 1, "{listed} boxes were listed");
    ensure!(listed > roster_max[0] / 2, "the flood has come: {listed} boxes were listed");
    ensure!(share < 0.2, "{share} of a core");
    let view = a.neighbour("b")?.context("b is there")?;
    ensure!(view["state"] == "connected", "{view}");
    let lost = a.log().lines().filter(|line| line.contains("neighbour gone")).count();
    ensure!(lost == 0, "the session with b was lost");
    Ok(())
}
