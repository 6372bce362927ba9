//! Reads what an answer and the redirects before it tell about the whole: its digests, and where else it is. Pure.
//!
//! Each dialect has a file of its own; here stands what they have in common. A digest counts with the scheme of the hop
//! that named it; what stands in the URL that was asked for comes first, then what came over https, then what came over
//! http, of each a later hop before an earlier one. When one hop names two different digests of a kind, neither
//! counts.
//!
//! A digest of the whole is one of the representation (RFC 9110 section 3.2), which a content coding is part of. Only
//! `Repr-Digest` and `Digest` are defined so; the others speak of a stored object or a message, and do not count when
//! the answer is coded.

mod content_md5;
mod digest;
mod linked;
mod links;
mod registry;
mod stored;
mod url;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, StatusCode};
use kith_fetch::ask::Hop;
use kith_model::key::{Scheme, Target};
use kith_model::ladder::{Algorithm, Digest, Ladder, Rung, Teller};
use kith_model::representation::Head;

pub use self::links::{Description, DescriptionKind, Mirror};
pub(crate) use self::links::{PRIORITY_LAST, best};

/// What was told about the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Its digests.
    pub ladder: Ladder,
    /// Where else it is said to be, the best first.
    pub mirrors: Vec<Mirror>,
    /// Documents that say more.
    pub descriptions: Vec<Description>,
}

/// What `head`, given by `target`, and the `hops` before it tell about a whole of `length` bytes.
///
/// Nothing when the answer is no representation of what was asked for, such as a 404: its digest would be that of the
/// error page.
pub fn read(hops: &[Hop], target: &Target, head: &Head, length: Option<u64>) -> Told {
    if !matches!(head.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED) {
        return Told::default();
    }
    let asked = hops.first().map_or(target, |hop| &hop.target);
    let coded = is_coded(&head.headers);
    let last = (target.scheme(), of_answer(head));
    let before = hops.iter().rev().map(|hop| (hop.target.scheme(), of_redirect(hop, coded, length)));
    let tellers: Vec<_> = std::iter::once(last).chain(before).collect();
    let mut ladder = Ladder::default();
    if let Some(digest) = url::digest(asked).filter(|_| !coded) {
        add_all(&mut ladder, &[digest], Teller::Url, head);
    }
    for scheme in [Scheme::Https, Scheme::Http] {
        for (_, digests) in tellers.iter().filter(|(teller, _)| *teller == scheme) {
            add_all(&mut ladder, digests, Teller::Origin(scheme), head);
        }
    }
    if coded {
        // Other places and documents speak of the file as it is stored.
        return Told { ladder, ..Told::default() };
    }
    let last = std::iter::once((target, &head.headers));
    let sayings = last.chain(hops.iter().rev().map(|hop| (&hop.target, &hop.headers)));
    let (mirrors, descriptions) = links::read(sayings, asked);
    Told { ladder, mirrors, descriptions }
}

fn add_all(ladder: &mut Ladder, digests: &[Digest], teller: Teller, head: &Head) {
    for digest in digests {
        // The better teller came first; a contradiction changes nothing.
        let _ = ladder.add(Rung { digest: digest.clone(), teller, said_at: head.received_at });
    }
}

fn of_answer(head: &Head) -> Vec<Digest> {
    let headers = &head.headers;
    let mut digests = digest::of_representation(headers);
    digests.extend(stored::google(headers));
    if !is_coded(headers) {
        digests.extend(stored::amazon(headers));
        digests.extend(registry::digests(headers));
        if head.status == StatusCode::OK {
            digests.extend(digest::of_content(headers));
            digests.extend(content_md5::digests(headers));
        }
    }
    consistent(&digests)
}

/// A redirect's `Digest` is that of the file in what mirror networks send (RFC 6249 section 6). Its `Repr-Digest` is,
/// by RFC 9530 section 3, that of the redirect's own content where it has some.
fn of_redirect(hop: &Hop, coded: bool, length: Option<u64>) -> Vec<Digest> {
    let is_empty = hop.headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
    let mut digests =
        if is_empty { digest::of_representation(&hop.headers) } else { digest::of_instance(&hop.headers) };
    if !coded {
        digests.extend(registry::digests(&hop.headers));
        digests.extend(linked::digest(&hop.headers, length));
    }
    digests.retain(|digest| !is_of_nothing(digest));
    consistent(&digests)
}

/// Without those that contradict one another.
fn consistent(named: &[Digest]) -> Vec<Digest> {
    let contradicted = |digest: &Digest| {
        named.iter().any(|other| other.algorithm() == digest.algorithm() && other != digest)
    };
    named.iter().filter(|digest| !contradicted(digest)).cloned().collect()
}

/// Whether it is the digest of no bytes at all: said by a redirect, it means the redirect's own content.
fn is_of_nothing(digest: &Digest) -> bool {
    const MD5_OF_NOTHING: [u8; 16] =
        [0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04, 0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8, 0x42, 0x7e];
    let function = match digest.algorithm() {
        Algorithm::Sha256 => &ring::digest::SHA256,
        Algorithm::Sha512 => &ring::digest::SHA512,
        Algorithm::Sha1 => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::Md5 => return digest.bytes() == MD5_OF_NOTHING,
    };
    ring::digest::digest(function, b"").as_ref() == digest.bytes()
}

