//! `Repr-Digest` and `Content-Digest` (RFC 9530), and `Digest` (RFC 3230), which the first took the place of.

use http::{HeaderMap, HeaderName};
use kith_model::digest_field;
use kith_model::ladder::Digest;

use super::values;

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const DIGEST: HeaderName = HeaderName::from_static("digest");

/// Digests of the representation, also in a part of it.
pub(super) fn of_representation(headers: &HeaderMap) -> Vec<Digest> {
    named(headers, &[REPR_DIGEST, DIGEST])
}

/// Digests of the "instance" (RFC 3230 section 3), the older word for it.
pub(super) fn of_instance(headers: &HeaderMap) -> Vec<Digest> {
    named(headers, &[DIGEST])
}

/// Digests of this message's content: those of the whole when it carries the whole.
pub(super) fn of_content(headers: &HeaderMap) -> Vec<Digest> {
    named(headers, &[CONTENT_DIGEST])
}

fn named(headers: &HeaderMap, names: &[HeaderName]) -> Vec<Digest> {
    names.iter().flat_map(|name| values(headers, name)).flat_map(digest_field::parse).collect()
}
