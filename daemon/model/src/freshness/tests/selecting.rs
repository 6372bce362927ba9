//! Which of several stored responses is meant (RFC 9111 section 4.1).

use super::*;

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
