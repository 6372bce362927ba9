//! Doors that clients of the house find by themselves: apt by mDNS and on the router, a browser by the PAC. The client
//! has no way out but through the box.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_tests::MIB;
use kith_tests::apt::{self, Apt};
use kith_tests::avahi::Avahi;
use kith_tests::body::Body;
use kith_tests::browser::Browser;
use kith_tests::kith::{Kith, Setup};
use kith_tests::lab::{Lab, Spot};
use kith_tests::origin::{Origin, Script};
use kith_tests::patience::until;
use kith_tests::resource::Resource;
use kith_tests::tool::succeed;

/// A box, a client and an origin. Fields are dropped in this order.
struct Home {
    _kith: Kith,
    origin: Origin,
    client: Spot,
    address: String,
    _lab: Lab,
}

impl Home {
    fn with(script: Script, change: impl FnOnce(Setup) -> Setup) -> Result<Self> {
        let mut lab = Lab::new()?;
        let (spot, client) = (lab.plug_box("a")?, lab.plug_client()?);
        let (place, address) = lab.origin();
        let origin = script.at(&place, address).start()?;
        let kith = change(Lab::setup("a", &spot)).start()?;
        Ok(Self { _kith: kith, origin, client, address: format!("{}:8480", spot.address), _lab: lab })
    }

    /// Everything that the origin was asked came through the box.
    fn all_came_through_the_box(&self) -> Result<()> {
        let requests = self.origin.requests();
        ensure!(!requests.is_empty(), "the origin was asked");
        for seen in requests {
            ensure!(seen.head.field("via").is_some(), "{:?}", seen.head);
        }
        Ok(())
    }
}

/// Waits until both doors are found, at the address and port where they are.
fn finds_the_doors(avahi: &Avahi) -> Result<()> {
    for (kind, txt) in [("_apt_proxy._tcp", ""), ("_http._tcp", "\"path=/\"")] {
        let found = until(kind, LIMIT, || {
            avahi.browse(kind).ok().filter(|found| found.contains(";192.168.77.11;8480;"))
        })?;
        ensure!(found.contains("Kith\\032on\\032a;") && found.contains(txt), "{found}");
    }
    Ok(())
}

/// What a client has as `Acquire::http::Proxy-Auto-Detect`.
fn detector(avahi: &Avahi, folder: &Path) -> Result<PathBuf> {
    let script = format!(
        "#!/bin/sh\ncase $1 in https:*) echo DIRECT; exit ;; esac\n\
         DBUS_SYSTEM_BUS_ADDRESS={} avahi-browse -rtp _apt_proxy._tcp |\n\
         awk -F';' '$1 == \"=\" && $3 == \"IPv4\" {{ print \"http://\" $8 \":\" $9; exit }}'\n",
        avahi.bus()
    );
    let path = folder.join("detect");
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn apt_finds_the_box_by_mdns() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Without a neighbourhood: the doors do not need one.
    let home = Home::with(apt::repository(folder.path())?, |box_| box_.set("neighbours.enabled", "false"))?;
    let place = &home.client.place;
    let avahi = Avahi::start(folder.path(), place, "client")?;
    finds_the_doors(&avahi)?;

    let way = format!("Acquire::http::Proxy-Auto-Detect={}", detector(&avahi, folder.path())?.display());
    Apt::at(folder.path(), place, &home.origin, &way)?.installs()?;

    home.all_came_through_the_box()
}

#[test]
fn a_box_with_neighbours_announces_its_doors_too() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let home = Home::with(Origin::empty(), |box_| box_)?;
    let avahi = Avahi::start(folder.path(), &home.client.place, "client")?;
    finds_the_doors(&avahi)?;
    let boxes = avahi.browse("_kith._udp")?;
    ensure!(boxes.contains(";192.168.77.11;8482;"), "{boxes}");
    Ok(())
}

#[test]
fn auto_apt_proxy_finds_the_box_on_the_router() -> Result<()> {
    let folder = tempfile::tempdir()?;
    apt::download("auto-apt-proxy", folder.path())?;
    let package = std::fs::read_dir(folder.path())?.next().context("a package")??.path();
    succeed(Command::new("dpkg-deb").arg("-x").arg(package).arg(folder.path()))?;
    let home = Home::with(apt::repository(folder.path())?, |box_| {
        box_.set("clients.apt_listen", "[\"[::]:3142\"]").set("clients.announce", "false")
    })?;
    let place = &home.client.place;
    succeed(place.command("ip").args(["route", "add", "default", "via", "192.168.77.11"]))?;
    // No name server: the question for a host called apt-proxy ends at once.
    let resolver = folder.path().join("resolv.conf");
    std::fs::write(&resolver, "nameserver 127.0.0.1\n")?;
    let script = folder.path().join("usr/bin/auto-apt-proxy");
    let detector = folder.path().join("detect");
    let mut text = String::from("#!/bin/sh\n");
    writeln!(
        text,
        "exec unshare -m sh -c 'mount --bind {} /etc/resolv.conf && exec {}'",
        resolver.display(),
        script.display()
    )?;
    std::fs::write(&detector, text)?;
    std::fs::set_permissions(&detector, std::fs::Permissions::from_mode(0o755))?;

    let mut command = place.command(&detector);
    let said = succeed(command.env("AUTO_APT_PROXY_NO_CACHE", "1").env("TMPDIR", folder.path()))?;
    assert_eq!(said.out, "http://192.168.77.11:3142\n");
    let way = format!("Acquire::http::Proxy={}", said.out.trim());
    Apt::at(folder.path(), place, &home.origin, &way)?.installs()?;

    home.all_came_through_the_box()
}

