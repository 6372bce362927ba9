//! The clients' door as other rooms see it: the same rules of admission for the admin port, its counts, and where the
//! owner's other boxes may send their clients.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kith_admin::house::{ClientDoor, Gate};
use kith_gateway::House;
use kith_gateway::counters::Counters;
use kith_neighbour::clients::Clients;

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

/// Where clients connect, and who may.
pub(crate) struct Reachable {
    pub(crate) house: House,
    pub(crate) listening: Vec<SocketAddr>,
}

impl Clients for Reachable {
    fn port(&self, peer: IpAddr, local: IpAddr) -> Option<u16> {
        let is_there = |listening: &&SocketAddr| {
            let ip = listening.ip().to_canonical();
            // `[::]` takes IPv4 too.
            ip == local || (ip.is_unspecified() && (ip.is_ipv6() || local.is_ipv4()))
        };
        let port = self.listening.iter().find(is_there)?.port();
        let may = self.house.admits(SocketAddr::new(peer, 0), SocketAddr::new(local, port));
        (may && !local.is_loopback()).then_some(port)
    }
}

#[cfg(test)]
mod tests {
    use kith_gateway::Allow;

    use super::*;

    #[test]
    fn a_door_is_told_where_it_is_open_and_to_who_may_use_it() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let told = |listening: &str, allow: &str, peer: &str, local: &str| {
            let allow = vec![Allow::Net(allow.parse().expect("a network"))];
            let house = House::new("attic", &[], vec![], allow, vec![]);
            let listening = vec![listening.parse().expect("an address")];
            Reachable { house, listening }.port(ip(peer), ip(local))
        };
        let net = "192.168.1.0/24";
        for (listening, peer, local, expected) in [
            ("[::]:8480", "192.168.1.7", "192.168.1.2", Some(8480)),
            ("0.0.0.0:80", "192.168.1.7", "192.168.1.2", Some(80)),
            ("192.168.1.2:8480", "192.168.1.7", "192.168.1.2", Some(8480)),
            ("192.168.1.3:8480", "192.168.1.7", "192.168.1.2", None),
            ("0.0.0.0:80", "192.168.1.7", "fd00::2", None),
            ("127.0.0.1:8480", "192.168.1.7", "192.168.1.2", None),
            ("[::]:8480", "192.168.2.7", "192.168.1.2", None),
        ] {
            assert_eq!(told(listening, net, peer, local), expected, "{listening} {peer} {local}");
        }
        assert_eq!(told("127.0.0.1:8480", "127.0.0.0/8", "127.0.0.1", "127.0.0.1"), None);
    }
}
