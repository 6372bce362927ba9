//! `kith explain URL`: the owner is told what was decided and why, for what is held and for what is not.

use anyhow::{Context as _, Result, ensure};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;
use kith_tests::resource::Resource;
use serde_json::Value;

fn explain(kith: &Kith, url: &str) -> Result<Value> {
    let said = kith.cli(["explain", url, "--json"])?;
    ensure!(said.code == 0, "{said:?}");
    serde_json::from_str(&said.out).context("one line of JSON")
}

fn events(trail: &Value) -> String {
    let events = trail["events"].as_array().into_iter().flatten();
    events.filter_map(|event| event["what"].as_str()).collect::<Vec<_>>().join("; ")
}

#[test]
fn what_is_held_is_explained_with_its_freshness_digests_and_sources() -> Result<()> {
    let body = Body::seeded(81, 5 * MIB);
    let origin = Origin::empty().and("a.iso", Resource::of(body.clone()).with_digest()).start()?;
    let kith = Kith::start_one("box")?;
    let url = origin.url("a.iso");
    ensure!(Request::by_prefix(&kith, &url).fetch()?.sha256 == body.sha256());
    kith.wait_stored(1)?;

    let trail = explain(&kith, &url)?;
    ensure!(trail["type"] == "explanation" && trail["url"] == url.as_str(), "{trail}");
    let stored = &trail["stored"][0];
    ensure!(stored["object"] == body.blake3() && stored["length"] == 5 * MIB, "{trail}");
    ensure!(stored["fresh"] == true && stored["lifetime_s"] == 3600, "{trail}");
    ensure!(stored["digests"][0]["said_by"] == "the origin, over http", "{trail}");
    ensure!(stored["digests"][0]["value"] == body.sha256(), "{trail}");
    ensure!(stored["sharing"][0]["allowed"] == true, "{trail}");
    let mine = &stored["sharing"][1];
    ensure!(
        mine["allowed"] == false && mine["reason"] == "its host is not on the public internet",
        "{trail}"
    );
    ensure!(trail["jobs"][0]["sources"]["origin"] == 5 * MIB, "{trail}");
    ensure!(events(&trail).contains("stored as"), "{trail}");
    let text = kith.cli(["explain", &url])?;
    ensure!(text.out.contains("fresh") && text.out.contains(&body.sha256()), "{}", text.out);
    Ok(())
}

#[test]
fn what_is_not_held_is_explained_with_the_reason() -> Result<()> {
    let wrong = Body::seeded(83, MIB).repr_digest();
    let origin = Origin::empty()
        .and("secret", Resource::of(Body::seeded(82, MIB)).field("Cache-Control", "no-store"))
        .and("wrong", Resource::of(Body::seeded(84, MIB)).field("Repr-Digest", &wrong))
        .and("gone", Resource::refusal(410, "Gone").field("Cache-Control", "no-store"))
        .start()?;
    let kith = Kith::start_one("box")?;
    for (path, whole, told) in [
        ("secret", true, "answered 200 OK, and passed through"),
        ("wrong", false, "not stored: "),
        ("gone", true, "answered 410 Gone, and passed through"),
    ] {
        let url = origin.url(path);
        let received = Request::by_proxy(&kith, &url).fetch()?;
        ensure!(received.whole == whole, "{path}: whole {}", received.whole);
        let trail = explain(&kith, &url)?;
        ensure!(trail["stored"].as_array().is_some_and(Vec::is_empty), "{path}: {trail}");
        ensure!(events(&trail).contains(told), "{path}: {trail}");
        ensure!(trail["decision"].as_str().is_some_and(|text| text.starts_with("fetch")), "{trail}");
    }
    let never = explain(&kith, "https://example.org/a.iso?token=1")?;
    ensure!(events(&never).is_empty() && never["jobs"].as_array().is_some_and(Vec::is_empty), "{never}");
    ensure!(never["sharing"][1]["reason"] == "its query carries a token", "{never}");
    let nonsense = kith.cli(["explain", "not a URL"])?;
    ensure!(nonsense.code == 2, "{nonsense:?}");
    Ok(())
}
