//! What browsers get behind the prefix, whoever sent them.

use http::StatusCode;

use crate::house::{House, Site, sample};

const URL: &str = "http://a.test/dir/f";
const VISIT: &str = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-User: ?1\r\n";

/// A redirect of the site to `place`.
fn redirecting(place: &'static str) -> Site {
    let mut site = Site::serving(sample(0)).with("location", place).with("cache-control", "no-store");
    site.status = StatusCode::FOUND;
    site
}

#[tokio::test]
async fn a_redirect_that_reaches_a_browser_leads_back_through_the_prefix() {
    for (place, expected) in [
        ("/g?h", "/http://a.test/g?h"),
        ("g", "/http://a.test/dir/g"),
        ("//b.test/", "/http://b.test/"),
        ("https://b.test/g", "/https://b.test/g"),
    ] {
        let house = House::start(redirecting(place));
        let reply = house.get(URL, "Upgrade-Insecure-Requests: 1\r\n").await;
        assert_eq!((reply.status, reply.field("location")), (302, Some(expected)), "{place}");
        let by_proxy =
            house.say(&format!("GET {URL} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(by_proxy.field("location"), Some(place));
    }
}

#[tokio::test]
async fn a_foreign_page_hears_the_same_no_for_what_is_held_and_what_is_not() {
    let house = House::start(Site::serving(sample(1000)));
    house.get(URL, "").await;
    house.stored(URL).await;
    for kind in [
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n",
        "Sec-Fetch-Site: cross-site\r\nOrigin: null\r\n",
        "Origin: http://evil.test\r\nCache-Control: only-if-cached\r\n",
        "User-Agent: Mozilla/5.0\r\nAccept: image/webp,*/*\r\n",
        "User-Agent: Mozilla/5.0\r\nAccept: */*\r\nReferer: http://evil.test/\r\n",
    ] {
        let (held, missed) = (house.get(URL, kind).await, house.get("http://a.test/other", kind).await);
        assert_eq!((held.status, held.body), (403, missed.body), "{kind}");
        assert_eq!(missed.status, 403, "{kind}");
    }
    assert_eq!(house.questions(), 1);
}

#[tokio::test]
async fn a_visitor_from_another_site_gets_a_link_and_no_work_is_done() {
    let house = House::start(Site::serving(sample(1000)));
    house.get(URL, "").await;
    house.stored(URL).await;
    for place in [URL, "http://a.test/\"><script>x</script>", &format!("b3/{}", "0".repeat(64))] {
        let reply =
            house.get(&place.replace('"', "%22").replace('<', "%3C").replace('>', "%3E"), VISIT).await;
        assert_eq!((reply.status, reply.field("content-type")), (200, Some("text/html; charset=utf-8")));
        assert_eq!(reply.field("x-frame-options"), Some("DENY"));
        assert!(
            reply
                .field("content-security-policy")
                .is_some_and(|policy| policy.contains("default-src 'none'"))
        );
        assert_eq!(reply.field("cache-status"), None);
        let page = String::from_utf8(reply.body).expect("text");
        assert!(page.contains("href=\"/") && !page.contains("<script"), "{page}");
    }
    let page = String::from_utf8(house.get(URL, VISIT).await.body).expect("text");
    assert!(page.contains(&format!("href=\"/{URL}\"")), "{page}");
    assert_eq!(house.questions(), 1);
}

#[tokio::test]
async fn the_form_of_the_page_leads_behind_the_prefix() {
    let house = House::start(Site::serving(sample(10)));
    let reply = house.get("?url=a.test%2Ff", "").await;
    assert_eq!((reply.status, reply.field("location")), (303, Some("/https://a.test/f")));
    assert_eq!(house.get("?url=ftp%3A%2F%2Fa.test%2Ff", "").await.status, 400);
    assert_eq!(house.questions(), 0);
}

#[tokio::test]
async fn where_apt_looks_it_finds_a_usage_information_and_a_proxy() {
    let apt = House::start_for_apt(Site::serving(sample(1000)));
    let heard = apt.say_bytes(b"GET / HTTP/1.1\r\nHost: attic\r\nConnection: close\r\n\r\n").await;
    assert!(heard.starts_with(b"HTTP/1.1 406 Usage Information\r\n"), "{}", String::from_utf8_lossy(&heard));
    let by_proxy = apt.say(&format!("GET {URL} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")).await;
    assert_eq!((by_proxy.status, by_proxy.body), (200, sample(1000).to_vec()));
}
