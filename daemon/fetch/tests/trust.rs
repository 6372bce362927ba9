//! Who may deliver which bytes, and when a client sees them: one test for each cell of the table of roles against what
//! the origin published, and for what becomes of those who lie.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bytes::Bytes;
use common::*;
use kith_fetch::reader::{ReadError, Reader};
use kith_fetch::source::Truth;
use kith_fetch::wish::{ByteWish, Fetched, Wish};
use kith_model::key::Target;
use kith_model::ladder::Algorithm;
use kith_model::object::ObjectId;
use kith_model::representation::Standing;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Pieces of the origin, 64 KiB each, after which it is held up.
const FEW: usize = 16;
const FEW_BYTES: u64 = FEW as u64 * 64 * 1024;

/// Runs of a neighbour, 256 KiB each, after which it is held up.
const SOME: usize = 24;

/// A client that reads while others look how far it came.
struct Client {
    read: Arc<AtomicU64>,
    reading: JoinHandle<Result<Bytes, ReadError>>,
}

impl Client {
    fn of(mut reader: Reader) -> Self {
        let read = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&read);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(piece) = reader.next().await? {
                count.fetch_add(piece.len() as u64, SeqCst);
                all.extend_from_slice(&piece);
            }
            Ok(all.into())
        });
        Self { read, reading }
    }

    fn read(&self) -> u64 {
        self.read.load(SeqCst)
    }

    async fn end(self) -> Result<Bytes, ReadError> {
        self.reading.await.expect("no panic")
    }
}

/// Waits for what other tasks bring about.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

fn held_up(neighbour: ScriptedNeighbour) -> ScriptedNeighbour {
    ScriptedNeighbour { runs: Arc::new(Semaphore::new(SOME)), ..neighbour }
}

/// Keeps the last groups to itself, so that there is no whole to check.
fn without_end(neighbour: ScriptedNeighbour) -> ScriptedNeighbour {
    ScriptedNeighbour { runs: Arc::new(Semaphore::new(0)), free_until: 1200, ..neighbour }
}

fn let_go(house: &House, neighbours: &[&ScriptedNeighbour]) {
    house.origin.pieces.add_permits(10_000);
    for near in neighbours {
        near.runs.add_permits(10_000);
    }
}

/// `body` with one wrong bit, far from what the origin sends first.
fn lie(body: &Bytes) -> Bytes {
    let mut lie = body.to_vec();
    lie[15 * MIB] ^= 1;
    lie.into()
}

fn slow_origin(body: &Bytes) -> ScriptedOrigin {
    ScriptedOrigin::serving(body.clone()).slow(FEW)
}

// Hashes of pieces

#[tokio::test]
async fn under_hashes_of_pieces_one_other_household_is_streamed() {
    let body = sample(20 * MIB, 21);
    let near = without_end(ScriptedNeighbour::holding(body.clone()).of_others(1));
    let house = House::new(slow_origin(&body).with_pieces(), vec![near.clone()]);
    let client = Client::of(house.get(None).await);
    until(|| client.read() > 2 * FEW_BYTES).await;
    let_go(&house, &[&near]);
    assert_eq!(client.end().await.expect("whole"), body);
    assert_eq!(near.told_false(), None);
    assert_eq!(house.stored().await.standing, Standing::FirstHand);
}

#[tokio::test]
async fn a_piece_that_does_not_match_is_shown_to_nobody_and_refutes_the_claim() {
    let body = sample(20 * MIB, 22);
    let near = ScriptedNeighbour::holding(lie(&body)).of_others(1);
    let house = House::new(slow_origin(&body).with_pieces(), vec![near.clone()]);
    let client = Client::of(house.get(None).await);
    until(|| near.told_false().is_some()).await;
    assert_eq!(near.told_false(), Some(Truth::Piece(15 * MIB as u64)));
    near.paired.store(false, SeqCst);
    let_go(&house, &[]);
    assert_eq!(client.end().await.expect("whole"), body);
    assert_eq!(house.stored().await.object, ObjectId::of(&body));
}

// A digest of the whole

