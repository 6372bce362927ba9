//! What an answer must keep to beyond what the HTTP library checks, and what its head says about its content.
//!
//! Pure: a head and what was asked in, a [`Framing`] or a reason out. hyper takes some answers as complete that are
//! not ours to trust: `Content-Length` beside `Transfer-Encoding`, codings other than `chunked`, a repeated
//! `Content-Length`, content that ends with the connection. All of them leave their traces in the fields, so the
//! fields are what is looked at. Left to hyper: the syntax of the head and of chunks, differing lengths, content
//! shorter than its length, an unfinished last chunk, and the skipping of 1xx answers. A bare LF as a line's end is
//! taken, as RFC 9112 section 2.2 allows.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    TRANSFER_ENCODING,
};
use http::{HeaderMap, StatusCode, Version};
use kith_fetch::ask::{Part, Verb};
use kith_model::limits::{RESPONSE_HEADERS_BYTES_MAX, RESPONSE_HEADERS_COUNT_MAX};

/// Fields for one connection only (RFC 9110 section 7.6.1), besides those that `Connection` names.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authentication-info",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Beginnings of the names of fields that `Connection` may not take away: other caches lost the framing, the freshness
/// or the signature of a message that way.
const NEVER_HOP_BY_HOP: [&str; 26] = [
    "accept",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "cdn-",
    "content-",
    "cookie",
    "date",
    "digest",
    "etag",
    "expires",
    "host",
    "if-",
    "last-modified",
    "link",
    "location",
    "origin",
    "pragma",
    "range",
    "repr-digest",
    "set-cookie",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

/// Which bytes the content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// First byte; not 0 only for a 206.
    pub start: u64,
    /// One past the last byte, when the head says so.
    pub end: Option<u64>,
    /// Length of the whole representation, when the head says so.
    pub length: Option<u64>,
    /// Whether the end can be told from a broken connection.
    pub delimited: bool,
}

/// What was asked, as far as it decides which answers make sense.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whether content was asked for.
    pub verb: Verb,
    /// A part only.
    pub part: Option<Part>,
    /// Whether a 304 makes sense.
    pub conditional: bool,
}

impl Asked {
    /// What `headers` ask for with the rest.
    pub fn new(verb: Verb, part: Option<Part>, headers: &HeaderMap) -> Self {
        let conditional = headers.contains_key(IF_NONE_MATCH) || headers.contains_key(IF_MODIFIED_SINCE);
        Self { verb, part, conditional }
    }
}

/// Checks a head.
pub fn framing(
    asked: &Asked,
    version: Version,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Framing, &'static str> {
    check_head(status, headers)?;
    match (status, &asked.part) {
        (StatusCode::SWITCHING_PROTOCOLS, _) => Err("an upgrade that was not asked for"),
        (StatusCode::NOT_MODIFIED, _) if !asked.conditional => {
            Err("not modified, though nothing was said of an older version")
        }
        _ if is_bare(asked.verb, status) => bare(status, version, headers),
        (StatusCode::PARTIAL_CONTENT, None) => Err("a part, though the whole was asked for"),
        (StatusCode::PARTIAL_CONTENT, Some(part)) => partial(part, size(version, headers)?, headers),
        _ => Ok(size(version, headers)?.whole()),
    }
}

/// Checks the head of an answer that is passed on past the store: conditions and parts are between client and origin,
/// so only what frames the message is looked at.
pub fn framing_of_passed(
    verb: Verb,
    version: Version,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Framing, &'static str> {
    check_head(status, headers)?;
    if is_bare(verb, status) {
        return bare(status, version, headers);
    }
    Ok(size(version, headers)?.whole())
}

/// Whether there is no content whatever the fields say (RFC 9112 section 6.3).
fn is_bare(verb: Verb, status: StatusCode) -> bool {
    verb == Verb::Head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn bare(status: StatusCode, version: Version, headers: &HeaderMap) -> Result<Framing, &'static str> {
    let length = match size(version, headers)? {
        // What a GET would have carried (RFC 9110 sections 9.3.2 and 15.4.5); a 204 describes nothing.
        Size::Known(length) if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED => {
            Some(length)
        }
        _ => None,
    };
    Ok(Framing { start: 0, end: Some(0), length, delimited: true })
}

