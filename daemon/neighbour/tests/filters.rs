//! What boxes tell each other of their shelves: who is asked, who is not, and what is in no filter.

mod common;

use common::*;
use kith_model::limits::SMALL_NEIGHBOURHOOD_MAX;
use kith_model::trust::Role;
use kith_neighbour::{Totals, View};

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
        for number in 0..FILES {
            let body = &bytes[number..];
            assert!(den.find(wanted(&url(number), body.len() as u64)).await.is_empty());
            den.put(&url(number), body, &[]).await;
        }
        for other in others {
            other.is_told(FILES).await;
        }
        let totals = den.neighbours.totals();
        // Each has an answer.
        let messages = 2 * (totals.asked + totals.filters_sent - first_filters);
        let asking_everybody = 2 * (FILES * others.len()) as u64;
        println!("{boxes} boxes: {messages} messages, {asking_everybody} by asking everybody");
        assert!(messages * 3 <= asking_everybody, "{messages} of {asking_everybody}");
    }
}

/// A box and others that are paired with it.
async fn paired_with_one(boxes: usize) -> Vec<Home> {
    let names = ["den", "attic", "cellar", "shed", "garage"];
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
