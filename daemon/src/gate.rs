//! Who may come in by the admin port, and under which names the box is known there: the rules of `clients.allow`
//! and `clients.hosts`.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use if_addrs::{IfAddr, Interface};
use ipnet::IpNet;
use kith_admin::house::Gate;

use crate::config::settings::Allow;

/// Interfaces come and go; a look at them is cheap, but not for each request.
const LINKS_KEPT: Duration = Duration::from_secs(10);

/// The rules, with what is known of the machine's own links.
pub(crate) struct HouseGate {
    allow: Vec<Allow>,
    /// In lower case.
    names: Vec<String>,
    links: Mutex<Option<(Instant, Vec<IpNet>)>>,
}

impl HouseGate {
    /// `names` are the box's own and those that the owner added.
    pub(crate) fn new(allow: Vec<Allow>, names: impl IntoIterator<Item = String>) -> Self {
        let names = names.into_iter().map(|name| name.to_ascii_lowercase());
        let local = |name: String| [format!("{name}.local"), name];
        let names = names.flat_map(local).chain(["localhost".to_owned()]).collect();
        Self { allow, names, links: Mutex::new(None) }
    }

    fn links(&self) -> Vec<IpNet> {
        let mut kept = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref() {
            Some((seen_at, links)) if seen_at.elapsed() < LINKS_KEPT => links.clone(),
            _ => {
                let links: Vec<_> =
                    if_addrs::get_if_addrs().unwrap_or_default().iter().filter_map(link).collect();
                *kept = Some((Instant::now(), links.clone()));
                links
            }
        }
    }
}

/// The network of an interface, with our own address in it.
fn link(interface: &Interface) -> Option<IpNet> {
    let (address, mask) = match &interface.addr {
        IfAddr::V4(of) => (IpAddr::V4(of.ip), IpAddr::V4(of.netmask)),
        IfAddr::V6(of) => (IpAddr::V6(of.ip), IpAddr::V6(of.netmask)),
    };
    IpNet::with_netmask(address, mask).ok()
}

/// Private, link-local and unique local addresses: those that a house gives out.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

impl Gate for HouseGate {
    fn admits(&self, source: IpAddr) -> bool {
        source.is_loopback()
            || self.allow.iter().any(|allow| match allow {
                Allow::Network(network) => network.contains(&source),
                Allow::Lan => {
                    let on_link = || self.links().iter().any(|link| link.contains(&source));
                    (is_private(source) && on_link()) || self.links().iter().any(|link| link.addr() == source)
                }
            })
    }

    fn answers_to(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match address {
            Ok(address) => address.is_loopback() || self.links().iter().any(|link| link.addr() == address),
            Err(_) => self.names.contains(&name),
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(links: &[&str]) -> HouseGate {
        let extra = Allow::Network("10.9.0.0/16".parse().expect("network"));
        let gate = HouseGate::new(vec![Allow::Lan, extra], ["Attic".to_owned(), "cache.home".to_owned()]);
        let links = links.iter().map(|link| link.parse().expect("network")).collect();
        *gate.links.lock().expect("unused") = Some((Instant::now(), links));
        gate
    }

    #[test]
    fn only_the_house_comes_in() {
        let gate = gate(&["192.168.7.1/24", "203.0.113.9/24", "fe80::1/64"]);
        for (source, expected) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("192.168.7.20", true),
            ("192.168.8.20", false),
            ("10.9.1.1", true),
            ("10.8.1.1", false),
            ("203.0.113.9", true),
            ("203.0.113.10", false),
            ("fe80::99", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(gate.admits(source.parse().expect("address")), expected, "{source}");
        }
    }

    #[test]
    fn only_own_names_are_answered_to() {
        let gate = gate(&["192.168.7.1/24", "fd00::1/64"]);
        for (host, expected) in [
            ("localhost:8481", true),
            ("127.0.0.1:8481", true),
            ("[::1]:8481", true),
            ("ATTIC.local", true),
            ("attic:80", true),
            ("cache.home", true),
            ("192.168.7.1", true),
            ("[fd00::1]:8481", true),
            ("192.168.7.2", false),
            ("evil.example", false),
            ("", false),
            ("attic.evil.example:8481", false),
        ] {
            assert_eq!(gate.answers_to(host), expected, "{host}");
        }
    }
}
