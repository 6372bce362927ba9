//! Whatever a crash leaves, and whatever a disk makes of it: no panic, no wrong byte, and what was reported stored is
//! there as long as its own files are whole.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use kith_model::object::ObjectId;
use kith_model::range::{GROUP_BYTES, GroupSet, GroupSpan};
use kith_model::time::UnixMillis;
use kith_store::{OpenError, Pin, ReadError, Store, Visibility};

const URL: &str = "https://example.com/part.iso";

fn files_with(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A store with an object of each kind, closed.
async fn filled(dir: &Path) -> Vec<(ObjectId, Vec<u8>)> {
    let store = open(dir);
    let mut all = Vec::new();
    for length in [0, 3000, GROUP_BYTES, 7 * GROUP_BYTES + 5, 100 * GROUP_BYTES] {
        let bytes = sample(length + 1, length);
        let info = put(&store, &format!("https://example.com/{length}"), &bytes).await;
        all.push((info.id, bytes));
    }
    store.pin(&all[1].0, Pin::Pinned).await.expect("pinned");
    store.close().await;
    all
}

async fn assert_holds(store: &Store, all: &[(ObjectId, Vec<u8>)]) {
    for (id, bytes) in all {
        assert_eq!(stored(store, id).await.as_ref(), Some(bytes));
        let url = format!("https://example.com/{}", bytes.len());
        let found = store.representations(&target(&url)).expect("index");
        assert_eq!(found.iter().map(|found| found.object).collect::<Vec<_>>(), [*id]);
        let object = store.object(id).expect("index").expect("stored");
        let digest = object.ladder.rungs()[0].digest.clone();
        assert_eq!(store.object_by_digest(&digest).expect("index").map(|info| info.id), Some(*id));
    }
    assert_eq!(store.usage().objects, all.len() as u64);
    assert_eq!(store.usage().bytes, all.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
}

#[tokio::test]
async fn a_missing_index_is_made_again_from_the_sidecars() {
    let dir = tempfile::tempdir().expect("a folder");
    let all = filled(dir.path()).await;
    fs::remove_file(dir.path().join("index.redb")).expect("deleted");
    let store = open(dir.path());
    assert_holds(&store, &all).await;
    assert!(store.object(&all[1].0).expect("index").expect("stored").pinned);
}

#[tokio::test]
async fn an_index_of_nonsense_is_put_aside_and_made_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let all = filled(dir.path()).await;
    let index = dir.path().join("index.redb");
    let whole = fs::read(&index).expect("readable");
    for nonsense in [vec![], vec![0; 100_000], sample(1, 100_000), whole[..whole.len() / 2].to_vec()] {
        fs::write(&index, nonsense).expect("written");
        let store = open(dir.path());
        assert_holds(&store, &all).await;
        store.close().await;
    }
    let aside = fs::read_dir(dir.path())
        .expect("a folder")
        .filter(|entry| entry.as_ref().expect("an entry").file_name().to_string_lossy().contains("damaged"));
    assert!(aside.count() <= 1);
}

#[tokio::test]
async fn no_flipped_bit_in_the_index_makes_a_panic_or_a_wrong_answer() {
    let dir = tempfile::tempdir().expect("a folder");
    let all = filled(dir.path()).await;
    let index = dir.path().join("index.redb");
    let whole = fs::read(&index).expect("readable");
    let lock = fs::read(dir.path().join("lock")).expect("readable");
    for round in 0..200u64 {
        let mut damaged = whole.clone();
        let place = u64::from_le_bytes(sample(round + 1, 8).try_into().expect("eight"));
        // Half of the flips go into the pages that are in use: the file is mostly air.
        let within = if round % 2 == 0 { whole.len() as u64 } else { 8 * 4096 };
        let at = usize_of(place % within);
        damaged[at] ^= 1 << (place % 8);
        fs::write(&index, damaged).expect("written");
        fs::write(dir.path().join("lock"), &lock).expect("written");
        let store = open(dir.path());
        assert_holds(&store, &all).await;
        store.close().await;
    }
}

#[tokio::test]
async fn what_was_reported_stored_survives_a_crash_right_after() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let mut all = Vec::new();
    for length in [10, 9 * GROUP_BYTES] {
        let bytes = sample(length, length);
        let info = put(&store, &format!("https://example.com/{length}"), &bytes).await;
        all.push((info.id, bytes));
        let crashed = copied(dir.path());
        assert_holds(&open(crashed.path()), &all).await;
    }
}

