//! A house in one process: a real store, a scripted origin and scripted neighbours.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, HeaderValue, StatusCode};
use kith_fetch::ask::{Answer, AskError, Origin, Part, Question, Redirects, Verb};
use kith_fetch::assemble;
use kith_fetch::fetcher::{Config, Fetcher};
use kith_fetch::pieces::Pieces;
use kith_fetch::reader::Reader;
use kith_fetch::source::{
    Abilities, ByteStream, Claimant, Fault, Finder, Found, Lane, Lead, Source, SourceError, SourceKind,
    Truth, Wanted,
};
use kith_fetch::wish::{ByteWish, Company, Fetched, Wish};
use kith_model::key::{Scheme, Target};
use kith_model::ladder::{Algorithm, Digest, Ladder, Rung, Teller};
use kith_model::object::ObjectId;
use kith_model::range::{ChunkGroup, GROUP_BYTES, GroupSpan};
use kith_model::representation::{Head, Representation};
use kith_model::time::UnixMillis;
use kith_model::trust::Role;
use kith_model::verify::{self, Run};
use kith_store::Store;
use tokio::sync::Semaphore;

/// Where the scripted neighbour's clients connect.
pub(crate) const DOOR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 9)), 8480);

pub(crate) const URL: &str = "https://files.example.com/a.iso";

pub(crate) fn sample(length: usize, seed: u8) -> Bytes {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 11).to_le_bytes()[0] ^ seed).collect()
}

/// An origin that answers as it is told and counts what it sends.
pub(crate) struct ScriptedOrigin {
    pub(crate) body: Mutex<Bytes>,
    pub(crate) tag: Mutex<&'static str>,
    /// Gives a date instead of the tag.
    pub(crate) is_dated: bool,
    pub(crate) digest: Option<Digest>,
    pub(crate) hashes: Option<Arc<Pieces>>,
    pub(crate) requests: Mutex<Vec<Option<Part>>>,
    pub(crate) sent: Arc<AtomicU64>,
    /// Pieces that may still be sent; a test that wants to hold the origin back gives few.
    pub(crate) pieces: Arc<Semaphore>,
    pub(crate) breaks_after: Mutex<Option<u64>>,
    pub(crate) down: AtomicBool,
    /// Does not tell how long it is.
    pub(crate) is_chunked: bool,
}

impl ScriptedOrigin {
    pub(crate) fn serving(body: Bytes) -> Self {
        Self {
            body: Mutex::new(body),
            tag: Mutex::new("\"one\""),
            is_dated: false,
            digest: None,
            hashes: None,
            requests: Mutex::default(),
            sent: Arc::default(),
            pieces: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            breaks_after: Mutex::default(),
            down: AtomicBool::new(false),
            is_chunked: false,
        }
    }

    pub(crate) fn chunked(self) -> Self {
        Self { is_chunked: true, ..self }
    }

    pub(crate) fn with_digest(self) -> Self {
        let body = self.body.lock().expect("lock").clone();
        let digest = ring::digest::digest(&ring::digest::SHA256, &body);
        Self { digest: Digest::new(Algorithm::Sha256, digest.as_ref()), ..self }
    }

    /// Names hashes of its pieces of 1 MiB.
    pub(crate) fn with_pieces(self) -> Self {
        let body = self.body.lock().expect("lock").clone();
        let digest = |piece: &[u8]| {
            let digest = ring::digest::digest(&ring::digest::SHA256, piece);
            Digest::new(Algorithm::Sha256, digest.as_ref()).expect("32 bytes")
        };
        let digests: Vec<_> = body.chunks(MIB).map(digest).collect();
        Self { hashes: Pieces::new(MIB as u64, &digests).map(Arc::new), ..self }
    }

    pub(crate) fn slow(self, pieces: usize) -> Self {
        Self { pieces: Arc::new(Semaphore::new(pieces)), ..self }
    }

