//! Hits: what lies on the shelf, against nginx that sends the same file from disk.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use kith_tests::MIB;
use kith_tests::client::Request;
use kith_tests::kith::{Kith, Setup};
use kith_tests::usage::cpu_seconds;

use crate::figures::{GB, Table, figure, median, median_of};
use crate::load::{Load, draw};
use crate::nginx::Nginx;

const SIZES: [(&str, u64); 4] = [("1KiB", 1024), ("64KiB", 64 * 1024), ("1MiB", MIB), ("1GiB", 1024 * MIB)];

const CONNECTIONS: [usize; 3] = [1, 16, 256];

/// In which one and the other are measured in turn.
const ROUNDS: usize = 5;

/// Of one measurement. Clock ticks of 10 ms are well below a hundredth of it.
const DURATION: Duration = Duration::from_millis(1500);

/// Prints a row for each size and number of connections; for one size alone where `KITH_BENCH_SIZE` names it.
pub(crate) fn measure() -> Result<()> {
    let nginx = Nginx::serving(&SIZES)?;
    let kith = box_that_holds("hits", &nginx, |setup| setup.set("origins.touch", "\"rfc9111\""))?;
    let columns = [
        "object",
        "clients",
        "nginx req/s",
        "kith req/s",
        "kith/nginx",
        "kith MB/s",
        "nginx CPU-s/GB",
        "kith CPU-s/GB",
        "nginx CPU-us/req",
        "kith CPU-us/req",
    ];
    let table = Table::titled("hits (nginx: one worker, sendfile)", &columns);
    let only = std::env::var("KITH_BENCH_SIZE").ok();
    for size in SIZES.into_iter().filter(|(label, _)| only.as_deref().is_none_or(|only| only == *label)) {
        for connections in CONNECTIONS {
            compare(&table, size.0, &nginx, &kith, size, connections)?;
        }
    }
    if only.is_some() {
        return Ok(());
    }
    // The same with what it does by default: it tells the origin of each download that it served.
    let kith = box_that_holds("touching", &nginx, |setup| setup)?;
    for connections in CONNECTIONS {
        compare(&table, "touched", &nginx, &kith, SIZES[2], connections)?;
    }
    Ok(())
}

/// A box that fetched every file and answers from its shelf.
fn box_that_holds(name: &str, nginx: &Nginx, set: impl FnOnce(Setup) -> Setup) -> Result<Kith> {
    let kith = set(Kith::named(name)).start()?;
    for (file, length) in SIZES {
        let url = nginx.url(file);
        ensure!(Request::by_prefix(&kith, &url).fetch()?.bytes == length, "{file} did not come whole");
    }
    kith.wait_stored(SIZES.len() as u64)?;
    for (file, _) in SIZES {
        let answer = Request::by_prefix(&kith, &nginx.url(file)).method("HEAD").send()?;
        let status = answer.head.field("Cache-Status").unwrap_or_default();
        ensure!(status.starts_with("kith; hit"), "{file} is no hit: {status}");
    }
    Ok(kith)
}

/// One server, one run.
struct Run {
    requests_a_second: f64,
    bytes_a_second: f64,
    cpu_seconds_a_byte: f64,
}

fn compare(
    table: &Table,
    label: &str,
    nginx: &Nginx,
    kith: &Kith,
    (file, length): (&str, u64),
    connections: usize,
) -> Result<()> {
    let load =
        |address: SocketAddr, target: String| Load { address, target, connections, duration: DURATION };
    let plain = load(nginx.address(), format!("/{file}"));
    let cached = load(kith.clients(), format!("/{}", nginx.url(file)));
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push((run(&plain, nginx.pid(), length)?, run(&cached, kith.pid(), length)?));
    }
    let ratios = rounds.iter().map(|(nginx, kith)| kith.requests_a_second / nginx.requests_a_second);
    let cost = |seconds_a_byte: f64| format!("{:.3}", seconds_a_byte * GB);
    let cost_of_request = |seconds_a_byte: f64| format!("{:.1}", seconds_a_byte * figure(length) * 1e6);
    let (nginx_cost, kith_cost) = (
        median_of(&rounds, |(nginx, _)| nginx.cpu_seconds_a_byte),
        median_of(&rounds, |(_, kith)| kith.cpu_seconds_a_byte),
    );
    table.row(&[
        label.to_owned(),
        connections.to_string(),
        format!("{:.1}", median_of(&rounds, |(nginx, _)| nginx.requests_a_second)),
        format!("{:.1}", median_of(&rounds, |(_, kith)| kith.requests_a_second)),
        format!("{:.2}", median(ratios.collect())),
        format!("{:.0}", median_of(&rounds, |(_, kith)| kith.bytes_a_second) / 1e6),
        cost(nginx_cost),
        cost(kith_cost),
        cost_of_request(nginx_cost),
        cost_of_request(kith_cost),
    ]);
    Ok(())
}

fn run(load: &Load, server: u32, length: u64) -> Result<Run> {
    let before = cpu_seconds(server)?;
    let drawn = draw(load)?;
    let cpu = cpu_seconds(server)? - before;
    let bytes_a_second = figure(drawn.bytes) / drawn.took.as_secs_f64();
    Ok(Run {
        requests_a_second: bytes_a_second / figure(length),
        bytes_a_second,
        cpu_seconds_a_byte: cpu / figure(drawn.bytes),
    })
}
