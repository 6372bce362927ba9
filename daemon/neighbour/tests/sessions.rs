//! One session for each pair of boxes: which of two stays, how a dead one is noticed, and who is dialled at an address
//! of the configuration.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use common::*;
use kith_model::limits::Profile;
use kith_model::trust::Role;
use kith_neighbour::endpoint;
use kith_neighbour::frames::{self, FrameReader};
use kith_neighbour::identity::Identity;
use kith_neighbour::tls::{self, Door, Expected};
use kith_neighbour::wire::{Bye, Find, Hello, Message, RendezvousId, VERSION};
use quinn::{Connection, ConnectionError, Endpoint};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

const SECRET: [u8; 32] = [7; 32];

const DUPLICATE: u64 = Bye::Duplicate as u64;

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A paired box made of bare connections.
struct Bare {
    identity: Identity,
    endpoint: Endpoint,
}

impl Bare {
    fn new(identity: Identity) -> Self {
        let limits = Profile::Board.limits();
        let config =
            endpoint::server_config(&identity, Arc::new(|_| true), Door::Shut, &limits).expect("config");
        let endpoint = endpoint::bind(&identity, loopback(), &limits, config).expect("bound");
        Self { identity, endpoint }
    }

    /// With a folder for a box that is paired with it and has the higher, or the lower, id.
    fn with_folder(is_lower: bool) -> (Self, tempfile::TempDir) {
        loop {
            let identity = Identity::generate().expect("random");
            let dir = folder_paired_with(identity.key(), SECRET, Role::Mine);
            if (identity.id() < Identity::open(dir.path()).expect("a key").id()) == is_lower {
                return (Self::new(identity), dir);
            }
        }
    }

    fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().expect("bound")
    }

    async fn is_dialled(&self) -> Connection {
        let incoming = timeout(PATIENCE, self.endpoint.accept()).await.expect("in time");
        incoming.expect("open").await.expect("a handshake")
    }

    async fn dials(&self, to: SocketAddr) -> Connection {
        let limits = Profile::Board.limits();
        let config = endpoint::client_config(&self.identity, Expected::Anyone, tls::ALPN, &limits);
        let connecting = self.endpoint.connect_with(config.expect("config"), to, tls::SERVER_NAME);
        connecting.expect("an address").await.expect("a handshake")
    }
}

fn hello() -> Message {
    Message::Hello(Hello { version: VERSION, name: "bare".into(), instance: 5, speaks: None })
}

/// Says hello on a connection that it dialled.
async fn greet(connection: &Connection) {
    let (mut send, receive) = connection.open_bi().await.expect("open");
    frames::send(&mut send, &hello()).await.expect("sent");
    let answer = FrameReader::new(receive).frame().await;
    let is_closed = || connection.close_reason().and_then(|error| code(&error)) == Some(DUPLICATE);
    // The close may overtake the hello.
    assert!(matches!(answer, Ok(Some(Message::Hello(_)))) || is_closed(), "{answer:?}");
}

/// Answers the hello on a connection that the other dialled.
async fn answer_hello(connection: &Connection) {
    let (mut send, receive) = connection.accept_bi().await.expect("a stream");
    FrameReader::new(receive).frame().await.expect("a hello");
    frames::send(&mut send, &hello()).await.expect("sent");
}

/// Whether the box at the other end serves this connection.
async fn is_served(connection: &Connection) -> bool {
    let Ok((mut send, receive)) = connection.open_bi().await else { return false };
    let question = Message::Find(Find { day: 0, ids: vec![RendezvousId([0; 32])] });
    frames::send(&mut send, &question).await.is_ok()
        && matches!(FrameReader::new(receive).frame().await, Ok(Some(Message::No(_))))
}

fn code(error: &ConnectionError) -> Option<u64> {
    match error {
        ConnectionError::ApplicationClosed(close) => Some(close.error_code.into()),
        _ => None,
    }
}

