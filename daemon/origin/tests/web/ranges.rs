//! Further lanes: bytes of the one version, or an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kith_fetch::ask::{AskError, Origin as _, Part};
use kith_fetch::source::{Lane, Source, SourceError};
use kith_model::range::{GROUP_BYTES, GroupSpan, groups_of};
use kith_model::representation::StrongValidator;
use kith_model::verify::Run;
use kith_origin::web::Config;

use crate::origin::{Origin, Seen, Step, get, part_question, read, room, room_with, sample, say};

const LENGTH: u64 = 40 * GROUP_BYTES + 100;

fn file(seen: &Seen, tag: &str) -> Vec<Step> {
    let wanted = seen.range(LENGTH).filter(|_| seen.field("if-range").is_none_or(|bound| bound == tag));
    let (head, start, end) = match wanted {
        Some((start, end)) => {
            let place = format!("Content-Range: bytes {start}-{}/{LENGTH}\r\n", end - 1);
            (format!("HTTP/1.1 206 Partial Content\r\n{place}"), start, end)
        }
        None => ("HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\n".to_owned(), 0, LENGTH),
    };
    let head = format!("{head}ETag: {tag}\r\nContent-Length: {}\r\n\r\n", end - start);
    vec![Step::Say(head.into()), Step::Pour(start, end - start)]
}

async fn runs(lane: &mut dyn Lane) -> Result<Vec<Run>, SourceError> {
    let mut runs = Vec::new();
    while let Some(run) = lane.next().await? {
        runs.push(run);
    }
    Ok(runs)
}

async fn check_lane(source: &Arc<dyn Source>, span: GroupSpan) {
    let mut lane = source.open(span).await.expect("a lane");
    let runs = runs(lane.as_mut()).await.expect("no error");
    let bytes: Vec<u8> = runs.iter().flat_map(|run| run.bytes().to_vec()).collect();
    let range = span.bytes(LENGTH);
    assert_eq!(bytes, sample(range.start(), range.len()), "{span:?}");
    assert_eq!(runs.first().map(|run| run.span().start()), Some(span.start()));
}

/// A source whose first answer, the whole with tag `"a"`, was read.
async fn source_of(web: &kith_origin::web::Web, url: &str) -> Arc<dyn Source> {
    let mut answer = get(web, url).await.expect("an answer");
    let source = answer.source.take().expect("a source");
    assert_eq!(read(answer).await.0, sample(0, LENGTH));
    source
}

