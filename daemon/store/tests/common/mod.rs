//! A store in a folder of its own, and objects to put on its shelf.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use kith_model::key::{CacheKey, Target, Variant};
use kith_model::ladder::Ladder;
use kith_model::object::ObjectId;
use kith_model::range::{ByteRange, ChunkGroup, GROUP_BYTES, GroupSpan};
use kith_model::representation::{Head, ObjectInfo, Standing, StrongValidator};
use kith_model::time::UnixMillis;
use kith_model::verify::{self, Run};
use kith_store::{Body, Config, Draft, Finish, Store, Visibility};

/// Before any file of a test was made, so that no part is too old.
pub(crate) const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

pub(crate) fn config(dir: &Path) -> Config {
    Config {
        dir: dir.to_owned(),
        bytes_max: 1 << 30,
        reserve_bytes: 0,
        object_bytes_max: 1 << 29,
        cache_bytes: 1 << 20,
    }
}

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(config(dir), NOW).expect("the store opens")
}

/// Bytes that depend on the seed and repeat nowhere soon.
pub(crate) fn sample(seed: u64, length: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(usize::try_from(length).expect("small"));
    bytes
}

pub(crate) fn target(url: &str) -> Target {
    Target::parse(url).expect("a URL")
}

pub(crate) fn key(url: &str) -> CacheKey {
    CacheKey { target: target(url), variant: Variant::ONLY }
}

pub(crate) fn head(tag: &str) -> Head {
    let mut headers = HeaderMap::new();
    headers.insert("etag", HeaderValue::from_str(&format!("\"{tag}\"")).expect("a tag"));
    headers.append("x-many", HeaderValue::from_static("1"));
    headers.append("x-many", HeaderValue::from_static("2"));
    Head { status: StatusCode::OK, headers, requested_at: NOW, received_at: NOW }
}

/// A draft with a strong validator.
pub(crate) fn draft(url: &str, length: Option<u64>) -> Draft {
    let head = head("v1");
    Draft {
        key: key(url),
        selecting: vec![("accept-encoding".to_owned(), b"gzip".to_vec())],
        validator: StrongValidator::of(&head.headers),
        head,
        length,
        ladder: Ladder::default(),
    }
}

pub(crate) fn finish(length: u64) -> Finish {
    Finish { length, expected: None, standing: Standing::FirstHand, representation: true, now: NOW }
}

pub(crate) fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("small")
}

/// Groups of `bytes` as the origin sends them.
pub(crate) fn from_origin(bytes: &[u8], span: GroupSpan) -> Run {
    let range = span.bytes(bytes.len() as u64);
    let part = Bytes::copy_from_slice(&bytes[usize_of(range.start())..usize_of(range.end())]);
    Run::from_origin(ChunkGroup(span.start()), part)
}

/// Groups of `bytes` as a neighbour sends them, proven.
pub(crate) fn from_neighbour(bytes: &[u8], span: GroupSpan) -> Run {
    let id = ObjectId::of(bytes);
    let whole = Run::from_origin(ChunkGroup(0), Bytes::copy_from_slice(bytes));
    let outboard = verify::fold(whole.leaves()).map_or_else(Vec::new, |folded| folded.outboard);
    let length = bytes.len() as u64;
    let slice = verify::encode(id, length, span, &outboard[..], bytes).expect("own bytes");
    verify::decode(id, length, span, &slice).expect("own proof")
}

/// Puts `bytes` on the shelf as what `url` answers.
pub(crate) async fn put(store: &Store, url: &str, bytes: &[u8]) -> ObjectInfo {
    let length = bytes.len() as u64;
    let writer = store.create(draft(url, Some(length))).await.expect("a place");
    for start in (0..length.div_ceil(GROUP_BYTES)).step_by(16) {
        let span = GroupSpan::clamped(start, start + 16).intersection(GroupSpan::whole(length));
        writer.write(from_origin(bytes, span), Visibility::Now).await.expect("written");
    }
    writer.finish(finish(length)).await.expect("stored").info
}

/// All bytes of a body, in pieces of 256 KiB.
pub(crate) async fn read(body: &Body) -> Vec<u8> {
    let length = body.length().expect("known");
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let start = bytes.len() as u64;
        let range = ByteRange::new(start, length.min(start + 256 * 1024)).expect("forwards");
        bytes.extend_from_slice(&body.read(range).await.expect("readable"));
    }
    bytes
}

/// All bytes of a stored object; nothing when it is not stored.
pub(crate) async fn stored(store: &Store, id: &ObjectId) -> Option<Vec<u8>> {
    let body = store.open_object(id).await.expect("the index answers")?;
    Some(read(&body).await)
}

/// A copy of a store's folder as it is now: what a crash would leave, had everything written reached the disk.
pub(crate) fn copied(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    copy_folder(dir, copy.path());
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            std::fs::create_dir_all(&target).expect("a folder");
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}
