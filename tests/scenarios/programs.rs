//! Real programs through a box: curl, aria2, wget, apt-get and ffmpeg, with what they really do: resuming, parallel
//! ranges, proxies, seeking.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;
use kith_tests::resource::Resource;
use kith_tests::tool::{run, succeed};

const LENGTH: u64 = 64 * MIB;

/// A package with no dependencies and no scripts of its own, so that it installs into an empty root.
const PACKAGE: &str = "fonts-lato";

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
    let (pool, root) = (folder.path().join("pool"), folder.path().join("root"));
    std::fs::create_dir_all(&pool)?;
    download(&pool)?;
    let packages =
        succeed(Command::new("apt-ftparchive").current_dir(folder.path()).args(["packages", "pool"]))?.out;
    let origin = repository(&pool, &packages)?;
    let kith = Kith::start_one("box")?;
    let apt = Apt::at(folder.path(), &origin, &kith)?;

    succeed(&mut apt.command(&["update"]))?;
    succeed(&mut apt.command(&["install", "--yes", PACKAGE]))?;

    let listed = std::fs::read_to_string(root.join("var/lib/dpkg/status"))?;
    assert!(listed.contains(&format!("Package: {PACKAGE}\nStatus: install ok installed")), "{listed}");
    assert!(root.join("usr/share/fonts").exists());
    let package = origin.requests().into_iter().find(|seen| seen.path().contains(".deb"));
    assert!(package.is_some_and(|seen| seen.head.field("via").is_some()), "it came through the box");
    assert!(kith.metrics()?.count("kith_store_objects") >= 1);
    Ok(())
}

/// Fetches the package from the distribution, with lists of the test's own: the machine's may be old or absent.
fn download(pool: &Path) -> Result<()> {
    let lists = tempfile::tempdir()?;
    std::fs::create_dir(lists.path().join("partial"))?;
    let state = format!("Dir::State::lists={}", lists.path().display());
    for words in [&["update"][..], &["download", PACKAGE][..]] {
        let mut command = Command::new("apt-get");
        command.current_dir(pool).args(["-qq", "-o", "APT::Sandbox::User=root", "-o", &state]).args(words);
        succeed(&mut command).context("a real package from the distribution")?;
    }
    Ok(())
}

/// A flat repository of the packages in a folder.
fn repository(pool: &Path, packages: &str) -> Result<Origin> {
    let date = "Sun, 01 Nov 2026 10:00:00 GMT";
    let file = |bytes: Vec<u8>| {
        Resource::of(Body::of(bytes)).last_modified(date).field("Cache-Control", "max-age=60")
    };
    let sums = Body::of(packages.as_bytes().to_vec()).sha256();
    let release = format!("Date: {date}\nSHA256:\n {sums} {} Packages\n", packages.len());
    let mut script = Origin::empty()
        .and("debian/Packages", file(packages.as_bytes().to_vec()))
        .and("debian/Release", file(release.into_bytes()));
    for entry in std::fs::read_dir(pool)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("packages have plain names")?;
        // apt asks for the escaped form of what stands in the index.
        script = script.and(&format!("debian/pool/{name}"), file(std::fs::read(&path)?));
        script =
            script.and(&format!("debian/pool/{}", name.replace('%', "%25")), file(std::fs::read(&path)?));
    }
    Ok(script.start()?)
}

/// The root is empty but for what every package may rely on.
fn dpkg_itself() -> Result<String> {
    let architecture = succeed(Command::new("dpkg").arg("--print-architecture"))?.out;
    Ok(format!(
        "Package: dpkg\nStatus: install ok installed\nMulti-Arch: foreign\nMaintainer: nobody <nobody@example.org>\n\
         Architecture: {architecture}Version: 1.21.22\nDescription: package manager\n\n"
    ))
}

/// apt-get with everything it keeps in one folder.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn at(folder: &Path, origin: &Origin, kith: &Kith) -> Result<Self> {
        let root = folder.join("root");
        for path in
            ["var/lib/dpkg/info", "var/lib/dpkg/updates", "lists/partial", "cache/archives/partial", "etc"]
        {
            std::fs::create_dir_all(root.join(path))?;
        }
        std::fs::write(root.join("var/lib/dpkg/status"), dpkg_itself()?)?;
        let list = root.join("etc/sources.list");
        std::fs::write(&list, format!("deb [trusted=yes] {} ./\n", origin.url("debian")))?;
        let at = |path: &str| root.join(path).display().to_string();
        Ok(Self {
            options: vec![
                format!("Dir::Etc::sourcelist={}", list.display()),
                "Dir::Etc::sourceparts=/dev/null".into(),
                "Dir::Etc::parts=/dev/null".into(),
                format!("Dir::State::lists={}", at("lists")),
                format!("Dir::State::status={}", at("var/lib/dpkg/status")),
                format!("Dir::Cache={}", at("cache")),
                format!("Acquire::http::Proxy=http://{}", kith.clients()),
                format!("DPkg::Options::=--root={}", root.display()),
                "DPkg::Options::=--force-not-root,bad-path".into(),
                "DPkg::Run-Directory=/".into(),
                "APT::Sandbox::User=root".into(),
                "APT::Install-Recommends=false".into(),
            ],
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
        for option in &self.options {
            command.args(["-o", option]);
        }
        command.args(words);
        command
    }
}
