//! The address guard: which destinations are never dialled.
//!
//! [`denied`] and [`port_allowed`] are the pure rules of `LIMITS.md`; [`Guard`] adds what they cannot know: the
//! owner's exceptions and the addresses of this box's own interfaces. It judges resolved addresses only. Names, URLs
//! and their spellings are not its business: whatever they resolve to is judged right before it is dialled.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Never dialled (IANA special-purpose registries, RFC 6890 and successors). 192.88.99/24 is the old 6to4 anycast.
const DENIED_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

/// Never dialled. `::ffff:0:0/96` is not here: it is judged by the IPv4 address inside.
const DENIED_V6: [Ipv6Net; 12] = [
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];

/// How long a listing of our own addresses is good for: a new lease shows up before anybody could use it.
const OWN_ADDRESSES_AGE_MAX: Duration = Duration::from_secs(2);

/// Why a destination is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// In the deny table, by itself or by the IPv4 address inside it.
    #[error("private, reserved or local address")]
    Reserved,
    /// One of this box's own.
    #[error("address of this box")]
    Own,
    /// Neither 80, 443 nor 1024 and up.
    #[error("port not allowed")]
    Port,
}

/// Judges destinations.
#[derive(Debug)]
pub struct Guard {
    allowed: Vec<IpNet>,
    own: Mutex<Own>,
}

#[derive(Debug, Default)]
struct Own {
    addresses: HashSet<IpAddr>,
    listed_at: Option<Instant>,
}

impl Guard {
    /// `allowed` is the owner's `origins.allow_private`: the only way round the table, loopback and own addresses
    /// included. The rule for ports has no way round.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed, own: Mutex::default() }
    }

    /// Whether `destination` may be dialled.
    pub fn check(&self, destination: SocketAddr) -> Result<(), Refusal> {
        if !port_allowed(destination.port()) {
            return Err(Refusal::Port);
        }
        judge(destination.ip(), &self.allowed, |address| self.is_own(address))
    }

    /// Whether all of a name's addresses may be dialled. One that may not condemns the whole answer: a resolver that
    /// mixes public and private addresses is being used to reach the private one.
    pub fn check_all(&self, destinations: &[SocketAddr]) -> Result<(), Refusal> {
        destinations.iter().try_for_each(|destination| self.check(*destination))
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let mut own = self.own.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if own.listed_at.is_none_or(|at| at.elapsed() > OWN_ADDRESSES_AGE_MAX) {
            match if_addrs::get_if_addrs() {
                Ok(interfaces) => {
                    own.addresses = interfaces.iter().map(if_addrs::Interface::ip).collect();
                    own.listed_at = Some(Instant::now());
                }
                // The listing from before stays in force; the next check tries again.
                Err(error) => tracing::warn!(%error, "cannot list the addresses of this box"),
            }
        }
        own.addresses.contains(&address)
    }
}

/// The verdict on an address and on every address inside it: each must be fine by itself or excepted by the owner.
fn judge(address: IpAddr, allowed: &[IpNet], is_own: impl Fn(IpAddr) -> bool) -> Result<(), Refusal> {
    for address in layers(address) {
        if allowed.iter().any(|net| net.contains(&address)) {
            continue;
        }
        if denied(address) {
            return Err(Refusal::Reserved);
        }
        if is_own(address) {
            return Err(Refusal::Own);
        }
    }
    Ok(())
}

/// Whether the deny table holds this very address. IPv4 addresses inside IPv6 ones are not looked at: see [`Guard`].
pub fn denied(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => DENIED_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => DENIED_V6.iter().any(|net| net.contains(&address)),
    }
}

/// Ports that http and https origins use: their own, and those that need no privilege.
pub fn port_allowed(port: u16) -> bool {
    matches!(port, 80 | 443 | 1024..)
}

/// The address in canonical form, followed by the IPv4 addresses that packets to it would reach.
fn layers(address: IpAddr) -> Vec<IpAddr> {
    let address = address.to_canonical();
    let mut layers = vec![address];
    if let IpAddr::V6(outer) = address {
        layers.extend(inside(outer).into_iter().map(IpAddr::V4));
    }
    layers
}

/// The IPv4 addresses inside an IPv6 one: NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo's server and client (RFC 4380
/// section 4, the client's bits inverted), and the old IPv4-compatible form (RFC 4291 section 2.5.5.1).
fn inside(outer: Ipv6Addr) -> Vec<Ipv4Addr> {
    let octets = outer.octets();
    let at = |from: usize| Ipv4Addr::new(octets[from], octets[from + 1], octets[from + 2], octets[from + 3]);
    match outer.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] | [0, 0, 0, 0, 0, 0, _, _] => vec![at(12)],
        [0x2002, ..] => vec![at(2)],
        [0x2001, 0, ..] => vec![at(4), Ipv4Addr::from_bits(!at(12).to_bits())],
        _ => Vec::new(),
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), prefix)
}

#[cfg(test)]
mod tests {
    use kith_model::key::Target;

    use super::*;

    const LOOPBACK_SPELLINGS: [&str; 24] = [
        "http://127.0.0.1/",
        "http://127.0.0.1:8080/",
        "http://127.1/",
        "http://127.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0x7f.0.0.1/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://0177.1/",
        "http://127.255.255.254/",
        "http://127.0.0.1./",
        "http://%31%32%37.0.0.1/",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[2002:7f00:1::]/",
        "http://[::127.0.0.1]/",
    ];

