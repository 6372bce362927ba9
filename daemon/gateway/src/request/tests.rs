use http::HeaderName;

use super::*;
use crate::house::Allow;
use kith_model::signature::Signature;

fn parsed(target: &str, fields: &[(&'static str, &'static str)]) -> Result<Demand, Refusal> {
    parsed_by(&Method::GET, target, fields)
}

fn parsed_by(
    method: &Method,
    target: &str,
    fields: &[(&'static str, &'static str)],
) -> Result<Demand, Refusal> {
    let house = House::new("attic", &[], vec![8480], vec![Allow::Lan], vec![]).signing(Signature::new("k7"));
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(HOST).or_insert(HeaderValue::from_static("attic:8480"));
    let local = SocketAddr::from(([192, 0, 2, 1], 8480));
    parse(method, &target.parse().expect("what hyper takes"), headers, &house, local)
}

fn url(text: &str, door: Door) -> What {
    What::Url(Target::parse(text).expect("a URL"), door)
}

#[test]
fn every_form_of_the_contract_is_understood() {
    let hex = "AF1349B9F5F9A1A6A0404DEA36DCC9499BCB25C9ADC112B7CC9A93CAE41F3262";
    let object = What::Object(hex.parse().expect("an id"), FileName::new("a b.iso"));
    let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).expect("hex");
    let digest = What::Digest(Digest::new(Algorithm::Sha256, &bytes).expect("32 bytes"), None);
    let ni = format!("/.well-known/ni/sha-256/{}", BASE64URL_NOPAD.encode(&bytes));
    for (target, expected) in [
        ("http://a.test/b?c", url("http://a.test/b?c", Door::Proxy)),
        ("https://a.test/b", url("https://a.test/b", Door::Proxy)),
        ("http://a.test", url("http://a.test/", Door::Proxy)),
        ("/https://a.test/b?c=d", url("https://a.test/b?c=d", Door::Prefix)),
        ("/http://a.test:81/b", url("http://a.test:81/b", Door::Prefix)),
        ("/https:/a.test/b", url("https://a.test/b", Door::Prefix)),
        ("/HTTP://a.test", url("http://a.test/", Door::Prefix)),
        ("/http%3A/a.test%3A81/b%3Ac", url("http://a.test:81/b%3Ac", Door::Prefix)),
        ("/https%3a//a.test?b", url("https://a.test/?b", Door::Prefix)),
        (&format!("/b3/{hex}?name=x/a%20b.iso"), object),
        (&format!("/sha256/{hex}"), digest.clone()),
        (&ni, digest),
        ("/", What::Page(Page::Home)),
        ("/?utm=1", What::Page(Page::Home)),
        ("/proxy.pac", What::Page(Page::Pac)),
        ("/.well-known/pvd", What::Page(Page::ProvisioningDomain)),
        ("/.well-known/kith", What::Page(Page::WellKnown)),
    ] {
        assert_eq!(parsed(target, &[]).expect(target).what, expected, "{target}");
    }
}

#[test]
fn what_is_none_of_these_is_refused_with_its_status() {
    let long = format!("http://a.test/{}", "a".repeat(kith_model::limits::URL_BYTES_MAX));
    for (target, status) in [
        ("/nothing", 404),
        ("/b3/00", 400),
        ("/sha256/zz", 400),
        ("/.well-known/ni/sha-256/AA", 400),
        ("/.well-known/ni/sha-1/AA", 404),
        ("/https://u:p@a.test/", 400),
        ("/https://u%3Ap@a.test/", 400),
        ("/https%3A///a.test/", 400),
        ("/http:///a.test/", 400),
        ("/http://", 400),
        ("/http:a.test", 404),
        ("ftp://a.test/", 400),
        (&long, 414),
        ("http://attic:8480/x", 508),
        ("http://127.0.0.1:8480/", 508),
        ("/http://attic.local:8480/http://a.test/", 508),
    ] {
        let refusal = parsed(target, &[]).expect_err(target);
        assert_eq!(refusal.response(Tongue::Text).status(), status, "{target}");
    }
    for (method, status) in
        [(Method::POST, 405), (Method::TRACE, 405), (Method::CONNECT, 405), (Method::OPTIONS, 405)]
    {
        let refusal = parsed_by(&method, "/", &[]).expect_err("another method");
        assert_eq!(refusal.response(Tongue::Text).status(), status, "{method}");
    }
}

