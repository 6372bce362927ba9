//! `X-Linked-Etag` and `X-Linked-Size`, as Hugging Face sends them with a redirect to large-file storage: the sha-256
//! of the file in hex, and its length. For files in git itself the tag is another hash, told by its length.

use data_encoding::HEXLOWER_PERMISSIVE;
use http::{HeaderMap, HeaderName};
use kith_model::ladder::{Algorithm, Digest};

use super::values;

const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");

/// The digest that a redirect names of a file of `length` bytes; nothing when it speaks of a file of another length.
pub(super) fn digest(headers: &HeaderMap, length: Option<u64>) -> Option<Digest> {
    let size = values(headers, &LINKED_SIZE).next().and_then(|size| size.trim().parse::<u64>().ok());
    if let (Some(size), Some(length)) = (size, length)
        && size != length
    {
        return None;
    }
    let tag = values(headers, &LINKED_ETAG).next()?.trim().trim_matches('"');
    Digest::new(Algorithm::Sha256, &HEXLOWER_PERMISSIVE.decode(tag.as_bytes()).ok()?)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_sha_256_of_the_right_file_is_read() {
        let sha256 = format!("\"{}\"", "ab".repeat(32));
        let expected = Digest::new(Algorithm::Sha256, &[0xab; 32]);
        for (tag, size, length, expected) in [
            (sha256.as_str(), Some("7"), Some(7), expected.clone()),
            (&sha256[1..65], None, None, expected.clone()),
            (&sha256, Some("7"), None, expected),
            (&sha256, Some("7"), Some(8), None),
            ("\"0123456789012345678901234567890123456789\"", None, Some(7), None),
            ("W/\"x\"", None, Some(7), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LINKED_ETAG, HeaderValue::from_str(tag).expect("a tag"));
            if let Some(size) = size {
                headers.insert(LINKED_SIZE, HeaderValue::from_str(size).expect("a size"));
            }
            assert_eq!(digest(&headers, length), expected, "{tag} {size:?} {length:?}");
        }
        assert_eq!(digest(&HeaderMap::new(), None), None);
    }
}
