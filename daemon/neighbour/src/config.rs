//! What the roof tells this room.

use std::net::SocketAddr;
use std::path::PathBuf;

use kith_model::limits::Limits;

use crate::announce::{Announcement, Voice};

/// The room's settings. Plain data, checked by whoever reads it from a file.
#[derive(Clone, Debug)]
pub struct Config {
    /// The box's name, shown to neighbours. Cleaned and cut when the room starts.
    pub name: String,
    /// Where `identity.key` and `neighbours.cbor` are.
    pub data_dir: PathBuf,
    /// Where QUIC listens, and dials from.
    pub listen: SocketAddr,
    /// Bounds of this box's profile.
    pub limits: Limits,
    /// Whether anything is given away at all.
    pub share: Sharing,
    /// Bytes a second to all neighbours together; nothing means as fast as they take it. That is what "auto" means for
    /// boxes of the same household: who waits is the owner, and the LAN is the owner's. Boxes of other
    /// households together get no more than [`Limits::upload_bytes_per_second`] then.
    pub upload_bytes_per_second: Option<u32>,
    /// Smaller objects are neither asked for nor answered.
    pub object_bytes_min: u64,
    /// How boxes are found.
    pub discovery: Discovery,
    /// What else is announced, under the same name.
    pub announcements: Vec<Announcement>,
    /// Boxes that are dialled without having been discovered, as `host:port`; only paired ones get through TLS.
    pub static_peers: Vec<String>,
}

/// Whether neighbours are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// They get what the rules of sharing allow.
    On,
    /// They hear "not here".
    Off,
}

/// How boxes are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// By mDNS.
    Mdns(Voice),
    /// Not at all.
    Off,
}
