//! The shelf outlives its index, its disk's moods and its own size.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::client::Request;
use kith_tests::kith::{Kith, directory_bytes};
use kith_tests::origin::Origin;
use kith_tests::resource::Resource;
use kith_tests::tool;

/// Three files, one of them small enough to lie in a record.
fn bodies() -> Vec<Body> {
    vec![Body::seeded(91, 7 * MIB + 1), Body::seeded(92, MIB), Body::seeded(93, 1000)]
}

fn origin(bodies: &[Body]) -> Result<Origin> {
    let numbered = (0..).zip(bodies);
    let script = numbered.fold(Origin::empty(), |script, (number, body): (u32, &Body)| {
        script.and(&number.to_string(), Resource::of(body.clone()))
    });
    Ok(script.start()?)
}

fn ids(kith: &Kith) -> Result<BTreeSet<String>> {
    let answer = kith.ask("/api/v1/objects")?;
    let objects = answer["objects"].as_array().context("a list")?;
    Ok(objects.iter().filter_map(|object| object["id"].as_str().map(str::to_owned)).collect())
}

fn index(kith: &Kith) -> PathBuf {
    let data = kith.data();
    [data.join("index.redb"), data.join("store/index.redb")]
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or(data)
}

fn check_rebuilt(spoil: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let bodies = bodies();
    let origin = origin(&bodies)?;
    let mut kith = Kith::start_one("box")?;
    for (number, body) in (0..).zip(&bodies) {
        let number: u32 = number;
        assert_eq!(
            Request::by_prefix(&kith, &origin.url(&number.to_string())).fetch()?.sha256,
            body.sha256()
        );
    }
    kith.wait_stored(3)?;
    let before = ids(&kith)?;
    kith.terminate()?;
    spoil(&index(&kith))?;

    kith.start()?;

    assert_eq!(ids(&kith)?, before);
    for (number, body) in (0..).zip(&bodies) {
        let number: u32 = number;
        let received = Request::by_prefix(&kith, &origin.url(&number.to_string())).fetch()?;
        assert_eq!(received.sha256, body.sha256());
        assert!(received.field("Cache-Status").starts_with("kith; hit"), "{:?}", received.head);
    }
    let sent: u64 = bodies.iter().map(Body::length).sum();
    assert_eq!(origin.sent(), sent, "nothing was fetched again");
    Ok(())
}

#[test]
fn a_missing_index_is_rebuilt() -> Result<()> {
    check_rebuilt(|index| Ok(std::fs::remove_file(index)?))
}

#[test]
fn an_index_full_of_noise_is_rebuilt() -> Result<()> {
    check_rebuilt(|index| {
        let length = std::fs::metadata(index)?.len();
        Ok(std::fs::write(index, Body::seeded(94, length).part(0..length))?)
    })
}

#[test]
fn an_index_with_flipped_bits_is_rebuilt() -> Result<()> {
    check_rebuilt(|index| {
        let mut bytes = std::fs::read(index)?;
        let length = bytes.len();
        for at in (64..length).step_by(997) {
            bytes[at] ^= 1 << (at % 8);
        }
        Ok(std::fs::write(index, bytes)?)
    })
}

#[test]
fn an_index_that_was_cut_short_is_rebuilt() -> Result<()> {
    check_rebuilt(|index| {
        let file = std::fs::OpenOptions::new().write(true).open(index)?;
        Ok(file.set_len(file.metadata()?.len() / 3)?)
    })
}

#[test]
fn the_shelf_stays_within_its_size_and_keeps_what_is_pinned() -> Result<()> {
    const FILES: u64 = 20;
    let bodies: Vec<Body> = (0..FILES).map(|number| Body::seeded(950 + number, 5 * MIB)).collect();
    let origin = origin(&bodies)?;
    let kith = Kith::named("box").set("store.size", "\"40MiB\"").set("store.reserve", "\"1MiB\"").start()?;
    let url = |number: usize| origin.url(&number.to_string());
    assert!(Request::by_prefix(&kith, &url(0)).fetch()?.whole);
    kith.wait_stored(1)?;
    let said = kith.cli(["pin", &url(0)])?;
    assert_eq!(said.code, 0, "{said:?}");

    for (number, body) in bodies.iter().enumerate().skip(1) {
        assert_eq!(Request::by_prefix(&kith, &url(number)).fetch()?.sha256, body.sha256());
    }

    kith.wait_metrics("room on the shelf", Duration::from_secs(10), |metrics| {
        metrics.count("kith_store_bytes") <= 40 * MIB
    })?;
    assert!(directory_bytes(&kith.data()) <= 60 * MIB, "{} bytes on disk", directory_bytes(&kith.data()));
    let ids = ids(&kith)?;
    assert!(ids.contains(&bodies[0].blake3()), "the pinned one stays");
    assert!(ids.len() >= 4 && ids.len() < 9, "{} objects", ids.len());
    Ok(())
}

