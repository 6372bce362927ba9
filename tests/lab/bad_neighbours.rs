//! Neighbours that stop, freeze, trickle, flip bits or sign what is not so: the client gets the right bytes in little
//! more time than without them, and the box remembers whose fault it was.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::client::Received;
use kith_tests::lab::House;
use kith_tests::origin::Origin;
use kith_tests::patience::until;
use kith_tests::resource::Resource;

const LENGTH: u64 = 48 * MIB;

/// A file takes 4 s over it.
const UPLINK_MBIT: u32 = 100;

/// How much of the file the client has when its neighbour goes.
const HALFWAY: u64 = 16 * MIB;

/// A pair; the first box holds `a.iso`, nobody holds `alone.iso`, and the uplinks are slow.
fn house(body: &Body) -> Result<House> {
    let alone = Resource::of(Body::seeded(1000, LENGTH));
    let house = House::paired(Origin::serving("a.iso", body).and("alone.iso", alone))?;
    house.fill_a("a.iso")?;
    house.lab.shape_uplinks(UPLINK_MBIT)?;
    Ok(house)
}

/// How long a file of the same length takes that no neighbour holds.
fn time_alone(house: &House) -> Result<Duration> {
    let received = house.request(&house.b, "alone.iso").fetch()?;
    ensure!(received.whole, "the origin alone: {:?}", received.head);
    Ok(received.took)
}

fn check(received: &Received, body: &Body, alone: Duration) {
    assert!(received.whole, "{} bytes", received.bytes);
    assert_eq!(received.sha256, body.sha256());
    assert!(received.took <= alone.mul_f64(1.5), "took {:?}, alone {alone:?}", received.took);
}

#[test]
fn a_neighbour_that_is_killed_halfway_costs_no_bytes_and_little_time() -> Result<()> {
    let body = Body::seeded(81, LENGTH);
    let mut house = house(&body)?;
    let alone = time_alone(&house)?;

    let mut answer = house.request(&house.b, "a.iso").narrow(64 * 1024).send()?;
    answer.read_until(HALFWAY)?;
    house.a.kill()?;

    check(&answer.receive()?, &body, alone);
    Ok(())
}

#[test]
fn a_neighbour_that_freezes_halfway_costs_no_bytes_and_little_time() -> Result<()> {
    let body = Body::seeded(82, LENGTH);
    let house = house(&body)?;
    let alone = time_alone(&house)?;

    let mut answer = house.request(&house.b, "a.iso").narrow(64 * 1024).send()?;
    answer.read_until(HALFWAY)?;
    house.a.freeze()?;

    check(&answer.receive()?, &body, alone);
    house.a.thaw()?;
    Ok(())
}

#[test]
fn a_neighbour_whose_cable_is_pulled_costs_no_bytes_and_little_time() -> Result<()> {
    let body = Body::seeded(83, LENGTH);
    let house = house(&body)?;
    let alone = time_alone(&house)?;

    let mut answer = house.request(&house.b, "a.iso").narrow(64 * 1024).send()?;
    answer.read_until(HALFWAY)?;
    house.lab.unplug("a")?;

    check(&answer.receive()?, &body, alone);
    Ok(())
}

