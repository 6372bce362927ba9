//! What an exchange with the origin says of what is stored (RFC 9111 sections 4.2.4, 4.3 and 4.3.5).

use super::*;

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
