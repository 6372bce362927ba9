//! The room by its handle: a real store, a scripted origin and scripted neighbours.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use common::*;
use kith_fetch::ask::AskError;
use kith_fetch::fetcher::{Config, Fetcher};
use kith_fetch::source::{Fault, Finder, Truth};
use kith_fetch::wish::{ByteWish, FetchError, Fetched, Wish};
use kith_model::key::Target;
use kith_model::ladder::Algorithm;
use kith_model::object::ObjectId;
use kith_model::representation::{Representation, Standing};
use tokio::sync::Semaphore;

#[tokio::test]
async fn what_came_through_is_stored_and_right() {
    for length in [0, 1, 1000, 16 * 1024, 16 * 1024 + 1, 3 * MIB + 17] {
        let body = sample(length, 1);
        let house = House::new(ScriptedOrigin::serving(body.clone()), Vec::new());
        assert_eq!(read(house.get(None).await).await.expect("whole"), body, "{length}");
        let stored = house.stored().await;
        assert_eq!((stored.object, stored.length), (ObjectId::of(&body), length as u64));
        let again =
            house.fetcher.open(&stored.object, kith_model::range::ByteRange::whole(length as u64)).await;
        assert_eq!(read(again.expect("fine").expect("held")).await.expect("whole"), body);
        assert_eq!(house.requests(), 1);
    }
}

#[tokio::test]
async fn many_readers_share_one_fetch() {
    let body = sample(5 * MIB, 2);
    let house = House::new(ScriptedOrigin::serving(body.clone()).slow(0), Vec::new());
    let first = house.get(None).await;
    let mut readers = tokio::task::JoinSet::new();
    for at in 0..16u64 {
        let wish = if at % 2 == 0 { None } else { Some(ByteWish::From(at * 100_000)) };
        let reader = house.get(wish).await;
        let expected =
            body.slice(if at % 2 == 0 { 0 } else { usize::try_from(at * 100_000).expect("small") }..);
        readers.spawn(async move { assert_eq!(read(reader).await.expect("whole"), expected) });
    }
    // The first one leaves; the others must not notice.
    drop(first);
    house.origin.pieces.add_permits(10_000);
    while let Some(done) = readers.join_next().await {
        done.expect("right bytes");
    }
    // Three further lanes for the seeks, each with at most a run and a piece on the way past its cut.
    assert!(house.sent() <= body.len() as u64 + 3 * (256 + 64) * 1024, "{}", house.sent());
}

