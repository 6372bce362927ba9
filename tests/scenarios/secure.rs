//! Origins by TLS: one that proves its name to an authority the owner added is fetched and kept; one that does not is
//! never asked for anything.

use anyhow::{Result, ensure};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;
use kith_tests::secure::Authority;

const LENGTH: u64 = 8 * MIB;

#[test]
fn an_origin_that_an_added_authority_vouches_for_is_fetched_and_kept() -> Result<()> {
    let body = Body::seeded(71, LENGTH);
    let origin = Origin::serving("a.iso", &body).start()?;
    let authority = Authority::new()?;
    let front = authority.front("127.0.0.1", origin.address())?;
    let kith =
        Kith::named("school").set("origins.extra_ca_files", &format!("[{:?}]", authority.file())).start()?;
    let url = front.url("a.iso");

    let first = Request::by_prefix(&kith, &url).fetch()?;
    ensure!(first.status() == 200 && first.sha256 == body.sha256(), "status {}", first.status());
    kith.wait_stored(1)?;
    let again = Request::by_prefix(&kith, &url).range("1048576-2097151").fetch()?;
    ensure!(again.status() == 206 && again.sha256 == body.sha256_of(MIB..2 * MIB));
    ensure!(origin.sent_for("a.iso") == LENGTH, "{} bytes were sent", origin.sent_for("a.iso"));
    Ok(())
}

#[test]
fn an_origin_that_cannot_prove_its_name_is_refused_and_asked_nothing() -> Result<()> {
    let origin = Origin::serving("a.iso", &Body::seeded(72, MIB)).start()?;
    let (trusted, stranger) = (Authority::new()?, Authority::new()?);
    let kith =
        Kith::named("school").set("origins.extra_ca_files", &format!("[{:?}]", trusted.file())).start()?;
    for (authority, name) in [(&stranger, "127.0.0.1"), (&trusted, "elsewhere.example")] {
        let front = authority.front(name, origin.address())?;
        let answer = Request::by_prefix(&kith, &front.url("a.iso")).fetch()?;
        ensure!(answer.status() == 502, "{name}: status {}", answer.status());
        let told = answer.field("proxy-status");
        ensure!(told.contains("tls_certificate_error"), "{name}: {told}");
    }
    ensure!(origin.requests().is_empty(), "the origin was asked: {:?}", origin.requests());
    Ok(())
}