#[tokio::test]
async fn under_a_digest_one_other_household_fills_the_back_and_shows_nothing_before_the_check() {
    let body = sample(20 * MIB, 1);
    let near = held_up(ScriptedNeighbour::holding(body.clone()).of_others(1));
    let house = House::new(slow_origin(&body).with_digest(), vec![near.clone()]);
    let client = Client::of(house.get(None).await);
    until(|| near.runs.available_permits() == 0 && client.read() >= FEW_BYTES - 64 * 1024).await;
    assert!(client.read() <= FEW_BYTES, "{} bytes, of which nobody knows anything", client.read());
    let_go(&house, &[&near]);
    assert_eq!(client.end().await.expect("whole"), body);
    assert!(house.sent() <= (body.len() - 4 * MIB) as u64, "the origin sent {}", house.sent());
    assert_eq!(house.stored().await.standing, Standing::FirstHand);
    assert_eq!(near.told_false(), None);
}

#[tokio::test]
async fn what_is_held_back_and_does_not_check_costs_the_liar_and_not_the_client() {
    let body = sample(20 * MIB, 2);
    let near = ScriptedNeighbour::holding(lie(&body)).of_others(1);
    let house = House::new(slow_origin(&body).with_digest(), vec![near.clone()]);
    let client = Client::of(house.get(None).await);
    until(|| near.told_false().is_some()).await;
    assert!(client.read() <= FEW_BYTES, "{} bytes were shown", client.read());
    let_go(&house, &[]);
    assert_eq!(client.end().await.expect("whole"), body);
    assert_eq!(near.told_false(), Some(Truth::Digest(Algorithm::Sha256)));
    assert_eq!(house.stored().await.object, ObjectId::of(&body));
}

/// The lie begins where the origin's bytes are.
#[tokio::test]
async fn what_is_held_back_and_does_not_continue_what_the_origin_sent_is_found_out() {
    let body = sample(20 * MIB, 3);
    let mut other = body.to_vec();
    other[0] ^= 1;
    let near = ScriptedNeighbour::holding(other.into()).of_others(1);
    let house = House::new(slow_origin(&body).with_digest(), vec![near.clone()]);
    let client = Client::of(house.get(None).await);
    until(|| near.told_false().is_some()).await;
    let_go(&house, &[]);
    assert_eq!(client.end().await.expect("whole"), body);
    assert_eq!(near.told_false(), Some(Truth::Parts));
}

/// What was dropped for the client of the part, and was told to the plan only then, was thought to be here for good: one
/// time in five the other client's transfer broke off at the end, or never ended.
#[tokio::test]
async fn a_client_of_a_part_does_not_wait_for_what_is_held_back() {
    let body = sample(20 * MIB, 4);
    let near = held_up(ScriptedNeighbour::holding(body.clone()).of_others(1));
    let house = House::new(slow_origin(&body).with_digest(), vec![near.clone()]);
    let whole = Client::of(house.get(None).await);
    until(|| near.runs.available_permits() == 0).await;
    // Its bytes are here, and cannot be shown: the origin is asked for them.
    let range = ByteWish::FromTo(19_000_000, 19_100_000);
    let part = Client::of(house.get(Some(range)).await);
    house.origin.pieces.add_permits(10_000);
    assert_eq!(part.end().await.expect("a part"), body.slice(19_000_000..19_100_000));
    assert_eq!(whole.end().await.expect("whole"), body);
    assert_eq!(near.told_false(), None);
}

#[tokio::test]
async fn under_a_digest_two_other_households_are_streamed() {
    let body = sample(20 * MIB, 5);
    let near: Vec<_> = [1, 2].map(|number| ScriptedNeighbour::holding(body.clone()).of_others(number)).into();
    let house = House::new(slow_origin(&body).with_digest(), near.clone());
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    assert!(house.sent() <= FEW_BYTES, "{}", house.sent());
    assert_eq!(house.stored().await.standing, Standing::FirstHand);
}

#[tokio::test]
async fn two_colluding_households_never_make_a_complete_wrong_file() {
    let body = sample(20 * MIB, 6);
    let near: Vec<_> = [1, 2].map(|number| ScriptedNeighbour::holding(lie(&body)).of_others(number)).into();
    let house = House::new(slow_origin(&body).with_digest(), near.clone());
    let client = Client::of(house.get(None).await);
    until(|| near.iter().all(|near| near.told_false().is_some())).await;
    let_go(&house, &[]);
    // Who has read some of the lie sees a transfer that broke off.
    if let Ok(received) = client.end().await {
        assert_eq!(received, body);
    }
    assert_eq!(house.stored().await.object, ObjectId::of(&body));
    let expected = Some(Truth::Digest(Algorithm::Sha256));
    assert_eq!([near[0].told_false(), near[1].told_false()], [expected, expected]);
}

