//! The clients' door as the admin room sees it: the same rules of admission, and its counts.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kith_admin::house::{ClientDoor, Gate};
use kith_gateway::House;
use kith_gateway::counters::Counters;

/// `clients.allow`, `clients.interfaces` and `clients.hosts` hold for the admin port too.
pub(crate) struct SameGate(pub(crate) House);

impl Gate for SameGate {
    fn admits(&self, peer: SocketAddr, local: SocketAddr) -> bool {
        self.0.admits(peer, local)
    }

    fn answers_to(&self, host: &str, local: IpAddr) -> bool {
        self.0.is_ours(host, local)
    }
}

/// What the clients' door counts.
pub(crate) struct Counted(pub(crate) Arc<Counters>);

impl ClientDoor for Counted {
    fn requests(&self) -> Vec<(&'static str, u64)> {
        self.0.requests().collect()
    }
}
