//! One line a row.

use http::StatusCode;
use http::header::HeaderName;
use proptest::prelude::*;

use super::*;
use crate::key::{CacheKey, Variant};
use crate::ladder::{Algorithm, Digest, Rung, Teller};
use crate::object::ObjectId;
use crate::representation::Head;
use crate::time::UnixMillis;

const MIB: u64 = 1024 * 1024;
const PUBLIC: &str = "https://downloads.example.org/pub/disk.iso";

fn fields(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    for line in text.split(" | ").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").expect("name: value");
        headers.insert(
            HeaderName::from_bytes(name.as_bytes()).expect("name"),
            HeaderValue::from_str(value).expect("value"),
        );
    }
    headers
}

fn ladder(teller: Teller) -> Ladder {
    let mut ladder = Ladder::default();
    let digest = Digest::new(Algorithm::Sha256, &[0xab; 32]).expect("length");
    ladder.add(Rung { digest, teller, said_at: UnixMillis(0) }).expect("first");
    ladder
}

/// The farthest audience that may have it, and why the next one may not.
fn reach(subject: &Subject<'_>) -> (Option<Audience>, Option<Reason>) {
    let all = [Audience::Household, Audience::Mine, Audience::Neighbour, Audience::World];
    let mut farthest = None;
    for audience in all {
        match may_share(subject, audience) {
            Ok(()) => farthest = Some(audience),
            Err(reason) => return (farthest, Some(reason)),
        }
    }
    (farthest, None)
}

fn subject<'a>(target: &'a Target, response: &'a HeaderMap, ladder: &'a Ladder) -> Subject<'a> {
    let (credentials, publisher) = (Credentials::None, Publisher::Offers);
    Subject { target, credentials, response, length: 64 * MIB, ladder, publisher }
}

#[test]
fn each_audience_gets_what_the_one_before_gets_and_less() {
    use Audience::{Household, Mine, Neighbour, World};
    let none = Ladder::default();
    let anchored = ladder(Teller::Origin(Scheme::Https));
    let unauthentic = ladder(Teller::Origin(Scheme::Http));
    for (url, response, ladder, farthest, reason) in [
        (PUBLIC, "", &none, Some(World), None),
        (PUBLIC, "vary: Accept-Encoding, origin", &none, Some(World), None),
        (PUBLIC, "content-type: application/json", &anchored, Some(World), None),
        (PUBLIC, "cache-control: no-store", &none, None, Some(Reason::Forbidden)),
        (PUBLIC, "cache-control: private", &none, None, Some(Reason::Forbidden)),
        (PUBLIC, "cache-control: private=\"x\"", &none, Some(Household), Some(Reason::Forbidden)),
        (PUBLIC, "cache-control: no-cache=\"x\"", &none, Some(World), None),
        (
            PUBLIC,
            "cache-control: private | cdn-cache-control: max-age=60",
            &none,
            Some(Household),
            Some(Reason::Forbidden),
        ),
        (PUBLIC, "cache-control: no-store, must-understand", &none, Some(World), None),
        (PUBLIC, "set-cookie: a=b", &none, None, Some(Reason::SetCookie)),
        (PUBLIC, "vary: user-agent", &none, Some(Mine), Some(Reason::Varies)),
        (PUBLIC, "vary: *", &none, Some(Mine), Some(Reason::Varies)),
        (PUBLIC, "content-type: text/html; charset=utf-8", &none, Some(Mine), Some(Reason::Text)),
        (PUBLIC, "content-type: application/vnd.api+json", &none, Some(Mine), Some(Reason::Text)),
        ("http://example.org/disk.iso", "", &none, Some(Mine), Some(Reason::Unanchored)),
        ("http://example.org/disk.iso", "", &unauthentic, Some(Mine), Some(Reason::Unanchored)),
        ("http://example.org/disk.iso", "", &anchored, Some(World), None),
        ("https://example.org:8443/disk.iso", "", &none, Some(Mine), Some(Reason::Port)),
        ("https://9.9.9.9/disk.iso", "", &none, Some(Mine), Some(Reason::AddressHost)),
        ("https://[2606:4700::1]/disk.iso", "", &none, Some(Mine), Some(Reason::AddressHost)),
        ("https://example.org/disk.iso?version=3", "", &none, Some(Neighbour), Some(Reason::Query)),
        ("https://example.org/disk.iso?token=x", "", &none, Some(Household), Some(Reason::QueryToken)),
        ("https://nas.lan/disk.iso", "", &none, Some(Household), Some(Reason::PrivateHost)),
    ] {
        let (target, response) = (Target::parse(url).expect(url), fields(response));
        assert_eq!(reach(&subject(&target, &response, ladder)), (farthest, reason), "{url} {response:?}");
    }
}

