//! The address guard: whatever the spelling, a box dials nobody in the house's own networks, and no redirect or name
//! leads it there.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};

use anyhow::Result;
use kith_tests::body::Body;
use kith_tests::client::Request;
use kith_tests::dns::Dns;
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;
use kith_tests::resource::Resource;

/// Hosts as they stand in a URL; most of them lead to this machine when nobody looks.
const SPELLINGS: [&str; 30] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "0177.0.0.1",
    "2130706433",
    "127.0.0.1.",
    "127.255.255.254",
    "0.0.0.0",
    "0",
    "localhost",
    "LocalHost",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "[fe80::1]",
    "[fd00::1]",
    "[::FFFF:127.0.0.1]",
];

/// Listens where the spellings lead to, and counts who comes.
struct Trap(Vec<TcpListener>, u16);

impl Trap {
    /// On one port of every loopback address that the spellings mean.
    fn set() -> Result<Self> {
        let first = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = first.local_addr()?.port();
        let second = TcpListener::bind((Ipv6Addr::LOCALHOST, port))?;
        for listener in [&first, &second] {
            listener.set_nonblocking(true)?;
        }
        Ok(Self(vec![first, second], port))
    }

    fn is_untouched(&self) -> bool {
        self.0
            .iter()
            .all(|listener| matches!(listener.accept(), Err(error) if error.kind() == ErrorKind::WouldBlock))
    }
}

#[test]
fn no_spelling_of_a_private_address_is_dialled() -> Result<()> {
    let trap = Trap::set()?;
    let kith = Kith::named("box").set("origins.allow_private", "[]").start()?;

    let mut wrong = Vec::new();
    for host in SPELLINGS {
        let url = format!("http://{host}:{}/a", trap.1);
        for (form, request) in
            [("prefix", Request::by_prefix(&kith, &url)), ("proxy", Request::by_proxy(&kith, &url))]
        {
            let answer = request.field("Accept", "application/json").send()?;
            let status = answer.status();
            let text = answer.text()?;
            if status != 403 || !text.contains("destination_denied") {
                wrong.push(format!("{url} by {form}: {status} {text}"));
            }
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(trap.is_untouched());
    Ok(())
}

#[test]
fn a_name_that_leads_to_a_private_address_is_refused_also_when_it_leads_elsewhere_too() -> Result<()> {
    let trap = Trap::set()?;
    let public = IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9));
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let dns = Dns::start(
        [
            ("private.example.org".to_owned(), vec![here]),
            ("mixed.example.org".to_owned(), vec![public, here]),
            ("mapped.example.org".to_owned(), vec![IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped())]),
            ("six.example.org".to_owned(), vec![IpAddr::V6(Ipv6Addr::LOCALHOST)]),
        ]
        .into(),
    )?;
    let resolver = format!("\"{}\"", dns.address());
    let kith =
        Kith::named("box").set("origins.allow_private", "[]").set("origins.resolver", &resolver).start()?;

    for name in ["private", "mixed", "mapped", "six"] {
        let url = format!("http://{name}.example.org:{}/a", trap.1);
        let received = Request::by_prefix(&kith, &url).fetch()?;
        assert_eq!(received.status(), 403, "{name}: {:?}", received.head);
    }
    assert!(dns.asked().len() >= 4, "{:?}", dns.asked());
    assert!(trap.is_untouched());
    Ok(())
}

#[test]
fn a_redirect_to_a_private_address_is_not_followed() -> Result<()> {
    let trap = Trap::set()?;
    let body = Body::seeded(31, 5000);
    let origin = Origin::serving("fine", &body)
        .and("trap", Resource::redirect(&format!("http://127.0.0.1:{}/a", trap.1)))
        .and("mapped", Resource::redirect(&format!("http://[::ffff:127.0.0.1]:{}/a", trap.1)))
        .at(&kith_tests::place::Place::Here, "127.0.0.2:0".parse()?)
        .start()?;
    let kith = Kith::named("box").set("origins.allow_private", "[\"127.0.0.2/32\"]").start()?;

    for path in ["trap", "mapped"] {
        let received = Request::by_prefix(&kith, &origin.url(path)).fetch()?;
        assert_eq!(received.status(), 403, "{path}: {:?}", received.head);
    }

    assert!(trap.is_untouched());
    let received = Request::by_prefix(&kith, &origin.url("fine")).fetch()?;
    assert_eq!(received.sha256, body.sha256(), "what is allowed still works");
    Ok(())
}

#[test]
fn a_box_does_not_fetch_from_itself() -> Result<()> {
    let kith = Kith::start_one("box")?;
    let url = format!("http://{}/.well-known/kith", kith.clients());
    let received = Request::by_prefix(&kith, &url).fetch()?;
    assert!(matches!(received.status(), 403 | 508), "{:?}", received.head);
    Ok(())
}
