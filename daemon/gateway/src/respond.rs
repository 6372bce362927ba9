//! From what is to be served to a response: status, fields, and the part of the content that was asked for.
//!
//! Knows the fields of RFC 9110, 9111, 9211 and 9530 that a cache adds. Decides nothing about where content comes
//! from.

use std::fmt::Write as _;
use std::time::Duration;

use data_encoding::BASE64;
use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use kith_fetch::ask::Verb;
use kith_fetch::counters::BySource;
use kith_model::freshness::Lack;
use kith_model::ladder::{Algorithm, Digest, Ladder};
use kith_model::object::ObjectId;
use kith_model::range::ByteRange;

use crate::body::Body;
use crate::fields;
use crate::range;
use crate::request::{Door, FileName};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// They speak of the bytes of one message, not of the whole.
const OF_ONE_MESSAGE: [&str; 2] = ["content-digest", "content-md5"];

/// How the store had to do with an answer (RFC 9211).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheStatus {
    /// From the shelf, without asking; fresh for so much longer.
    Hit(Duration),
    /// From the shelf, past its lifetime by so much: client or origin let that be.
    Stale(Duration),
    /// From the shelf, since the origin cannot be reached.
    Offline,
    /// From the shelf; the origin confirmed it.
    Confirmed(Forwarded),
    /// The origin's own, by way of the shelf.
    Stored {
        /// Why the shelf was not enough.
        forwarded: Forwarded,
        /// What the origin answered.
        status: StatusCode,
        /// Somebody else's request was joined.
        collapsed: bool,
        /// Who delivered what is here of it already.
        delivered: BySource,
    },
    /// The origin's own, past the shelf.
    Passed {
        /// Why the shelf was not enough.
        forwarded: Forwarded,
        /// What the origin answered.
        status: StatusCode,
    },
    /// The shelf cannot take it.
    Storage,
}

/// Why a request went on to the origin (RFC 9211 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarded {
    /// Nothing stored for the URL.
    UriMiss,
    /// What is stored was selected by other fields.
    VaryMiss,
    /// What is stored is to be confirmed first.
    Stale,
    /// What is stored is fresh, and the request asks for more.
    Request,
    /// A part is stored; the rest was missing.
    Partial,
    /// The request asked to pass by.
    Bypass,
    /// Its method is not one that a store answers.
    Method,
}

impl Forwarded {
    fn as_str(self) -> &'static str {
        match self {
            Forwarded::UriMiss => "uri-miss",
            Forwarded::VaryMiss => "vary-miss",
            Forwarded::Stale => "stale",
            Forwarded::Request => "request",
            Forwarded::Partial => "partial",
            Forwarded::Bypass => "bypass",
            Forwarded::Method => "method",
        }
    }
}

impl From<Lack> for Forwarded {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::Target => Forwarded::UriMiss,
            Lack::Variant => Forwarded::VaryMiss,
            Lack::Stale => Forwarded::Stale,
            Lack::Request => Forwarded::Request,
        }
    }
}

impl CacheStatus {
    fn value(self) -> HeaderValue {
        let text = match self {
            // Section 2.4: what is left of its lifetime.
            CacheStatus::Hit(left) => format!("kith; hit; ttl={}", left.as_secs()),
            // A lifetime that is over is told as less than nothing.
            CacheStatus::Stale(over) => format!("kith; hit; ttl=-{}; detail=stale", over.as_secs()),
            CacheStatus::Offline => {
                return HeaderValue::from_static("kith; hit; fwd=stale; detail=offline");
            }
            CacheStatus::Confirmed(forwarded) => {
                format!("kith; hit; fwd={}; fwd-status=304", forwarded.as_str())
            }
            CacheStatus::Storage => return HeaderValue::from_static("kith; fwd=bypass; detail=storage"),
            CacheStatus::Stored { forwarded, status, collapsed, delivered } => {
                let collapsed = if collapsed { "; collapsed" } else { "" };
                let (reason, status) = (forwarded.as_str(), status.as_u16());
                let mut text = format!("kith; fwd={reason}; fwd-status={status}; stored{collapsed}");
                let BySource { origin, neighbour, mirror } = delivered;
                // Of what has only begun to come nothing is known yet; the log tells it at the end.
                if delivered != BySource::default() {
                    let _ = write!(
                        text,
                        "; detail=\"origin={origin},neighbour={neighbour},mirror={mirror},swarm=0\""
                    );
                }
                text
            }
            CacheStatus::Passed { forwarded, status } => {
                format!("kith; fwd={}; fwd-status={}", forwarded.as_str(), status.as_u16())
            }
        };
        HeaderValue::from_str(&text).expect("invariant: tokens and numbers")
    }
}

/// The fields of an answer that a site gave, as this client gets them.
pub(crate) fn site_fields(
    mut headers: HeaderMap,
    door: Door,
    status: CacheStatus,
    age: Option<Duration>,
) -> HeaderMap {
    fields::for_client(&mut headers, door);
    // RFC 9211 section 2: each cache adds its own, the one nearest to the origin stands first.
    headers.append(CACHE_STATUS, status.value());
    headers.append(VIA, HeaderValue::from_static("1.1 kith"));
    if let Some(age) = age {
        headers.insert(AGE, HeaderValue::from(age.as_secs()));
    }
    headers
}

/// Says which digest the whole has, when the origin did not (RFC 9530: of the whole also in a 206).
pub(crate) fn tell_digest(headers: &mut HeaderMap, ladder: &Ladder) {
    if headers.contains_key(&REPR_DIGEST) {
        return;
    }
    if let Some(digest) = ladder.digest(Algorithm::Sha256) {
        headers.insert(REPR_DIGEST, repr_digest(digest));
    }
}

