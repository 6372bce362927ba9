//! Many clients ask for the same cold file at once: the origin sends it once.

use std::sync::Barrier;

use anyhow::{Context as _, Result, ensure};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;

const CLIENTS: u64 = 32;
const LENGTH: u64 = 200 * MIB;

#[test]
fn thirty_two_clients_cost_the_origin_one_copy() -> Result<()> {
    let body = Body::seeded(11, LENGTH);
    let origin = Origin::serving("a.iso", &body).slow(60 * MIB).start()?;
    let kith = Kith::start_one("box")?;
    let url = origin.url("a.iso");
    let barrier = Barrier::new(usize::try_from(CLIENTS)?);

    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (kith, url, body, barrier) = (&kith, &url, &body, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let request = Request::by_prefix(kith, url);
                    match number {
                        0 => leave_early(&request),
                        1..16 => whole(&request, body),
                        _ => part(&request, body, number),
                    }
                    .with_context(|| format!("client {number}"))
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("clients do not panic")).collect()
    });

    for outcome in outcomes {
        outcome?;
    }
    assert!(origin.sent() <= LENGTH + LENGTH / 50, "the origin sent {} of {LENGTH} bytes", origin.sent());
    kith.wait_stored(1)
}

/// The first one has seen enough after a MiB.
fn leave_early(request: &Request) -> Result<()> {
    let mut answer = request.send()?;
    answer.read_until(MIB)?;
    Ok(())
}

fn whole(request: &Request, body: &Body) -> Result<()> {
    let received = request.fetch()?;
    ensure!(received.status() == 200 && received.whole, "{:?}", received.head);
    ensure!(received.sha256 == body.sha256(), "wrong bytes");
    Ok(())
}

/// Every client has another part, none at the edge of anything.
fn part(request: &Request, body: &Body, number: u64) -> Result<()> {
    let start = (number - 15) * 11 * MIB + number * 1001;
    let end = start + 5 * MIB + number;
    let received = request.clone().range(&format!("{start}-{}", end - 1)).fetch()?;
    ensure!(received.status() == 206 && received.whole, "{:?}", received.head);
    ensure!(
        received.field("Content-Range") == format!("bytes {start}-{}/{LENGTH}", end - 1),
        "{:?}",
        received.head
    );
    ensure!(received.sha256 == body.sha256_of(start..end), "wrong bytes");
    Ok(())
}

#[test]
fn the_first_to_leave_does_not_stop_the_others() -> Result<()> {
    let body = Body::seeded(12, 40 * MIB);
    let origin = Origin::serving("a.iso", &body).slow(20 * MIB).start()?;
    let kith = Kith::start_one("box")?;
    let url = origin.url("a.iso");

    let mut first = Request::by_prefix(&kith, &url).send()?;
    first.read_until(MIB)?;
    let second = Request::by_proxy(&kith, &url).send()?;
    drop(first);
    let received = second.receive()?;

    assert!(received.whole);
    assert_eq!(received.sha256, body.sha256());
    let told = received.field("Cache-Status");
    assert!(told.contains("; collapsed; detail=\"origin="), "{told}");
    assert_eq!((origin.requests().len(), origin.sent()), (1, 40 * MIB));
    Ok(())
}

#[test]
fn a_slow_client_holds_up_nobody_and_no_memory() -> Result<()> {
    let body = Body::seeded(13, 200 * MIB);
    let origin = Origin::serving("a.iso", &body).start()?;
    let kith = Kith::start_one("box")?;
    let url = origin.url("a.iso");
    let small = kith.metrics()?.value("process_resident_memory_bytes");

    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut answer = Request::by_prefix(&kith, &url).narrow(4096).send()?;
        answer.read_until(1)?;
        slow.push(answer);
    }
    let received = Request::by_prefix(&kith, &url).fetch()?;

    assert_eq!(received.sha256, body.sha256());
    let grown = kith.metrics()?.value("process_resident_memory_bytes") - small;
    // Far below what eight copies, or one, would take.
    assert!(grown < 100.0 * 1024.0 * 1024.0, "{grown} bytes more");
    Ok(())
}
