//! A fetch that other boxes share: what they have is taken, what they got wrong is found out.

mod common;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::*;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use kith_fetch::crowd::{BLOCK, MemberId, Told, UNIT};
use kith_fetch::fetcher::{Config, Fetcher};
use kith_fetch::share::{Gathering, Share, Word};
use kith_fetch::source::{Abilities, Fault, Finder, Found, Lane, Source, SourceError, SourceKind, Wanted};
use kith_model::range::{ChunkGroup, GROUP_BYTES, GroupSet, GroupSpan};
use kith_model::representation::Standing;
use kith_model::verify::{self, Leaf, Run};

/// A box that has fetched the first half of the same, and fetches nothing more.
#[derive(Clone)]
struct Fellow {
    body: Bytes,
    taken: Arc<Mutex<Vec<GroupSpan>>>,
    judged: Arc<Mutex<Vec<(GroupSpan, Leaf)>>>,
    /// What the job has told.
    share: Arc<Mutex<Option<Arc<Share>>>>,
    held: GroupSpan,
}

impl Fellow {
    fn with(body: Bytes) -> Self {
        let half = GroupSpan::clamped(0, body.len() as u64 / GROUP_BYTES / 2);
        Self { body, taken: Arc::default(), judged: Arc::default(), share: Arc::default(), held: half }
    }
}

impl Finder for Fellow {
    fn find(&self, _wanted: Wanted) -> BoxStream<'static, Found> {
        stream::empty().boxed()
    }

    fn gather(&self, wanted: &Wanted, share: &Arc<Share>) -> Option<Gathering> {
        assert_eq!(wanted.length, self.body.len() as u64);
        *self.share.lock().expect("lock") = Some(Arc::clone(share));
        let told = Told { ready: GroupSet::of(self.held), ..Told::default() };
        let word = Word::Told { member: MemberId(7), source: Arc::new(self.clone()), told };
        let words = stream::iter([word]).chain(stream::pending()).boxed();
        Some(Gathering { us: MemberId(1), words })
    }
}

impl Source for Fellow {
    fn kind(&self) -> SourceKind {
        SourceKind::Neighbour
    }

    fn label(&self) -> &'static str {
        "box-b"
    }

    fn abilities(&self) -> Abilities {
        Abilities { ranges: true, lanes_max: 1, grain: 1 }
    }

    fn open(&self, span: GroupSpan) -> BoxFuture<'static, Result<Box<dyn Lane>, SourceError>> {
        let fellow = self.clone();
        async move {
            fellow.taken.lock().expect("lock").push(span);
            let run = Run::of_signed_unit(ChunkGroup(span.start()), part(&fellow.body, span));
            Ok(Box::new(Once(Some(run))) as Box<dyn Lane>)
        }
        .boxed()
    }

    fn blame(&self, fault: Fault) {
        if let Fault::Unit { unit, truth } = fault {
            self.judged.lock().expect("lock").push((unit, truth));
        }
    }
}

struct Once(Option<Run>);

impl Lane for Once {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Run>, SourceError>> {
        std::future::ready(Ok(self.0.take())).boxed()
    }
}

fn part(body: &Bytes, span: GroupSpan) -> Bytes {
    let range = span.bytes(body.len() as u64);
    let at = |offset: u64| usize::try_from(offset).expect("small");
    body.slice(at(range.start())..at(range.end()))
}

fn house(origin: ScriptedOrigin, fellow: &Fellow) -> House {
    shared(House::new(origin, Vec::new()), fellow)
}

/// The same house, with another box that fetches too.
fn shared(house: House, fellow: &Fellow) -> House {
    let finders = vec![Arc::new(fellow.clone()) as Arc<dyn Finder>];
    let asked = Arc::new(Asked(Arc::clone(&house.origin)));
    let fetcher = Fetcher::new(house.store.clone(), asked, finders, Config { neighbour_bytes_min: 1 << 20 });
    House { fetcher, ..house }
}

/// The origin sends the rest once so many units of the other box were taken.
async fn let_go_after(units: usize, fellow: &Fellow, house: &House) {
    while fellow.taken.lock().expect("lock").len() < units {
        tokio::task::yield_now().await;
    }
    house.origin.pieces.add_permits(10_000);
}

