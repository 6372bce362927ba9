//! Several sources of one file: mirrors that the origin names to the box, and the box that names itself to download
//! tools.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;
use kith_tests::resource::Resource;
use kith_tests::tool::succeed;
use tempfile::TempDir;

const LENGTH: u64 = 32 * MIB;
const PATIENCE: Duration = Duration::from_secs(20);

/// A file with its digest that is said to be at `mirror` too.
fn mirrored(body: &Body, mirror: &Origin) -> Resource {
    let link = format!("<{}>; rel=duplicate; pri=1", mirror.url("copy"));
    Resource::of(body.clone()).with_digest().field("Link", &link)
}

#[test]
fn a_mirror_that_the_origin_names_shares_the_work() -> Result<()> {
    let body = Body::seeded(61, LENGTH);
    let mirror = Origin::serving("copy", &body).slow(8 * MIB).start()?;
    let origin = Origin::empty().and("f", mirrored(&body, &mirror)).slow(8 * MIB).start()?;
    let kith = Kith::start_one("box")?;

    assert_eq!(Request::by_prefix(&kith, &origin.url("f")).fetch()?.sha256, body.sha256());

    assert!(mirror.sent() >= LENGTH / 4, "the mirror sent {}, the origin {}", mirror.sent(), origin.sent());
    assert!(
        origin.sent() <= LENGTH * 3 / 4 + MIB,
        "the mirror sent {}, the origin {}",
        mirror.sent(),
        origin.sent()
    );
    let metrics = kith.metrics()?;
    assert!(metrics.count("kith_bytes_served_total{source=\"mirror\"}") >= LENGTH / 8);
    Ok(())
}

#[test]
fn a_lying_mirror_harms_nobody_and_is_left_alone() -> Result<()> {
    let body = Body::seeded(62, LENGTH);
    let liar = Origin::serving("copy", &Body::seeded(63, LENGTH)).start()?;
    let origin = Origin::empty().and("f", mirrored(&body, &liar)).and("g", mirrored(&body, &liar));
    let origin = origin.slow(16 * MIB).start()?;
    let kith = Kith::start_one("box")?;

    assert_eq!(Request::by_prefix(&kith, &origin.url("f")).fetch()?.sha256, body.sha256());
    liar.wait_requests(1, PATIENCE)?;
    let asked = liar.requests().len();
    assert_eq!(Request::by_prefix(&kith, &origin.url("g")).fetch()?.sha256, body.sha256());
    assert_eq!(liar.requests().len(), asked);
    assert_eq!(kith.metrics()?.count("kith_verify_failures_total{source=\"mirror\"}"), 1);
    Ok(())
}

/// What it sent would be checked only with the whole: all of it would have to come again.
#[test]
fn a_mirror_of_another_version_is_found_out_by_one_group_and_an_honest_one_goes_on() -> Result<()> {
    let body = Body::seeded(64, LENGTH);
    let liar = Origin::serving("copy", &Body::seeded(65, LENGTH)).start()?;
    let honest = Origin::serving("copy", &body).slow(8 * MIB).start()?;
    let links = format!(
        "<{}>; rel=duplicate; pri=1, <{}>; rel=duplicate; pri=2",
        liar.url("copy"),
        honest.url("copy")
    );
    let file = Resource::of(body.clone()).with_digest().field("Link", &links);
    let origin = Origin::empty().and("f", file).slow(8 * MIB).start()?;
    let kith = Kith::start_one("box")?;

    assert_eq!(Request::by_prefix(&kith, &origin.url("f")).fetch()?.sha256, body.sha256());

    assert!(liar.sent() <= MIB, "the liar sent {}", liar.sent());
    let sent = origin.sent() + honest.sent();
    assert!(sent <= LENGTH + LENGTH / 20, "{sent} bytes were sent of {LENGTH}");
    assert!(honest.sent() >= LENGTH / 4, "the honest mirror sent {}", honest.sent());
    assert_eq!(kith.metrics()?.count("kith_verify_failures_total{source=\"mirror\"}"), 1);
    Ok(())
}

/// A box that holds `body`, and the slow origin that it came from.
fn holding(body: &Body) -> Result<(Kith, Origin, TempDir)> {
    let origin = Origin::serving("d/a.iso", body).start()?;
    let kith = Kith::start_one("box")?;
    Request::by_prefix(&kith, &origin.url("d/a.iso")).fetch()?;
    kith.wait_stored(1)?;
    origin.set_rate(Some(8 * MIB));
    Ok((kith, origin, tempfile::tempdir()?))
}

/// aria2 with two connections, in `folder`.
fn aria2(folder: &TempDir) -> Command {
    let mut aria2 = Command::new("aria2c");
    aria2.args(["--no-conf", "--quiet", "-s2", "-x2", "-k1M", "--file-allocation=none", "-d"]);
    aria2.arg(folder.path());
    aria2
}

/// Whether aria2 itself asked the origin, not by way of the box.
fn was_asked_directly(origin: &Origin) -> bool {
    let requests = origin.requests();
    let mut by_aria2 =
        requests.iter().filter(|seen| seen.head.field("user-agent").is_some_and(|by| by.contains("aria2")));
    by_aria2.any(|seen| seen.head.field("via").is_none() && seen.sent > 0)
}

#[test]
fn aria2_takes_a_file_from_the_box_and_the_origin_at_once_by_the_boxs_metalink() -> Result<()> {
    let body = Body::seeded(64, LENGTH);
    let (kith, origin, folder) = holding(&body)?;
    let url = format!("http://{}/{}?kith=meta4", kith.clients(), origin.url("d/a.iso"));

    let described = Request::by_prefix(&kith, &format!("{}?kith=meta4", origin.url("d/a.iso"))).send()?;
    assert_eq!(described.head.field("content-type"), Some("application/metalink4+xml"));
    let before = kith.metrics()?.count("kith_bytes_served_total{source=\"store\"}");
    succeed(aria2(&folder).args(["--follow-metalink=mem", &url]))?;

    let file = std::fs::read(folder.path().join("a.iso")).context("named by the metalink")?;
    assert_eq!(Body::of(file).sha256(), body.sha256());
    let served = kith.metrics()?.count("kith_bytes_served_total{source=\"store\"}") - before;
    ensure!(was_asked_directly(&origin), "aria2 did not ask the origin: {:?}", origin.requests());
    ensure!(served >= LENGTH / 8, "the box gave {served} bytes");
    Ok(())
}

#[test]
fn aria2_finds_a_second_source_by_the_links_of_an_answer() -> Result<()> {
    let body = Body::seeded(65, LENGTH);
    let mirror = Origin::serving("copy", &body).slow(8 * MIB).start()?;
    let origin = Origin::empty().and("a.iso", mirrored(&body, &mirror)).start()?;
    let kith = Kith::start_one("box")?;
    Request::by_prefix(&kith, &origin.url("a.iso")).fetch()?;
    kith.wait_stored(1)?;
    let folder = tempfile::tempdir()?;

    // To aria2 sources of one host are one: the box goes by another name than the mirror here.
    let url = format!("http://localhost:{}/{}", kith.clients().port(), origin.url("a.iso"));
    succeed(aria2(&folder).args(["-x1", "-o", "a.iso", &url]))?;

    assert_eq!(Body::of(std::fs::read(folder.path().join("a.iso"))?).sha256(), body.sha256());
    ensure!(was_asked_directly(&mirror), "aria2 did not ask the mirror: {:?}", mirror.requests());
    Ok(())
}
