//! Another key for this box: it is prepared, taken at the next start, and told to each paired box, by the old key.
//!
//! The new key lies in `identity.next` until the box starts again. Then the old one moves to `identity.old`, and stays
//! there until all paired boxes have been told: with it, and with nothing else, this box proves to them that it is the
//! one they know. Knows nothing of what sessions are used for.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use kith_model::limits::{NEIGHBOUR_CONNECT_TIMEOUT, NEIGHBOUR_REQUEST_TIMEOUT};
use tokio::time::timeout;

use crate::connect::{self, ConnectError};
use crate::frames::{self, FrameReader};
use crate::identity::{FILE_NAME, Identity, IdentityError, NodeId, NodeKey};
use crate::peers::{self, Peers, PeersError};
use crate::room::Room;
use crate::session::{Session, close};
use crate::tls::{self, Expected};
use crate::wire::{self, Bye, Heard, Message, Reason, Rotate};
use crate::{clock, endpoint, private_file, withdrawn};

/// The key to come.
const NEXT: &str = "identity.next";

/// The key that some paired boxes still know.
const OLD: &str = "identity.old";

/// Why the key cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// Not everybody knows of the change before.
    #[error(
        "not all paired boxes have heard of the last change of the key ({}): start them, or unpair them", .0.join(", ")
    )]
    Owed(Vec<String>),
    /// The system's random numbers, or the disk.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The disk.
    #[error("{NEXT}: {0}")]
    Disk(#[from] io::Error),
}

/// Makes the key that this box takes when it starts the next time. Made once: asking again returns the same. Blocks.
pub(crate) fn prepare(dir: &Path, peers: &Peers) -> Result<NodeId, RotateError> {
    let owed: Vec<String> =
        peers.iter().filter(|(_, peer)| peer.is_owed()).map(|(_, peer)| peer.name.clone()).collect();
    if !owed.is_empty() {
        return Err(RotateError::Owed(owed));
    }
    let path = dir.join(NEXT);
    if let Some(next) = private_file::read(&path)?.and_then(Identity::from_pkcs8) {
        return Ok(next.id());
    }
    let next = Identity::generate()?;
    private_file::replace(&path, next.pkcs8())?;
    Ok(next.id())
}

/// Takes the key that was prepared, if one was. Each step can be done again after a crash; the new key counts from the
/// last one on. Blocks.
pub(crate) fn take(dir: &Path) -> io::Result<()> {
    let (current, next, old) = (dir.join(FILE_NAME), dir.join(NEXT), dir.join(OLD));
    if private_file::read(&next)?.and_then(Identity::from_pkcs8).is_none() {
        return Ok(());
    }
    // Without it the first rename has been done.
    if private_file::read(&current)?.is_some() {
        owe_all(&dir.join(peers::FILE_NAME))?;
        // They are signed with the old key. Boxes that were off hear from the origins instead.
        private_file::remove(&dir.join(withdrawn::FILE_NAME))?;
        private_file::rename(&current, &old)?;
    }
    private_file::rename(&next, &current)
}

fn owe_all(path: &Path) -> io::Result<()> {
    let Some(bytes) = private_file::read(path)? else { return Ok(()) };
    // What is wrong with it is said when the list is opened; until then the key stays as it is.
    let told = |error: PeersError| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    };
    let mut peers = Peers::from_bytes(&bytes).map_err(told)?;
    peers.owe_all();
    private_file::replace(path, &peers.to_bytes())
}

/// The key before this one, while somebody has to be told; else it is removed. Blocks.
pub(crate) fn old_key(dir: &Path, peers: &Peers) -> Option<Identity> {
    let path = dir.join(OLD);
    if peers.iter().all(|(_, peer)| !peer.is_owed()) {
        forget(dir);
        return None;
    }
    private_file::read(&path).ok().flatten().and_then(Identity::from_pkcs8)
}

fn forget(dir: &Path) {
    if let Err(error) = private_file::remove(&dir.join(OLD)) {
        tracing::warn!(%error, "{OLD} could not be removed");
    }
}

/// What both keys sign.
fn statement(old: &NodeKey, new: &NodeKey) -> Vec<u8> {
    const CONTEXT: &[u8] = b"kith 2026 new key v1";
    let length = u32::try_from(CONTEXT.len()).expect("invariant: a short text").to_be_bytes();
    [length.as_slice(), CONTEXT, old.as_bytes(), new.as_bytes()].concat()
}

/// Tells a box that knows us by the old key; a session comes by the new one, afterwards.
pub(crate) async fn tell(
    room: &Arc<Room>,
    address: SocketAddr,
    expected: Expected,
) -> Result<(), ConnectError> {
    let Some(old) = &room.old_identity else { return Err(ConnectError::NotNeeded(Bye::Done)) };
    let config = endpoint::client_config(old, expected, tls::ALPN, &room.config.limits)?;
    let (connection, hello) = connect::meet(room, config, address, NEIGHBOUR_CONNECT_TIMEOUT).await?;
    let key = tls::peer_key(&connection).ok_or(ConnectError::Hello)?;
    let told = match hello.speaks.unwrap_or(0) & wire::speaks::KEYS {
        0 => Ok(false),
        _ => say(room, old, &connection).await,
    };
    close(&connection, Bye::Done);
    if !told? {
        tracing::warn!(neighbour = %key.id().short(), "it does not take our new key: unpair it and pair it again");
        return Ok(());
    }
    tracing::info!(neighbour = %key.id().short(), "it knows our new key");
    let all_know = room.registry.change(|peers| {
        peers.told(&key.id());
        peers.iter().all(|(_, peer)| !peer.is_owed())
    });
    if let Err(error) = room.registry.save().await {
        tracing::error!(%error, "the list of neighbours could not be written");
    } else if all_know {
        let told = Arc::clone(room);
        room.blocking(move || forget(&told.config.data_dir)).await;
    }
    room.changed();
    Ok(())
}

