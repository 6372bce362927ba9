//! One line a row. Times are seconds after [`START`]; a response is asked for and received there.

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::key::{CacheKey, Target, Variant};
use crate::object::ObjectId;
use crate::representation::{Head, Representation, Standing};

/// Sun, 06 Nov 1994 08:49:37 GMT.
const START: u64 = 784_111_777;
const DATE: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT";
const TAG: &str = "etag: \"a\"";
/// Thirty days before [`DATE`]: the heuristic gives a day, its most.
const MODIFIED: &str = "last-modified: Fri, 07 Oct 1994 08:49:37 GMT";
/// A hundred minutes before [`DATE`]: the heuristic gives ten minutes.
const RECENT: &str = "last-modified: Sun, 06 Nov 1994 07:09:37 GMT";

fn at(seconds: u64) -> UnixMillis {
    UnixMillis((START + seconds) * 1000)
}

/// Fields from `name: value` lines separated by ` | `.
fn fields(text: &str) -> HeaderMap {
    let lines = text.split(" | ").filter(|line| !line.is_empty());
    let pairs = lines.map(|line| {
        let (name, value) = line.split_once(':').expect("name: value");
        let name = HeaderName::from_bytes(name.trim().as_bytes()).expect("name");
        (name, HeaderValue::from_bytes(value.trim().as_bytes()).expect("value"))
    });
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, value);
    }
    headers
}

fn head(text: &str) -> Head {
    Head { status: StatusCode::OK, headers: fields(text), requested_at: at(0), received_at: at(0) }
}

fn stored(request: &str, response: &str) -> Representation {
    let head = head(response);
    let (selecting, variant) = selecting(&head.headers, &fields(request)).expect("selectable");
    let target = Target::parse("http://example.com/a").expect("valid");
    let key = CacheKey { target, variant };
    let object = ObjectId::of(response.as_bytes());
    Representation { key, selecting, head, object, length: 1, standing: Standing::FirstHand }
}