#[tokio::test]
async fn an_index_that_is_behind_the_files_catches_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let gone = put(&store, "https://example.com/gone", &sample(9, 3 * GROUP_BYTES)).await;
    store.close().await;
    drop(store);
    let before = fs::read(dir.path().join("index.redb")).expect("readable");
    let store = open(dir.path());
    store.purge(kith_store::Purge::Object(gone.id)).await.expect("purged");
    let bytes = sample(1, 5 * GROUP_BYTES);
    let info = put(&store, &format!("https://example.com/{}", bytes.len()), &bytes).await;
    store.close().await;
    drop(store);
    fs::write(dir.path().join("index.redb"), before).expect("written");
    assert_holds(&open(dir.path()), &[(info.id, bytes)]).await;
}

#[tokio::test]
async fn a_part_from_before_a_crash_goes_on_with_the_groups_that_are_right() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 20 * GROUP_BYTES + 9);
    let writer = store.create(draft(URL, Some(bytes.len() as u64))).await.expect("a place");
    writer.write(from_origin(&bytes, GroupSpan::clamped(0, 8)), Visibility::Now).await.expect("written");
    writer.write(from_neighbour(&bytes, GroupSpan::clamped(10, 14)), Visibility::Now).await.expect("written");
    writer.write(from_origin(&bytes, GroupSpan::clamped(18, 21)), Visibility::Now).await.expect("written");
    let crashed = copied(dir.path());
    // The disk lost a page of one group.
    let data = &files_with(&crashed.path().join("parts"), "data")[0];
    let mut torn = fs::read(data).expect("readable");
    torn[usize_of(3 * GROUP_BYTES) + 4096..][..4096].fill(0);
    fs::write(data, torn).expect("written");

    let store = open(crashed.path());
    assert!(store.usage().partial_bytes > 0);
    let part = store.unfinished(&key(URL)).expect("kept");
    assert_eq!(part.draft, draft(URL, Some(bytes.len() as u64)));
    let writer = store.resume(&key(URL)).await.expect("the disk works").expect("kept");
    let mut right = GroupSet::of(GroupSpan::clamped(0, 8));
    right.remove(GroupSpan::clamped(3, 4));
    right.insert(GroupSpan::clamped(18, 21));
    assert_eq!(writer.held(), right);
    for missing in right.missing_in(GroupSpan::clamped(0, 21)) {
        writer.write(from_origin(&bytes, missing), Visibility::Now).await.expect("written");
    }
    let info = writer.finish(finish(bytes.len() as u64)).await.expect("stored").info;
    assert_eq!(stored(&store, &info.id).await, Some(bytes));
    assert_eq!(store.usage().partial_bytes, 0);
}

#[tokio::test]
async fn an_old_part_is_deleted_at_the_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 20 * GROUP_BYTES);
    let writer = store.create(draft(URL, Some(bytes.len() as u64))).await.expect("a place");
    writer.write(from_origin(&bytes, GroupSpan::clamped(0, 8)), Visibility::Now).await.expect("written");
    drop(writer);
    store.close().await;
    drop(store);
    let day = 24 * 3_600_000;
    let modified =
        fs::metadata(&files_with(dir.path(), "leaves")[0]).expect("there").modified().expect("told");
    let modified = modified.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let modified = u64::try_from(modified).expect("this millennium");
    let store = Store::open(config(dir.path()), UnixMillis(modified + day - 10_000)).expect("opens");
    assert!(store.unfinished(&key(URL)).is_some());
    drop(store);
    let store = Store::open(config(dir.path()), UnixMillis(modified + day + 10_000)).expect("opens");
    assert!(store.unfinished(&key(URL)).is_none());
    assert_eq!(fs::read_dir(dir.path().join("parts")).expect("a folder").count(), 0);
    assert_eq!(store.usage().partial_bytes, 0);
}

