//! A box as people see it and name it.
//!
//! Puts together what the list of neighbours, discovery, the session and the counters know. Changes nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;

use kith_model::time::UnixMillis;
use kith_model::trust::Role;

use crate::identity::{NodeId, NodeKey};
use crate::peers::{Evidence, Peer, Standing, Strike};
use crate::room::Room;
use crate::roster::Seen;
use crate::telling::FilterView;

/// How a box stands with us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing against it.
    Good,
    /// It sent this many bad groups within a day.
    Struck(usize),
    /// It sent too many.
    Banned {
        /// When it may come back.
        until: UnixMillis,
    },
    /// It signed a lie.
    Quarantined {
        /// Which, for people.
        reason: String,
    },
}

/// A box as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its name, as it says itself, made harmless; may be empty.
    pub name: String,
    /// The hash of its key.
    pub id: NodeId,
    /// The same as four words.
    pub key_words: String,
    /// What it is to us; nothing when it is not paired.
    pub role: Option<Role>,
    /// Where it is, or was seen last.
    pub address: Option<SocketAddr>,
    /// Whether there is a session.
    pub connected: bool,
    /// Whether discovery sees it now.
    pub seen: bool,
    /// Round trip of the session in microseconds.
    pub rtt_us: Option<u64>,
    /// Object bytes it gave us since the start.
    pub received_bytes: u64,
    /// Object bytes we gave it since the start.
    pub sent_bytes: u64,
    /// Groups of it that were verified since the start.
    pub groups_verified: u64,
    /// What it has told of what it may share.
    pub filter: Option<FilterView>,
    /// Strikes that still count.
    pub strikes: usize,
    /// How it stands.
    pub state: State,
    /// When it was paired.
    pub paired_at: Option<UnixMillis>,
    /// Its public key; nothing when it is not paired.
    pub key: Option<NodeKey>,
    /// Its latest strikes, the newest last.
    pub struck: Vec<Strike>,
    /// The signed lie that it is quarantined for.
    pub evidence: Option<Evidence>,
}

/// Why a text names no box.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// None.
    #[error("no box is known by that name, node id or address")]
    NotFound,
    /// More than one.
    #[error("more than one box is known by that name; use its node id")]
    Ambiguous,
    /// This one.
    #[error("that is this box itself")]
    Ourselves,
}

impl View {
    /// A paired box.
    pub(crate) fn paired(room: &Room, peer: &Peer, now: UnixMillis) -> Self {
        let id = peer.key().id();
        let session = room.sessions.find(&id);
        let seen = room.roster().find(&id).cloned();
        let tally = room.tallies.of(id);
        let seen_at = seen.as_ref().and_then(|seen| seen.addresses.first().copied());
        let stored = peer.address.as_ref().and_then(|address| address.parse().ok());
        Self {
            name: peer.name.clone(),
            id,
            key_words: id.words(),
            role: Some(peer.role()),
            address: session.as_ref().map(|session| session.address()).or(seen_at).or(stored),
            connected: session.is_some(),
            seen: seen.is_some(),
            filter: session.as_ref().and_then(|session| session.ear().view()),
            rtt_us: session.and_then(|session| u64::try_from(session.connection.rtt().as_micros()).ok()),
            received_bytes: tally.received_bytes.load(Relaxed),
            sent_bytes: tally.sent_bytes.load(Relaxed),
            groups_verified: tally.groups_verified.load(Relaxed),
            strikes: peer.strikes(now),
            state: state(peer, now),
            paired_at: Some(peer.paired_at()),
            key: Some(peer.key()),
            struck: peer.struck().to_vec(),
            evidence: peer.evidence().cloned(),
        }
    }

    /// A box that discovery sees and that is not paired.
    pub(crate) fn stranger(id: NodeId, seen: &Seen) -> Self {
        Self {
            name: seen.name.clone(),
            id,
            key_words: id.words(),
            role: None,
            address: seen.addresses.first().copied(),
            connected: false,
            seen: true,
            rtt_us: None,
            received_bytes: 0,
            sent_bytes: 0,
            groups_verified: 0,
            filter: None,
            strikes: 0,
            state: State::Good,
            paired_at: None,
            key: None,
            struck: Vec::new(),
            evidence: None,
        }
    }
}

fn state(peer: &Peer, now: UnixMillis) -> State {
    match peer.standing(now) {
        Standing::Good => State::Good,
        Standing::Struck(count) => State::Struck(count),
        Standing::Banned(until) => State::Banned { until },
        Standing::Quarantined => State::Quarantined {
            reason: peer.evidence().map(|evidence| evidence.summary.clone()).unwrap_or_default(),
        },
    }
}

/// The only one.
pub(crate) fn one_of(mut views: impl Iterator<Item = View>) -> Result<View, FindError> {
    match (views.next(), views.next()) {
        (Some(view), None) => Ok(view),
        (None, _) => Err(FindError::NotFound),
        (Some(_), Some(_)) => Err(FindError::Ambiguous),
    }
}

/// Four digits at least: shorter ones are rather names.
pub(crate) fn is_prefix_of(who: &str, id: NodeId) -> bool {
    who.len() >= 4 && id.to_string().starts_with(&who.to_ascii_lowercase())
}

/// `ip:port`, or an address alone with the usual port.
pub(crate) fn parse_address(who: &str) -> Option<SocketAddr> {
    const PORT: u16 = 8482;
    let bare = who.trim().trim_start_matches('[').trim_end_matches(']');
    who.trim().parse().ok().or_else(|| bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT)))
}
