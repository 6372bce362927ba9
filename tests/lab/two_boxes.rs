//! Two boxes of one household: they find each other, become a pair, and what one holds the other gets over the LAN,
//! verified, while the origin is asked once and sends next to nothing.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::kith::Kith;
use kith_tests::lab::{House, Lab};
use kith_tests::origin::Origin;
use kith_tests::patience::until_true;
use kith_tests::resource::Resource;
use kith_tests::tool::succeed;

const LENGTH: u64 = 200 * MIB;

/// Of each uplink.
const UPLINK_MBIT: u32 = 20;

const GROUP_BYTES: u64 = 16 * 1024;

#[test]
fn boxes_find_each_other_within_three_seconds_of_their_start() -> Result<()> {
    let mut lab = Lab::new()?;
    let (a_spot, b_spot) = (lab.plug_box("a")?, lab.plug_box("b")?);
    let a = Lab::setup("a", &a_spot).start()?;
    let started = Instant::now();
    let b = Lab::setup("b", &b_spot).start()?;

    for (one, other) in [(&a, &b), (&b, &a)] {
        let limit = Duration::from_secs(3).saturating_sub(started.elapsed());
        until_true("the boxes see each other", limit, || {
            one.neighbour(other.name()).is_ok_and(|found| found.is_some())
        })?;
    }
    Ok(())
}

#[test]
fn a_neighbour_delivers_what_the_origin_need_not() -> Result<()> {
    let body = Body::seeded(61, LENGTH);
    let house = House::paired(Origin::serving("a.iso", &body))?;
    house.fill_a("a.iso")?;
    house.lab.shape_uplinks(UPLINK_MBIT)?;

    let received = house.request(&house.b, "a.iso").fetch()?;

    assert!(received.whole);
    assert_eq!(received.sha256, body.sha256());
    let mbit = u128::from(LENGTH) * 8 / received.took.as_micros().max(1);
    assert!(mbit >= u128::from(10 * UPLINK_MBIT), "{mbit} Mbit/s, {:?}", received.took);
    let asked = house.origin.requests_from(house.b_spot.uplink.context("b has an uplink")?);
    // While less than half a MiB came of it, it may be looked at once more.
    assert!(asked.len() <= 2, "{asked:?}");
    assert!(house.sent_to_b() <= LENGTH / 50, "the origin sent {} bytes to b", house.sent_to_b());

    let metrics =
        house.b.wait_metrics("all bytes served are counted", Duration::from_secs(20), |metrics| {
            ["origin", "neighbour", "store"].map(|source| metrics.served(source)).iter().sum::<u64>()
                == received.bytes
        })?;
    assert!(metrics.served("neighbour") >= LENGTH / 50 * 49, "{metrics:?}");
    let proven = house.b.status()?["groups_proven"].as_u64().context("groups_proven")?;
    let wanted = (LENGTH - house.sent_to_b()) / GROUP_BYTES;
    assert!(proven >= wanted, "{proven} groups were proven, {wanted} came from a");
    let given = house.a.metrics()?.count("kith_neighbour_bytes_total{direction=\"out\"}");
    assert!(given >= metrics.served("neighbour"), "a counts {given} bytes given");

    house.b.wait_stored(1)?;
    let again = house.request(&house.b, "a.iso").fetch()?;
    assert_eq!(again.sha256, body.sha256());
    assert!(again.field("Cache-Status").starts_with("kith; hit"), "{}", again.field("Cache-Status"));
    Ok(())
}

/// The second box did not fetch it from its origin and cannot sign that it did; but it has computed the digest that the
/// origin names, and that anybody can check.
#[test]
fn what_a_neighbour_gave_is_passed_on_to_the_next() -> Result<()> {
    let body = Body::seeded(62, 32 * MIB);
    let mut house = House::paired(Origin::empty().and("a.iso", Resource::of(body.clone()).with_digest()))?;
    let c_spot = house.lab.plug_box("c")?;
    house.fill_a("a.iso")?;
    assert_eq!(house.request(&house.b, "a.iso").fetch()?.sha256, body.sha256());
    house.b.wait_stored(1)?;
    house.a.terminate()?;
    let c = Lab::setup("c", &c_spot).start()?;
    until_true("b and c see each other", Duration::from_secs(15), || {
        c.neighbour("b").is_ok_and(|found| found.is_some())
    })?;
    kith_tests::pairing::pair(&house.b, &c)?;
    until_true("b and c are connected", Duration::from_secs(15), || {
        c.neighbour("b").ok().flatten().is_some_and(|view| view["state"] == "connected")
    })?;
    house.lab.shape_uplinks(UPLINK_MBIT)?;

    let received = house.request(&c, "a.iso").fetch()?;

    assert_eq!(received.sha256, body.sha256());
    assert!(c.metrics()?.served("neighbour") >= 24 * MIB, "{:?}", c.metrics()?);
    Ok(())
}

