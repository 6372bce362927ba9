//! The room by its handle: a real store, a scripted origin and scripted neighbours.

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
use kith_fetch::reader::Reader;
use kith_fetch::source::{
    Abilities, ByteStream, Fault, Finder, Found, Lane, Source, SourceError, SourceKind, Wanted,
};
use kith_fetch::wish::{ByteWish, Company, FetchError, Fetched, Wish};
use kith_model::key::{Scheme, Target};
use kith_model::ladder::{Algorithm, Digest, Ladder, Rung, Teller};
use kith_model::object::ObjectId;
use kith_model::range::{ChunkGroup, GROUP_BYTES, GroupSpan};
use kith_model::representation::{Head, Representation, Standing};
use kith_model::time::UnixMillis;
use kith_model::verify::{self, Run};
use kith_store::Store;
use tokio::sync::Semaphore;

/// Where the scripted neighbour's clients connect.
const DOOR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 9)), 8480);

const URL: &str = "https://files.example.com/a.iso";

fn sample(length: usize, seed: u8) -> Bytes {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 11).to_le_bytes()[0] ^ seed).collect()
}

/// An origin that answers as it is told and counts what it sends.
struct ScriptedOrigin {
    body: Mutex<Bytes>,
    tag: Mutex<&'static str>,
    digest: Option<Digest>,
    requests: Mutex<Vec<Option<Part>>>,
    sent: Arc<AtomicU64>,
    /// Pieces that may still be sent; a test that wants to hold the origin back gives few.
    pieces: Arc<Semaphore>,
    breaks_after: Mutex<Option<u64>>,
    down: AtomicBool,
}

impl ScriptedOrigin {
    fn serving(body: Bytes) -> Self {
        Self {
            body: Mutex::new(body),
            tag: Mutex::new("\"one\""),
            digest: None,
            requests: Mutex::default(),
            sent: Arc::default(),
            pieces: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            breaks_after: Mutex::default(),
            down: AtomicBool::new(false),
        }
    }

    fn with_digest(self) -> Self {
        let body = self.body.lock().expect("lock").clone();
        let digest = ring::digest::digest(&ring::digest::SHA256, &body);
        Self { digest: Digest::new(Algorithm::Sha256, digest.as_ref()), ..self }
    }

    fn slow(self, pieces: usize) -> Self {
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
        headers.insert("etag", tag.clone());
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
            end: Some(end),
            length: Some(length),
            delimited: true,
            ladder,
            body: self.stream(start, end),
            source: Some(Arc::new(OriginSource { origin: Arc::clone(self), tag })),
        })
    }
}

fn now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    UnixMillis(u64::try_from(since.as_millis()).expect("fits"))
}

