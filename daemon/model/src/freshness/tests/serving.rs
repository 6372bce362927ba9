//! What is served from the shelf, and what needs the origin first (RFC 9111 sections 4, 4.2 and 5.2).

use super::*;

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