/// What a client is pointed to in the answer to a question about `path`.
fn links(house: &House, path: &str) -> Result<Vec<String>> {
    let answer = house.request(&house.b, path).method("HEAD").send()?;
    let links = answer.head.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("link"));
    Ok(links.map(|(_, value)| value.clone()).collect())
}

/// aria2 knows nothing of boxes: it is given one box's URL, and what that box answers tells it the rest.
#[test]
fn aria2_downloads_from_both_boxes_at_once_by_the_links_of_one() -> Result<()> {
    let body = Body::seeded(66, 64 * MIB);
    let mut house = House::paired(Origin::serving("a.iso", &body))?;
    house.fill_a("a.iso")?;
    house.request(&house.b, "a.iso").fetch()?;
    house.b.wait_stored(1)?;
    let door = format!("<http://{}/sha256/", house.a.clients());
    let is_told = |links: &[String]| links.iter().any(|link| link.starts_with(&door));
    until_true("b tells that a holds it", Duration::from_secs(15), || {
        links(&house, "a.iso").is_ok_and(|links| is_told(&links))
    })?;
    let given = |kith: &Kith| Ok::<_, anyhow::Error>(kith.metrics()?.served("store"));
    let before = [given(&house.a)?, given(&house.b)?];
    let sent = house.origin.sent();
    let folder = tempfile::tempdir()?;

    let url = format!("http://{}/{}", house.b.clients(), house.origin.url("a.iso"));
    let mut aria2 = house.client.place.command("aria2c");
    // Slow enough that the second connection is made while there is something left.
    aria2.args(["--no-conf", "--quiet", "-s2", "-x1", "-k1M", "--max-overall-download-limit=20M"]);
    succeed(aria2.args(["--file-allocation=none", "-o", "a.iso", "-d"]).arg(folder.path()).arg(&url))?;

    assert_eq!(Body::of(std::fs::read(folder.path().join("a.iso"))?).sha256(), body.sha256());
    let (by_a, by_b) = (given(&house.a)? - before[0], given(&house.b)? - before[1]);
    assert!(by_a >= 8 * MIB && by_b >= 8 * MIB, "a gave {by_a} bytes, b {by_b}");
    assert_eq!(house.origin.sent(), sent, "the origin need not send any of it again");

    let described = house.request(&house.b, "a.iso?kith=meta4").send()?.text()?;
    assert!(described.contains(&format!("\">{}", &door[1..])), "{described}");

    // What was heard with the download is forgotten; a hit asks again, in the background.
    house.b.restart()?;
    house.wait_connected()?;
    until_true("b has asked who else holds it", Duration::from_secs(60), || {
        links(&house, "a.iso").is_ok_and(|links| is_told(&links))
    })?;
    Ok(())
}

#[test]
fn a_box_that_lets_nobody_else_in_is_not_told_of() -> Result<()> {
    let body = Body::seeded(67, 8 * MIB);
    let mut lab = Lab::new()?;
    let (a_spot, b_spot, client) = (lab.plug_box("a")?, lab.plug_box("b")?, lab.plug_client()?);
    let (place, address) = lab.origin();
    let origin = Origin::serving("a.iso", &body).at(&place, address).start()?;
    // The client, and for the test's own questions the box itself.
    let allowed = format!("[\"{}/32\", \"{}/32\", \"127.0.0.0/8\"]", client.address, a_spot.address);
    let a = Lab::setup("a", &a_spot).set("clients.allow", &allowed).start()?;
    let b = Lab::setup("b", &b_spot).start()?;
    let house = House { a, b, origin, a_spot, b_spot, client, lab };
    until_true("b sees a", Duration::from_secs(15), || {
        house.b.neighbour("a").is_ok_and(|found| found.is_some())
    })?;
    kith_tests::pairing::pair(&house.a, &house.b)?;
    house.wait_connected()?;
    house.fill_a("a.iso")?;
    // Else the origin may be done before the neighbour was asked.
    house.lab.shape_uplinks(UPLINK_MBIT)?;

    assert_eq!(house.request(&house.b, "a.iso").fetch()?.sha256, body.sha256());

    house.b.wait_stored(1)?;
    assert!(house.b.metrics()?.served("neighbour") > 0, "a held it and said so");
    let links = links(&house, "a.iso")?;
    assert!(links.iter().any(|link| link.contains(&house.b.clients().to_string())), "{links:?}");
    assert!(!links.iter().any(|link| link.contains(&house.a.clients().to_string())), "{links:?}");
    Ok(())
}

