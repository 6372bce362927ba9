//! Asking whether a stored response still holds, and what a 304 or the answer to a HEAD changes (RFC 9111 sections
//! 3.2, 4.3 and 4.3.5).

use http::HeaderMap;
use http::header::{
    AGE, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, EXPIRES, HeaderName,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};

use crate::representation::{Head, Representation, StrongValidator, http_date};
use crate::time::UnixMillis;

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

/// A weak or strong entity tag (RFC 9110 section 8.8.3), or one whose quotes were forgotten: the server that sends such
/// a tag knows it again. Anything else would be a malformed question.
fn is_tag(value: &[u8]) -> bool {
    let opaque = value.strip_prefix(b"W/").unwrap_or(value);
    let is_plain = |inner: &[u8]| !inner.iter().any(|byte| *byte <= b' ' || matches!(byte, b'"' | 0x7f));
    match opaque.strip_prefix(b"\"") {
        Some(rest) => rest.strip_suffix(b"\"").is_some_and(is_plain),
        None => !opaque.is_empty() && !opaque.contains(&b',') && opaque != b"*" && is_plain(opaque),
    }
}

/// Whether a 304 speaks of the stored response (section 4.3.4): a strong entity tag in it must be the stored one.
/// A 304 without any confirms the one response that was asked about.
pub fn confirms(stored: &Head, answer: &Head) -> bool {
    match StrongValidator::of(&answer.headers) {
        Some(StrongValidator::ETag(tag)) => stored.headers.get(ETAG) == Some(&tag),
        _ => true,
    }
}

/// Whether a 200 to a HEAD speaks of the stored response (section 4.3.5): each validator in it and its length, when it
/// tells one, are those that are stored.
pub fn described_by(stored: &Representation, answer: &Head) -> bool {
    let same = |name: &HeaderName| {
        let told = answer.headers.get(name);
        told.is_none() || told == stored.head.headers.get(name)
    };
    let length = answer.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let any = !questions(&answer.headers).is_empty() || length.is_some();
    any && same(&ETAG) && same(&LAST_MODIFIED) && length.is_none_or(|length: u64| length == stored.length)
}

/// The stored response as one that is stale from now on, whatever its lifetime (section 4.3.5): the origin has another
/// version. Nothing but its validators counts then.
pub fn outdated(stored: &Representation) -> Representation {
    let head = Head { requested_at: LONG_AGO, received_at: LONG_AGO, ..stored.head.clone() };
    Representation { head, ..stored.clone() }
}

/// Whether a stored head was marked so: it is not used again before its origin was asked, nor given to others.
pub fn is_outdated(head: &Head) -> bool {
    head.received_at == LONG_AGO
}

/// When what is outdated is said to have come.
const LONG_AGO: UnixMillis = UnixMillis(0);

/// The stored head after a 304 or a HEAD (section 3.2): the answer's fields replace the stored ones, save those that
/// describe the message or the stored bytes. Whether the result may still be stored is for [`super::keepable`] to say,
/// and what of it for [`super::kept`].
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
/// depend on: their coding and their place. A 304's `Content-Digest` is that of its own empty content.
fn may_be_replaced(name: &HeaderName) -> bool {
    const KEPT: [HeaderName; 10] = [
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    const KEPT_BY_NAME: [&str; 4] =
        ["content-digest", "keep-alive", "proxy-authentication-info", "proxy-connection"];
    !KEPT.contains(name) && !KEPT_BY_NAME.contains(&name.as_str())
}

/// Whether a confirmation says anything of the representation that was not known: other than what each exchange says
/// anew of itself, such as its time, its way and its number in somebody's log.
pub fn is_news(stored: &Head, renewed: &Head) -> bool {
    const OF_THE_EXCHANGE: [HeaderName; 4] = [AGE, DATE, EXPIRES, VIA];
    const OF_THE_EXCHANGE_BY_NAME: [&str; 16] = [
        "alt-svc",
        "cf-cache-status",
        "cf-ray",
        "nel",
        "report-to",
        "reporting-endpoints",
        "server-timing",
        "x-amz-cf-id",
        "x-amz-id-2",
        "x-amz-request-id",
        "x-cache",
        "x-cache-hits",
        "x-request-id",
        "x-served-by",
        "x-timer",
        "x-varnish",
    ];
    let lasting = |head: &Head| {
        let mut lasting = head.headers.clone();
        for name in OF_THE_EXCHANGE {
            lasting.remove(name);
        }
        for name in OF_THE_EXCHANGE_BY_NAME {
            lasting.remove(name);
        }
        lasting
    };
    lasting(stored) != lasting(renewed)
}
