//! What a client does not take is not fetched: a range costs the origin a window around it, not the file, and what an
//! aborted download brought is there for the next one.

use anyhow::{Result, ensure};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;

/// What is fetched around a small range: 1 MiB, aligned (LIMITS.md).
const WINDOW: u64 = MIB;

/// Bytes that may be under way when a transfer is cut: the origin counts them when it hands them to its kernel.
const UNDER_WAY: u64 = MIB + MIB / 4;

#[test]
fn a_cold_range_in_the_middle_costs_one_window_and_the_next_one_is_local() -> Result<()> {
    let body = Body::seeded(91, 512_000_000);
    let origin = Origin::serving("disk.img", &body).start()?;
    let kith = Kith::start_one("box")?;
    let url = origin.url("disk.img");
    let start = 250 * MIB + 300_000;

    let range = |start: u64| format!("{start}-{}", start + 65_535);
    let cold = Request::by_prefix(&kith, &url).range(&range(start)).fetch()?;
    ensure!(cold.status() == 206 && cold.sha256 == body.sha256_of(start..start + 65_536));
    let local = Request::by_prefix(&kith, &url).range(&range(start + 65_536)).fetch()?;
    ensure!(local.status() == 206 && local.sha256 == body.sha256_of(start + 65_536..start + 131_072));

    let seen = origin.requests();
    ensure!(seen.len() == 1, "{seen:?}");
    ensure!(seen[0].head.field("range") == Some("bytes=262144000-263192575"), "{:?}", seen[0].head);
    ensure!(origin.sent() <= WINDOW, "the origin sent {} bytes", origin.sent());
    Ok(())
}

#[test]
fn what_an_aborted_download_brought_is_not_fetched_again() -> Result<()> {
    let length = 100 * MIB;
    let body = Body::seeded(92, length);
    let origin = Origin::serving("disk.img", &body).slow(40 * MIB).start()?;
    let mut kith = Kith::start_one("box")?;
    let url = origin.url("disk.img");

    let mut aborted = Request::by_prefix(&kith, &url).send()?;
    aborted.read_until(length / 10)?;
    drop(aborted);
    // A box that stops ends its downloads, as it does some seconds after their last reader left.
    kith.terminate()?;
    let brought = origin.sent();
    ensure!(brought < length / 2, "{brought} bytes came for a tenth");
    kith.start()?;
    let whole = Request::by_prefix(&kith, &url).fetch()?;
    ensure!(whole.status() == 200 && whole.whole && whole.sha256 == body.sha256());

    let resumed = origin.requests().pop().expect("at least one");
    ensure!(resumed.head.field("if-range").is_some(), "{:?}", resumed.head);
    ensure!(origin.sent() <= length + UNDER_WAY, "{} bytes for {length}", origin.sent());
    Ok(())
}

#[test]
fn whoever_asks_in_whatever_way_shares_one_copy() -> Result<()> {
    let length = 60 * MIB;
    let body = Body::seeded(93, length);
    let origin = Origin::serving("disk.img", &body).slow(30 * MIB).start()?;
    let kith = Kith::start_one("box")?;
    let url = origin.url("disk.img");
    let plain = Request::by_prefix(&kith, &url);
    let mut first = plain.send()?;
    first.read_until(1)?;

    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..49)
            .map(|number: u64| {
                let (plain, body) = (&plain, &body);
                scope.spawn(move || ask(plain, body, number))
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().expect("clients do not panic"))
    })?;
    ensure!(first.receive()?.sha256 == body.sha256());

    ensure!(origin.sent() <= length + length / 50, "{} bytes for {length}", origin.sent());
    Ok(())
}

/// One of five kinds of clients.
fn ask(plain: &Request, body: &Body, number: u64) -> Result<()> {
    let request = plain.clone();
    match number % 5 {
        0 => {
            let received = request.fetch()?;
            ensure!(received.status() == 200 && received.sha256 == body.sha256(), "{:?}", received.head);
        }
        1 => {
            let start = number * MIB + number;
            let received = request.range(&format!("{start}-{}", start + MIB - 1)).fetch()?;
            ensure!(received.status() == 206, "{:?}", received.head);
            ensure!(received.sha256 == body.sha256_of(start..start + MIB));
        }
        2 => {
            let received = request.method("HEAD").fetch()?;
            ensure!(received.status() == 200 && received.bytes == 0, "{:?}", received.head);
            ensure!(received.field("Content-Length") == body.length().to_string(), "{:?}", received.head);
        }
        3 => {
            let etag = format!("\"{}\"", &body.blake3()[..16]);
            let received = request.field("If-None-Match", &etag).fetch()?;
            ensure!(received.status() == 304, "{:?}", received.head);
        }
        _ => {
            let mut answer = request.send()?;
            answer.read_until(100_000)?;
        }
    }
    Ok(())
}