#[test]
fn credentials_withdrawal_size_and_consent_count() {
    use Audience::{Household, Mine, Neighbour, World};
    let (target, response, ladder) = (Target::parse(PUBLIC).expect("valid"), fields(""), Ladder::default());
    for (credentials, publisher, length, farthest, reason) in [
        (Credentials::None, Publisher::Offers, 16 * MIB, Some(World), None),
        (
            Credentials::None,
            Publisher::Offers,
            16 * MIB - 1,
            Some(Neighbour),
            Some(Reason::TooSmall(16 * MIB)),
        ),
        (Credentials::None, Publisher::Offers, 4 * MIB - 1, Some(Mine), Some(Reason::TooSmall(4 * MIB))),
        (Credentials::None, Publisher::Silent, 64 * MIB, Some(Neighbour), Some(Reason::NotOffered)),
        (Credentials::None, Publisher::Withdrew, 64 * MIB, Some(Household), Some(Reason::Withdrawn)),
        (Credentials::Some, Publisher::Offers, 64 * MIB, Some(Household), Some(Reason::Credentials)),
    ] {
        let subject = Subject { credentials, length, publisher, ..subject(&target, &response, &ladder) };
        assert_eq!(reach(&subject), (farthest, reason));
    }
}

#[test]
fn private_hosts_keep_what_they_have() {
    for (host, private) in [
        ("example.org", false),
        ("lan.example.org", false),
        ("mylan.org", false),
        ("files.mylan", false),
        ("files.test", false),
        ("9.9.9.9", false),
        ("198.51.100.10", false),
        ("[2606:4700::1]", false),
        ("nas", true),
        ("nas.local", true),
        ("NAS.LAN", true),
        ("nas.lan.", true),
        ("box.home.arpa", true),
        ("wiki.corp.internal", true),
        ("localhost", true),
        ("abc.onion", true),
        ("127.0.0.1", true),
        ("0177.0.0.1", true),
        ("2130706433", true),
        ("10.1.2.3", true),
        ("192.168.1.1", true),
        ("172.31.0.1", true),
        ("100.64.0.1", true),
        ("169.254.1.1", true),
        ("0.0.0.0", true),
        ("[::1]", true),
        ("[::]", true),
        ("[fe80::1]", true),
        ("[fd00::1]", true),
        ("[fec0::1]", true),
        ("[::ffff:10.0.0.1]", true),
        ("[::ffff:9.9.9.9]", false),
        ("[64:ff9b::7f00:1]", true),
        ("[2002:7f00:1::]", true),
    ] {
        let target = Target::parse(&format!("https://{host}/a")).expect(host);
        assert_eq!(is_private_host(target.host()), private, "{host}");
    }
}

#[test]
fn signed_links_stay_in_the_house() {
    for query in [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=300&X-Amz-Signature=abc",
        "x-amz-security-token=abc",
        "AWSAccessKeyId=AKIA&Expires=1700000000&Signature=abc%3D",
        "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Date=20260101T000000Z",
        "GoogleAccessId=x%40y&Expires=1700000000",
        "Expires=1700000000&Signature=x&Key-Pair-Id=K2",
        "Expires=1700000000&Key-Pair-Id=K2",
        "Policy=eyJTdGF0ZW1lbnQiOiJ4In0_&Key-Pair-Id=K2",
        "sv=2022-11-02&st=2026-01-01&se=2026-01-02&sr=b&sp=r&sig=abc",
        "se=2026-01-02&sp=r",
        "token=abc",
        "access_token=abc",
        "private-token=abc",
        "auth=abc",
        "key=abc",
        "api_key=abc",
        "hdnts=exp=1700000000~acl=/*~hmac=abc",
        "hdnea=st=1~exp=2~acl=/*",
        "__token__=exp=1~hmac=2",
        "st=abcdef&e=1700000000",
        "e=1700000000",
        "md5=abc&expires=1700000000",
        "x-oss-signature-version=OSS4",
        "q-sign-algorithm=sha1",
        "verify=1700000000-Zm9vYmFyZm9vYmFyQk9Yenp5WFlaMTIz",
        "id=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "u=123e4567-e89b-42d3-a456-426614174000",
        "sessionid=1",
        "PHPSESSID=1&Session=2",
        "download=1&passwd=x",
    ] {
        assert!(secret::in_query(query), "{query}");
    }
    for query in [
        "",
        "version=3",
        "arch=amd64&os=linux&format=tar.gz",
        "file=ubuntu-24.04.1-desktop-amd64.iso",
        "expires=never",
        "v=20240101",
        "lang=de&page=2",
        "path=/pool/main/l/linux/linux-image-6.1.0-28-amd64_6.1.119-1_amd64.deb",
        "rev=1a2b3c4d",
    ] {
        assert!(!secret::in_query(query), "{query}");
    }
}

