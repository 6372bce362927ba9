//! An object that arrives is readable as far as it is visible, by any number of readers, whatever the order.

mod common;

use common::*;
use kith_model::ladder::{Algorithm, Digest, Rung, Teller};
use kith_model::object::ObjectId;
use kith_model::range::{ByteRange, GROUP_BYTES, GroupSet, GroupSpan};
use kith_model::verify::Run;
use kith_store::{CreateError, FinishError, Gone, ReadError, Visibility, WriteError};

const URL: &str = "https://example.com/a.iso";

fn span(start: u64, end: u64) -> GroupSpan {
    GroupSpan::clamped(start, end)
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("forwards")
}

#[tokio::test]
async fn readers_follow_groups_in_whatever_order_they_arrive() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 10 * GROUP_BYTES + 99);
    let writer = store.create(draft(URL, Some(bytes.len() as u64))).await.expect("a place");
    let readers: Vec<_> = (0..4u64)
        .map(|first| {
            let body = writer.body();
            tokio::spawn(async move {
                let mut group = first;
                let mut read = Vec::new();
                let length = body.length().expect("told");
                while group < 11 {
                    body.changed(group).await.expect("arrives");
                    let seen = span(group, group + body.visible_from(group));
                    assert!(!seen.is_empty());
                    read.extend_from_slice(&body.read(seen.bytes(length)).await.expect("visible"));
                    group = seen.end();
                }
                body.changed(11).await.expect("behind the end");
                (first, read)
            })
        })
        .collect();
    for (start, end) in [(9, 11), (0, 1), (4, 6), (1, 3), (6, 9), (2, 5)] {
        writer.write(from_origin(&bytes, span(start, end)), Visibility::Now).await.expect("written");
    }
    for reader in readers {
        let (first, read) = reader.await.expect("no panic");
        assert_eq!(read, &bytes[usize_of(first * GROUP_BYTES)..]);
    }
    assert_eq!(
        writer.finish(finish(bytes.len() as u64)).await.expect("stored").info.id,
        ObjectId::of(&bytes)
    );
}

#[tokio::test]
async fn a_body_goes_on_over_the_end_of_its_arrival() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    for length in [100, GROUP_BYTES, 40 * GROUP_BYTES + 1] {
        let bytes = sample(1, length);
        let writer = store.create(draft(URL, None)).await.expect("a place");
        let body = writer.body();
        assert_eq!((body.length(), body.id()), (None, None));
        writer.write(from_origin(&bytes, GroupSpan::whole(length)), Visibility::Now).await.expect("written");
        let finished = writer.finish(finish(length)).await.expect("stored");
        drop(writer);
        assert_eq!((body.length(), body.id()), (Some(length), Some(finished.info.id)));
        assert_eq!(read(&body).await, bytes);
        assert!(body.encode(span(0, 1)).await.is_ok());
        assert!(store.unfinished(&key(URL)).is_none());
        assert_eq!(store.usage().partial_bytes, 0);
    }
}

#[tokio::test]
async fn the_second_arrival_of_a_stored_object_can_be_read_and_encoded() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 40 * GROUP_BYTES + 1);
    put(&store, "https://example.org/other", &bytes).await;
    let writer = store.create(draft(URL, None)).await.expect("a place");
    let body = writer.body();
    writer.write(from_origin(&bytes, span(0, 41)), Visibility::Now).await.expect("written");
    writer.finish(finish(bytes.len() as u64)).await.expect("stored");
    assert_eq!(read(&body).await, bytes);
    assert!(body.encode(span(3, 41)).await.is_ok());
}

