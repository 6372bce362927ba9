//! The bytes on the disk are those that FORMAT.md shows. A change of the codec has to change the document, the
//! version and this test.

mod common;

use std::fmt::Write as _;
use std::fs;

use common::*;
use http::{HeaderMap, HeaderValue, StatusCode};
use kith_model::key::Variant;
use kith_model::ladder::{Algorithm, Digest, Ladder, Rung, Teller};
use kith_model::object::ObjectId;
use kith_model::range::{GROUP_BYTES, GroupSpan};
use kith_model::representation::{Head, ObjectInfo, Representation, Standing, StrongValidator};
use kith_model::time::UnixMillis;
use kith_store::record::{self, Record, RecordError};
use kith_store::{Draft, Visibility};
use proptest::prelude::*;

const FORMAT: &str = include_str!("../FORMAT.md");

fn golden_head() -> Head {
    let mut headers = HeaderMap::new();
    headers.insert("etag", HeaderValue::from_static("\"v1\""));
    headers.insert("cache-control", HeaderValue::from_static("max-age=60"));
    Head {
        status: StatusCode::OK,
        headers,
        requested_at: UnixMillis(1_700_000_000_000),
        received_at: UnixMillis(1_700_000_000_250),
    }
}

fn golden_record() -> Record {
    let body = b"kith";
    let mut ladder = Ladder::default();
    let sha = ring::digest::digest(&ring::digest::SHA256, body);
    let digest = Digest::new(Algorithm::Sha256, sha.as_ref()).expect("32 bytes");
    let said_at = UnixMillis(1_700_000_000_500);
    ladder.add(Rung { digest, teller: Teller::Ourselves, said_at }).expect("the first");
    let info = ObjectInfo { id: ObjectId::of(body), length: 4, ladder, stored_at: said_at, pinned: false };
    let mut key = key("https://example.com/a");
    key.variant = Variant::of([("accept-encoding", &b"gzip"[..])]);
    let representation = Representation {
        key,
        selecting: vec![("accept-encoding".to_owned(), b"gzip".to_vec())],
        head: golden_head(),
        object: info.id,
        length: 4,
        standing: Standing::FirstHand,
    };
    Record { info, representations: vec![representation], inline: Some(body.to_vec()) }
}

fn golden_draft() -> Draft {
    let head = golden_head();
    Draft {
        key: key("https://example.com/a"),
        selecting: Vec::new(),
        validator: StrongValidator::of(&head.headers),
        head,
        length: Some(40_000),
        ladder: Ladder::default(),
    }
}

/// Lines of 32 bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").expect("memory");
        }
        text.push('\n');
    }
    text
}

/// The example that stands in FORMAT.md under this name.
fn documented(name: &str) -> String {
    let start = FORMAT.find(&format!("```hex {name}\n")).unwrap_or_else(|| panic!("no example {name}"));
    let example = &FORMAT[start..];
    let lines = example.lines().skip(1).take_while(|line| *line != "```");
    lines.fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn a_sidecar_is_as_documented() {
    let sealed = record::encode(&golden_record());
    assert_eq!(hex(&sealed), documented("sidecar"), "the example would be:\n{}", hex(&sealed));
    assert_eq!(record::decode(&sealed), Ok(golden_record()));
}

#[test]
fn a_part_record_is_as_documented() {
    let sealed = record::encode_draft(&golden_draft());
    assert_eq!(hex(&sealed), documented("part"), "the example would be:\n{}", hex(&sealed));
    assert_eq!(record::decode_draft(&sealed), Ok(golden_draft()));
}

#[tokio::test]
async fn leaves_and_outboard_are_as_documented() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = vec![b'k'; usize_of(2 * GROUP_BYTES + 1)];
    let writer =
        store.create(draft("https://example.com/a", Some(bytes.len() as u64))).await.expect("a place");
    writer.write(from_neighbour(&bytes, GroupSpan::clamped(2, 3)), Visibility::Now).await.expect("written");
    writer.write(from_origin(&bytes, GroupSpan::clamped(0, 1)), Visibility::Now).await.expect("written");
    let leaves = found(&dir.path().join("parts"), "leaves");
    assert_eq!(hex(&leaves), documented("leaves"), "the example would be:\n{}", hex(&leaves));
    writer.write(from_origin(&bytes, GroupSpan::clamped(1, 2)), Visibility::Now).await.expect("written");
    let info = writer.finish(finish(bytes.len() as u64)).await.expect("stored").info;
    let shard = dir.path().join("objects").join(&info.id.to_string()[..2]);
    let outboard = found(&shard, "outboard");
    assert_eq!(hex(&outboard), documented("outboard"), "the example would be:\n{}", hex(&outboard));
    assert_eq!(found(&shard, "data"), bytes);
    assert_eq!(record::decode(&found(&shard, "sidecar")).expect("whole").info, info);
    store.close().await;
    let lock = fs::read_to_string(dir.path().join("lock")).expect("readable");
    assert!(lock.starts_with("clean ") && lock.len() == 23, "{lock:?}");
}

fn found(folder: &std::path::Path, extension: &str) -> Vec<u8> {
    let path = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .expect("such a file");
    fs::read(path).expect("readable")
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_record_is_noticed() {
    let sealed = record::encode(&golden_record());
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1 << bit;
            assert_eq!(record::decode(&damaged), Err(RecordError::Damaged), "bit {bit} of byte {at}");
        }
        assert_eq!(record::decode(&sealed[..at]), Err(RecordError::Damaged), "cut at {at}");
    }
    assert_eq!(record::decode(&record::encode_draft(&golden_draft())), Err(RecordError::Nonsense));
    assert_eq!(record::decode_draft(&sealed), Err(RecordError::Nonsense));
}

proptest! {
    #[test]
    fn foreign_bytes_are_no_record_even_under_a_right_seal(inside in prop::collection::vec(any::<u8>(), 0..400), part in any::<bool>()) {
        let kind = if part { b'p' } else { b'o' };
        let mut sealed = vec![b'K', b'I', b'T', b'H', kind, 0, 1, 0];
        sealed.extend_from_slice(&inside);
        let seal = blake3::hash(&sealed);
        sealed.extend_from_slice(seal.as_bytes());
        prop_assert!(record::decode(&sealed).is_err());
        prop_assert!(record::decode_draft(&sealed).is_err());
    }

    #[test]
    fn a_changed_field_under_a_right_seal_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut sealed = record::encode(&golden_record());
        let end = sealed.len() - 32;
        sealed[8 + at.index(end - 8)] = byte;
        let seal = blake3::hash(&sealed[..end]);
        sealed[end..].copy_from_slice(seal.as_bytes());
        // Whatever still decodes says the same again.
        if let Ok(record) = record::decode(&sealed) {
            prop_assert_eq!(record::decode(&record::encode(&record)), Ok(record));
        }
    }
}
