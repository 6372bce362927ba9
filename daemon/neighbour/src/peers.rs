//! The boxes that are paired, and how each has behaved: the content of `neighbours.cbor`.
//!
//! Pure: time is passed in, bytes come and go as slices. Whether a key may come in is decided here and nowhere else.

use kith_model::limits::{self, STRIKE_WINDOW, STRIKES_KEPT_MAX, STRIKES_MAX};
use kith_model::time::UnixMillis;
use kith_model::trust::Role;
use litemap::LiteMap;
use minicbor::{Decode, Encode};

use crate::identity::{NodeId, NodeKey};
use crate::wire::pairing::{role_code, role_of};

/// Name of the file in the data folder.
pub const FILE_NAME: &str = "neighbours.cbor";

const FORMAT_VERSION: u32 = 1;

/// A paired box.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Peer {
    #[cbor(n(0), with = "minicbor::bytes")]
    key: [u8; 32],
    /// Its name, cleaned.
    #[n(1)]
    pub name: String,
    #[n(2)]
    role: u32,
    #[n(3)]
    paired_at_ms: u64,
    #[cbor(n(4), with = "minicbor::bytes")]
    secret: [u8; 32],
    /// Where it was reached last, as `ip:port`.
    #[n(5)]
    pub address: Option<String>,
    #[n(6)]
    strikes_ms: Vec<u64>,
    #[n(7)]
    banned_until_ms: Option<u64>,
    #[n(8)]
    evidence: Option<Evidence>,
    /// The latest strikes, also those that no longer count.
    #[n(9)]
    #[cbor(default)]
    struck: Vec<Strike>,
    /// Whether it knows us by the key that we had before.
    #[n(10)]
    #[cbor(default)]
    is_owed: bool,
    /// The node id that it was paired under, when it has another key since.
    #[cbor(n(11), with = "minicbor::bytes")]
    #[cbor(default)]
    paired_as: Option<[u8; 32]>,
    /// When it took its key.
    #[n(12)]
    key_changed_at_ms: Option<u64>,
}

/// What a strike was for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Strike {
    /// When.
    #[n(0)]
    pub at_ms: u64,
    /// For people.
    #[n(1)]
    pub reason: String,
}

/// A signed lie.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Evidence {
    /// When it was found out.
    #[n(0)]
    pub found_at_ms: u64,
    /// What it said, for people.
    #[n(1)]
    pub summary: String,
    /// What was signed.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub claim: Vec<u8>,
    /// The signature.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub signature: Vec<u8>,
    /// What was true instead, for people.
    #[n(4)]
    #[cbor(default)]
    pub truth: String,
    /// When it says that it came to know.
    #[n(5)]
    #[cbor(default)]
    pub known_at_ms: u64,
}

impl Peer {
    /// A box that was just paired.
    pub fn new(key: NodeKey, name: String, role: Role, secret: [u8; 32], now: UnixMillis) -> Self {
        Self {
            key: *key.as_bytes(),
            name,
            role: role_code(role),
            paired_at_ms: now.0,
            secret,
            address: None,
            strikes_ms: Vec::new(),
            banned_until_ms: None,
            evidence: None,
            struck: Vec::new(),
            is_owed: false,
            paired_as: None,
            key_changed_at_ms: None,
        }
    }

    /// Its public key.
    pub fn key(&self) -> NodeKey {
        NodeKey::from_bytes(self.key)
    }

    /// What it is known by through all changes of its key, so that no box counts twice.
    pub fn lineage(&self) -> NodeId {
        self.paired_as.map_or_else(|| self.key().id(), NodeId::from_bytes)
    }

    /// Whether it has to be told of our new key.
    pub fn is_owed(&self) -> bool {
        self.is_owed
    }

    /// What it is to us.
    pub fn role(&self) -> Role {
        // A code of a later version is a stranger kind of box: it is trusted least.
        role_of(self.role).unwrap_or(Role::Neighbour)
    }

    /// When it was paired.
    pub fn paired_at(&self) -> UnixMillis {
        UnixMillis(self.paired_at_ms)
    }

