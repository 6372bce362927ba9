//! `Content-MD5` (RFC 1864, RFC 2616 section 14.15): base64 of the content's md5. Some send it in hex.

use data_encoding::HEXLOWER_PERMISSIVE;
use http::{HeaderMap, HeaderName};
use kith_model::digest_field;
use kith_model::ladder::{Algorithm, Digest};

use super::values;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// The digests of a message's content.
pub(super) fn digests(headers: &HeaderMap) -> Vec<Digest> {
    values(headers, &CONTENT_MD5).filter_map(digest).collect()
}

fn digest(value: &str) -> Option<Digest> {
    let value = value.trim().trim_matches('"');
    // 32 letters are no base64 of 16 bytes, so neither form can be taken for the other.
    let bytes = match value.len() {
        32 => HEXLOWER_PERMISSIVE.decode(value.as_bytes()).ok()?,
        _ => digest_field::base64(value)?,
    };
    Digest::new(Algorithm::Md5, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_and_hex_are_told_apart() {
        let expected = Digest::new(Algorithm::Md5, &[0xff; 16]);
        for value in [
            "/////////////////////w==",
            "/////////////////////w",
            "ffffffffffffffffffffffffffffffff",
            "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
            "\"ffffffffffffffffffffffffffffffff\"",
        ] {
            assert_eq!(digest(value), expected, "{value}");
        }
        for value in ["", "ff", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "/////w=="] {
            assert_eq!(digest(value), None, "{value}");
        }
    }
}
