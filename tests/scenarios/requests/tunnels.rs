//! Other protocols than HTTP: switches that the origin grants, tunnels that the owner allows, and boxes in a row.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::wire::{Moment, Said, Then, Wire};

/// For what comes at once.
const PATIENCE: Duration = Duration::from_secs(10);

fn connect(kith: &Kith) -> Result<TcpStream> {
    let stream = TcpStream::connect(kith.clients())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn read_head(stream: &mut TcpStream) -> Result<String> {
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).with_context(|| String::from_utf8_lossy(&said).into_owned())?;
        said.push(byte[0]);
    }
    Ok(String::from_utf8(said)?)
}

fn echoed(stream: &mut TcpStream, text: &str) -> Result<()> {
    stream.write_all(text.as_bytes())?;
    heard(stream, text)
}

fn heard(stream: &mut TcpStream, text: &str) -> Result<()> {
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back)?;
    assert_eq!(String::from_utf8_lossy(&back), text);
    Ok(())
}

/// Grants every switch, to the protocol that the path names.
fn switching() -> std::io::Result<Wire> {
    Wire::start(|asked, moment| {
        let protocol = asked.path().trim_start_matches('/');
        let granted = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Accept: x\r\n\r\nfirst"
        );
        (moment == Moment::Whole).then(|| Said::then(granted, Then::Echo))
    })
}

fn switch(origin: &Wire, path: &str) -> String {
    let address = origin.address();
    format!(
        "GET http://{address}/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: y\r\n\r\n"
    )
}

#[test]
fn a_switch_that_the_origin_grants_passes_both_ways_from_the_first_byte() -> Result<()> {
    let origin = switching()?;
    let kith = Kith::start_one("box")?;
    let mut stream = connect(&kith)?;
    // What looks like a request is the other protocol's, too, and waits until the switch is granted.
    write!(stream, "{}GET / HTTP/1.1\r\n\r\n", switch(&origin, "websocket"))?;
    let head = read_head(&mut stream)?;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for line in ["upgrade: websocket", "connection: upgrade", "sec-websocket-accept: x"] {
        assert!(head.contains(&format!("{line}\r\n")), "{head}");
    }
    heard(&mut stream, "firstGET / HTTP/1.1\r\n\r\n")?;
    echoed(&mut stream, "ping")?;
    let asked = origin.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].head.field("upgrade"), Some("websocket"));
    assert_eq!(asked[0].head.field("connection"), Some("upgrade"));
    assert_eq!(asked[0].head.field("sec-websocket-key"), Some("y"));
    assert_eq!(kith.metrics()?.count("kith_store_objects"), 0);
    Ok(())
}

#[test]
fn a_switch_to_what_nobody_asked_for_is_nonsense() -> Result<()> {
    let origin = switching()?;
    let kith = Kith::start_one("box")?;
    let mut stream = connect(&kith)?;
    stream.write_all(switch(&origin, "h2c").as_bytes())?;
    let head = read_head(&mut stream)?;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    Ok(())
}

#[test]
fn a_box_that_stops_waits_for_no_silent_tunnel() -> Result<()> {
    let origin = switching()?;
    let mut kith = Kith::named("box").set("shutdown.grace_s", "30").start()?;
    let mut stream = connect(&kith)?;
    stream.write_all(switch(&origin, "websocket").as_bytes())?;
    read_head(&mut stream)?;
    heard(&mut stream, "first")?;
    // Ends within a few seconds, or the harness gives up before the grace period does.
    stream.set_read_timeout(Some(Duration::from_secs(25)))?;
    let ending = std::thread::spawn(move || kith.terminate());
    assert_eq!(stream.read(&mut [0; 8])?, 0, "the tunnel is closed");
    assert!(ending.join().expect("no panic")?.success());
    Ok(())
}

/// Sends back what comes, on the one port that tunnels lead to.
struct Secure {
    listener: TcpListener,
}

impl Secure {
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);

    /// Needs the right to a low port, as the lab needs root.
    fn start() -> Result<Self> {
        let listener =
            TcpListener::bind((Self::ADDRESS, 443)).context("binding 127.77.0.1:443 (needs root)")?;
        Ok(Self { listener })
    }

    fn echo_one(&self) -> Result<std::thread::JoinHandle<Result<()>>> {
        let listener = self.listener.try_clone()?;
        Ok(std::thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            let mut buffer = [0; 1024];
            loop {
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                stream.write_all(&buffer[..count])?;
            }
        }))
    }
}

#[test]
fn tunnels_lead_to_port_443_of_allowed_addresses_when_the_owner_wants_them() -> Result<()> {
    let secure = Secure::start()?;
    let kith = Kith::named("box")
        .set("clients.connect", "true")
        .set("origins.allow_private", "[\"127.77.0.1/32\"]")
        .start()?;
    let echo = secure.echo_one()?;
    let mut stream = connect(&kith)?;
    // The first bytes of the inside may come at once.
    stream.write_all(b"CONNECT 127.77.0.1:443 HTTP/1.1\r\nHost: 127.77.0.1:443\r\n\r\nhello")?;
    let head = read_head(&mut stream)?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    heard(&mut stream, "hello")?;
    echoed(&mut stream, "\0\x16\x03 not HTTP\r\n\r\n")?;
    drop(stream);
    echo.join().expect("no panic")?;

    for (authority, status) in [
        ("127.77.0.1:80", 403),
        ("127.77.0.1:8443", 403),
        ("127.77.0.1", 403),
        ("127.0.0.1:443", 403),
        ("127.77.0.2:443", 403),
        ("169.254.169.254:443", 403),
        ("[::ffff:127.0.0.1]:443", 403),
        ("[::1]:443", 403),
    ] {
        let mut stream = connect(&kith)?;
        write!(stream, "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")?;
        let head = read_head(&mut stream)?;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{authority}: {head}");
    }
    Ok(())
}

#[test]
fn boxes_in_a_row_work_and_a_row_that_bites_its_tail_is_noticed() -> Result<()> {
    let origin = Wire::start(|_, moment| (moment == Moment::Whole).then(|| Said::file(b"content")))?;
    let (near, far) = (Kith::start_one("near")?, Kith::start_one("far")?);
    let row = format!("http://{}/{}", far.clients(), origin.url("a"));
    let received = Request::by_prefix(&near, &row).send()?;
    assert_eq!((received.status(), received.text()?), (200, "content".to_owned()));
    let asked = &origin.asked()[0];
    let vias: Vec<_> =
        asked.head.fields.iter().filter(|(name, _)| name == "via").map(|(_, via)| via).collect();
    assert!(vias.len() == 2 && vias[0] != vias[1], "{vias:?}");

    let circle = format!("http://{}/http://{}/{}", far.clients(), near.clients(), origin.url("b"));
    assert_eq!(Request::by_prefix(&near, &circle).fetch()?.status(), 508);
    let post = Request::by_proxy(&near, &circle).method("POST").field("CDN-Loop", "other, kith; box=unknown");
    assert_eq!(post.fetch()?.status(), 405, "another box's mark is no loop; its prefix takes no POST");
    assert_eq!(origin.asked().len(), 1);
    Ok(())
}