/// A film of half a minute whose index lies at its end, as ffmpeg leaves it.
fn film(folder: &Path) -> Result<Body> {
    let path = folder.join("film.webm");
    let mut make = Command::new("ffmpeg");
    make.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=10", "-t", "30", "-c:v", "libvpx"]);
    make.args(["-deadline", "realtime", "-cpu-used", "8", "-g", "24", "-b:v", "3M", "-minrate", "3M"]);
    succeed(make.arg(&path))?;
    Ok(Body::of(std::fs::read(path)?))
}

/// Seeks, waits for a picture there, and plays on from it.
const SEEK: &str = r#"
(async () => {
  const film = document.querySelector("video"), places = [];
  film.muted = true;
  if (film.readyState < 1) await new Promise(go => film.onloadedmetadata = go);
  for (const place of [25, 3, 15]) {
    film.currentTime = place;
    await new Promise(go => film.onseeked = go);
    const shown = new Promise(go => film.requestVideoFrameCallback((now, frame) => go(frame.mediaTime)));
    await film.play();
    places.push(Math.abs(await shown - place) < 3);
    film.pause();
  }
  return [Math.round(film.duration), film.error, places];
})()
"#;

/// Where the picture stands that is shown, once there is one. No script of a sandboxed page runs, so its events are
/// nobody's.
const PICTURE: &str = "(film => film.seeking || film.readyState < 2 ? null : film.currentTime)(document.querySelector('video'))";

#[test]
fn a_browser_plays_and_saves_through_the_pac() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (film, file) = (film(folder.path())?, Body::seeded(81, 100 * MIB));
    ensure!(film.length() > MIB, "the film has {} bytes", film.length());
    let html =
        |text: &str| Resource::of(Body::of(text.as_bytes().to_vec())).field("Content-Type", "text/html");
    let script = Origin::empty()
        .and("cinema", html("<!doctype html><title>cinema</title><video src=film.webm preload=metadata>"))
        .and("film.webm", Resource::of(film.clone()).field("Content-Type", "video/webm"))
        .and("list", html("<!doctype html><title>list</title><a href=file.iso>file</a>"))
        .and("file.iso", Resource::of(file.clone()).field("Content-Type", "application/octet-stream"));
    let home = Home::with(script.slow(60 * MIB), |box_| box_.set("neighbours.enabled", "false"))?;
    let pac = format!("--proxy-pac-url=http://{}/proxy.pac", home.address);
    let mut browser = Browser::start(&home.client.place, &[&pac])?;

    browser.go(&home.origin.url("cinema"))?;
    assert_eq!(browser.run(SEEK)?, serde_json::json!([30, null, [true, true, true]]));
    assert_eq!(Body::of(browser.save(&home.origin.url("file.iso"))?).sha256(), file.sha256());
    // Again, by a click in a listing behind the prefix: the same file from the shelf.
    browser.go(&format!("http://{}/{}", home.address, home.origin.url("list")))?;
    browser.run("document.querySelector('a').click()")?;
    assert_eq!(Body::of(browser.saved()?).sha256(), file.sha256());
    // And a film in the address bar.
    browser.go(&format!("http://{}/{}", home.address, home.origin.url("film.webm")))?;
    for place in [25, 3, 15] {
        browser.run(&format!("document.querySelector('video').currentTime = {place}"))?;
        until("the film at another place", LIMIT, || browser.run(PICTURE).ok().filter(|at| *at == place))?;
    }

    home.all_came_through_the_box()?;
    let sent = home.origin.sent_for("file.iso");
    assert!(sent <= 101 * MIB, "the origin sent {sent} bytes for one file");
    Ok(())
}

#[test]
fn a_page_by_the_proxy_reaches_nothing_in_the_house() -> Result<()> {
    let page = Resource::of(Body::of(b"<!doctype html><title>evil</title>".to_vec()))
        .field("Content-Type", "text/html");
    let home = Home::with(Origin::empty().and("evil", page), |box_| box_.set("neighbours.enabled", "false"))?;
    let pac = format!("--proxy-pac-url=http://{}/proxy.pac", home.address);
    let reach = format!(
        "fetch('http://{}/', {{mode: 'no-cors'}}).then(() => 'reached', () => 'refused')",
        home.address.replace("8480", "8481")
    );
    // Without the browser's guard the page does reach the admin port: it is the guard that is put back.
    for (guard, expected) in
        [(&[&pac[..]][..], "refused"), (&[&pac, "--disable-features=LocalNetworkAccessChecks"], "reached")]
    {
        let mut browser = Browser::start(&home.client.place, guard)?;
        browser.go(&home.origin.url("evil"))?;
        assert_eq!(browser.run(&reach)?, expected);
    }
    home.all_came_through_the_box()
}