fn check_head(status: StatusCode, headers: &HeaderMap) -> Result<(), &'static str> {
    // RFC 9110 section 15: the first digit is 1 to 5. Who reads another one reads it in his own way.
    if status.as_u16() >= 600 {
        return Err("its status is none of HTTP's");
    }
    // each line with its colon, space and line end
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > RESPONSE_HEADERS_BYTES_MAX || headers.len() > RESPONSE_HEADERS_COUNT_MAX {
        return Err("its fields are too long or too many");
    }
    Ok(())
}

/// How the end of the content shows.
#[derive(Clone, Copy)]
enum Size {
    /// By its length.
    Known(u64),
    /// By chunked coding, or by the end of an HTTP/2 stream.
    Told,
    /// Not at all, or not reliably.
    Untold,
}

impl Size {
    fn whole(self) -> Framing {
        match self {
            Size::Known(length) => {
                Framing { start: 0, end: Some(length), length: Some(length), delimited: true }
            }
            Size::Told => Framing { start: 0, end: None, length: None, delimited: true },
            Size::Untold => Framing { start: 0, end: None, length: None, delimited: false },
        }
    }
}

fn size(version: Version, headers: &HeaderMap) -> Result<Size, &'static str> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(_), _) if length.is_some() => return Err("both a length and a transfer coding"),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => return Ok(Size::Told),
        (Some(_), _) => return Err("a transfer coding other than chunked"),
    }
    match length {
        None if version >= Version::HTTP_2 => Ok(Size::Told),
        None => Ok(Size::Untold),
        // "5, 5" and two equal lines: hyper reads them as one (RFC 9110 section 8.6 allows it); whoever sends this
        // is not to be relied on for what is stored.
        Some(length) if lengths.next().is_some() || length.as_bytes().contains(&b',') => Ok(Size::Untold),
        Some(length) => number(length.as_bytes()).map(Size::Known).ok_or("its length is no number"),
    }
}

/// The part must be the one that was asked for, to the byte (RFC 9110 section 15.3.7 lets a server send less; we ask
/// again where it matters, and a part of unknown end can't be told from a broken one).
fn partial(part: &Part, size: Size, headers: &HeaderMap) -> Result<Framing, &'static str> {
    if headers.get(CONTENT_TYPE).is_some_and(|kind| starts_with(kind.as_bytes(), b"multipart/byteranges")) {
        return Err("several parts, though one was asked for");
    }
    let mut ranges = headers.get_all(CONTENT_RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else {
        return Err("a part without its place");
    };
    let (first, last, length) =
        content_range(range.as_bytes()).ok_or("the place of the part is malformed")?;
    let end = last.checked_add(1).ok_or("the place of the part is malformed")?;
    let expected_end = match (part.end, length) {
        (Some(end), Some(length)) => end.min(length),
        (Some(end), None) => end,
        (None, Some(length)) => length,
        (None, None) => return Err("an open part of something of unknown length"),
    };
    // The first question for a target asks for more than its client does: a server may give what it will of that.
    let is_within = part.of.is_none() && part.start <= first && end <= expected_end;
    if !is_within && (first != part.start || end != expected_end) {
        return Err("another part than was asked for");
    }
    let delimited = match size {
        Size::Known(count) if count != end - first => {
            return Err("the length of the part is not that of its place");
        }
        Size::Known(_) | Size::Told => true,
        Size::Untold => false,
    };
    Ok(Framing { start: first, end: Some(end), length, delimited })
}

/// `bytes first-last/length` or `bytes first-last/*` (RFC 9110 section 14.4).
fn content_range(value: &[u8]) -> Option<(u64, u64, Option<u64>)> {
    let text = std::str::from_utf8(value).ok()?;
    let (unit, rest) = text.split_once(' ')?;
    let (place, length) = rest.split_once('/')?;
    let (first, last) = place.split_once('-')?;
    let (first, last) = (number(first.as_bytes())?, number(last.as_bytes())?);
    let length = if length == "*" { None } else { Some(number(length.as_bytes())?) };
    let fits = first <= last && length.is_none_or(|length| last < length);
    (unit.eq_ignore_ascii_case("bytes") && fits).then_some((first, last, length))
}

