//! Connections to paired boxes: one each, however many were dialled.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kith_model::limits::DOUBT_TIMEOUT;
use quinn::{Connection, VarInt};
use tokio::time::{sleep, timeout};

use crate::bucket::Bucket;
use crate::identity::{NodeId, NodeKey};
use crate::shelf::Names;
use crate::tally::Tally;
use crate::telling::Ear;
use crate::wire::Bye;

/// Who dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialler {
    Us,
    Them,
}

/// A connection over which both sides have said hello.
pub(crate) struct Session {
    pub(crate) id: NodeId,
    pub(crate) key: NodeKey,
    pub(crate) name: String,
    pub(crate) connection: Connection,
    pub(crate) dialler: Dialler,
    /// What the other drew when it started.
    pub(crate) instance: u64,
    pub(crate) tally: Arc<Tally>,
    /// What it may still ask.
    pub(crate) lookups: Mutex<Bucket>,
    /// The names under which it may ask.
    pub(crate) names: Arc<Mutex<Names>>,
    /// What it speaks besides what every box speaks ([`crate::wire::speaks`]).
    pub(crate) speaks: u32,
    /// What it has told of what it may share.
    pub(crate) ear: Mutex<Ear>,
    /// Whether it is being found out whether the other end is still there.
    pub(crate) is_doubted: AtomicBool,
}

impl Session {
    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        canonical(self.connection.remote_address())
    }

    pub(crate) fn ear(&self) -> MutexGuard<'_, Ear> {
        self.ear.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the other end is still there. An empty stream asks for nothing, but QUIC acknowledges it.
    pub(crate) async fn answers(&self) -> bool {
        let received = || self.connection.stats().udp_rx.datagrams;
        let before = received();
        let opened = timeout(DOUBT_TIMEOUT, self.connection.open_bi()).await;
        if let Ok(Ok((mut send, _))) = opened {
            let _ = send.finish();
        }
        sleep(DOUBT_TIMEOUT).await;
        received() > before
    }

    /// Ends it.
    pub(crate) fn close(&self, bye: Bye) {
        close(&self.connection, bye);
    }
}

/// Ends a connection and says why.
pub(crate) fn close(connection: &Connection, bye: Bye) {
    connection.close(VarInt::from_u32(bye.code().into()), b"");
}

/// IPv4 as IPv4, also when it came through an IPv6 socket.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        std::net::IpAddr::V4(v4) => SocketAddr::from((v4, address.port())),
        std::net::IpAddr::V6(_) => address,
    }
}

/// Which of two connections to the same box stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Old,
    New,
}

/// Both boxes decide alike without a word: the connection that the box with the lower id dialled stays; of two that
/// one box dialled, the newer; and a box that started again has only new ones.
fn choose(us: NodeId, them: NodeId, old: (Dialler, u64), new: (Dialler, u64)) -> Choice {
    let preferred = if us < them { Dialler::Us } else { Dialler::Them };
    let restarted = old.1 != new.1;
    if restarted || old.0 == new.0 || new.0 == preferred { Choice::New } else { Choice::Old }
}

/// All sessions.
pub(crate) struct Sessions {
    us: NodeId,
    max: usize,
    by_id: Mutex<HashMap<NodeId, Arc<Session>>>,
}

impl Sessions {
    pub(crate) fn new(us: NodeId, max: usize) -> Self {
        Self { us, max, by_id: Mutex::default() }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<NodeId, Arc<Session>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session in, or says why not. One that it replaces is closed.
    pub(crate) fn enter(&self, new: &Arc<Session>) -> Result<(), Bye> {
        let mut map = self.map();
        if let Some(old) = map.get(&new.id) {
            let is_alive = old.connection.close_reason().is_none();
            let choice = choose(self.us, new.id, (old.dialler, old.instance), (new.dialler, new.instance));
            if is_alive && choice == Choice::Old {
                return Err(Bye::Duplicate);
            }
            old.close(Bye::Duplicate);
        } else if map.len() >= self.max {
            return Err(Bye::Full);
        }
        map.insert(new.id, Arc::clone(new));
        Ok(())
    }

    /// Notes that a session has ended. Whether it was the current one.
    pub(crate) fn leave(&self, session: &Session) -> bool {
        let mut map = self.map();
        let is_current = map
            .get(&session.id)
            .is_some_and(|one| one.connection.stable_id() == session.connection.stable_id());
        if is_current {
            map.remove(&session.id);
        }
        is_current
    }

    /// Ends the session with a box at once.
    pub(crate) fn end(&self, id: &NodeId, bye: Bye) {
        if let Some(session) = self.map().remove(id) {
            session.close(bye);
        }
    }

    pub(crate) fn find(&self, id: &NodeId) -> Option<Arc<Session>> {
        self.map().get(id).cloned()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.map().is_empty()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.map().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_boxes_keep_the_same_connection() {
        use Dialler::{Them, Us};
        let (low, high) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let mirrored = |dialler| if dialler == Us { Them } else { Us };
        for old in [Us, Them] {
            for new in [Us, Them] {
                for restarted in [false, true] {
                    let instance = u64::from(restarted);
                    let at_low = choose(low, high, (old, 0), (new, instance));
                    let at_high = choose(high, low, (mirrored(old), 0), (mirrored(new), instance));
                    assert_eq!(at_low, at_high, "{old:?} {new:?} {restarted}");
                }
            }
        }
        assert_eq!(choose(low, high, (Us, 0), (Them, 0)), Choice::Old);
        assert_eq!(choose(low, high, (Us, 0), (Them, 1)), Choice::New);
    }
}
