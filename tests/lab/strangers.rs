//! Who is not a pair gets nothing: an unpaired third box, and a guest with a wrong code.

use std::time::Duration;

use anyhow::Result;
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::lab::{House, Lab};
use kith_tests::origin::Origin;
use kith_tests::pairing::{Window, join};
use kith_tests::patience::until_true;

#[test]
fn an_unpaired_third_box_gets_nothing() -> Result<()> {
    let body = Body::seeded(71, 16 * MIB);
    let mut house = House::paired(Origin::serving("a.iso", &body))?;
    let c_spot = house.lab.plug_box("c")?;
    house.fill_a("a.iso")?;
    let c = Lab::setup("c", &c_spot).start()?;
    until_true("c sees a", Duration::from_secs(15), || c.neighbour("a").is_ok_and(|found| found.is_some()))?;

    let received = house.request(&c, "a.iso").fetch()?;

    assert_eq!(received.sha256, body.sha256());
    let metrics = c.metrics()?;
    assert_eq!((metrics.served("neighbour"), metrics.served("origin")), (0, 16 * MIB), "{metrics:?}");
    assert_eq!(house.a.metrics()?.count("kith_neighbour_bytes_total{direction=\"out\"}"), 0);
    let view = house.a.neighbour("c")?;
    assert!(view.is_none_or(|view| view["role"] == "none"), "c is no neighbour of a");
    Ok(())
}

#[test]
fn a_wrong_code_uses_the_code_up() -> Result<()> {
    let body = Body::seeded(72, 16 * MIB);
    let house = House::with(Origin::serving("a.iso", &body))?;
    house.fill_a("a.iso")?;
    let window = Window::open(&house.a)?;
    let right = window.code.clone();
    let wrong = if right == "12345678" { "87654321" } else { "12345678" };

    let said = join(&house.b, "a", wrong)?;
    assert_ne!(said.code, 0, "{said:?}");
    let ended = window.ended()?;
    assert_ne!(ended, 0, "the window closes without a pair");
    let late = join(&house.b, "a", &right)?;
    assert_ne!(late.code, 0, "a code is good for one guess: {late:?}");

    for (one, other) in [(&house.a, "b"), (&house.b, "a")] {
        let view = one.neighbour(other)?;
        assert!(view.is_none_or(|view| view["role"] == "none"), "nobody was paired");
    }
    assert_eq!(house.request(&house.b, "a.iso").fetch()?.sha256, body.sha256());
    assert_eq!(house.a.metrics()?.count("kith_neighbour_bytes_total{direction=\"out\"}"), 0);
    Ok(())
}

/// Plain http from an address, without a digest: good enough between boxes of one owner, and nobody else's business.
#[test]
fn a_box_of_another_household_is_paired_by_role_and_gets_nothing_that_is_not_for_it() -> Result<()> {
    let body = Body::seeded(73, 16 * MIB);
    let house = House::with(Origin::serving("a.iso", &body))?;
    house.fill_a("a.iso")?;
    let window = Window::open(&house.a)?;
    let said = house.b.cli(["pair", "a", &window.code, "--role", "neighbour"])?;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("as neighbour"), "{said:?}");
    assert_eq!(window.ended()?, 0);
    house.wait_connected()?;
    for (one, other) in [(&house.a, "b"), (&house.b, "a")] {
        assert_eq!(one.neighbour(other)?.map(|view| view["role"].clone()), Some("neighbour".into()));
        let said = one.cli(["neighbours"])?;
        assert!(said.out.contains("neighbour"), "{said:?}");
    }

    assert_eq!(house.request(&house.b, "a.iso").fetch()?.sha256, body.sha256());

    assert_eq!(house.sent_to_b(), 16 * MIB);
    assert_eq!(house.a.metrics()?.count("kith_neighbour_bytes_total{direction=\"out\"}"), 0);
    Ok(())
}
