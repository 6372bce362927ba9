//! Reads digests of the whole out of an answer and the redirects before it. Pure.
//!
//! Looked at: `Repr-Digest` (RFC 9530) and `Digest` (RFC 3230), of these sha-256 and sha-512. A digest counts with the
//! scheme of the hop that named it; what came over https is taken before what came over http, and a later hop before
//! an earlier one. When one hop names two different digests of a kind, neither counts.

use data_encoding::{BASE64, BASE64_NOPAD};
use http::header::{CONTENT_LENGTH, HeaderName};
use http::{HeaderMap, StatusCode};
use kith_fetch::ask::Hop;
use kith_model::key::{Scheme, Target};
use kith_model::ladder::{Algorithm, Digest, Ladder, Rung, Teller};
use kith_model::representation::Head;
use kith_model::time::UnixMillis;

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const DIGEST: HeaderName = HeaderName::from_static("digest");

/// The digests of the whole that `head`, given by `target`, and the `hops` before it name.
///
/// None when the answer is no representation of what was asked for, such as a 404: its digest would be that of the
/// error page.
pub fn ladder(hops: &[Hop], target: &Target, head: &Head) -> Ladder {
    let mut ladder = Ladder::default();
    if !matches!(head.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED) {
        return ladder;
    }
    let last = (target.scheme(), digests(&head.headers, &[REPR_DIGEST, DIGEST]));
    let before = hops.iter().rev().map(|hop| (hop.target.scheme(), of_redirect(&hop.headers)));
    let tellers: Vec<_> = std::iter::once(last).chain(before).collect();
    for scheme in [Scheme::Https, Scheme::Http] {
        for (_, digests) in tellers.iter().filter(|(teller, _)| *teller == scheme) {
            add_all(&mut ladder, digests, scheme, head.received_at);
        }
    }
    ladder
}

fn add_all(ladder: &mut Ladder, digests: &[Digest], scheme: Scheme, said_at: UnixMillis) {
    for digest in digests {
        // The better teller came first; a contradiction changes nothing.
        let _ = ladder.add(Rung { digest: digest.clone(), teller: Teller::Origin(scheme), said_at });
    }
}

/// A redirect's `Digest` is that of the file in what mirror networks send (RFC 6249 section 6). Its `Repr-Digest` is,
/// by RFC 9530 section 3, that of the redirect's own content where it has some.
fn of_redirect(headers: &HeaderMap) -> Vec<Digest> {
    let is_empty = headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
    let names: &[HeaderName] = if is_empty { &[REPR_DIGEST, DIGEST] } else { &[DIGEST] };
    let mut digests = digests(headers, names);
    digests.retain(|digest| !is_of_nothing(digest));
    digests
}

/// Whether it is the digest of no bytes at all: said by a redirect, it means the redirect's own content.
fn is_of_nothing(digest: &Digest) -> bool {
    let function = match digest.algorithm() {
        Algorithm::Sha256 => &ring::digest::SHA256,
        Algorithm::Sha512 => &ring::digest::SHA512,
        Algorithm::Md5 | Algorithm::Sha1 => return false,
    };
    ring::digest::digest(function, b"").as_ref() == digest.bytes()
}

fn digests(headers: &HeaderMap, names: &[HeaderName]) -> Vec<Digest> {
    let named: Vec<Digest> = names
        .iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(digest)
        .collect();
    let contradicted = |digest: &Digest| {
        named.iter().any(|other| other.algorithm() == digest.algorithm() && other != digest)
    };
    named.iter().filter(|digest| !contradicted(digest)).cloned().collect()
}

