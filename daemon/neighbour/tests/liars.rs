//! Paired boxes that lie: each lie is noticed, costs the liar, and never reaches anybody.

mod common;

use common::liar::{Liar, Lie};
use common::*;
use http::HeaderValue;
use kith_fetch::source::{Fault, SourceError, Truth};
use kith_model::key::Target;
use kith_model::object::ObjectId;
use kith_model::representation::StrongValidator;
use kith_model::trust::Role;
use kith_neighbour::State;
use kith_neighbour::claim::Statement;
use kith_neighbour::identity::{Identity, NodeKey};
use kith_neighbour::peers::{FILE_NAME, Peers};

const LENGTH: u64 = 4 * MIB;

fn statement() -> Statement {
    let validator = StrongValidator::ETag(HeaderValue::from_static("\"v1\""));
    Statement::Fetched(Target::parse(URL).expect("a URL"), validator)
}

/// A box that is paired and connected with a liar.
async fn victim(lie: Lie) -> (Home, Liar, NodeKey) {
    let identity = Identity::generate().expect("random");
    let key = identity.key();
    let liar = common::liar::start(identity, lie, sample(LENGTH), statement());
    let home = Home::start_in("victim", folder_paired_with(key, [7; 32], Role::Mine), vec![liar.address]);
    home.connected().await;
    (home, liar, key)
}

fn state(home: &Home) -> State {
    home.neighbours.list().remove(0).state
}

#[tokio::test]
async fn the_liar_of_these_tests_can_be_honest() {
    let (home, _liar, _) = victim(Lie::None).await;
    let found = home.find(wanted(URL, LENGTH)).await;
    assert!(drain(&found[0], LENGTH).await.expect("delivered") == sample(LENGTH));
    assert_eq!(state(&home), State::Good);
}

#[tokio::test]
async fn a_flipped_bit_is_a_strike_and_three_are_a_ban() {
    let (home, _liar, _) = victim(Lie::FlippedBit).await;
    let found = home.find(wanted(URL, LENGTH)).await;
    for strikes in 1..=3 {
        let error = drain(&found[0], LENGTH).await.expect_err("noticed");
        assert!(matches!(error, SourceError::Mismatch), "{error:?}");
        match strikes {
            3 => assert!(matches!(state(&home), State::Banned { .. })),
            _ => assert_eq!(state(&home), State::Struck(strikes)),
        }
    }
    let totals = home.neighbours.totals();
    assert_eq!((totals.verify_failures, totals.strikes), (3, 3));
    home.sees(|views| !views[0].connected).await;
    assert!(home.find(wanted(URL, LENGTH)).await.is_empty(), "nobody asks it now");
    assert!(found[0].source.vouches(), "what it claimed may be true all the same");
    home.neighbours.unpair("liar").await.expect("unpaired");
    assert!(!found[0].source.vouches());
}

#[tokio::test]
async fn a_false_claim_is_kept_as_evidence_and_shuts_its_box_out() {
    let (home, _liar, key) = victim(Lie::None).await;
    let found = home.find(wanted(URL, LENGTH)).await;
    found[0].source.blame(Fault::FalseClaim(Truth::Object(ObjectId::of(b"the truth"))));
    let views = home.sees(|views| !views[0].connected).await;
    let State::Quarantined { reason } = &views[0].state else { panic!("{views:?}") };
    assert!(!found[0].source.vouches());
    assert!(reason.contains("example.org") && !reason.contains("a.iso"), "hosts only: {reason}");
    home.neighbours.shutdown().await;

    let stored = std::fs::read(home.dir.path().join(FILE_NAME)).expect("written");
    let peers = Peers::from_bytes(&stored).expect("ours");
    let evidence = peers.find(&key.id()).and_then(|peer| peer.evidence()).expect("kept");
    assert!(key.has_signed(&evidence.claim, &evidence.signature), "anybody can check the lie");
    assert!(evidence.summary.contains(&ObjectId::of(&sample(LENGTH)).to_string()), "{evidence:?}");
    assert!(evidence.truth.contains(&ObjectId::of(b"the truth").to_string()), "{evidence:?}");

    // After a restart it is shown still, and the box is not dialled.
    drop(found);
    let Home { dir, store, neighbours } = home;
    drop(neighbours);
    store.close().await;
    drop(store);
    let home = Home::start_in("victim", dir, Vec::new());
    let view = home.neighbours.list().remove(0);
    assert!(matches!(view.state, State::Quarantined { .. }), "{view:?}");
    assert_eq!(view.evidence.as_ref(), Some(evidence));
}

#[tokio::test]
async fn a_slow_box_is_not_a_liar() {
    let (home, _liar, _) = victim(Lie::None).await;
    let found = home.find(wanted(URL, LENGTH)).await;
    for _ in 0..10 {
        found[0].source.blame(Fault::TooSlow);
    }
    assert_eq!(state(&home), State::Good);
    assert_eq!(home.find(wanted(URL, LENGTH)).await.len(), 1);
}

#[tokio::test]
async fn a_claim_that_does_not_fit_the_question_is_ignored_and_struck() {
    for lie in [Lie::Length, Lie::Signature, Lie::Answer, Lie::Frame, Lie::Validator, Lie::Replay] {
        let (home, _liar, _) = victim(lie).await;
        assert!(home.find(wanted(URL, LENGTH)).await.is_empty(), "{lie:?}");
        assert_eq!(state(&home), State::Struck(1), "{lie:?}");
    }
}

#[tokio::test]
async fn a_slice_of_another_length_is_noticed_and_struck() {
    for lie in [Lie::ShortSlice, Lie::LongSlice] {
        let (home, _liar, _) = victim(lie).await;
        let found = home.find(wanted(URL, LENGTH)).await;
        let error = drain(&found[0], LENGTH).await.expect_err("noticed");
        match lie {
            Lie::LongSlice => assert!(matches!(error, SourceError::Nonsense(_)), "{error:?}"),
            _ => assert!(matches!(error, SourceError::Mismatch), "{error:?}"),
        }
        let view = home.neighbours.list().remove(0);
        assert_eq!(view.state, State::Struck(1), "{lie:?}");
        assert_eq!(view.struck.len(), 1);
        assert!(!view.struck[0].reason.is_empty());
    }
}

#[tokio::test]
async fn a_slice_out_of_place_is_nonsense() {
    let (home, _liar, _) = victim(Lie::Place).await;
    let found = home.find(wanted(URL, LENGTH)).await;
    let error = drain(&found[0], LENGTH).await.expect_err("noticed");
    assert!(matches!(error, SourceError::Nonsense(_)), "{error:?}");
    assert_eq!(state(&home), State::Struck(1));
}
