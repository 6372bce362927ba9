//! The shelf stays within its bounds, and what goes is what is missed least.

mod common;

use std::path::Path;

use common::*;
use kith_model::object::ObjectId;
use kith_model::range::{GROUP_BYTES, GroupSpan};
use kith_model::time::UnixMillis;
use kith_store::{Config, CreateError, Pin, Store, Usage, Visibility};

const HOUR_MS: u64 = 3_600_000;
const MEBI: u64 = 1 << 20;

/// A shelf of 10 MiB, opened `hours` after the first time.
fn shelf(dir: &Path, hours: u64) -> Store {
    let config = Config { bytes_max: 10 * MEBI, object_bytes_max: 8 * MEBI, ..config(dir) };
    Store::open(config, UnixMillis(NOW.0 + hours * HOUR_MS)).expect("opens")
}

fn url(number: u64) -> String {
    format!("https://example.com/{number}")
}

/// One MiB that depends on the number.
async fn put_mebi(store: &Store, number: u64) -> ObjectId {
    put(store, &url(number), &sample(number + 1, MEBI)).await.id
}

/// The same from a neighbour.
async fn fetch_mebi(store: &Store, number: u64) -> ObjectId {
    let bytes = sample(number + 1, MEBI);
    let writer = store.create(draft(&url(number), Some(MEBI))).await.expect("a place");
    let run = from_neighbour(&bytes, GroupSpan::whole(MEBI));
    writer.write(run, Visibility::Now).await.expect("written");
    writer.finish(finish(MEBI)).await.expect("stored").info.id
}

/// Waits until the shelf's sums are as wished.
async fn until(store: &Store, wished: impl Fn(Usage) -> bool) -> Usage {
    let mut changes = store.changes();
    while !wished(store.usage()) {
        changes.changed().await.expect("the store is open");
    }
    store.usage()
}

fn holds(store: &Store, id: &ObjectId) -> bool {
    store.object(id).expect("index").is_some()
}

#[tokio::test]
async fn above_the_upper_mark_the_least_recently_used_go_down_to_the_lower_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut ids = Vec::new();
    for number in 0..10 {
        let store = shelf(dir.path(), number);
        ids.push(put_mebi(&store, number).await);
        if number == 8 {
            // Use the oldest again; its next life counts from here.
            assert!(store.open_object(&ids[0]).await.expect("index").is_some());
        }
        if number == 9 {
            let usage = until(&store, |usage| usage.bytes <= 8 * MEBI).await;
            assert_eq!((usage.objects, usage.evicted), (8, 2));
            let held: Vec<bool> = ids.iter().map(|id| holds(&store, id)).collect();
            assert_eq!(held, [true, false, false, true, true, true, true, true, true, true]);
            let files = std::fs::read_dir(dir.path().join("objects")).expect("a folder");
            let files =
                files.flat_map(|shard| std::fs::read_dir(shard.expect("an entry").path()).expect("a folder"));
            assert_eq!(files.count(), 8 * 3);
        }
        store.close().await;
    }
}

#[tokio::test]
async fn a_scan_does_not_flush_what_is_used_often() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = shelf(dir.path(), 0);
    let loved = put_mebi(&store, 1000).await;
    for _ in 0..8 {
        store.open_object(&loved).await.expect("index").expect("stored");
    }
    store.close().await;
    drop(store);
    let store = shelf(dir.path(), 24);
    for number in 0..30 {
        put_mebi(&store, number).await;
    }
    let usage = until(&store, |usage| usage.bytes <= 9 * MEBI).await;
    assert!(usage.evicted >= 20, "{usage:?}");
    assert!(holds(&store, &loved));
}

#[tokio::test]
async fn a_pinned_object_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = shelf(dir.path(), 0);
    let pinned = put_mebi(&store, 1000).await;
    assert!(store.pin(&pinned, Pin::Pinned).await.expect("pinned"));
    assert!(!store.pin(&ObjectId::of(b"nothing"), Pin::Pinned).await.expect("answered"));
    store.close().await;
    drop(store);
    let store = shelf(dir.path(), 100);
    for number in 0..12 {
        put_mebi(&store, number).await;
    }
    until(&store, |usage| usage.evicted > 2).await;
    assert!(holds(&store, &pinned));
    assert!(store.object(&pinned).expect("index").expect("stored").pinned);
}

#[tokio::test]
async fn what_another_box_keeps_goes_before_the_last_copy() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = shelf(dir.path(), 0);
    let elsewhere = [5, 6].map(|number| ObjectId::of(&sample(number + 1, MEBI)));
    store.count_copies(Box::new(move |id| elsewhere.contains(id).into()));
    let mut ids = Vec::new();
    for number in 0..10 {
        // The first eight came from next door.
        let id = if number < 8 { fetch_mebi(&store, number).await } else { put_mebi(&store, number).await };
        ids.push(id);
    }
    until(&store, |usage| usage.evicted == 2).await;
    assert!(ids.iter().all(|id| holds(&store, id) != elsewhere.contains(id)));
}

/// What the website sent is the first copy: a filter that hits by chance must not cost it.
#[tokio::test]
async fn what_came_from_its_origin_goes_after_what_came_from_next_door() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = shelf(dir.path(), 0);
    store.count_copies(Box::new(|_| 1));
    let first = put_mebi(&store, 0).await;
    let mut seconds = Vec::new();
    for number in 1..30 {
        seconds.push(fetch_mebi(&store, number).await);
    }
    until(&store, |usage| usage.evicted > 19).await;
    assert!(holds(&store, &first));
    assert!(holds(&store, &seconds[28]), "and of these the oldest first");
}

