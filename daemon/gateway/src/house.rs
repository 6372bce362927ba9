//! What is ours: the names and addresses we answer to, the signature by which we know our own requests, and the
//! devices we answer.
//!
//! Decides from addresses and names alone, before a byte of a request is read. Knows no URL.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use ipnet::IpNet;
use kith_model::limits::OWN_ADDRESSES_AGE;
use kith_model::signature::Signature;
use tokio::time::Instant;

/// Who may use the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// Private, link-local and loopback sources on our own links.
    Lan,
    /// Sources in a network.
    Net(IpNet),
}

/// One address of one of our interfaces, with its network.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    /// The interface.
    interface: String,
    /// The address on it, and how much of it is the network's.
    net: IpNet,
}

/// Names, addresses and permissions.
#[derive(Debug)]
pub struct House {
    names: Vec<String>,
    ports: Vec<u16>,
    allow: Vec<Allow>,
    interfaces: Vec<String>,
    signature: Signature,
    links: Mutex<Option<(Instant, Arc<[Link]>)>>,
    /// Ports that take connections from other devices.
    open: Vec<u16>,
}

impl House {
    /// `name` is the box's own, `hosts` are further ones, `ports` those it listens on; an empty list of `interfaces`
    /// means all.
    pub fn new(
        name: &str,
        hosts: &[String],
        ports: Vec<u16>,
        allow: Vec<Allow>,
        interfaces: Vec<String>,
    ) -> Self {
        let name = plain(name);
        // Names that nobody outside of a house can own (RFC 6762, RFC 8375, and what routers use).
        let own = ["", ".local", ".lan", ".home.arpa", ".internal"].map(|suffix| format!("{name}{suffix}"));
        let names = own.into_iter().filter(|name| !name.starts_with('.') && !name.is_empty());
        let names = names.chain(hosts.iter().map(|host| plain(host))).chain(["localhost".to_owned()]);
        Self {
            names: names.collect(),
            ports,
            allow,
            interfaces,
            signature: Signature::default(),
            links: Mutex::default(),
            open: Vec::new(),
        }
    }

    /// With these listeners.
    pub(crate) fn listening(mut self, listeners: &[SocketAddr]) -> Self {
        let open = listeners.iter().filter(|address| !address.ip().to_canonical().is_loopback());
        self.open = open.map(SocketAddr::port).collect();
        self
    }

    /// Signs what it passes on, to know what comes back.
    pub fn signing(self, signature: Signature) -> Self {
        Self { signature, ..self }
    }

    /// Whether a request has been through this box. Another box in front of this one is no loop.
    pub(crate) fn has_seen(&self, headers: &HeaderMap) -> bool {
        self.signature.is_on(headers)
    }

    /// Whether a client at `peer`, connected to `local`, is one we answer.
    pub fn admits(&self, peer: SocketAddr, local: SocketAddr) -> bool {
        let (peer, local) = (peer.ip().to_canonical(), local.ip().to_canonical());
        let links = self.links();
        let entry = |link: &Link| link.net.addr() == local && self.interfaces.contains(&link.interface);
        if !self.interfaces.is_empty() && !local.is_loopback() && !links.iter().any(entry) {
            return false;
        }
        self.allow.iter().any(|allow| match allow {
            Allow::Net(net) => net.contains(&peer),
            Allow::Lan => is_lan(peer, &links),
        })
    }

    /// Whether a host of a request, without its port, means us. `local` is the address the client connected to.
    pub fn is_ours(&self, host: &str, local: IpAddr) -> bool {
        match address(host) {
            Some(address) => address == local.to_canonical() || self.is_own_address(address),
            None => self.names.contains(&plain(host)),
        }
    }

    /// Whether a request for this host and port would come back to us.
    pub(crate) fn is_own_door(&self, host: &str, port: u16, local: SocketAddr) -> bool {
        (self.ports.contains(&port) || port == local.port()) && self.is_ours(host, local.ip())
    }

    /// The authority by which other devices reach the door that `authority` reached, of a client at `local`: a page that
    /// was opened on the box itself is read by people who set up their phones.
    pub(crate) fn for_others(&self, authority: &str, local: SocketAddr) -> String {
        let host = without_port(authority);
        let is_loopback =
            plain(host) == "localhost" || address(host).is_some_and(|address| address.is_loopback());
        let lan = if is_loopback && self.open.contains(&local.port()) { self.lan_address() } else { None };
        lan.map_or_else(|| authority.to_owned(), |lan| SocketAddr::new(lan, local.port()).to_string())
    }

    /// An address of ours for people to type: IPv4 first.
    fn lan_address(&self) -> Option<IpAddr> {
        let is_wanted = |link: &&Link| {
            let named = self.interfaces.is_empty() || self.interfaces.contains(&link.interface);
            named
                && match link.net.addr() {
                    IpAddr::V4(v4) => v4.is_private(),
                    IpAddr::V6(v6) => v6.is_unique_local(),
                }
        };
        self.links().iter().filter(is_wanted).map(|link| link.net.addr()).min()
    }