#[tokio::test]
async fn an_object_of_unknown_length_ends_where_its_short_group_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 2 * GROUP_BYTES + 5);
    let writer = store.create(draft(URL, None)).await.expect("a place");
    writer.write(from_origin(&bytes, span(0, 3)), Visibility::Now).await.expect("written");
    for length in [0, 2 * GROUP_BYTES, 2 * GROUP_BYTES + 4, 2 * GROUP_BYTES + 6, 3 * GROUP_BYTES] {
        let outcome = writer.finish(finish(length)).await;
        assert!(matches!(outcome, Err(FinishError::Incomplete)), "{length}");
    }
    let more = sample(2, 4 * GROUP_BYTES);
    assert!(matches!(
        writer.write(from_origin(&more, span(3, 4)), Visibility::Now).await,
        Err(WriteError::Misfit)
    ));
    writer.finish(finish(2 * GROUP_BYTES + 5)).await.expect("stored");
}

#[tokio::test]
async fn groups_that_do_not_fit_the_length_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let writer = store.create(draft(URL, Some(2 * GROUP_BYTES + 5))).await.expect("a place");
    for length in [2 * GROUP_BYTES + 4, 2 * GROUP_BYTES + 6, 3 * GROUP_BYTES, 4 * GROUP_BYTES] {
        let bytes = sample(1, length);
        let run = from_origin(&bytes, GroupSpan::whole(length));
        assert!(matches!(writer.write(run, Visibility::Now).await, Err(WriteError::Misfit)), "{length}");
    }
    assert!(writer.held().is_empty());
}

#[tokio::test]
async fn held_back_groups_are_seen_only_after_their_release() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 8 * GROUP_BYTES);
    let writer = store.create(draft(URL, Some(8 * GROUP_BYTES))).await.expect("a place");
    let body = writer.body();
    writer.write(from_neighbour(&bytes, span(4, 8)), Visibility::Held).await.expect("written");
    writer.write(from_origin(&bytes, span(0, 2)), Visibility::Now).await.expect("written");
    assert_eq!((body.visible_from(0), body.visible_from(4)), (2, 0));
    let early = body.read(range(4 * GROUP_BYTES, 4 * GROUP_BYTES + 1)).await;
    assert!(matches!(early, Err(ReadError::Missing)));
    writer.release().await;
    assert_eq!(body.visible_from(4), 4);
    body.read(range(4 * GROUP_BYTES, 4 * GROUP_BYTES + 1)).await.expect("released");
}

#[tokio::test]
async fn a_retraction_takes_back_what_the_origin_did_not_send_and_spares_who_did_not_read_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (right, wrong) = (sample(1, 8 * GROUP_BYTES), sample(2, 8 * GROUP_BYTES));
    let writer = store.create(draft(URL, Some(8 * GROUP_BYTES))).await.expect("a place");
    let (deceived, lucky) = (writer.body(), writer.body());
    writer.write(from_origin(&right, span(0, 3)), Visibility::Now).await.expect("written");
    writer.write(from_neighbour(&wrong, span(3, 8)), Visibility::Now).await.expect("written");
    let outcome = writer.finish(finish(8 * GROUP_BYTES)).await.map(|finished| finished.info.id);
    assert!(outcome.is_ok_and(|id| id != ObjectId::of(&right)), "nothing was told that it could fail");

    let url = "https://example.com/b";
    let writer = store.create(draft(url, Some(8 * GROUP_BYTES))).await.expect("a place");
    let (deceived_too, lucky_too) = (writer.body(), writer.body());
    drop((deceived, lucky));
    writer.write(from_origin(&right, span(0, 3)), Visibility::Now).await.expect("written");
    writer.write(from_neighbour(&wrong, span(3, 8)), Visibility::Now).await.expect("written");
    deceived_too.read(range(0, 4 * GROUP_BYTES)).await.expect("visible");
    lucky_too.read(range(0, 2 * GROUP_BYTES)).await.expect("visible");
    let outcome =
        writer.finish(kith_store::Finish { expected: Some(ObjectId::of(&right)), ..finish(8 * GROUP_BYTES) });
    assert!(matches!(outcome.await, Err(FinishError::WrongRoot { .. })));
    assert_eq!(writer.retract().await, GroupSet::of(span(0, 3)));
    assert_eq!(deceived_too.changed(0).await, Err(Gone));
    assert!(matches!(deceived_too.read(range(0, 1)).await, Err(ReadError::Missing)));
    assert_eq!(lucky_too.changed(0).await, Ok(()));
    assert_eq!((lucky_too.visible_from(0), lucky_too.visible_from(3)), (3, 0));
    writer.write(from_origin(&right, span(3, 8)), Visibility::Now).await.expect("written");
    let info = writer.finish(finish(8 * GROUP_BYTES)).await.expect("stored").info;
    assert_eq!(info.id, ObjectId::of(&right));
    assert_eq!(read(&lucky_too).await, right);
    assert_eq!(stored(&store, &info.id).await, Some(right.clone()));
    let sha = ring::digest::digest(&ring::digest::SHA256, &right);
    assert_eq!(info.ladder.digest(Algorithm::Sha256).expect("computed").bytes(), sha.as_ref());
    assert_eq!(deceived_too.changed(0).await, Err(Gone));
}

