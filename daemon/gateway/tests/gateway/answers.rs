//! Answers: what a client gets for each kind of request and each mood of the origin.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use http::StatusCode;
use kith_fetch::ask::AskError;
use kith_model::object::ObjectId;

use crate::house::{House, Site, sample};

const URL: &str = "http://a.test/f";

/// What goes wrong, the status, and the step that failed.
type Trouble = (fn() -> AskError, u16, &'static str);

#[tokio::test]
async fn a_file_is_fetched_once_and_then_served_from_the_shelf() {
    let body = sample(300_000);
    let house = House::start(Site::serving(body.clone()));
    let miss = house.get(URL, "").await;
    assert_eq!((miss.status, &miss.body[..]), (200, &body[..]));
    assert_eq!(miss.field("cache-status"), Some("kith; fwd=uri-miss; fwd-status=200; stored"));
    assert_eq!(miss.field("via"), Some("1.1 kith"));
    assert_eq!(miss.field("content-length"), Some("300000"));
    house.stored(URL).await;
    let hit = house.get(URL, "").await;
    assert_eq!((hit.status, &hit.body[..]), (200, &body[..]));
    let is_fresh_hit = |told: Option<&str>| {
        let left = told.and_then(|told| told.strip_prefix("kith; hit; ttl="));
        left.and_then(|left| left.parse().ok()).is_some_and(|left: u64| (3000..=3600).contains(&left))
    };
    assert!(is_fresh_hit(hit.field("cache-status")), "{:?}", hit.field("cache-status"));
    assert!(hit.field("age").is_some());
    let digest = ring::digest::digest(&ring::digest::SHA256, &body);
    assert_eq!(hit.field("repr-digest"), Some(&format!("sha-256=:{}:", BASE64.encode(digest.as_ref()))[..]));
    let by_proxy =
        house.say(&format!("GET {URL} HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n")).await;
    assert!(is_fresh_hit(by_proxy.field("cache-status")) && by_proxy.body.len() == body.len());
    assert_eq!(house.questions(), 1);
    assert_eq!((house.count("miss"), house.count("hit")), (1, 2));
}

#[tokio::test]
async fn ranges_are_cut_from_what_arrives_and_from_the_shelf_alike() {
    let body = sample(400_000);
    let house = House::start(Site::serving(body.clone()));
    for round in ["arriving", "stored"] {
        for (range, start, end) in [
            ("bytes=5-9", 5, 10),
            ("bytes=100000-299999", 100_000, 300_000),
            ("bytes=399999-", 399_999, 400_000),
            ("bytes=-7", 399_993, 400_000),
            ("bytes=399000-99999999999999999999", 399_000, 400_000),
        ] {
            let reply = house.get(URL, &format!("Range: {range}\r\n")).await;
            assert_eq!(reply.status, 206, "{round} {range}");
            assert_eq!(reply.field("content-range"), Some(&format!("bytes {start}-{}/400000", end - 1)[..]));
            assert!(reply.complete && reply.body == body[start..end], "{round} {range}");
        }
        for range in ["bytes=400000-", "bytes=-0"] {
            let reply = house.get(URL, &format!("Range: {range}\r\n")).await;
            assert_eq!(reply.status, 416, "{round} {range}");
            assert_eq!(reply.field("content-range"), Some("bytes */400000"));
        }
        let several = house.get(URL, "Range: bytes=0-0,5-6\r\n").await;
        assert_eq!((several.status, several.body.len()), (200, body.len()), "{round}");
        house.stored(URL).await;
    }
}

#[tokio::test]
async fn conditions_are_judged_on_what_would_be_served() {
    let house = House::start(Site::serving(sample(70_000)));
    for round in ["arriving", "stored"] {
        let known = house.get(URL, "If-None-Match: \"one\"\r\n").await;
        assert_eq!((known.status, known.field("etag")), (304, Some("\"one\"")), "{round}");
        assert_eq!(known.field("content-length"), None);
        assert_eq!(house.get(URL, "If-None-Match: \"two\"\r\n").await.status, 200, "{round}");
        assert_eq!(house.get(URL, "If-Match: \"two\"\r\n").await.status, 412, "{round}");
        let part = house.get(URL, "Range: bytes=0-9\r\nIf-Range: \"one\"\r\n").await;
        assert_eq!((part.status, part.body.len()), (206, 10), "{round}");
        let whole = house.get(URL, "Range: bytes=0-9\r\nIf-Range: \"two\"\r\n").await;
        assert_eq!((whole.status, whole.body.len()), (200, 70_000), "{round}");
        house.stored(URL).await;
    }
}

#[tokio::test]
async fn head_tells_what_get_would_and_sends_no_content() {
    let house = House::start(Site::serving(sample(50_000)));
    for _ in 0..2 {
        let reply =
            house.say(&format!("HEAD /{URL} HTTP/1.1\r\nHost: attic\r\nConnection: close\r\n\r\n")).await;
        assert_eq!((reply.status, reply.field("content-length")), (200, Some("50000")));
        assert!(reply.body.is_empty());
        house.get(URL, "").await;
        house.stored(URL).await;
    }
    let refused = house.say("HEAD /nothing HTTP/1.1\r\nHost: attic\r\nConnection: close\r\n\r\n").await;
    assert_eq!(refused.status, 404);
    assert!(refused.body.is_empty());
}

#[tokio::test]
async fn what_is_stored_outlives_its_origin_and_says_so() {
    let site = Site::serving(sample(100_000)).with("cache-control", "max-age=0");
    let house = House::start(site);
    house.get(URL, "").await;
    house.stored(URL).await;
    let confirmed = house.get(URL, "").await;
    assert_eq!(confirmed.field("cache-status"), Some("kith; hit; fwd=stale; fwd-status=304"));
    house.change_site(|site| site.trouble = Some(|| AskError::Connect("a.test".to_owned(), None)));
    let stale = house.get(URL, "").await;
    assert_eq!((stale.status, stale.body.len()), (200, 100_000));
    assert_eq!(stale.field("cache-status"), Some("kith; hit; fwd=stale; detail=offline"));
    let missing = house.get("http://a.test/other", "").await;
    assert_eq!(missing.status, 504);
    assert_eq!(missing.field("proxy-status"), Some("kith; error=connection_timeout"));
    house.change_site(|site| {
        site.trouble = None;
        site.status = StatusCode::SERVICE_UNAVAILABLE;
    });
    assert_eq!(house.get(URL, "").await.field("cache-status"), Some("kith; hit; fwd=stale; detail=offline"));
    assert_eq!(house.count("stale"), 2);
}

#[tokio::test]
async fn only_if_cached_never_asks() {
    let house = House::start(Site::serving(sample(100)));
    assert_eq!(house.get(URL, "Cache-Control: only-if-cached\r\n").await.status, 504);
    assert_eq!(house.questions(), 0);
}

#[tokio::test]
async fn each_trouble_of_the_origin_has_its_status_and_step() {
    let house = House::start(Site::serving(sample(100)));
    let troubles: [Trouble; 7] = [
        (|| AskError::Denied("a.test".to_owned()), 403, "destination_ip_prohibited"),
        (|| AskError::Dns("a.test".to_owned()), 504, "dns_error"),
        (
            || AskError::Connect("a.test".to_owned(), Some(std::io::ErrorKind::ConnectionRefused.into())),
            504,
            "connection_refused",
        ),
        (|| AskError::Timeout("a.test".to_owned()), 504, "http_response_timeout"),
        (|| AskError::Tls("a.test".to_owned(), "expired".to_owned()), 502, "tls_certificate_error"),
        (|| AskError::Nonsense("a.test".to_owned(), "two lengths"), 502, "http_protocol_error"),
        (|| AskError::Loop, 508, "proxy_loop_detected"),
    ];
    for (number, (trouble, status, step)) in troubles.into_iter().enumerate() {
        house.change_site(|site| site.trouble = Some(trouble));
        // What was away a moment ago is not asked again: each trouble is another host's.
        let url = format!("http://host{number}.test/a");
        let reply = house.get(&url, "Accept: application/json\r\n").await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.field("proxy-status"), Some(&format!("kith; error={step}")[..]));
        let body: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
        assert!(body["error"]["code"].is_string() && body["error"]["message"].is_string());
    }
    let denied = house.get("http://a.test/x", "").await;
    assert_eq!(denied.field("content-type"), Some("text/plain; charset=utf-8"));
}