#[tokio::test]
async fn what_another_box_has_is_taken_and_the_origin_sends_the_rest() {
    let body = sample(32 * MIB, 1);
    let fellow = Fellow::with(body.clone());
    // Enough for the first lane to begin, too little for it to be through before the other box speaks.
    let house = house(ScriptedOrigin::serving(body.clone()).slow(16), &fellow);
    let reader = house.get(None).await;
    let (read, ()) = tokio::join!(read(reader), let_go_after(16, &fellow, &house));
    assert!(read.expect("complete") == body);

    // What was on its way when the first lane was cut came for nothing.
    assert!(house.sent() <= (16 + 2) * MIB as u64, "the origin sent {} bytes", house.sent());
    assert_eq!(
        house.stored().await.standing,
        Standing::Claimed,
        "nobody can say that all of it is the origin's"
    );
    let share = fellow.share.lock().expect("lock").clone().expect("it was made known");
    let told = share.told().borrow().clone();
    let theirs = fellow.held;
    let ours = GroupSpan::clamped(theirs.end(), theirs.end() * 2);
    assert!(told.ready.contains_all(ours), "{told:?}");
    let passed_on = fellow.taken.lock().expect("lock").iter().any(|unit| told.ready.contains(unit.start()));
    assert!(!passed_on, "what came from others is never offered: {told:?}");
    let unit = GroupSpan::clamped(ours.start(), ours.start() + UNIT);
    assert!(share.read(unit).await.is_some_and(|bytes| bytes == part(&body, unit)));
    assert!(share.read(GroupSpan::clamped(BLOCK, BLOCK + UNIT)).await.is_none());
}

#[tokio::test]
async fn a_lie_reaches_nobody_as_a_complete_file_and_every_unit_is_compared_with_the_origins() {
    let body = sample(16 * MIB, 1);
    let mut lie = body.to_vec();
    lie[5 * MIB] ^= 1;
    let fellow = Fellow::with(lie.into());
    let house = house(ScriptedOrigin::serving(body.clone()).with_digest().slow(8), &fellow);
    let reader = house.get(None).await;
    let (read, ()) = tokio::join!(read(reader), let_go_after(8, &fellow, &house));
    assert!(read.is_err(), "who was shown wrong bytes sees no proper end");

    let stored = house.stored().await;
    assert_eq!(stored.object, kith_model::object::ObjectId::of(&body));
    house.idle().await;
    let judged = fellow.judged.lock().expect("lock").clone();
    assert_eq!(judged.len(), fellow.taken.lock().expect("lock").len());
    for (unit, truth) in judged {
        assert_eq!(truth, verify::leaf(unit.start(), &part(&body, unit)), "{unit:?}");
    }
}

#[tokio::test]
async fn what_an_earlier_fetch_left_is_offered_at_once() {
    let body = sample(16 * MIB, 2);
    // 3 MiB and a half come, then the box is stopped.
    let house = House::new(ScriptedOrigin::serving(body.clone()).slow(56), Vec::new());
    let mut reader = house.get(None).await;
    let mut count = 0;
    while count < 3 * MIB + MIB / 2 {
        count += reader.next().await.expect("arrives").expect("more").len();
    }
    house.fetcher.shutdown().await;
    drop(reader);

    let mut nobody = Fellow::with(body.clone());
    nobody.held = GroupSpan::clamped(0, 0);
    let house = shared(house, &nobody);
    let reader = house.get(None).await;
    let share = nobody.share.lock().expect("lock").clone().expect("it was made known");
    let mut told = share.told();
    let three = GroupSpan::clamped(0, 3 * UNIT);
    let ready = told.wait_for(|told| told.ready.contains_all(three)).await.expect("it is told").ready.clone();
    assert_eq!(house.sent(), 56 * 64 * 1024, "nothing has come since");
    assert!(!ready.contains(3 * UNIT), "half a unit is none: {ready:?}");
    assert!(share.read(GroupSpan::clamped(UNIT, 2 * UNIT)).await.is_some());
    house.origin.pieces.add_permits(10_000);
    assert!(read(reader).await.expect("complete") == body);
}
