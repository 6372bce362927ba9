//! Keeps a session to every paired box that can be reached: whom to dial, and when again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kith_model::limits::{DIALS_MAX, NEIGHBOUR_CONNECT_TIMEOUT, REDIAL_HURRIED, REDIAL_MAX, REDIAL_MIN};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clients::is_link_local;
use crate::clock;
use crate::connect::{self, ConnectError};
use crate::identity::{NodeId, NodeKey};
use crate::peers::Peer;
use crate::room::Room;
use crate::roster::Known;
use crate::rotation;
use crate::tls::Expected;

/// Pauses that double up to a bound, each a quarter longer or shorter by chance: boxes that lost each other in one moment
/// come back in many. Pure. Every try counts, also one that led to a session: a box that takes us in and throws us out
/// at once must not make us dial without a pause.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    tries: u32,
    tried_at: Option<Instant>,
    due: Instant,
}

/// As many tries as are left of those made before somebody said that the box is back: it may take a moment more.
const TRIES_HURRIED: u32 = 3;

impl Backoff {
    fn new(due: Instant) -> Self {
        Self { tries: 0, tried_at: None, due }
    }

    /// Notes a try. One that comes long after the last begins anew.
    fn tried(&mut self, now: Instant, chance: u8) {
        if self.tried_at.is_none_or(|last| now.saturating_duration_since(last) > 2 * REDIAL_MAX) {
            self.tries = 0;
        }
        let pause =
            REDIAL_MIN.saturating_mul(1u32.checked_shl(self.tries).unwrap_or(u32::MAX)).min(REDIAL_MAX);
        self.tries = (self.tries + 1).min(16);
        self.tried_at = Some(now);
        self.due = now + jittered(pause, chance);
    }

    /// Somebody says that it is there, or elsewhere: worth a try soon, whatever came of the earlier ones.
    fn hurry(&mut self, now: Instant) {
        let soonest = self.tried_at.map_or(now, |tried_at| tried_at + REDIAL_HURRIED);
        self.due = self.due.min(soonest.max(now + REDIAL_MIN));
        self.tries = self.tries.min(TRIES_HURRIED);
    }
}

/// Three to five quarters of it.
fn jittered(pause: Duration, chance: u8) -> Duration {
    pause * (192 + u32::from(chance) / 2) / 256
}

/// A byte by chance after another: enough for pauses, for nothing else (xorshift64).
struct Chance(u64);

impl Chance {
    fn draw(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_be_bytes()[0]
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
    /// Addresses that were known when we looked last.
    tried: Vec<SocketAddr>,
}

impl Call {
    fn new(due: Instant) -> Self {
        Self { backoff: Backoff::new(due), is_running: false, tried: Vec::new() }
    }

    fn note(&mut self, addresses: &[SocketAddr], now: Instant) {
        let has_news = addresses.iter().any(|address| !self.tried.contains(address));
        if has_news && !self.tried.is_empty() {
            self.backoff.hurry(now);
        }
        self.tried = addresses.to_vec();
    }
}

/// Boxes that start together don't dial in the same moment: the first try is up to half of this later.
const START_SPREAD: Duration = Duration::from_millis(200);

/// The box with the higher id gives the other this much time to dial first: saves most double connections.
const COURTESY: Duration = Duration::from_millis(300);

/// Dials until the room stops.
pub(crate) async fn run(room: Arc<Room>) {
    let mut calls: HashMap<Callee, Call> = HashMap::new();
    let mut running: JoinSet<Callee> = JoinSet::new();
    let mut chance = Chance(room.instance | 1);
    let mut nudges = 0;
    loop {
        let now = Instant::now();
        let nudged = room.nudges.load(Relaxed);
        if std::mem::replace(&mut nudges, nudged) != nudged {
            for call in calls.values_mut() {
                call.backoff.hurry(now);
            }
        }
        let wanted = wanted(&room);
        // A callee is remembered while it is paired, so that its pauses outlive its sessions.
        calls.retain(|callee, _| is_known(&room, *callee));
        let mut next = now + REDIAL_MAX;
        for (callee, (addresses, expected)) in wanted {
            let call = calls.entry(callee).or_insert_with(|| {
                Call::new(
                    now + courtesy(&room, callee) + jittered(START_SPREAD, chance.draw())
                        - START_SPREAD * 3 / 4,
                )
            });
            call.note(&addresses, now);
            if call.is_running {
                continue;
            }
            if call.backoff.due > now {
                next = next.min(call.backoff.due);
                continue;
            }
            // One of those that are running ends within seconds, and then all are looked at again.
            if running.len() >= DIALS_MAX {
                continue;
            }
            call.is_running = true;
            call.backoff.tried(now, chance.draw());
            let room = Arc::clone(&room);
            running.spawn(async move {
                try_all(&room, &addresses, &expected).await;
                callee
            });
        }
        tokio::select! {
            () = room.stopping.cancelled() => break,
            () = room.wake.notified() => {}
            () = tokio::time::sleep_until(next) => {}
            Some(Ok(callee)) = running.join_next() => {
                if let Some(call) = calls.get_mut(&callee) {
                    call.is_running = false;
                }
            }
        }
    }
    running.shutdown().await;
}

fn is_known(room: &Room, callee: Callee) -> bool {
    match callee {
        Callee::Box(id) => room.known(&id) == Known::Paired,
        Callee::Address(address) => room.named().contains(&address),
    }
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
        // The session's address is where clients are sent to; a link-local one is of no use to them.
        let (last, mut addresses): (Vec<_>, Vec<_>) =
            addresses.into_iter().partition(|address| is_link_local(address.ip()));
        addresses.extend(last);
        if !addresses.is_empty() {
            wanted.insert(Callee::Box(*id), (addresses, Expected::Key(*key)));
        }
    }
    if !missing.is_empty() {
        let mut taken: Vec<SocketAddr> =
            room.sessions.all().iter().map(|session| session.address()).collect();
        // A box that is dialled there anyway is not dialled twice.
        taken.extend(wanted.values().flat_map(|(addresses, _)| addresses));
        for address in room.named().iter().filter(|address| !taken.contains(address)) {
            wanted.insert(Callee::Address(*address), (vec![*address], Expected::Paired(room.admits())));
        }
    }
    wanted
}

