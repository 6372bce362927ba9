//! Representations (RFC 9110 section 3.2): what a target answers now.

use std::time::{Duration, UNIX_EPOCH};

use http::header::{DATE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::key::CacheKey;
use crate::ladder::Ladder;
use crate::object::ObjectId;
use crate::time::UnixMillis;

/// A validator that is the same only while the bytes are (RFC 9110 section 8.8.1): what a fetch in parts, a resumed
/// part and a neighbour's claim are bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StrongValidator {
    /// An entity tag without `W/`, with its quotes.
    ETag(HeaderValue),
    /// A `Last-Modified` that was at least a minute old when it was sent (RFC 9110 section 8.8.2.2).
    LastModified(HeaderValue),
}

impl StrongValidator {
    /// The first strong validator of a response's fields.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut tags = headers.get_all(ETAG).iter();
        if let (Some(tag), None) = (tags.next(), tags.next())
            && is_strong_tag(tag)
        {
            return Some(Self::ETag(tag.clone()));
        }
        let modified = headers.get(LAST_MODIFIED)?;
        let date = http_date(headers.get(DATE)?)?;
        (date.since(http_date(modified)?) >= Duration::from_secs(60))
            .then(|| Self::LastModified(modified.clone()))
    }

    /// The value for `If-Range`.
    pub fn value(&self) -> &HeaderValue {
        match self {
            Self::ETag(value) | Self::LastModified(value) => value,
        }
    }

    /// Bytes that no other validator has, for keys and claims.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, value) = match self {
            Self::ETag(value) => (b'e', value),
            Self::LastModified(value) => (b'm', value),
        };
        [&[kind], value.as_bytes()].concat()
    }

    /// The inverse of [`Self::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, value) = bytes.split_first()?;
        let value = HeaderValue::from_bytes(value).ok()?;
        match kind {
            b'e' => Some(Self::ETag(value)),
            b'm' => Some(Self::LastModified(value)),
            _ => None,
        }
    }
}

/// `"..."` of etag characters (RFC 9110 section 8.8.3).
fn is_strong_tag(tag: &HeaderValue) -> bool {
    let inner = tag.as_bytes().strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.is_some_and(|inner| {
        inner.iter().all(|byte| *byte == 0x21 || (0x23..=0x7e).contains(byte) || *byte >= 0x80)
    })
}

/// Parses an HTTP date in any of its three forms (RFC 9110 section 5.6.7).
pub fn http_date(value: &HeaderValue) -> Option<UnixMillis> {
    let moment = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    let since = moment.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok().map(UnixMillis)
}

/// Status and fields of a final response, as the origin sent them, without hop-by-hop fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Always that of the whole: a 206 is stored as the 200 it is a part of.
    pub status: StatusCode,
    /// All end-to-end fields.
    pub headers: HeaderMap,
    /// When the request was sent.
    pub requested_at: UnixMillis,
    /// When the head had arrived.
    pub received_at: UnixMillis,
}

/// How we came to know that an object is what a target answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All bytes came from the origin itself, or the whole matched a strong digest that the origin gave: we may
    /// sign a claim for it.
    FirstHand,
    /// Some bytes came under a paired box's claim and nothing else proves the whole: good for our own clients,
    /// never claimed to others.
    Claimed,
    /// Credentials had to do with it, or the origin let only us keep it: good for our own clients, never named to
    /// others.
    Household,
}

/// A stored response: which object a key stands for, and the head to serve with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Representation {
    /// What it is filed under.
    pub key: CacheKey,
    /// The selecting request fields (name in lower case, normalised value) that `Vary` names.
    pub selecting: Vec<(String, Vec<u8>)>,
    /// Status, fields and times.
    pub head: Head,
    /// The body.
    pub object: ObjectId,
    /// Its length in bytes.
    pub length: u64,
    /// How we know.
    pub standing: Standing,
}

/// What is known of an object besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name.
    pub id: ObjectId,
    /// Its length in bytes.
    pub length: u64,
    /// Its other names.
    pub ladder: Ladder,
    /// When it was complete.
    pub stored_at: UnixMillis,
    /// Excluded from eviction by its owner's wish.
    pub pinned: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn the_first_strong_validator_counts() {
        let (early, minute_later) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:37 GMT");
        let tag = |value| Some(StrongValidator::ETag(HeaderValue::from_static(value)));
        let modified = |value| Some(StrongValidator::LastModified(HeaderValue::from_static(value)));
        for (fields, expected) in [
            (headers(&[("etag", "\"a\"")]), tag("\"a\"")),
            (headers(&[("etag", "W/\"a\"")]), None),
            (headers(&[("etag", "a")]), None),
            (headers(&[("etag", "\"a\"b\"")]), None),
            (headers(&[("last-modified", early), ("date", minute_later)]), modified(early)),
            (headers(&[("last-modified", early), ("date", early)]), None),
            (headers(&[("last-modified", early)]), None),
            (
                headers(&[("etag", "W/\"a\""), ("last-modified", early), ("date", minute_later)]),
                modified(early),
            ),
        ] {
            assert_eq!(StrongValidator::of(&fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn validators_survive_their_bytes() {
        let tag = StrongValidator::ETag(HeaderValue::from_static("\"x\""));
        assert_eq!(StrongValidator::from_bytes(&tag.to_bytes()), Some(tag));
        assert_eq!(StrongValidator::from_bytes(b""), None);
        assert_eq!(StrongValidator::from_bytes(b"z1"), None);
        assert_eq!(StrongValidator::from_bytes(b"e\n"), None);
    }
}
