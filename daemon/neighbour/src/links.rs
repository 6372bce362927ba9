//! Which addresses are on the links of this box. Pure but for [`Links::of_this_box`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The networks that the box's interfaces are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    networks: Vec<(IpAddr, u8)>,
    own: Vec<IpAddr>,
}

/// Whether `127.0.0.1` and `::1` count as a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    /// No: a name that resolves to it is a mistake or a trick.
    Ignored,
    /// Yes: several boxes on one host, as in tests.
    Counts,
}

impl Links {
    /// From what the system says now; nothing when it says nothing. Empty `names` means all interfaces.
    pub fn of_this_box(names: &[String], loopback: Loopback) -> Self {
        let mut links = Self::default();
        for interface in if_addrs::get_if_addrs().unwrap_or_default() {
            let is_wanted = names.is_empty() || names.contains(&interface.name);
            let is_ignored = interface.is_loopback() && loopback == Loopback::Ignored;
            // A cable that is pulled leads nowhere, whatever address its end has.
            if !is_wanted || is_ignored || !interface.is_oper_up() {
                continue;
            }
            let prefix = match &interface.addr {
                if_addrs::IfAddr::V4(v4) => v4.prefixlen,
                if_addrs::IfAddr::V6(v6) => v6.prefixlen,
            };
            links.add(interface.ip(), prefix);
        }
        links
    }

    fn add(&mut self, address: IpAddr, prefix: u8) {
        self.networks.push((address, prefix));
        self.own.push(address);
    }

    /// Whether packets to `address` stay on a link. IPv4 inside IPv6 is taken for what it is.
    pub fn has(&self, address: IpAddr) -> bool {
        self.towards(address).is_some()
    }

    /// Our own address on the link that `address` is on.
    pub fn towards(&self, address: IpAddr) -> Option<IpAddr> {
        let address = address.to_canonical();
        if address.is_unspecified() || address.is_multicast() {
            return None;
        }
        let on_link = self.networks.iter().find(|(network, prefix)| is_within(address, *network, *prefix));
        on_link.map(|(own, _)| *own)
    }

    /// Whether `address` is our own.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address.to_canonical())
    }
}

fn is_within(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            (address.to_bits() ^ network.to_bits()) & mask == 0 && !is_edge(address, mask)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            prefix > 0 && !is_v4_inside(address) && (address.to_bits() ^ network.to_bits()) & mask == 0
        }
        _ => false,
    }
}

/// The network's own name and its broadcast address; networks of one or two addresses have none.
fn is_edge(address: Ipv4Addr, mask: u32) -> bool {
    let host = address.to_bits() & !mask;
    mask == 0 || (!mask > 1 && (host == 0 || host == !mask))
}

fn is_v4_inside(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_neighbours_on_a_link_count() {
        let mut links = Links::default();
        links.add("192.168.1.5".parse().expect("address"), 24);
        links.add("fe80::1".parse().expect("address"), 64);
        for (address, expected) in [
            ("192.168.1.77", true),
            ("::ffff:192.168.1.77", true),
            ("192.168.2.77", false),
            ("192.168.1.255", false),
            ("192.168.1.0", false),
            ("127.0.0.1", false),
            ("8.8.8.8", false),
            ("0.0.0.0", false),
            ("224.0.0.251", false),
            ("fe80::2", true),
            ("2001:db8::2", false),
            ("::1", false),
            ("::", false),
        ] {
            assert_eq!(links.has(address.parse().expect("address")), expected, "{address}");
        }
        let own = links.towards("192.168.1.77".parse().expect("address"));
        assert_eq!(own, Some("192.168.1.5".parse().expect("address")));
        assert!(!Links::default().has("10.0.0.1".parse().expect("address")));
    }

    #[test]
    fn a_link_without_a_prefix_is_not_the_whole_internet() {
        let mut links = Links::default();
        links.add("10.0.0.1".parse().expect("address"), 0);
        links.add("2001:db8::1".parse().expect("address"), 0);
        assert!(!links.has("8.8.8.8".parse().expect("address")));
        assert!(!links.has("2001:4860::8888".parse().expect("address")));
    }
}
