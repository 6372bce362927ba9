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

#[test]
fn the_role_of_another_household_is_refused_with_a_reason() -> Result<()> {
    let house = House::with(Origin::empty())?;
    let window = Window::open(&house.a)?;
    let said = house.b.cli(["pair", "a", &window.code, "--role", "neighbour"])?;
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains("not in this build"), "{said:?}");
    Ok(())
}