async fn say(room: &Room, old: &Identity, connection: &quinn::Connection) -> Result<bool, ConnectError> {
    let new = room.identity.key();
    let statement = statement(&old.key(), &new);
    let rotate =
        Rotate { key: *new.as_bytes(), by_old: old.sign(&statement), by_new: room.identity.sign(&statement) };
    let (mut send, receive) = connection.open_bi().await?;
    frames::send(&mut send, &Message::Rotate(rotate)).await?;
    let _ = send.finish();
    let answer = timeout(2 * NEIGHBOUR_REQUEST_TIMEOUT, FrameReader::new(receive).frame()).await??;
    Ok(matches!(answer, Some(Message::Heard(_))))
}

/// Takes a box's new key, and says what to answer; nothing when the change is not signed. From then on its old key is a
/// stranger's.
pub(crate) async fn hear(room: &Arc<Room>, session: &Session, rotate: &Rotate) -> Option<Message> {
    let new = NodeKey::from_bytes(rotate.key);
    let statement = statement(&session.key, &new);
    if !session.key.has_signed(&statement, &rotate.by_old) || !new.has_signed(&statement, &rotate.by_new) {
        return None;
    }
    let changed = room.registry.change(|peers| peers.rotate(&session.id, new, clock::now()));
    if changed.is_none() {
        return Some(Reason::Busy.message());
    }
    if let Err(error) = room.registry.save().await {
        // It counts until the next start: then both keys are asked for again.
        tracing::error!(%error, "the list of neighbours could not be written");
    }
    tracing::info!(
        neighbour = %session.id.short(), new = %new.id().short(), words = new.id().words(), "it has another key now"
    );
    room.tallies.retire(&session.id);
    room.roster().note(&session.id, crate::roster::Known::Stranger);
    room.roster().note(&new.id(), crate::roster::Known::Paired);
    Some(Message::Heard(Heard { number: 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Peer;

    fn folder() -> (tempfile::TempDir, NodeId, Peers) {
        let dir = tempfile::tempdir().expect("temp dir");
        let before = Identity::open(dir.path()).expect("made").id();
        let mut peers = Peers::default();
        peers.add(Peer::test(1)).expect("room");
        std::fs::write(dir.path().join(peers::FILE_NAME), peers.to_bytes()).expect("written");
        (dir, before, peers)
    }

    fn stored(dir: &Path) -> Peers {
        Peers::from_bytes(&std::fs::read(dir.join(peers::FILE_NAME)).expect("there")).expect("ours")
    }

    #[test]
    fn a_prepared_key_is_taken_at_the_next_start_and_everybody_is_owed_the_news() {
        let (dir, before, peers) = folder();
        let next = prepare(dir.path(), &peers).expect("made");
        assert_eq!(prepare(dir.path(), &peers).expect("made before"), next);
        assert_ne!(next, before);
        assert_eq!(Identity::open(dir.path()).expect("taken").id(), next);
        let now = stored(dir.path());
        assert_eq!(old_key(dir.path(), &now).map(|key| key.id()), Some(before));
        assert!(matches!(prepare(dir.path(), &now), Err(RotateError::Owed(names)) if names == ["box 1"]));
        assert_eq!(Identity::open(dir.path()).expect("stays").id(), next);
    }

    #[test]
    fn the_old_key_goes_when_nobody_needs_it() {
        let (dir, _, mut peers) = folder();
        prepare(dir.path(), &peers).expect("made");
        take(dir.path()).expect("taken");
        peers.told(&Peer::test(1).key().id());
        assert!(old_key(dir.path(), &peers).is_none());
        assert!(!dir.path().join(OLD).exists());
    }

    #[test]
    fn a_crash_between_the_steps_loses_no_key() {
        let (dir, before, peers) = folder();
        let next = prepare(dir.path(), &peers).expect("made");
        // After the first rename.
        std::fs::rename(dir.path().join(FILE_NAME), dir.path().join(OLD)).expect("renamed");
        assert_eq!(Identity::open(dir.path()).expect("taken").id(), next);
        let mut owed = peers;
        owed.owe_all();
        assert_eq!(old_key(dir.path(), &owed).map(|key| key.id()), Some(before));
    }

    #[test]
    fn a_damaged_list_of_neighbours_keeps_the_key() {
        let (dir, before, peers) = folder();
        prepare(dir.path(), &peers).expect("made");
        std::fs::write(dir.path().join(peers::FILE_NAME), b"damaged").expect("written");
        assert!(matches!(Identity::open(dir.path()), Err(IdentityError::Io { .. })));
        std::fs::write(dir.path().join(peers::FILE_NAME), peers.to_bytes()).expect("put back");
        assert_ne!(Identity::open(dir.path()).expect("taken").id(), before);
    }
}
