//! What boxes tell each other of their shelves: who is asked, who is not, and what is in no filter.

mod common;

use common::*;
use futures_util::StreamExt;
use kith_fetch::source::Finder as _;
use kith_model::limits::{FILTER_INTERVAL, FILTER_PROMPT_BYTES, FILTER_PROMPT_MAX, SMALL_NEIGHBOURHOOD_MAX};
use kith_model::trust::Role;
use kith_neighbour::claim::Statement;
use kith_neighbour::filter::{Heard, Hearing, Told};
use kith_neighbour::frames::{self, FrameError, FrameReader};
use kith_neighbour::gathering::Gathering;
use kith_neighbour::identity::Identity;
use kith_neighbour::wire::{Filter, Message, Reason, SetLen, speaks};
use kith_neighbour::{Totals, View};
use quinn::{Connection, ReadError, SendStream, VarInt};
use tokio::time::{Instant, timeout};

const LENGTH: u64 = 4 * MIB;

fn url(number: usize) -> String {
    format!("https://example.org/{number}.iso")
}

fn asked(home: &Home) -> (u64, u64, u64) {
    let Totals { asked, spared, false_hits, .. } = home.neighbours.totals();
    (asked, spared, false_hits)
}

#[tokio::test]
async fn what_no_filter_names_nobody_is_asked_for_and_what_arrives_is_told_and_delivered() {
    let (den, attic) = pair().await;
    assert!(attic.find(wanted(URL, LENGTH)).await.is_empty());
    assert_eq!(asked(&attic), (0, 1, 0), "an empty filter answers for its box");

    let bytes = sample(LENGTH);
    den.put(URL, &bytes, &[]).await;
    attic.is_told(1).await;
    let found = attic.find(wanted(URL, LENGTH)).await;
    assert!(drain(&found[0], LENGTH).await.expect("delivered") == bytes);
    assert_eq!(asked(&attic), (1, 1, 0));

    let (told, heard) = (den.neighbours.totals(), attic.neighbours.totals());
    assert_eq!(told.filter_sent_bytes, heard.filter_received_bytes);
    assert!((20..200).contains(&heard.filter_received_bytes), "{heard:?}");
    assert_eq!(asked(&den), (0, 0, 0));
}

#[tokio::test]
async fn a_box_that_comes_back_tells_all_it_has() {
    let (den, attic) = pair().await;
    for number in 0..3 {
        let seed = &sample(LENGTH + number as u64)[..];
        den.put(&url(number), seed, &[]).await;
    }
    let at = attic.address();
    attic.neighbours.shutdown().await;
    let Home { dir, store, neighbours } = attic;
    drop((store, neighbours));
    let attic = Home::start_in("attic", dir, vec![den.address(), at]);
    attic.is_told(3).await;
    assert_eq!(attic.find(wanted(&url(2), LENGTH + 2)).await.len(), 1);
    assert!(attic.find(wanted(&url(3), LENGTH)).await.is_empty());
    assert_eq!(asked(&attic), (1, 1, 0));
}

/// The first change is told at once, the second waits for ten seconds: until then a small neighbourhood asks.
#[tokio::test]
async fn a_small_neighbourhood_loses_nothing_while_a_filter_lags_behind() {
    const { assert!(SMALL_NEIGHBOURHOOD_MAX >= 2) };
    let (den, attic) = pair().await;
    den.put(&url(0), &sample(LENGTH), &[]).await;
    attic.is_told(1).await;
    den.put(&url(1), &sample(LENGTH + 1), &[]).await;
    assert_eq!(attic.find(wanted(&url(1), LENGTH + 1)).await.len(), 1);
    assert_eq!(asked(&attic), (1, 0, 0));
}

#[tokio::test]
async fn what_may_not_be_shared_is_in_no_filter() {
    let (den, attic) = pair().await;
    let bytes = sample(LENGTH + 4);
    den.put("https://example.org/private.bin", &bytes, &[("cache-control", "private")]).await;
    den.put("https://example.org/cookie.bin", &bytes[1..], &[("set-cookie", "a=b")]).await;
    den.put("https://example.org/f.bin?X-Amz-Signature=0123456789abcdef", &bytes[2..], &[]).await;
    den.put("https://printer.local/firmware.bin", &bytes[3..], &[]).await;
    den.put("https://example.org/small.bin", &bytes[..65_536], &[]).await;
    // What is told now comes behind all of that.
    den.put(URL, &bytes[4..], &[]).await;
    attic.is_told(1).await;
    assert_eq!(attic.find(wanted(URL, LENGTH)).await.len(), 1);
}