#[tokio::test]
async fn a_neighbour_delivers_what_the_origin_need_not_send() {
    let body = sample(40 * MIB, 3);
    let near = ScriptedNeighbour::holding(body.clone());
    // The origin sends its first pieces and then is so slow that it sends nothing more.
    let house = House::new(ScriptedOrigin::serving(body.clone()).slow(4), vec![near.clone()]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    assert!(near.delivered.load(SeqCst) >= 39 * MIB as u64);
    assert!(house.sent() <= MIB as u64, "{}", house.sent());
    assert_eq!(house.stored().await.standing, kith_model::representation::Standing::Claimed);
}

#[tokio::test]
async fn the_head_and_the_first_bytes_wait_for_nobody_next_door() {
    let body = sample(20 * MIB, 21);
    let speaks = Some(Arc::new(Semaphore::new(0)));
    let mute = ScriptedNeighbour { speaks, ..ScriptedNeighbour::holding(body.clone()) };
    // The origin's head is here, and not a byte yet.
    let house = House::new(ScriptedOrigin::serving(body.clone()).slow(0), vec![mute.clone()]);
    let mut reader = house.get(None).await;
    assert_eq!((house.sent(), mute.asked.load(SeqCst)), (0, 1));
    house.origin.pieces.add_permits(1);
    let first = reader.next().await.expect("no error").expect("bytes");
    assert!(!first.is_empty() && body.starts_with(&first));
    assert_eq!((house.sent(), mute.delivered()), (64 * 1024, 0));
}

#[tokio::test]
async fn with_a_digest_from_the_origin_a_neighbours_bytes_become_first_hand() {
    let body = sample(20 * MIB, 4);
    let near = ScriptedNeighbour::holding(body.clone());
    let house = House::new(ScriptedOrigin::serving(body.clone()).with_digest().slow(4), vec![near]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    assert_eq!(house.stored().await.standing, kith_model::representation::Standing::FirstHand);
}

#[tokio::test]
async fn a_false_claim_costs_the_liar_and_never_the_client() {
    let body = sample(20 * MIB, 5);
    let mut lie = body.to_vec();
    lie[15 * MIB] ^= 1;
    let near = ScriptedNeighbour::holding(lie.into());
    let house = House::new(ScriptedOrigin::serving(body.clone()).with_digest(), vec![near.clone()]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    assert_eq!(house.stored().await.object, ObjectId::of(&body));
    if near.delivered.load(SeqCst) > 0 && house.fetcher.counters().false_claims.count() > 0 {
        assert!(matches!(near.faults.lock().expect("lock")[..], [.., Fault::FalseClaim(_)]));
    }
}

#[tokio::test]
async fn a_false_claim_from_a_neighbour_that_sends_it_all_is_noticed_by_the_digest() {
    let body = sample(20 * MIB, 6);
    let mut lie = body.to_vec();
    lie[15 * MIB] ^= 1;
    let near = ScriptedNeighbour::holding(lie.into());
    // The origin sends a little at first, so that the neighbour takes over; then it is let go.
    let house = House::new(ScriptedOrigin::serving(body.clone()).with_digest().slow(4), vec![near.clone()]);
    let reader = house.get(None).await;
    let reading = tokio::spawn(read(reader));
    let counters = Arc::clone(house.fetcher.counters());
    while counters.false_claims.count() == 0 {
        tokio::task::yield_now().await;
    }
    house.origin.pieces.add_permits(10_000);
    assert_eq!(reading.await.expect("no panic").expect("whole"), body);
    assert_eq!(near.told_false(), Some(Truth::Digest(Algorithm::Sha256)));
    assert_eq!(house.stored().await.object, ObjectId::of(&body));
    house.idle().await;
    assert_eq!(house.fetcher.doors(&ObjectId::of(&body)), [], "who lied is nobody to be sent to");
    assert_eq!(house.fetcher.doors(&near.object), []);
}

#[tokio::test]
async fn who_claimed_rightly_is_known_to_hold_it_too() {
    let body = sample(5 * MIB, 31);
    let near = ScriptedNeighbour::holding(body.clone());
    // The origin sends a little at first, so that the neighbour is heard.
    let house = House::new(ScriptedOrigin::serving(body.clone()).slow(4), vec![near]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    let stored = house.stored().await;
    house.idle().await;
    assert_eq!(house.fetcher.doors(&stored.object), [DOOR]);
}

#[tokio::test]
async fn what_is_served_from_the_shelf_is_asked_about_once_in_a_while() {
    let body = sample(2 * MIB, 32);
    let alone = House::new(ScriptedOrigin::serving(body.clone()), vec![]);
    let near = ScriptedNeighbour::holding(body.clone());
    assert_eq!(read(alone.get(None).await).await.expect("whole"), body);
    let stored = alone.stored().await;
    let finders = vec![Arc::new(near.clone()) as Arc<dyn Finder>];
    let origin = Arc::new(Asked(Arc::clone(&alone.origin)));
    let fetcher = Fetcher::new(alone.store.clone(), origin, finders, Config { neighbour_bytes_min: 1 << 20 });
    let private = Representation { standing: Standing::Household, ..stored.clone() };
    fetcher.look_around(&private);
    assert_eq!(fetcher.doors(&stored.object), []);
    for _ in 0..3 {
        fetcher.look_around(&stored);
    }
    while fetcher.doors(&stored.object).is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(fetcher.doors(&stored.object), [DOOR]);
    fetcher.look_around(&stored);
    fetcher.shutdown().await;
    assert_eq!(near.asked.load(SeqCst), 1);
}

#[tokio::test]
async fn a_neighbour_that_stalls_is_left() {
    let body = sample(20 * MIB, 7);
    let near = ScriptedNeighbour { stalls_after: Some(3), ..ScriptedNeighbour::holding(body.clone()) };
    let house = House::new(ScriptedOrigin::serving(body.clone()), vec![near]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
}

#[tokio::test]
async fn a_broken_transfer_is_incomplete_and_resumed_by_the_next_client() {
    let body = sample(10 * MIB, 8);
    let dir = tempfile::tempdir().expect("a temp dir");
    let origin = ScriptedOrigin::serving(body.clone());
    *origin.breaks_after.lock().expect("lock") = Some(4 * MIB as u64);
    let house = House::at(dir, origin, Vec::new());
    // Each lane breaks after 4 MiB and the next one goes on from there.
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    assert!(house.requests() >= 3);
    assert!(house.sent() <= body.len() as u64 + 256 * 1024, "{}", house.sent());
}

#[tokio::test]
async fn a_new_version_half_way_ends_the_old_transfer_incomplete() {
    let body = sample(10 * MIB, 9);
    let origin = ScriptedOrigin::serving(body.clone());
    *origin.breaks_after.lock().expect("lock") = Some(4 * MIB as u64);
    let house = House::new(origin.slow(8), Vec::new());
    let reader = house.get(None).await;
    *house.origin.tag.lock().expect("lock") = "\"two\"";
    *house.origin.body.lock().expect("lock") = sample(10 * MIB, 99);
    house.origin.pieces.add_permits(10_000);
    assert!(read(reader).await.is_err(), "a mixture must never be complete");
    assert!(house.fetcher.representations(&target()).expect("index").is_empty());
    *house.origin.breaks_after.lock().expect("lock") = None;
    assert_eq!(read(house.get(None).await).await.expect("whole"), sample(10 * MIB, 99));
}

#[tokio::test]
async fn a_digest_that_does_not_match_ends_the_transfer_incomplete_and_stores_nothing() {
    let origin = ScriptedOrigin::serving(sample(3 * MIB, 10)).with_digest();
    *origin.body.lock().expect("lock") = sample(3 * MIB, 11);
    let house = House::new(origin, Vec::new());
    assert!(read(house.get(None).await).await.is_err());
    assert!(house.fetcher.representations(&target()).expect("index").is_empty());
}

#[tokio::test]
async fn a_small_range_of_a_cold_object_costs_its_window_and_the_next_one_nothing() {
    let body = sample(30 * MIB, 12);
    let house = House::new(ScriptedOrigin::serving(body.clone()), Vec::new());
    let range = ByteWish::FromTo(10_000_000, 10_000_100);
    assert_eq!(read(house.get(Some(range)).await).await.expect("whole"), body.slice(10_000_000..10_000_100));
    assert!(house.sent() <= MIB as u64, "{}", house.sent());
    let next = ByteWish::FromTo(10_000_100, 10_000_200);
    assert_eq!(read(house.get(Some(next)).await).await.expect("whole"), body.slice(10_000_100..10_000_200));
    assert!(house.sent() <= MIB as u64, "{}", house.sent());
}

/// A range once waited for the check of a whole that nobody fetched.
#[tokio::test]
async fn a_range_of_an_object_with_a_digest_does_not_wait_for_the_rest() {
    let body = sample(4 * MIB, 13);
    let house = House::new(ScriptedOrigin::serving(body.clone()).with_digest(), vec![]);
    for (range, expected) in [
        (ByteWish::FromTo(100_000, 200_000), body.slice(100_000..200_000)),
        (ByteWish::Last(1000), body.slice(body.len() - 1000..)),
    ] {
        assert_eq!(read(house.get(Some(range)).await).await.expect("the part"), expected);
    }
}

#[tokio::test]
async fn a_range_behind_the_end_is_refused_with_the_length() {
    let house = House::new(ScriptedOrigin::serving(sample(MIB, 13)), Vec::new());
    let wish = wish(Some(ByteWish::From(5 * MIB as u64)));
    // The origin is asked for the range first; ours answers with a part that is empty.
    let outcome = house.fetcher.fetch(Wish { range: Some(ByteWish::Last(0)), ..wish }).await;
    assert!(matches!(outcome, Err(FetchError::Unsatisfiable { length }) if length == MIB as u64));
}

#[tokio::test]
async fn a_confirmation_renews_what_is_stored() {
    let body = sample(MIB, 14);
    let house = House::new(ScriptedOrigin::serving(body.clone()), Vec::new());
    read(house.get(None).await).await.expect("whole");
    let stored = house.stored().await;
    let fetched = house.fetcher.fetch(Wish { stored: Some(stored.clone()), ..wish(None) }).await;
    let Ok(Fetched::Renewed(renewed)) = fetched else { panic!("a 304 renews") };
    assert_eq!(renewed.object, stored.object);
    assert!(renewed.head.received_at >= stored.head.received_at);
    assert_eq!(house.sent(), MIB as u64, "a confirmation costs no body");
}

#[tokio::test]
async fn an_origin_that_is_down_is_an_error_that_names_the_step() {
    let origin = ScriptedOrigin::serving(sample(10, 15));
    origin.down.store(true, SeqCst);
    let house = House::new(origin, Vec::new());
    let Err(FetchError::Ask(error)) = house.fetcher.fetch(wish(None)).await else { panic!("nobody answers") };
    assert!(matches!(*error, AskError::Connect(..)));
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_is_away_is_not_asked_again_for_seconds_and_then_found_back() {
    let origin = ScriptedOrigin::serving(sample(10, 16));
    origin.down.store(true, SeqCst);
    let house = House::new(origin, Vec::new());
    let asked = || house.origin.requests.lock().expect("lock").len();
    for _ in 0..3 {
        let failed = house.fetcher.fetch(wish(None)).await;
        assert!(matches!(failed, Err(FetchError::Ask(error)) if matches!(*error, AskError::Connect(..))));
        assert_eq!(asked(), 1);
    }
    house.origin.down.store(false, SeqCst);
    tokio::time::advance(kith_model::limits::ABSENT_QUIET).await;
    let target = Target::parse(URL).expect("a URL");
    assert!(house.fetcher.is_away(&target));
    assert!(house.fetcher.fetch(wish(None)).await.is_ok());
    assert_eq!(asked(), 2);
    assert!(!house.fetcher.is_away(&target));
}

#[tokio::test]
async fn what_outgrows_the_shelf_reaches_its_readers_past_it() {
    let body = sample(3 * MIB + 17, 17);
    let origin = ScriptedOrigin::serving(body.clone()).chunked().slow(2);
    let dir = tempfile::tempdir().expect("a temp dir");
    let house = House::with_objects_up_to(MIB as u64, dir, origin, Vec::new());
    let (mut one, other) = (house.get(None).await, house.get(None).await);
    let first = one.next().await.expect("no error").expect("bytes");
    // The other one has nothing yet when the shelf gives up: what it would have read there may be gone.
    house.origin.pieces.add_permits(10_000);
    let mut all = first.to_vec();
    // In small pieces, that begin and end anywhere.
    while let Some(bytes) = one.next_within(10_007).await.expect("no error") {
        assert!(bytes.len() <= 10_007);
        all.extend_from_slice(&bytes);
    }
    assert!(all == body);
    assert_eq!(house.requests(), 1, "it goes on with the answer that is there");
    assert_eq!(read(other).await.expect("whole"), body);
    house.idle().await;
    assert!(house.fetcher.representations(&target()).expect("fine").is_empty(), "nothing of it is kept");
}

#[tokio::test]
async fn past_the_shelf_another_version_is_no_rest() {
    let body = sample(3 * MIB, 18);
    let origin = ScriptedOrigin::serving(body.clone()).chunked().slow(2);
    let dir = tempfile::tempdir().expect("a temp dir");
    let house = House::with_objects_up_to(MIB as u64, dir, origin, Vec::new());
    let (one, other) = (house.get(None).await, house.get(None).await);
    house.origin.pieces.add_permits(10_000);
    assert_eq!(read(one).await.expect("whole"), body);
    *house.origin.tag.lock().expect("lock") = "\"two\"";
    assert!(read(other).await.is_err());
}
