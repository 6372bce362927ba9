//! Real programs through a box: curl, aria2, wget, apt-get and ffmpeg, with what they really do: resuming, parallel
//! ranges, proxies, seeking.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use kith_tests::MIB;
use kith_tests::apt::{self, Apt};
use kith_tests::body::Body;
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;
use kith_tests::place::Place;
use kith_tests::resource::Resource;
use kith_tests::tool::{run, succeed};

const LENGTH: u64 = 64 * MIB;

fn sha256(path: &Path) -> Result<String> {
    Ok(Body::of(std::fs::read(path).with_context(|| path.display().to_string())?).sha256())
}

/// The front of a file, as a broken download leaves it.
fn leave_front(body: &Body, path: &Path, bytes: u64) -> Result<()> {
    Ok(std::fs::write(path, body.part(0..bytes))?)
}

fn through(kith: &Kith, url: &str) -> String {
    format!("http://{}/{url}", kith.clients())
}

#[test]
fn curl_resumes() -> Result<()> {
    let body = Body::seeded(51, LENGTH);
    let origin = Origin::serving("a.iso", &body).start()?;
    let kith = Kith::start_one("box")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.iso");
    leave_front(&body, &file, 20 * MIB + 5)?;

    let url = through(&kith, &origin.url("a.iso"));
    succeed(Command::new("curl").args(["-sSf", "-C", "-", "-o"]).arg(&file).arg(&url))?;

    assert_eq!(sha256(&file)?, body.sha256());
    assert!(origin.sent() <= LENGTH + MIB, "{}", origin.sent());
    Ok(())
}

#[test]
fn wget_continues_through_the_proxy() -> Result<()> {
    let body = Body::seeded(52, LENGTH);
    let origin = Origin::serving("a.iso", &body).start()?;
    let kith = Kith::start_one("box")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.iso");
    leave_front(&body, &file, 30 * MIB + 1)?;

    let mut wget = Command::new("wget");
    wget.args(["--quiet", "--continue", "--tries=1", "-O"]).arg(&file).arg(origin.url("a.iso"));
    succeed(wget.env("http_proxy", format!("http://{}", kith.clients())))?;

    assert_eq!(sha256(&file)?, body.sha256());
    Ok(())
}

#[test]
fn aria2_fetches_with_eight_connections_and_costs_the_origin_one_copy() -> Result<()> {
    let body = Body::seeded(53, LENGTH);
    let origin = Origin::serving("a.iso", &body).slow(80 * MIB).start()?;
    let kith = Kith::start_one("box")?;
    let folder = tempfile::tempdir()?;

    let mut aria = Command::new("aria2c");
    aria.args(["--quiet", "--no-conf", "-x8", "-s8", "-k1M", "--file-allocation=none", "-o", "a.iso", "-d"]);
    succeed(aria.arg(folder.path()).arg(through(&kith, &origin.url("a.iso"))))?;

    assert_eq!(sha256(&folder.path().join("a.iso"))?, body.sha256());
    assert!(origin.sent() <= LENGTH + 2 * MIB, "the origin sent {} bytes", origin.sent());
    Ok(())
}

#[test]
fn curl_asks_what_a_client_may_ask() -> Result<()> {
    let body = Body::seeded(54, 100_000);
    let origin = Origin::serving("a.bin", &body).start()?;
    let kith = Kith::start_one("box")?;
    let folder = tempfile::tempdir()?;
    let url = through(&kith, &origin.url("a.bin"));
    let curl = |arguments: &[&str]| -> Result<String> {
        let file = folder.path().join("out");
        let code = ["-sS", "-w", "%{http_code}", "-o"];
        Ok(run(Command::new("curl").args(code).arg(&file).args(arguments).arg(&url))?.out)
    };

    assert_eq!(curl(&[])?, "200");
    assert_eq!(curl(&["-I"])?, "200");
    assert_eq!(curl(&["-r", "100-199"])?, "206");
    assert_eq!(sha256(&folder.path().join("out"))?, body.sha256_of(100..200));
    assert_eq!(curl(&["-r", "-5"])?, "206");
    assert_eq!(sha256(&folder.path().join("out"))?, body.sha256_of(99_995..100_000));
    assert_eq!(curl(&["-r", "100000-"])?, "416");
    let etag = format!("If-None-Match: \"{}\"", &body.blake3()[..16]);
    assert_eq!(curl(&["-H", &etag])?, "304");
    assert_eq!(curl(&["-H", "If-Range: \"another\"", "-r", "1-2"])?, "200");
    assert_eq!(curl(&["-X", "POST", "-d", "x"])?, "405");
    assert_eq!(origin.sent(), 100_000);
    Ok(())
}

#[test]
fn a_film_is_sought_in_by_ranges() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let film = folder.path().join("film.mp4");
    let mut make = Command::new("ffmpeg");
    make.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=640x360:r=25", "-t", "40", "-c:v", "mpeg4"]);
    // The index lies at the end, as ffmpeg leaves it: a player has to seek for it first.
    succeed(make.args(["-b:v", "4M", "-g", "50"]).arg(&film))?;
    let body = Body::of(std::fs::read(&film)?);
    ensure!(body.length() > 8 * MIB, "the film has {} bytes", body.length());
    let origin =
        Origin::empty().and("film.mp4", Resource::of(body.clone()).field("Content-Type", "video/mp4"));
    let origin = origin.slow(8 * MIB).start()?;
    let kith = Kith::start_one("box")?;
    let url = through(&kith, &origin.url("film.mp4"));

    for seconds in ["35", "3", "20"] {
        let frame = |input: &str| -> Result<String> {
            let mut ffmpeg = Command::new("ffmpeg");
            ffmpeg.args([
                "-v",
                "error",
                "-ss",
                seconds,
                "-i",
                input,
                "-frames:v",
                "1",
                "-f",
                "framemd5",
                "-",
            ]);
            Ok(succeed(&mut ffmpeg)?.out)
        };
        assert_eq!(frame(&url)?, frame(&film.display().to_string())?, "at {seconds} s");
    }
    let said =
        succeed(Command::new("ffprobe").args(["-v", "error", "-show_entries", "format=duration", &url]))?;
    assert!(said.out.contains("duration=40"), "{said:?}");
    assert_eq!(Request::by_prefix(&kith, &origin.url("film.mp4")).fetch()?.sha256, body.sha256());
    Ok(())
}

#[test]
fn apt_get_installs_a_real_package() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let origin = apt::repository(folder.path())?.start()?;
    let kith = Kith::start_one("box")?;
    let proxy = format!("Acquire::http::Proxy=http://{}", kith.clients());
    let apt = Apt::at(folder.path(), &Place::Here, &origin, &proxy)?;

    apt.installs()?;

    let package = origin.requests().into_iter().find(|seen| seen.path().contains(".deb"));
    assert!(package.is_some_and(|seen| seen.head.field("via").is_some()), "it came through the box");
    assert!(kith.metrics()?.count("kith_store_objects") >= 1);
    Ok(())
}