#[tokio::test]
async fn the_origins_groups_take_the_place_of_held_back_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (right, wrong) = (sample(1, 4 * GROUP_BYTES), sample(2, 4 * GROUP_BYTES));
    let writer = store.create(draft(URL, Some(4 * GROUP_BYTES))).await.expect("a place");
    writer.write(from_neighbour(&wrong, span(0, 4)), Visibility::Held).await.expect("written");
    writer.write(from_origin(&right, span(0, 4)), Visibility::Now).await.expect("written");
    assert_eq!(writer.finish(finish(4 * GROUP_BYTES)).await.expect("stored").info.id, ObjectId::of(&right));
    assert_eq!(store.usage().partial_bytes, 0);
}

#[tokio::test]
async fn what_was_visible_first_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    for length in [100, 4 * GROUP_BYTES] {
        let (first, second) = (sample(1, length), sample(2, length));
        let writer = store.create(draft(URL, Some(length))).await.expect("a place");
        for bytes in [&first, &second] {
            let run = from_origin(bytes, GroupSpan::whole(length));
            writer.write(run, Visibility::Now).await.expect("written");
        }
        assert_eq!(writer.finish(finish(length)).await.expect("stored").info.id, ObjectId::of(&first));
    }
}

#[tokio::test]
async fn who_reads_right_behind_gets_what_was_just_written_without_the_disk() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 32 * GROUP_BYTES);
    let writer = store.create(draft(URL, Some(32 * GROUP_BYTES))).await.expect("a place");
    let body = writer.body();
    let runs = [from_origin(&bytes, span(0, 16)), from_origin(&bytes, span(16, 32))];
    for run in &runs {
        writer.write(run.clone(), Visibility::Now).await.expect("written");
    }
    let whole = range(0, 32 * GROUP_BYTES);
    let front = body.read_front(whole, 16 * GROUP_BYTES).await.expect("visible");
    assert_eq!((front.len(), front.as_ptr()), (runs[0].bytes().len(), runs[0].bytes().as_ptr()));
    let copied = body.read_front(whole, GROUP_BYTES).await.expect("visible");
    assert!(copied == bytes, "who may hold little is given a copy");
    writer.finish(finish(32 * GROUP_BYTES)).await.expect("stored");
    assert!(body.read_front(whole, u64::MAX).await.expect("stored") == bytes);
}

#[tokio::test]
async fn a_wrong_digest_is_refused_and_the_writer_stays_usable() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    for length in [100, 20 * GROUP_BYTES] {
        for algorithm in [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
            let bytes = sample(1, length);
            let mut draft = draft(URL, Some(length));
            let digest = Digest::new(algorithm, &vec![1; algorithm.digest_len()]).expect("fits");
            draft.ladder.add(Rung { digest, teller: Teller::Url, said_at: NOW }).expect("the first");
            let writer = store.create(draft).await.expect("a place");
            let run = from_origin(&bytes, GroupSpan::whole(length));
            writer.write(run, Visibility::Now).await.expect("written");
            let outcome = writer.finish(finish(length)).await;
            let Err(FinishError::DigestMismatch { algorithm: found }) = outcome else {
                panic!("{outcome:?}");
            };
            assert_eq!(found, algorithm);
            assert_eq!(store.object(&ObjectId::of(&bytes)).expect("index"), None);
            assert!(!writer.held().is_empty());
        }
    }
}

