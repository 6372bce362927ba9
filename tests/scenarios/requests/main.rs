//! Malformed requests over raw sockets: each is refused, its connection closed, nothing reaches the origin, and the
//! box stays up.

mod uploads;

use std::time::Duration;

use anyhow::Result;
use kith_tests::body::Body;
use kith_tests::client::{Closing, Request, raw};
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;

/// A refusal comes at once; a connection that is kept open shows by its silence.
const PATIENCE: Duration = Duration::from_secs(2);

/// A request that would be granted, sent behind each malformed one: its answer would show that the box read on.
const SMUGGLED: &str = "GET /.well-known/kith HTTP/1.1\r\nHost: BOX\r\n\r\n";

/// `BOX` stands for the box's address, `ORIGIN` for the origin's.
const REFUSED: [(&str, u16, &[u8]); 34] = [
    ("no Host", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\n\r\n"),
    ("no Host by proxy", 400, b"GET http://ORIGIN/a HTTP/1.1\r\n\r\n"),
    ("two Hosts", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nHost: BOX\r\n\r\n"),
    ("two different Hosts", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nhost: evil.test\r\n\r\n"),
    ("a list of Hosts", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX, BOX\r\n\r\n"),
    ("a path as Host", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX/x\r\n\r\n"),
    ("CL with TE", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE with CL", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("unknown TE", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nTransfer-Encoding: gzip\r\n\r\n"),
    ("TE twice", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("TE in HTTP/1.0", 400, b"GET /http://ORIGIN/a HTTP/1.0\r\nHost: BOX\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two CLs", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    ("CL with a sign", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nContent-Length: +1\r\n\r\nx"),
    ("CL past counting", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    ("bare LF", 400, b"GET /http://ORIGIN/a HTTP/1.1\nHost: BOX\n\n"),
    ("one bare LF", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\nAccept: */*\r\n\r\n"),
    ("bare CR", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nA: b\rc\r\n\r\n"),
    ("NUL", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nA: b\0c\r\n\r\n"),
    ("folded field", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nA: b\r\n c\r\n\r\n"),
    ("space before the colon", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nA : b\r\n\r\n"),
    ("space before the first field", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\n Host: BOX\r\n\r\n"),
    ("field without a name", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\n: b\r\n\r\n"),
    ("field without a colon", 400, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\nnonsense\r\n\r\n"),
    ("userinfo by proxy", 400, b"GET http://user:word@ORIGIN/a HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("userinfo by prefix", 400, b"GET /http://user:word@ORIGIN/a HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("raw bytes in the target", 400, b"GET /http://ORIGIN/\xc3\xa4 HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("space in the target", 400, b"GET /http://ORIGIN/a b HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("fragment in the target", 400, b"GET /http://ORIGIN/a#b HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("method that is no token", 400, b"G@T /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("no version", 400, b"GET /http://ORIGIN/a\r\nHost: BOX\r\n\r\n"),
    ("another protocol", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ("Host not ours", 421, b"GET /http://ORIGIN/a HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
    ("a tunnel", 405, b"CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("deleting", 405, b"DELETE /http://ORIGIN/a HTTP/1.1\r\nHost: BOX\r\n\r\n"),
];

#[test]
fn malformed_requests_are_refused_and_their_connections_closed() -> Result<()> {
    let origin = Origin::serving("a", &Body::seeded(21, 1000)).start()?;
    let mut kith = Kith::start_one("box")?;

    let mut wrong = Vec::new();
    for (name, status, bytes) in REFUSED {
        let bytes = [spelled(&kith, &origin, bytes), spelled(&kith, &origin, SMUGGLED.as_bytes())].concat();
        let (said, closing) = raw(kith.clients(), &bytes, PATIENCE)?;
        let answers = said.matches("HTTP/1.1 ").count();
        let right = said.starts_with(&format!("HTTP/1.1 {status} ")) && answers == 1;
        // What is well-formed but not granted may keep its connection.
        let closed = closing == Closing::Closed || status != 400;
        if !closed || !(right || status != 400 && said.starts_with(&format!("HTTP/1.1 {status} "))) {
            wrong.push(format!("{name}: wanted {status}, {closing:?}, said: {said}"));
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(kith.has_ended(), None);
    assert_eq!(origin.connections(), 0, "{:?}", origin.requests());
    assert!(Request::by_prefix(&kith, &origin.url("a")).fetch()?.whole);
    Ok(())
}

#[test]
fn heads_beyond_the_limits_are_refused() -> Result<()> {
    let origin = Origin::serving("a", &Body::seeded(22, 1000)).start()?;
    let kith = Kith::start_one("box")?;
    let long = "x".repeat(9000);
    let many = "A: b\r\n".repeat(120);
    let large = format!("A: {}\r\n", "b".repeat(4000)).repeat(5);
    let head = |target: &str, fields: &str| {
        spelled(&kith, &origin, format!("GET {target} HTTP/1.1\r\nHost: BOX\r\n{fields}\r\n").as_bytes())
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
fn spelled(kith: &Kith, origin: &Origin, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (boxed, far) = (kith.clients().to_string(), origin.address().to_string());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b"BOX") {
            out.extend_from_slice(boxed.as_bytes());
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix(b"ORIGIN") {
            out.extend_from_slice(far.as_bytes());
            rest = tail;
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}
