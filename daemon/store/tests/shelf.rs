//! What is stored is found again, by every name, and given back as it came.

mod common;

use common::*;
use kith_model::key::{CacheKey, Variant};
use kith_model::ladder::{Algorithm, Digest, Rung, Teller};
use kith_model::object::ObjectId;
use kith_model::range::{ByteRange, GROUP_BYTES, GroupSpan, groups_of};
use kith_model::verify;
use kith_store::{OpenError, Pin, Purge, ReadError, Store, WriteError};
use md5::Digest as _;

/// Lengths around every edge: nothing, one byte, below, at and above a group, and trees of several shapes.
const LENGTHS: [u64; 9] = [
    0,
    1,
    GROUP_BYTES - 1,
    GROUP_BYTES,
    GROUP_BYTES + 1,
    2 * GROUP_BYTES,
    5 * GROUP_BYTES + 77,
    33 * GROUP_BYTES,
    2_000_000,
];

#[tokio::test]
async fn every_length_comes_back_as_it_was_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let mut ids = Vec::new();
    for length in LENGTHS {
        let bytes = sample(length, length);
        let url = format!("https://example.com/{length}");
        let info = put(&store, &url, &bytes).await;
        assert_eq!((info.id, info.length), (ObjectId::of(&bytes), length));
        ids.push(info.id);
    }
    store.close().await;
    drop(store);
    let store = open(dir.path());
    for (length, id) in LENGTHS.iter().zip(&ids) {
        assert_eq!(stored(&store, id).await.as_ref(), Some(&sample(*length, *length)), "{length}");
        let found = store.representations(&target(&format!("https://example.com/{length}"))).expect("index");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].object, found[0].length, &found[0].head), (*id, *length, &head("v1")));
        assert_eq!(store.representations_of(id).expect("index")[..], found[..]);
    }
    let usage = store.usage();
    assert_eq!((usage.objects, usage.bytes), (9, LENGTHS.iter().sum()));
    assert_eq!(usage.partial_bytes, 0);
}

#[tokio::test]
async fn every_object_has_our_own_sha_256_and_is_found_by_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    for length in [0, 10, 700_000] {
        let bytes = sample(3, length);
        let info = put(&store, &format!("https://example.com/{length}"), &bytes).await;
        let sha = ring::digest::digest(&ring::digest::SHA256, &bytes);
        let digest = Digest::new(Algorithm::Sha256, sha.as_ref()).expect("32 bytes");
        assert_eq!(info.ladder.digest(Algorithm::Sha256), Some(&digest));
        assert_eq!(info.ladder.rungs()[0].teller, Teller::Ourselves);
        assert_eq!(store.object_by_digest(&digest).expect("index").as_deref(), Some(&info));
    }
}

#[tokio::test]
async fn an_md5_that_was_only_told_finds_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let md5 = Digest::new(Algorithm::Md5, &md5::Md5::digest(b"body")).expect("16 bytes");
    let mut draft = draft("https://example.com/a", Some(4));
    draft
        .ladder
        .add(Rung { digest: md5.clone(), teller: Teller::Url, said_at: NOW })
        .expect("the first rung");
    let writer = store.create(draft).await.expect("a place");
    writer
        .write(from_origin(b"body", GroupSpan::clamped(0, 1)), kith_store::Visibility::Now)
        .await
        .expect("written");
    let info = writer.finish(finish(4)).await.expect("stored").info;
    assert_eq!(info.ladder.digest(Algorithm::Md5), Some(&md5));
    assert_eq!(store.object_by_digest(&md5).expect("index"), None);
}

#[tokio::test]
async fn the_same_bytes_under_two_urls_are_one_object() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 300_000);
    let first = put(&store, "https://example.com/a", &bytes).await;
    let second = put(&store, "https://example.org/b", &bytes).await;
    assert_eq!(first.id, second.id);
    assert_eq!(store.usage().objects, 1);
    assert_eq!(store.representations_of(&first.id).expect("index").len(), 2);
    assert_eq!(std::fs::read_dir(dir.path().join("parts")).expect("a folder").count(), 0);
    // The head goes; the other one and the bytes stay.
    store.forget(&key("https://example.com/a")).await.expect("forgotten");
    assert!(store.representations(&target("https://example.com/a")).expect("index").is_empty());
    assert_eq!(store.representations_of(&first.id).expect("index").len(), 1);
    assert_eq!(stored(&store, &first.id).await, Some(bytes));
}