#[tokio::test]
async fn what_leaves_the_shelf_leaves_the_filter() {
    let (den, attic) = pair().await;
    let info = den.put(URL, &sample(LENGTH), &[]).await;
    attic.is_told(1).await;
    den.store.purge(kith_store::Purge::Object(info.id)).await.expect("purged");
    attic.is_told(0).await;
    assert_eq!(attic.neighbours.totals().strikes, 0);
}

#[tokio::test]
async fn another_url_of_the_same_object_is_told_too() {
    let (den, attic) = pair().await;
    let bytes = sample(LENGTH);
    den.put(URL, &bytes, &[]).await;
    attic.is_told(1).await;
    den.put(&url(1), &bytes, &[]).await;
    attic.is_told(2).await;
    assert_eq!(attic.find(wanted(&url(1), LENGTH)).await.len(), 1);
}

/// Another household learns of less: not of what came by plain http.
#[tokio::test]
async fn what_another_household_may_not_have_is_in_no_filter_for_it() {
    let bytes = sample(LENGTH + 1);
    for (role, names) in [(Role::Mine, 2), (Role::Neighbour, 1)] {
        let (den, attic) = pair_as(role).await;
        den.put("http://example.org/a.bin", &bytes, &[("content-type", "application/zip")]).await;
        den.put(URL, &bytes[1..], &[("content-type", "application/zip")]).await;
        attic.is_told(names).await;
    }
}

/// Twelve files in a burst at one box, each wanted once and held by nobody: what filters cost against asking everybody,
/// in a small neighbourhood and in a larger one.
#[tokio::test]
async fn a_burst_of_files_takes_far_fewer_messages_than_asking_everybody() {
    const FILES: usize = 12;
    let bytes = sample(LENGTH + FILES as u64);
    for boxes in [2, SMALL_NEIGHBOURHOOD_MAX + 1] {
        let homes = paired_with_one(boxes).await;
        let (den, others) = homes.split_first().expect("some");
        let first_filters = den.neighbours.totals().filters_sent;
        let begun = Instant::now();
        for number in 0..FILES {
            let body = &bytes[number..];
            assert!(den.find(wanted(&url(number), body.len() as u64)).await.is_empty());
            den.put(&url(number), body, &[]).await;
        }
        for other in others {
            other.is_told(FILES).await;
        }
        let totals = den.neighbours.totals();
        assert_eq!(totals.asked, 0, "nobody holds any of them");
        let messages = totals.filters_sent - first_filters;
        let asking_everybody = 2 * (FILES * others.len()) as u64;
        println!("{boxes} boxes: {messages} messages, {asking_everybody} by asking everybody");
        // However long the burst took on this machine: each is told once, and again after each interval.
        let times = 1 + begun.elapsed().as_secs() / FILTER_INTERVAL.as_secs();
        assert!(messages <= others.len() as u64 * times, "{messages} in {times} times");
    }
}

/// A box and others that are paired with it.
async fn paired_with_one(boxes: usize) -> Vec<Home> {
    let names = ["den", "attic", "cellar", "shed", "garage", "porch", "study", "loft", "barn"];
    let homes: Vec<Home> = names[..boxes].iter().map(|name| Home::start(name)).collect();
    for guest in &homes[1..] {
        let window = homes[0].neighbours.open_pairing(Role::Mine).expect("open");
        let at = homes[0].address().to_string();
        guest.neighbours.join(&at, &window.code, Role::Mine).await.expect("paired");
        window.outcome.await;
        guest.is_told(0).await;
    }
    let is_heard = |view: &View| view.filter.is_some();
    homes[0].sees(|views| views.len() == boxes - 1 && views.iter().all(is_heard)).await;
    homes
}

/// Fetched a second time it would cost more than any count of messages.
#[tokio::test]
async fn a_large_file_is_told_at_once_where_others_wait_for_company() {
    let homes = paired_with_one(FILTER_PROMPT_MAX + 2).await;
    assert!(Gathering::among(FILTER_PROMPT_MAX + 1).file > PATIENCE, "or nothing is shown here");
    let bytes = vec![7; usize_of(FILTER_PROMPT_BYTES)];
    homes[0].put(&url(0), &bytes[..usize_of(LENGTH)], &[]).await;
    homes[0].put(&url(1), &bytes, &[]).await;
    for other in &homes[1..] {
        other.is_told(2).await;
    }
}

/// To ask more boxes than deliver costs messages, and tells them what the house wants.
#[tokio::test]
async fn of_several_that_hold_it_one_is_asked_and_the_others_when_the_download_goes_on() {
    let homes = paired_with_one(4).await;
    let (den, others) = homes.split_first().expect("some");
    let bytes = sample(LENGTH);
    for other in others {
        other.put(URL, &bytes, &[]).await;
    }
    let is_told = |view: &View| view.filter.is_some_and(|filter| filter.names == 1);
    den.sees(|views| views.iter().all(is_told)).await;

    let mut search = den.neighbours.find(wanted(URL, LENGTH));
    assert!(search.next().await.is_some());
    assert_eq!(asked(den).0, 1);
    assert_eq!(search.count().await, 2);
    assert_eq!(asked(den).0, 3);
}