    /// Private addresses; each is also tried in every wrapping of an IPv4 address in an IPv6 one.
    const PRIVATE_V4: [&str; 24] = [
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.8.9.10",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.251",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
    ];

    const PRIVATE_V6: [&str; 16] = [
        "::",
        "::1",
        "64:ff9b:1::1",
        "64:ff9b:1:ffff::",
        "100::1",
        "2001::1",
        "2001:1ff:ffff::",
        "2001:db8::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::fb",
    ];

    const PUBLIC: [&str; 14] = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "128.0.0.1",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:200::1",
        "64:ff9b::101:101",
        "2002:101:101::1",
    ];

    fn no_own(_: IpAddr) -> bool {
        false
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn wrappings(inner: Ipv4Addr) -> [Ipv6Addr; 6] {
        let [a, b, c, d] = inner.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        [
            inner.to_ipv6_mapped(),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0, 0x101, 0x101, 0, 0, !high, !low),
            Ipv6Addr::new(0x2001, 0, high, low, 0, 0, !0x101, !0x101),
        ]
    }

    #[test]
    fn every_spelling_of_loopback_is_seen_through() {
        for spelling in LOOPBACK_SPELLINGS {
            let target = Target::parse(spelling).expect(spelling);
            let literal = target.host().trim_end_matches('.');
            assert_eq!(judge(address(literal), &[], no_own), Err(Refusal::Reserved), "{spelling}");
        }
    }

    #[test]
    fn private_addresses_are_refused_in_every_wrapping() {
        for text in PRIVATE_V4 {
            let inner: Ipv4Addr = text.parse().expect(text);
            assert_eq!(judge(inner.into(), &[], no_own), Err(Refusal::Reserved), "{text}");
            for outer in wrappings(inner) {
                assert_eq!(judge(outer.into(), &[], no_own), Err(Refusal::Reserved), "{text} in {outer}");
            }
        }
        for text in PRIVATE_V6 {
            assert_eq!(judge(address(text), &[], no_own), Err(Refusal::Reserved), "{text}");
        }
    }

    #[test]
    fn public_addresses_next_to_the_table_are_not_refused() {
        for text in PUBLIC {
            assert_eq!(judge(address(text), &[], no_own), Ok(()), "{text}");
        }
    }

    #[test]
    fn own_addresses_are_refused_also_when_public_and_wrapped() {
        let own = address("1.2.3.4");
        for text in ["1.2.3.4", "::ffff:1.2.3.4", "64:ff9b::1.2.3.4", "2002:102:304::"] {
            let verdict = judge(address(text), &[], |address| address == own);
            assert_eq!(verdict, Err(Refusal::Own), "{text}");
        }
    }

    #[test]
    fn the_owner_can_except_networks_and_only_those() {
        let allowed: Vec<IpNet> =
            ["127.0.0.0/8", "10.1.0.0/16", "fd00::/8"].map(|net| net.parse().expect(net)).to_vec();
        for (text, expected) in [
            ("127.0.0.1", Ok(())),
            ("::ffff:127.0.0.1", Ok(())),
            ("64:ff9b::10.1.2.3", Ok(())),
            ("10.1.2.3", Ok(())),
            ("fd00::1", Ok(())),
            ("10.2.0.1", Err(Refusal::Reserved)),
            ("::1", Err(Refusal::Reserved)),
            ("fc00::1", Err(Refusal::Reserved)),
            ("64:ff9b:1::10.1.2.3", Err(Refusal::Reserved)),
        ] {
            let own = |own| own == address("127.0.0.1");
            assert_eq!(judge(address(text), &allowed, own), expected, "{text}");
        }
    }

    #[test]
    fn a_guard_knows_the_interfaces_of_this_box() {
        let interfaces = if_addrs::get_if_addrs().expect("interfaces");
        let guard = Guard::new(Vec::new());
        for interface in interfaces {
            assert!(guard.check(SocketAddr::new(interface.ip(), 80)).is_err(), "{interface:?}");
        }
    }

    #[test]
    fn one_denied_member_condemns_an_answer() {
        let guard = Guard::new(Vec::new());
        let socket = |text: &str| SocketAddr::new(address(text), 443);
        assert_eq!(guard.check_all(&[socket("1.1.1.1"), socket("2606:4700::1111")]), Ok(()));
        for private in ["192.168.1.1", "::1", "64:ff9b::7f00:1"] {
            let mixed = [socket("1.1.1.1"), socket(private), socket("2606:4700::1111")];
            assert_eq!(guard.check_all(&mixed), Err(Refusal::Reserved), "{private}");
        }
    }

    #[test]
    fn ports_of_other_services_are_refused_also_where_the_owner_made_an_exception() {
        let guard = Guard::new(vec!["127.0.0.0/8".parse().expect("a network")]);
        for (port, expected) in [
            (80, Ok(())),
            (443, Ok(())),
            (1024, Ok(())),
            (65535, Ok(())),
            (0, Err(Refusal::Port)),
            (22, Err(Refusal::Port)),
            (25, Err(Refusal::Port)),
            (81, Err(Refusal::Port)),
            (1023, Err(Refusal::Port)),
        ] {
            assert_eq!(guard.check(SocketAddr::new(address("127.0.0.1"), port)), expected, "{port}");
        }
    }
}
