//! What the admin room is told of the rest of the house: the seams that the roof fills in.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use kith_fetch::fetcher::Fetcher;
use kith_model::trust::Role;
use kith_store::Store;
use serde::Serialize;

use crate::pairing::Pairing;

/// What does not change while the box runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The box's name.
    pub name: String,
    /// Its node id in hexadecimal; empty when the box has no neighbours' room.
    pub node_id: String,
    /// The words that people compare instead of the node id.
    pub key_words: String,
    /// Of the program.
    pub version: &'static str,
    /// `router`, `board` or `server`.
    pub profile: &'static str,
    /// When the box started.
    pub started: Instant,
    /// Where clients are served.
    pub clients: Vec<SocketAddr>,
    /// Where apt looks for a proxy by itself.
    pub apt: Vec<SocketAddr>,
    /// Where this room is served.
    pub admin: Vec<SocketAddr>,
    /// Where neighbours are served.
    pub neighbours: Vec<SocketAddr>,
    /// Whether `GET /metrics` answers.
    pub metrics: Metrics,
}

/// Whether numbers are given to collectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metrics {
    /// `GET /metrics` answers.
    Shown,
    /// It does not.
    Hidden,
}

/// Who may come in, and under which names the box is known. The same rules as those of the client port.
pub trait Gate: Send + Sync + 'static {
    /// Whether a client at `peer`, connected to `local`, may ask anything.
    fn admits(&self, peer: SocketAddr, local: SocketAddr) -> bool;
    /// Whether a host without its port names this box; `local` is the address the client connected to.
    fn answers_to(&self, host: &str, local: IpAddr) -> bool;
}

/// What the door for clients counts.
pub trait ClientDoor: Send + Sync + 'static {
    /// Requests since start, by result.
    fn requests(&self) -> Vec<(&'static str, u64)>;
}

/// Another box, as people see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NeighbourView {
    /// Its name, as it says itself; empty while unknown.
    pub name: String,
    /// Its node id in hexadecimal.
    pub node_id: String,
    /// The words that people compare instead of the node id.
    pub key_words: String,
    /// `mine` or `neighbour` when paired, else `none`.
    pub role: &'static str,
    /// `connected`, `seen`, `away`, `banned` or `quarantined`.
    pub state: &'static str,
    /// Where it was seen last.
    pub address: String,
    /// Body bytes it gave us since start.
    pub received_bytes: u64,
    /// Body bytes we gave it since start.
    pub sent_bytes: u64,
    /// Chunk groups of it that were verified since start.
    pub groups_verified: u64,
    /// What it has told of what it may share; nothing when it told nothing, and so is asked directly.
    pub filter: Option<FilterView>,
    /// Strikes that still count.
    pub strikes: u64,
    /// Why it is banned or quarantined; empty when it is not.
    pub reason: String,
    /// Its latest strikes, the newest last, also those that no longer count.
    pub struck: Vec<StrikeView>,
    /// The signed lie that it is quarantined for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<EvidenceView>>,
}

/// What a strike was for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StrikeView {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// For people.
    pub reason: String,
}

/// A signed lie, and what shows that it is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EvidenceView {
    /// When it was found out, in milliseconds since 1970.
    pub found_at_ms: u64,
    /// When the box says that it came to know, by its own clock.
    pub known_at_ms: u64,
    /// What it signed, for people.
    pub said: String,
    /// What was true instead.
    pub truth: String,
    /// The bytes that were signed, in hexadecimal; they name the URL, so only the owner sees them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The Ed25519 signature over them, in hexadecimal.
    pub signature: String,
    /// The key that made it, in hexadecimal.
    pub key: String,
}

/// What a neighbour has told of what it may share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FilterView {
    /// Names in it.
    pub names: u64,
    /// Bytes that it took on the wire, with its changes.
    pub bytes: u64,
    /// How long nothing has changed in it.
    pub age_s: u64,
}

/// What all neighbours together did since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeighbourTotals {
    /// Body bytes they gave us.
    pub received_bytes: u64,
    /// Body bytes we gave them.
    pub sent_bytes: u64,
    /// Slices of theirs that did not match their object.
    pub verify_failures: u64,
    /// Strikes dealt out.
    pub strikes: u64,
    /// Connections open now.
    pub connections: u64,
    /// Questions to them whether something is held.
    pub asked: u64,
    /// Questions that were spared, as a filter said no.
    pub spared: u64,
    /// Questions that a filter led to for nothing.
    pub false_hits: u64,
    /// Bytes of filters that came.
    pub filter_received_bytes: u64,
    /// Bytes of filters that were sent.
    pub filter_sent_bytes: u64,
    /// Filters, and changes of them, that came.
    pub filters_received: u64,
    /// Filters, and changes of them, that were sent.
    pub filters_sent: u64,
    /// Messages of boxes that fetch the same at the same time that came.
    pub crowd_received: CrowdMessages,
    /// The same that were sent.
    pub crowd_sent: CrowdMessages,
}