#[tokio::test]
async fn readers_of_a_discarded_object_are_told_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let writer = store.create(draft(URL, Some(8 * GROUP_BYTES))).await.expect("a place");
    let body = writer.body();
    let waiting = tokio::spawn({
        let body = body.clone();
        async move { body.changed(5).await }
    });
    writer.discard().await;
    assert_eq!(waiting.await.expect("no panic"), Err(Gone));
    assert!(matches!(body.read(range(0, 1)).await, Err(ReadError::Missing)));
    assert_eq!(std::fs::read_dir(dir.path().join("parts")).expect("a folder").count(), 0);
    assert_eq!(store.usage().partial_bytes, 0);
}

#[tokio::test]
async fn a_dropped_writer_leaves_a_part_that_goes_on_later() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 8 * GROUP_BYTES + 3);
    let draft = draft(URL, Some(bytes.len() as u64));
    let writer = store.create(draft.clone()).await.expect("a place");
    let body = writer.body();
    writer.write(from_origin(&bytes, span(0, 3)), Visibility::Now).await.expect("written");
    writer.write(from_neighbour(&bytes, span(5, 7)), Visibility::Now).await.expect("written");
    assert!(store.unfinished(&key(URL)).is_none(), "somebody writes it");
    drop(writer);
    assert_eq!(body.changed(7).await, Err(Gone));
    let part = store.unfinished(&key(URL)).expect("kept");
    assert_eq!((part.draft, part.held), (draft, GroupSet::of(span(0, 3))));
    assert_eq!(store.usage().partial_bytes, 3 * GROUP_BYTES);
    let writer = store.resume(&key(URL)).await.expect("the disk works").expect("kept");
    assert_eq!(writer.held(), GroupSet::of(span(0, 3)));
    writer.write(from_origin(&bytes, span(3, 9)), Visibility::Now).await.expect("written");
    let info = writer.finish(finish(bytes.len() as u64)).await.expect("stored").info;
    assert_eq!(stored(&store, &info.id).await, Some(bytes));
}

#[tokio::test]
async fn a_part_without_a_validator_or_a_length_is_not_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 8 * GROUP_BYTES);
    let without_validator = kith_store::Draft { validator: None, ..draft(URL, Some(8 * GROUP_BYTES)) };
    for draft in [without_validator, draft(URL, None)] {
        let writer = store.create(draft).await.expect("a place");
        writer.write(from_origin(&bytes, span(0, 3)), Visibility::Now).await.expect("written");
        drop(writer);
        assert!(store.unfinished(&key(URL)).is_none());
    }
    store.close().await;
    assert_eq!(std::fs::read_dir(dir.path().join("parts")).expect("a folder").count(), 0);
}

#[tokio::test]
async fn a_second_writer_of_a_key_does_not_disturb_the_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (old, new) = (sample(1, 4 * GROUP_BYTES), sample(2, 4 * GROUP_BYTES));
    let first = store.create(draft(URL, Some(4 * GROUP_BYTES))).await.expect("a place");
    first.write(from_origin(&old, span(0, 2)), Visibility::Now).await.expect("written");
    let second = store.create(draft(URL, Some(4 * GROUP_BYTES))).await.expect("a place");
    second.write(from_origin(&new, span(0, 4)), Visibility::Now).await.expect("written");
    first.write(from_origin(&old, span(2, 4)), Visibility::Now).await.expect("written");
    let old_id = first.finish(finish(4 * GROUP_BYTES)).await.expect("stored").info.id;
    let new_id = second.finish(finish(4 * GROUP_BYTES)).await.expect("stored").info.id;
    assert_eq!(stored(&store, &old_id).await, Some(old));
    assert_eq!(stored(&store, &new_id).await, Some(new));
    assert_eq!(store.representations(&target(URL)).expect("index")[0].object, new_id);
}