#[tokio::test]
async fn a_url_that_changed_stands_for_the_new_object_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let url = "https://example.com/a";
    let old = put(&store, url, b"old").await;
    let new = put(&store, url, b"new").await;
    let found = store.representations(&target(url)).expect("index");
    assert_eq!(found.iter().map(|found| found.object).collect::<Vec<_>>(), [new.id]);
    assert!(store.representations_of(&old.id).expect("index").is_empty());
    assert_eq!(stored(&store, &old.id).await.as_deref(), Some(&b"old"[..]));
}

#[tokio::test]
async fn variants_of_a_target_are_found_together() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let url = "https://example.com/a";
    let info = put(&store, url, b"plain").await;
    let mut packed = store.representations(&target(url)).expect("index")[0].clone();
    packed.key = CacheKey { target: target(url), variant: Variant::of([("accept-encoding", &b"br"[..])]) };
    store.refresh(packed).await.expect("filed");
    assert_eq!(store.representations(&target(url)).expect("index").len(), 2);
    assert_eq!(store.representations_of(&info.id).expect("index").len(), 2);
}

#[tokio::test]
async fn a_new_head_takes_the_place_of_the_old_one_and_needs_its_object() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let url = "https://example.com/a";
    put(&store, url, b"body").await;
    let mut renewed = store.representations(&target(url)).expect("index")[0].clone();
    renewed.head = head("v2");
    store.refresh(renewed.clone()).await.expect("filed");
    assert_eq!(store.representations(&target(url)).expect("index")[..], [renewed.clone()]);
    renewed.object = ObjectId::of(b"another");
    assert!(matches!(store.refresh(renewed).await, Err(WriteError::NotHeld)));
}

#[tokio::test]
async fn objects_are_listed_in_pages() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    for number in 0..10u8 {
        put(&store, &format!("https://example.com/{number}"), &[number; 10]).await;
    }
    let all = store.objects(None, 100).expect("index");
    assert_eq!(all.len(), 10);
    let first = store.objects(None, 4).expect("index");
    let rest = store.objects(first.last().map(|info| info.id), 100).expect("index");
    assert_eq!([first, rest].concat(), all);
}

#[tokio::test]
async fn a_purge_frees_bytes_and_open_bodies_go_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 500_000);
    let info = put(&store, "https://example.com/a", &bytes).await;
    let kept = put(&store, "https://example.net/b", b"another host").await;
    let body = store.open_object(&info.id).await.expect("index").expect("stored");
    let mut changes = store.changes();
    changes.mark_unchanged();
    store.pin(&info.id, Pin::Pinned).await.expect("pinned");
    assert!(store.purge(Purge::Object(info.id)).await.expect("purged") >= 500_000);
    assert!(changes.has_changed().expect("the store is open"));
    assert_eq!(store.object(&info.id).expect("index"), None);
    assert!(store.open_object(&info.id).await.expect("index").is_none());
    assert_eq!(read(&body).await, bytes);
    assert_eq!(store.usage().objects, 1);
    assert!(stored(&store, &kept.id).await.is_some());
}

#[tokio::test]
async fn a_purged_url_takes_its_object_only_when_no_other_url_stands_for_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let info = put(&store, "https://example.com/a", b"body").await;
    put(&store, "https://example.org/b", b"body").await;
    store.purge(Purge::Target(target("https://example.com/a"))).await.expect("purged");
    assert!(store.object(&info.id).expect("index").is_some());
    store.purge(Purge::Host("example.org".to_owned())).await.expect("purged");
    assert_eq!(store.object(&info.id).expect("index"), None);
    assert_eq!(store.usage().objects, 0);
}