    /// The secret that only the two of us know.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The signed lie that it is quarantined for.
    pub fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_ref()
    }

    /// Its latest strikes, the newest last.
    pub fn struck(&self) -> &[Strike] {
        &self.struck
    }

    /// How it stands now.
    pub fn standing(&self, now: UnixMillis) -> Standing {
        if self.evidence.is_some() {
            return Standing::Quarantined;
        }
        match self.banned_until_ms {
            Some(until) if until > now.0 => Standing::Banned(UnixMillis(until)),
            _ => match self.strikes(now) {
                0 => Standing::Good,
                count => Standing::Struck(count),
            },
        }
    }

    /// Strikes that still count.
    pub fn strikes(&self, now: UnixMillis) -> usize {
        self.strikes_ms.iter().filter(|at| is_recent(UnixMillis(**at), now)).count()
    }

    #[cfg(test)]
    pub(crate) fn test(number: u8) -> Self {
        let key = NodeKey::from_bytes([number; 32]);
        Self::new(key, format!("box {number}"), Role::Mine, [number; 32], UnixMillis(0))
    }
}

fn is_recent(at: UnixMillis, now: UnixMillis) -> bool {
    now.since(at) < STRIKE_WINDOW
}

/// How a paired box stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing against it.
    Good,
    /// It sent this many bad groups within a day.
    Struck(usize),
    /// It sent too many; it may come back then.
    Banned(UnixMillis),
    /// It signed a lie; its owner has to be asked.
    Quarantined,
}

/// No more than [`limits::PAIRED_MAX`] boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this box is paired with {max} others already, as many as it can be", max = limits::PAIRED_MAX)]
pub struct Full;

/// Bytes that are no list of neighbours of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeersError {
    /// Written by a later version.
    #[error("it has format {0}, which this version does not know")]
    Version(u32),
    /// Anything else.
    #[error("it is damaged")]
    Damaged,
}

/// All paired boxes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    by_id: LiteMap<NodeId, Peer>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    version: u32,
    #[n(1)]
    peers: Vec<Peer>,
}

impl Peers {
    /// Reads the file's content.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PeersError> {
        let stored: Stored = minicbor::decode(bytes).map_err(|_| PeersError::Damaged)?;
        if stored.version != FORMAT_VERSION {
            return Err(PeersError::Version(stored.version));
        }
        let mut by_id = LiteMap::new();
        for peer in stored.peers {
            by_id.insert(peer.key().id(), peer);
        }
        Ok(Self { by_id })
    }

    /// The file's content.
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored { version: FORMAT_VERSION, peers: self.by_id.values().cloned().collect() };
        minicbor::to_vec(stored).expect("invariant: writing to a Vec does not fail")
    }

    /// Adds a box; one of the same key is replaced, as its owner has just vouched for it anew.
    pub fn add(&mut self, peer: Peer) -> Result<(), Full> {
        let id = peer.key().id();
        if self.by_id.len() >= limits::PAIRED_MAX && !self.by_id.contains_key(&id) {
            return Err(Full);
        }
        self.by_id.insert(id, peer);
        Ok(())
    }

    /// Forgets a box.
    pub fn remove(&mut self, id: &NodeId) -> Option<Peer> {
        self.by_id.remove(id)
    }

    /// One box.
    pub fn find(&self, id: &NodeId) -> Option<&Peer> {
        self.by_id.get(id)
    }

    /// One box, to be changed.
    pub fn find_mut(&mut self, id: &NodeId) -> Option<&mut Peer> {
        self.by_id.get_mut(id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.by_id.iter()
    }

    /// Whether a key may come in now.
    pub fn admits(&self, key: &NodeKey, now: UnixMillis) -> bool {
        self.find(&key.id()).is_some_and(|peer| {
            peer.key() == *key && matches!(peer.standing(now), Standing::Good | Standing::Struck(_))
        })
    }

    /// Whether the word still counts of the box that shares this secret with us: it is paired and was not caught lying.
    /// A ban is for bad groups, which say nothing of what it signed, and the secret outlives a change of its key.
    pub fn believes(&self, secret: &[u8; 32]) -> bool {
        self.by_id.values().any(|peer| peer.secret == *secret && peer.evidence.is_none())
    }

    /// Counts a bad group or nonsense against a box; the third within a day bans it for a day.
    pub fn strike(&mut self, id: &NodeId, reason: &str, now: UnixMillis) -> Option<Standing> {
        let peer = self.by_id.get_mut(id)?;
        if peer.struck.len() >= STRIKES_KEPT_MAX {
            peer.struck.drain(..=peer.struck.len() - STRIKES_KEPT_MAX);
        }
        peer.struck.push(Strike { at_ms: now.0, reason: reason.to_owned() });
        peer.strikes_ms.retain(|at| is_recent(UnixMillis(*at), now));
        peer.strikes_ms.push(now.0);
        if peer.strikes_ms.len() >= STRIKES_MAX {
            peer.strikes_ms.clear();
            peer.banned_until_ms = Some(now.after(STRIKE_WINDOW).0);
        }
        Some(peer.standing(now))
    }

    /// Takes a box's new key for its old one; nothing when that is another box's, or the last change was less than
    /// [`limits::KEY_CHANGE_PAUSE`] ago.
    pub fn rotate(&mut self, id: &NodeId, new: NodeKey, now: UnixMillis) -> Option<()> {
        let peer = self.by_id.get(id)?;
        let is_soon = |at| now.since(UnixMillis(at)) < limits::KEY_CHANGE_PAUSE;
        if self.by_id.contains_key(&new.id()) || peer.key_changed_at_ms.is_some_and(is_soon) {
            return None;
        }
        let mut peer = self.by_id.remove(id)?;
        peer.paired_as.get_or_insert(*id.as_bytes());
        peer.key = *new.as_bytes();
        peer.key_changed_at_ms = Some(now.0);
        self.by_id.insert(new.id(), peer);
        Some(())
    }

    /// Our key is about to change: everybody has to be told.
    pub fn owe_all(&mut self) {
        self.by_id.iter_mut().for_each(|(_, peer)| peer.is_owed = true);
    }

    /// A box was told of our key.
    pub fn told(&mut self, id: &NodeId) {
        if let Some(peer) = self.by_id.get_mut(id) {
            peer.is_owed = false;
        }
    }

    /// Puts a box away until its owner pairs it again, with the proof of why. The first lie is kept.
    pub fn quarantine(&mut self, id: &NodeId, evidence: Evidence) -> bool {
        let Some(peer) = self.by_id.get_mut(id) else { return false };
        peer.evidence.get_or_insert(evidence);
        true
    }
}