    fn stream(&self, start: u64, end: u64) -> ByteStream {
        const PIECE: u64 = 64 * 1024;
        let body = self.body.lock().expect("lock").clone();
        let (sent, pieces) = (Arc::clone(&self.sent), Arc::clone(&self.pieces));
        let breaks_at = self.breaks_after.lock().expect("lock").map(|after| start + after);
        stream::unfold(start, move |at| {
            let (body, sent, pieces) = (body.clone(), Arc::clone(&sent), Arc::clone(&pieces));
            async move {
                if at >= end {
                    return None;
                }
                if breaks_at.is_some_and(|breaks_at| at >= breaks_at) {
                    return Some((Err(SourceError::BrokeOff("cut".into())), end));
                }
                pieces.acquire().await.expect("never closed").forget();
                let to = (at + PIECE).min(end);
                sent.fetch_add(to - at, SeqCst);
                let range = usize::try_from(at).expect("small")..usize::try_from(to).expect("small");
                Some((Ok(body.slice(range)), to))
            }
        })
        .boxed()
    }

    fn answer(self: &Arc<Self>, question: &Question) -> Result<Answer, AskError> {
        self.requests.lock().expect("lock").push(question.part.clone());
        if self.down.load(SeqCst) {
            return Err(AskError::Connect("files.example.com".to_owned(), None));
        }
        let length = self.body.lock().expect("lock").len() as u64;
        let tag = HeaderValue::from_static(*self.tag.lock().expect("lock"));
        let mut headers = HeaderMap::new();
        if self.is_dated {
            headers.insert("last-modified", HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
            headers.insert("date", HeaderValue::from_static("Sun, 06 Nov 1994 09:49:37 GMT"));
        } else {
            headers.insert("etag", tag.clone());
        }
        headers.insert("content-type", HeaderValue::from_static("application/octet-stream"));
        headers.insert("cache-control", HeaderValue::from_static("max-age=3600"));
        let not_modified = question.headers.get("if-none-match") == Some(&tag);
        let part = question.part.clone().filter(|part| part.of.as_ref().is_none_or(|of| of.value() == tag));
        let (status, start, end) = match part {
            _ if not_modified => (StatusCode::NOT_MODIFIED, 0, 0),
            Some(part) => (StatusCode::PARTIAL_CONTENT, part.start, part.end.unwrap_or(length).min(length)),
            None => (StatusCode::OK, 0, length),
        };
        let mut ladder = Ladder::default();
        if let Some(digest) = self.digest.clone() {
            let rung = Rung { digest, teller: Teller::Origin(Scheme::Https), said_at: UnixMillis(0) };
            ladder.add(rung).expect("the only one");
        }
        let head = Head { status, headers, requested_at: now(), received_at: now() };
        Ok(Answer {
            hops: Vec::new(),
            target: question.target.clone(),
            head,
            start,
            end: (!self.is_chunked).then_some(end),
            length: (!self.is_chunked).then_some(length),
            delimited: true,
            ladder,
            body: self.stream(start, end),
            source: Some(Arc::new(OriginSource { origin: Arc::clone(self), tag })),
        })
    }
}

pub(crate) fn now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    UnixMillis(u64::try_from(since.as_millis()).expect("fits"))
}

pub(crate) struct Asked(pub(crate) Arc<ScriptedOrigin>);

impl Origin for Asked {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Answer, AskError>> {
        let origin = Arc::clone(&self.0);
        async move { origin.answer(&question) }.boxed()
    }
}

struct OriginSource {
    origin: Arc<ScriptedOrigin>,
    tag: HeaderValue,
}

impl Source for OriginSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Origin
    }

    fn label(&self) -> &'static str {
        "files.example.com"
    }

    fn abilities(&self) -> Abilities {
        Abilities { ranges: true, lanes_max: 3, grain: 1 }
    }

    fn open(&self, span: GroupSpan) -> BoxFuture<'static, Result<Box<dyn Lane>, SourceError>> {
        let (origin, tag) = (Arc::clone(&self.origin), self.tag.clone());
        async move {
            origin.requests.lock().expect("lock").push(Some(Part {
                start: span.start() * GROUP_BYTES,
                end: Some(span.end().saturating_mul(GROUP_BYTES)),
                of: None,
            }));
            if tag != *origin.tag.lock().expect("lock") {
                return Err(SourceError::Changed);
            }
            let length = origin.body.lock().expect("lock").len() as u64;
            let range = span.bytes(length);
            let stream = origin.stream(range.start(), range.end());
            Ok(assemble::lane(stream, ChunkGroup(span.start()), Some(range.end())))
        }
        .boxed()
    }

    fn blame(&self, _fault: Fault) {}

    fn leads(&self) -> BoxStream<'static, Lead> {
        stream::iter(self.origin.hashes.clone().map(Lead::Pieces)).boxed()
    }
}