    fn is_own_address(&self, address: IpAddr) -> bool {
        address.is_unspecified() || self.links().iter().any(|link| link.net.addr() == address)
    }

    /// Own addresses; looked up again when they are old.
    fn links(&self) -> Arc<[Link]> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &*links {
            Some((at, known)) if now.duration_since(*at) < OWN_ADDRESSES_AGE => Arc::clone(known),
            _ => {
                let found: Arc<[Link]> = own_links().into();
                *links = Some((now, Arc::clone(&found)));
                found
            }
        }
    }
}

fn own_links() -> Vec<Link> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces
        .into_iter()
        .filter_map(|interface| {
            let prefix = match &interface.addr {
                if_addrs::IfAddr::V4(v4) => v4.prefixlen,
                if_addrs::IfAddr::V6(v6) => v6.prefixlen,
            };
            let net = IpNet::new(interface.ip(), prefix).ok()?;
            Some(Link { interface: interface.name, net })
        })
        .collect()
}

fn is_lan(peer: IpAddr, links: &[Link]) -> bool {
    if peer.is_loopback() {
        return true;
    }
    let private = match peer {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    // A connection from one of our own addresses comes from this box.
    links.iter().any(|link| link.net.addr() == peer || (private && link.net.contains(&peer)))
}

/// `host` of `host:port` or `[address]:port`.
pub(crate) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !unclosed(host) => host,
        _ => authority,
    }
}

/// Whether a colon was found inside of an IPv6 address.
fn unclosed(host: &str) -> bool {
    host.starts_with('[') && !host.ends_with(']')
}

fn address(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // The zone of a link-local address is the client's affair (RFC 6874).
    let bare = bare.split('%').next().unwrap_or(bare);
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(net: &str) -> Link {
        Link { interface: "eth0".to_owned(), net: net.parse().expect("a network") }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn lan_means_private_sources_on_own_links() {
        let links =
            [link("192.168.1.2/24"), link("fe80::2/64"), link("203.0.113.7/24"), link("2001:db8::2/64")];
        for (peer, expected) in [
            ("192.168.1.77", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("fe80::77", true),
            ("203.0.113.7", true),
            ("192.168.2.77", false),
            ("10.0.0.1", false),
            ("203.0.113.8", false),
            ("2001:db8::77", false),
            ("8.8.8.8", false),
        ] {
            assert_eq!(is_lan(ip(peer), &links), expected, "{peer}");
        }
    }

    #[test]
    fn only_own_names_and_addresses_are_ours() {
        let house =
            House::new("Attic", &["cache.example.org".to_owned()], vec![8480], vec![Allow::Lan], vec![]);
        let local = ip("192.0.2.9");
        for (host, expected) in [
            ("attic", true),
            ("ATTIC.local", true),
            ("attic.local.", true),
            ("localhost", true),
            ("cache.example.org", true),
            ("192.0.2.9", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("evil.test", false),
            ("attic.example.org", false),
            ("192.0.2.10", false),
            ("", false),
        ] {
            assert_eq!(house.is_ours(host, local), expected, "{host}");
        }
        let local = SocketAddr::new(local, 8480);
        assert!(house.is_own_door("localhost", 8480, local));
        assert!(!house.is_own_door("localhost", 80, local));
    }

    #[test]
    fn others_are_told_an_address_that_reaches_us() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let house = |listener| House::new("attic", &[], vec![], vec![], vec![]).listening(&[at(listener)]);
        let (open, closed) = (house("[::]:8480"), house("127.0.0.1:8480"));
        *open.links.lock().expect("not poisoned") =
            Some((Instant::now(), [link("127.0.0.1/8"), link("192.168.1.2/24"), link("10.0.0.2/8")].into()));
        for (reached, told) in [
            ("localhost:8480", "10.0.0.2:8480"),
            ("127.0.0.1:8480", "10.0.0.2:8480"),
            ("[::1]:8480", "10.0.0.2:8480"),
            ("attic.local:8480", "attic.local:8480"),
            ("192.168.1.2:8480", "192.168.1.2:8480"),
        ] {
            assert_eq!(open.for_others(reached, at("127.0.0.1:8480")), told);
            assert_eq!(closed.for_others(reached, at("127.0.0.1:8480")), reached);
        }
    }

    #[test]
    fn a_listed_network_is_admitted_and_another_is_not() {
        let net = Allow::Net("198.51.100.0/24".parse().expect("a network"));
        let house = House::new("attic", &[], vec![], vec![net], vec![]);
        let local = SocketAddr::new(ip("127.0.0.1"), 8480);
        assert!(house.admits(SocketAddr::new(ip("198.51.100.3"), 5), local));
        assert!(house.admits(SocketAddr::new(ip("::ffff:198.51.100.3"), 5), local));
        assert!(!house.admits(SocketAddr::new(ip("127.0.0.1"), 5), local));
    }
}