/// `sha-256=:base64:` with or without parameters (RFC 9530), or `SHA-256=base64` (RFC 3230).
fn digest(member: &str) -> Option<Digest> {
    let (name, value) = member.trim().split_once('=')?;
    let algorithm = match name.to_ascii_lowercase().as_str() {
        "sha-256" => Algorithm::Sha256,
        "sha-512" => Algorithm::Sha512,
        _ => return None,
    };
    let value = value.split(';').next().unwrap_or_default().trim();
    let text = value.strip_prefix(':').and_then(|rest| rest.strip_suffix(':')).unwrap_or(value);
    let bytes = BASE64.decode(text.as_bytes()).or_else(|_| BASE64_NOPAD.decode(text.as_bytes())).ok()?;
    Digest::new(algorithm, &bytes)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn sha256(fill: u8) -> String {
        BASE64.encode(&[fill; 32])
    }

    fn headers(fields: &[(&'static str, String)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a field value"))
            })
            .collect()
    }

    fn target(scheme: &str) -> Target {
        Target::parse(&format!("{scheme}://example.org/a")).expect("a target")
    }

    fn hop(scheme: &str, fields: &[(&'static str, String)]) -> Hop {
        Hop { target: target(scheme), status: StatusCode::FOUND, headers: headers(fields) }
    }

    fn check(
        hops: &[Hop],
        scheme: &str,
        status: StatusCode,
        fields: &[(&'static str, String)],
    ) -> Vec<(u8, Teller)> {
        let head = Head {
            status,
            headers: headers(fields),
            requested_at: UnixMillis(1),
            received_at: UnixMillis(2),
        };
        let ladder = ladder(hops, &target(scheme), &head);
        ladder.rungs().iter().map(|rung| (rung.digest.bytes()[0], rung.teller)).collect()
    }

    #[test]
    fn both_fields_and_both_functions_are_read() {
        let sha512 = BASE64.encode(&[5; 64]);
        let fields = [
            ("repr-digest", format!("sha-256=:{}:, sha-512=:{sha512}:;q=1, md5=:AAAA:", sha256(2))),
            ("digest", format!("SHA-256={},crc32=1", sha256(2))),
        ];
        let teller = Teller::Origin(Scheme::Https);
        assert_eq!(check(&[], "https", StatusCode::OK, &fields), [(2, teller), (5, teller)]);
    }

    #[test]
    fn what_is_malformed_or_contradicts_itself_is_no_digest() {
        for value in [
            "sha-256".to_owned(),
            "sha-256=:AAAA:".to_owned(),
            "sha-256=:!!!!:".to_owned(),
            "sha-256=".to_owned(),
            format!("sha-256=:{}:, sha-256=:{}:", sha256(1), sha256(2)),
        ] {
            assert_eq!(check(&[], "https", StatusCode::OK, &[("repr-digest", value)]), []);
        }
    }

    #[test]
    fn an_authenticated_hop_is_believed_before_a_plain_end() {
        let hops = [hop("https", &[("digest", format!("SHA-256={}", sha256(1)))])];
        let end = [("repr-digest", format!("sha-256=:{}:", sha256(2)))];
        assert_eq!(check(&hops, "http", StatusCode::OK, &end), [(1, Teller::Origin(Scheme::Https))]);
        assert_eq!(check(&hops, "https", StatusCode::OK, &end), [(2, Teller::Origin(Scheme::Https))]);
        assert_eq!(check(&[], "http", StatusCode::OK, &end), [(2, Teller::Origin(Scheme::Http))]);
    }

    #[test]
    fn a_redirects_digest_of_its_own_content_is_not_the_files() {
        let own = ("repr-digest", format!("sha-256=:{}:", sha256(1)));
        let nothing = BASE64.encode(ring::digest::digest(&ring::digest::SHA256, b"").as_ref());
        let length = |length: &str| ("content-length", length.to_owned());
        for (fields, expected) in [
            (vec![own.clone(), length("12")], 0),
            (vec![own.clone()], 0),
            (vec![own, length("0")], 1),
            (vec![("repr-digest", format!("sha-256=:{nothing}:")), length("0")], 0),
            (vec![("digest", format!("SHA-256={nothing}")), length("0")], 0),
        ] {
            assert_eq!(
                check(&[hop("https", &fields)], "https", StatusCode::OK, &[]).len(),
                expected,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn an_error_page_has_no_digests_of_the_file() {
        let fields = [("repr-digest", format!("sha-256=:{}:", sha256(2)))];
        assert_eq!(check(&[], "https", StatusCode::NOT_FOUND, &fields), []);
        assert_eq!(check(&[], "https", StatusCode::PARTIAL_CONTENT, &fields).len(), 1);
        assert_eq!(check(&[], "https", StatusCode::NOT_MODIFIED, &fields).len(), 1);
    }
}
