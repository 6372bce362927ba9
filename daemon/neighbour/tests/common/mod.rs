//! Boxes on loopback: each a store, a key and the neighbours' room, found by address instead of mDNS.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod liar;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode};
use kith_fetch::source::{Finder, Found, Lane, SourceError, Wanted};
use kith_model::key::{CacheKey, Scheme, Target, Variant};
use kith_model::ladder::{Algorithm, Digest, Ladder, Rung, Teller};
use kith_model::limits::Profile;
use kith_model::object::ObjectId;
use kith_model::range::{ChunkGroup, GROUP_BYTES, GroupSpan};
use kith_model::representation::{Head, ObjectInfo, Standing, StrongValidator};
use kith_model::sharing::Audience;
use kith_model::time::UnixMillis;
use kith_model::trust::Role;
use kith_model::verify::Run;
use kith_neighbour::config::{Config, Discovery, Sharing};
use kith_neighbour::endpoint;
use kith_neighbour::frames::{self, FrameReader};
use kith_neighbour::identity::{Identity, NodeKey};
use kith_neighbour::peers::{self, Peer, Peers};
use kith_neighbour::tls::{self, Expected};
use kith_neighbour::wire::{Hello, Message};
use kith_neighbour::{Neighbourhood, View};
use kith_store::{Draft, Finish, Store, Visibility};

pub(crate) const MIB: u64 = 1024 * 1024;
pub(crate) const URL: &str = "https://example.org/a.iso";
const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

/// How long anything here may take before the test is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A box.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) neighbours: Neighbourhood,
}

pub(crate) fn config(name: &str, dir: &Path, static_peers: Vec<SocketAddr>) -> Config {
    let static_peers = static_peers.into_iter().map(|address| address.to_string()).collect();
    Config {
        name: name.to_owned(),
        data_dir: dir.to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        limits: Profile::Board.limits(),
        share: Sharing::On,
        upload_bytes_per_second: None,
        object_bytes_min: 4 * MIB,
        discovery: Discovery::Off,
        announcements: Vec::new(),
        static_peers,
    }
}

pub(crate) fn store(dir: &Path) -> Store {
    store_of(dir, 1 << 30)
}

/// A store with room for so many bytes.
pub(crate) fn store_of(dir: &Path, bytes_max: u64) -> Store {
    let config = kith_store::Config {
        dir: dir.join("store"),
        bytes_max,
        reserve_bytes: 0,
        object_bytes_max: 1 << 29,
        cache_bytes: 1 << 20,
    };
    Store::open(config, NOW).expect("the store opens")
}

impl Home {
    /// A box that knows nobody.
    pub(crate) fn start(name: &str) -> Self {
        Self::start_in(name, tempfile::tempdir().expect("a folder"), Vec::new())
    }

    /// A box that knows nobody and has a small shelf.
    pub(crate) fn start_small(name: &str, bytes_max: u64) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let store = store_of(dir.path(), bytes_max);
        Self::start_with(config(name, dir.path(), Vec::new()), dir, store)
    }

    /// A box in a folder that may say who is paired.
    pub(crate) fn start_in(name: &str, dir: tempfile::TempDir, static_peers: Vec<SocketAddr>) -> Self {
        let store = store(dir.path());
        Self::start_with(config(name, dir.path(), static_peers), dir, store)
    }

    /// A box with settings of its own.
    pub(crate) fn start_as(config: Config, dir: tempfile::TempDir) -> Self {
        let store = store(dir.path());
        Self::start_with(config, dir, store)
    }

    fn start_with(config: Config, dir: tempfile::TempDir, store: Store) -> Self {
        let identity = Identity::open(dir.path()).expect("a key");
        let neighbours = Neighbourhood::start(config, identity, store.clone()).expect("the room opens");
        Self { dir, store, neighbours }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.neighbours.address().expect("bound")
    }

    /// Waits until the list of neighbours is as wished.
    pub(crate) async fn sees(&self, is_so: impl Fn(&[View]) -> bool) -> Vec<View> {
        let mut changes = self.neighbours.changes();
        let seen = async {
            loop {
                changes.borrow_and_update();
                let views = self.neighbours.list();
                if is_so(&views) {
                    return views;
                }
                changes.changed().await.expect("the room is open");
            }
        };
        let list = || format!("{:#?}", self.neighbours.list());
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("only this came: {}", list()))
    }

    /// Waits until a neighbour has told of so many names.
    pub(crate) async fn is_told(&self, names: usize) {
        let has = |view: &View| view.filter.is_some_and(|filter| filter.names == names);
        self.sees(|views| views.iter().any(has)).await;
    }

    pub(crate) async fn connected(&self) -> View {
        self.sees(|views| views.iter().any(|view| view.connected)).await.remove(0)
    }

    /// Puts `bytes` on the shelf as what `url` answered with `headers` besides an entity tag.
    pub(crate) async fn put(
        &self,
        url: &str,
        bytes: &[u8],
        headers: &[(&'static str, &'static str)],
    ) -> ObjectInfo {
        self.put_told(url, bytes, headers, Ladder::default()).await
    }

    /// The same, with digests that the origin told.
    pub(crate) async fn put_told(
        &self,
        url: &str,
        bytes: &[u8],
        headers: &[(&'static str, &'static str)],
        ladder: Ladder,
    ) -> ObjectInfo {
        let pieces = (0..).step_by(16).zip(bytes.chunks(usize_of(16 * GROUP_BYTES)));
        let runs =
            pieces.map(|(first, piece)| Run::from_origin(ChunkGroup(first), Bytes::copy_from_slice(piece)));
        self.file(url, bytes.len() as u64, headers, ladder, runs.collect()).await
    }

    /// Puts what another box delivers on the shelf as well.
    pub(crate) async fn fetch(&self, url: &str, length: u64) -> ObjectInfo {
        let found = self.find(wanted(url, length)).await;
        let mut lane = found[0].source.open(GroupSpan::whole(length)).await.expect("a lane");
        let mut runs = Vec::new();
        while let Some(run) = lane.next().await.expect("delivered") {
            runs.push(run);
        }
        self.file(url, length, &[], Ladder::default(), runs).await
    }

    async fn file(
        &self,
        url: &str,
        length: u64,
        headers: &[(&'static str, &'static str)],
        ladder: Ladder,
        runs: Vec<Run>,
    ) -> ObjectInfo {
        let mut fields = HeaderMap::new();
        fields.insert("etag", HeaderValue::from_static("\"v1\""));
        for (name, value) in headers {
            fields.insert(*name, HeaderValue::from_static(value));
        }
        let draft = Draft {
            key: CacheKey { target: Target::parse(url).expect("a URL"), variant: Variant::ONLY },
            selecting: Vec::new(),
            validator: StrongValidator::of(&fields),
            head: Head { status: StatusCode::OK, headers: fields, requested_at: NOW, received_at: NOW },
            length: Some(length),
            ladder,
        };
        let writer = self.store.create(draft).await.expect("a place");
        for run in runs {
            writer.write(run, Visibility::Now).await.expect("written");
        }
        let finish =
            Finish { length, expected: None, standing: Standing::FirstHand, representation: true, now: NOW };
        writer.finish(finish).await.expect("stored").info
    }

    /// Everybody who answers.
    pub(crate) async fn find(&self, wanted: Wanted) -> Vec<Found> {
        tokio::time::timeout(PATIENCE, self.neighbours.find(wanted).collect()).await.expect("an end")
    }
}

