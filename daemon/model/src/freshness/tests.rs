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

/// The decision in a word.
fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Serve { stale: false, .. } => "fresh",
        Decision::Serve { stale: true, .. } => "stale",
        Decision::Revalidate { may_serve_stale_on_error: true, .. } => "ask",
        Decision::Revalidate { may_serve_stale_on_error: false, .. } => "ask or fail",
        Decision::Fetch => "fetch",
        Decision::PassThrough { .. } => "pass",
        Decision::OnlyIfCached504 => "504",
    }
}

fn check(response: &str, request: &str, seconds: u64, expected: &str) {
    let stored = [stored("", response)];
    let asked = Asked { method: &Method::GET, headers: &fields(request) };
    let decision = decide(at(seconds), &asked, &stored);
    assert_eq!(word(decision), expected, "{response} <- {request} after {seconds} s");
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
        (dated("cache-control: no-cache=\"set-cookie\", max-age=60"), "", 0, "ask or fail"),
        (dated("cache-control: max-age=60, must-revalidate"), "", 59, "fresh"),
        (dated("cache-control: max-age=60, must-revalidate"), "", 60, "ask or fail"),
        (dated("cache-control: max-age=60, proxy-revalidate"), "", 60, "ask or fail"),
        (dated("cache-control: max-age=60, stale-if-error=30"), "", 89, "ask"),
        (dated("cache-control: max-age=60, stale-if-error=30"), "", 91, "ask or fail"),
        (dated("cache-control: max-age=60, stale-while-revalidate=30, unknown=\"a, b\""), "", 60, "ask"),
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
        (dated("cache-control: max-age=60"), "cache-control: max-age=0", 0, "fresh"),
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
        let decision = decide(at(0), &Asked { method: &method, headers: &fields(request) }, &[]);
        assert_eq!(word(decision), expected, "{method} {request}");
    }
}

#[test]
fn what_may_be_stored() {
    use NotStorable as No;
    let good = format!("{DATE} | {TAG} | ");
    for (request, response, expected) in [
        ("", "cache-control: max-age=60", Ok(())),
        ("", "", Ok(())),
        ("", "content-encoding: identity", Ok(())),
        ("", "cache-control: no-cache", Ok(())),
        ("", "cache-control: No-Store", Err(No::NoStore)),
        ("", "cache-control: max-age=60 | cache-control: no-store", Err(No::NoStore)),
        ("", "cache-control: max-age=60; no-store", Err(No::NoStore)),
        ("", "cache-control: no-store=1", Err(No::NoStore)),
        ("", "cache-control: no-store, must-understand, max-age=60", Ok(())),
        ("", "cache-control: x=\"no-store\"", Ok(())),
        ("", "cache-control: private", Err(No::Private)),
        ("", "cache-control: private=\"x-name\", public", Err(No::Private)),
        ("", "set-cookie: a=b", Err(No::SetCookie)),
        ("", "set-cookie: a=b | cache-control: public, max-age=60", Err(No::SetCookie)),
        ("", "vary: *", Err(No::VaryAny)),
        ("", "vary: accept-encoding, *", Err(No::VaryAny)),
        ("", "vary: not a name", Err(No::VaryAny)),
        ("", "vary: a, b, c, d, e, f, g, h, i", Err(No::VaryAny)),
        ("", "vary: cookie", Ok(())),
        ("cookie: a=b", "cache-control: max-age=60", Err(No::Cookie)),
        ("cookie: a=b", "cache-control: public, max-age=60", Err(No::Cookie)),
        ("authorization: Basic eA==", "cache-control: max-age=60", Err(No::Authorization)),
        ("authorization: Basic eA==", "cache-control: max-age=60, must-revalidate", Err(No::Authorization)),
        ("authorization: Basic eA==", "cache-control: public, s-maxage=60", Err(No::Authorization)),
        ("cache-control: no-store", "cache-control: max-age=60", Err(No::RequestNoStore)),
        ("accept-encoding: gzip", "content-encoding: gzip | vary: accept-encoding", Ok(())),
        ("accept-encoding: gzip", "content-encoding: x-gzip | vary: accept-encoding", Ok(())),
        ("accept-encoding: *", "content-encoding: br | vary: accept-encoding", Ok(())),
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
        ("cache-control: max-age=60", Ok(())),
        ("etag: W/\"a\"", Ok(())),
        (MODIFIED, Ok(())),
    ] {
        assert_eq!(
            storable(&HeaderMap::new(), &head(&format!("{DATE} | {response}"))),
            expected,
            "{response}"
        );
    }
    for (status, expected) in
        [(206, Ok(())), (203, Err(No::Status)), (301, Err(No::Status)), (404, Err(No::Status))]
    {
        let head = Head { status: StatusCode::from_u16(status).expect("valid"), ..head(&good) };
        assert_eq!(storable(&HeaderMap::new(), &head), expected, "{status}");
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
        let serve = Decision::Serve { index: expected, age: Duration::from_secs(age), stale: false };
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
        ("origin, accept-encoding", "origin: a | accept-encoding: br", "accept-encoding: br | origin: a"),
    ];
    let different = [
        ("accept-encoding", "", "accept-encoding: gzip"),
        ("accept-encoding", "", "accept-encoding: deflate"),
        ("accept-encoding", "", "accept-encoding: identity;q=0"),
        ("accept-language", "", "accept-language:"),
        ("accept-language", "accept-language: de", "accept-language: en"),
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
        ("etag: a", String::new()),
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
                  | content-range: bytes 0-1/2 | set-cookie: a=b | content-digest: x | connection: close \
                  | cache-control: max-age=60 | cache-control: immutable | link: <c>";
    let after = "date: Sun, 06 Nov 1994 08:49:37 GMT | etag: \"a\" | content-type: a/b | content-length: 5 \
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
        assert_eq!(fallback(at(3600), &asked, &stored), expected, "{response} <- {request}");
    }
}