struct Asked(Arc<ScriptedOrigin>);

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
        Abilities { ranges: true, lanes_max: 3 }
    }

    fn open(&self, span: GroupSpan) -> BoxFuture<'static, Result<Box<dyn Lane>, SourceError>> {
        let (origin, tag) = (Arc::clone(&self.origin), self.tag.clone());
        async move {
            origin.requests.lock().expect("lock").push(Some(Part {
                start: span.start() * GROUP_BYTES,
                end: Some(span.end() * GROUP_BYTES),
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
}

/// A neighbour that holds some object and claims that it is what is wanted.
#[derive(Clone)]
struct ScriptedNeighbour {
    body: Bytes,
    outboard: Bytes,
    object: ObjectId,
    faults: Arc<Mutex<Vec<Fault>>>,
    delivered: Arc<AtomicU64>,
    /// After so many runs each lane stops delivering, without an error.
    stalls_after: Option<usize>,
    /// How often it was asked whether it holds something.
    asked: Arc<AtomicU64>,
}

impl ScriptedNeighbour {
    fn holding(body: Bytes) -> Self {
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
        }
    }
}

impl Finder for ScriptedNeighbour {
    fn find(&self, wanted: Wanted) -> BoxStream<'static, Found> {
        assert_eq!(wanted.length, self.body.len() as u64);
        self.asked.fetch_add(1, SeqCst);
        let found = Found { object: self.object, source: Arc::new(self.clone()) };
        stream::iter([found]).boxed()
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
        Abilities { ranges: true, lanes_max: 2 }
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

struct House {
    _dir: tempfile::TempDir,
    store: Store,
    fetcher: Fetcher,
    origin: Arc<ScriptedOrigin>,
}

impl House {
    fn new(origin: ScriptedOrigin, neighbours: Vec<ScriptedNeighbour>) -> Self {
        Self::at(tempfile::tempdir().expect("a temp dir"), origin, neighbours)
    }

    fn at(dir: tempfile::TempDir, origin: ScriptedOrigin, neighbours: Vec<ScriptedNeighbour>) -> Self {
        let config = kith_store::Config {
            dir: dir.path().to_owned(),
            bytes_max: 1 << 32,
            reserve_bytes: 0,
            object_bytes_max: 1 << 31,
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

    async fn get(&self, range: Option<ByteWish>) -> Reader {
        match self.fetcher.fetch(wish(range)).await {
            Ok(Fetched::Arriving(arriving)) => arriving.reader,
            Ok(_) => panic!("it should arrive by way of the store"),
            Err(error) => panic!("{error}"),
        }
    }

    fn sent(&self) -> u64 {
        self.origin.sent.load(SeqCst)
    }

    fn requests(&self) -> usize {
        self.origin.requests.lock().expect("lock").len()
    }

    /// Waits until nothing is being fetched.
    async fn idle(&self) {
        while !self.fetcher.jobs().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the object is on the shelf; the store says when something changes there.
    async fn stored(&self) -> Representation {
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

fn target() -> Target {
    Target::parse(URL).expect("a good URL")
}

fn wish(range: Option<ByteWish>) -> Wish {
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

async fn read(mut reader: Reader) -> Result<Bytes, kith_fetch::reader::ReadError> {
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}

const MIB: usize = 1 << 20;

#[tokio::test]
async fn what_came_through_is_stored_and_right() {
    for length in [0, 1, 1000, 16 * 1024, 16 * 1024 + 1, 3 * MIB + 17] {
        let body = sample(length, 1);
        let house = House::new(ScriptedOrigin::serving(body.clone()), Vec::new());
        assert_eq!(read(house.get(None).await).await.expect("whole"), body, "{length}");
        let stored = house.stored().await;
        assert_eq!((stored.object, stored.length), (ObjectId::of(&body), length as u64));
        let again =
            house.fetcher.open(&stored.object, kith_model::range::ByteRange::whole(length as u64)).await;
        assert_eq!(read(again.expect("fine").expect("held")).await.expect("whole"), body);
        assert_eq!(house.requests(), 1);
    }
}

#[tokio::test]
async fn many_readers_share_one_fetch() {
    let body = sample(5 * MIB, 2);
    let house = House::new(ScriptedOrigin::serving(body.clone()).slow(0), Vec::new());
    let first = house.get(None).await;
    let mut readers = tokio::task::JoinSet::new();
    for at in 0..16u64 {
        let wish = if at % 2 == 0 { None } else { Some(ByteWish::From(at * 100_000)) };
        let reader = house.get(wish).await;
        let expected =
            body.slice(if at % 2 == 0 { 0 } else { usize::try_from(at * 100_000).expect("small") }..);
        readers.spawn(async move { assert_eq!(read(reader).await.expect("whole"), expected) });
    }
    // The first one leaves; the others must not notice.
    drop(first);
    house.origin.pieces.add_permits(10_000);
    while let Some(done) = readers.join_next().await {
        done.expect("right bytes");
    }
    // Three further lanes for the seeks, each with at most a run and a piece on the way past its cut.
    assert!(house.sent() <= body.len() as u64 + 3 * (256 + 64) * 1024, "{}", house.sent());
}

#[tokio::test]
async fn a_neighbour_delivers_what_the_origin_need_not_send() {
    let body = sample(40 * MIB, 3);
    let near = ScriptedNeighbour::holding(body.clone());
    // The origin sends its first pieces and then is so slow that it sends nothing more.
    let house = House::new(ScriptedOrigin::serving(body.clone()).slow(4), vec![near.clone()]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    assert!(near.delivered.load(SeqCst) >= 39 * MIB as u64);
    assert!(house.sent() <= MIB as u64, "{}", house.sent());
    assert_eq!(house.stored().await.standing, kith_model::representation::Standing::Claimed);
}

#[tokio::test]
async fn with_a_digest_from_the_origin_a_neighbours_bytes_become_first_hand() {
    let body = sample(20 * MIB, 4);
    let near = ScriptedNeighbour::holding(body.clone());
    let house = House::new(ScriptedOrigin::serving(body.clone()).with_digest().slow(4), vec![near]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    assert_eq!(house.stored().await.standing, kith_model::representation::Standing::FirstHand);
}

#[tokio::test]
async fn a_false_claim_costs_the_liar_and_never_the_client() {
    let body = sample(20 * MIB, 5);
    let mut lie = body.to_vec();
    lie[15 * MIB] ^= 1;
    let near = ScriptedNeighbour::holding(lie.into());
    let house = House::new(ScriptedOrigin::serving(body.clone()).with_digest(), vec![near.clone()]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    assert_eq!(house.stored().await.object, ObjectId::of(&body));
    if near.delivered.load(SeqCst) > 0 && house.fetcher.counters().false_claims.count() > 0 {
        assert!(near.faults.lock().expect("lock").contains(&Fault::FalseClaim));
    }
}

#[tokio::test]
async fn a_false_claim_from_a_neighbour_that_sends_it_all_is_noticed_by_the_digest() {
    let body = sample(20 * MIB, 6);
    let mut lie = body.to_vec();
    lie[15 * MIB] ^= 1;
    let near = ScriptedNeighbour::holding(lie.into());
    // The origin sends a little at first, so that the neighbour takes over; then it is let go.
    let house = House::new(ScriptedOrigin::serving(body.clone()).with_digest().slow(4), vec![near.clone()]);
    let reader = house.get(None).await;
    let reading = tokio::spawn(read(reader));
    let counters = Arc::clone(house.fetcher.counters());
    while counters.false_claims.count() == 0 {
        tokio::task::yield_now().await;
    }
    house.origin.pieces.add_permits(10_000);
    assert_eq!(reading.await.expect("no panic").expect("whole"), body);
    assert_eq!(*near.faults.lock().expect("lock"), [Fault::FalseClaim]);
    assert_eq!(house.stored().await.object, ObjectId::of(&body));
    house.idle().await;
    assert_eq!(house.fetcher.doors(&ObjectId::of(&body)), [], "who lied is nobody to be sent to");
    assert_eq!(house.fetcher.doors(&near.object), []);
}

#[tokio::test]
async fn who_claimed_rightly_is_known_to_hold_it_too() {
    let body = sample(5 * MIB, 31);
    let near = ScriptedNeighbour::holding(body.clone());
    // The origin sends a little at first, so that the neighbour is heard.
    let house = House::new(ScriptedOrigin::serving(body.clone()).slow(4), vec![near]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    let stored = house.stored().await;
    house.idle().await;
    assert_eq!(house.fetcher.doors(&stored.object), [DOOR]);
}

#[tokio::test]
async fn what_is_served_from_the_shelf_is_asked_about_once_in_a_while() {
    let body = sample(2 * MIB, 32);
    let alone = House::new(ScriptedOrigin::serving(body.clone()), vec![]);
    let near = ScriptedNeighbour::holding(body.clone());
    assert_eq!(read(alone.get(None).await).await.expect("whole"), body);
    let stored = alone.stored().await;
    let finders = vec![Arc::new(near.clone()) as Arc<dyn Finder>];
    let origin = Arc::new(Asked(Arc::clone(&alone.origin)));
    let fetcher = Fetcher::new(alone.store.clone(), origin, finders, Config { neighbour_bytes_min: 1 << 20 });
    let private = Representation { standing: Standing::Household, ..stored.clone() };
    fetcher.look_around(&private);
    assert_eq!(fetcher.doors(&stored.object), []);
    for _ in 0..3 {
        fetcher.look_around(&stored);
    }
    while fetcher.doors(&stored.object).is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(fetcher.doors(&stored.object), [DOOR]);
    fetcher.look_around(&stored);
    fetcher.shutdown().await;
    assert_eq!(near.asked.load(SeqCst), 1);
}

#[tokio::test]
async fn a_neighbour_that_stalls_is_left() {
    let body = sample(20 * MIB, 7);
    let near = ScriptedNeighbour { stalls_after: Some(3), ..ScriptedNeighbour::holding(body.clone()) };
    let house = House::new(ScriptedOrigin::serving(body.clone()), vec![near]);
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
}

#[tokio::test]
async fn a_broken_transfer_is_incomplete_and_resumed_by_the_next_client() {
    let body = sample(10 * MIB, 8);
    let dir = tempfile::tempdir().expect("a temp dir");
    let origin = ScriptedOrigin::serving(body.clone());
    *origin.breaks_after.lock().expect("lock") = Some(4 * MIB as u64);
    let house = House::at(dir, origin, Vec::new());
    // Each lane breaks after 4 MiB and the next one goes on from there.
    assert_eq!(read(house.get(None).await).await.expect("whole"), body);
    assert!(house.requests() >= 3);
    assert!(house.sent() <= body.len() as u64 + 256 * 1024, "{}", house.sent());
}

#[tokio::test]
async fn a_new_version_half_way_ends_the_old_transfer_incomplete() {
    let body = sample(10 * MIB, 9);
    let origin = ScriptedOrigin::serving(body.clone());
    *origin.breaks_after.lock().expect("lock") = Some(4 * MIB as u64);
    let house = House::new(origin.slow(8), Vec::new());
    let reader = house.get(None).await;
    *house.origin.tag.lock().expect("lock") = "\"two\"";
    *house.origin.body.lock().expect("lock") = sample(10 * MIB, 99);
    house.origin.pieces.add_permits(10_000);
    assert!(read(reader).await.is_err(), "a mixture must never be complete");
    assert!(house.fetcher.representations(&target()).expect("index").is_empty());
    *house.origin.breaks_after.lock().expect("lock") = None;
    assert_eq!(read(house.get(None).await).await.expect("whole"), sample(10 * MIB, 99));
}

#[tokio::test]
async fn a_digest_that_does_not_match_ends_the_transfer_incomplete_and_stores_nothing() {
    let origin = ScriptedOrigin::serving(sample(3 * MIB, 10)).with_digest();
    *origin.body.lock().expect("lock") = sample(3 * MIB, 11);
    let house = House::new(origin, Vec::new());
    assert!(read(house.get(None).await).await.is_err());
    assert!(house.fetcher.representations(&target()).expect("index").is_empty());
}

#[tokio::test]
async fn a_small_range_of_a_cold_object_costs_its_window_and_the_next_one_nothing() {
    let body = sample(30 * MIB, 12);
    let house = House::new(ScriptedOrigin::serving(body.clone()), Vec::new());
    let range = ByteWish::FromTo(10_000_000, 10_000_100);
    assert_eq!(read(house.get(Some(range)).await).await.expect("whole"), body.slice(10_000_000..10_000_100));
    assert!(house.sent() <= MIB as u64, "{}", house.sent());
    let next = ByteWish::FromTo(10_000_100, 10_000_200);
    assert_eq!(read(house.get(Some(next)).await).await.expect("whole"), body.slice(10_000_100..10_000_200));
    assert!(house.sent() <= MIB as u64, "{}", house.sent());
}

/// A range once waited for the check of a whole that nobody fetched.
#[tokio::test]
async fn a_range_of_an_object_with_a_digest_does_not_wait_for_the_rest() {
    let body = sample(4 * MIB, 13);
    let house = House::new(ScriptedOrigin::serving(body.clone()).with_digest(), vec![]);
    for (range, expected) in [
        (ByteWish::FromTo(100_000, 200_000), body.slice(100_000..200_000)),
        (ByteWish::Last(1000), body.slice(body.len() - 1000..)),
    ] {
        assert_eq!(read(house.get(Some(range)).await).await.expect("the part"), expected);
    }
}

#[tokio::test]
async fn a_range_behind_the_end_is_refused_with_the_length() {
    let house = House::new(ScriptedOrigin::serving(sample(MIB, 13)), Vec::new());
    let wish = wish(Some(ByteWish::From(5 * MIB as u64)));
    // The origin is asked for the range first; ours answers with a part that is empty.
    let outcome = house.fetcher.fetch(Wish { range: Some(ByteWish::Last(0)), ..wish }).await;
    assert!(matches!(outcome, Err(FetchError::Unsatisfiable { length }) if length == MIB as u64));
}

#[tokio::test]
async fn a_confirmation_renews_what_is_stored() {
    let body = sample(MIB, 14);
    let house = House::new(ScriptedOrigin::serving(body.clone()), Vec::new());
    read(house.get(None).await).await.expect("whole");
    let stored = house.stored().await;
    let fetched = house.fetcher.fetch(Wish { stored: Some(stored.clone()), ..wish(None) }).await;
    let Ok(Fetched::Renewed(renewed)) = fetched else { panic!("a 304 renews") };
    assert_eq!(renewed.object, stored.object);
    assert!(renewed.head.received_at >= stored.head.received_at);
    assert_eq!(house.sent(), MIB as u64, "a confirmation costs no body");
}

#[tokio::test]
async fn an_origin_that_is_down_is_an_error_that_names_the_step() {
    let origin = ScriptedOrigin::serving(sample(10, 15));
    origin.down.store(true, SeqCst);
    let house = House::new(origin, Vec::new());
    let Err(FetchError::Ask(error)) = house.fetcher.fetch(wish(None)).await else { panic!("nobody answers") };
    assert!(matches!(*error, AskError::Connect(..)));
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_is_away_is_not_asked_again_for_seconds_and_then_found_back() {
    let origin = ScriptedOrigin::serving(sample(10, 16));
    origin.down.store(true, SeqCst);
    let house = House::new(origin, Vec::new());
    let asked = || house.origin.requests.lock().expect("lock").len();
    for _ in 0..3 {
        let failed = house.fetcher.fetch(wish(None)).await;
        assert!(matches!(failed, Err(FetchError::Ask(error)) if matches!(*error, AskError::Connect(..))));
        assert_eq!(asked(), 1);
    }
    house.origin.down.store(false, SeqCst);
    tokio::time::advance(kith_model::limits::ABSENT_QUIET).await;
    let target = Target::parse(URL).expect("a URL");
    assert!(house.fetcher.is_away(&target));
    assert!(house.fetcher.fetch(wish(None)).await.is_ok());
    assert_eq!(asked(), 2);
    assert!(!house.fetcher.is_away(&target));
}