/// Messages of boxes that fetch the same at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrowdMessages {
    /// Questions about a fetch.
    pub gathers: u64,
    /// Reports how far it is.
    pub reports: u64,
    /// Questions for a part of it.
    pub takes: u64,
}

/// An open pairing window.
pub struct Window {
    /// Eight digits.
    pub code: String,
    /// How long it stays open.
    pub open_for: Duration,
    /// How it ends. Dropping it closes the window.
    pub outcome: BoxFuture<'static, Outcome>,
}

/// How a pairing window ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a new neighbour.
    Paired(Box<NeighbourView>),
    /// A wrong code was tried: one guess a code.
    Refused(String),
    /// Nobody came.
    Closed,
}

/// Why pairing or unpairing did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairingError {
    /// The neighbours' room is off.
    #[error("neighbours are off on this box")]
    Off,
    /// No box of that name, node id or address.
    #[error("no box is known by that name, node id or address")]
    NotFound,
    /// It is this one.
    #[error("that is this box itself")]
    Ourselves,
    /// More than one box of that name or prefix.
    #[error("more than one box is known by that name")]
    Ambiguous,
    /// It is there but shows no code now.
    #[error("the other box shows no pairing code")]
    NotOpen,
    /// The digits are not those that the other box shows.
    #[error("the code is wrong")]
    WrongCode,
    /// Too many wrong codes.
    #[error("too many wrong codes were tried")]
    LockedOut,
    /// It cannot be reached.
    #[error("the other box cannot be reached")]
    Unreachable,
    /// The other box knows no such role, or speaks another version.
    #[error("the other box does not pair in that role")]
    Role,
    /// Not six words that a box has drawn.
    #[error("these are not the six words of a group")]
    Words,
    /// Some boxes have not heard of the last change of our key.
    #[error("{0}")]
    Owed(String),
    /// Our own disk or state.
    #[error("pairing failed: {0}")]
    Failed(String),
}

/// Which box to join, and as what.
#[derive(Clone, Debug)]
pub struct Join {
    /// Name, node id prefix or address.
    pub neighbour: String,
    /// Eight digits.
    pub code: String,
    /// What it shall be for us; the other box's owner may have said less.
    pub role: Role,
}

/// What becomes of the group that this box is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// A new one, of this box alone as yet. The others will be at most that.
    Found(Role),
    /// Into the one of those who know these words.
    Join(String, Role),
    /// Into none.
    Leave,
}

/// The group that this box is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GroupView {
    /// What the others are to it, at most; nothing when it is in none.
    pub role: Option<&'static str>,
    /// Six words, once, when they were just drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// The key that this box will have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextKey {
    /// Its hash, 64 hexadecimal digits.
    pub node_id: String,
    /// The same as four words.
    pub key_words: String,
}

/// The neighbours' room.
pub trait Neighbourhood: Send + Sync + 'static {
    /// All boxes that are paired or seen.
    fn views(&self) -> Vec<NeighbourView>;
    /// What they did.
    fn totals(&self) -> NeighbourTotals;
    /// Opens the pairing window; one that was open closes. Whoever comes is at most `role` for us.
    fn open_pairing(&self, role: Role) -> BoxFuture<'_, Result<Window, PairingError>>;
    /// Joins a box that shows a code.
    fn join(&self, join: Join) -> BoxFuture<'_, Result<NeighbourView, PairingError>>;
    /// Forgets a box by name, node id prefix or address; tells which it was.
    fn unpair<'a>(&'a self, neighbour: &'a str) -> BoxFuture<'a, Result<NeighbourView, PairingError>>;
    /// The group that this box is in.
    fn group(&self) -> GroupView;
    /// Changes it. Boxes that are paired stay so.
    fn change_group(&self, change: GroupChange) -> BoxFuture<'_, Result<GroupView, PairingError>>;
    /// Makes the key that this box has from its next start on.
    fn rotate_key(&self) -> BoxFuture<'_, Result<NextKey, PairingError>>;
}

/// What the room is made of.
pub struct Parts {
    /// Facts.
    pub facts: Facts,
    /// The shelf.
    pub store: Store,
    /// The hearth.
    pub fetcher: Fetcher,
    /// The neighbours.
    pub neighbourhood: Arc<dyn Neighbourhood>,
    /// The clients' door.
    pub clients: Arc<dyn ClientDoor>,
    /// Who may come in.
    pub gate: Arc<dyn Gate>,
}

/// The admin room; clones are handles to the same one.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    pairing: Pairing,
}

impl Admin {
    /// Puts the room together.
    pub fn new(parts: Parts) -> Self {
        Self { inner: Arc::new(Inner { parts, pairing: Pairing::default() }) }
    }

    /// Closes what waits for people, so that the box can stop.
    pub fn close(&self) {
        self.inner.pairing.close();
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    pub(crate) fn pairing(&self) -> &Pairing {
        &self.inner.pairing
    }
}