#[tokio::test]
async fn an_object_beyond_the_bound_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = kith_store::Config { object_bytes_max: 4 * GROUP_BYTES, ..config(dir.path()) };
    let store = kith_store::Store::open(config, NOW).expect("opens");
    let told = store.create(draft(URL, Some(4 * GROUP_BYTES + 1))).await;
    assert!(matches!(told, Err(CreateError::TooLarge { bytes_max }) if bytes_max == 4 * GROUP_BYTES));
    let writer = store.create(draft(URL, None)).await.expect("a place");
    let bytes = sample(1, 5 * GROUP_BYTES);
    writer.write(from_origin(&bytes, span(0, 4)), Visibility::Now).await.expect("written");
    let untold = writer.write(from_origin(&bytes, span(4, 5)), Visibility::Now).await;
    assert!(matches!(untold, Err(WriteError::TooLarge { .. })));
}

#[tokio::test]
async fn writers_and_readers_work_side_by_side() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let jobs: Vec<_> = (0..12u64)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let bytes = sample(number, 60_000 * number + 1);
                let info = put(&store, &format!("https://example.com/{number}"), &bytes).await;
                assert_eq!(stored(&store, &info.id).await, Some(bytes));
            })
        })
        .collect();
    for job in jobs {
        job.await.expect("no panic");
    }
    assert_eq!(store.usage().objects, 12);
}

#[tokio::test]
async fn a_finish_goes_on_when_nobody_waits_for_it_and_the_writer_is_gone() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 200 * GROUP_BYTES);
    let writer = store.create(draft(URL, Some(bytes.len() as u64))).await.expect("a place");
    writer.write(from_origin(&bytes, span(0, 200)), Visibility::Now).await.expect("written");
    let body = writer.body();
    let mut changes = store.changes();
    {
        let finishing = writer.finish(finish(bytes.len() as u64));
        tokio::pin!(finishing);
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::future::Future::poll(finishing.as_mut(), context).is_ready())
        });
        assert!(!polled.await, "the disk takes a moment");
    }
    drop(writer);
    changes.changed().await.expect("the store is open");
    assert_eq!(stored(&store, &ObjectId::of(&bytes)).await, Some(bytes.clone()));
    store.close().await;
    assert_eq!(read(&body).await, bytes);
    assert_eq!(store.usage().partial_bytes, 0);
    assert!(store.unfinished(&key(URL)).is_none());
    assert_eq!(std::fs::read_dir(dir.path().join("parts")).expect("a folder").count(), 0);
}

#[tokio::test]
async fn a_check_says_what_finish_would_say_and_stores_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 20 * GROUP_BYTES);
    let writer = store.create(draft(URL, Some(bytes.len() as u64))).await.expect("a place");
    let whole = finish(bytes.len() as u64);
    assert!(matches!(writer.check(whole).await, Err(FinishError::Incomplete)));
    writer.write(from_origin(&bytes, span(0, 20)), Visibility::Now).await.expect("written");
    let other = kith_store::Finish { expected: Some(ObjectId::of(b"other")), ..whole };
    assert!(
        matches!(writer.check(other).await, Err(FinishError::WrongRoot { found }) if found == ObjectId::of(&bytes))
    );
    writer.check(whole).await.expect("right");
    assert_eq!(store.usage().objects, 0);
    writer.finish(whole).await.expect("stored");
}

fn from_mirror(bytes: &[u8], span: GroupSpan) -> Run {
    from_origin(bytes, span).disowned()
}

