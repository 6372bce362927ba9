//! The fields of a request to an origin: what is passed on, what is added, what is left out. Pure.

use std::fmt::Write as _;

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PROXY_AUTHORIZATION, RANGE, USER_AGENT, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use kith_fetch::ask::Part;
use kith_model::key::Target;

use crate::strict::end_to_end;

const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

/// Whether the request has been through the box that signs its `Via` with `token`.
pub(crate) fn came_back(headers: &HeaderMap, token: &str) -> bool {
    let is_ours = |via: &str| {
        via.split(|at: char| !(at.is_ascii_alphanumeric() || at == '-' || at == '_'))
            .any(|word| word == token)
    };
    !token.is_empty() && headers.get_all(VIA).iter().any(|via| via.to_str().is_ok_and(is_ours))
}

/// The fields to send for a question with `asked` fields.
pub(crate) fn outgoing(asked: &HeaderMap, token: &str) -> HeaderMap {
    let mut headers = end_to_end(asked);
    for ours in [HOST, CONTENT_LENGTH, EXPECT, PROXY_AUTHORIZATION, RANGE, IF_RANGE, WANT_REPR_DIGEST] {
        headers.remove(ours);
    }
    // Without this field a server may choose any coding (RFC 9110 section 12.5.3), and a choice that changes from one
    // request to the next would change the bytes that ranges and digests count.
    headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!("kith/", env!("CARGO_PKG_VERSION"))));
    headers.insert(WANT_REPR_DIGEST, HeaderValue::from_static("sha-256=10, sha-512=5"));
    headers.append(VIA, signature(token));
    headers
}

/// `1.1 kith (token)`: the pseudonym that all boxes share, and which box it is as a comment (RFC 9110 section 7.6.3).
fn signature(token: &str) -> HeaderValue {
    let mut signature = "1.1 kith".to_owned();
    if !token.is_empty() {
        let _ = write!(signature, " ({token})");
    }
    HeaderValue::from_str(&signature).unwrap_or(HeaderValue::from_static("1.1 kith"))
}

/// Adds the fields that ask for a part.
pub(crate) fn ask_for(part: &Part, headers: &mut HeaderMap) {
    let mut range = format!("bytes={}-", part.start);
    if let Some(last) = part.end.and_then(|end| end.checked_sub(1)) {
        let _ = write!(range, "{last}");
    }
    if let Ok(range) = HeaderValue::from_str(&range) {
        headers.insert(RANGE, range);
    }
    if let Some(version) = &part.of {
        headers.insert(IF_RANGE, version.value().clone());
    }
}

/// Takes out the fields that ask whether something has changed: a further part is bound by `If-Range` alone.
pub(crate) fn without_conditions(headers: &mut HeaderMap) {
    for condition in [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
        headers.remove(condition);
    }
}

/// Takes out what was meant for `from` when the next request goes to another origin (RFC 6454 section 4: scheme, host
/// and port).
pub(crate) fn leave_secrets_behind(headers: &mut HeaderMap, from: &Target, to: &Target) {
    let origin = |target: &Target| (target.scheme(), target.host().to_owned(), target.port());
    if origin(from) != origin(to) {
        headers.remove(AUTHORIZATION);
        headers.remove(COOKIE);
    }
}

#[cfg(test)]
mod tests {
    use kith_model::representation::StrongValidator;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_question_carries_what_the_asker_said_and_what_is_ours() {
        let sent = outgoing(
            &headers(&[
                ("accept", "*/*"),
                ("host", "evil.test"),
                ("connection", "x-own"),
                ("x-own", "1"),
                ("range", "bytes=5-"),
                ("if-range", "\"x\""),
                ("via", "1.0 fred"),
                ("content-length", "5"),
                ("if-none-match", "\"a\""),
            ]),
            "k7",
        );
        let expected = headers(&[
            ("accept", "*/*"),
            ("if-none-match", "\"a\""),
            ("accept-encoding", "identity"),
            ("user-agent", concat!("kith/", env!("CARGO_PKG_VERSION"))),
            ("want-repr-digest", "sha-256=10, sha-512=5"),
            ("via", "1.0 fred"),
            ("via", "1.1 kith (k7)"),
        ]);
        assert_eq!(sent, expected);
        let given = outgoing(&headers(&[("accept-encoding", "gzip"), ("user-agent", "curl")]), "");
        assert_eq!(
            (&given["accept-encoding"], &given["user-agent"]),
            (&"gzip".parse().expect("a value"), &"curl".parse().expect("a value"))
        );
        assert_eq!(given["via"], "1.1 kith");
    }

    #[test]
    fn a_request_that_came_back_is_known_by_its_token_and_not_by_the_shared_name() {
        for (via, expected) in [
            ("1.1 kith (k7)", true),
            ("1.1 kith (other), 1.1 fred, 1.1 kith (k7)", true),
            ("1.1 kith (k77)", false),
            ("1.1 kith (other)", false),
            ("1.1 k7", true),
        ] {
            assert_eq!(came_back(&headers(&[("via", via)]), "k7"), expected, "{via}");
        }
        assert!(!came_back(&headers(&[("via", "1.1 kith")]), ""));
        assert!(came_back(&outgoing(&HeaderMap::new(), "kith-3f9a"), "kith-3f9a"));
    }

    #[test]
    fn a_part_is_asked_for_with_its_version() {
        let mut sent = HeaderMap::new();
        let tag = StrongValidator::ETag(HeaderValue::from_static("\"a\""));
        ask_for(&Part { start: 16384, end: Some(32768), of: Some(tag) }, &mut sent);
        assert_eq!(sent, headers(&[("range", "bytes=16384-32767"), ("if-range", "\"a\"")]));
        ask_for(&Part { start: 5, end: None, of: None }, &mut sent);
        assert_eq!(sent["range"], "bytes=5-");
    }

    #[test]
    fn secrets_stay_with_their_origin() {
        let from = Target::parse("https://a.example/x").expect("a target");
        for (to, kept) in [
            ("https://a.example/y", true),
            ("https://a.example:444/y", false),
            ("http://a.example/y", false),
            ("https://b.example/y", false),
        ] {
            let mut sent = headers(&[("cookie", "a=b"), ("authorization", "Basic eA=="), ("accept", "*/*")]);
            leave_secrets_behind(&mut sent, &from, &Target::parse(to).expect(to));
            assert_eq!(sent.len(), if kept { 3 } else { 1 }, "{to}");
        }
    }
}