#[tokio::test]
async fn a_broken_transfer_never_looks_complete() {
    for length_told in [true, false] {
        for storable in ["max-age=60", "no-store"] {
            let mut site = Site::serving(sample(900_000)).with("cache-control", storable);
            site.breaks_after = Some(300_000);
            site.length_told = length_told;
            let house = House::start(site);
            let reply = house.get(URL, "").await;
            assert_eq!(reply.status, 200);
            assert!(!reply.complete, "length told: {length_told}, {storable}");
        }
    }
}

#[tokio::test]
async fn an_old_client_learns_of_a_broken_transfer_by_a_reset() {
    let mut site = Site::serving(sample(900_000));
    site.breaks_after = Some(300_000);
    site.length_told = false;
    let house = House::start(site);
    let mut stream = tokio::net::TcpStream::connect(house.address).await.expect("it listens");
    let request = format!("GET /{URL} HTTP/1.0\r\nHost: attic\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.expect("it reads");
    let mut heard = Vec::new();
    let end = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut heard).await;
    assert_eq!(end.expect_err("no proper end").kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_the_shelf_cannot_take_passes_through() {
    let body = sample(500_000);
    let house = House::start_on(Site::serving(body.clone()), |_| {}, |shelf| shelf.object_bytes_max = 1000);
    for _ in 0..2 {
        let reply = house.get(URL, "").await;
        assert_eq!((reply.status, &reply.body[..]), (200, &body[..]));
        assert_eq!(reply.field("cache-status"), Some("kith; fwd=bypass; detail=storage"));
    }
}

#[tokio::test]
async fn what_may_not_be_stored_passes_through_and_is_asked_for_again() {
    let body = sample(200_000);
    let house = House::start(Site::serving(body.clone()).with("cache-control", "no-store"));
    for _ in 0..2 {
        let reply = house.get(URL, "").await;
        assert_eq!((reply.status, &reply.body[..]), (200, &body[..]));
        assert_eq!(reply.field("cache-status"), Some("kith; fwd=uri-miss; fwd-status=200"));
    }
    let part = house.get(URL, "Range: bytes=70000-70009\r\n").await;
    assert_eq!((part.status, part.field("content-range")), (206, Some("bytes 70000-70009/200000")));
    assert_eq!(part.body, body[70_000..70_010]);
    house.change_site(|site| site.status = StatusCode::NOT_FOUND);
    let gone = house.get(URL, "").await;
    assert_eq!((gone.status, gone.field("cache-status")), (404, Some("kith; fwd=uri-miss; fwd-status=404")));
    assert_eq!(house.questions(), 4);
}

#[tokio::test]
async fn behind_the_prefix_a_site_gets_no_cookies_and_no_power() {
    let site = Site::serving(sample(100)).with("set-cookie", "a=b").with("clear-site-data", "\"*\"");
    let house = House::start(site);
    let reply = house.get(URL, "Cookie: a=b\r\n").await;
    assert_eq!(reply.field("set-cookie"), None);
    assert_eq!(reply.field("clear-site-data"), None);
    assert_eq!(reply.field("content-security-policy"), Some("sandbox allow-downloads"));
    assert_eq!(reply.field("x-content-type-options"), Some("nosniff"));
    assert!(!house.origin.questions.lock().expect("lock")[0].headers.contains_key("cookie"));
    let by_proxy = house
        .say(&format!("GET {URL} HTTP/1.1\r\nHost: a.test\r\nCookie: a=b\r\nConnection: close\r\n\r\n"))
        .await;
    assert_eq!(by_proxy.field("set-cookie"), Some("a=b"));
    assert_eq!(by_proxy.field("content-security-policy"), Some("treat-as-public-address"));
    assert!(house.origin.questions.lock().expect("lock")[1].headers.contains_key("cookie"));
    assert_eq!(house.get(URL, "Service-Worker: script\r\n").await.status, 403);
    assert_eq!(house.get(URL, "Origin: http://evil.test\r\n").await.status, 403);
    assert_eq!(house.questions(), 2);
}

#[tokio::test]
async fn objects_are_found_by_each_of_their_names() {
    let body = sample(123_456);
    let house = House::start(Site::serving(body.clone()));
    house.get(URL, "").await;
    house.stored(URL).await;
    let sha256 = ring::digest::digest(&ring::digest::SHA256, &body);
    let id = ObjectId::of(&body);
    for name in [
        format!("b3/{id}?name=a.iso"),
        format!("sha256/{}?name=a.iso", HEXLOWER.encode(sha256.as_ref())),
        format!(".well-known/ni/sha-256/{}?name=a.iso", BASE64URL_NOPAD.encode(sha256.as_ref())),
    ] {
        let reply = house.get(&name, "").await;
        assert_eq!((reply.status, &reply.body[..]), (200, &body[..]), "{name}");
        assert_eq!(reply.field("etag"), Some(&format!("\"b3-{id}\"")[..]));
        assert!(reply.field("cache-control").is_some_and(|value| value.contains("immutable")));
        assert!(reply.field("content-disposition").is_some_and(|value| value.contains("a.iso")));
        assert_eq!(reply.field("content-type"), Some("application/octet-stream"));
        let part = house.get(&name, "Range: bytes=-6\r\n").await;
        assert_eq!((part.status, &part.body[..]), (206, &body[body.len() - 6..]));
        assert_eq!(house.get(&name, &format!("If-None-Match: \"b3-{id}\"\r\n")).await.status, 304);
    }
    assert_eq!(house.get(&format!("b3/{}", "0".repeat(64)), "").await.status, 404);
    assert_eq!(house.questions(), 1);
}

#[tokio::test]
async fn a_download_from_the_shelf_still_counts_at_its_site() {
    let house = House::start(Site::serving(sample(1 << 20)));
    house.get(URL, "").await;
    house.stored(URL).await;
    house.asked().await;
    let hit = house.get(URL, "").await;
    assert!(hit.field("cache-status").is_some_and(|told| told.starts_with("kith; hit")), "{hit:?}");
    house.asked().await;
    let touch = house.origin.questions.lock().expect("lock")[1].clone();
    assert_eq!(touch.headers["if-none-match"], "\"one\"");
    let part = house.get(URL, "Range: bytes=500-\r\n").await;
    assert_eq!((part.status, house.questions()), (206, 2));
}

#[tokio::test]
async fn many_clients_share_one_fetch_and_the_first_may_leave() {
    let body = sample(2 << 20);
    let house = House::start(Site::serving(body.clone()));
    let mut first = tokio::net::TcpStream::connect(house.address).await.expect("it listens");
    let request = format!("GET /{URL} HTTP/1.1\r\nHost: attic\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut first, request.as_bytes()).await.expect("it reads");
    tokio::io::AsyncReadExt::read_u8(&mut first).await.expect("an answer");
    let clients = (0..20).map(|number| {
        let house = &house;
        async move {
            let range = if number % 2 == 0 { String::new() } else { format!("Range: bytes={number}-\r\n") };
            house.get(URL, &range).await
        }
    });
    let clients = futures_util::future::join_all(clients);
    drop(first);
    for (number, reply) in clients.await.into_iter().enumerate() {
        let start = if number % 2 == 0 { 0 } else { number };
        assert!(
            reply.complete && reply.body == body[start..],
            "client {number}: {} {}",
            reply.status,
            reply.body.len()
        );
    }
    assert_eq!(house.questions(), 1);
}

#[tokio::test]
async fn fields_of_one_client_do_not_change_anothers_answer() {
    let house = House::start(Site::serving(sample(1000)));
    let poisoned = house
        .get(URL, "X-Forwarded-Host: evil.test\r\nX-Original-URL: /b\r\nForwarded: host=evil.test\r\n")
        .await;
    assert_eq!(poisoned.status, 200);
    let asked = house.origin.questions.lock().expect("lock")[0].clone();
    assert!(
        asked
            .headers
            .keys()
            .all(|name| !name.as_str().contains("forwarded") && !name.as_str().starts_with("x-"))
    );
    let unknown = house.get("http://a.test/g", "X-Api-Key: k\r\n").await;
    assert_eq!(unknown.field("cache-status"), Some("kith; fwd=bypass; fwd-status=200"));
}

#[tokio::test]
async fn pages_say_how_to_use_the_box() {
    let house = House::start(Site::serving(sample(10)));
    let port = house.address.port();
    let page = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: attic:{port}\r\nConnection: close\r\n\r\n");
    for (path, kind, contains) in [
        ("/", "text/html; charset=utf-8", format!("http://attic:{port}/https://")),
        ("/proxy.pac", "application/x-ns-proxy-autoconfig", format!("PROXY attic:{port}; DIRECT")),
        ("/.well-known/pvd", "application/pvd+json", format!("attic:{port}")),
        ("/.well-known/kith", "application/json", "\"node_id\":\"00\"".to_owned()),
    ] {
        let reply = house.say(&page(path)).await;
        assert_eq!((reply.status, reply.field("content-type")), (200, Some(kind)));
        assert!(String::from_utf8(reply.body).expect("text").contains(&contains), "{path}");
    }
    let foreign = house.say("GET / HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n").await;
    assert_eq!(foreign.status, 421);
}
