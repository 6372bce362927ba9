//! What object storage says of the object it stores: `x-goog-hash` and `x-amz-checksum-*`.
//!
//! The stored object is what is sent, unless somebody codes or decodes it on the way.

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderName};
use kith_model::digest_field;
use kith_model::ladder::{Algorithm, Digest};

use super::values;

const GOOGLE_HASH: HeaderName = HeaderName::from_static("x-goog-hash");
const GOOGLE_STORED_CODING: HeaderName = HeaderName::from_static("x-goog-stored-content-encoding");
const AMAZON_SHA256: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");
const AMAZON_SHA1: HeaderName = HeaderName::from_static("x-amz-checksum-sha1");
const AMAZON_TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");

/// `x-goog-hash: crc32c=..,md5=..`, in one line or two. Google decodes what is stored coded for clients that cannot:
/// then the hash is not that of what was sent.
pub(super) fn google(headers: &HeaderMap) -> Vec<Digest> {
    let plain = |name| values(headers, name).find(|coding| *coding != "identity");
    if plain(&GOOGLE_STORED_CODING) != plain(&CONTENT_ENCODING) {
        return Vec::new();
    }
    let members = values(headers, &GOOGLE_HASH).flat_map(|value| value.split(','));
    let md5 = members.filter_map(|member| member.trim().strip_prefix("md5="));
    md5.filter_map(|text| Digest::new(Algorithm::Md5, &digest_field::base64(text)?)).collect()
}

/// `x-amz-checksum-sha256: base64`. Of an object that was uploaded in parts it is a hash of hashes: `base64-parts`.
pub(super) fn amazon(headers: &HeaderMap) -> Vec<Digest> {
    let is_composite =
        values(headers, &AMAZON_TYPE).any(|kind| !kind.trim().eq_ignore_ascii_case("FULL_OBJECT"));
    if is_composite {
        return Vec::new();
    }
    [(AMAZON_SHA256, Algorithm::Sha256), (AMAZON_SHA1, Algorithm::Sha1)]
        .iter()
        .flat_map(|(name, algorithm)| values(headers, name).map(|value| (value.trim(), *algorithm)))
        .filter(|(value, _)| !value.contains('-'))
        .filter_map(|(value, algorithm)| Digest::new(algorithm, &digest_field::base64(value)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use http::HeaderValue;

    use super::*;

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name.clone(), HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn google_names_md5_in_one_line_or_two() {
        let md5 = BASE64.encode(&[1; 16]);
        let expected = vec![Digest::new(Algorithm::Md5, &[1; 16]).expect("16 bytes")];
        for fields in [
            vec![(GOOGLE_HASH, format!("crc32c=n03x6A==,md5={md5}"))],
            vec![(GOOGLE_HASH, "crc32c=n03x6A==".to_owned()), (GOOGLE_HASH, format!("md5={md5}"))],
            vec![(GOOGLE_HASH, format!("md5={md5}")), (GOOGLE_STORED_CODING, "identity".to_owned())],
        ] {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.clone(), value.as_str())).collect();
            assert_eq!(google(&headers(&fields)), expected, "{fields:?}");
        }
        assert_eq!(google(&headers(&[(GOOGLE_HASH, "crc32c=n03x6A==")])), []);
    }

    #[test]
    fn a_composite_checksum_is_none_of_the_whole() {
        let sha256 = BASE64.encode(&[1; 32]);
        let expected = vec![Digest::new(Algorithm::Sha256, &[1; 32]).expect("32 bytes")];
        assert_eq!(amazon(&headers(&[(AMAZON_SHA256, &sha256)])), expected);
        assert_eq!(amazon(&headers(&[(AMAZON_SHA256, &sha256), (AMAZON_TYPE, "FULL_OBJECT")])), expected);
        assert_eq!(amazon(&headers(&[(AMAZON_SHA256, &sha256), (AMAZON_TYPE, "COMPOSITE")])), []);
        assert_eq!(amazon(&headers(&[(AMAZON_SHA256, &format!("{sha256}-12"))])), []);
    }
}
