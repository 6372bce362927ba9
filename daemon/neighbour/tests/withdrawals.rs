//! What an origin took back from one box: the others stop sharing it at once and ask before they use it again.

mod common;

use common::*;
use kith_fetch::source::Finder as _;
use kith_model::freshness::is_outdated;
use kith_model::key::Target;
use kith_model::limits::WITHDRAWALS_AT_ONCE_MAX;
use kith_model::representation::{Representation, Standing};
use kith_model::trust::Role;
use kith_neighbour::State;
use kith_neighbour::claim::{Rendezvous, Statement, day_of, withdrawal_bytes};
use kith_neighbour::frames::{self, FrameReader};
use kith_neighbour::identity::{Identity, NodeKey};
use kith_neighbour::wire::{Heard, Message, Reason, RendezvousId, Withdraw, Withdrawn};

const LENGTH: u64 = 4 * MIB;

fn stored(home: &Home, url: &str) -> Representation {
    home.store.representations(&Target::parse(url).expect("a URL")).expect("index")[0].clone()
}

/// Waits until the box doubts what it has of `url`.
async fn doubts(home: &Home, url: &str) {
    let mut changes = home.store.changes();
    let doubting = async {
        while !is_outdated(&stored(home, url).head) {
            changes.changed().await.expect("open");
        }
    };
    tokio::time::timeout(PATIENCE, doubting).await.expect("it was told");
}

#[tokio::test]
async fn what_one_box_was_refused_the_other_shares_no_more_until_its_origin_confirms_it() {
    let (den, attic) = pair().await;
    let bytes = sample(LENGTH);
    den.put(URL, &bytes, &[]).await;
    let object = attic.put(URL, &bytes, &[]).await.id;
    den.is_told(1).await;
    let before = stored(&attic, URL);

    den.neighbours.withdrawn(&stored(&den, URL));
    doubts(&attic, URL).await;
    assert!(den.find(wanted(URL, LENGTH)).await.is_empty(), "it is asked, and says no");
    assert_eq!(den.neighbours.totals().false_hits, 1);
    assert!(attic.store.object(&object).expect("index").is_some(), "nothing is deleted by another's word");

    attic.store.refresh(before).await.expect("its origin confirmed it");
    assert_eq!(den.find(wanted(URL, LENGTH)).await.len(), 1);
    assert_eq!(attic.neighbours.list()[0].state, State::Good);
}

/// What others gave us is nobody's to claim; that an origin took it back concerns it all the same.
#[tokio::test]
async fn what_came_from_others_is_withdrawn_like_all_else() {
    let (den, attic) = pair().await;
    let bytes = sample(LENGTH);
    for home in [&den, &attic] {
        home.put(URL, &bytes, &[]).await;
        let claimed = Representation { standing: Standing::Claimed, ..stored(home, URL) };
        home.store.refresh(claimed).await.expect("filed");
    }
    den.neighbours.withdrawn(&stored(&den, URL));
    doubts(&attic, URL).await;
    assert_eq!(attic.neighbours.list()[0].state, State::Good);
}

#[tokio::test]
async fn a_box_that_was_off_hears_of_it_when_it_comes_back_and_once() {
    let (den, attic) = pair().await;
    let bytes = sample(LENGTH + 1);
    den.put(URL, &bytes[1..], &[]).await;
    attic.put(URL, &bytes[1..], &[]).await;
    let at = attic.address();
    attic.neighbours.shutdown().await;
    den.sees(|views| !views[0].connected).await;
    let Home { dir, store, neighbours } = attic;
    den.neighbours.withdrawn(&stored(&den, URL));
    drop((store, neighbours));

    let attic = Home::start_in("attic", dir, vec![den.address(), at]);
    doubts(&attic, URL).await;
    // Its origin has confirmed it; that it was withdrawn from the den is old news from now on.
    let confirmed = stored(&den, URL);
    attic.store.refresh(confirmed).await.expect("filed");
    attic.neighbours.shutdown().await;
    let Home { dir, store, neighbours } = attic;
    den.sees(|views| !views[0].connected).await;
    drop((store, neighbours));
    let attic = Home::start_in("attic", dir, vec![den.address(), at]);
    attic.connected().await;
    // What is withdrawn now comes behind what would be told again.
    let second = "https://example.org/b.iso";
    den.put(second, &bytes, &[]).await;
    attic.put(second, &bytes, &[]).await;
    den.neighbours.withdrawn(&stored(&den, second));
    doubts(&attic, second).await;
    assert!(!is_outdated(&stored(&attic, URL).head));
}