/// Two boxes of one household that were paired by code and are connected.
pub(crate) async fn pair() -> (Home, Home) {
    pair_as(Role::Mine).await
}

/// The same for two that are that to each other.
pub(crate) async fn pair_as(role: Role) -> (Home, Home) {
    let (den, attic) = (Home::start("den"), Home::start("attic"));
    join(&den, &attic, role).await;
    den.is_told(0).await;
    attic.is_told(0).await;
    (den, attic)
}

/// Pairs two boxes by code, and waits until they are connected.
pub(crate) async fn join(den: &Home, attic: &Home, role: Role) {
    let window = den.neighbours.open_pairing(Role::Mine).expect("open");
    let joined = attic.neighbours.join(&den.address().to_string(), &window.code, role).await;
    joined.expect("paired");
    window.outcome.await;
    den.connected().await;
    attic.connected().await;
}

/// A folder whose box is paired with `key` from before.
pub(crate) fn folder_paired_with(key: NodeKey, secret: [u8; 32], role: Role) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    Identity::open(dir.path()).expect("a key");
    note_pair(dir.path(), key, secret, role);
    dir
}

/// Notes in a folder that its box is paired with `key` and nobody else.
pub(crate) fn note_pair(dir: &Path, key: NodeKey, secret: [u8; 32], role: Role) {
    let mut paired = Peers::default();
    paired.add(Peer::new(key, "liar".into(), role, secret, NOW)).expect("room");
    std::fs::write(dir.join(peers::FILE_NAME), paired.to_bytes()).expect("written");
}

/// A bare connection to `home` that has said hello, and what it speaks.
pub(crate) async fn greeted(identity: &Identity, home: &Home, speaks: Option<u32>) -> quinn::Connection {
    let limits = Profile::Board.limits();
    let config = endpoint::client_config(identity, Expected::Anyone, tls::ALPN, &limits).expect("config");
    let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("bound");
    let dialled = endpoint.connect_with(config, home.address(), tls::SERVER_NAME).expect("an address");
    let connection = dialled.await.expect("paired");
    let hello = Hello { version: 1, name: "liar".into(), instance: 9, speaks };
    let (mut send, receive) = connection.open_bi().await.expect("open");
    frames::send(&mut send, &Message::Hello(hello)).await.expect("sent");
    FrameReader::new(receive).frame().await.expect("a hello");
    connection
}

pub(crate) fn wanted(url: &str, length: u64) -> Wanted {
    Wanted {
        target: Target::parse(url).expect("a URL"),
        validator: StrongValidator::ETag(HeaderValue::from_static("\"v1\"")),
        length,
        digest: None,
        audience: Audience::Neighbour,
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    Digest::new(Algorithm::Sha256, digest.as_ref()).expect("32 bytes")
}

/// The ladder of an origin that tells a digest.
pub(crate) fn telling(digest: Digest) -> Ladder {
    let mut ladder = Ladder::default();
    ladder.add(Rung { digest, teller: Teller::Origin(Scheme::Https), said_at: NOW }).expect("the first");
    ladder
}

/// Bytes that repeat nowhere soon.
pub(crate) fn sample(length: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(usize_of(length) + 8);
    while (bytes.len() as u64) < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(usize_of(length));
    bytes
}

pub(crate) fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("small")
}

/// Everything a lane delivers for the whole of `length` bytes.
pub(crate) async fn drain(found: &Found, length: u64) -> Result<Vec<u8>, SourceError> {
    let mut lane = found.source.open(GroupSpan::whole(length)).await?;
    drain_lane(lane.as_mut()).await
}

pub(crate) async fn drain_lane(lane: &mut dyn Lane) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    while let Some(run) = lane.next().await? {
        bytes.extend_from_slice(run.bytes());
    }
    Ok(bytes)
}

pub(crate) fn object_of(bytes: &[u8]) -> ObjectId {
    ObjectId::of(bytes)
}
