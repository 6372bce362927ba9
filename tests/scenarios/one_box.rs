//! One box between a client and an origin: the bytes are right, they come at once, and what is stored stays.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;
use kith_tests::resource::Resource;

/// What may be sent twice around a crash: what the origin's and the box's buffers held, and what the box had not
/// filed yet.
const LOST_BYTES_MAX: u64 = 24 * MIB;

#[test]
fn a_file_comes_right_by_prefix_and_by_proxy_and_again_without_the_origin() -> Result<()> {
    let (first, second) = (Body::seeded(1, 300 * MIB), Body::seeded(2, 300 * MIB));
    let script = Origin::empty().and("a.iso", Resource::of(first.clone()).stale_at_once());
    let mut origin = script.and("b.iso", Resource::of(second.clone()).stale_at_once()).start()?;
    let kith = Kith::start_one("box")?;
    let (a, b) = (origin.url("a.iso"), origin.url("b.iso"));

    let cold =
        [(Request::by_prefix(&kith, &a).fetch()?, &first), (Request::by_proxy(&kith, &b).fetch()?, &second)];
    for (received, body) in cold {
        assert_eq!((received.status(), received.whole), (200, true));
        assert_eq!(received.sha256, body.sha256());
        let told = received.field("Cache-Status");
        assert!(told.starts_with("kith; fwd=uri-miss") && told.contains("stored"), "{told}");
    }
    assert_eq!(origin.sent(), 600 * MIB);

    origin.stop();
    let warm =
        [(Request::by_proxy(&kith, &a).fetch()?, &first), (Request::by_prefix(&kith, &b).fetch()?, &second)];
    for (received, body) in warm {
        assert_eq!((received.status(), received.whole), (200, true));
        assert_eq!(received.sha256, body.sha256());
        let told = received.field("Cache-Status");
        assert!(
            told.contains("kith; hit") && told.contains("fwd=stale") && told.contains("offline"),
            "{told}"
        );
    }
    let metrics = kith.wait_metrics("600 MiB from the store", Duration::from_secs(20), |metrics| {
        metrics.served("store") == 600 * MIB
    })?;
    assert_eq!(metrics.served("origin"), 600 * MIB);
    assert_eq!(metrics.count("kith_store_objects"), 2);
    Ok(())
}

#[test]
fn the_first_byte_is_at_most_50_ms_behind_the_origins() -> Result<()> {
    let mut script = Origin::empty().slow(20 * MIB);
    for number in 0..5 {
        script = script.and(&format!("{number}"), Resource::of(Body::seeded(number, 8 * MIB)));
    }
    let origin = script.start()?;
    let kith = Kith::start_one("box")?;

    let mut delays = Vec::new();
    for number in 0..5 {
        let url = origin.url(&number.to_string());
        let received = Request::by_prefix(&kith, &url).fetch()?;
        assert!(received.whole);
        let there = received.first_byte_at.context("a byte came")?;
        let sent = origin.requests().last().and_then(|seen| seen.first_byte_at).context("a byte was sent")?;
        delays.push(there.saturating_duration_since(sent));
    }
    delays.sort();
    assert!(delays[2] < Duration::from_millis(50), "{delays:?}");
    Ok(())
}

#[test]
fn after_a_kill_halfway_only_the_rest_is_fetched() -> Result<()> {
    let body = Body::seeded(3, 300 * MIB);
    let origin = Origin::serving("a.iso", &body).slow(100 * MIB).start()?;
    let mut kith = Kith::start_one("box")?;
    let url = origin.url("a.iso");

    let mut half = Request::by_prefix(&kith, &url).send()?;
    half.read_until(150 * MIB)?;
    kith.kill()?;
    drop(half);
    kith.start()?;
    let received = Request::by_prefix(&kith, &url).fetch()?;

    assert!(received.whole);
    assert_eq!(received.sha256, body.sha256());
    assert!(origin.sent() <= 300 * MIB + LOST_BYTES_MAX, "the origin sent {} MiB", origin.sent() / MIB);
    let requests = origin.requests();
    let rest = requests.last().context("the origin was asked")?;
    assert!(rest.head.field("range").is_some(), "{:?}", rest.head);
    assert!(rest.head.field("if-range").is_some(), "{:?}", rest.head);
    Ok(())
}

#[test]
fn after_a_restart_a_hit_costs_the_origin_no_more_than_the_touch() -> Result<()> {
    let body = Body::seeded(4, 64 * MIB);
    let origin = Origin::serving("a.iso", &body).start()?;
    let mut kith = Kith::start_one("box")?;
    let url = origin.url("a.iso");
    assert!(Request::by_prefix(&kith, &url).fetch()?.whole);
    kith.restart()?;

    let received = Request::by_proxy(&kith, &url).fetch()?;

    assert_eq!(received.sha256, body.sha256());
    assert!(received.field("Cache-Status").starts_with("kith; hit"), "{}", received.field("Cache-Status"));
    origin.wait_requests(2, Duration::from_secs(20)).context("the touch")?;
    let touch = &origin.requests()[1];
    assert!(touch.head.field("if-none-match").is_some(), "{:?}", touch.head);
    assert_eq!((touch.status, origin.sent()), (304, 64 * MIB));
    Ok(())
}

#[test]
fn what_is_stored_can_be_had_by_its_hashes() -> Result<()> {
    let body = Body::seeded(5, 5 * MIB + 17);
    let origin = Origin::serving("a.iso", &body).start()?;
    let kith = Kith::start_one("box")?;
    assert!(Request::by_prefix(&kith, &origin.url("a.iso")).fetch()?.whole);

    kith.wait_stored(1)?;
    for path in [format!("/b3/{}", body.blake3()), format!("/sha256/{}", body.sha256())] {
        let received = Request::own(&kith, &path).fetch()?;
        assert_eq!((received.status(), received.sha256.clone()), (200, body.sha256()), "{path}");
        assert_eq!(received.field("Repr-Digest"), body.repr_digest(), "{path}");
        let part = Request::own(&kith, &path).range("100-20099").fetch()?;
        assert_eq!((part.status(), part.sha256.clone()), (206, body.sha256_of(100..20100)), "{path}");
    }
    assert_eq!(origin.requests().len(), 1);
    Ok(())
}

#[test]
fn a_file_can_be_had_by_the_command_line() -> Result<()> {
    let body = Body::seeded(6, 20 * MIB);
    let origin = Origin::serving("a.iso", &body).start()?;
    let kith = Kith::start_one("box")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.iso");

    let said = kith.cli(["get", &origin.url("a.iso"), "-o", &file.display().to_string(), "--json"])?;

    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(Body::of(std::fs::read(&file)?).sha256(), body.sha256());
    kith.wait_stored(1)
}

#[test]
fn a_box_asked_to_end_does_so_with_code_0() -> Result<()> {
    let mut kith = Kith::start_one("box")?;
    let status = kith.terminate()?;
    assert_eq!(status.code(), Some(0));
    Ok(())
}