#[test]
fn what_is_purged_is_gone() -> Result<()> {
    let bodies = bodies();
    let origin = origin(&bodies)?;
    let kith = Kith::start_one("box")?;
    let url = origin.url("0");
    assert!(Request::by_prefix(&kith, &url).fetch()?.whole);
    kith.wait_stored(1)?;

    let said = kith.cli(["purge", &url])?;
    assert_eq!(said.code, 0, "{said:?}");

    assert_eq!(ids(&kith)?.len(), 0);
    assert_eq!(kith.cli(["purge", &url])?.code, 3, "a second time there is nothing");
    assert_eq!(Request::by_prefix(&kith, &url).fetch()?.sha256, bodies[0].sha256());
    assert_eq!(origin.sent(), 2 * bodies[0].length());
    Ok(())
}

#[test]
fn two_boxes_do_not_share_a_shelf() -> Result<()> {
    let kith = Kith::start_one("box")?;
    let said = kith.cli(["run"])?;
    assert_ne!(said.code, 0, "{said:?}");
    assert!(kith.status().is_ok(), "the first one goes on");
    Ok(())
}

#[test]
fn a_body_that_outgrows_the_shelf_reaches_its_client_past_it() -> Result<()> {
    let body = Body::seeded(990, 24 * MIB);
    let origin = Origin::empty().and("chunked", Resource::of(body.clone()).chunked()).start()?;
    let kith = Kith::named("box").set("store.size", "\"16MiB\"").set("store.reserve", "\"1MiB\"").start()?;

    let received = Request::by_prefix(&kith, &origin.url("chunked")).fetch()?;

    assert!(received.whole);
    assert_eq!(received.sha256, body.sha256());
    assert_eq!((origin.requests().len(), origin.sent()), (1, body.length()));
    assert!(ids(&kith)?.is_empty(), "nothing of it is kept");
    Ok(())
}

/// A disk of its own for a box, of so many bytes.
struct Disk(PathBuf);

impl Disk {
    fn at(path: PathBuf, bytes: u64) -> Result<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "none"]).arg(&path);
        tool::succeed(&mut mount)?;
        Ok(Self(path))
    }

    /// Somebody else takes all that is left.
    fn fill(&self) -> Result<()> {
        let mut file = std::fs::File::create(self.0.join("others"))?;
        let piece = vec![0; 64 * 1024];
        loop {
            match file.write_all(&piece) {
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                written => written?,
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The box may run still.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_fills_up_under_a_download_does_not_break_it() -> Result<()> {
    let body = Body::seeded(991, 20 * MIB);
    let origin = Origin::serving("a.iso", &body).slow(4 * MIB).start()?;
    let setup = Kith::named("box").set("store.size", "\"48MiB\"").set("store.reserve", "\"1MiB\"");
    let mut kith = setup.start()?;
    kith.terminate()?;
    let disk = Disk::at(kith.data(), 64 * MIB)?;
    kith.start()?;

    let url = origin.url("a.iso");
    let received = std::thread::scope(|scope| {
        let request = Request::by_prefix(&kith, &url);
        let client = scope.spawn(move || request.fetch());
        origin.wait_sent(4 * MIB, Duration::from_secs(30))?;
        disk.fill()?;
        origin.set_rate(None);
        client.join().map_err(|_| anyhow::anyhow!("the client panicked"))?.context("the download")
    })?;

    assert!(received.whole, "{:?}", received.head);
    assert_eq!(received.sha256, body.sha256());
    assert_eq!((origin.requests().len(), origin.sent()), (1, body.length()));
    assert!(ids(&kith)?.is_empty(), "nothing of it is kept");
    Ok(())
}
