//! The origin replaces a file while it is fetched: a client gets one version whole, or an incomplete transfer; never a
//! mixture, and nothing mixed is stored. Both versions have the same length, so that only their bytes tell.

use anyhow::{Result, ensure};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::client::{Received, Request};
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;
use kith_tests::resource::{Resource, UnderWay};

const LENGTH: u64 = 48 * MIB;

/// Two versions told apart by `ETag`; the second takes the first one's place half-way.
fn turning(under_way: UnderWay) -> Versions {
    let (old, new) = (Body::seeded(41, LENGTH), Body::seeded(42, LENGTH));
    let script = Resource::of(old.clone()).turns(LENGTH / 2, Resource::of(new.clone()), under_way);
    Versions { old, new, script }
}

struct Versions {
    old: Body,
    new: Body,
    script: Resource,
}

impl Versions {
    fn origin(&self) -> Result<Origin> {
        Ok(Origin::empty().and("a.iso", self.script.clone()).slow(80 * MIB).start()?)
    }

    /// Whole and one of them, or broken off and the front of one of them.
    fn check(&self, received: &Received) -> Result<()> {
        let front = 0..received.bytes;
        let one = [&self.old, &self.new].iter().any(|body| body.sha256_of(front.clone()) == received.sha256);
        ensure!(one, "{} bytes of neither version", received.bytes);
        ensure!(
            received.whole == (received.bytes == LENGTH),
            "{} bytes, whole: {}",
            received.bytes,
            received.whole
        );
        Ok(())
    }

    /// What is stored is a version, and has its own hash.
    fn check_store(&self, kith: &Kith) -> Result<()> {
        let objects = kith.ask("/api/v1/objects")?;
        for object in objects["objects"].as_array().into_iter().flatten() {
            let id = object["id"].as_str().unwrap_or_default();
            let body = [&self.old, &self.new].into_iter().find(|body| body.blake3() == id);
            let Some(body) = body else { anyhow::bail!("stored, but neither version: {object}") };
            let received = Request::own(kith, &format!("/b3/{id}")).fetch()?;
            ensure!(received.sha256 == body.sha256(), "{id} holds other bytes");
        }
        Ok(())
    }
}

#[test]
fn a_version_that_breaks_off_is_not_continued_with_another() -> Result<()> {
    let versions = turning(UnderWay::BreakOff);
    let origin = versions.origin()?;
    let kith = Kith::start_one("box")?;

    let first = Request::by_prefix(&kith, &origin.url("a.iso")).fetch()?;
    versions.check(&first)?;
    assert!(!first.whole, "half of the old version was all there was");
    let second = Request::by_prefix(&kith, &origin.url("a.iso")).fetch()?;

    assert!(second.whole);
    assert_eq!(second.sha256, versions.new.sha256());
    versions.check_store(&kith)
}

#[test]
fn a_version_that_goes_on_is_served_whole() -> Result<()> {
    let versions = turning(UnderWay::GoOn);
    let origin = versions.origin()?;
    let kith = Kith::start_one("box")?;

    let first = Request::by_prefix(&kith, &origin.url("a.iso")).fetch()?;

    versions.check(&first)?;
    assert!(first.whole, "the origin delivered all of the old version");
    versions.check_store(&kith)
}

#[test]
fn ranges_around_a_change_are_each_of_one_version() -> Result<()> {
    for under_way in [UnderWay::BreakOff, UnderWay::GoOn] {
        let versions = turning(under_way);
        let origin = versions.origin()?;
        let kith = Kith::start_one("box")?;
        let url = origin.url("a.iso");

        std::thread::scope(|scope| {
            let whole = scope.spawn(|| versions.check(&Request::by_prefix(&kith, &url).fetch()?));
            let parts: Vec<_> = (0..8)
                .map(|number| {
                    let (kith, url, versions) = (&kith, &url, &versions);
                    scope.spawn(move || part(kith, url, versions, number))
                })
                .collect();
            whole.join().expect("clients do not panic")?;
            parts.into_iter().try_for_each(|part| part.join().expect("clients do not panic"))
        })?;
        versions.check_store(&kith)?;
    }
    Ok(())
}

