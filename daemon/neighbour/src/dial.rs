//! Keeps a session to every paired box that can be reached: whom to dial, and when again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kith_model::limits::{REDIAL_MAX, REDIAL_MIN};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock;
use crate::connect;
use crate::identity::{NodeId, NodeKey};
use crate::room::Room;
use crate::tls::Expected;

/// Pauses that double up to a bound. Pure.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    failures: u32,
    due: Instant,
}

impl Backoff {
    fn new(due: Instant) -> Self {
        Self { failures: 0, due }
    }

    fn failed(&mut self, now: Instant) {
        let pause =
            REDIAL_MIN.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(REDIAL_MAX);
        self.failures = self.failures.saturating_add(1).min(16);
        self.due = now + pause;
    }
}

/// Whom to dial: a box by its addresses, or whoever paired is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Callee {
    Box(NodeId),
    Address(SocketAddr),
}

struct Call {
    backoff: Backoff,
    is_running: bool,
    /// Addresses that were known when it was tried last: others are worth a try at once.
    tried: Vec<SocketAddr>,
}

/// The box with the higher id gives the other this much time to dial first: saves most double connections.
const COURTESY: Duration = Duration::from_millis(300);

/// Dials until the room stops.
pub(crate) async fn run(room: Arc<Room>) {
    let mut calls: HashMap<Callee, Call> = HashMap::new();
    let mut running: JoinSet<(Callee, bool)> = JoinSet::new();
    loop {
        let now = Instant::now();
        let wanted = wanted(&room);
        calls.retain(|callee, call| call.is_running || wanted.contains_key(callee));
        for (callee, (addresses, expected)) in wanted {
            let call = calls.entry(callee).or_insert_with(|| Call {
                backoff: Backoff::new(now + courtesy(&room, callee)),
                is_running: false,
                tried: addresses.clone(),
            });
            if addresses.iter().any(|address| !call.tried.contains(address)) {
                call.backoff = Backoff::new(call.backoff.due.min(now + REDIAL_MIN));
            }
            call.tried.clone_from(&addresses);
            if !call.is_running && call.backoff.due <= now {
                call.is_running = true;
                let room = Arc::clone(&room);
                running.spawn(async move { (callee, try_all(&room, &addresses, &expected).await) });
            }
        }
        let next = calls.values().filter(|call| !call.is_running).map(|call| call.backoff.due).min();
        tokio::select! {
            () = room.stopping.cancelled() => break,
            () = room.wake.notified() => {}
            () = tokio::time::sleep_until(next.unwrap_or(now + REDIAL_MAX)) => {}
            Some(Ok((callee, reached))) = running.join_next() => {
                if reached {
                    calls.remove(&callee);
                } else if let Some(call) = calls.get_mut(&callee) {
                    call.is_running = false;
                    call.backoff.failed(Instant::now());
                }
            }
        }
    }
    running.shutdown().await;
}

fn courtesy(room: &Room, callee: Callee) -> Duration {
    match callee {
        Callee::Box(id) if id < room.identity.id() => COURTESY,
        _ => Duration::ZERO,
    }
}

/// Paired boxes in good standing without a session, and where they may be.
fn wanted(room: &Arc<Room>) -> HashMap<Callee, (Vec<SocketAddr>, Expected)> {
    let now = clock::now();
    let mut missing: Vec<(NodeId, NodeKey, Option<SocketAddr>)> = Vec::new();
    {
        let peers = room.registry.read();
        for (id, peer) in peers.iter().filter(|(_, peer)| peers.admits(&peer.key(), now)) {
            let address = peer.address.as_ref().and_then(|address| address.parse().ok());
            missing.push((*id, peer.key(), address));
        }
    }
    missing.retain(|(id, _, _)| room.sessions.find(id).is_none());
    let mut wanted = HashMap::new();
    for (id, key, stored) in &missing {
        let seen = room.roster().find(id).map(|seen| seen.addresses.clone()).unwrap_or_default();
        let mut addresses = seen;
        addresses.extend(stored.filter(|stored| !addresses.contains(stored)));
        if !addresses.is_empty() {
            wanted.insert(Callee::Box(*id), (addresses, Expected::Key(*key)));
        }
    }
    if !missing.is_empty() {
        let taken: Vec<SocketAddr> = room.sessions.all().iter().map(|session| session.address()).collect();
        for address in room.config.static_peers.iter().filter(|address| !taken.contains(address)) {
            wanted.insert(Callee::Address(*address), (vec![*address], Expected::Paired(room.admits())));
        }
    }
    wanted
}

async fn try_all(room: &Arc<Room>, addresses: &[SocketAddr], expected: &Expected) -> bool {
    for address in addresses {
        match connect::dial(room, *address, expected.clone()).await {
            Ok(()) | Err(connect::ConnectError::NotNeeded(_)) => return true,
            Err(error) => tracing::debug!(%address, %error, "neighbour not reached"),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let start = Instant::now();
        let mut backoff = Backoff::new(start);
        let pauses: Vec<u64> = (0..40)
            .map(|_| {
                backoff.failed(start);
                u64::try_from((backoff.due - start).as_millis()).expect("small")
            })
            .collect();
        assert_eq!(&pauses[..5], [250, 500, 1000, 2000, 4000]);
        assert_eq!(pauses.last(), Some(&60_000));
    }
}