fn repr_digest(digest: &Digest) -> HeaderValue {
    let mut text = "sha-256=:".to_owned();
    BASE64.encode_append(digest.bytes(), &mut text);
    text.push(':');
    HeaderValue::from_str(&text).expect("invariant: base64")
}

/// The fields of an object that was asked for by hash.
pub(crate) fn object_fields(id: &ObjectId, name: Option<&FileName>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    let mut tag = String::with_capacity(70);
    let _ = write!(tag, "\"b3-{id}\"");
    headers.insert(ETAG, HeaderValue::from_str(&tag).expect("invariant: hex"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    // Nobody says what it is, so a browser must not guess that it is a page of ours.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Some(name) = name {
        headers.insert(CONTENT_DISPOSITION, name.disposition());
    }
    fields::for_client(&mut headers, Door::Prefix);
    headers.append(CACHE_STATUS, HeaderValue::from_static("kith; hit"));
    headers.append(VIA, HeaderValue::from_static("1.1 kith"));
    headers
}

/// 304: the fields without those that describe content (RFC 9110 section 15.4.5).
pub(crate) fn not_modified(mut headers: HeaderMap) -> Response<Body> {
    for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_RANGE, http::header::CONTENT_ENCODING] {
        headers.remove(name);
    }
    forget_message(&mut headers);
    with(StatusCode::NOT_MODIFIED, headers, Body::empty())
}

/// The whole with its status, or 206 with a range of it.
pub(crate) fn content(
    mut headers: HeaderMap,
    status: StatusCode,
    part: Option<ByteRange>,
    length: Option<u64>,
    verb: Verb,
    body: Body,
) -> Response<Body> {
    headers.remove(CONTENT_RANGE);
    if status != StatusCode::OK {
        return passed(status, headers, length, verb, body);
    }
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let body = if verb == Verb::Head { Body::empty() } else { body };
    let (Some(part), Some(length)) = (part, length) else {
        tell_length(&mut headers, length);
        return with(StatusCode::OK, headers, body);
    };
    forget_message(&mut headers);
    tell_length(&mut headers, Some(part.len()));
    headers.insert(CONTENT_RANGE, range::content_range(part, length));
    with(StatusCode::PARTIAL_CONTENT, headers, body)
}

/// An answer of the origin as it is, by way of the shelf or past it.
pub(crate) fn passed(
    status: StatusCode,
    mut headers: HeaderMap,
    length: Option<u64>,
    verb: Verb,
    body: Body,
) -> Response<Body> {
    tell_length(&mut headers, length);
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        // RFC 9110 section 8.6.
        headers.remove(CONTENT_LENGTH);
    }
    let body = if verb == Verb::Head { Body::empty() } else { body };
    with(status, headers, body)
}

/// The connection ends with this answer.
pub(crate) fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn tell_length(headers: &mut HeaderMap, length: Option<u64>) {
    headers.remove(CONTENT_LENGTH);
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

fn forget_message(headers: &mut HeaderMap) {
    for name in OF_ONE_MESSAGE {
        headers.remove(name);
    }
}

fn with(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cache_status_is_the_contracts() {
        for (status, expected) in [
            (CacheStatus::Hit(Duration::from_secs(7)), "kith; hit; ttl=7"),
            (CacheStatus::Stale(Duration::from_secs(5)), "kith; hit; ttl=-5; detail=stale"),
            (CacheStatus::Confirmed(Forwarded::Request), "kith; hit; fwd=request; fwd-status=304"),
            (CacheStatus::Offline, "kith; hit; fwd=stale; detail=offline"),
            (CacheStatus::Storage, "kith; fwd=bypass; detail=storage"),
            (
                CacheStatus::Stored {
                    forwarded: Forwarded::UriMiss,
                    status: StatusCode::NOT_FOUND,
                    collapsed: true,
                    delivered: BySource::default(),
                },
                "kith; fwd=uri-miss; fwd-status=404; stored; collapsed",
            ),
            (
                CacheStatus::Stored {
                    forwarded: Forwarded::Partial,
                    status: StatusCode::OK,
                    collapsed: false,
                    delivered: BySource { origin: 1, neighbour: 2, mirror: 3 },
                },
                "kith; fwd=partial; fwd-status=200; stored; detail=\"origin=1,neighbour=2,mirror=3,swarm=0\"",
            ),
            (
                CacheStatus::Passed { forwarded: Forwarded::Bypass, status: StatusCode::NOT_FOUND },
                "kith; fwd=bypass; fwd-status=404",
            ),
        ] {
            assert_eq!(status.value(), expected);
        }
    }

    #[test]
    fn the_digest_is_written_as_rfc_9530_does() {
        let digest = Digest::new(Algorithm::Sha256, &[0; 32]).expect("32 bytes");
        assert_eq!(repr_digest(&digest), "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:");
    }

    #[test]
    fn a_part_names_its_place_and_loses_digests_of_the_message() {
        let mut headers = HeaderMap::new();
        headers.insert("content-digest", HeaderValue::from_static("sha-256=:AA==:"));
        let part = ByteRange::new(2, 5);
        let response = content(headers, StatusCode::OK, part, Some(10), Verb::Get, Body::empty());
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(response.headers()[CONTENT_RANGE], "bytes 2-4/10");
        assert_eq!(response.headers()[CONTENT_LENGTH], "3");
        assert!(!response.headers().contains_key("content-digest"));
    }
}