#[tokio::test]
async fn a_rotten_group_is_never_served_and_its_object_leaves_the_shelf() {
    let dir = tempfile::tempdir().expect("a folder");
    for extension in ["data", "outboard"] {
        let store = open(dir.path());
        let bytes = sample(1, 30 * GROUP_BYTES);
        let info = put(&store, "https://example.com/a", &bytes).await;
        store.close().await;
        drop(store);
        let path = &files_with(dir.path(), extension)[0];
        let mut rotten = fs::read(path).expect("readable");
        // In the outboard: the pair of the first two groups.
        rotten[5] ^= 1;
        fs::write(path, rotten).expect("written");
        let store = open(dir.path());
        let mut changes = store.changes();
        let body = store.open_object(&info.id).await.expect("index").expect("stored");
        let whole = body.read(GroupSpan::whole(info.length).bytes(info.length)).await;
        let outcome = whole.map(|bytes| bytes.len());
        assert!(matches!(outcome, Err(ReadError::Rotten { group: 0 })), "{extension}: {outcome:?}");
        changes.changed().await.expect("the store is open");
        assert_eq!(store.object(&info.id).expect("index"), None);
        assert!(files_with(dir.path(), "sidecar").is_empty());
        // It can be fetched again at once.
        let again = put(&store, "https://example.com/a", &bytes).await;
        assert_eq!(stored(&store, &again.id).await, Some(bytes));
        store.close().await;
        drop(store);
        fs::remove_dir_all(dir.path().join("objects")).expect("deleted");
    }
}

#[tokio::test]
async fn a_rotten_group_is_never_proven_to_a_neighbour() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 30 * GROUP_BYTES);
    let info = put(&store, "https://example.com/a", &bytes).await;
    let path = &files_with(dir.path(), "data")[0];
    let mut rotten = fs::read(path).expect("readable");
    rotten[usize_of(17 * GROUP_BYTES)] ^= 1;
    fs::write(path, rotten).expect("written");
    let body = store.open_object(&info.id).await.expect("index").expect("stored");
    body.encode(GroupSpan::clamped(0, 16)).await.expect("whole");
    let outcome = body.encode(GroupSpan::clamped(16, 30)).await.map(|bytes| bytes.len());
    assert!(matches!(outcome, Err(ReadError::Rotten { group: 16 })), "{outcome:?}");
}

#[tokio::test]
async fn damage_to_any_one_file_costs_at_most_its_own_object() {
    let dir = tempfile::tempdir().expect("a folder");
    let all = filled(dir.path()).await;
    for extension in ["sidecar", "data", "outboard"] {
        for path in files_with(dir.path(), extension) {
            for damage in ["missing", "empty", "cut", "longer", "flipped"] {
                let copy = copied(dir.path());
                let path = copy.path().join(path.strip_prefix(dir.path()).expect("inside"));
                let mut bytes = fs::read(&path).expect("readable");
                match damage {
                    "empty" => bytes.clear(),
                    "cut" => bytes.truncate(bytes.len() / 2),
                    "longer" => bytes.push(0),
                    _ => bytes.iter_mut().take(1).for_each(|byte| *byte ^= 0x80),
                }
                match damage {
                    "missing" => fs::remove_file(&path).expect("deleted"),
                    _ => fs::write(&path, bytes).expect("written"),
                }
                for with_index in [true, false] {
                    if !with_index {
                        fs::remove_file(copy.path().join("index.redb")).expect("deleted");
                    }
                    let store = open(copy.path());
                    let mut lost = 0;
                    for (id, bytes) in &all {
                        lost += u32::from(!gives_right_bytes_or_none(&store, id, bytes).await);
                    }
                    assert!(lost <= 1, "{} {damage}: {lost} objects were lost", path.display());
                    store.close().await;
                }
            }
        }
    }
}