#[test]
fn a_pair_survives_a_restart_and_ends_when_unpaired() -> Result<()> {
    let (first, second) = (Body::seeded(63, 16 * MIB), Body::seeded(64, 16 * MIB));
    let script = Origin::serving("first", &first);
    let script = script.and("second", Resource::of(second.clone()));
    let mut house = House::paired(script)?;
    house.fill_a("first")?;
    house.fill_a("second")?;
    house.lab.shape_uplinks(UPLINK_MBIT)?;
    house.a.restart()?;
    house.b.restart()?;
    house.wait_connected()?;

    assert_eq!(house.request(&house.b, "first").fetch()?.sha256, first.sha256());
    let given = house.a.metrics()?.count("kith_neighbour_bytes_total{direction=\"out\"}");
    assert!(given >= 8 * MIB, "{given} bytes came from a");

    let said = house.a.cli(["unpair", "b"])?;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(house.request(&house.b, "second").fetch()?.sha256, second.sha256());
    let later = house.a.metrics()?.count("kith_neighbour_bytes_total{direction=\"out\"}");
    assert_eq!(later, given, "a box that was unpaired gets nothing more");
    Ok(())
}

#[test]
fn small_files_are_never_asked_for_next_door() -> Result<()> {
    let body = Body::seeded(65, 3 * MIB);
    let house = House::paired(Origin::serving("small", &body))?;
    house.fill_a("small")?;

    assert_eq!(house.request(&house.b, "small").fetch()?.sha256, body.sha256());

    assert_eq!(house.sent_to_b(), 3 * MIB);
    assert_eq!(house.a.metrics()?.count("kith_neighbour_bytes_total{direction=\"out\"}"), 0);
    Ok(())
}

#[test]
fn what_no_box_holds_nobody_is_asked_for() -> Result<()> {
    let (held, missed) = (Body::seeded(66, 8 * MIB), Body::seeded(67, 8 * MIB));
    let house = House::paired(Origin::serving("held", &held).and("missed", Resource::of(missed.clone())))?;
    let finds = |outcome: &str| -> Result<u64> {
        Ok(house.b.metrics()?.count(&format!("kith_neighbour_finds_total{{outcome=\"{outcome}\"}}")))
    };

    assert_eq!(house.request(&house.b, "missed").fetch()?.sha256, missed.sha256());
    assert_eq!((finds("asked")?, finds("spared")?), (0, 1));

    house.fill_a("held")?;
    assert_eq!(house.request(&house.b, "held").fetch()?.sha256, held.sha256());
    assert_eq!((finds("asked")?, finds("false_hit")?), (1, 0));
    assert!(house.b.metrics()?.served("neighbour") > 0, "{:?}", house.b.metrics()?);
    let view = house.b.neighbour("a")?.context("a is there")?;
    assert_eq!(view["filter"]["names"], 1, "{view}");
    Ok(())
}

/// A box that a site refused a file tells the other, which then shares it no more before the site has spoken to it.
#[test]
fn what_a_site_took_back_from_one_box_the_other_shares_no_more() -> Result<()> {
    let body = Body::seeded(68, 8 * MIB);
    // With its digest b can vouch for what it got from a.
    let house = House::paired(Origin::empty().and("a.iso", Resource::of(body.clone()).with_digest()))?;
    house.fill_a("a.iso")?;
    assert_eq!(house.request(&house.b, "a.iso").fetch()?.sha256, body.sha256());
    house.b.wait_stored(1)?;
    let shares = |kith: &Kith| -> Result<bool> {
        let trail = kith.ask(&format!("/api/v1/explain?url={}", house.origin.url("a.iso")))?;
        let stored = trail["stored"].as_array().cloned().unwrap_or_default();
        let verdicts = stored.iter().flat_map(|one| one["sharing"].as_array().cloned().unwrap_or_default());
        Ok(verdicts.into_iter().any(|verdict| verdict["with"] == "mine" && verdict["allowed"] == true))
    };
    assert!(shares(&house.a)? && shares(&house.b)?);

    house.origin.change("a.iso", Resource::refusal(410, "Gone"));
    let refused = house.request(&house.a, "a.iso").field("Cache-Control", "no-cache").fetch()?;
    assert_eq!(refused.status(), 410);

    until_true("b shares it no more", Duration::from_secs(20), || {
        shares(&house.b).is_ok_and(|shares| !shares)
    })?;
    assert_eq!(house.request(&house.b, "a.iso").fetch()?.status(), 410, "b asks before it serves it");
    Ok(())
}