/// The first box was fooled by its origin, and signs in good faith what is not so: the same name, the same validator,
/// the same length, other bytes. The second box learns the true digest from its own origin.
#[test]
fn a_false_claim_is_found_out_by_the_origins_digest() -> Result<()> {
    let (truth, lie) = (Body::seeded(84, LENGTH), Body::seeded(85, LENGTH));
    let mut house = house(&lie)?;
    let alone = time_alone(&house)?;
    let etag = format!("\"{}\"", &lie.blake3()[..16]);
    house.origin.change("a.iso", Resource::of(truth.clone()).etag(&etag).with_digest());

    let received = house.request(&house.b, "a.iso").fetch()?;

    // A client that is told bytes as they come may have some of the lie; then its transfer is incomplete.
    if received.whole {
        check(&received, &truth, alone);
    }
    let again = house.request(&house.b, "a.iso").fetch()?;
    assert!(again.whole);
    assert_eq!(again.sha256, truth.sha256());
    let view = until("a is quarantined", Duration::from_secs(20), || {
        house.b.neighbour("a").ok().flatten().filter(|view| view["state"] == "quarantined")
    })?;
    assert_ne!(view["reason"], "", "{view}");
    let said = house.b.cli(["neighbours"])?;
    assert!(said.out.contains("quarantined"), "{said:?}");
    // What it signed is kept, with what shows that it is a lie, and outlives a restart.
    let evidence = view["evidence"].clone();
    assert!(evidence["said"].as_str().is_some_and(|said| said.contains(&lie.blake3())), "{view}");
    assert!(!evidence["truth"].as_str().unwrap_or_default().is_empty(), "{view}");
    let signature = evidence["signature"].as_str().unwrap_or_default();
    assert!(signature.len() == 128 && said.out.contains(signature), "{view} {said:?}");
    house.b.restart()?;
    assert_eq!(house.b.neighbour("a")?.map(|view| view["evidence"].clone()), Some(evidence));
    assert!(received.whole, "under a digest the rest is held back until it checks: {} bytes", received.bytes);
    Ok(())
}

/// Takes the place of the first box, with its key and its pairs.
struct Liar(Child);

impl Liar {
    fn start(house: &mut House, body: &Body, manner: &str) -> Result<Self> {
        house.a.terminate()?;
        let mut command = house.a_spot.place.command(kith_tests::binary::liar()?);
        let file = house.a.data().join("lie");
        std::fs::write(&file, body.part(0..body.length()))?;
        command.arg(house.a.data()).arg(format!("{}:8482", house.b_spot.address)).arg(&file);
        command.args([&house.origin.url("a.iso"), &format!("\"{}\"", &body.blake3()[..16]), manner]);
        let liar = Self(command.stdin(Stdio::null()).spawn()?);
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

/// Without this one the others would prove nothing: told the truth, the same program is of use.
#[test]
fn a_liar_that_tells_the_truth_is_a_good_neighbour() -> Result<()> {
    let body = Body::seeded(86, LENGTH);
    let mut house = house(&body)?;
    let _liar = Liar::start(&mut house, &body, "honest")?;

    let received = house.request(&house.b, "a.iso").fetch()?;

    assert_eq!(received.sha256, body.sha256());
    assert!(house.b.metrics()?.served("neighbour") > LENGTH / 2, "{:?}", house.b.metrics()?);
    Ok(())
}

#[test]
fn a_flipped_bit_is_never_served_and_is_held_against_its_sender() -> Result<()> {
    let body = Body::seeded(87, LENGTH);
    let mut house = house(&body)?;
    let alone = time_alone(&house)?;
    let _liar = Liar::start(&mut house, &body, "flip")?;

    // The third time it is banned in the middle of a transfer, which has to end well all the same.
    for _ in 0..3 {
        let received = house.request(&house.b, "a.iso").fetch()?;
        check(&received, &body, alone);
        house.b.wait_stored(2)?;
        let purged = house.b.cli(["purge", &house.origin.url("a.iso")])?;
        assert_eq!(purged.code, 0, "{purged:?}");
    }

    let view = until("a has a strike", Duration::from_secs(20), || {
        let view = house.b.neighbour("a").ok().flatten()?;
        (view["strikes"].as_u64() > Some(0) || view["state"] == "banned").then_some(view)
    })?;
    let metrics = house.b.metrics()?;
    assert!(metrics.count("kith_strikes_total") >= 1, "{view} {metrics:?}");
    assert!(metrics.count("kith_verify_failures_total{source=\"neighbour\"}") >= 1, "{metrics:?}");
    Ok(())
}

#[test]
fn a_trickle_of_a_kibibyte_a_second_holds_nobody_up() -> Result<()> {
    let body = Body::seeded(88, LENGTH);
    let mut house = house(&body)?;
    let alone = time_alone(&house)?;
    let _liar = Liar::start(&mut house, &body, "trickle")?;

    let received = house.request(&house.b, "a.iso").fetch()?;

    check(&received, &body, alone);
    Ok(())
}