/// Digits only: no sign, no space.
fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if digits { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

fn starts_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// The fields without those for one connection only.
pub fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name: &HeaderName| !NEVER_HOP_BY_HOP.iter().any(|kept| name.as_str().starts_with(kept)))
        .collect();
    headers
        .iter()
        .filter(|(name, _)| !HOP_BY_HOP.contains(&name.as_str()) && !named.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use kith_model::representation::StrongValidator;
    use proptest::prelude::*;

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a field value"))
            })
            .collect()
    }

    fn whole() -> Asked {
        Asked { verb: Verb::Get, part: None, conditional: false }
    }

    fn part(start: u64, end: Option<u64>) -> Asked {
        Asked { verb: Verb::Get, part: Some(Part { start, end, of: None }), conditional: false }
    }

    fn of_a_version(start: u64, end: Option<u64>) -> Asked {
        let of = Some(StrongValidator::ETag(HeaderValue::from_static("\"a\"")));
        Asked { part: Some(Part { start, end, of }), ..part(start, end) }
    }

    fn check(asked: &Asked, status: u16, fields: &[(&'static str, &str)]) -> Result<Framing, &'static str> {
        let status = StatusCode::from_u16(status).expect("a status");
        framing(asked, Version::HTTP_11, status, &headers(fields))
    }

    #[test]
    fn only_a_single_length_or_chunked_alone_delimits() {
        let ok = |end, delimited| Ok(Framing { start: 0, end, length: end, delimited });
        let bad: Result<Framing, ()> = Err(());
        for (fields, expected) in [
            (&[("content-length", "5")][..], ok(Some(5), true)),
            (&[("transfer-encoding", "Chunked")], ok(None, true)),
            (&[], ok(None, false)),
            (&[("content-length", "5"), ("content-length", "5")], ok(None, false)),
            (&[("content-length", "5, 5")], ok(None, false)),
            (&[("content-length", "5"), ("transfer-encoding", "chunked")], bad),
            (&[("transfer-encoding", "gzip")], bad),
            (&[("transfer-encoding", "gzip, chunked")], bad),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], bad),
            (&[("content-length", "+5")], bad),
            (&[("content-length", "0x5")], bad),
            (&[("content-length", "")], bad),
            (&[("content-length", "99999999999999999999999")], bad),
        ] {
            assert_eq!(check(&whole(), 200, fields).map_err(|_| ()), expected, "{fields:?}");
        }
    }

    #[test]
    fn an_http_2_stream_delimits_itself() {
        let answer = framing(&whole(), Version::HTTP_2, StatusCode::OK, &HeaderMap::new());
        assert_eq!(answer, Ok(Framing { start: 0, end: None, length: None, delimited: true }));
    }

    #[test]
    fn answers_to_what_was_not_asked_are_nonsense() {
        for (asked, status, fields) in [
            (whole(), 206, &[("content-range", "bytes 0-4/5"), ("content-length", "5")][..]),
            (whole(), 304, &[]),
            (whole(), 101, &[]),
            (part(0, None), 304, &[]),
        ] {
            assert!(check(&asked, status, fields).is_err(), "{status}");
        }
        let asked = Asked::new(Verb::Get, None, &headers(&[("if-none-match", "\"a\"")]));
        assert!(check(&asked, 304, &[]).is_ok());
    }

    #[test]
    fn a_part_is_the_one_asked_for_or_nonsense() {
        let ok = |start, end, length| Ok(Framing { start, end: Some(end), length, delimited: true });
        let bad: Result<Framing, ()> = Err(());
        for (asked, range, expected) in [
            (part(10, Some(20)), "bytes 10-19/100", ok(10, 20, Some(100))),
            (part(10, Some(20)), "Bytes 10-19/*", ok(10, 20, None)),
            (part(10, None), "bytes 10-99/100", ok(10, 100, Some(100))),
            (part(90, Some(200)), "bytes 90-99/100", ok(90, 100, Some(100))),
            (part(10, None), "bytes 10-99/*", bad),
            (part(10, None), "bytes 10-98/100", ok(10, 99, Some(100))),
            (part(10, Some(20)), "bytes 10-18/100", ok(10, 19, Some(100))),
            (part(10, Some(20)), "bytes 12-18/100", ok(12, 19, Some(100))),
            (of_a_version(10, None), "bytes 10-98/100", bad),
            (of_a_version(10, Some(20)), "bytes 10-18/100", bad),
            (of_a_version(10, Some(20)), "bytes 10-19/100", ok(10, 20, Some(100))),
            (part(10, Some(20)), "bytes 9-19/100", bad),
            (part(10, Some(20)), "bytes 0-19/100", bad),
            (part(10, Some(20)), "bytes 10-19/15", bad),
            (part(10, Some(20)), "bytes 19-10/100", bad),
            (part(10, Some(20)), "bytes */100", bad),
            (part(10, Some(20)), "bytes 10-19", bad),
            (part(10, Some(20)), "octets 10-19/100", bad),
            (part(10, Some(20)), "bytes=10-19/100", bad),
            (part(10, Some(20)), "bytes 10-18446744073709551615/*", bad),
        ] {
            let answer = check(&asked, 206, &[("content-range", range), ("transfer-encoding", "chunked")]);
            assert_eq!(answer.map_err(|_| ()), expected, "{range}");
        }
    }

    #[test]
    fn a_part_with_another_length_two_places_or_several_parts_is_nonsense() {
        let range = ("content-range", "bytes 10-19/100");
        assert!(check(&part(10, Some(20)), 206, &[range, ("content-length", "10")]).is_ok());
        assert!(check(&part(10, Some(20)), 206, &[range, ("content-length", "11")]).is_err());
        assert!(check(&part(10, Some(20)), 206, &[range, range, ("content-length", "10")]).is_err());
        assert!(check(&part(10, Some(20)), 206, &[("content-length", "10")]).is_err());
        let several = ("content-type", "Multipart/Byteranges; boundary=x");
        assert!(check(&part(10, Some(20)), 206, &[range, several, ("content-length", "10")]).is_err());
    }

    #[test]
    fn heads_beyond_the_limits_are_nonsense() {
        let long = "x".repeat(RESPONSE_HEADERS_BYTES_MAX);
        assert!(check(&whole(), 200, &[("x-long", &long)]).is_err());
        let many = vec![("x-many", "1"); RESPONSE_HEADERS_COUNT_MAX + 1];
        assert!(check(&whole(), 200, &many).is_err());
        assert!(check(&whole(), 200, &many[1..]).is_ok());
    }

    #[test]
    fn connection_takes_away_what_it_names_but_not_what_others_rely_on() {
        let kept = end_to_end(&headers(&[
            ("connection", "close, X-Own, ETag, Content-Length, Cache-Control"),
            ("x-own", "1"),
            ("etag", "\"a\""),
            ("content-length", "5"),
            ("cache-control", "no-store"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("x-other", "2"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
        ]));
        let mut names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["cache-control", "content-length", "etag", "set-cookie", "set-cookie", "x-other"]);
    }

    proptest! {
        #[test]
        fn a_place_that_is_written_is_read(first in 0u64..1 << 60, more in 0u64..1 << 60, after in 1u64..1 << 60) {
            let (last, length) = (first + more, first + more + after);
            let read = |text: String| content_range(text.as_bytes());
            prop_assert_eq!(read(format!("bytes {first}-{last}/{length}")), Some((first, last, Some(length))));
            prop_assert_eq!(read(format!("bytes {first}-{last}/*")), Some((first, last, None)));
            prop_assert_eq!(read(format!("bytes {first}-{last}/{last}")), None);
        }

        #[test]
        fn no_place_of_a_part_panics(range in "[bytes 0-9/*-]{0,60}", start in any::<u64>(), end in any::<u64>()) {
            let _ = check(&part(start, Some(end)), 206, &[("content-range", &range), ("transfer-encoding", "chunked")]);
        }
    }
}
