//! `Docker-Content-Digest`, as OCI registries send it with blobs and manifests: `sha256:hex` of the content.

use http::{HeaderMap, HeaderName};
use kith_model::ladder::Digest;

use super::{url, values};

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The digests of what was asked for.
pub(super) fn digests(headers: &HeaderMap) -> Vec<Digest> {
    values(headers, &DOCKER_CONTENT_DIGEST).filter_map(|value| url::oci(value.trim())).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use kith_model::ladder::Algorithm;

    use super::*;

    #[test]
    fn a_digest_names_its_algorithm() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(DOCKER_CONTENT_DIGEST, HeaderValue::from_str(value).expect("a value"));
            digests(&headers).first().map(Digest::algorithm)
        };
        assert_eq!(read(&format!("sha256:{}", "a1".repeat(32))), Some(Algorithm::Sha256));
        assert_eq!(read(&format!("sha512:{}", "a1".repeat(64))), Some(Algorithm::Sha512));
        assert_eq!(read(&format!("sha512:{}", "a1".repeat(32))), None);
        assert_eq!(read(&"a1".repeat(32)), None);
    }
}
