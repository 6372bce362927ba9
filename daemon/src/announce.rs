//! Which doors for clients are announced by mDNS, and under which name. Pure.

use std::net::{IpAddr, SocketAddr};

use kith_neighbour::announce::Announcement;

/// Longest part of the box's name that goes into a host name, in bytes: the rest of the label is for `kith-` and for
/// what mDNS adds when two boxes have one name.
const NAME_BYTES_MAX: usize = 40;

/// `kith-attic.local`, for a box that has no identity to be named after.
pub(crate) fn host(name: &str) -> String {
    let plain: String =
        name.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect();
    let plain = plain.to_ascii_lowercase();
    let short = &plain[..plain.len().min(NAME_BYTES_MAX)];
    format!("kith-{}.local", if short.is_empty() { "box" } else { short })
}

/// The page for people and the proxy for apt, on the first port that others can reach; nothing when there is none.
pub(crate) fn doors(name: &str, clients: &[SocketAddr], interfaces: &[String]) -> Vec<Announcement> {
    let open = || clients.iter().filter(|address| !address.ip().to_canonical().is_loopback());
    let Some(port) = open().next().map(SocketAddr::port) else { return Vec::new() };
    let addresses: Vec<IpAddr> =
        open().filter(|address| address.port() == port).map(SocketAddr::ip).collect();
    // All of them are found out by whoever announces.
    let addresses = if addresses.iter().any(IpAddr::is_unspecified) { Vec::new() } else { addresses };
    let announcement = |service, txt| Announcement {
        service,
        instance: format!("Kith on {name}"),
        port,
        addresses: addresses.clone(),
        interfaces: interfaces.to_vec(),
        txt,
    };
    vec![
        announcement("_http._tcp", vec![("path", "/".to_owned())]),
        announcement("_apt_proxy._tcp", Vec::new()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| address.parse().expect("an address")).collect()
    }

    #[test]
    fn a_host_is_named_after_its_box() {
        for (name, expected) in [
            ("Attic", "kith-attic.local"),
            ("Bj\u{f6}rn's box", "kith-bjrnsbox.local"),
            ("\u{6771}", "kith-box.local"),
        ] {
            assert_eq!(host(name), expected);
        }
        assert!(host(&"a".repeat(63)).len() < 63);
    }

    #[test]
    fn only_doors_that_others_can_reach_are_announced() {
        let named = |listening: &[&str]| {
            let doors = doors("attic", &at(listening), &["br-lan".to_owned()]);
            doors.into_iter().map(|door| (door.service, door.port, door.addresses)).collect::<Vec<_>>()
        };
        assert_eq!(named(&["127.0.0.1:8480", "[::1]:8480"]), []);
        assert_eq!(named(&["[::]:8480"]), [("_http._tcp", 8480, vec![]), ("_apt_proxy._tcp", 8480, vec![])]);
        let lan: IpAddr = "192.168.1.2".parse().expect("an address");
        assert_eq!(
            named(&["127.0.0.1:1", "192.168.1.2:8480", "192.168.1.2:81"]),
            [("_http._tcp", 8480, vec![lan]), ("_apt_proxy._tcp", 8480, vec![lan])]
        );
    }
}