#[tokio::test]
async fn what_is_being_read_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = shelf(dir.path(), 0);
    let first = put_mebi(&store, 0).await;
    let body = store.open_object(&first).await.expect("index").expect("stored");
    for number in 1..60 {
        put_mebi(&store, number).await;
    }
    until(&store, |usage| usage.evicted > 49).await;
    assert!(holds(&store, &first));
    drop(body);
    for number in 60..70 {
        put_mebi(&store, number).await;
    }
    until(&store, |usage| usage.evicted > 59).await;
    assert!(!holds(&store, &first), "it was used twice, which is worth four turns of the shelf");
}

/// The clock by which worth is told runs ahead as objects go. Were it set back, all that is new would go first.
#[tokio::test]
async fn what_is_new_stays_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = shelf(dir.path(), 0);
    for number in 0..40 {
        put_mebi(&store, number).await;
    }
    until(&store, |usage| usage.evicted > 29).await;
    store.close().await;
    drop(store);
    let store = shelf(dir.path(), 1);
    let new = put_mebi(&store, 100).await;
    for number in 101..104 {
        put_mebi(&store, number).await;
    }
    until(&store, |usage| usage.evicted > 1).await;
    assert!(holds(&store, &new));
}

/// A hit writes nothing: what is used is noted, and written down with the next change.
#[tokio::test]
async fn hits_do_not_write() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = shelf(dir.path(), 0);
    let id = put_mebi(&store, 0).await;
    let index = dir.path().join("index.redb");
    let before = std::fs::read(&index).expect("there");
    for _ in 0..100 {
        store.open_object(&id).await.expect("index").expect("stored");
    }
    assert!(std::fs::read(&index).expect("there") == before);
    store.close().await;
}

#[tokio::test]
async fn an_evicted_object_can_be_read_to_its_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = shelf(dir.path(), 0);
    let first = put_mebi(&store, 0).await;
    store.close().await;
    drop(store);
    let store = shelf(dir.path(), 200);
    let body = store.open_object(&first).await.expect("index").expect("stored");
    store.close().await;
    drop(store);
    // Opened long ago by now.
    let store = shelf(dir.path(), 400);
    for number in 1..11 {
        put_mebi(&store, number).await;
    }
    until(&store, |usage| usage.evicted > 0).await;
    assert!(!holds(&store, &first));
    assert_eq!(read(&body).await, sample(1, MEBI));
}

#[tokio::test]
async fn room_is_made_before_a_large_object_arrives() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = shelf(dir.path(), 0);
    for number in 0..8 {
        put_mebi(&store, number).await;
    }
    assert_eq!(store.usage().evicted, 0);
    let writer = store.create(draft("https://example.com/large", Some(7 * MEBI))).await.expect("room");
    let usage = store.usage();
    assert!(usage.bytes <= 3 * MEBI, "{usage:?}");
    drop(writer);
}

#[tokio::test]
async fn a_shelf_full_of_pins_has_no_place_and_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = shelf(dir.path(), 0);
    for number in 0..8 {
        let id = put_mebi(&store, number).await;
        store.pin(&id, Pin::Pinned).await.expect("pinned");
    }
    let outcome = store.create(draft("https://example.com/large", Some(3 * MEBI))).await;
    assert!(matches!(outcome, Err(CreateError::NoSpace)));
    // The same when the length shows only while it arrives.
    let writer = store.create(draft("https://example.com/large", None)).await.expect("a place");
    let bytes = sample(1, 4 * MEBI);
    let mut refused = false;
    for start in (0..256).step_by(64) {
        let run = from_origin(&bytes, GroupSpan::clamped(start, start + 64));
        refused |= writer.write(run, Visibility::Now).await.is_err();
    }
    assert!(refused);
    assert_eq!(store.usage().objects, 8);
}

#[tokio::test]
async fn nothing_is_begun_below_the_reserve_of_the_disk() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = Config { reserve_bytes: u64::MAX / 2, ..config(dir.path()) };
    let store = Store::open(config, NOW).expect("opens");
    assert!(matches!(store.create(draft(&url(1), Some(MEBI))).await, Err(CreateError::NoSpace)));
}

#[tokio::test]
async fn waiting_parts_take_a_fifth_of_the_shelf_at_most() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = shelf(dir.path(), 0);
    for number in 0..9 {
        let bytes = sample(number, MEBI);
        let writer = store.create(draft(&url(number), Some(MEBI))).await.expect("a place");
        let most = GroupSpan::clamped(0, MEBI / GROUP_BYTES - 1);
        writer.write(from_origin(&bytes, most), Visibility::Now).await.expect("written");
    }
    // The shelf is almost full: the next object passes the upper mark.
    put_mebi(&store, 100).await;
    let writer = store.create(draft(&url(101), Some(MEBI))).await.expect("a place");
    drop(writer);
    let usage = store.usage();
    assert!(usage.partial_bytes <= 2 * MEBI, "{usage:?}");
    assert_eq!(usage.objects, 1);
    assert!(store.unfinished(&key(&url(8))).is_some(), "the youngest part stays");
    assert!(store.unfinished(&key(&url(0))).is_none());
}