/// A neighbour that holds some object and claims that it is what is wanted.
#[derive(Clone)]
pub(crate) struct ScriptedNeighbour {
    pub(crate) body: Bytes,
    pub(crate) outboard: Bytes,
    pub(crate) object: ObjectId,
    pub(crate) faults: Arc<Mutex<Vec<Fault>>>,
    pub(crate) delivered: Arc<AtomicU64>,
    /// After so many runs each lane stops delivering, without an error.
    pub(crate) stalls_after: Option<usize>,
    /// How often it was asked whether it holds something.
    pub(crate) asked: Arc<AtomicU64>,
    /// Tells it from other boxes.
    pub(crate) number: u8,
    pub(crate) role: Role,
    /// Runs from [`Self::free_until`] on that it may still deliver, over all lanes.
    pub(crate) runs: Arc<Semaphore>,
    pub(crate) free_until: u64,
    /// Cleared when it is unpaired.
    pub(crate) paired: Arc<AtomicBool>,
    /// Tells when it may speak; it speaks at once without.
    pub(crate) speaks: Option<Arc<Semaphore>>,
}

impl ScriptedNeighbour {
    pub(crate) fn holding(body: Bytes) -> Self {
        let folded = verify::fold(Run::from_origin(ChunkGroup(0), body.clone()).leaves());
        let outboard = folded.expect("two groups at least").outboard.into();
        Self {
            object: ObjectId::of(&body),
            body,
            outboard,
            faults: Arc::default(),
            delivered: Arc::default(),
            stalls_after: None,
            asked: Arc::default(),
            number: 0,
            role: Role::Mine,
            runs: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            free_until: 0,
            paired: Arc::new(AtomicBool::new(true)),
            speaks: None,
        }
    }

    /// A box of another household.
    pub(crate) fn of_others(self, number: u8) -> Self {
        Self { role: Role::Neighbour, number, ..self }
    }

    /// What it was told that its claim was refuted by; nothing when it was not told so exactly once.
    pub(crate) fn told_false(&self) -> Option<Truth> {
        let faults = self.faults.lock().expect("lock");
        let mut told = faults.iter().filter_map(|fault| match fault {
            Fault::FalseClaim(truth) => Some(*truth),
            Fault::TooSlow | Fault::Unit { .. } => None,
        });
        told.next().filter(|_| told.next().is_none())
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(SeqCst)
    }
}

impl Finder for ScriptedNeighbour {
    fn find(&self, wanted: Wanted) -> BoxStream<'static, Found> {
        assert_eq!(wanted.length, self.body.len() as u64);
        self.asked.fetch_add(1, SeqCst);
        if self.role.audience() > wanted.audience {
            return stream::empty().boxed();
        }
        let claimant = Claimant { node: [self.number; 32], role: self.role };
        let found = Found { object: self.object, claimant, source: Arc::new(self.clone()) };
        let speaks = self.speaks.clone();
        stream::once(async move {
            if let Some(speaks) = speaks {
                speaks.acquire().await.expect("never closed").forget();
            }
            found
        })
        .boxed()
    }
}

impl Source for ScriptedNeighbour {
    fn kind(&self) -> SourceKind {
        SourceKind::Neighbour
    }

    fn label(&self) -> &'static str {
        "box-a"
    }

    fn abilities(&self) -> Abilities {
        Abilities { ranges: true, lanes_max: 2, grain: 1 }
    }

    fn door(&self) -> Option<SocketAddr> {
        Some(DOOR)
    }

    fn open(&self, span: GroupSpan) -> BoxFuture<'static, Result<Box<dyn Lane>, SourceError>> {
        let lane = NeighbourLane { neighbour: self.clone(), at: span.start(), end: span.end(), runs: 0 };
        async move { Ok(Box::new(lane) as Box<dyn Lane>) }.boxed()
    }

    fn blame(&self, fault: Fault) {
        self.faults.lock().expect("lock").push(fault);
    }

    fn vouches(&self) -> bool {
        self.paired.load(SeqCst)
    }
}

