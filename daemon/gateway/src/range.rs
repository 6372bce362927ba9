//! The `Range` field of a request and the `Content-Range` of an answer (RFC 9110 section 14). Pure.
//!
//! One range is granted. Several are ignored, as section 14.2 allows: the client gets the whole, and nobody can make
//! the box work a hundred times for one request. All arithmetic is checked: another server's memory was read through
//! a range that overflowed.

use http::HeaderValue;
use kith_fetch::wish::ByteWish;
use kith_model::range::ByteRange;

/// Longest `Range` value that is looked at, in bytes: two numbers of 20 digits fit four times.
const RANGE_BYTES_MAX: usize = 160;

/// The range that a `Range` field asks for. Nothing when it is to be ignored: malformed, another unit, several
/// ranges, or too long.
pub fn parse(value: &HeaderValue) -> Option<ByteWish> {
    let text = value.to_str().ok().filter(|text| text.len() <= RANGE_BYTES_MAX)?;
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    // Section 5.6.1: a list may have empty members.
    let mut members = set.split(',').map(str::trim).filter(|member| !member.is_empty());
    let (only, None) = (members.next()?, members.next()) else { return None };
    let (first, last) = only.split_once('-')?;
    match (first, last) {
        ("", count) => Some(ByteWish::Last(position(count)?)),
        (first, "") => Some(ByteWish::From(position(first)?)),
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then(|| ByteWish::FromTo(first, last.saturating_add(1)))
        }
    }
}

/// `1*DIGIT`; a number too large for any object counts as the largest.
fn position(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// `Content-Range` of a 206.
pub fn content_range(range: ByteRange, length: u64) -> HeaderValue {
    let last = range.end().saturating_sub(1);
    value(&format!("bytes {}-{last}/{length}", range.start()))
}

/// `Content-Range` of a 416.
pub fn unsatisfied(length: u64) -> HeaderValue {
    value(&format!("bytes */{length}"))
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("invariant: digits and punctuation")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Option<ByteWish> {
        parse(&HeaderValue::from_str(text).expect("a field value"))
    }

    #[test]
    fn single_ranges_are_understood_and_all_else_is_ignored() {
        for (text, expected) in [
            ("bytes=0-0", Some(ByteWish::FromTo(0, 1))),
            ("bytes=0-499", Some(ByteWish::FromTo(0, 500))),
            ("Bytes = 5-", Some(ByteWish::From(5))),
            ("bytes=-500", Some(ByteWish::Last(500))),
            ("bytes=,1-2,", Some(ByteWish::FromTo(1, 3))),
            ("bytes=-0", Some(ByteWish::Last(0))),
            ("bytes=9-18446744073709551615", Some(ByteWish::FromTo(9, u64::MAX))),
            ("bytes=99999999999999999999999-", Some(ByteWish::From(u64::MAX))),
            ("bytes=0-0,2-2", None),
            ("bytes=5-4", None),
            ("bytes=a-b", None),
            ("bytes=0x1-2", None),
            ("bytes=1 -2", None),
            ("bytes=--1", None),
            ("bytes=+1-2", None),
            ("bytes=-", None),
            ("bytes=", None),
            ("bytes", None),
            ("items=0-1", None),
            ("", None),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
        let thousand = format!("bytes={}", vec!["0-0"; 1000].join(","));
        assert_eq!(parsed(&thousand), None);
    }

    #[test]
    fn answers_name_first_and_last_byte_and_the_length() {
        let range = ByteRange::new(5, 10).expect("in order");
        assert_eq!(content_range(range, 20), "bytes 5-9/20");
        assert_eq!(unsatisfied(20), "bytes */20");
    }

    proptest! {
        #[test]
        fn whatever_is_granted_lies_inside(first in any::<u64>(), last in any::<u64>(), length in any::<u64>(), form in 0u8..3) {
            let text = match form {
                0 => format!("bytes={first}-{last}"),
                1 => format!("bytes={first}-"),
                _ => format!("bytes=-{last}"),
            };
            if let Some(range) = parsed(&text).and_then(|wish| wish.resolve(length)) {
                prop_assert!(range.start() < range.end() && range.end() <= length);
            }
        }

        #[test]
        fn what_is_written_is_read(start in 0u64..1 << 60, more in 1u64..1 << 60, after in 0u64..1 << 60) {
            let (end, length) = (start + more, start + more + after);
            let asked = format!("bytes={start}-{}", end - 1);
            prop_assert_eq!(parsed(&asked), Some(ByteWish::FromTo(start, end)));
            prop_assert_eq!(parsed(&format!("bytes={start}-")), Some(ByteWish::From(start)));
            prop_assert_eq!(parsed(&format!("bytes=-{more}")), Some(ByteWish::Last(more)));
            // An answer's place reads like the question for it.
            let place = content_range(ByteRange::new(start, end).expect("in order"), length);
            let place = place.to_str().expect("text");
            let (of, told) = place.split_once('/').expect("a length");
            prop_assert_eq!(parsed(&of.replace(' ', "=")), Some(ByteWish::FromTo(start, end)));
            prop_assert_eq!(told.parse(), Ok(length));
        }

        #[test]
        fn foreign_text_never_panics(text in "[ -~]{0,200}") {
            let _ = parsed(&text);
        }
    }
}