#[tokio::test]
async fn a_slice_proves_its_groups_to_somebody_who_knows_only_the_id() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    for length in LENGTHS.into_iter().filter(|length| *length > 0) {
        let bytes = sample(9, length);
        let info = put(&store, &format!("https://example.com/{length}"), &bytes).await;
        let body = store.open_object(&info.id).await.expect("index").expect("stored");
        let groups = groups_of(length);
        let span = GroupSpan::clamped(groups / 3, (groups / 3 + 64).min(groups));
        let slice = body.encode(span).await.expect("encoded");
        let run = verify::decode(info.id, length, span, &slice).expect("proven");
        let range = span.bytes(length);
        assert_eq!(&run.bytes()[..], &bytes[usize_of(range.start())..usize_of(range.end())]);
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let info = put(&store, "https://example.com/a", &sample(1, 100_000)).await;
    let body = store.open_object(&info.id).await.expect("index").expect("stored");
    for (start, end) in [(0, 100_001), (100_001, 100_002), (0, 2 << 20), (u64::MAX - 1, u64::MAX)] {
        let range = ByteRange::new(start, end).expect("forwards");
        assert!(matches!(body.read(range).await, Err(ReadError::Missing)), "{range:?}");
    }
    for (start, end) in [(0, 8), (7, 7), (0, u64::MAX), (9, 10)] {
        let span = GroupSpan::clamped(start, end);
        assert!(matches!(body.encode(span).await, Err(ReadError::Missing)), "{span:?}");
    }
    assert!(body.read(ByteRange::whole(0)).await.expect("nothing is there").is_empty());
}

#[tokio::test]
async fn one_process_a_store() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    assert!(matches!(Store::open(config(dir.path()), NOW), Err(OpenError::Busy(_))));
    store.close().await;
    drop(store);
    open(dir.path());
}

#[tokio::test]
async fn a_head_that_no_record_holds_is_refused_and_any_other_comes_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let value = |len| http::HeaderValue::from_str(&"v".repeat(len)).expect("visible");
    let mut large = draft("https://example.com/large", Some(4));
    large.head.headers.append("x-large", value(47 * 1024));
    // As many representations of one object as there may be, each with a head of the largest size.
    for number in 0..70 {
        let mut draft = large.clone();
        draft.key = key(&format!("https://example.com/{number}"));
        let writer = store.create(draft).await.expect("it fits");
        let run = from_origin(b"body", GroupSpan::clamped(0, 1));
        writer.write(run, kith_store::Visibility::Now).await.expect("written");
        writer.finish(finish(4)).await.expect("stored");
    }
    let all = store.representations_of(&ObjectId::of(b"body")).expect("index");
    assert_eq!((all.len(), &all[63].head), (64, &large.head));
    let mut too_large = large.clone();
    too_large.head.headers.append("x-more", value(2 * 1024));
    assert!(matches!(store.create(too_large).await, Err(kith_store::CreateError::HeadTooLarge)));
    let mut too_many = draft("https://example.com/many", Some(4));
    for _ in 0..260 {
        too_many.head.headers.append("x", value(1));
    }
    assert!(matches!(store.create(too_many).await, Err(kith_store::CreateError::HeadTooLarge)));
}

#[tokio::test]
async fn a_place_in_a_file_is_given_out_only_for_bytes_that_were_found_right() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(9, 40 * GROUP_BYTES + 5);
    let length = bytes.len() as u64;
    let info = put(&store, "https://example.com/a", &bytes).await;
    let body = store.open_object(&info.id).await.expect("index").expect("stored");
    let range = |start, end| ByteRange::new(start, end).expect("forwards");
    let first = range(0, 4 * GROUP_BYTES);
    assert!(body.extent(first).is_none(), "nothing was checked yet");
    body.read(first).await.expect("readable");
    let extent = body.extent(range(1, 4 * GROUP_BYTES)).expect("checked, and in the page cache");
    assert_eq!(extent.range(), range(1, 4 * GROUP_BYTES));
    assert!(body.extent(range(0, 4 * GROUP_BYTES + 1)).is_none(), "its last group was not checked");
    read(&body).await;
    assert!(body.extent(range(0, length)).is_some());
    for outside in [range(length - 1, length + 1), range(length, length), range(0, 0)] {
        assert!(body.extent(outside).is_none(), "{outside:?}");
    }
    let small = put(&store, "https://example.com/b", &bytes[..100]).await;
    let inline = store.open_object(&small.id).await.expect("index").expect("stored");
    assert!(inline.extent(range(0, 100)).is_none(), "it has no file");
}