fn is_coded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity")
}

/// The values of all lines of a field that are text.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, HEXLOWER};
    use http::HeaderValue;
    use kith_model::time::UnixMillis;

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
        let ladder = read(hops, &target(scheme), &head, Some(10)).ladder;
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

    /// What `fields` of an https answer name, as (algorithm, first byte).
    fn named(status: StatusCode, fields: &[(&'static str, String)]) -> Vec<(Algorithm, u8)> {
        let head = Head {
            status,
            headers: headers(fields),
            requested_at: UnixMillis(1),
            received_at: UnixMillis(2),
        };
        let told = read(&[], &target("https"), &head, Some(10));
        told.ladder.rungs().iter().map(|rung| (rung.digest.algorithm(), rung.digest.bytes()[0])).collect()
    }

    #[test]
    fn each_dialect_counts_where_it_speaks_of_the_whole() {
        use Algorithm::{Md5, Sha1, Sha256};
        let (md5, sha1) = (BASE64.encode(&[3; 16]), BASE64.encode(&[4; 20]));
        let hex = HEXLOWER.encode(&[5; 32]);
        let (whole, part) = (StatusCode::OK, StatusCode::PARTIAL_CONTENT);
        let content_digest = ("content-digest", format!("sha-256=:{}:", sha256(2)));
        let content_md5 = ("content-md5", md5.clone());
        let docker = ("docker-content-digest", format!("sha256:{hex}"));
        let amazon = ("x-amz-checksum-sha256", sha256(6));
        let google = ("x-goog-hash", format!("crc32c=AAAAAA==,md5={md5}"));
        let old = ("digest", format!("SHA={sha1},md5={md5}"));
        let gzip = ("content-encoding", "gzip".to_owned());
        let stored = ("x-goog-stored-content-encoding", "gzip".to_owned());
        let repr = ("repr-digest", format!("sha-256=:{}:", sha256(7)));
        for (status, fields, expected) in [
            (whole, vec![content_digest.clone()], vec![(Sha256, 2)]),
            (part, vec![content_digest.clone()], vec![]),
            (whole, vec![content_digest, gzip.clone()], vec![]),
            (whole, vec![content_md5.clone()], vec![(Md5, 3)]),
            (part, vec![content_md5.clone()], vec![]),
            (whole, vec![content_md5, gzip.clone()], vec![]),
            (part, vec![docker.clone()], vec![(Sha256, 5)]),
            (whole, vec![docker, gzip.clone()], vec![]),
            (part, vec![amazon.clone()], vec![(Sha256, 6)]),
            (whole, vec![amazon, gzip.clone()], vec![]),
            (whole, vec![google.clone()], vec![(Md5, 3)]),
            (whole, vec![google.clone(), gzip.clone()], vec![]),
            (whole, vec![google.clone(), gzip.clone(), stored.clone()], vec![(Md5, 3)]),
            (whole, vec![google, stored], vec![]),
            (part, vec![old], vec![(Sha1, 4), (Md5, 3)]),
            (part, vec![repr, gzip], vec![(Sha256, 7)]),
        ] {
            assert_eq!(named(status, &fields), expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn dialects_that_disagree_name_nothing() {
        let fields = [
            ("content-md5", BASE64.encode(&[1; 16])),
            ("x-goog-hash", format!("md5={}", BASE64.encode(&[2; 16]))),
            ("repr-digest", format!("sha-256=:{}:", sha256(3))),
        ];
        assert_eq!(named(StatusCode::OK, &fields), [(Algorithm::Sha256, 3)]);
    }

    #[test]
    fn the_digest_in_the_url_that_was_asked_for_is_the_first_to_count() {
        let hex = HEXLOWER.encode(&[9; 32]);
        let asked = Target::parse(&format!("http://r.example/v2/a/blobs/sha256:{hex}")).expect("a target");
        let hops = [Hop { target: asked, status: StatusCode::FOUND, headers: HeaderMap::new() }];
        let end = [("repr-digest", format!("sha-256=:{}:", sha256(2)))];
        assert_eq!(check(&hops, "https", StatusCode::OK, &end), [(9, Teller::Url)]);
        // Where a redirect led to is not what the client asked for.
        let elsewhere =
            Target::parse(&format!("https://cdn.example/v2/a/blobs/sha256:{hex}")).expect("a target");
        let head = Head {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            requested_at: UnixMillis(1),
            received_at: UnixMillis(1),
        };
        assert_eq!(read(&[hop("https", &[])], &elsewhere, &head, None).ladder, Ladder::default());
    }

    #[test]
    fn a_linked_file_is_named_only_by_the_redirect_that_links_it() {
        let fields = |size: &str| {
            [
                ("x-linked-etag", format!("\"{}\"", HEXLOWER.encode(&[8; 32]))),
                ("x-linked-size", size.to_owned()),
            ]
        };
        let teller = Teller::Origin(Scheme::Https);
        assert_eq!(check(&[hop("https", &fields("10"))], "https", StatusCode::OK, &[]), [(8, teller)]);
        assert_eq!(check(&[hop("https", &fields("11"))], "https", StatusCode::OK, &[]), []);
        assert_eq!(check(&[], "https", StatusCode::OK, &fields("10")), []);
    }
}
