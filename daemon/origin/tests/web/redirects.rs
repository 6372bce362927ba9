//! Redirects are followed within bounds, and never to where a question could not have gone by itself.

use http::HeaderValue;
use kith_fetch::ask::{AskError, Origin as _, Question, Redirects};
use kith_model::ladder::Algorithm;

use crate::origin::{Origin, get, question, read, room, say};

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
}

const FILE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\nhello";

/// `/n` leads to `/n-1`, and `/0` is the file.
fn countdown() -> Origin {
    Origin::start(|seen| match seen.path().trim_start_matches('/').parse::<u32>() {
        Ok(0) | Err(_) => say(FILE),
        Ok(left) => say(redirect(&format!("{}", left - 1))),
    })
}

#[tokio::test]
async fn five_redirects_are_followed_and_every_hop_is_kept() {
    let origin = countdown();
    let answer = get(&room(), &origin.url("/5")).await.expect("an answer");
    let paths: Vec<&str> = answer.hops.iter().map(|hop| hop.target.path()).collect();
    assert_eq!(paths, ["/5", "/4", "/3", "/2", "/1"]);
    assert!(answer.hops.iter().all(|hop| hop.status == 302 && hop.headers.contains_key("location")));
    assert_eq!(answer.target.path(), "/0");
    assert_eq!(read(answer).await.0, b"hello");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_sixth_redirect_and_a_circle_are_refused() {
    let origin = countdown();
    let outcome = get(&room(), &origin.url("/6")).await;
    assert!(matches!(outcome, Err(AskError::Redirects(_))), "{:?}", outcome.err());
    assert_eq!(origin.seen().len(), 6);

    let circle = Origin::always(say(redirect("/")));
    let outcome = get(&room(), &circle.url("/")).await;
    assert!(matches!(outcome, Err(AskError::Redirects(_))), "{:?}", outcome.err());
    assert_eq!(circle.seen().len(), 1);
}

#[tokio::test]
async fn a_redirect_to_a_private_address_makes_no_connection() {
    let inside = Origin::start_at("127.0.0.2:0", |_| say(FILE));
    let port = inside.address.port();
    for host in [
        "127.0.0.2",
        "127.2",
        "0x7f000002",
        "2130706434",
        "0177.0.0.2",
        "[::ffff:127.0.0.2]",
        "[::127.0.0.2]",
        "[64:ff9b::7f00:2]",
        "[2002:7f00:2::]",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "127.0.0.2.",
    ] {
        let origin = Origin::always(say(redirect(&format!("http://{host}:{port}/"))));
        let outcome = get(&room(), &origin.url("/")).await;
        assert!(matches!(outcome, Err(AskError::Denied(_))), "{host}: {:?}", outcome.err());
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_redirect_to_a_denied_port_or_scheme_is_refused() {
    for (to, denied) in [
        ("http://127.0.0.1:25/", true),
        ("https://127.0.0.1:22/", true),
        ("ftp://127.0.0.1/", false),
        ("file:///etc/passwd", false),
        ("http://user:pw@127.0.0.1/", false),
    ] {
        let origin = Origin::always(say(redirect(to)));
        match get(&room(), &origin.url("/")).await {
            Err(AskError::Denied(_)) if denied => {}
            Err(AskError::Nonsense(..)) if !denied => {}
            other => panic!("{to}: {:?}", other.err()),
        }
    }
}

#[tokio::test]
async fn secrets_do_not_follow_to_another_host() {
    let other = Origin::always(say(FILE));
    let origin = Origin::always(say(redirect(&other.url("/"))));
    let mut asked = question(&origin.url("/"));
    asked.headers.insert("cookie", HeaderValue::from_static("a=b"));
    asked.headers.insert("authorization", HeaderValue::from_static("Basic eA=="));
    asked.headers.insert("accept", HeaderValue::from_static("*/*"));
    room().ask(asked).await.expect("an answer");
    let (first, second) = (&origin.seen()[0], &other.seen()[0]);
    assert_eq!((first.field("cookie"), first.field("authorization")), (Some("a=b"), Some("Basic eA==")));
    assert_eq!((second.field("cookie"), second.field("authorization")), (None, None));
    assert_eq!(second.field("accept"), Some("*/*"));
}

#[tokio::test]
async fn a_redirect_is_handed_back_when_asked_so() {
    let origin = Origin::always(say(redirect("http://127.0.0.2/")));
    let asked = Question { redirects: Redirects::HandBack, ..question(&origin.url("/")) };
    let answer = room().ask(asked).await.expect("an answer");
    assert_eq!(answer.head.status, 302);
    assert!(answer.hops.is_empty() && answer.source.is_none());
}

#[tokio::test]
async fn a_redirect_without_a_place_is_an_answer_like_any_other() {
    let origin = Origin::always(say("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(get(&room(), &origin.url("/")).await.expect("an answer").head.status, 302);
}

#[tokio::test]
async fn digests_of_every_hop_reach_the_ladder() {
    let digest = "SHA-256=AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    let file = Origin::always(say(FILE));
    let hop = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}\r\nDigest: {digest}\r\nContent-Length: 0\r\n\r\n",
        file.url("/")
    );
    let origin = Origin::always(say(hop));
    let answer = get(&room(), &origin.url("/")).await.expect("an answer");
    assert_eq!(
        answer.ladder.digest(Algorithm::Sha256).map(|digest| digest.bytes().to_vec()),
        Some(vec![2; 32])
    );
}
