//! Asking whether a stored response still holds, and what a 304 changes (RFC 9111 sections 3.2 and 4.3).

use http::HeaderMap;
use http::header::{
    AGE, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, HeaderName,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use crate::representation::{Head, Representation, StrongValidator, http_date};

/// The fields that ask the origin whether the stored response still holds (section 4.3.1). Empty when there is
/// nothing to ask with.
pub fn conditional(stored: &Representation) -> HeaderMap {
    questions(&stored.head.headers)
}

pub(super) fn questions(stored: &HeaderMap) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let mut tags = stored.get_all(ETAG).iter();
    if let (Some(tag), None) = (tags.next(), tags.next())
        && is_tag(tag.as_bytes())
    {
        fields.insert(IF_NONE_MATCH, tag.clone());
    }
    if let Some(modified) = stored.get(LAST_MODIFIED).filter(|value| http_date(value).is_some()) {
        fields.insert(IF_MODIFIED_SINCE, modified.clone());
    }
    fields
}

/// A weak or strong entity tag (RFC 9110 section 8.8.3); anything else would be a malformed question.
fn is_tag(value: &[u8]) -> bool {
    let opaque = value.strip_prefix(b"W/").unwrap_or(value);
    let inner = opaque.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.is_some_and(|inner| !inner.iter().any(|byte| *byte <= b' ' || matches!(byte, b'"' | 0x7f)))
}

/// Whether a 304 speaks of the stored response (section 4.3.4): a strong entity tag in it must be the stored one.
/// A 304 without any confirms the one response that was asked about.
pub fn confirms(stored: &Head, answer: &Head) -> bool {
    match StrongValidator::of(&answer.headers) {
        Some(StrongValidator::ETag(tag)) => stored.headers.get(ETAG) == Some(&tag),
        _ => true,
    }
}

/// The stored head after a 304 (section 3.2): its fields replace the stored ones, save those that describe the
/// message or the stored bytes. Whether the result may still be stored is for [`super::storable`] to say.
pub fn renewed(stored: &Head, answer: &Head) -> Head {
    let mut headers = stored.headers.clone();
    // They tell of the exchange, not of the representation: an old one must not outlive its exchange.
    headers.remove(AGE);
    headers.remove(DATE);
    for name in answer.headers.keys().filter(|name| may_be_replaced(name)) {
        headers.remove(name);
        for value in answer.headers.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    Head {
        status: stored.status,
        headers,
        requested_at: answer.requested_at,
        received_at: answer.received_at,
    }
}

/// Section 3.2 excepts the fields of section 3.1 and `Content-Length`, and lets a cache keep those its stored bytes
/// depend on. A 304's `Content-Digest` is that of nothing, and its `Set-Cookie` is one person's.
fn may_be_replaced(name: &HeaderName) -> bool {
    const KEPT: [HeaderName; 12] = [
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        SET_COOKIE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    const KEPT_BY_NAME: [&str; 5] =
        ["content-digest", "content-md5", "keep-alive", "proxy-authentication-info", "proxy-connection"];
    !KEPT.contains(name) && !KEPT_BY_NAME.contains(&name.as_str())
}
