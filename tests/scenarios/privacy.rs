//! What one person fetched stays with that person, and what the household fetched by a link that is a secret stays in
//! the household: a line a case, told by what the box answers the next client and by its own decision trail.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, ensure};
use kith_tests::body::Body;
use kith_tests::client::Request;
use kith_tests::dns::Dns;
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;
use kith_tests::resource::Resource;

const PUBLIC: &str = "files.example.org";

/// How far it may get: nowhere, to the household's clients, or also to the owner's other boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    NotStored,
    Household,
    Mine,
}
use Reach::{Household, Mine, NotStored};

struct Case {
    host: &'static str,
    path: &'static str,
    asked_with: &'static [(&'static str, &'static str)],
    answered_with: &'static [(&'static str, &'static str)],
    reach: Reach,
}

const fn case(path: &'static str, reach: Reach) -> Case {
    Case { host: PUBLIC, path, asked_with: &[], answered_with: &[], reach }
}

type Fields = &'static [(&'static str, &'static str)];

const fn asked(path: &'static str, asked_with: Fields, answered_with: Fields, reach: Reach) -> Case {
    Case { host: PUBLIC, path, asked_with, answered_with, reach }
}

const fn answered(path: &'static str, answered_with: Fields, reach: Reach) -> Case {
    asked(path, &[], answered_with, reach)
}

const fn at(host: &'static str, path: &'static str, reach: Reach) -> Case {
    Case { host, path, asked_with: &[], answered_with: &[], reach }
}

const COOKIE: Fields = &[("Cookie", "session=7")];
const AUTHORIZATION: Fields = &[("Authorization", "Basic a2l0aDpraXRo")];

const CASES: &[Case] = &[
    // For anybody.
    case("a.iso", Mine),
    case("debian/pool/main/k/kith/kith_0.1_amd64.deb", Mine),
    case("a.iso?release=12&arch=amd64", Mine),
    // For one person.
    asked("cookie", COOKIE, &[], Household),
    asked("cookie-without-lifetime", COOKIE, &[("Cache-Control", "x=1")], NotStored),
    asked("cookie-selects", COOKIE, &[("Vary", "Cookie")], NotStored),
    asked("cookie-and-set", COOKIE, &[("Set-Cookie", "session=8")], NotStored),
    asked("authorization", AUTHORIZATION, &[], NotStored),
    asked("authorization-public", AUTHORIZATION, &[("Cache-Control", "public, max-age=3600")], Household),
    asked("authorization-shared", AUTHORIZATION, &[("Cache-Control", "s-maxage=3600")], Household),
    answered("private-field", &[("Cache-Control", "private=\"x-name\", max-age=3600")], Household),
    answered("set-cookie", &[("Set-Cookie", "session=7; Secure")], NotStored),
    answered("private", &[("Cache-Control", "private, max-age=3600")], NotStored),
    answered("no-store", &[("Cache-Control", "no-store")], NotStored),
    answered("private-and-public", &[("Cache-Control", "public, private, max-age=3600")], NotStored),
    answered("no-store-and-public", &[("Cache-Control", "public, no-store, max-age=3600")], NotStored),
    answered("vary-star", &[("Vary", "*")], NotStored),
    // Links that are permissions.
    case("s/amazon?X-Amz-Signature=00ff&X-Amz-Expires=60", Household),
    case("s/google?X-Goog-Signature=00ff&X-Goog-Expires=60", Household),
    case("s/google-old?GoogleAccessId=k%40example&Expires=1&Signature=ab", Household),
    case("s/cloudfront?Expires=1&Signature=ab&Key-Pair-Id=K1", Household),
    case("s/azure?sv=2020-08-04&se=2030-01-01&sr=b&sp=r&sig=ab%3D", Household),
    case("s/akamai?hdnts=exp=1~acl=/*~hmac=ab", Household),
    case("s/akamai-live?hdnea=exp=1~acl=/*~hmac=ab", Household),
    case("s/nginx?st=ab&e=1", Household),
    case("s/alibaba?OSSAccessKeyId=k&Expires=1&Signature=ab", Household),
    case("s/alibaba-v4?x-oss-signature=ab&x-oss-expires=60", Household),
    case("s/tencent?q-sign-algorithm=sha1&q-ak=k&q-signature=ab", Household),
    case("s/huawei?x-obs-security-token=ab", Household),
    case("s/token?token=12345", Household),
    case("s/access-token?access_token=12345", Household),
    case("s/key?key=12345", Household),
    case("s/auth?auth=12345", Household),
    case("s/upper-case?TOKEN=12345", Household),
    case("s/escaped?%74oken=12345", Household),
    case("s/jwt?q=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", Household),
    case("s/jwt-path/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln/a.zip", Household),
    case("s/0b9c2d6f7a81e35d4c6b8e9f01a2b3c4d5e6f708/a.zip", Household),
    case("s/Zx81kQpW0vNf3sTyB7uHaG/a.zip", Household),
    // Hosts of the house.
    at("printer.local", "manual.pdf", Household),
    at("nas.lan", "film.mkv", Household),
    at("cloud.home.arpa", "photos.zip", Household),
    at("build.internal", "image.iso", Household),
    at("127.0.0.1", "disk.img", Household),
];