/// A range that crosses where the change happens or lies behind it; it says itself of which version it is.
fn part(kith: &Kith, url: &str, versions: &Versions, number: u64) -> Result<()> {
    let start = LENGTH / 4 + number * 3 * MIB + 77;
    let end = start + 4 * MIB;
    let received = Request::by_prefix(kith, url).range(&format!("{start}-{}", end - 1)).fetch()?;
    if received.status() != 206 {
        // Refusing is right, too, when the version that was asked for is gone.
        ensure!(received.status() >= 500 || received.status() == 200, "{:?}", received.head);
        return if received.status() == 200 { versions.check(&received) } else { Ok(()) };
    }
    let front = start..start + received.bytes;
    let body = match received.field("ETag") {
        etag if etag.contains(&versions.old.blake3()[..16]) => &versions.old,
        etag if etag.contains(&versions.new.blake3()[..16]) => &versions.new,
        other => anyhow::bail!("the ETag is {other}"),
    };
    ensure!(received.sha256 == body.sha256_of(front), "range {number} has bytes of another version");
    Ok(())
}

#[test]
fn a_part_from_before_is_not_completed_with_a_newer_version() -> Result<()> {
    let (old, new) = (Body::seeded(43, LENGTH), Body::seeded(44, LENGTH));
    let date = ["Sun, 01 Nov 2026 10:00:00 GMT", "Mon, 02 Nov 2026 10:00:00 GMT"];
    let script = Origin::empty().and("a.iso", Resource::of(old.clone()).last_modified(date[0]));
    let mut origin = script.slow(80 * MIB).start()?;
    let mut kith = Kith::start_one("box")?;
    let mut half = Request::by_prefix(&kith, &origin.url("a.iso")).send()?;
    half.read_until(30 * MIB)?;
    kith.kill()?;
    drop(half);
    origin.stop();
    origin.change("a.iso", Resource::of(new.clone()).last_modified(date[1]));
    origin.start()?;
    kith.start()?;

    let received = Request::by_prefix(&kith, &origin.url("a.iso")).fetch()?;

    assert!(received.whole);
    assert_eq!(received.sha256, new.sha256());
    Versions { old, new, script: Resource::of(Body::of(*b"")) }.check_store(&kith)
}

#[test]
fn a_file_that_ends_too_early_is_an_incomplete_transfer_and_is_resumed() -> Result<()> {
    let body = Body::seeded(45, LENGTH);
    let origin = Origin::empty().and("a.iso", Resource::of(body.clone()).breaks_after(LENGTH / 2)).start()?;
    let kith = Kith::start_one("box")?;

    let first = Request::by_prefix(&kith, &origin.url("a.iso")).fetch()?;
    // Whether the box takes the rest up by itself or leaves that to the next request, no short answer is ever whole.
    assert_eq!(first.whole, first.sha256 == body.sha256(), "{} bytes", first.bytes);
    origin.change("a.iso", Resource::of(body.clone()));
    let second = Request::by_prefix(&kith, &origin.url("a.iso")).fetch()?;

    assert!(second.whole);
    assert_eq!(second.sha256, body.sha256());
    assert!(origin.sent() <= LENGTH + MIB, "what had come was not fetched again: {} bytes", origin.sent());
    Ok(())
}

#[test]
fn chunks_without_an_end_are_never_a_whole_file() -> Result<()> {
    let body = Body::seeded(46, 3 * MIB);
    let cut = Resource::of(body.clone()).chunked().without_ranges().breaks_after(MIB);
    let origin = Origin::empty().and("cut", cut).and("fine", Resource::of(body.clone()).chunked()).start()?;
    let kith = Kith::start_one("box")?;

    let broken = Request::by_prefix(&kith, &origin.url("cut")).fetch()?;
    let fine = Request::by_prefix(&kith, &origin.url("fine")).fetch()?;

    assert!(!broken.whole, "{:?}", broken.head);
    assert!(fine.whole);
    assert_eq!(fine.sha256, body.sha256());
    kith.wait_stored(1)
}
