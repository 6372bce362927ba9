//! The fields of a request to an origin: what is passed on, what is added, what is left out. Pure.

use std::fmt::Write as _;

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PROXY_AUTHORIZATION, RANGE,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use kith_fetch::ask::Part;
use kith_fetch::relay::Relayed;
use kith_model::key::Target;
use kith_model::signature::Signature;

use crate::strict::end_to_end;

const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

/// The fields to send for a question with `asked` fields.
pub(crate) fn outgoing(asked: &HeaderMap, signature: &Signature) -> HeaderMap {
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
    signature.sign(&mut headers);
    headers
}

/// The fields of a request that passes by the store: what the client said, without what frames its message to us, and
/// what frames ours.
pub(crate) fn relayed(request: &Relayed, signature: &Signature) -> HeaderMap {
    let mut headers = end_to_end(&request.headers);
    for ours in [HOST, CONTENT_LENGTH, EXPECT, PROXY_AUTHORIZATION] {
        headers.remove(ours);
    }
    if let Ok(host) = HeaderValue::from_str(&request.target.authority()) {
        headers.insert(HOST, host);
    }
    if let Some(content) = &request.content {
        match content.length {
            Some(length) => headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
            None => headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
        };
        if content.expects_continue {
            headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        }
    }
    if let Some(protocols) = &request.upgrade {
        headers.insert(UPGRADE, protocols.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        // Its connection carries nothing else.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    signature.sign(&mut headers);
    headers
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
            &Signature::new("k7"),
        );
        let expected = headers(&[
            ("accept", "*/*"),
            ("if-none-match", "\"a\""),
            ("accept-encoding", "identity"),
            ("user-agent", concat!("kith/", env!("CARGO_PKG_VERSION"))),
            ("want-repr-digest", "sha-256=10, sha-512=5"),
            ("via", "1.0 fred"),
            ("via", "1.1 kith (k7)"),
            ("cdn-loop", "kith; box=k7"),
        ]);
        assert_eq!(sent, expected);
        let given =
            outgoing(&headers(&[("accept-encoding", "gzip"), ("user-agent", "curl")]), &Signature::default());
        assert_eq!(
            (&given["accept-encoding"], &given["user-agent"]),
            (&"gzip".parse().expect("a value"), &"curl".parse().expect("a value"))
        );
        assert_eq!(given["via"], "1.1 kith");
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
