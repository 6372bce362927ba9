//! Whatever an origin says, a broken answer never looks like a whole one.

use http::{HeaderName, HeaderValue};
use kith_fetch::ask::{AskError, Origin as _, Part};
use kith_fetch::source::SourceError;
use kith_model::signature::Signature;
use kith_origin::web::Config;

use crate::origin::{
    Origin, Step, get, last_words, part_question, question, read, room, room_with, sample, say,
};

#[tokio::test]
async fn a_plain_answer_arrives_whole_with_its_framing() {
    let origin = Origin::always(say(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"a\"\r\nKeep-Alive: x\r\n\r\nhello",
    ));
    let answer = get(&room(), &origin.url("/a")).await.expect("an answer");
    assert_eq!((answer.start, answer.end, answer.length, answer.delimited), (0, Some(5), Some(5), true));
    assert!(answer.source.is_some());
    assert!(answer.head.headers.get("keep-alive").is_none());
    assert!(answer.head.requested_at <= answer.head.received_at);
    let (bytes, end) = read(answer).await;
    assert_eq!(bytes, b"hello");
    assert!(end.is_ok());
}

#[tokio::test]
async fn the_request_is_the_askers_with_our_fields() {
    let origin = Origin::always(say("HTTP/1.1 204 No Content\r\n\r\n"));
    let web = room_with(Config { signature: Signature::new("k7"), ..Config::default() });
    let mut asked = question(&origin.url("/a?b=c"));
    asked.headers.insert("accept-language", HeaderValue::from_static("de"));
    web.ask(asked).await.expect("an answer");
    let seen = &origin.seen()[0];
    assert_eq!(seen.head.lines().next(), Some("GET /a?b=c HTTP/1.1"));
    for (name, value) in [
        ("host", origin.address.to_string().as_str()),
        ("via", "1.1 kith (k7)"),
        ("want-repr-digest", "sha-256=10, sha-512=5"),
        ("accept-encoding", "identity"),
        ("accept-language", "de"),
    ] {
        assert_eq!(seen.field(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_truncated_answer_ends_with_an_error_and_never_as_a_shorter_file() {
    for (what, text, sent) in [
        ("length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "hello"),
        ("length of 1.0", "HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\nhello", "hello"),
        ("no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "hello"),
        (
            "cut last chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            "hello",
        ),
        ("cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello", "hello"),
        (
            "bad chunk size",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
            "hello",
        ),
        (
            "huge chunk size",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nfffffffffffffffff\r\n",
            "hello",
        ),
    ] {
        let origin = Origin::always(last_words(text));
        let answer = get(&room(), &origin.url("/")).await.expect(what);
        let (bytes, end) = read(answer).await;
        assert_eq!(bytes, sent.as_bytes(), "{what}");
        assert!(matches!(end, Err(SourceError::BrokeOff(_))), "{what}: {end:?}");
    }
}

#[tokio::test]
async fn what_ends_with_the_connection_is_passed_on_and_marked() {
    for text in [
        "HTTP/1.1 200 OK\r\nETag: \"a\"\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nETag: \"a\"\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 5, 5\r\n\r\nhello",
    ] {
        let origin = Origin::always(last_words(text));
        let answer = get(&room(), &origin.url("/")).await.expect(text);
        assert!(!answer.delimited && answer.length.is_none() && answer.source.is_none(), "{text}");
        let (bytes, end) = read(answer).await;
        assert_eq!(bytes, b"hello");
        assert!(end.is_ok(), "{text}");
    }
}

#[tokio::test]
async fn nonsense_is_refused_before_any_of_it_is_used() {
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {}\r\n\r\n", "x".repeat(33 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", "X: y\r\n".repeat(200));
    let flood = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2 * 1024 * 1024));
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "hello",
        "HTTP/1.1 200",
        &long,
        &many,
        &flood,
    ] {
        let origin = Origin::always(last_words(text));
        let outcome = get(&room(), &origin.url("/")).await;
        let shown = &text[..text.len().min(100)];
        assert!(matches!(outcome, Err(AskError::Nonsense(..))), "{shown}: {:?}", outcome.err());
    }
}

#[tokio::test]
async fn a_wrong_place_of_a_part_is_refused() {
    for place in ["bytes 0-9/100", "bytes 10-18/100", "bytes 10-19/15", "bytes 10-19", "bytes */100", "junk"]
    {
        let text = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: {place}\r\nContent-Length: 10\r\n\r\n0123456789"
        );
        let origin = Origin::always(last_words(text));
        let part = Part { start: 10, end: Some(20), of: None };
        let outcome = room().ask(part_question(&origin.url("/"), part)).await;
        assert!(matches!(outcome, Err(AskError::Nonsense(..))), "{place}: {:?}", outcome.err());
    }
}

#[tokio::test]
async fn a_part_is_asked_for_and_placed() {
    let origin = Origin::always(say(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 10-19/100\r\nETag: \"a\"\r\nContent-Length: 10\r\n\r\n0123456789",
    ));
    let part = Part { start: 10, end: Some(20), of: None };
    let answer = room().ask(part_question(&origin.url("/"), part)).await.expect("a part");
    assert_eq!((answer.start, answer.end, answer.length), (10, Some(20), Some(100)));
    assert_eq!(origin.seen()[0].field("range"), Some("bytes=10-19"));
    assert_eq!(read(answer).await.0, b"0123456789");
}

#[tokio::test]
async fn early_words_are_skipped() {
    let origin =
        Origin::always(say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"));
    let answer = get(&room(), &origin.url("/")).await.expect("an answer");
    assert_eq!(answer.head.status, 200);
    assert!(answer.head.headers.get("link").is_none());
    assert_eq!(read(answer).await.0, b"hello");
}

#[tokio::test]
async fn what_follows_an_answer_is_not_the_next_one() {
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let origin = Origin::in_turn(vec![
        say(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello{smuggled}")),
        say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"),
    ]);
    let web = room();
    assert_eq!(read(get(&web, &origin.url("/1")).await.expect("first")).await.0, b"hello");
    assert_eq!(read(get(&web, &origin.url("/2")).await.expect("second")).await.0, b"good");
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_connection_is_used_again_and_one_that_was_closed_meanwhile_is_replaced() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let origin = Origin::in_turn(vec![say(answer), say(answer), vec![Step::Close], say(answer)]);
    let web = room();
    for _ in 0..3 {
        let answer = get(&web, &origin.url("/")).await.expect("an answer");
        assert_eq!(read(answer).await.0, b"hello");
    }
    assert_eq!((origin.seen().len(), origin.connections()), (4, 2));
}

#[tokio::test]
async fn a_condition_may_be_answered_by_not_modified() {
    let origin = Origin::always(say("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"));
    let mut asked = question(&origin.url("/"));
    asked.headers.insert(HeaderName::from_static("if-none-match"), HeaderValue::from_static("\"a\""));
    let answer = room().ask(asked).await.expect("an answer");
    assert_eq!((answer.head.status.as_u16(), answer.end), (304, Some(0)));
    assert!(answer.source.is_none());
}

#[tokio::test]
async fn an_error_page_is_an_answer() {
    let origin = Origin::always(say("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"));
    let answer = get(&room(), &origin.url("/")).await.expect("an answer");
    assert_eq!(answer.head.status, 404);
    assert!(answer.source.is_none());
    assert_eq!(read(answer).await.0, b"gone");
}

#[tokio::test]
async fn a_request_that_came_back_is_noticed_before_it_goes_out() {
    let origin = Origin::always(say("HTTP/1.1 204 No Content\r\n\r\n"));
    let web = room_with(Config { signature: Signature::new("k7"), ..Config::default() });
    let mut asked = question(&origin.url("/"));
    asked.headers.insert("via", HeaderValue::from_static("1.1 kith (k7), 1.1 fred"));
    assert!(matches!(web.ask(asked).await, Err(AskError::Loop)));
    assert_eq!(origin.connections(), 0);
}

/// The library skips interim answers without a bound. A flood was once taken when the final answer stood behind it in
/// the same packet, and refused when it did not.
#[tokio::test]
async fn a_flood_of_interim_answers_is_nonsense_whatever_comes_behind_it() {
    let file = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let few = Origin::always(say(interim.repeat(4) + file));
    assert!(get(&room(), &few.url("/")).await.is_ok());
    for _ in 0..20 {
        let flood = Origin::always(say(interim.repeat(1000) + file));
        let outcome = get(&room(), &flood.url("/")).await;
        assert!(matches!(outcome, Err(AskError::Nonsense(..))), "{:?}", outcome.err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_origin_is_given_up() {
    let origin = Origin::always(vec![Step::Hang]);
    let outcome = get(&room(), &origin.url("/")).await;
    assert!(matches!(outcome, Err(AskError::Timeout(_))), "{:?}", outcome.err());
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_stalls_in_the_middle_is_given_up() {
    let origin = Origin::always(vec![
        Step::Say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n".to_vec()),
        Step::Pour(0, 50_000),
        Step::Hang,
    ]);
    let (bytes, end) = read(get(&room(), &origin.url("/")).await.expect("a head")).await;
    assert_eq!(bytes, sample(0, 50_000));
    assert!(matches!(end, Err(SourceError::BrokeOff(_))), "{end:?}");
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let origin = Origin::always(vec![Step::Close]);
    let url = origin.url("/");
    drop(origin);
    let outcome = get(&room(), &url).await;
    assert!(matches!(outcome, Err(AskError::Connect(_, Some(_)))), "{:?}", outcome.err());
}