async fn open_error(source: &Arc<dyn Source>, span: GroupSpan) -> SourceError {
    match source.open(span).await {
        Ok(mut lane) => runs(lane.as_mut()).await.expect_err("an error"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn lanes_deliver_their_groups_bound_to_the_version() {
    let origin = Origin::start(|seen| file(seen, "\"a\""));
    let source = source_of(&room(), &origin.url("/")).await;
    assert!(source.abilities().ranges);
    assert_eq!(source.abilities().lanes_max, 3);
    let all = groups_of(LENGTH);
    for (start, end) in [(0, 1), (3, 20), (39, 41), (40, 41), (0, all), (7, u64::MAX)] {
        check_lane(&source, GroupSpan::clamped(start, end)).await;
    }
    for seen in &origin.seen()[1..] {
        assert_eq!(seen.field("if-range"), Some("\"a\""));
        assert!(seen.field("range").is_some());
    }
    let mut beyond = source.open(GroupSpan::clamped(all, all + 5)).await.expect("an empty lane");
    assert!(beyond.next().await.expect("no error").is_none());
}

#[tokio::test]
async fn another_version_is_a_change_and_never_mixed_in() {
    let answers: [fn(&Seen) -> Vec<Step>; 7] = [
        // a new version, given whole because of If-Range
        |seen| file(seen, "\"b\""),
        // a server that ignores If-Range
        |_| say(part("\"b\"", LENGTH)),
        // the same tag with another length
        |_| say(part("\"a\"", LENGTH + 1)),
        // no tag
        |_| say(part("\"a\"", LENGTH).replace("ETag", "X-Tag")),
        // a weak tag
        |_| say(part("W/\"a\"", LENGTH)),
        |_| say("HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n"),
        |_| {
            say("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */5\r\nContent-Length: 0\r\n\r\n")
        },
    ];
    for (at, answer) in answers.into_iter().enumerate() {
        let origin = Origin::start(move |seen| match seen.field("range") {
            Some(_) => answer(seen),
            None => file(seen, "\"a\""),
        });
        let source = source_of(&room(), &origin.url("/")).await;
        let error = open_error(&source, GroupSpan::clamped(1, 2)).await;
        assert!(matches!(error, SourceError::Changed), "{at}: {error:?}");
    }
}

/// Group 1 as a part of something of `length` bytes.
fn part(tag: &str, length: u64) -> String {
    let (first, last) = (GROUP_BYTES, 2 * GROUP_BYTES - 1);
    format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{length}\r\nETag: {tag}\r\n\
         Content-Length: {GROUP_BYTES}\r\n\r\n{}",
        "x".repeat(usize::try_from(GROUP_BYTES).expect("small"))
    )
}

#[tokio::test]
async fn a_question_bound_to_a_version_takes_no_part_of_another() {
    let origin = Origin::always(say(part("\"b\"", LENGTH)));
    let of = StrongValidator::ETag(http::HeaderValue::from_static("\"a\""));
    let part = Part { start: GROUP_BYTES, end: Some(2 * GROUP_BYTES), of: Some(of) };
    let outcome = room().ask(part_question(&origin.url("/"), part)).await;
    assert!(matches!(outcome, Err(AskError::Nonsense(..))), "{:?}", outcome.err());
}

#[tokio::test]
async fn an_origin_that_ignores_ranges_is_noticed_and_read_from_the_front() {
    let origin = Origin::start(|_| {
        let head = format!("HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: {LENGTH}\r\n\r\n");
        vec![Step::Say(head.into()), Step::Pour(0, LENGTH)]
    });
    let source = source_of(&room(), &origin.url("/")).await;
    assert!(source.abilities().ranges);
    let error = open_error(&source, GroupSpan::clamped(1, 2)).await;
    assert!(matches!(error, SourceError::Busy), "{error:?}");
    assert!(!source.abilities().ranges);
    check_lane(&source, GroupSpan::clamped(0, 7)).await;
    check_lane(&source, GroupSpan::whole(LENGTH)).await;
}

#[tokio::test]
async fn other_refusals_say_what_to_do_next() {
    for (status, expected) in [
        ("503 Service Unavailable", "Busy"),
        ("429 Too Many Requests", "Busy"),
        ("404 Not Found", "NotHeld"),
        ("403 Forbidden", "NotHeld"),
        ("410 Gone", "NotHeld"),
        ("500 Internal Server Error", "BrokeOff"),
    ] {
        let origin = Origin::start(move |seen| match seen.field("range") {
            Some(_) => say(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")),
            None => file(seen, "\"a\""),
        });
        let source = source_of(&room(), &origin.url("/")).await;
        let error = open_error(&source, GroupSpan::clamped(1, 2)).await;
        assert!(format!("{error:?}").starts_with(expected), "{status}: {error:?}");
    }
}

#[tokio::test]
async fn a_place_that_expired_is_asked_for_again_from_the_beginning() {
    let tickets = Arc::new(AtomicUsize::new(0));
    let origin = Origin::start(move |seen| {
        if seen.path() == "/file" {
            let ticket = tickets.fetch_add(1, Ordering::Relaxed) + 1;
            return say(format!("HTTP/1.1 302 Found\r\nLocation: /t{ticket}\r\nContent-Length: 0\r\n\r\n"));
        }
        if seen.path() == format!("/t{}", tickets.load(Ordering::Relaxed)) && seen.field("x-late").is_none() {
            // each ticket is good for one request
            tickets.fetch_max(1, Ordering::Relaxed);
            return match (seen.path(), seen.field("range")) {
                ("/t1", Some(_)) => say("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
                _ => file(seen, "\"a\""),
            };
        }
        say("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    });
    let source = source_of(&room(), &origin.url("/file")).await;
    check_lane(&source, GroupSpan::clamped(2, 5)).await;
    let paths: Vec<String> = origin.seen().iter().map(|seen| seen.path().to_owned()).collect();
    assert_eq!(paths, ["/file", "/t1", "/t1", "/file", "/t2"]);
}

#[tokio::test]
async fn a_download_widens_only_as_far_as_the_owner_allows() {
    let origin = Origin::start(|seen| match seen.field("range") {
        Some(_) => vec![file(seen, "\"a\"").remove(0), Step::Hang],
        None => file(seen, "\"a\""),
    });
    let web = room_with(Config { connections_per_host_max: 2, ..Config::default() });
    let source = source_of(&web, &origin.url("/")).await;
    let first = source.open(GroupSpan::clamped(0, 20)).await.expect("the first");
    let second = source.open(GroupSpan::clamped(20, 41)).await.expect("the second");
    assert!(matches!(source.open(GroupSpan::clamped(5, 6)).await.map(drop), Err(SourceError::Busy)));
    // a question is never held back
    let mut answer = get(&web, &origin.url("/")).await.expect("an answer");
    drop((first, second));
    // the first lane of a download is never held back either
    let other = answer.source.take().expect("a source");
    let lane = other.open(GroupSpan::clamped(0, 1)).await;
    assert!(lane.is_ok());
}

#[tokio::test]
async fn an_answer_without_a_strong_version_has_no_further_lanes() {
    for fields in ["", "ETag: W/\"a\"\r\n", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"] {
        let origin =
            Origin::always(say(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 5\r\n\r\nhello")));
        assert!(get(&room(), &origin.url("/")).await.expect("an answer").source.is_none(), "{fields}");
    }
    let refuses = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nAccept-Ranges: none\r\nContent-Length: 5\r\n\r\nhello";
    let origin = Origin::always(say(refuses));
    let source = get(&room(), &origin.url("/")).await.expect("an answer").source.expect("a source");
    assert!(!source.abilities().ranges);
}

#[tokio::test]
async fn a_lane_that_breaks_off_says_so_after_its_whole_groups() {
    let origin = Origin::start(|seen| match seen.range(LENGTH) {
        Some((start, _)) => {
            vec![file(seen, "\"a\"").remove(0), Step::Pour(start, GROUP_BYTES + 7), Step::Close]
        }
        None => file(seen, "\"a\""),
    });
    let source = source_of(&room(), &origin.url("/")).await;
    let mut lane = source.open(GroupSpan::clamped(4, 9)).await.expect("a lane");
    let run = lane.next().await.expect("no error").expect("a run");
    assert_eq!(run.span(), GroupSpan::clamped(4, 5));
    assert!(matches!(lane.next().await, Err(SourceError::BrokeOff(_))));
}