/// Whether an object is given; whatever is given has to be right.
async fn gives_right_bytes_or_none(store: &Store, id: &ObjectId, bytes: &[u8]) -> bool {
    let Some(body) = store.open_object(id).await.expect("the index answers") else { return false };
    let mut given = true;
    for start in (0..bytes.len()).step_by(100_000) {
        let end = bytes.len().min(start + 100_000);
        let range = kith_model::range::ByteRange::new(start as u64, end as u64).expect("forwards");
        match body.read(range).await {
            Ok(read) => assert_eq!(&read[..], &bytes[start..end]),
            Err(_) => given = false,
        }
    }
    given
}

#[tokio::test]
async fn damage_to_the_files_of_a_part_costs_groups_and_never_gives_wrong_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = sample(1, 20 * GROUP_BYTES + 9);
    let writer = store.create(draft(URL, Some(bytes.len() as u64))).await.expect("a place");
    writer.write(from_origin(&bytes, GroupSpan::clamped(0, 15)), Visibility::Now).await.expect("written");
    let mut resumed = 0;
    for extension in ["data", "leaves", "part"] {
        for round in 0..20u64 {
            let crashed = copied(dir.path());
            let path = &files_with(&crashed.path().join("parts"), extension)[0];
            let mut damaged = fs::read(path).expect("readable");
            let at = usize_of(
                u64::from_le_bytes(sample(round + 1, 8).try_into().expect("eight")) % damaged.len() as u64,
            );
            if round % 4 == 0 {
                damaged.truncate(at);
            } else {
                damaged[at] ^= 1 << (round % 8);
            }
            fs::write(path, damaged).expect("written");
            let store = open(crashed.path());
            let Some(writer) = store.resume(&key(URL)).await.expect("the disk works") else {
                continue;
            };
            resumed += 1;
            let held = writer.held();
            for missing in held.missing_in(GroupSpan::whole(bytes.len() as u64)) {
                writer.write(from_origin(&bytes, missing), Visibility::Now).await.expect("written");
            }
            let info = writer.finish(finish(bytes.len() as u64)).await.expect("stored").info;
            assert_eq!(info.id, ObjectId::of(&bytes), "{extension} {round}");
        }
    }
    assert!(resumed >= 30, "only {resumed} parts went on");
}

#[tokio::test]
async fn files_of_nobody_are_swept_up_and_foreign_ones_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let all = filled(dir.path()).await;
    let orphan = ObjectId::of(b"orphan");
    let shard = dir.path().join("objects").join(&orphan.to_string()[..2]);
    fs::create_dir_all(&shard).expect("made");
    fs::write(shard.join(format!("{orphan}.data")), b"orphan").expect("written");
    fs::write(shard.join(format!("{orphan}.new")), b"orphan").expect("written");
    fs::write(shard.join("notes.txt"), b"mine").expect("written");
    fs::write(dir.path().join("parts").join("x.data"), b"orphan").expect("written");
    // A crash leaves no mark of a clean end.
    fs::write(dir.path().join("lock"), b"").expect("written");
    let store = open(dir.path());
    assert_holds(&store, &all).await;
    assert!(!shard.join(format!("{orphan}.data")).exists());
    assert!(!shard.join(format!("{orphan}.new")).exists());
    assert!(!dir.path().join("parts").join("x.data").exists());
    assert!(shard.join("notes.txt").exists());
}

