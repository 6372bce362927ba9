//! Digests as fields write them: `Repr-Digest` and `Content-Digest` (RFC 9530) and `Digest` (RFC 3230). Pure.
//!
//! Says which digests stand there, not what they are digests of, nor whether they count.

use data_encoding::{BASE64, BASE64_NOPAD};

use crate::ladder::{Algorithm, Digest};
use crate::limits::DIGEST_MEMBERS_MAX;

/// The digests of one field line; members that are malformed or of other algorithms are passed over.
///
/// Both dialects are read alike, since they are mixed up in the world: `sha-256=:base64:`, with or without parameters,
/// and `SHA-256=base64`.
pub fn parse(line: &str) -> Vec<Digest> {
    line.split(',').take(DIGEST_MEMBERS_MAX).filter_map(member).collect()
}

/// The member of a dictionary that names one digest (RFC 9530 section 2).
pub fn format(digest: &Digest) -> String {
    let mut text = digest.algorithm().as_str().to_owned();
    text.push_str("=:");
    BASE64.encode_append(digest.bytes(), &mut text);
    text.push(':');
    text
}

/// Decodes base64 with or without padding.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.as_bytes()).or_else(|_| BASE64_NOPAD.decode(text.as_bytes())).ok()
}

fn member(member: &str) -> Option<Digest> {
    let (name, value) = member.trim().split_once('=')?;
    let algorithm = algorithm(name)?;
    let value = value.split(';').next().unwrap_or_default().trim();
    let text = value.strip_prefix(':').and_then(|rest| rest.strip_suffix(':')).unwrap_or(value);
    Digest::new(algorithm, &base64(text)?)
}

/// The IANA registry of RFC 9530 section 7.2 and that of RFC 3230, which share these names.
fn algorithm(name: &str) -> Option<Algorithm> {
    let all = [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512];
    all.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(algorithm: Algorithm, fill: u8) -> Digest {
        Digest::new(algorithm, &vec![fill; algorithm.digest_len()]).expect("right length")
    }

    #[test]
    fn both_dialects_are_read() {
        let sha256 = BASE64.encode(&[1; 32]);
        let md5 = BASE64.encode(&[2; 16]);
        let sha1 = BASE64.encode(&[3; 20]);
        for (line, expected) in [
            (format!("sha-256=:{sha256}:"), vec![digest(Algorithm::Sha256, 1)]),
            (format!("sha-256=:{sha256}:;q=1 , unknown=:AAAA:"), vec![digest(Algorithm::Sha256, 1)]),
            (
                format!("SHA-256={sha256},MD5={md5}"),
                vec![digest(Algorithm::Sha256, 1), digest(Algorithm::Md5, 2)],
            ),
            (format!("SHA={sha1}, crc32=1"), vec![digest(Algorithm::Sha1, 3)]),
            (format!("sha-256={}", sha256.trim_end_matches('=')), vec![digest(Algorithm::Sha256, 1)]),
            (format!("md5=:{sha256}:"), vec![]),
            ("sha-256, sha-256=, sha-256=:!:, =:AAAA:".to_owned(), vec![]),
        ] {
            assert_eq!(parse(&line), expected, "{line}");
        }
    }

    #[test]
    fn only_so_many_members_are_read() {
        let member = format(&digest(Algorithm::Md5, 1));
        assert_eq!(parse(&vec![member; DIGEST_MEMBERS_MAX * 2].join(",")).len(), DIGEST_MEMBERS_MAX);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(digests in prop::collection::vec((0usize..4, any::<[u8; 64]>()), 1..8)) {
            let all = [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512];
            let digests: Vec<Digest> = digests
                .iter()
                .filter_map(|(which, bytes)| Digest::new(all[*which], &bytes[..all[*which].digest_len()]))
                .collect();
            let line = digests.iter().map(format).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(parse(&line), digests);
        }

        #[test]
        fn any_text_is_read_without_harm(line in "\\PC{0,200}") {
            prop_assert!(parse(&line).len() <= DIGEST_MEMBERS_MAX);
        }
    }
}