/// A box may be at an address that leads nowhere now: those behind it do not wait for long.
const FIRST_ADDRESSES_TIMEOUT: Duration = Duration::from_millis(1500);

async fn try_all(room: &Arc<Room>, addresses: &[SocketAddr], expected: &Expected) {
    for (at, address) in addresses.iter().enumerate() {
        let is_last = at + 1 == addresses.len();
        let patience = if is_last { NEIGHBOUR_CONNECT_TIMEOUT } else { FIRST_ADDRESSES_TIMEOUT };
        match reach(room, *address, expected, patience).await {
            Ok(()) | Err(ConnectError::NotNeeded(_)) => return,
            Err(error) => tracing::debug!(%address, %error, "neighbour not reached"),
        }
    }
}

/// Who knows us by the key before is told of the new one first.
async fn reach(
    room: &Arc<Room>,
    address: SocketAddr,
    expected: &Expected,
    patience: Duration,
) -> Result<(), ConnectError> {
    let is_owed = |key: &NodeKey| room.registry.read().find(&key.id()).is_some_and(Peer::is_owed);
    if matches!(expected, Expected::Key(key) if is_owed(key)) {
        return rotation::tell(room, address, expected.clone()).await;
    }
    let reached = connect::dial(room, address, expected.clone(), patience).await;
    match (&reached, expected) {
        (Ok(()) | Err(ConnectError::NotNeeded(_)), _) | (_, Expected::Key(_)) => reached,
        _ => rotation::tell(room, address, expected.clone()).await.map_or(reached, Ok),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neither longer nor shorter.
    const EVEN: u8 = 128;

    fn pauses(backoff: &mut Backoff, mut now: Instant, count: usize) -> Vec<u64> {
        let pause = |_| {
            backoff.tried(now, EVEN);
            let pause = backoff.due - now;
            now = backoff.due;
            u64::try_from(pause.as_millis()).expect("small")
        };
        (0..count).map(pause).collect()
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_long_session() {
        let start = Instant::now();
        let mut backoff = Backoff::new(start);
        let first = pauses(&mut backoff, start, 40);
        assert_eq!(&first[..5], [250, 500, 1000, 2000, 4000]);
        assert_eq!(first.last(), Some(&60_000));
        let later = backoff.due + 3 * REDIAL_MAX;
        assert_eq!(pauses(&mut backoff, later, 2), [250, 500]);
    }

    #[test]
    fn a_new_address_is_tried_soon_but_not_at_once() {
        let start = Instant::now();
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let mut call = Call::new(start);
        call.note(&[address(1)], start);
        assert_eq!(call.backoff.due, start);
        pauses(&mut call.backoff, start, 20);
        let now = call.backoff.due - REDIAL_MAX / 2;
        call.note(&[address(1)], now);
        assert_eq!(call.backoff.due, now + REDIAL_MAX / 2);
        call.note(&[address(2), address(1)], now);
        assert_eq!(call.backoff.due, now + REDIAL_MIN);
    }

    /// Whoever floods the network with a paired box's name makes us try it all the time, but not without a pause.
    #[test]
    fn hurried_tries_have_a_pause_between_them() {
        let start = Instant::now();
        let mut backoff = Backoff::new(start);
        pauses(&mut backoff, start, 20);
        let mut now = backoff.due;
        let first = now;
        for _ in 0..10 {
            backoff.hurry(now);
            backoff.hurry(now);
            now = backoff.due;
            backoff.tried(now, EVEN);
        }
        assert!(now - first >= 9 * REDIAL_HURRIED, "{:?}", now - first);
    }

    #[test]
    fn no_two_boxes_keep_step() {
        let pause = Duration::from_secs(60);
        assert_eq!(jittered(pause, 0), Duration::from_secs(45));
        assert!(jittered(pause, u8::MAX) < Duration::from_secs(75));
        let drawn = |seed| {
            let mut chance = Chance(seed);
            [0; 8].map(|_: u8| chance.draw())
        };
        assert_ne!(drawn(1), drawn(3));
        let values: std::collections::HashSet<u8> = {
            let mut chance = Chance(7);
            (0..1000).map(|_| chance.draw()).collect()
        };
        assert!(values.len() > 200, "{}", values.len());
    }
}