#[tokio::test]
async fn what_nobody_vouches_for_is_not_readable_before_the_whole_is_approved() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let length = 8 * GROUP_BYTES;
    let bytes = sample(1, length);
    let writer = store.create(draft(URL, Some(length))).await.expect("a place");
    let body = writer.body();
    let write = async |run: Run, visibility| writer.write(run, visibility).await.expect("written");
    write(from_origin(&bytes, GroupSpan::clamped(0, 2)), Visibility::Now).await;
    write(from_neighbour(&bytes, GroupSpan::clamped(2, 4)), Visibility::Held).await;
    write(from_mirror(&bytes, GroupSpan::clamped(4, 8)), Visibility::Now).await;
    assert_eq!((body.visible_from(0), body.visible_from(4)), (2, 0));
    writer.release().await;
    assert_eq!((body.visible_from(0), body.visible_from(4)), (4, 0));
    writer.approve().await;
    assert_eq!(body.visible_from(0), 8);
    assert_eq!(writer.finish(finish(length)).await.expect("stored").info.id, ObjectId::of(&bytes));
}

#[tokio::test]
async fn a_mirrors_lie_is_dropped_alone_and_hashed_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let length = 8 * GROUP_BYTES;
    let bytes = sample(1, length);
    let writer = store.create(draft(URL, Some(length))).await.expect("a place");
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let mut news = kith_model::ladder::Ladder::default();
    for (algorithm, digest) in [
        (Algorithm::Sha256, Digest::new(Algorithm::Sha256, digest.as_ref())),
        (Algorithm::Sha1, {
            let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &bytes);
            Digest::new(Algorithm::Sha1, digest.as_ref())
        }),
    ] {
        let digest = digest.unwrap_or_else(|| panic!("{algorithm:?}"));
        news.add(Rung { digest, teller: Teller::Url, said_at: NOW }).expect("one of each");
    }
    writer.write(from_origin(&bytes, GroupSpan::clamped(0, 2)), Visibility::Now).await.expect("written");
    // Told late: what is hashed already is hashed anew for it.
    writer.learn(news.clone()).await.expect("no contradiction");
    writer.write(from_neighbour(&bytes, GroupSpan::clamped(2, 4)), Visibility::Now).await.expect("written");
    writer
        .write(from_mirror(&sample(2, length), GroupSpan::clamped(4, 8)), Visibility::Held)
        .await
        .expect("written");
    let outcome = writer.finish(finish(length)).await;
    assert!(matches!(outcome, Err(FinishError::DigestMismatch { .. })), "{outcome:?}");

    let left = writer.drop_doubtful().await;
    assert_eq!(left.spans(), [GroupSpan::clamped(0, 4)]);
    assert_eq!(writer.body().visible_from(0), 4);
    writer.write(from_origin(&bytes, GroupSpan::clamped(4, 8)), Visibility::Now).await.expect("written");
    let info = writer.finish(finish(length)).await.expect("stored").info;
    assert_eq!(info.id, ObjectId::of(&bytes));
    assert_eq!(info.ladder.digest(Algorithm::Sha1), news.digest(Algorithm::Sha1));
}

#[tokio::test]
async fn a_late_digest_that_contradicts_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let mut draft = draft(URL, Some(8 * GROUP_BYTES));
    let rung = |fill| Rung {
        digest: Digest::new(Algorithm::Sha256, &[fill; 32]).expect("32 bytes"),
        teller: Teller::Url,
        said_at: NOW,
    };
    draft.ladder.add(rung(1)).expect("the first");
    let writer = store.create(draft.clone()).await.expect("a place");
    let mut news = kith_model::ladder::Ladder::default();
    news.add(rung(2)).expect("the first");
    assert!(writer.learn(news).await.is_err());
    assert_eq!(writer.told(), draft.ladder);
}

/// A head that waits for the disk to note the part waits three operations of the file system longer.
#[tokio::test]
async fn a_part_is_written_down_behind_its_first_groups_and_before_the_writer_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 4 * GROUP_BYTES);
    let is_noted = || {
        let names = std::fs::read_dir(dir.path().join("parts")).expect("a folder");
        names.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "part"))
    };
    let writer = store.create(draft(URL, Some(bytes.len() as u64))).await.expect("a place");
    assert!(!is_noted(), "the place was waited for longer than needed");
    writer.write(from_origin(&bytes, span(0, 1)), Visibility::Now).await.expect("written");
    assert!(is_noted());
}
