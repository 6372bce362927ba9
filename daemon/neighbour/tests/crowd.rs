//! Two boxes that fetch the same at the same time, on loopback: who hears of whom, and what goes from one to the other.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use common::*;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode};
use kith_fetch::crowd::UNIT;
use kith_fetch::share::{Gathering, Share, Word};
use kith_fetch::source::{Fault, Finder, Source, SourceError};
use kith_model::freshness::outdated;
use kith_model::key::{CacheKey, Target, Variant};
use kith_model::ladder::Ladder;
use kith_model::limits::Profile;
use kith_model::range::{ChunkGroup, GROUP_BYTES, GroupSet, GroupSpan};
use kith_model::representation::{Head, Representation, Standing, StrongValidator};
use kith_model::time::UnixMillis;
use kith_model::trust::Role;
use kith_model::verify::{Leaf, Run};
use kith_neighbour::State;
use kith_neighbour::claim::{Rendezvous, Statement};
use kith_neighbour::endpoint;
use kith_neighbour::frames::{self, FrameReader};
use kith_neighbour::identity::Identity;
use kith_neighbour::tls::{self, Expected};
use kith_neighbour::wire::crowd::{Gather, Take};
use kith_neighbour::wire::{self, Hello, Message, Reason, RendezvousId};
use kith_store::{Draft, Finish, Visibility, Writer};

const LENGTH: u64 = 16 * MIB;

/// A fetch that is under way: its first two units are here.
struct Fetch {
    writer: Writer,
    share: Arc<Share>,
    gathering: Gathering,
}

async fn fetch(home: &Home, bytes: &[u8]) -> Fetch {
    let mut headers = HeaderMap::new();
    headers.insert("etag", HeaderValue::from_static("\"v1\""));
    let at = UnixMillis(1_700_000_000_000);
    let draft = Draft {
        key: CacheKey { target: Target::parse(URL).expect("a URL"), variant: Variant::ONLY },
        selecting: Vec::new(),
        validator: StrongValidator::of(&headers),
        head: Head { status: StatusCode::OK, headers, requested_at: at, received_at: at },
        length: Some(LENGTH),
        ladder: Ladder::default(),
    };
    let writer = home.store.create(draft).await.expect("a place");
    let two = GroupSpan::clamped(0, 2 * UNIT);
    let run =
        Run::from_origin(ChunkGroup(0), Bytes::copy_from_slice(&bytes[..usize_of(two.bytes(LENGTH).len())]));
    writer.write(run, Visibility::Now).await.expect("written");
    let share = Arc::new(Share::new(writer.body(), LENGTH));
    share.tell(|told| {
        told.ready = GroupSet::of(two);
        told.working = vec![0];
        told.received = 2 * UNIT;
        told.fetches = true;
        true
    });
    let gathering = home.neighbours.gather(&wanted(URL, LENGTH), &share).expect("room for one");
    Fetch { writer, share, gathering }
}

async fn next(fetch: &mut Fetch) -> Word {
    let word = tokio::time::timeout(PATIENCE, fetch.gathering.words.next()).await;
    word.expect("in time").expect("it listens as long as it lasts")
}