#[tokio::test]
async fn of_two_connections_made_at_once_the_one_of_the_lower_id_stays() {
    for is_lower in [false, true] {
        for is_ours_first in [false, true] {
            let (bare, dir) = Bare::with_folder(is_lower);
            let home = Home::start_in("den", dir, vec![bare.address()]);
            let (theirs, ours) = tokio::join!(bare.is_dialled(), bare.dials(home.address()));
            if is_ours_first {
                greet(&ours).await;
                answer_hello(&theirs).await;
            } else {
                answer_hello(&theirs).await;
                home.connected().await;
                greet(&ours).await;
            }
            let (kept, other) = if is_lower { (&ours, &theirs) } else { (&theirs, &ours) };
            let closed = timeout(PATIENCE, other.closed()).await.expect("one of them is closed");
            assert_eq!(code(&closed), Some(DUPLICATE), "{is_lower} {is_ours_first}");
            assert!(is_served(kept).await, "{is_lower} {is_ours_first}");
            assert_eq!(home.neighbours.totals().sessions_mine, 1);
        }
    }
}

/// A way between two boxes that can be cut without a word.
struct Way {
    address: SocketAddr,
    carrying: JoinSet<()>,
}

impl Way {
    async fn to(end: SocketAddr) -> Self {
        let front = UdpSocket::bind(loopback()).await.expect("bound");
        let back = UdpSocket::bind(loopback()).await.expect("bound");
        back.connect(end).await.expect("an address");
        let address = front.local_addr().expect("bound");
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            let (mut here, mut there) = ([0; 2048], [0; 2048]);
            let mut caller = None;
            loop {
                tokio::select! {
                    Ok((count, from)) = front.recv_from(&mut here) => {
                        caller = Some(from);
                        let _ = back.send(&here[..count]).await;
                    }
                    Ok(count) = back.recv(&mut there) => {
                        let to = caller.expect("nobody answers before he was called");
                        let _ = front.send_to(&there[..count], to).await;
                    }
                }
            }
        });
        Self { address, carrying }
    }

    async fn cut(mut self) {
        self.carrying.shutdown().await;
    }
}

/// A box that has slept dials a box that still believes in the old connection, and would prefer it: that one is tried
/// out at once, long before it would time out.
#[tokio::test]
async fn a_dead_session_is_given_up_for_a_new_one() {
    let (bare, dir) = Bare::with_folder(false);
    let way = Way::to(bare.address()).await;
    let home = Home::start_in("den", dir, vec![way.address]);
    let old = bare.is_dialled().await;
    answer_hello(&old).await;
    home.connected().await;
    assert!(is_served(&old).await);
    way.cut().await;

    let came_back = async {
        loop {
            let new = bare.dials(home.address()).await;
            greet(&new).await;
            if is_served(&new).await {
                return;
            }
            assert_eq!(code(&new.closed().await), Some(DUPLICATE));
        }
    };
    timeout(PATIENCE, came_back).await.expect("before the old session times out");
}

#[tokio::test]
async fn a_box_that_the_configuration_names_is_found_by_its_name() {
    let den = tempfile::tempdir().expect("a folder");
    let den_key = Identity::open(den.path()).expect("a key").key();
    let attic = folder_paired_with(den_key, SECRET, Role::Mine);
    note_pair(den.path(), Identity::open(attic.path()).expect("a key").key(), SECRET, Role::Mine);
    let attic = Home::start_in("attic", attic, Vec::new());
    let mut settings = config("den", den.path(), Vec::new());
    settings.static_peers = vec![format!("localhost:{}", attic.address().port())];
    let den = Home::start_as(settings, den);
    assert_eq!(den.connected().await.name, "attic");
    attic.connected().await;
}

#[tokio::test]
async fn a_stranger_at_an_address_of_the_configuration_learns_nothing() {
    let paired = Identity::generate().expect("random");
    let stranger = Bare::new(Identity::generate().expect("random"));
    let dir = folder_paired_with(paired.key(), SECRET, Role::Mine);
    let home = Home::start_in("den", dir, vec![stranger.address()]);
    let incoming = timeout(PATIENCE, stranger.endpoint.accept()).await.expect("in time").expect("open");
    let refused = incoming.await.expect_err("it is not the box that was expected");
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused:?}");
    assert!(home.neighbours.list().iter().all(|view| !view.connected));
}
