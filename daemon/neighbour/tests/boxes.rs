//! Two boxes on loopback: who gets in, what moves, and what ends it.

mod common;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use kith_fetch::source::{Finder, SourceError, SourceKind};
use kith_model::limits::Profile;
use kith_model::range::{GroupSpan, groups_of};
use kith_model::sharing::Audience;
use kith_model::trust::Role;
use kith_neighbour::clients::Clients;
use kith_neighbour::endpoint;
use kith_neighbour::frames::{self, FrameReader};
use kith_neighbour::identity::Identity;
use kith_neighbour::tls::{self, Expected};
use kith_neighbour::wire::{Get, Message, Span};
use kith_neighbour::{JoinError, PairingOutcome, RotateError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_from_one_paired_box_to_the_other_and_every_group_is_verified() {
    let (den, attic) = pair().await;
    let bytes = sample(20 * MIB + 12_345);
    let length = bytes.len() as u64;
    let info = den.put(URL, &bytes, &[]).await;
    attic.is_told(1).await;

    let found = attic.find(wanted(URL, length)).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].object, info.id);
    assert_eq!(found[0].source.kind(), SourceKind::Neighbour);
    assert_eq!(found[0].source.label(), den.neighbours.id().short());
    assert!(drain(&found[0], length).await.expect("delivered") == bytes);

    let mut lane = found[0].source.open(GroupSpan::clamped(100, 103)).await.expect("open");
    let part = drain_lane(lane.as_mut()).await.expect("delivered");
    assert!(part == bytes[usize_of(100 * 16_384)..usize_of(103 * 16_384)]);

    let totals = attic.neighbours.totals();
    assert_eq!(totals.groups_verified, groups_of(length) + 3);
    assert_eq!(totals.received_bytes, length + 3 * 16_384);
    assert_eq!(den.neighbours.totals().sent_bytes, totals.received_bytes);
    assert_eq!((totals.verify_failures, totals.strikes, totals.sessions_mine), (0, 0, 1));
}

/// A box that starts anew in the folder of one that stopped.
async fn restarted(home: Home, name: &str, towards: &Home) -> Home {
    let Home { dir, store, neighbours } = home;
    neighbours.shutdown().await;
    drop(neighbours);
    store.close().await;
    drop(store);
    Home::start_in(name, dir, vec![towards.address()])
}