struct NeighbourLane {
    neighbour: ScriptedNeighbour,
    at: u64,
    end: u64,
    runs: usize,
}

impl Lane for NeighbourLane {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Run>, SourceError>> {
        async move {
            if self.neighbour.stalls_after.is_some_and(|after| self.runs >= after) {
                futures_util::future::pending::<()>().await;
            }
            if self.at >= self.neighbour.free_until {
                self.neighbour.runs.acquire().await.expect("never closed").forget();
            }
            // As over a network: others get their turn between two slices.
            tokio::task::yield_now().await;
            self.runs += 1;
            let span = GroupSpan::clamped(self.at, (self.at + 16).min(self.end));
            if span.is_empty() {
                return Ok(None);
            }
            let ScriptedNeighbour { body, outboard, object, .. } = &self.neighbour;
            let (object, length) = (*object, body.len() as u64);
            let slice = verify::encode(object, length, span, &outboard[..], &body[..]).expect("own bytes");
            self.at = span.end();
            self.neighbour.delivered.fetch_add(span.bytes(length).len(), SeqCst);
            verify::decode(object, length, span, &slice).map(Some).map_err(|_| SourceError::Mismatch)
        }
        .boxed()
    }
}

pub(crate) struct House {
    pub(crate) _dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) fetcher: Fetcher,
    pub(crate) origin: Arc<ScriptedOrigin>,
}

impl House {
    pub(crate) fn new(origin: ScriptedOrigin, neighbours: Vec<ScriptedNeighbour>) -> Self {
        Self::at(tempfile::tempdir().expect("a temp dir"), origin, neighbours)
    }

    pub(crate) fn at(
        dir: tempfile::TempDir,
        origin: ScriptedOrigin,
        neighbours: Vec<ScriptedNeighbour>,
    ) -> Self {
        Self::with_objects_up_to(1 << 31, dir, origin, neighbours)
    }

    pub(crate) fn with_objects_up_to(
        object_bytes_max: u64,
        dir: tempfile::TempDir,
        origin: ScriptedOrigin,
        neighbours: Vec<ScriptedNeighbour>,
    ) -> Self {
        let config = kith_store::Config {
            dir: dir.path().to_owned(),
            bytes_max: 1 << 32,
            reserve_bytes: 0,
            object_bytes_max,
            cache_bytes: 1 << 20,
        };
        let store = Store::open(config, now()).expect("a fresh store");
        let origin = Arc::new(origin);
        let finders = neighbours.into_iter().map(|near| Arc::new(near) as Arc<dyn Finder>).collect();
        let fetcher = Fetcher::new(
            store.clone(),
            Arc::new(Asked(Arc::clone(&origin))),
            finders,
            Config { neighbour_bytes_min: 1 << 20 },
        );
        Self { _dir: dir, store, fetcher, origin }
    }

    pub(crate) async fn get(&self, range: Option<ByteWish>) -> Reader {
        match self.fetcher.fetch(wish(range)).await {
            Ok(Fetched::Arriving(arriving)) => arriving.reader,
            Ok(_) => panic!("it should arrive by way of the store"),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.origin.sent.load(SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.origin.requests.lock().expect("lock").len()
    }

    /// Waits until nothing is being fetched.
    pub(crate) async fn idle(&self) {
        while !self.fetcher.jobs().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the object is on the shelf; the store says when something changes there.
    pub(crate) async fn stored(&self) -> Representation {
        let mut changes = self.store.changes();
        loop {
            changes.borrow_and_update();
            let stored = self.fetcher.representations(&target()).expect("the index is fine");
            if let Some(stored) = stored.last() {
                return stored.clone();
            }
            changes.changed().await.expect("the store lives");
        }
    }
}

pub(crate) fn target() -> Target {
    Target::parse(URL).expect("a good URL")
}

pub(crate) fn wish(range: Option<ByteWish>) -> Wish {
    Wish {
        target: target(),
        verb: Verb::Get,
        headers: HeaderMap::new(),
        conditions: HeaderMap::new(),
        range,
        stored: None,
        redirects: Redirects::Follow,
        company: Company::Shared,
    }
}

pub(crate) async fn read(mut reader: Reader) -> Result<Bytes, kith_fetch::reader::ReadError> {
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}

pub(crate) const MIB: usize = 1 << 20;