fn any_seconds() -> impl Strategy<Value = Option<Duration>> {
    prop::option::of((0u64..1 << 31).prop_map(Duration::from_secs))
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut headers = HeaderMap::new();
            for name in ["cache-control", "vary", "age", "expires", "date", "accept-encoding", "content-encoding", "etag"] {
                headers.insert(name, value.clone());
            }
            let head = Head { headers: headers.clone(), ..head("") };
            let _ = (storable(&headers, &head), lifetime(&head), age(at(0), &head), renewed(&head, &head));
        }
    }

    #[test]
    fn what_is_written_is_read(flags in prop::collection::vec(0usize..10, 0..10), numbers in prop::array::uniform5(any_seconds())) {
        let names = ["no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate", "must-understand", "no-transform", "only-if-cached", "immutable"];
        let [max_age, s_maxage, min_fresh, max_stale, stale_if_error] = numbers;
        let text = flags.iter().map(|flag| names[*flag]).collect::<Vec<_>>().join(",");
        let mut control = CacheControl::of_response(&fields(&format!("cache-control: {text}")));
        (control.max_age, control.s_maxage, control.min_fresh) = (max_age, s_maxage, min_fresh);
        (control.max_stale, control.stale_if_error) = (max_stale, stale_if_error);
        let again = CacheControl::of_response(&fields(&format!("cache-control: {control}")));
        prop_assert_eq!(again, control);
    }

    #[test]
    fn what_is_no_longer_fresh_never_becomes_fresh_again(max_age in 0u64..10_000, told in 0u64..10_000, early in 0u64..20_000, later in 0u64..20_000) {
        let stored = [stored("", &format!("{DATE} | {TAG} | cache-control: max-age={max_age} | age: {told}"))];
        let asked = Asked { method: &Method::GET, headers: &HeaderMap::new() };
        let fresh = |seconds| word(decide(at(seconds), &asked, &stored)) == "fresh";
        prop_assert!(fresh(early) || !fresh(early + later));
        prop_assert_eq!(fresh(early), told + early < max_age);
    }
}