#[tokio::test]
async fn what_a_newer_program_wrote_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let all = filled(dir.path()).await;
    for path in files_with(dir.path(), "sidecar") {
        let mut sidecar = fs::read(&path).expect("readable");
        let sealed = sidecar.len() - 32;
        sidecar[6] = 2;
        let seal = blake3::hash(&sidecar[..sealed]);
        sidecar[sealed..].copy_from_slice(seal.as_bytes());
        fs::write(&path, sidecar).expect("written");
    }
    fs::remove_file(dir.path().join("index.redb")).expect("deleted");
    let outcome = Store::open(config(dir.path()), NOW);
    assert!(matches!(outcome, Err(OpenError::Newer { version: 2, .. })), "{outcome:?}");
    assert_eq!(files_with(dir.path(), "sidecar").len(), all.len());
    assert_eq!(files_with(dir.path(), "data").len(), 3);
}

#[tokio::test]
async fn a_small_object_survives_the_loss_of_its_sidecar_and_has_it_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let all = filled(dir.path()).await;
    for damage in ["missing", "empty"] {
        for path in files_with(dir.path(), "sidecar") {
            let has_data = path.with_extension("data").exists();
            match damage {
                "missing" if has_data => {}
                "missing" => fs::remove_file(&path).expect("deleted"),
                _ => fs::write(&path, b"").expect("written"),
            }
        }
        // A power cut leaves no mark of a clean end.
        fs::write(dir.path().join("lock"), b"").expect("written");
        let store = open(dir.path());
        assert_holds(&store, &all).await;
        store.close().await;
        drop(store);
        fs::remove_file(dir.path().join("index.redb")).expect("deleted");
        let store = open(dir.path());
        assert_holds(&store, &all).await;
        store.close().await;
    }
}

#[tokio::test]
async fn a_confirmation_reaches_the_index_at_once_and_the_sidecar_with_the_next_change() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let url = "https://example.com/a";
    let info = put(&store, url, &sample(1, 2 * GROUP_BYTES)).await;
    let before = fs::read(&files_with(dir.path(), "sidecar")[0]).expect("readable");
    let mut confirmed = store.representations(&target(url)).expect("index")[0].clone();
    confirmed.head.received_at = UnixMillis(NOW.0 + 1000);
    store.refresh(confirmed.clone()).await.expect("filed");
    assert_eq!(fs::read(&files_with(dir.path(), "sidecar")[0]).expect("readable"), before);
    assert_eq!(store.representations(&target(url)).expect("index")[..], [confirmed.clone()]);
    let crashed = copied(dir.path());
    assert_eq!(open(crashed.path()).representations(&target(url)).expect("index")[..], [confirmed.clone()]);
    store.pin(&info.id, Pin::Pinned).await.expect("pinned");
    store.close().await;
    fs::remove_file(dir.path().join("index.redb")).expect("deleted");
    drop(store);
    assert_eq!(open(dir.path()).representations(&target(url)).expect("index")[..], [confirmed]);
}

/// Where a panic aborts, an index that makes redb panic ends the process while it is opened; every next one too, if
/// nothing remembered.
#[tokio::test]
async fn an_index_that_ended_two_openings_is_made_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let bytes = vec![7; 40_000];
    let store = open(dir.path());
    let info = put(&store, "https://example.com/a", &bytes).await;
    store.close().await;
    drop(store);
    let aside = dir.path().join("index.damaged");
    for (mark, anew) in [("opening 1\n", false), ("opening 2\n", true)] {
        fs::write(dir.path().join("lock"), mark).expect("written");
        let store = open(dir.path());
        assert_eq!(aside.exists(), anew, "after {mark:?}");
        assert_eq!(stored(&store, &info.id).await.as_deref(), Some(&bytes[..]));
        assert_eq!(fs::read(dir.path().join("lock")).expect("readable"), b"", "it was opened");
    }
}
