//! Where programs of the household connect to a box, so that a download can come from several boxes at once.
//!
//! A box tells it to boxes of the same owner only ([`crate::wire::Have`]). Knows no HTTP: that there is a port, and who
//! may use it, the roof tells.

use std::net::{IpAddr, SocketAddr};

use kith_model::trust::Role;

use crate::config::Discovery;
use crate::links::{Links, Loopback};
use crate::room::Room;
use crate::session::Session;

/// The door for clients of this box.
pub trait Clients: Send + Sync + 'static {
    /// The port where a device at `peer` may connect to the address `local` of this box.
    fn port(&self, peer: IpAddr, local: IpAddr) -> Option<u16>;
}

/// What the box at the other end of a session is told of our door.
pub(crate) fn told(room: &Room, session: &Session) -> Option<u16> {
    let clients = room.clients.get().filter(|_| is_mine(room, session))?;
    let peer = session.address().ip();
    // QUIC tells who was dialled at which address, and not who dialled from which.
    clients.port(peer, links(room).towards(peer)?)
}

/// The door of the box at the other end of a session that told its port.
pub(crate) fn door(room: &Room, session: &Session, port: Option<u16>) -> Option<SocketAddr> {
    let (port, address) = (port?, session.address().ip());
    let usable = is_mine(room, session) && !is_link_local(address) && links(room).has(address);
    usable.then(|| SocketAddr::new(address, port))
}

/// Whether an address means something on one link only, so that it stands in no URL.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn links(room: &Room) -> Links {
    match &room.config.discovery {
        Discovery::Mdns(voice) => Links::of_this_box(&voice.interfaces, voice.loopback),
        Discovery::Off => Links::of_this_box(&[], Loopback::Counts),
    }
}

fn is_mine(room: &Room, session: &Session) -> bool {
    room.registry.read().find(&session.id).is_some_and(|peer| peer.role() == Role::Mine)
}
