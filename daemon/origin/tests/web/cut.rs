//! Cutting an answer short ends it for the origin too.

use kith_fetch::source::SourceError;

use crate::origin::{Origin, Step, get, read, read_some, room, say};

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn a_cut_stops_the_origin_within_a_mebibyte() {
    let origin = Origin::always(vec![
        Step::Say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1024 * MIB).into()),
        Step::Pour(0, 1024 * MIB),
    ]);
    let mut answer = get(&room(), &origin.url("/")).await.expect("an answer");
    let taken: u64 = read_some(&mut answer, 256 * 1024).await.iter().map(|piece| piece.len() as u64).sum();
    drop(answer);
    origin.closed().await;
    let wasted = origin.sent() - taken;
    assert!(wasted <= MIB, "{wasted} bytes wasted");
}

#[tokio::test]
async fn a_large_remainder_closes_the_connection_and_a_small_one_keeps_it() {
    for (length, connections) in [(64 * 1024 + 10, 1), (10 * MIB, 2)] {
        let origin = Origin::start(move |seen| match seen.path() {
            "/long" => vec![
                Step::Say(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into()),
                Step::Pour(0, length),
            ],
            _ => say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        });
        let web = room();
        let mut answer = get(&web, &origin.url("/long")).await.expect("an answer");
        read_some(&mut answer, 10).await;
        drop(answer);
        // The remainder is read by a task of the room; it gets the time to do so before the next question.
        for _ in 0..2000 {
            tokio::task::yield_now().await;
        }
        let answer = get(&web, &origin.url("/short")).await.expect("an answer");
        assert_eq!(read(answer).await.0, b"hello");
        assert_eq!(origin.connections(), connections, "{length}");
    }
}

#[tokio::test]
async fn a_question_that_is_dropped_ends_its_exchange() {
    let origin = Origin::always(vec![Step::Hang]);
    let web = room();
    {
        let url = origin.url("/");
        let asking = get(&web, &url);
        tokio::pin!(asking);
        while origin.seen().is_empty() {
            tokio::select! {
                biased;
                _ = &mut asking => unreachable!("the origin says nothing"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    origin.closed().await;
}

#[tokio::test]
async fn closing_the_room_ends_its_connections() {
    let origin = Origin::always(say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"));
    let web = room();
    let answer = get(&web, &origin.url("/")).await.expect("an answer");
    assert_eq!(read(answer).await.0, b"hello");
    web.close().await;
    origin.closed().await;
}

#[tokio::test]
async fn closing_the_room_never_makes_an_answer_look_complete() {
    for framing in
        ["Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "Content-Length: 10\r\n\r\nhello", "\r\nhello"]
    {
        let head = format!("HTTP/1.1 200 OK\r\n{framing}");
        let origin = Origin::always(vec![Step::Say(head.into()), Step::Hang]);
        let web = room();
        let mut answer = get(&web, &origin.url("/")).await.expect("an answer");
        read_some(&mut answer, 5).await;
        web.close().await;
        assert!(matches!(read(answer).await.1, Err(SourceError::BrokeOff(_))), "{framing}");
        assert!(get(&web, &origin.url("/")).await.is_err());
    }
}
