//! Digests that stand in URLs: what is asked for is named by its own hash.
//!
//! Read are the forms whose hash is that of the content by their very definition: blobs of OCI registries, apt's
//! `by-hash`, and RFC 6920 in its `.well-known` form.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use kith_model::key::Target;
use kith_model::ladder::{Algorithm, Digest};

/// The digest in a URL.
pub(super) fn digest(target: &Target) -> Option<Digest> {
    let (folder, name) = target.path().rsplit_once('/')?;
    if folder.ends_with("/blobs") && folder.starts_with("/v2/") {
        return oci(name);
    }
    if let Some(function) = folder.strip_prefix("/.well-known/ni/") {
        return by_name(function, name);
    }
    let (above, function) = folder.rsplit_once('/')?;
    if above.ends_with("/by-hash") { by_hash(function, name) } else { None }
}

/// `sha256:hex` (OCI image specification, "Digests").
pub(super) fn oci(text: &str) -> Option<Digest> {
    let (function, hex) = text.split_once(':').or_else(|| text.split_once("%3A"))?;
    let algorithm = match function {
        "sha256" => Algorithm::Sha256,
        "sha512" => Algorithm::Sha512,
        _ => return None,
    };
    Digest::new(algorithm, &HEXLOWER.decode(hex.as_bytes()).ok()?)
}

/// `by-hash/SHA256/hex` (Debian repository format, "indices acquisition via hashsums").
fn by_hash(function: &str, hex: &str) -> Option<Digest> {
    let algorithm = match function {
        "SHA512" => Algorithm::Sha512,
        "SHA256" => Algorithm::Sha256,
        "SHA1" => Algorithm::Sha1,
        "MD5Sum" => Algorithm::Md5,
        _ => return None,
    };
    Digest::new(algorithm, &HEXLOWER.decode(hex.as_bytes()).ok()?)
}

/// `/.well-known/ni/sha-256/base64url` (RFC 6920 section 4).
fn by_name(function: &str, text: &str) -> Option<Digest> {
    let algorithm = match function {
        "sha-256" => Algorithm::Sha256,
        "sha-512" => Algorithm::Sha512,
        _ => return None,
    };
    Digest::new(algorithm, &BASE64URL_NOPAD.decode(text.as_bytes()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_found_where_they_name_the_content() {
        let (md5, sha256, sha512) = ("ab".repeat(16), "ab".repeat(32), "ab".repeat(64));
        let ni = BASE64URL_NOPAD.encode(&[0xab; 32]);
        for (path, expected) in [
            (format!("v2/library/debian/blobs/sha256:{sha256}"), Some(Algorithm::Sha256)),
            (format!("v2/a/b/c/blobs/sha512:{sha512}"), Some(Algorithm::Sha512)),
            (format!("v2/a/blobs/sha256%3A{sha256}"), Some(Algorithm::Sha256)),
            (format!("debian/dists/sid/main/binary-amd64/by-hash/SHA256/{sha256}"), Some(Algorithm::Sha256)),
            (format!("dists/sid/by-hash/SHA512/{sha512}"), Some(Algorithm::Sha512)),
            (format!("dists/sid/by-hash/MD5Sum/{md5}"), Some(Algorithm::Md5)),
            (format!(".well-known/ni/sha-256/{ni}"), Some(Algorithm::Sha256)),
            (format!(".well-known/ni/sha-256/{ni}?ct=text/plain"), Some(Algorithm::Sha256)),
            (format!("v2/a/blobs/sha256:{md5}"), None),
            (format!("v2/a/manifests/sha256:{sha256}"), None),
            (format!("v2/a/blobs/uploads/sha256:{sha256}"), None),
            (format!("v2/a/blobs/sha256:{}", sha256.to_uppercase()), None),
            (format!("by-hash/{sha256}"), None),
            (format!("by-hash/SHA256/{sha256}/x"), None),
            (format!("blobs/sha256:{sha256}"), None),
            (format!("x?/by-hash/SHA256/{sha256}"), None),
            (String::new(), None),
        ] {
            let target = Target::parse(&format!("https://r.example/{path}")).expect("a target");
            let found = digest(&target);
            assert_eq!(found.as_ref().map(Digest::algorithm), expected, "{path}");
            assert!(found.is_none_or(|digest| digest.bytes().iter().all(|byte| *byte == 0xab)), "{path}");
        }
    }
}