#[test]
fn a_foreign_host_is_refused_but_a_proxied_one_is_not() {
    assert!(matches!(parsed("/", &[("host", "evil.test")]), Err(Refusal::Host)));
    assert!(matches!(parsed("/http://a.test/", &[("host", "a.test")]), Err(Refusal::Host)));
    let demand = parsed("http://a.test/", &[("host", "b.test")]).expect("the URL's authority wins");
    assert_eq!(demand.what, url("http://a.test/", Door::Proxy));
}

#[test]
fn a_request_that_came_through_this_box_is_a_loop_and_one_through_another_is_not() {
    for (name, value) in [("via", "1.0 fred, 1.1 kith (k7)"), ("cdn-loop", "kith; box=k7")] {
        assert!(matches!(parsed("http://a.test/", &[(name, value)]), Err(Refusal::Loop)), "{name}: {value}");
    }
    for via in ["1.1 kith", "1.1 kith (k8)", "1.1 kithless"] {
        assert!(parsed("http://a.test/", &[("via", via)]).is_ok(), "{via}");
    }
}

#[test]
fn another_sites_page_gets_nothing_by_prefix_or_hash_and_its_visitor_a_link() {
    let hash = format!("/b3/{}?name=%22%3Cb%3E", "0".repeat(64));
    let site = ("sec-fetch-site", "cross-site");
    for target in ["/https://a.test/", &hash] {
        for fields in [&[site, ("sec-fetch-mode", "no-cors")][..], &[("origin", "null")]] {
            assert!(matches!(parsed(target, fields), Err(Refusal::CrossSite)), "{target} {fields:?}");
        }
        assert!(matches!(parsed(target, &[("service-worker", "script")]), Err(Refusal::ServiceWorker)));
        assert!(parsed(target, &[("origin", "http://attic:8480")]).is_ok());
        let visit = [site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        let demand = parsed(target, &visit).expect("a page");
        assert_eq!(demand.what, What::Page(Page::Link(target.to_owned())));
    }
    assert!(parsed("http://a.test/", &[("origin", "https://b.test"), site]).is_ok());
    assert!(parsed("/proxy.pac", &[site]).is_ok());
}

#[test]
fn the_form_of_the_page_leads_to_what_was_typed() {
    for (query, expected) in [
        ("/?url=https%3A%2F%2Fa.test%2Fb%3Fc", "https://a.test/b?c"),
        ("/?x=1&url=+a.test/b", "https://a.test/b"),
        ("/?url=http://a.test", "http://a.test/"),
    ] {
        let what = parsed(query, &[]).expect(query).what;
        assert_eq!(what, What::Page(Page::Go(Target::parse(expected).expect("a URL"))), "{query}");
    }
    for query in ["/?url=", "/?url=ftp://a.test/", "/?url=javascript:alert(1)", "/?url=https://u:p@a.test/"] {
        assert!(matches!(parsed(query, &[]), Err(Refusal::Target(_))), "{query}");
    }
}

#[test]
fn browsers_follow_redirects_themselves_and_for_programs_the_box_does() {
    for (target, fields, expected) in [
        ("/https://a.test/", &[][..], Redirects::Follow),
        ("/https://a.test/", &[("upgrade-insecure-requests", "1")], Redirects::HandBack),
        (
            "/https://a.test/",
            &[("sec-fetch-mode", "navigate"), ("sec-fetch-site", "none")],
            Redirects::HandBack,
        ),
        ("http://a.test/", &[], Redirects::HandBack),
    ] {
        assert_eq!(
            parsed(target, fields).expect("a good request").redirects,
            expected,
            "{target} {fields:?}"
        );
    }
}

#[test]
fn ranges_and_conditions_are_taken_out_of_what_the_origin_gets() {
    let fields =
        [("range", "bytes=1-2"), ("if-range", "\"a\""), ("if-none-match", "\"a\""), ("accept", "*/*")];
    let demand = parsed("http://a.test/", &fields).expect("a good request");
    assert_eq!(demand.range, Some(ByteWish::FromTo(1, 3)));
    assert_eq!(demand.headers.keys().collect::<Vec<_>>(), ["accept"]);
    let head = parsed_by(&Method::HEAD, "http://a.test/", &fields).expect("a good request");
    assert_eq!(head.range, None);
}

#[test]
fn a_file_name_is_for_display_only() {
    let named = |text: &str| FileName::new(text).map(|name| name.disposition());
    assert_eq!(
        named("../../etc/p\"\r\nä.txt").expect("a name"),
        "attachment; filename=\"p__.txt\"; filename*=UTF-8''p%22%C3%A4.txt"
    );
    assert_eq!(named(".."), None);
    assert_eq!(named("a/"), None);
}