// Validators only

#[tokio::test]
async fn under_validators_one_other_household_is_never_asked_for_a_byte() {
    let body = sample(20 * MIB, 7);
    let near = ScriptedNeighbour::holding(body.clone()).of_others(1);
    let house = House::new(ScriptedOrigin::serving(body.clone()), vec![near.clone()]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    assert_eq!((near.delivered(), near.told_false()), (0, None));
    assert_eq!(house.stored().await.standing, Standing::FirstHand);
}

#[tokio::test]
async fn a_claim_that_nobody_used_is_judged_by_the_origins_bytes_all_the_same() {
    let body = sample(20 * MIB, 8);
    let near = ScriptedNeighbour::holding(lie(&body)).of_others(1);
    let house = House::new(ScriptedOrigin::serving(body.clone()), vec![near.clone()]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    house.stored().await;
    until(|| near.told_false().is_some()).await;
    assert_eq!(near.told_false(), Some(Truth::Object(ObjectId::of(&body))));
    assert_eq!(near.delivered(), 0);
}

/// A site may have given another box other bytes of the same second and length: that is nobody's lie.
#[tokio::test]
async fn a_claim_that_nobody_used_is_not_judged_by_a_date() {
    let body = sample(20 * MIB, 18);
    let near = ScriptedNeighbour::holding(lie(&body)).of_others(1);
    let origin = ScriptedOrigin { is_dated: true, ..ScriptedOrigin::serving(body.clone()) };
    let house = House::new(origin, vec![near.clone()]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    house.stored().await;
    house.idle().await;
    assert_eq!((near.delivered(), near.told_false()), (0, None));
}

#[tokio::test]
async fn under_validators_two_other_households_are_streamed() {
    let body = sample(20 * MIB, 9);
    let near: Vec<_> =
        [1, 2].map(|number| without_end(ScriptedNeighbour::holding(body.clone()).of_others(number))).into();
    let house = House::new(slow_origin(&body), near.clone());
    let client = Client::of(house.get(None).await);
    until(|| client.read() > 2 * FEW_BYTES).await;
    let_go(&house, &[&near[0], &near[1]]);
    assert_eq!(client.end().await.expect("whole"), body);
    // Nothing proves it: what two strangers say is not handed on as our own word.
    assert_eq!(house.stored().await.standing, Standing::Claimed);
}

#[tokio::test]
async fn the_second_claim_counts_whenever_it_comes() {
    let body = sample(20 * MIB, 10);
    let speaks = Arc::new(Semaphore::new(0));
    let first = ScriptedNeighbour::holding(body.clone()).of_others(1);
    let second = ScriptedNeighbour { speaks: Some(Arc::clone(&speaks)), ..first.clone().of_others(2) };
    let house = House::new(slow_origin(&body), vec![first.clone(), second]);
    let client = Client::of(house.get(None).await);
    until(|| client.read() >= FEW_BYTES - 64 * 1024).await;
    assert_eq!(first.delivered(), 0);
    speaks.add_permits(1);
    assert_eq!(client.end().await.expect("whole"), body);
    assert!(house.sent() <= FEW_BYTES, "{}", house.sent());
}

#[tokio::test]
async fn one_box_counts_once_however_often_it_claims() {
    let body = sample(20 * MIB, 11);
    let near: Vec<_> = [1, 1].map(|number| ScriptedNeighbour::holding(body.clone()).of_others(number)).into();
    let house = House::new(ScriptedOrigin::serving(body.clone()), near.clone());
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    assert_eq!((near[0].delivered(), near[1].delivered()), (0, 0));
}

#[tokio::test]
async fn over_plain_http_without_a_digest_other_households_are_not_even_asked() {
    let body = sample(20 * MIB, 12);
    let near: Vec<_> = [1, 2].map(|number| ScriptedNeighbour::holding(body.clone()).of_others(number)).into();
    let house = House::new(ScriptedOrigin::serving(body.clone()), near.clone());
    let target = Target::parse("http://files.example.com/a.iso").expect("a URL");
    let Ok(Fetched::Arriving(arriving)) = house.fetcher.fetch(Wish { target, ..wish(None) }).await else {
        panic!("it arrives")
    };
    assert_eq!(read(arriving.reader).await.expect("whole"), body);
    assert_eq!((near[0].delivered(), near[1].delivered()), (0, 0));
}

// The same household

#[tokio::test]
async fn a_box_of_ours_is_streamed_whatever_was_published() {
    let body = sample(20 * MIB, 13);
    let near = without_end(ScriptedNeighbour::holding(body.clone()));
    let house = House::new(slow_origin(&body), vec![near.clone()]);
    let client = Client::of(house.get(None).await);
    until(|| client.read() > 2 * FEW_BYTES).await;
    let_go(&house, &[&near]);
    assert_eq!(client.end().await.expect("whole"), body);
}

#[tokio::test]
async fn a_box_of_ours_and_one_of_others_that_agree_are_two() {
    let body = sample(20 * MIB, 14);
    let ours =
        ScriptedNeighbour { runs: Arc::new(Semaphore::new(1)), ..ScriptedNeighbour::holding(body.clone()) };
    let theirs = ScriptedNeighbour::holding(body.clone()).of_others(1);
    let house = House::new(slow_origin(&body), vec![ours, theirs.clone()]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    assert!(theirs.delivered() >= 15 * MIB as u64, "{}", theirs.delivered());
}

// Who lies

#[tokio::test]
async fn claims_that_contradict_each_other_are_not_used_and_the_origin_decides() {
    for liar_is_ours in [false, true] {
        let body = sample(20 * MIB, 15);
        let [liar, honest] = [lie(&body), body.clone()].map(ScriptedNeighbour::holding);
        let (liar, honest) =
            if liar_is_ours { (liar, honest.of_others(1)) } else { (liar.of_others(1), honest) };
        let house = House::new(ScriptedOrigin::serving(body.clone()), vec![liar.clone(), honest.clone()]);
        assert_eq!(read(house.get(None).await).await.expect("whole"), body);
        until(|| liar.told_false().is_some()).await;
        assert_eq!(liar.told_false(), Some(Truth::Object(ObjectId::of(&body))));
        assert_eq!(honest.told_false(), None);
        assert_eq!(house.stored().await.standing, Standing::FirstHand);
    }
}

#[tokio::test]
async fn a_contradiction_that_comes_late_ends_the_streaming_and_costs_no_download() {
    let body = sample(20 * MIB, 16);
    let speaks = Arc::new(Semaphore::new(0));
    let ours = without_end(ScriptedNeighbour::holding(body.clone()));
    let theirs = ScriptedNeighbour::holding(lie(&body)).of_others(1);
    let theirs = ScriptedNeighbour { speaks: Some(Arc::clone(&speaks)), ..theirs };
    let house = House::new(slow_origin(&body), vec![ours.clone(), theirs.clone()]);
    let client = Client::of(house.get(None).await);
    until(|| client.read() > 2 * FEW_BYTES).await;
    speaks.add_permits(1);
    let_go(&house, &[]);
    assert_eq!(client.end().await.expect("whole"), body);
    assert_eq!((ours.told_false(), theirs.delivered()), (None, 0));
}

#[tokio::test]
async fn what_came_under_the_word_of_a_box_that_was_unpaired_is_fetched_again() {
    let body = sample(20 * MIB, 17);
    let near: Vec<_> =
        [1, 2].map(|number| without_end(ScriptedNeighbour::holding(body.clone()).of_others(number))).into();
    let house = House::new(slow_origin(&body), near.clone());
    let client = Client::of(house.get(None).await);
    until(|| client.read() > 2 * FEW_BYTES).await;
    near[1].paired.store(false, SeqCst);
    let_go(&house, &[]);
    // What it has read cannot be taken back: its transfer breaks off, and the next one is whole.
    assert!(matches!(client.end().await, Err(ReadError::Incomplete | ReadError::Shelf(_))));
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    let stored = house.stored().await;
    assert_eq!((stored.object, stored.standing), (ObjectId::of(&body), Standing::FirstHand));
}