/// Who fetches it too; those who said that they do not are passed over.
async fn fellow(fetch: &mut Fetch) -> Arc<dyn Source> {
    loop {
        if let Word::Told { source, told, member } = next(fetch).await {
            assert!(told.ready.contains_all(GroupSpan::clamped(0, 2 * UNIT)), "{told:?}");
            assert_eq!((told.working, told.received, told.fetches), (vec![0], 2 * UNIT, true));
            assert_ne!(member, fetch.gathering.us);
            return source;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boxes_hear_of_each_others_fetches_whoever_began_first_and_give_what_is_ready() {
    let (den, attic) = pair().await;
    let bytes = sample(LENGTH);
    let mut first = fetch(&den, &bytes).await;
    assert!(matches!(next(&mut first).await, Word::Left(_)), "the other fetches nothing yet");
    let mut second = fetch(&attic, &bytes).await;
    // Who asks is asked back, as long as both listen.
    let (of_attic, of_den) = tokio::join!(fellow(&mut first), fellow(&mut second));

    let unit = GroupSpan::clamped(UNIT, 2 * UNIT);
    for source in [&of_attic, &of_den] {
        let mut lane = source.open(unit).await.expect("it is ready");
        let range = unit.bytes(LENGTH);
        let given = drain_lane(lane.as_mut()).await.expect("delivered");
        assert!(given == bytes[usize_of(range.start())..usize_of(range.end())]);
        let later = source.open(GroupSpan::clamped(2 * UNIT, 3 * UNIT)).await;
        assert!(matches!(later.err(), Some(SourceError::NotHeld)));
    }
    let (ours, theirs) = (den.neighbours.totals(), attic.neighbours.totals());
    assert_eq!(ours.sent_bytes, UNIT * GROUP_BYTES);
    // The first question was in vain.
    assert_eq!((ours.gathers_sent, ours.gathers_received), (2, 1));
    assert_eq!((theirs.gathers_sent, theirs.gathers_received), (1, 2));
    assert_eq!((ours.takes_sent, ours.takes_received), (2, 2));
    assert!(ours.reports_sent >= 1 && ours.reports_received >= 1, "{ours:?}");

    drop((first.share, first.gathering));
    while !matches!(next(&mut second).await, Word::Left(_)) {}
    assert!(of_den.open(unit).await.is_err(), "what is over is not given any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signed_for_other_bytes_than_the_origin_sends_is_put_away() {
    let (den, attic) = pair().await;
    let bytes = sample(LENGTH);
    let _first = fetch(&den, &bytes).await;
    let mut second = fetch(&attic, &bytes).await;
    let source = fellow(&mut second).await;
    let unit = GroupSpan::clamped(0, UNIT);
    let mut lane = source.open(unit).await.expect("it is ready");
    let run = lane.next().await.expect("delivered").expect("one run");

    source.blame(Fault::Unit { unit, truth: run.subtree() });
    assert_eq!(attic.neighbours.list()[0].state, State::Good);
    source.blame(Fault::Unit { unit: GroupSpan::clamped(UNIT, 2 * UNIT), truth: Leaf([0; 32]) });
    assert_eq!(attic.neighbours.list()[0].state, State::Good, "it has signed nothing for that unit");
    source.blame(Fault::Unit { unit, truth: Leaf([0; 32]) });
    assert!(matches!(attic.neighbours.list()[0].state, State::Quarantined { .. }));
}

/// Asks until it is not given any more.
async fn is_given_no_more(source: &Arc<dyn Source>, unit: GroupSpan) {
    let asking = async {
        loop {
            if let Err(error) = source.open(unit).await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, asking).await.expect("in time");
    assert!(matches!(error, SourceError::NotHeld), "{error}");
}

fn stored(home: &Home) -> Representation {
    home.store.representations(&Target::parse(URL).expect("a URL")).expect("index")[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_origin_of_one_box_took_back_no_box_gives_any_more() {
    let (den, attic) = pair().await;
    let bytes = sample(LENGTH);
    attic.put(URL, &bytes, &[]).await;
    let mut first = fetch(&den, &bytes).await;
    let mut second = fetch(&attic, &bytes).await;
    let (of_attic, of_den) = tokio::join!(fellow(&mut first), fellow(&mut second));
    let unit = GroupSpan::clamped(UNIT, 2 * UNIT);
    assert!(of_attic.open(unit).await.is_ok() && of_den.open(unit).await.is_ok());

    attic.neighbours.withdrawn(&stored(&attic));
    let error = of_attic.open(unit).await.err();
    assert!(matches!(error, Some(SourceError::NotHeld)), "at once: {error:?}");
    is_given_no_more(&of_den, unit).await;
    assert_eq!(den.neighbours.list()[0].state, State::Good);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_through_is_given_as_long_as_it_is_kept_and_not_doubted() {
    let (den, attic) = pair().await;
    let bytes = sample(LENGTH);
    let Fetch { writer, share, gathering: _first } = fetch(&den, &bytes).await;
    let mut second = fetch(&attic, &bytes).await;
    let source = fellow(&mut second).await;
    let rest = Run::from_origin(ChunkGroup(2 * UNIT), Bytes::copy_from_slice(&bytes[usize_of(2 * MIB)..]));
    writer.write(rest, Visibility::Now).await.expect("written");
    let now = UnixMillis(1_700_000_000_001);
    // Others gave some of it.
    let finish =
        Finish { length: LENGTH, expected: None, standing: Standing::Claimed, representation: true, now };
    writer.finish(finish).await.expect("stored");
    let unit = GroupSpan::clamped(0, UNIT);
    assert!(share.object().is_some() && source.open(unit).await.is_ok());

    let kept = stored(&den);
    den.store.refresh(outdated(&kept)).await.expect("filed");
    assert!(matches!(source.open(unit).await.err(), Some(SourceError::NotHeld)), "somebody doubts it");
    den.store.refresh(kept.clone()).await.expect("filed");
    assert!(source.open(unit).await.is_ok(), "its origin confirmed it");
    den.store.forget(&kept.key).await.expect("forgotten");
    assert!(matches!(source.open(unit).await.err(), Some(SourceError::NotHeld)), "it is not kept any more");
}

#[tokio::test]
async fn only_boxes_of_the_same_owner_are_told_and_given() {
    let bytes = sample(LENGTH);
    for role in [Role::Mine, Role::Neighbour] {
        let guest = Identity::generate().expect("random");
        let secret = [5; 32];
        let home = Home::start_in("den", folder_paired_with(guest.key(), secret, role), Vec::new());
        let _fetch = fetch(&home, &bytes).await;
        let statement = Statement::Fetched(wanted(URL, LENGTH).target, wanted(URL, LENGTH).validator);
        let rendezvous = Rendezvous::new(&secret, 1);
        let (day, id) = (1, rendezvous.id(statement.subject(LENGTH)));

        let told = ask(&guest, &home, &Message::Gather(Gather { day, id })).await;
        let given = ask(&guest, &home, &Message::Take(Take { day, id, unit: 0 })).await;

        let is_mine = role == Role::Mine;
        assert_eq!(matches!(told, Message::Progress(_)), is_mine, "{role:?}: {told:?}");
        assert_eq!(matches!(given, Message::Part(_)), is_mine, "{role:?}: {given:?}");
        let other = RendezvousId([0; 32]);
        let told = ask(&guest, &home, &Message::Gather(Gather { day, id: other })).await;
        assert_eq!(told, Reason::NotHere.message(), "what is not fetched is not told of");
    }
}

/// The first frame of the answer to a question.
async fn ask(guest: &Identity, home: &Home, question: &Message) -> Message {
    let limits = Profile::Board.limits();
    let config = endpoint::client_config(guest, Expected::Anyone, tls::ALPN, &limits).expect("config");
    let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
    let connecting = endpoint.connect_with(config, home.address(), tls::SERVER_NAME).expect("an address");
    let connection = connecting.await.expect("paired");
    let hello = Hello { version: wire::VERSION, name: "guest".into(), instance: 1, speaks: None };
    say(&connection, &Message::Hello(hello)).await;
    say(&connection, question).await
}

async fn say(connection: &quinn::Connection, message: &Message) -> Message {
    let (mut send, receive) = connection.open_bi().await.expect("open");
    frames::send(&mut send, message).await.expect("sent");
    let answer = FrameReader::new(receive).frame().await.expect("an answer");
    answer.expect("not empty")
}