#[test]
fn what_is_private_is_neither_kept_nor_shared() -> Result<()> {
    let origin = origin()?;
    let port = origin.address().port();
    let loopback: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
    let names: HashMap<_, _> = CASES.iter().map(|case| (case.host.to_owned(), loopback.clone())).collect();
    let dns = Dns::start(names)?;
    let kith = Kith::named("box").set("origins.resolver", &format!("\"{}\"", dns.address())).start()?;
    for case in CASES {
        let url = format!("http://{}:{port}/{}", case.host, case.path);
        check(&kith, &origin, case, &url).with_context(|| url.clone())?;
    }
    Ok(())
}

fn origin() -> Result<Origin> {
    let mut script = Origin::empty();
    for (seed, case) in (0..).zip(CASES) {
        let resource = Resource::of(Body::seeded(seed, 20_000));
        let resource =
            case.answered_with.iter().fold(resource, |resource, (name, value)| resource.field(name, value));
        script = script.and(case.path, resource);
    }
    Ok(script.start()?)
}

fn check(kith: &Kith, origin: &Origin, case: &Case, url: &str) -> Result<()> {
    let stored_before = kith.metrics()?.count("kith_store_objects");
    let request = case
        .asked_with
        .iter()
        .fold(Request::by_proxy(kith, url), |request, (name, value)| request.field(name, value));
    let first = request.fetch()?;
    ensure!(first.status() == 200 && first.whole, "status {}", first.status());
    if case.reach == NotStored {
        ensure!(kith.metrics()?.count("kith_store_objects") == stored_before, "it was stored");
    } else {
        kith.wait_stored(stored_before + 1)?;
    }
    let asked_before = origin.requests().len();
    let second = Request::by_proxy(kith, url).fetch()?;
    ensure!(second.sha256 == first.sha256);
    let asked = origin.requests().len() > asked_before;
    ensure!(asked == (case.reach == NotStored), "the next client's answer came from elsewhere");

    // Asked without the cookie or authorization it is anybody's.
    let keeps_out = case.answered_with.iter().any(|(name, _)| *name == "Set-Cookie");
    let reach =
        if case.asked_with.is_empty() || case.reach != NotStored || keeps_out { case.reach } else { Mine };
    if reach != case.reach {
        kith.wait_stored(stored_before + 1)?;
    }
    let trail = kith.ask(&format!("/api/v1/explain?url={}", escaped(url)))?;
    let stored = trail["stored"].as_array().cloned().unwrap_or_default();
    ensure!(stored.is_empty() == (reach == NotStored), "{trail}");
    for stored in stored {
        let mine =
            stored["sharing"].as_array().into_iter().flatten().find(|verdict| verdict["with"] == "mine");
        ensure!((mine.context("a verdict")?["allowed"] == true) == (reach == Mine), "{trail}");
    }
    Ok(())
}

fn escaped(url: &str) -> String {
    url.bytes()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