const SECRET: [u8; 32] = [7; 32];

/// A bare box that speaks of filters, and the one that it is paired with.
async fn bare() -> (Home, Connection) {
    let identity = Identity::generate().expect("random");
    let home = Home::start_in("victim", folder_paired_with(identity.key(), SECRET, Role::Mine), Vec::new());
    let connection = greeted(&identity, &home, Some(speaks::FILTERS)).await;
    home.connected().await;
    (home, connection)
}

/// What the other end answers to a filter with these raw bytes behind it.
async fn say(connection: &Connection, filter: &Filter, bytes: &[u8]) -> Result<Option<Message>, FrameError> {
    let (mut send, receive) = connection.open_bi().await.expect("open");
    frames::send(&mut send, &Message::Filter(filter.clone())).await.expect("sent");
    // A refusal may come before all of it is sent.
    let _ = send.write_all(bytes).await;
    let _ = send.finish();
    timeout(PATIENCE, FrameReader::new(receive).frame()).await.expect("in time")
}

#[tokio::test]
async fn who_takes_a_filter_in_says_nothing_and_who_does_not_says_so() {
    let (home, connection) = bare().await;
    let subject = |number| {
        let wanted = wanted(&url(number), LENGTH);
        Statement::Fetched(wanted.target, wanted.validator).subject(LENGTH)
    };
    let (mut told, whole, bytes) = Told::whole(&SECRET, [1; 16], 1, [subject(1)].iter());
    assert!(matches!(say(&connection, &whole, &bytes).await, Ok(None)));
    home.is_told(1).await;
    let (change, bytes) = told.change([subject(1), subject(2)].iter()).expect("room").expect("new");
    assert!(matches!(say(&connection, &change, &bytes).await, Ok(None)));
    home.is_told(2).await;

    assert_eq!(say(&connection, &change, &bytes).await.expect("whole"), Some(Reason::NotHere.message()));
    let added = SetLen { count: 1 << 16, bytes: 1 };
    let huge = Filter { range: u32::MAX, added, ..whole.clone() };
    assert_eq!(say(&connection, &huge, &[]).await.expect("whole"), Some(Reason::Busy.message()));
    let cut_off = say(&connection, &whole, &[]).await;
    assert!(matches!(cut_off, Err(FrameError::Read(ReadError::Reset(_)))), "{cut_off:?}");
}

/// The next filter that `home` tells, with its raw bytes, and where to answer.
async fn is_told(connection: &Connection) -> (Filter, bytes::Bytes, SendStream) {
    loop {
        let accepted = timeout(PATIENCE, connection.accept_bi()).await.expect("in time");
        let (send, receive) = accepted.expect("a stream");
        let mut reader = FrameReader::new(receive);
        if let Ok(Some(Message::Filter(filter))) = reader.frame().await {
            let count = usize_of((filter.added.bytes + filter.removed.bytes).into());
            let bytes = reader.bytes(count).await.expect("raw bytes");
            return (filter, bytes, send);
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_without_a_word_says_that_a_filter_was_heard() {
    let (home, connection) = bare().await;
    let (whole, bytes, mut send) = is_told(&connection).await;
    assert_eq!(whole.number, 0);
    let hear = |before, filter: &Filter, bytes: &[u8]| match Heard::hear(before, &SECRET, filter, bytes) {
        Ok(Hearing::Heard(heard)) => heard,
        other => panic!("{other:?}"),
    };
    let heard = hear(None, &whole, &bytes);
    send.finish().expect("open");

    home.put(&url(0), &sample(LENGTH), &[]).await;
    let (change, bytes, mut send) = is_told(&connection).await;
    assert_eq!(change.number, 1);
    assert_eq!(hear(Some(heard), &change, &bytes).names(), 1);
    frames::send(&mut send, &Reason::NotHere.message()).await.expect("sent");
    send.finish().expect("open");

    let (again, bytes, mut send) = is_told(&connection).await;
    assert_eq!((again.number, again.salt == whole.salt), (0, false), "it was lost, so it is told whole");
    assert_eq!(hear(None, &again, &bytes).names(), 1);
    // A stream that breaks off says nothing: the next one, after a pause, is whole again.
    send.reset(VarInt::from_u32(0)).expect("open");
    assert_eq!(home.neighbours.totals().filters_sent, 3);
    assert!(home.connected().await.connected, "and the session goes on");
}
