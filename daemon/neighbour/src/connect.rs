//! From a UDP address to a session: dialling, accepting, hello.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use kith_model::limits::{NEIGHBOUR_CONNECT_TIMEOUT, PAIRING_CONNECTIONS_MAX};
use quinn::{ClientConfig, Connection, ConnectionError, Incoming, VarInt};
use tokio::time::timeout;

use crate::bucket::Bucket;
use crate::frames::{self, FrameError, FrameReader};
use crate::identity::NodeKey;
use crate::pair;
use crate::room::Room;
use crate::session::{Dialler, Session, canonical, close};
use crate::telling::Ear;
use crate::tls::{self, Expected};
use crate::wire::{self, Bye, Hello, Message};
use crate::{endpoint, name, server};

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Ours.
    #[error(transparent)]
    Setup(#[from] endpoint::SetupError),
    /// Ours: the address cannot be dialled.
    #[error(transparent)]
    Dial(#[from] quinn::ConnectError),
    /// Nobody there, or we are not welcome there.
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
    /// Its hello did not come or makes no sense.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The connection broke while we spoke.
    #[error(transparent)]
    Write(#[from] quinn::WriteError),
    /// Nobody there in time.
    #[error("no answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
    /// It speaks something else.
    #[error("no hello of a version that this box speaks")]
    Hello,
    /// There is another connection, or no room.
    #[error("not needed: {0:?}")]
    NotNeeded(Bye),
}

/// Dials a paired box and waits for a handshake for so long; when this returns there is a session, though perhaps another
/// one.
pub(crate) async fn dial(
    room: &Arc<Room>,
    address: SocketAddr,
    expected: Expected,
    patience: Duration,
) -> Result<(), ConnectError> {
    let config = endpoint::client_config(&room.identity, expected, tls::ALPN, &room.config.limits)?;
    let (connection, hello) = meet(room, config, address, patience).await?;
    let key = tls::peer_key(&connection).ok_or(ConnectError::Hello)?;
    enter(room, &connection, key, &hello, Dialler::Us)
}

/// A connection over which both sides have said hello.
pub(crate) async fn meet(
    room: &Room,
    config: ClientConfig,
    address: SocketAddr,
    patience: Duration,
) -> Result<(Connection, Hello), ConnectError> {
    let connecting = room.endpoint.connect_with(config, address, tls::SERVER_NAME)?;
    let connection = timeout(patience, connecting).await??;
    let key = tls::peer_key(&connection).ok_or(ConnectError::Hello)?;
    // There was no session when we began to dial: one that is there now is as new, whoever made it, and may be in use.
    let other = room.sessions.find(&key.id());
    if other.is_some_and(|session| session.connection.close_reason().is_none()) {
        close(&connection, Bye::Duplicate);
        return Err(ConnectError::NotNeeded(Bye::Duplicate));
    }
    let greeted = timeout(NEIGHBOUR_CONNECT_TIMEOUT, greet(room, &connection)).await;
    match greeted.map_err(ConnectError::from).and_then(|greeted| greeted) {
        Ok(hello) => Ok((connection, hello)),
        // The other box may close before its hello is read here.
        Err(_) if is_duplicate(&connection) => Err(ConnectError::NotNeeded(Bye::Duplicate)),
        Err(error) => {
            close(&connection, Bye::Malformed);
            Err(error)
        }
    }
}

/// Whether the other end has closed it because there is another one.
fn is_duplicate(connection: &Connection) -> bool {
    let duplicate = VarInt::from_u32(Bye::Duplicate.code().into());
    let closed = connection.close_reason();
    matches!(closed, Some(ConnectionError::ApplicationClosed(close)) if close.error_code == duplicate)
}

/// Says hello first.
async fn greet(room: &Room, connection: &Connection) -> Result<Hello, ConnectError> {
    let (mut send, receive) = connection.open_bi().await?;
    frames::send(&mut send, &Message::Hello(room.hello())).await?;
    let _ = send.finish();
    hello(&mut FrameReader::new(receive)).await
}

async fn hello(reader: &mut FrameReader) -> Result<Hello, ConnectError> {
    match reader.frame().await? {
        Some(Message::Hello(hello)) if hello.version == wire::VERSION => Ok(hello),
        _ => Err(ConnectError::Hello),
    }
}

/// Makes the session known and serves it.
fn enter(
    room: &Arc<Room>,
    connection: &Connection,
    key: NodeKey,
    hello: &Hello,
    dialler: Dialler,
) -> Result<(), ConnectError> {
    let id = key.id();
    let refuse = |bye: Bye| {
        close(connection, bye);
        Err(ConnectError::NotNeeded(bye))
    };
    // It may have been unpaired since TLS looked.
    if !room.registry.admits(&key) {
        return refuse(Bye::Unpaired);
    }
    let limits = &room.config.limits;
    let lookups = Bucket::new(limits.lookups_per_second, limits.lookups_burst, Instant::now());
    let session = Arc::new(Session {
        id,
        key,
        name: name::cleaned(&hello.name),
        connection: connection.clone(),
        dialler,
        instance: hello.instance,
        tally: room.tallies.of(id),
        lookups: Mutex::new(lookups),
        names: Arc::default(),
        speaks: hello.speaks.unwrap_or(0),
        ear: Mutex::new(Ear::new(Instant::now())),
        is_doubted: AtomicBool::new(false),
    });
    if let Err(bye) = room.sessions.enter(&session) {
        // Who dials has no session of its own any more, or dials in the same moment as we did.
        if let Some(old) = room.sessions.find(&id).filter(|_| bye == Bye::Duplicate) {
            room.doubt(&old);
        }
        return refuse(bye);
    }
    // Between the look above and the entry the owner may have unpaired it; from the entry on `unpair` finds it.
    if !room.registry.admits(&key) {
        room.sessions.end(&id, Bye::Unpaired);
        return Err(ConnectError::NotNeeded(Bye::Unpaired));
    }
    note_address(room, &session);
    tracing::info!(neighbour = %id.short(), name = %session.name, address = %session.address(), "neighbour connected");
    room.changed();
    room.tracker.spawn(server::run(Arc::clone(room), session).boxed());
    Ok(())
}

/// Remembers where it is and what it is called, for the next start.
fn note_address(room: &Arc<Room>, session: &Session) {
    let address = session.address().to_string();
    let changed = room.registry.change(|peers| {
        let Some(peer) = peers.find_mut(&session.id) else { return false };
        let changed = peer.address.as_ref() != Some(&address) || peer.name != session.name;
        peer.address = Some(address);
        peer.name.clone_from(&session.name);
        changed
    });
    if changed {
        room.save_soon();
    }
}

/// Takes connections until the endpoint closes.
pub(crate) async fn accept(room: Arc<Room>) {
    let handshakes = Arc::new(AtomicUsize::new(0));
    let pairings = Arc::new(AtomicUsize::new(0));
    while let Some(incoming) = room.endpoint.accept().await {
        let under_way = handshakes.load(Ordering::Relaxed);
        if under_way >= room.config.limits.incoming_max {
            incoming.ignore();
            continue;
        }
        if under_way >= room.config.limits.retry_above && !incoming.remote_address_validated() {
            // Only fails when the address is validated.
            let _ = incoming.retry();
            continue;
        }
        let counted = Counted::one_more(&handshakes);
        let (room, pairings) = (Arc::clone(&room), Arc::clone(&pairings));
        let tracker = room.tracker.clone();
        tracker.spawn(
            async move {
                let from = canonical(incoming.remote_address());
                if let Err(error) = receive(&room, incoming, counted, &pairings).await {
                    tracing::debug!(%from, %error, "incoming connection refused");
                }
            }
            .boxed(),
        );
    }
}

/// Counts while it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one_more(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn receive(
    room: &Arc<Room>,
    incoming: Incoming,
    handshake: Counted,
    pairings: &Arc<AtomicUsize>,
) -> Result<(), ConnectError> {
    let config = endpoint::server_config(&room.identity, room.admits(), room.door(), &room.config.limits)?;
    let connecting = incoming.accept_with(Arc::new(config))?;
    let connection = timeout(NEIGHBOUR_CONNECT_TIMEOUT, connecting).await??;
    let key = tls::peer_key(&connection).ok_or(ConnectError::Hello)?;
    if tls::protocol(&connection).as_deref() == Some(tls::ALPN_PAIR) {
        drop(handshake);
        if pairings.load(Ordering::Relaxed) >= PAIRING_CONNECTIONS_MAX {
            close(&connection, Bye::Full);
            return Err(ConnectError::NotNeeded(Bye::Full));
        }
        let _counted = Counted::one_more(pairings);
        pair::opened(room, &connection, key).await;
        return Ok(());
    }
    let greeted = timeout(NEIGHBOUR_CONNECT_TIMEOUT, greeted(room, &connection)).await;
    match greeted.map_err(ConnectError::from).and_then(|greeted| greeted) {
        Ok(hello) => enter(room, &connection, key, &hello, Dialler::Them),
        Err(error) => {
            let bye = if matches!(error, ConnectError::Hello) { Bye::Version } else { Bye::Malformed };
            close(&connection, bye);
            Err(error)
        }
    }
}

/// Is greeted, and greets back.
async fn greeted(room: &Room, connection: &Connection) -> Result<Hello, ConnectError> {
    let (mut send, receive) = connection.accept_bi().await?;
    let hello = hello(&mut FrameReader::new(receive)).await?;
    frames::send(&mut send, &Message::Hello(room.hello())).await?;
    let _ = send.finish();
    Ok(hello)
}