#[test]
fn paths_that_nobody_could_guess_stay_in_the_house() {
    let digest = "ab".repeat(32);
    for path in [
        "/s/0123456789abcdef0123456789abcdef/file.zip",
        "/s/123e4567-e89b-42d3-a456-426614174000/file.zip",
        "/d/hT9xQ2mVb7LkR4sYp0WcZg/file.zip",
        "/d/aZ3-kQ9_xY7bR2mT5vW8pL/file.zip",
        "/d/qljcy5iwwgb5nqmfrlwxaxn2l6cq/x",
        "/d/hT9xQ2mV%62b7LkR4sYp0WcZg",
        "/jwt/eyJhbGciOiJIUzI1NiJ9/x",
        "/dl/aZ3kQ9xY7bR2mT5vW8pL.zip",
        "/blobs/sha256:cd00000000000000000000000000000000000000000000000000000000000001",
    ] {
        assert!(secret::in_path(path, &ladder(Teller::Url)), "{path}");
    }
    for path in [
        "/".to_owned(),
        "/ubuntu-24.04.1-desktop-amd64.iso".to_owned(),
        "/pub/linux/Fedora-Workstation-Live-x86_64-40-1.14.iso".to_owned(),
        "/debian/pool/main/p/python3.11/python3.11-venv_3.11.2-6+deb12u5_amd64.deb".to_owned(),
        "/VisualStudioCodeSetupX64Installer.exe".to_owned(),
        "/releases/download/v1.22.3/go1.22.3.linux-amd64.tar.gz".to_owned(),
        "/raspios_arm64-2024-03-15/2024-03-15-raspios-bookworm-arm64.img.xz".to_owned(),
        "/node/v20.11.1/node-v20.11.1-x64.msi".to_owned(),
        "/InRelease".to_owned(),
        "/Big%20Buck%20Bunny%20(2008)%201080p.mp4".to_owned(),
        format!("/dists/stable/main/binary-amd64/by-hash/SHA256/{digest}"),
        format!("/v2/library/debian/blobs/sha256:{digest}"),
    ] {
        assert!(!secret::in_path(&path, &ladder(Teller::Url)), "{path}");
    }
}

#[test]
fn what_is_stored_leaves_only_when_it_is_known_first_hand() {
    let target = Target::parse(PUBLIC).expect("valid");
    let head = Head {
        status: StatusCode::OK,
        headers: fields(""),
        requested_at: UnixMillis(0),
        received_at: UnixMillis(1),
    };
    let object = ObjectId::of(b"");
    let (ladder, length) = (Ladder::default(), 64 * MIB);
    let info = ObjectInfo { id: object, length, ladder, stored_at: UnixMillis(0), pinned: false };
    for (standing, audience, expected) in [
        (Standing::FirstHand, Audience::Household, Ok(())),
        (Standing::FirstHand, Audience::Mine, Ok(())),
        (Standing::FirstHand, Audience::Neighbour, Ok(())),
        (Standing::FirstHand, Audience::World, Err(Reason::NotOffered)),
        (Standing::Claimed, Audience::Household, Ok(())),
        (Standing::Claimed, Audience::Mine, Err(Reason::NotFirstHand)),
        (Standing::Household, Audience::Household, Ok(())),
        (Standing::Household, Audience::Mine, Err(Reason::Household)),
    ] {
        let key = CacheKey { target: target.clone(), variant: Variant::ONLY };
        let (head, selecting) = (head.clone(), Vec::new());
        let representation = Representation { key, selecting, head, object, length, standing };
        assert_eq!(may_leave(&representation, &info, audience), expected, "{standing:?} {audience:?}");
        let status = StatusCode::NOT_FOUND;
        let error =
            Representation { head: Head { status, ..representation.head.clone() }, ..representation.clone() };
        assert_eq!(may_leave(&error, &info, audience).is_ok(), audience == Audience::Household);
        let outdated = crate::freshness::outdated(&representation);
        assert_eq!(may_leave(&outdated, &info, audience).is_ok(), audience == Audience::Household);
    }
}

proptest! {
    #[test]
    fn who_may_have_it_may_have_it_nearer_too(path in "[ -~]{0,60}", length in any::<u64>()) {
        if let Ok(target) = Target::parse(&format!("https://example.org/{path}").replace(' ', "%20")) {
            let (response, ladder) = (fields(""), Ladder::default());
            let subject = Subject { length, ..subject(&target, &response, &ladder) };
            let all = [Audience::World, Audience::Neighbour, Audience::Mine, Audience::Household];
            let allowed: Vec<_> = all.iter().map(|audience| may_share(&subject, *audience).is_ok()).collect();
            prop_assert!(allowed.is_sorted(), "{target}: {allowed:?}");
        }
    }

    #[test]
    fn random_tokens_are_seen(bytes in prop::array::uniform32(any::<u8>())) {
        let token = data_encoding::HEXLOWER.encode(&bytes[..16]);
        prop_assume!(token.bytes().any(|byte| byte.is_ascii_digit()));
        let path = format!("/{token}/file");
        prop_assert!(secret::in_path(&path, &Ladder::default()));
    }
}
