//! Requests of every kind over raw sockets: what is malformed is refused and its connection closed, what is not is
//! passed on as it was meant, and the box stays up.

mod table;
mod tunnels;
mod uploads;

use std::time::Duration;

use anyhow::Result;
use kith_tests::body::Body;
use kith_tests::client::{Closing, Request, raw};
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;

/// A refusal comes at once.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn heads_beyond_the_limits_are_refused() -> Result<()> {
    let origin = Origin::serving("a", &Body::seeded(22, 1000)).start()?;
    let kith = Kith::start_one("box")?;
    let long = "x".repeat(9000);
    let many = "A: b\r\n".repeat(120);
    let large = format!("A: {}\r\n", "b".repeat(4000)).repeat(5);
    let head = |target: &str, fields: &str| {
        let text = format!("GET {target} HTTP/1.1\r\nHost: BOX\r\n{fields}\r\n");
        spelled(&kith.clients().to_string(), &origin.address().to_string(), text.as_bytes())
    };

    let rows = [
        ("long URL", 414, head(&format!("/http://ORIGIN/{long}"), "")),
        ("many fields", 431, head("/http://ORIGIN/a", &many)),
        ("large fields", 431, head("/http://ORIGIN/a", &large)),
    ];

    for (name, status, bytes) in rows {
        let (said, closing) = raw(kith.clients(), &bytes, PATIENCE)?;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {said}");
        assert_eq!(closing, Closing::Closed, "{name}");
    }
    assert_eq!(origin.connections(), 0);
    Ok(())
}

#[test]
fn the_url_wins_over_the_host_field() -> Result<()> {
    let body = Body::seeded(23, 1000);
    let origin = Origin::serving("a", &body).start()?;
    let kith = Kith::start_one("box")?;
    let request = Request::by_proxy(&kith, &origin.url("a")).without("Host").field("Host", "evil.test");

    let received = request.fetch()?;

    assert_eq!(received.sha256, body.sha256());
    assert_eq!(origin.requests()[0].head.field("host"), Some(origin.address().to_string().as_str()));
    Ok(())
}

#[test]
fn what_a_client_adds_does_not_reach_the_next_one() -> Result<()> {
    let body = Body::seeded(24, 1000);
    let origin = Origin::serving("a", &body).start()?;
    let kith = Kith::start_one("box")?;
    let poisoned = Request::by_prefix(&kith, &origin.url("a"))
        .field("X-Forwarded-Host", "evil.test")
        .field("X-Original-URL", "/b")
        .field("Cookie", "secret=1");

    poisoned.fetch()?;
    let received = Request::by_prefix(&kith, &origin.url("a")).fetch()?;

    assert_eq!(received.sha256, body.sha256());
    assert_eq!(origin.requests()[0].head.field("cookie"), None, "the prefix form strips cookies");
    Ok(())
}

/// Puts addresses in.
fn spelled(own: &str, far: &str, bytes: &[u8]) -> Vec<u8> {
    replaced(&replaced(bytes, "BOX", own), "ORIGIN", far)
}

fn replaced(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let found = rest.strip_prefix(from.as_bytes());
        out.extend_from_slice(if found.is_some() { to.as_bytes() } else { std::slice::from_ref(first) });
        rest = found.unwrap_or(tail);
    }
    out
}
