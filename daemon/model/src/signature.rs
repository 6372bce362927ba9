//! What a box writes into requests that it passes on, to know those that come back to it. Pure.
//!
//! All boxes share one name (`Via: 1.1 kith`), so that boxes can stand in a row; which box it was is told by a token
//! that only the box itself can read anything out of.

use http::header::VIA;
use http::{HeaderMap, HeaderName, HeaderValue};

/// RFC 8586.
const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// What tells one box from others. The token is made of letters, digits, `-` and `_`; random at each start, so that it
/// follows nobody around. Without a token nothing is noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature(String);

impl Signature {
    /// From a token.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// Signs a request: `Via: 1.1 kith (token)`, the token as a comment (RFC 9110 section 7.6.3), and
    /// `CDN-Loop: kith; box=token` (RFC 8586 section 2), which origins that forward requests again keep more often.
    pub fn sign(&self, headers: &mut HeaderMap) {
        let (via, cdn) = if self.0.is_empty() {
            ("1.1 kith".to_owned(), "kith".to_owned())
        } else {
            (format!("1.1 kith ({})", self.0), format!("kith; box={}", self.0))
        };
        for (name, value) in [(VIA, via), (CDN_LOOP, cdn)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.append(name, value);
            }
        }
    }

    /// Whether this box signed the request before.
    pub fn is_on(&self, headers: &HeaderMap) -> bool {
        let is_ours = |value: &HeaderValue| {
            let bytes = value.as_bytes();
            bytes.split(|byte| !is_of_token(*byte)).any(|word| word == self.0.as_bytes())
        };
        !self.0.is_empty() && [VIA, CDN_LOOP].iter().any(|name| headers.get_all(name).iter().any(is_ours))
    }
}

fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_came_back_is_known_by_its_token_and_not_by_the_shared_name() {
        let ours = Signature::new("k7");
        for (name, value, expected) in [
            ("via", "1.1 kith (k7)", true),
            ("via", "1.1 kith (other), 1.1 fred, 1.1 kith (k7)", true),
            ("via", "1.1 kith (k77)", false),
            ("via", "1.1 kith (other)", false),
            ("via", "1.1 kith", false),
            ("cdn-loop", "foo.example, kith; box=k7", true),
            ("cdn-loop", "kith; box=other", false),
            ("x-else", "1.1 kith (k7)", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            assert_eq!(ours.is_on(&headers), expected, "{name}: {value}");
            assert!(!Signature::default().is_on(&headers));
        }
    }

    #[test]
    fn a_box_knows_its_own_signature_behind_those_of_others() {
        let (ours, other) = (Signature::new("3f9a"), Signature::new("77aa"));
        let mut headers = HeaderMap::new();
        other.sign(&mut headers);
        assert!(!ours.is_on(&headers));
        ours.sign(&mut headers);
        assert!(ours.is_on(&headers) && other.is_on(&headers));
        let lines: Vec<_> = headers.get_all(VIA).iter().collect();
        assert_eq!(lines, ["1.1 kith (77aa)", "1.1 kith (3f9a)"]);
        assert_eq!(headers.get_all("cdn-loop").iter().nth(1).expect("two"), "kith; box=3f9a");
    }

    #[test]
    fn a_box_without_a_token_signs_with_the_shared_name_alone() {
        let mut headers = HeaderMap::new();
        Signature::default().sign(&mut headers);
        assert_eq!(headers[VIA], "1.1 kith");
        assert_eq!(headers["cdn-loop"], "kith");
    }
}
