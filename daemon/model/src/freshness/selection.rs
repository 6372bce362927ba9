//! `Vary`: which request fields select a representation (RFC 9111 section 4.1, RFC 9110 section 12.5.5).
//!
//! Values are compared after a normalisation that changes no meaning: lines are joined, space is trimmed, and
//! `Accept-Encoding` becomes the sorted set of codings that are taken at all, `Accept-Language` loses its spaces and its case. That is sound because a response is
//! stored only when its own coding is in that set (see [`super::storable`]).

use std::collections::BTreeSet;

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, HeaderName, VARY};
use http::{HeaderMap, HeaderValue};

use crate::key::Variant;
use crate::limits::{SELECTING_FIELDS_MAX, SELECTING_VALUE_BYTES_MAX};
use crate::representation::{Representation, StrongValidator};

/// Selecting request fields, as [`Representation::selecting`] keeps them.
pub type Selecting = Vec<(String, Vec<u8>)>;

/// The selecting fields of a response to `request`: (name in lower case, normalised value) in the order of their
/// names, and the variant they make. Nothing when the response matches no other request (`Vary: *`) or names more
/// than is kept.
pub fn selecting(response: &HeaderMap, request: &HeaderMap) -> Option<(Selecting, Variant)> {
    let names = varying(response)?;
    let fields = names.iter().map(|name| Some((name.as_str().to_owned(), normalised(request, name)?)));
    let fields = fields.collect::<Option<Vec<_>>>()?;
    let variant = Variant::of(fields.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
    Some((fields, variant))
}

/// The names in `Vary`, sorted; nothing when one is `*`, is no field name, or they are too many.
pub(super) fn varying(response: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for value in response.get_all(VARY) {
        for name in value.as_bytes().split(|byte| *byte == b',') {
            let name = name.trim_ascii();
            if name.is_empty() {
                continue;
            }
            if name == b"*" || names.len() == SELECTING_FIELDS_MAX {
                return None;
            }
            let name = HeaderName::from_bytes(name).ok()?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    Some(names)
}

/// Whether the request has the values that a stored response was selected by.
pub(super) fn matches(request: &HeaderMap, selecting: &[(String, Vec<u8>)]) -> bool {
    selecting.iter().all(|(name, value)| {
        HeaderName::from_bytes(name.as_bytes())
            .is_ok_and(|name| normalised(request, &name).as_ref() == Some(value))
    })
}

/// A representation that was stored for other selecting values but may be what this request is answered too: the
/// origin's 304 to its strong entity tag says so (RFC 9111 section 4.3.1).
pub(super) fn same_bytes_elsewhere(request: &HeaderMap, stored: &[Representation]) -> Option<usize> {
    let taken = accepted_encodings(request);
    (0..stored.len()).filter(|index| takes_encoding_of(&taken, &stored[*index].head.headers)).rfind(|index| {
        matches!(StrongValidator::of(&stored[*index].head.headers), Some(StrongValidator::ETag(_)))
    })
}

/// One field of a request, in the form that is compared and kept. Nothing when it is too long to keep.
fn normalised(request: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    if *name == ACCEPT_ENCODING {
        let codings: Vec<_> = accepted_encodings(request).into_iter().collect();
        return Some(codings.join(",").into_bytes()).filter(|value| value.len() <= SELECTING_VALUE_BYTES_MAX);
    }
    let lines: Vec<_> = request.get_all(name).iter().map(|line| line.as_bytes().trim_ascii()).collect();
    if *name == ACCEPT_LANGUAGE {
        let value = tidy_list(&lines.join(&b","[..]));
        let value = if lines.is_empty() { Vec::new() } else { [b"=".as_slice(), &value].concat() };
        return Some(value).filter(|value| value.len() <= SELECTING_VALUE_BYTES_MAX);
    }
    // A field that is there and empty is not one that is missing.
    let value =
        if lines.is_empty() { Vec::new() } else { [b"=".as_slice(), &lines.join(&b", "[..])].concat() };
    (value.len() <= SELECTING_VALUE_BYTES_MAX).then_some(value)
}

/// A list whose words have no case (RFC 9110 section 12.5.4) and whose spaces mean nothing. The order stays: among
/// equals it is the asker's preference to many servers.
fn tidy_list(list: &[u8]) -> Vec<u8> {
    list.iter().filter(|byte| !matches!(byte, b' ' | b'\t')).map(u8::to_ascii_lowercase).collect()
}

/// The content codings that a request takes, in lower case (RFC 9110 section 12.5.3). `identity` is among them
/// unless refused. A request that names none is read as taking none: that is what tools without the field mean.
pub fn accepted_encodings(request: &HeaderMap) -> BTreeSet<String> {
    let mut taken = BTreeSet::new();
    taken.insert("identity".to_owned());
    for value in request.get_all(ACCEPT_ENCODING) {
        for member in value.as_bytes().split(|byte| *byte == b',') {
            let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let coding = parts.next().unwrap_or_default().to_ascii_lowercase();
            let Ok(coding) = String::from_utf8(coding) else { continue };
            let coding = match coding.as_str() {
                "" => continue,
                "x-gzip" => "gzip".to_owned(),
                _ => coding,
            };
            if parts.any(is_zero_quality) {
                taken.remove(&coding);
            } else {
                taken.insert(coding);
            }
        }
    }
    taken
}

/// `q=0`, `q=0.0` and so on: not acceptable (RFC 9110 section 12.4.2).
fn is_zero_quality(parameter: &[u8]) -> bool {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="));
    value.is_some_and(|value| value.starts_with(b"0") && value.iter().all(|byte| matches!(byte, b'0' | b'.')))
}

/// Whether a response's content codings are all among those that are taken.
pub(super) fn takes_encoding_of(taken: &BTreeSet<String>, response: &HeaderMap) -> bool {
    response.get_all(CONTENT_ENCODING).iter().flat_map(codings).all(|coding| {
        coding.is_some_and(|coding| coding == "identity" || taken.contains(&coding) || taken.contains("*"))
    })
}

fn codings(value: &HeaderValue) -> impl Iterator<Item = Option<String>> + '_ {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty())
        .map(|coding| {
            let coding = String::from_utf8(coding.to_ascii_lowercase()).ok()?;
            Some(if coding == "x-gzip" { "gzip".to_owned() } else { coding })
        })
}