#[tokio::test]
async fn a_box_with_a_new_key_stays_paired_and_its_old_key_is_a_strangers() {
    let (den, attic) = pair().await;
    let (old_id, attic_id) = (den.neighbours.id(), attic.neighbours.id());
    let old_key = Identity::open(den.dir.path()).expect("the old key");
    let new_id = den.neighbours.rotate_key().await.expect("prepared");
    assert_eq!(den.neighbours.id(), old_id, "not before the next start");

    let den = restarted(den, "den", &attic).await;
    assert_eq!(den.neighbours.id(), new_id);
    let views = attic.sees(|views| views.iter().any(|view| view.connected && view.id == new_id)).await;
    assert_eq!((views.len(), views[0].role), (1, Some(Role::Mine)));
    den.sees(|views| views.iter().any(|view| view.connected && view.id == attic_id)).await;
    let bytes = sample(4 * MIB);
    den.put(URL, &bytes, &[]).await;
    attic.is_told(1).await;
    assert_eq!(attic.find(wanted(URL, 4 * MIB)).await.len(), 1, "the pair's secret is the same");

    // Everybody knows.
    den.sees(|_| !den.dir.path().join("identity.old").exists()).await;
    let limits = Profile::Board.limits();
    let expected = Expected::Anyone;
    let config = endpoint::client_config(&old_key, expected, tls::ALPN, &limits).expect("a configuration");
    let client = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a socket");
    let connection = client.connect_with(config, attic.address(), tls::SERVER_NAME).expect("dialled").await;
    // The client's key is looked at after the client is done.
    let refused = match connection {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    assert!(matches!(refused, quinn::ConnectionError::ConnectionClosed(_)), "TLS refuses it: {refused}");
}

#[tokio::test]
async fn a_box_that_was_off_when_the_key_changed_is_told_when_it_is_back() {
    let (den, attic) = pair().await;
    let Home { dir, store, neighbours } = attic;
    neighbours.shutdown().await;
    drop(neighbours);
    store.close().await;
    drop(store);
    let new_id = den.neighbours.rotate_key().await.expect("prepared");
    let nobody = Home::start("nobody");
    let den = restarted(den, "den", &nobody).await;
    let again = den.neighbours.rotate_key().await;
    assert!(
        matches!(&again, Err(RotateError::Owed(names)) if names == &["attic"]),
        "one change at a time: {again:?}"
    );
    assert!(den.dir.path().join("identity.old").exists());

    let attic = Home::start_in("attic", dir, Vec::new());
    let den = restarted(den, "den", &attic).await;
    attic.sees(|views| views.iter().any(|view| view.connected && view.id == new_id)).await;
    den.connected().await;
    den.sees(|_| !den.dir.path().join("identity.old").exists()).await;
    den.neighbours.rotate_key().await.expect("it may be changed again");
}

/// Lets everybody in, or nobody.
struct Gate(Option<u16>);

impl Clients for Gate {
    fn port(&self, peer: IpAddr, local: IpAddr) -> Option<u16> {
        assert!(peer.is_loopback() && local.is_loopback());
        self.0
    }
}

#[tokio::test]
async fn where_clients_connect_is_told_at_the_address_of_the_session() {
    let (den, attic) = pair().await;
    den.put(URL, &sample(4 * MIB), &[]).await;
    attic.is_told(1).await;
    let found = attic.find(wanted(URL, 4 * MIB)).await;
    assert_eq!(found[0].source.door(), None, "nothing was told yet");
    den.neighbours.tell_clients(Arc::new(Gate(Some(8480))));
    let found = attic.find(wanted(URL, 4 * MIB)).await;
    assert_eq!(found[0].source.door(), Some(SocketAddr::from(([127, 0, 0, 1], 8480))));
}

#[tokio::test]
async fn where_clients_connect_is_not_told_to_who_is_not_let_in() {
    let (den, attic) = pair().await;
    den.put(URL, &sample(4 * MIB), &[]).await;
    attic.is_told(1).await;
    den.neighbours.tell_clients(Arc::new(Gate(None)));
    let found = attic.find(wanted(URL, 4 * MIB)).await;
    assert_eq!((found.len(), found[0].source.door()), (1, None));
}

#[tokio::test]
async fn an_object_is_found_by_its_digest_under_another_url() {
    let (den, attic) = pair().await;
    let bytes = sample(4 * MIB);
    den.put_told(URL, &bytes, &[], telling(sha256(&bytes))).await;
    attic.is_told(2).await;
    let elsewhere = wanted("https://mirror.example.net/b.iso", 4 * MIB);
    assert!(attic.find(elsewhere.clone()).await.is_empty());
    let mut by_digest = elsewhere;
    by_digest.digest = Some(sha256(&bytes));
    assert_eq!(attic.find(by_digest).await.len(), 1);
}

#[tokio::test]
async fn what_must_not_leave_or_is_another_version_is_not_here() {
    let (den, attic) = pair().await;
    let bytes = sample(4 * MIB + 1);
    let private = "https://example.org/private.bin";
    let token = "https://example.org/f.bin?X-Amz-Signature=0123456789abcdef";
    let small = "https://example.org/small.bin";
    let object = den.put(private, &bytes[1..], &[("cache-control", "private")]).await.id;
    den.put(token, &bytes, &[]).await;
    den.put(small, &bytes[..65_536], &[]).await;
    den.put(URL, &sample(5 * MIB), &[]).await;
    attic.is_told(1).await;
    // The filter has just changed, so it is asked also for what is not in it.
    assert!(attic.find(wanted(private, 4 * MIB)).await.is_empty());
    assert!(attic.find(wanted(token, 4 * MIB + 1)).await.is_empty());
    assert!(attic.find(wanted(small, 65_536)).await.is_empty());
    assert!(attic.find(wanted(URL, 5 * MIB + 1)).await.is_empty(), "another length is another version");
    assert_eq!(attic.find(wanted(URL, 5 * MIB)).await.len(), 1);
    assert_eq!(attic.neighbours.totals().asked, 4, "all but what is too small to ask for");

    // Whoever knows the object's name gets it no more than who asks for the URL.
    let secret_get = Get { object: *object.as_bytes(), spans: vec![Span(0, 1)] };
    let answer = ask_as(&attic, &den, &Message::Get(secret_get)).await;
    assert!(matches!(answer, Some(Message::No(_))), "{answer:?}");
}

#[tokio::test]
async fn groups_beyond_the_end_are_refused() {
    let (den, attic) = pair().await;
    let object = den.put(URL, &sample(4 * MIB), &[]).await.id;
    for spans in [vec![Span(0, 257)], vec![Span(u64::MAX - 1, u64::MAX)]] {
        let get = Get { object: *object.as_bytes(), spans };
        let answer = ask_as(&attic, &den, &Message::Get(get)).await;
        assert!(matches!(answer, Some(Message::No(no)) if no.reason == 3), "{answer:?}");
    }
}

/// Asks `den` over a bare connection with the key of `attic`, which stops first: two boxes with one key would push
/// each other out.
async fn ask_as(attic: &Home, den: &Home, question: &Message) -> Option<Message> {
    attic.neighbours.shutdown().await;
    let identity = Identity::open(attic.dir.path()).expect("the key");
    let connection = dial(&identity, den.address(), tls::ALPN).await.expect("paired");
    let hello = kith_neighbour::wire::Hello { version: 1, name: "attic".into(), instance: 9, speaks: None };
    let (mut send, receive) = connection.open_bi().await.expect("open");
    frames::send(&mut send, &Message::Hello(hello)).await.expect("sent");
    FrameReader::new(receive).frame().await.expect("a hello");
    let (mut send, receive) = connection.open_bi().await.expect("open");
    frames::send(&mut send, question).await.expect("sent");
    FrameReader::new(receive).frame().await.expect("an answer")
}

async fn dial(
    identity: &Identity,
    to: std::net::SocketAddr,
    protocol: &[u8],
) -> Result<quinn::Connection, quinn::ConnectionError> {
    let limits = Profile::Board.limits();
    let config = endpoint::client_config(identity, Expected::Anyone, protocol, &limits).expect("config");
    let endpoint = quinn::Endpoint::client(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
    endpoint.connect_with(config, to, tls::SERVER_NAME).expect("an address").await
}

#[tokio::test]
async fn a_stranger_is_refused_by_tls_and_gets_no_byte() {
    let (den, _attic) = pair().await;
    let stranger = Identity::generate().expect("random");
    for with_window in [false, true] {
        let window = with_window.then(|| den.neighbours.open_pairing(Role::Mine).expect("open"));
        // TLS 1.3 lets the client finish before the server has seen its key; what it then sends is never read.
        let refused = match dial(&stranger, den.address(), tls::ALPN).await {
            Err(refused) => refused,
            Ok(connection) => {
                if let Ok((mut send, receive)) = connection.open_bi().await {
                    let get = Get { object: [0; 32], spans: vec![Span(0, 1)] };
                    let _ = frames::send(&mut send, &Message::Get(get)).await;
                    assert!(FrameReader::new(receive).frame().await.is_err());
                }
                connection.closed().await
            }
        };
        let quinn::ConnectionError::ConnectionClosed(close) = refused else { panic!("{refused:?}") };
        let code = u64::from(close.error_code);
        assert!((0x100..0x200).contains(&code), "a TLS alert (RFC 9001 section 4.8), not {code:#x}");
        drop(window);
    }
    assert_eq!(den.neighbours.list().len(), 1);
}

#[tokio::test]
async fn a_wrong_code_is_dead_and_so_is_the_right_one_behind_it() {
    let (den, attic) = (Home::start("den"), Home::start("attic"));
    let at = den.address().to_string();
    assert_eq!(attic.neighbours.join(&at, "12345678", Role::Mine).await, Err(JoinError::NotOpen));

    let window = den.neighbours.open_pairing(Role::Mine).expect("open");
    let wrong = if window.code == "00000000" { "00000001" } else { "00000000" };
    assert_eq!(attic.neighbours.join(&at, wrong, Role::Mine).await, Err(JoinError::WrongCode));
    assert_eq!(attic.neighbours.join(&at, &window.code, Role::Mine).await, Err(JoinError::NotOpen));
    assert_eq!(window.outcome.await, PairingOutcome::WrongCode);
    assert!(den.neighbours.list().is_empty() && attic.neighbours.list().is_empty());
}

#[tokio::test]
async fn a_closed_window_and_a_strange_box_are_refused_with_a_reason() {
    let (den, attic) = (Home::start("den"), Home::start("attic"));
    let at = den.address().to_string();
    let window = den.neighbours.open_pairing(Role::Mine).expect("open");
    let code = window.code.clone();
    assert_eq!(attic.neighbours.join(&at, "1234", Role::Mine).await, Err(JoinError::BadCode));
    assert!(matches!(attic.neighbours.join("nobody", &code, Role::Mine).await, Err(JoinError::Find(_))));
    drop(window);
    assert_eq!(attic.neighbours.join(&at, &code, Role::Mine).await, Err(JoinError::NotOpen));
}

#[tokio::test]
async fn a_second_window_closes_the_first() {
    let den = Home::start("den");
    let first = den.neighbours.open_pairing(Role::Mine).expect("open");
    let second = den.neighbours.open_pairing(Role::Mine).expect("open");
    assert_eq!(first.outcome.await, PairingOutcome::Closed);
    let attic = Home::start("attic");
    let joined = attic.neighbours.join(&den.address().to_string(), &second.code, Role::Mine).await;
    assert_eq!(joined.map(|view| view.name), Ok("den".to_owned()));
    assert_eq!(second.outcome.await, PairingOutcome::Paired(attic.neighbours.id()));
}

/// A man in the middle who has a TLS channel to each side and passes every byte on.
#[tokio::test]
async fn a_relay_between_the_boxes_pairs_nobody() {
    let (den, attic) = (Home::start("den"), Home::start("attic"));
    let relay = Identity::generate().expect("random");
    let limits = Profile::Board.limits();
    let config =
        endpoint::server_config(&relay, Arc::new(|_| true), tls::Door::Pairing, &limits).expect("config");
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let front = endpoint::bind(&relay, listen, &limits, config).expect("bound");
    let at = front.local_addr().expect("bound").to_string();
    let window = den.neighbours.open_pairing(Role::Mine).expect("open");
    let code = window.code.clone();
    let passed = AtomicUsize::new(0);

    let relaying = async {
        let from_attic = front.accept().await.expect("attic comes").await.expect("handshake");
        let to_den = dial(&relay, den.address(), tls::ALPN_PAIR).await.expect("handshake");
        let (mut back, mut ask) = from_attic.accept_bi().await.expect("a stream");
        let (mut on, mut answer) = to_den.open_bi().await.expect("a stream");
        let pass = async |from: &mut quinn::RecvStream, to: &mut quinn::SendStream| {
            let mut buffer = [0; 1024];
            while let Ok(Some(count)) = from.read(&mut buffer).await {
                passed.fetch_add(count, Ordering::Relaxed);
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(pass(&mut ask, &mut on), pass(&mut answer, &mut back));
    };
    let joining = async {
        let joined = attic.neighbours.join(&at, &code, Role::Mine).await;
        assert_eq!(joined, Err(JoinError::WrongCode));
        assert_eq!(window.outcome.await, PairingOutcome::WrongCode);
    };
    tokio::select! {
        () = joining => {}
        () = async { relaying.await; std::future::pending().await } => {}
    }
    assert!(passed.load(Ordering::Relaxed) > 100, "it did pass the messages on");
    assert!(den.neighbours.list().is_empty() && attic.neighbours.list().is_empty());
}

#[tokio::test]
async fn unpairing_ends_the_session_and_the_transfer_at_once_and_for_good() {
    let (den, attic) = pair().await;
    let bytes = sample(20 * MIB);
    den.put(URL, &bytes, &[]).await;
    attic.is_told(1).await;
    let found = attic.find(wanted(URL, 20 * MIB)).await;
    let mut lane = found[0].source.open(GroupSpan::whole(20 * MIB)).await.expect("open");
    lane.next().await.expect("a run");

    let gone = den.neighbours.unpair("attic").await.expect("known");
    assert_eq!(gone.id, attic.neighbours.id());
    assert!(matches!(drain_lane(lane.as_mut()).await, Err(SourceError::BrokeOff(_))));
    assert!(den.neighbours.list().is_empty());
    attic.sees(|views| views.iter().all(|view| !view.connected)).await;
    let identity = Identity::open(attic.dir.path()).expect("the key");
    let refused = match dial(&identity, den.address(), tls::ALPN).await {
        Ok(connection) => connection.closed().await,
        Err(refused) => refused,
    };
    assert!(matches!(refused, quinn::ConnectionError::ConnectionClosed(_)), "{refused:?}");
    assert!(den.neighbours.unpair("attic").await.is_err());
}

#[tokio::test]
async fn a_lane_that_is_dropped_leaves_the_session_whole() {
    let (den, attic) = pair().await;
    den.put(URL, &sample(20 * MIB), &[]).await;
    attic.is_told(1).await;
    let found = attic.find(wanted(URL, 20 * MIB)).await;
    for _ in 0..50 {
        let mut lane = found[0].source.open(GroupSpan::whole(20 * MIB)).await.expect("open");
        lane.next().await.expect("a run");
    }
    let mut lane = found[0].source.open(GroupSpan::clamped(0, 16)).await.expect("open");
    assert_eq!(drain_lane(lane.as_mut()).await.expect("delivered").len(), 262_144);
    assert_eq!(den.neighbours.totals().strikes, 0);
}

#[tokio::test]
async fn too_many_questions_are_not_answered() {
    let (den, attic) = pair().await;
    den.put(URL, &sample(4 * MIB), &[]).await;
    attic.is_told(1).await;
    let limits = Profile::Board.limits();
    let mut answered = 0;
    for _ in 0..limits.lookups_burst * 4 {
        answered += attic.find(wanted(URL, 4 * MIB)).await.len();
    }
    assert!(answered >= limits.lookups_burst as usize, "{answered}");
    assert!(answered < limits.lookups_burst as usize * 4, "{answered}");
}

#[tokio::test]
async fn a_box_that_stops_says_goodbye_and_one_that_starts_again_is_back() {
    let (den, attic) = pair().await;
    let port = attic.address();
    attic.neighbours.shutdown().await;
    den.sees(|views| views.len() == 1 && !views[0].connected).await;
    let Home { dir, store, neighbours } = attic;
    drop(neighbours);
    store.close().await;
    drop(store);

    let identity = Identity::open(dir.path()).expect("the key");
    let store = store_of(dir.path());
    let mut config = config("attic", dir.path(), Vec::new());
    config.listen = port;
    let neighbours = kith_neighbour::Neighbourhood::start(config, identity, store.clone()).expect("opens");
    let attic = Home { dir, store, neighbours };
    assert_eq!(attic.connected().await.name, "den", "its address was remembered");
    den.connected().await;
}

fn store_of(dir: &std::path::Path) -> kith_store::Store {
    store(dir)
}

#[tokio::test]
async fn nobody_to_ask_is_a_quick_nothing() {
    let den = Home::start("den");
    assert!(den.find(wanted(URL, 4 * MIB)).await.is_empty());
    let _: &dyn Finder = &den.neighbours;
}

#[tokio::test]
async fn both_boxes_keep_the_farther_of_the_roles_that_their_owners_said() {
    use Role::{Mine, Neighbour};
    for (opened, joined, kept) in
        [(Mine, Mine, Mine), (Mine, Neighbour, Neighbour), (Neighbour, Mine, Neighbour)]
    {
        let (den, attic) = (Home::start("den"), Home::start("attic"));
        let window = den.neighbours.open_pairing(opened).expect("open");
        let view =
            attic.neighbours.join(&den.address().to_string(), &window.code, joined).await.expect("paired");
        assert_eq!(view.role, Some(kept), "{opened:?} {joined:?}");
        window.outcome.await;
        assert_eq!(den.connected().await.role, Some(kept), "{opened:?} {joined:?}");
        attic.connected().await;
        let totals = den.neighbours.totals();
        let (mine, others) = if kept == Mine { (1, 0) } else { (0, 1) };
        assert_eq!((totals.sessions_mine, totals.sessions_neighbour), (mine, others));
    }
}

/// What the owner's own boxes may have and other households' may not: each row for one reason.
#[tokio::test]
async fn another_household_is_told_and_given_only_what_may_go_that_far() {
    let plain = "http://example.org/a.iso";
    let port = "https://example.org:8443/a.iso";
    let address = "https://192.0.2.7/a.iso";
    let rows: [(&str, &[(&str, &str)]); 6] = [
        (URL, &[("vary", "accept-encoding, origin")]),
        (URL, &[("vary", "accept-language")]),
        (URL, &[("content-type", "text/html")]),
        (plain, &[]),
        (port, &[]),
        (address, &[]),
    ];
    for (row, (url, headers)) in rows.into_iter().enumerate() {
        for role in [Role::Mine, Role::Neighbour] {
            let may = role == Role::Mine || row == 0;
            let (den, attic) = pair_as(role).await;
            let headers: Vec<_> = [("content-type", "application/octet-stream")]
                .into_iter()
                .filter(|(name, _)| headers.iter().all(|(other, _)| other != name))
                .chain(headers.iter().copied())
                .collect();
            let object = den.put(url, &sample(4 * MIB), &headers).await.id;
            if !may {
                // What is told now comes behind it.
                let octets = [("content-type", "application/octet-stream")];
                den.put("https://example.org/b.iso", &sample(5 * MIB), &octets).await;
            }
            attic.is_told(1).await;
            assert_eq!(attic.find(wanted(url, 4 * MIB)).await.len(), usize::from(may), "{role:?} {row}");
            // Whoever knows the object's name gets it no more than who asks for the URL.
            let get = Get { object: *object.as_bytes(), spans: vec![Span(0, 1)] };
            let answer = ask_as(&attic, &den, &Message::Get(get)).await;
            assert_eq!(matches!(answer, Some(Message::Slice(_))), may, "{role:?} {row}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn another_household_is_asked_only_for_what_may_go_that_far() {
    for (role, audience, asked) in [
        (Role::Mine, Audience::Mine, 1),
        (Role::Mine, Audience::Neighbour, 1),
        (Role::Neighbour, Audience::Mine, 0),
        (Role::Neighbour, Audience::Neighbour, 1),
    ] {
        let (den, attic) = pair_as(role).await;
        den.put(URL, &sample(4 * MIB), &[("content-type", "application/octet-stream")]).await;
        attic.is_told(1).await;
        let wanted = kith_fetch::source::Wanted { audience, ..wanted(URL, 4 * MIB) };
        assert_eq!(attic.find(wanted).await.len(), asked, "{role:?} {audience:?}");
    }
}

#[tokio::test]
async fn the_word_of_a_box_that_was_unpaired_is_worth_nothing() {
    let (den, attic) = pair().await;
    den.put(URL, &sample(4 * MIB), &[]).await;
    attic.is_told(1).await;
    let found = attic.find(wanted(URL, 4 * MIB)).await;
    assert!(found[0].source.vouches());
    attic.neighbours.unpair("den").await.expect("known");
    assert!(!found[0].source.vouches());
    den.sees(|views| views.iter().all(|view| !view.connected)).await;

    // Paired anew it may speak again, but what it said under the old pairing stays void.
    den.neighbours.unpair("attic").await.expect("known");
    let window = den.neighbours.open_pairing(Role::Mine).expect("open");
    attic.neighbours.join(&den.address().to_string(), &window.code, Role::Mine).await.expect("paired");
    assert!(!found[0].source.vouches());
}