#[tokio::test]
async fn what_may_not_be_shared_is_not_told_of() {
    let (den, attic) = pair().await;
    let bytes = sample(LENGTH + 1);
    let private = "https://example.org/private.bin";
    for home in [&den, &attic] {
        home.put(private, &bytes[1..], &[("cache-control", "private")]).await;
        home.put(URL, &bytes, &[]).await;
    }
    den.is_told(1).await;
    den.neighbours.withdrawn(&stored(&den, private));
    den.neighbours.withdrawn(&stored(&den, URL));
    doubts(&attic, URL).await;
    assert!(!is_outdated(&stored(&attic, private).head));
    den.neighbours.shutdown().await;
    let log = std::fs::read(den.dir.path().join(kith_neighbour::withdrawn::FILE_NAME)).expect("written");
    assert!(log.len() < 200, "one withdrawal and who was told: {} bytes", log.len());
}

/// What a paired box says that is not true costs it a strike, or us a question; what it says too often is not heard.
#[tokio::test]
async fn a_withdrawal_without_its_signature_is_a_strike_and_too_many_are_not_heard() {
    const SECRET: [u8; 32] = [7; 32];
    let identity = Identity::generate().expect("random");
    let home = Home::start_in("victim", folder_paired_with(identity.key(), SECRET, Role::Mine), Vec::new());
    home.put(URL, &sample(LENGTH), &[]).await;
    let connection = greeted(&identity, &home, None).await;
    home.connected().await;

    let asked = wanted(URL, LENGTH);
    let statement = Statement::Fetched(asked.target, asked.validator);
    let rendezvous = Rendezvous::new(&SECRET, 20_000);
    let at = kith_model::time::UnixMillis(5);
    let signed = withdrawal_bytes(&statement, LENGTH, &identity.key(), at);
    let file = |signature| Withdrawn { id: rendezvous.id(statement.subject(LENGTH)), at_ms: at.0, signature };
    let say = async |files: Vec<Withdrawn>| {
        let (mut send, receive) = connection.open_bi().await.expect("open");
        let withdraw = Message::Withdraw(Withdraw { day: 20_000, files });
        frames::send(&mut send, &withdraw).await.expect("sent");
        FrameReader::new(receive).frame().await.expect("an answer")
    };
    let heard = |number| Some(Message::Heard(Heard { number }));

    assert_eq!(say(vec![file([0; 64])]).await, heard(1));
    assert_eq!(home.neighbours.list()[0].state, State::Struck(1));
    assert!(!is_outdated(&stored(&home, URL).head));
    let unknown = Withdrawn { id: RendezvousId([1; 32]), at_ms: 0, signature: [0; 64] };
    for _ in 0..3 {
        assert_eq!(say(vec![unknown.clone(); WITHDRAWALS_AT_ONCE_MAX]).await, heard(64));
    }
    assert_eq!(say(vec![file(identity.sign(&signed))]).await, heard(1));
    assert!(is_outdated(&stored(&home, URL).head), "marked before it was answered");
    assert_eq!(say(vec![unknown; WITHDRAWALS_AT_ONCE_MAX]).await, Some(Reason::Busy.message()));
    assert_eq!(home.neighbours.list()[0].state, State::Struck(1));
}

/// The signature binds the sender, the file and its version.
#[test]
fn a_withdrawal_of_another_file_or_box_has_no_signature_here() {
    let identity = Identity::generate().expect("random");
    let other = Identity::generate().expect("random");
    let statement = |url: &str| {
        let wanted = wanted(url, LENGTH);
        Statement::Fetched(wanted.target, wanted.validator)
    };
    let now = kith_model::time::UnixMillis(5);
    let bytes = |url, length, key: NodeKey| withdrawal_bytes(&statement(url), length, &key, now);
    let signature = identity.sign(&bytes(URL, LENGTH, identity.key()));
    assert!(identity.key().has_signed(&bytes(URL, LENGTH, identity.key()), &signature));
    assert!(!identity.key().has_signed(&bytes(URL, LENGTH + 1, identity.key()), &signature));
    assert!(!identity.key().has_signed(&bytes("https://example.org/b", LENGTH, identity.key()), &signature));
    assert!(!other.key().has_signed(&bytes(URL, LENGTH, other.key()), &signature));
    let names = [[1; 32], [2; 32]]
        .map(|secret| Rendezvous::new(&secret, day_of(now)).id(statement(URL).subject(LENGTH)));
    assert_ne!(names[0], names[1], "who lacks the pair's secret learns nothing");
}