/// Whether a file's content may name a box: a damaged one may.
pub(crate) fn mentions_any(stored: &[u8]) -> bool {
    Peers::from_bytes(stored).map_or(true, |peers| !peers.by_id.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_one() -> (Peers, NodeKey) {
        let mut peers = Peers::default();
        let peer = Peer::test(1);
        let key = peer.key();
        peers.add(peer).expect("room");
        (peers, key)
    }

    fn at(hours: u64) -> UnixMillis {
        UnixMillis(hours * 3_600_000)
    }

    #[test]
    fn three_bad_groups_within_a_day_ban_for_a_day() {
        let (mut peers, key) = with_one();
        assert_eq!(peers.strike(&key.id(), "a reason", at(1)), Some(Standing::Struck(1)));
        assert_eq!(peers.strike(&key.id(), "a reason", at(2)), Some(Standing::Struck(2)));
        assert!(peers.admits(&key, at(2)));
        assert_eq!(peers.strike(&key.id(), "a reason", at(24)), Some(Standing::Banned(at(48))));
        assert!(!peers.admits(&key, at(47)));
        assert!(peers.admits(&key, at(48)));
        assert_eq!(peers.find(&key.id()).map(|peer| peer.standing(at(48))), Some(Standing::Good));
    }

    #[test]
    fn strikes_of_yesterday_do_not_count() {
        let (mut peers, key) = with_one();
        for hours in [0, 13, 26, 39, 52] {
            let standing = peers.strike(&key.id(), "a reason", at(hours));
            assert!(matches!(standing, Some(Standing::Struck(1 | 2))), "{hours}");
        }
    }

    #[test]
    fn a_signed_lie_shuts_out_until_paired_again() {
        let (mut peers, key) = with_one();
        let evidence = Evidence {
            found_at_ms: 5,
            summary: "x".into(),
            claim: vec![1],
            signature: vec![2],
            truth: "y".into(),
            known_at_ms: 4,
        };
        assert!(peers.quarantine(&key.id(), evidence.clone()));
        assert!(peers.quarantine(&key.id(), Evidence { summary: "later".into(), ..evidence.clone() }));
        assert!(!peers.admits(&key, at(100_000)));
        assert_eq!(peers.find(&key.id()).and_then(Peer::evidence), Some(&evidence));
        peers.add(Peer::test(1)).expect("same box");
        assert!(peers.admits(&key, at(1)));
    }

    #[test]
    fn paired_boxes_of_both_roles_come_in_and_strangers_do_not() {
        let (mut peers, _) = with_one();
        let stranger = NodeKey::from_bytes([9; 32]);
        assert!(!peers.admits(&stranger, at(0)));
        assert_eq!(peers.strike(&stranger.id(), "a reason", at(0)), None);
        peers.add(Peer::new(stranger, String::new(), Role::Neighbour, [0; 32], at(0))).expect("room");
        assert!(peers.admits(&stranger, at(0)));
        assert_eq!(peers.find(&stranger.id()).map(Peer::role), Some(Role::Neighbour));
    }

    #[test]
    fn a_new_key_keeps_everything_else_and_counts_once() {
        let (mut peers, key) = with_one();
        peers.strike(&key.id(), "a reason", at(1));
        let new = NodeKey::from_bytes([7; 32]);
        assert_eq!(peers.rotate(&key.id(), new, at(1)), Some(()));
        assert!(!peers.admits(&key, at(1)) && peers.admits(&new, at(1)));
        let peer = peers.find(&new.id()).expect("known by its new key");
        assert_eq!((peer.lineage(), peer.secret(), peer.strikes(at(1))), (key.id(), &[1; 32], 1));
        assert_eq!(Peers::from_bytes(&peers.to_bytes()), Ok(peers.clone()));

        let third = NodeKey::from_bytes([8; 32]);
        assert!(peers.believes(&[1; 32]), "what it claimed by the key before");
        assert_eq!(peers.rotate(&new.id(), third, at(1)), None, "at once again");
        assert_eq!(peers.rotate(&new.id(), third, at(3)), Some(()));
        assert_eq!(peers.find(&third.id()).map(Peer::lineage), Some(key.id()));
        peers.add(Peer::test(9)).expect("room");
        assert_eq!(peers.rotate(&third.id(), NodeKey::from_bytes([9; 32]), at(9)), None, "somebody else's");
        assert_eq!(peers.rotate(&key.id(), key, at(9)), None, "nobody has it any more");
    }

    #[test]
    fn the_latest_strikes_are_kept_with_their_reasons() {
        let (mut peers, key) = with_one();
        for hours in 0..3 * STRIKES_KEPT_MAX as u64 {
            peers.strike(&key.id(), &format!("at {hours}"), at(hours));
        }
        let struck = peers.find(&key.id()).expect("paired").struck();
        assert_eq!(struck.len(), STRIKES_KEPT_MAX);
        assert_eq!(struck.last().map(|strike| strike.reason.as_str()), Some("at 23"));
    }

    /// Files of the version before have neither reasons nor what was true.
    #[test]
    fn a_file_without_reasons_is_read() {
        let (peers, key) = with_one();
        let peer = peers.find(&key.id()).expect("paired");
        let mut bytes = Vec::new();
        let mut encoder = minicbor::Encoder::new(&mut bytes);
        encoder.map(2).and_then(|to| to.u32(0)?.u32(FORMAT_VERSION)?.u32(1)?.array(1)?.map(6)).expect("vec");
        encoder
            .u32(0)
            .and_then(|to| to.bytes(&peer.key)?.u32(1)?.str(&peer.name)?.u32(2)?.u32(1))
            .expect("vec");
        encoder.u32(3).and_then(|to| to.u64(0)?.u32(4)?.bytes(&peer.secret)?.u32(6)?.array(0)).expect("vec");
        assert_eq!(Peers::from_bytes(&bytes), Ok(peers));
    }

    #[test]
    fn the_list_is_bounded() {
        let mut peers = Peers::default();
        for number in 0..limits::PAIRED_MAX {
            peers.add(Peer::test(u8::try_from(number).expect("small"))).expect("room");
        }
        assert_eq!(peers.add(Peer::test(255)), Err(Full));
        peers.add(Peer::test(0)).expect("replaced");
    }

    #[test]
    fn the_file_round_trips_and_later_formats_are_refused() {
        let (mut peers, key) = with_one();
        peers.strike(&key.id(), "a reason", at(1));
        assert_eq!(Peers::from_bytes(&peers.to_bytes()), Ok(peers));
        let later = minicbor::to_vec(Stored { version: 2, peers: Vec::new() }).expect("vec");
        assert_eq!(Peers::from_bytes(&later), Err(PeersError::Version(2)));
    }

    proptest! {
        #[test]
        fn no_file_content_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Peers::from_bytes(&bytes);
        }
    }
}