/// The decision in a word; "ask" when the stored one helps out while the origin cannot be reached.
fn word(seconds: u64, asked: &Asked<'_>, stored: &[Representation]) -> &'static str {
    let helps_out = fallback(at(seconds), asked, stored, Trouble::Unreachable).is_some();
    match decide(at(seconds), asked, stored) {
        Decision::Serve { state: State::Fresh, .. } => "fresh",
        Decision::Serve { state: State::Tolerated, .. } => "stale",
        Decision::Serve { state: State::Revalidating, .. } => "stale while asking",
        Decision::Revalidate { .. } if helps_out => "ask",
        Decision::Revalidate { .. } => "ask or fail",
        Decision::Fetch { .. } => "fetch",
        Decision::PassThrough { .. } => "pass",
        Decision::OnlyIfCached504 => "504",
    }
}

fn check(response: &str, request: &str, seconds: u64, expected: &str) {
    let stored = [stored("", response)];
    let asked = Asked { method: &Method::GET, headers: &fields(request) };
    assert_eq!(word(seconds, &asked, &stored), expected, "{response} <- {request} after {seconds} s");
}

#[test]
fn one_stored_response_and_a_later_request() {
    let dated = |more: &str| format!("{DATE} | {TAG} | {more}");
    for (response, request, seconds, expected) in [
        // lifetimes, section 4.2.1
        (dated("cache-control: max-age=60"), "", 0, "fresh"),
        (dated("cache-control: max-age=60"), "", 59, "fresh"),
        (dated("cache-control: max-age=60"), "", 60, "ask"),
        (dated("cache-control: MAX-AGE=\"60\""), "", 59, "fresh"),
        (dated("cache-control: s-maxage=10, max-age=60"), "", 20, "ask or fail"),
        (dated("cache-control: s-maxage=60, max-age=10"), "", 20, "fresh"),
        (dated("cache-control: max-age=60 | expires: Sun, 06 Nov 1994 08:00:00 GMT"), "", 20, "fresh"),
        (dated("expires: Sun, 06 Nov 1994 08:50:37 GMT"), "", 59, "fresh"),
        (dated("expires: Sun, 06 Nov 1994 08:50:37 GMT"), "", 61, "ask"),
        (dated("expires: Sunday, 06-Nov-94 08:50:37 GMT"), "", 59, "fresh"),
        (dated("expires: Sun Nov  6 08:50:37 1994"), "", 59, "fresh"),
        (dated("expires: 0"), "", 0, "ask"),
        (dated("expires: Sun, 06 Nov 1994 08:50:37 GMT | expires: 0"), "", 0, "ask"),
        (dated("cache-control: max-age=60 | cache-control: max-age=10"), "", 20, "ask"),
        (dated("cache-control: max-age=10, max-age=60"), "", 20, "ask"),
        (dated(""), "", 0, "ask"),
        // numbers that are none are the most cautious number, section 4.2.1
        (dated("cache-control: max-age=-1"), "", 0, "ask"),
        (dated("cache-control: max-age=60.5"), "", 0, "ask"),
        (dated("cache-control: max-age='60'"), "", 0, "ask"),
        (dated("cache-control: max-age = 60"), "", 0, "ask"),
        (dated("cache-control: max-age= 60"), "", 0, "ask"),
        (dated("cache-control: max-age = 60 | expires: Sun, 06 Nov 1994 08:50:37 GMT"), "", 0, "ask"),
        (dated("cache-control: max-age=\"60"), "", 0, "ask"),
        (dated("cache-control: max-age"), "", 0, "ask"),
        (dated("cache-control: max-age=99999999999999999999999"), "", 1 << 30, "fresh"),
        (dated("cache-control: x=\"a, max-age=60, b\""), "", 0, "ask"),
        (dated("cache-control: x=\"\\\", no-cache\", max-age=60"), "", 0, "fresh"),
        (dated("cache-control: , ,max-age=60,,"), "", 0, "fresh"),
        (dated("cache-control: max-age=60; must-revalidate"), "", 61, "ask or fail"),
        // heuristic, section 4.2.2
        (dated(MODIFIED), "", 86_399, "fresh"),
        (dated(MODIFIED), "", 86_400, "ask"),
        (dated(RECENT), "", 599, "fresh"),
        (dated(RECENT), "", 600, "ask"),
        (dated("last-modified: Mon, 07 Nov 1994 08:49:37 GMT"), "", 0, "ask"),
        (dated("last-modified: yesterday"), "", 0, "ask"),
        // age, section 4.2.3
        (dated("cache-control: max-age=60 | age: 50"), "", 9, "fresh"),
        (dated("cache-control: max-age=60 | age: 50"), "", 10, "ask"),
        (dated("cache-control: max-age=60 | age: 50, 1"), "", 10, "ask"),
        (dated("cache-control: max-age=60 | age: old"), "", 10, "fresh"),
        (dated("cache-control: max-age=60 | age: 99999999999999999999"), "", 0, "ask"),
        (format!("{TAG} | date: Sun, 06 Nov 1994 08:48:37 GMT | cache-control: max-age=60"), "", 0, "ask"),
        (format!("{TAG} | date: Sun, 06 Nov 1994 09:49:37 GMT | cache-control: max-age=60"), "", 59, "fresh"),
        (format!("{TAG} | cache-control: max-age=60"), "", 59, "fresh"),
        // what the origin forbids, sections 4.2.4 and 5.2.2
        (dated("cache-control: no-cache, max-age=60"), "", 0, "ask or fail"),
        (dated("cache-control: no-cache=\"set-cookie\", max-age=60"), "", 0, "fresh"),
        (dated("cache-control: no-cache=set-cookie, max-age=60"), "", 0, "ask or fail"),
        (dated("cache-control: no-cache=\"\", max-age=60"), "", 0, "ask or fail"),
        (dated("cache-control: no-cache=\"a b\", max-age=60"), "", 0, "ask or fail"),
        (dated("cache-control: no-cache=\"a\", no-cache, max-age=60"), "", 0, "ask or fail"),
        (dated("cache-control: max-age=60, must-revalidate"), "", 59, "fresh"),
        (dated("cache-control: max-age=60, must-revalidate"), "", 60, "ask or fail"),
        (dated("cache-control: max-age=60, proxy-revalidate"), "", 60, "ask or fail"),
        (dated("cache-control: max-age=60, stale-if-error=30"), "", 89, "ask"),
        (dated("cache-control: max-age=60, stale-if-error=30"), "", 91, "ask or fail"),
        (dated("cache-control: max-age=60, unknown=\"a, b\""), "", 60, "ask"),
        (dated("cache-control: max-age=60, stale-while-revalidate=30"), "", 60, "stale while asking"),
        (dated("cache-control: max-age=60, stale-while-revalidate=30"), "", 90, "stale while asking"),
        (dated("cache-control: max-age=60, stale-while-revalidate=30"), "", 91, "ask"),
        (dated("cache-control: max-age=60, stale-while-revalidate=x"), "", 61, "ask"),
        (
            dated("cache-control: max-age=60, stale-while-revalidate=30, must-revalidate"),
            "",
            61,
            "ask or fail",
        ),
        (dated("cache-control: s-maxage=60, stale-while-revalidate=30"), "", 61, "ask or fail"),
        // targeted, RFC 9213 section 2.2
        (dated("cache-control: max-age=0 | cdn-cache-control: max-age=60"), "", 59, "fresh"),
        (dated("cache-control: max-age=60 | cdn-cache-control: max-age=0"), "", 0, "ask"),
        (dated("cache-control: max-age=60 | cdn-cache-control: Max-Age=0"), "", 0, "fresh"),
        (dated("cache-control: max-age=60 | cdn-cache-control: max-age =0"), "", 0, "fresh"),
        (dated("cache-control: max-age=60 | cdn-cache-control:"), "", 0, "fresh"),
        (dated("cache-control: max-age=60 | cdn-cache-control: max-age=x"), "", 0, "ask"),
        (dated("expires: Sun, 06 Nov 1994 08:50:37 GMT | cdn-cache-control: public"), "", 0, "ask"),
        (dated("cache-control: no-cache | cdn-cache-control: max-age=60, no-cache=?0"), "", 0, "fresh"),
        (format!("{DATE} | cache-control: max-age=60"), "", 60, "fetch"),
    ] {
        check(&response, request, seconds, expected);
    }
}

#[test]
fn one_stored_response_and_what_the_client_wishes() {
    let dated = |more: &str| format!("{DATE} | {TAG} | {more}");
    for (response, request, seconds, expected) in [
        // what the client wishes, section 5.2.1
        (dated("cache-control: max-age=60"), "cache-control: no-cache", 0, "ask or fail"),
        (dated("cache-control: max-age=60"), "pragma: no-cache", 0, "ask or fail"),
        (dated("cache-control: max-age=60"), "pragma: no-cache | cache-control: max-age=5", 0, "fresh"),
        (dated("cache-control: max-age=60"), "cache-control: max-age=0", 0, "ask"),
        (dated("cache-control: max-age=60"), "cache-control: max-age=0", 1, "ask"),
        (dated("cache-control: max-age=60"), "cache-control: max-age=x", 1, "ask"),
        (dated("cache-control: max-age=60"), "cache-control: max-age=30", 30, "fresh"),
        (dated("cache-control: max-age=60"), "cache-control: max-age=30", 31, "ask"),
        (dated("cache-control: max-age=60, immutable"), "cache-control: max-age=0", 30, "fresh"),
        (dated("cache-control: max-age=60, immutable"), "cache-control: no-cache", 30, "ask or fail"),
        (dated("cache-control: max-age=60, immutable"), "cache-control: max-age=0", 60, "ask"),
        (dated("cache-control: max-age=60"), "cache-control: min-fresh=30", 30, "fresh"),
        (dated("cache-control: max-age=60"), "cache-control: min-fresh=30", 31, "ask"),
        (dated("cache-control: max-age=60"), "cache-control: min-fresh=soon", 0, "ask"),
        (dated("cache-control: max-age=60"), "cache-control: min-fresh=50, min-fresh=5", 11, "ask"),
        (dated("cache-control: max-age=60"), "cache-control: max-stale=30", 90, "stale"),
        (dated("cache-control: max-age=60"), "cache-control: max-stale=30", 91, "ask"),
        (dated("cache-control: max-age=60"), "cache-control: max-stale", 9000, "stale"),
        (dated("cache-control: max-age=60"), "cache-control: max-stale=a", 61, "ask"),
        (dated("cache-control: max-age=60"), "cache-control: max-stale, max-age=30", 70, "ask"),
        (dated("cache-control: max-age=60, must-revalidate"), "cache-control: max-stale", 61, "ask or fail"),
        (dated("cache-control: s-maxage=60"), "cache-control: max-stale", 61, "ask or fail"),
        (dated("cache-control: max-age=60, no-cache"), "cache-control: max-stale", 1, "ask or fail"),
        (dated("cache-control: max-age=60"), "cache-control: only-if-cached", 59, "fresh"),
        (dated("cache-control: max-age=60"), "cache-control: only-if-cached", 60, "504"),
        (dated("cache-control: max-age=60"), "cache-control: only-if-cached, max-stale", 60, "stale"),
        (dated("cache-control: max-age=60"), "cache-control: no-store", 59, "fresh"),
        (dated("cache-control: max-age=60"), "cache-control: no-store", 60, "pass"),
        (dated("cache-control: max-age=60"), "authorization: Basic eA==", 59, "fresh"),
        // selection, section 4.1: the same selecting values, or the origin says that the bytes are the same
        (dated("cache-control: max-age=60 | vary: accept-language"), "", 0, "fresh"),
        (dated("cache-control: max-age=60 | vary: accept-language"), "accept-language: de", 0, "ask or fail"),
        (dated("cache-control: max-age=60 | vary: Accept-Encoding"), "accept-encoding: identity", 0, "fresh"),
        (
            dated("cache-control: max-age=60 | vary: accept-encoding"),
            "accept-encoding: gzip",
            0,
            "ask or fail",
        ),
        (
            format!("{DATE} | cache-control: max-age=60 | vary: accept-language"),
            "accept-language: de",
            0,
            "fetch",
        ),
        (format!("{DATE} | etag: W/\"a\" | vary: accept-language"), "accept-language: de", 0, "fetch"),
    ] {
        check(&response, request, seconds, expected);
    }
}

#[test]
fn nothing_stored() {
    for (method, request, expected) in [
        (Method::GET, "", "fetch"),
        (Method::HEAD, "", "fetch"),
        (Method::GET, "cache-control: only-if-cached", "504"),
        (Method::GET, "cache-control: no-store", "pass"),
        (Method::POST, "", "pass"),
        (Method::OPTIONS, "cache-control: only-if-cached", "pass"),
    ] {
        let asked = Asked { method: &method, headers: &fields(request) };
        assert_eq!(word(0, &asked, &[]), expected, "{method} {request}");
    }
}

#[test]
fn what_may_be_stored() {
    use NotStorable as No;
    let good = format!("{DATE} | {TAG} | ");
    let (ours, all) = (Ok(Reach::Household), Ok(Reach::Anyone));
    for (request, response, expected) in [
        ("", "cache-control: max-age=60", all),
        ("", "", all),
        ("", "content-encoding: identity", all),
        ("", "cache-control: no-cache", all),
        ("", "cache-control: No-Store", Err(No::NoStore)),
        ("", "cache-control: max-age=60 | cache-control: no-store", Err(No::NoStore)),
        ("", "cache-control: max-age=60; no-store", Err(No::NoStore)),
        ("", "cache-control: no-store=1", Err(No::NoStore)),
        ("", "cache-control: no-store, must-understand, max-age=60", all),
        ("", "cache-control: x=\"no-store\"", all),
        ("", "cache-control: private", Err(No::Private)),
        ("", "cache-control: private=x-name, public", Err(No::Private)),
        ("", "cache-control: private=\"x-name\", public", ours),
        ("", "cache-control: private | cdn-cache-control: max-age=60", ours),
        ("", "cache-control: max-age=60 | cdn-cache-control: private", Err(No::Private)),
        ("", "cache-control: max-age=60 | cdn-cache-control: no-store=5", Err(No::NoStore)),
        ("", "cache-control: max-age=60 | cdn-cache-control: No-Store", all),
        ("", "set-cookie: a=b", Err(No::SetCookie)),
        ("", "set-cookie: a=b | cache-control: max-age=60", Err(No::SetCookie)),
        ("", "set-cookie: a=b | cache-control: public, max-age=60", ours),
        ("", "set-cookie: a=b | cache-control: s-maxage=60", ours),
        ("", "set-cookie: a=b | cache-control: max-age=60, no-cache=\"Set-Cookie\"", ours),
        ("", "vary: *", Err(No::VaryAny)),
        ("", "vary: accept-encoding, *", Err(No::VaryAny)),
        ("", "vary: not a name", Err(No::VaryAny)),
        ("", "vary: a, b, c, d, e, f, g, h, i", Err(No::VaryAny)),
        ("", "vary: cookie", all),
        ("cookie: a=b", "", Err(No::Cookie)),
        ("cookie: a=b", MODIFIED, Err(No::Cookie)),
        ("cookie: a=b", "cache-control: max-age=0", Err(No::Cookie)),
        ("cookie: a=b", "cache-control: max-age=60", ours),
        ("cookie: a=b", "cache-control: public", ours),
        ("cookie: a=b", "cache-control: public, max-age=60 | vary: cookie", Err(No::Cookie)),
        ("cookie: a=b", "cache-control: max-age=60 | set-cookie: a=b", Err(No::SetCookie)),
        ("authorization: Basic eA==", "cache-control: max-age=60", Err(No::Authorization)),
        ("authorization: Basic eA==", "cache-control: max-age=60, must-revalidate", ours),
        ("authorization: Basic eA==", "cache-control: public", ours),
        ("authorization: Basic eA==", "cache-control: s-maxage=60", ours),
        ("authorization: Basic eA==", "cache-control: public | vary: authorization", Err(No::Authorization)),
        ("cache-control: no-store", "cache-control: max-age=60", Err(No::RequestNoStore)),
        ("accept-encoding: gzip", "content-encoding: gzip | vary: accept-encoding", all),
        ("accept-encoding: gzip", "content-encoding: x-gzip | vary: accept-encoding", all),
        ("accept-encoding: *", "content-encoding: br | vary: accept-encoding", all),
        ("", "content-encoding: gzip | vary: accept-encoding", Err(No::Encoding)),
        ("accept-encoding: gzip;q=0", "content-encoding: gzip", Err(No::Encoding)),
    ] {
        let head = head(&format!("{good}{response}"));
        assert_eq!(storable(&fields(request), &head), expected, "{response} <- {request}");
    }
    for (response, expected) in [
        ("", Err(No::NotReusable)),
        ("cache-control: max-age=0", Err(No::NotReusable)),
        ("cache-control: max-age=60, no-cache", Err(No::NotReusable)),
        ("expires: 0", Err(No::NotReusable)),
        ("etag: not quoted", Err(No::NotReusable)),
        ("etag: \"a\" | etag: \"b\"", Err(No::NotReusable)),
        ("cache-control: max-age=60", all),
        ("etag: W/\"a\"", all),
        (MODIFIED, all),
    ] {
        assert_eq!(
            storable(&HeaderMap::new(), &head(&format!("{DATE} | {response}"))),
            expected,
            "{response}"
        );
    }
    for (status, response, expected) in [
        (206, "", all),
        (203, "", all),
        (204, "cache-control: max-age=60", all),
        (299, "cache-control: max-age=60", all),
        (301, "cache-control: max-age=60", all),
        (302, "cache-control: max-age=60", all),
        (302, "", Err(No::NotReusable)),
        (404, "cache-control: max-age=60", all),
        (404, "", Err(No::NotReusable)),
        (404, MODIFIED, all),
        (403, MODIFIED, Err(No::NotReusable)),
        (403, "last-modified: Fri, 07 Oct 1994 08:49:37 GMT | cache-control: public", all),
        (500, "cache-control: max-age=60", all),
        (503, "cache-control: max-age=60, no-cache", Err(No::NotReusable)),
        (599, "cache-control: max-age=60", all),
        (599, "cache-control: max-age=60, must-understand", Err(No::Status)),
        (404, "cache-control: max-age=60, must-understand, no-store", all),
        (401, "cache-control: max-age=60", Err(No::Status)),
        (416, "cache-control: max-age=60", Err(No::Status)),
        (511, "cache-control: max-age=60", Err(No::Status)),
    ] {
        let head = Head {
            status: StatusCode::from_u16(status).expect("valid"),
            ..head(&format!("{good}{response}"))
        };
        assert_eq!(storable(&HeaderMap::new(), &head), expected, "{status} {response}");
    }
}

#[test]
fn what_was_meant_for_one_asker_is_not_kept() {
    let response = "cache-control: private=\"X-A, x-b\", no-cache=\"x-c\" | x-a: 1 | X-B: 2 | x-c: 3 | x-d: 4 | set-cookie: a=b";
    let expected = format!("cache-control: private=\"X-A, x-b\", no-cache=\"x-c\" | x-d: 4 | {DATE}");
    assert_eq!(kept(head(response)).headers, fields(&expected));
    let twice = format!("{DATE} | date: Sun, 06 Nov 1994 08:50:37 GMT");
    assert_eq!(kept(head(&twice)).headers, fields(DATE));
}

#[test]
fn errors_are_believed_for_half_a_minute() {
    for (status, response, seconds) in [
        (404, "cache-control: max-age=5", 5),
        (404, "cache-control: max-age=3600", 30),
        (503, "cache-control: s-maxage=3600", 30),
        (404, MODIFIED, 30),
        (301, "cache-control: max-age=3600", 3600),
        (302, MODIFIED, 0),
        (308, MODIFIED, 86400),
    ] {
        let status = StatusCode::from_u16(status).expect("valid");
        let head = Head { status, ..head(&format!("{DATE} | {response}")) };
        assert_eq!(lifetime(&head), Duration::from_secs(seconds), "{status} {response}");
    }
}

#[test]
fn heads_that_are_larger_than_a_stored_one_may_be_are_refused() {
    let long = format!("{TAG} | x: {}", "a".repeat(33 * 1024));
    let many = format!("{TAG} | {}", vec!["x: a"; 129].join(" | "));
    for response in [long, many] {
        assert_eq!(storable(&HeaderMap::new(), &head(&response)), Err(NotStorable::TooLarge));
    }
}

#[test]
fn an_endless_cache_control_forbids_everything() {
    for value in ["a,".repeat(70), format!("max-age=60, x=\"{}\"", "a".repeat(5000))] {
        let control = CacheControl::of_response(&fields(&format!("cache-control: {value}")));
        assert!(control.has(Directive::NoStore) && control.has(Directive::NoCache));
    }
}

#[test]
fn the_newest_of_several_matching_responses_is_served() {
    let old = "date: Sun, 06 Nov 1994 08:49:00 GMT | cache-control: max-age=600";
    let new = "date: Sun, 06 Nov 1994 08:49:30 GMT | cache-control: max-age=600";
    let german = "date: Sun, 06 Nov 1994 08:49:37 GMT | cache-control: max-age=600 | vary: accept-language";
    let stored = [stored("", old), stored("", new), stored("accept-language: de", german)];
    for (request, expected) in [("", 1), ("accept-language: de", 2), ("accept-language: fr", 1)] {
        let asked = Asked { method: &Method::GET, headers: &fields(request) };
        let age = if expected == 1 { 7 } else { 0 };
        let serve = Decision::Serve { index: expected, age: Duration::from_secs(age), state: State::Fresh };
        assert_eq!(decide(at(0), &asked, &stored), serve, "{request}");
    }
}

#[test]
fn selecting_values_are_compared_by_meaning() {
    let same = [
        ("accept-encoding", "accept-encoding: gzip, br", "accept-encoding: br;q=0.5 , GZIP"),
        ("accept-encoding", "", "accept-encoding: identity"),
        ("accept-encoding", "", "accept-encoding: gzip;q=0.000"),
        ("accept-encoding", "accept-encoding: x-gzip", "accept-encoding: | accept-encoding: gzip"),
        ("accept-language", "accept-language: de", "accept-language:   de  "),
        ("accept-language", "accept-language: de | accept-language: en", "accept-language: de, en"),
        ("accept-language", "accept-language: DE,en;q=0.5", "accept-language: de, en; q=0.5"),
        ("x-name", "x-name: a | x-name: b", "x-name: a, b"),
        ("origin, accept-encoding", "origin: a | accept-encoding: br", "accept-encoding: br | origin: a"),
    ];
    let different = [
        ("accept-encoding", "", "accept-encoding: gzip"),
        ("accept-encoding", "", "accept-encoding: deflate"),
        ("accept-encoding", "", "accept-encoding: identity;q=0"),
        ("accept-language", "", "accept-language:"),
        ("accept-language", "accept-language: de", "accept-language: en"),
        ("accept-language", "accept-language: de, en", "accept-language: en, de"),
        ("x-name", "x-name: a", "x-name: A"),
        ("origin", "origin: http://a", "origin: http://b"),
    ];
    let pair = |vary: &str, a: &str, b: &str| {
        let vary = fields(&format!("vary: {vary}"));
        (selecting(&vary, &fields(a)), selecting(&vary, &fields(b)))
    };
    for (vary, a, b) in same {
        let (left, right) = pair(vary, a, b);
        assert!(left.is_some());
        assert_eq!(left, right, "{vary}: {a} = {b}");
    }
    for (vary, a, b) in different {
        let (left, right) = pair(vary, a, b);
        assert_ne!(left, right, "{vary}: {a} != {b}");
    }
    let request = fields("origin: a | accept-encoding: br");
    let vary = |names: &str| selecting(&fields(&format!("vary: {names}")), &request);
    assert_eq!(vary("Origin, Accept-Encoding"), vary("accept-encoding | vary: origin, origin"));
    assert_eq!(selecting(&HeaderMap::new(), &fields("a: b")), Some((Vec::new(), Variant::ONLY)));
    let long = fields(&format!("user-agent: {}", "a".repeat(2000)));
    assert_eq!(selecting(&fields("vary: user-agent"), &long), None);
}

#[test]
fn the_age_is_the_oldest_anybody_can_vouch_for() {
    for (response, requested, received, now, expected) in [
        (DATE.to_owned(), 0, 0, 5, 5),
        (DATE.to_owned(), 0, 2, 5, 5),
        (String::new(), 0, 2, 5, 5),
        (format!("{DATE} | age: 7"), 0, 2, 5, 12),
        (format!("{DATE} | age: 7"), 10, 10, 10, 10),
        (format!("{DATE} | age: 7 | age: 90"), 0, 0, 0, 7),
        (DATE.to_owned(), 5, 5, 0, 5),
    ] {
        let head = Head { requested_at: at(requested), received_at: at(received), ..head(&response) };
        assert_eq!(
            age(at(now), &head),
            Duration::from_secs(expected),
            "{response} {requested} {received} {now}"
        );
    }
}

#[test]
fn the_origin_is_asked_with_every_usable_validator() {
    for (response, expected) in [
        ("etag: \"a\"", "if-none-match: \"a\"".to_owned()),
        ("etag: W/\"a\"", "if-none-match: W/\"a\"".to_owned()),
        ("etag: a", "if-none-match: a".to_owned()),
        ("etag: a b", String::new()),
        ("etag: \"a", String::new()),
        ("last-modified: never", String::new()),
        (MODIFIED, MODIFIED.replace("last-modified", "if-modified-since")),
    ] {
        assert_eq!(conditional(&stored("", response)), fields(&expected), "{response}");
    }
}

#[test]
fn a_304_updates_what_describes_the_representation() {
    let before = "date: Sun, 06 Nov 1994 08:00:00 GMT | age: 30 | etag: \"a\" | content-type: a/b | content-length: 5 \
                  | cache-control: max-age=1 | link: <a> | link: <b> | x-kept: 1";
    let answer = "date: Sun, 06 Nov 1994 08:49:37 GMT | content-length: 0 | content-type: text/html | content-encoding: gzip \
                  | content-range: bytes 0-1/2 | content-digest: x | connection: close \
                  | cache-control: max-age=60 | cache-control: immutable | link: <c>";
    let after = "date: Sun, 06 Nov 1994 08:49:37 GMT | etag: \"a\" | content-type: text/html | content-length: 5 \
                 | cache-control: max-age=60 | cache-control: immutable | link: <c> | x-kept: 1";
    let answer =
        Head { status: StatusCode::NOT_MODIFIED, received_at: at(9), requested_at: at(8), ..head(answer) };
    let after = Head { requested_at: at(8), received_at: at(9), ..head(after) };
    assert_eq!(renewed(&head(before), &answer), after);
    // Without a date of its own the exchange is dated by our clock.
    let silent = Head { headers: HeaderMap::new(), ..answer };
    assert_eq!(age(at(9), &renewed(&head(before), &silent)), Duration::from_secs(1));
}

#[test]
fn a_304_for_another_version_confirms_nothing() {
    for (answer, expected) in
        [("etag: \"a\"", true), ("etag: \"b\"", false), ("", true), ("etag: W/\"a\"", true)]
    {
        assert_eq!(confirms(&head("etag: \"a\""), &head(answer)), expected, "{answer}");
    }
}

#[test]
fn without_the_origin_the_stale_is_better_than_nothing_unless_forbidden() {
    for (response, request, expected) in [
        ("cache-control: max-age=60", "", Some(0)),
        ("cache-control: max-age=60", "cache-control: max-age=0", Some(0)),
        ("cache-control: max-age=60", "cache-control: no-cache", None),
        ("cache-control: max-age=60, must-revalidate", "", None),
        ("cache-control: max-age=60 | vary: accept-language", "accept-language: de", None),
        ("cache-control: max-age=7200, must-revalidate", "", Some(0)),
    ] {
        let stored = [stored("", &format!("{DATE} | {response}"))];
        let asked = Asked { method: &Method::GET, headers: &fields(request) };
        let fallback = fallback(at(3600), &asked, &stored, Trouble::Unreachable);
        assert_eq!(fallback, expected, "{response} <- {request}");
    }
}

#[test]
fn an_origin_in_trouble_may_count_as_one_that_did_not_answer() {
    let stale = "cache-control: max-age=60";
    let told = "cache-control: max-age=60, stale-if-error=7200";
    let short = "cache-control: max-age=60, stale-if-error=60";
    for (response, request, status, expected) in [
        (stale, "", 500, None),
        (stale, "", 503, Some(0)),
        (stale, "", 502, Some(0)),
        (stale, "", 404, None),
        (told, "", 500, Some(0)),
        (told, "", 504, Some(0)),
        (told, "", 403, None),
        (told, "cache-control: no-cache", 503, None),
        (short, "", 503, None),
        (short, "", 500, None),
        (short, "cache-control: stale-if-error=7200", 500, Some(0)),
        ("cache-control: max-age=60, must-revalidate, stale-if-error=7200", "", 503, None),
    ] {
        let stored = [stored("", &format!("{DATE} | {response}"))];
        let asked = Asked { method: &Method::GET, headers: &fields(request) };
        let trouble = Trouble::Answered(StatusCode::from_u16(status).expect("valid"));
        assert_eq!(
            fallback(at(3600), &asked, &stored, trouble),
            expected,
            "{response} <- {request} {status}"
        );
    }
}

#[test]
fn an_error_that_is_stored_is_neither_asked_about_nor_served_stale() {
    let error = |seconds: u64, request: &str| {
        let mut stored =
            stored("", &format!("{DATE} | {TAG} | cache-control: max-age=10, stale-while-revalidate=90"));
        stored.head.status = StatusCode::NOT_FOUND;
        let asked = Asked { method: &Method::GET, headers: &fields(request) };
        word(seconds, &asked, &[stored])
    };
    assert_eq!(error(9, ""), "fresh");
    assert_eq!(error(11, ""), "fetch");
    assert_eq!(error(11, "cache-control: max-stale"), "fetch");
}

#[test]
fn what_the_store_lacks_is_told_apart() {
    let fresh = stored("", &format!("{DATE} | {TAG} | cache-control: max-age=60"));
    let german = stored(
        "accept-language: de",
        &format!("{DATE} | {TAG} | cache-control: max-age=60 | vary: accept-language"),
    );
    let lack = |seconds, request: &str, stored: &[Representation]| match decide(
        at(seconds),
        &Asked { method: &Method::GET, headers: &fields(request) },
        stored,
    ) {
        Decision::Revalidate { lack, .. } | Decision::Fetch { lack } => Some(lack),
        _ => None,
    };
    assert_eq!(lack(0, "", &[]), Some(Lack::Target));
    assert_eq!(lack(0, "", std::slice::from_ref(&german)), Some(Lack::Variant));
    assert_eq!(lack(0, "cache-control: no-cache", std::slice::from_ref(&fresh)), Some(Lack::Request));
    assert_eq!(lack(60, "", std::slice::from_ref(&fresh)), Some(Lack::Stale));
    assert_eq!(lack(0, "", &[fresh]), None);
}

#[test]
fn a_head_speaks_of_what_is_stored_when_validators_and_length_are_the_same() {
    let stored = stored("", "etag: \"a\" | last-modified: Sun, 06 Nov 1994 08:00:00 GMT");
    for (answer, expected) in [
        ("etag: \"a\" | content-length: 1", true),
        ("etag: \"a\"", true),
        ("content-length: 1", true),
        ("last-modified: Sun, 06 Nov 1994 08:00:00 GMT", true),
        ("etag: \"b\" | content-length: 1", false),
        ("etag: W/\"a\"", false),
        ("etag: \"a\" | content-length: 2", false),
        ("etag: \"a\" | last-modified: Sun, 06 Nov 1994 08:00:01 GMT", false),
        ("x: y", false),
    ] {
        assert_eq!(described_by(&stored, &head(answer)), expected, "{answer}");
    }
    let outdated = outdated(&stored);
    assert!(age(at(0), &outdated.head) > Duration::from_secs(1 << 29));
}

#[test]
fn a_confirmation_is_news_when_it_changes_more_than_the_exchange() {
    let stored = head(&format!("{DATE} | {TAG} | cache-control: max-age=60 | x-request-id: 1"));
    let same = head(&format!(
        "date: Sun, 06 Nov 1994 09:49:37 GMT | {TAG} | cache-control: max-age=60 | x-request-id: 2"
    ));
    assert!(!is_news(&stored, &same));
    let more = head(&format!("{DATE} | {TAG} | cache-control: max-age=60 | x-name: 1"));
    assert!(is_news(&stored, &more));
}

fn any_seconds() -> impl Strategy<Value = Option<Duration>> {
    prop::option::of((0u64..1 << 31).prop_map(Duration::from_secs))
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut headers = HeaderMap::new();
            for name in ["cache-control", "vary", "age", "expires", "date", "cdn-cache-control", "accept-encoding", "content-encoding", "etag"] {
                headers.insert(name, value.clone());
            }
            let head = Head { headers: headers.clone(), ..head("") };
            let _ = (storable(&headers, &head), lifetime(&head), age(at(0), &head), renewed(&head, &head));
        }
    }

    #[test]
    fn what_is_written_is_read(flags in prop::collection::vec(0usize..10, 0..10), numbers in prop::array::uniform6(any_seconds())) {
        let names = ["no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate", "must-understand", "no-transform", "only-if-cached", "immutable"];
        let [max_age, s_maxage, min_fresh, max_stale, stale_if_error, stale_while_revalidate] = numbers;
        let text = flags.iter().map(|flag| names[*flag]).collect::<Vec<_>>().join(",");
        let mut control = CacheControl::of_response(&fields(&format!("cache-control: {text}")));
        (control.max_age, control.s_maxage, control.min_fresh) = (max_age, s_maxage, min_fresh);
        (control.max_stale, control.stale_if_error) = (max_stale, stale_if_error);
        control.stale_while_revalidate = stale_while_revalidate;
        let again = CacheControl::of_response(&fields(&format!("cache-control: {control}")));
        prop_assert_eq!(again, control);
    }

    #[test]
    fn what_is_no_longer_fresh_never_becomes_fresh_again(max_age in 0u64..10_000, told in 0u64..10_000, early in 0u64..20_000, later in 0u64..20_000) {
        let stored = [stored("", &format!("{DATE} | {TAG} | cache-control: max-age={max_age} | age: {told}"))];
        let asked = Asked { method: &Method::GET, headers: &HeaderMap::new() };
        let fresh = |seconds| word(seconds, &asked, &stored) == "fresh";
        prop_assert!(fresh(early) || !fresh(early + later));
        prop_assert_eq!(fresh(early), told + early < max_age);
    }
}
