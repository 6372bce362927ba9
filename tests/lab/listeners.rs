//! What others on the LAN get to know: of what is private nothing at all, of the rest what only a paired box can read.
//!
//! Checked on the wire: on the bridge's end of a box's cable, and of that of a machine that is nobody's friend.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use kith_model::limits::Profile;
use kith_neighbour::endpoint;
use kith_neighbour::identity::Identity;
use kith_neighbour::tls::{self, Expected};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::capture::{Capture, Frame};
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::lab::{House, Lab, ORIGIN, Spot};
use kith_tests::origin::Origin;
use kith_tests::patience::until_true;
use kith_tests::resource::Resource;

const FILES: u64 = 20;

/// From here on boxes ask each other.
const LENGTH: u64 = 4 * MIB;

/// So slow that what comes fast came from next door.
const UPLINK_MBIT: u32 = 10;

const MDNS: u16 = 5353;
const QUIC: u16 = 8482;

/// Something that somebody downloads.
struct File {
    path: String,
    body: Body,
    asked_with: &'static [(&'static str, &'static str)],
    answered_with: &'static [(&'static str, &'static str)],
    is_stored: bool,
}

impl File {
    fn open(number: u64) -> Self {
        let body = Body::seeded(300 + number, LENGTH);
        let path = format!("open-file-{number}.iso");
        Self { path, body, asked_with: &[], answered_with: &[], is_stored: true }
    }

    /// In turn: with a cookie, marked as private, not to be stored, behind a token, with a password.
    fn private(number: u64) -> Self {
        let mut file = Self::open(number + 100);
        file.path = format!("geheim-{number}.iso");
        match number % 5 {
            0 => file.asked_with = &[("Cookie", "session=geheim")],
            1 => file.answered_with = &[("Cache-Control", "private, max-age=3600")],
            2 => file.answered_with = &[("Cache-Control", "no-store")],
            3 => file.path += "?token=geheim",
            _ => {
                file.asked_with = &[("Authorization", "Basic Z2VoZWltOmdlaGVpbQ==")];
                file.answered_with = &[("Cache-Control", "public, max-age=3600")];
            }
        }
        file.is_stored = !matches!(number % 5, 1 | 2);
        file
    }

    fn fetch(&self, request: Request) -> Result<()> {
        let request =
            self.asked_with.iter().fold(request, |request, (name, value)| request.field(name, value));
        let received = request.fetch()?;
        ensure!(
            received.whole && received.sha256 == self.body.sha256(),
            "{}: {:?}",
            self.path,
            received.head
        );
        Ok(())
    }

    /// All that would tell of it: names, digests as text and as bytes, its first bytes.
    fn traces(&self) -> Vec<Vec<u8>> {
        let (sha256, blake3) = (self.body.sha256(), self.body.blake3());
        let first = self.body.part(0..32);
        let raw = blake3::hash(&self.body.part(0..self.body.length())).as_bytes()[..16].to_vec();
        vec![self.path.clone().into(), sha256.into(), blake3.into(), raw, first]
    }
}

/// Looks for many things at once.
struct Traces {
    /// By their first byte.
    by_first: Vec<Vec<Vec<u8>>>,
}

impl Traces {
    fn of(files: &[File]) -> Self {
        let mut by_first = vec![Vec::new(); 256];
        let words = [ORIGIN.to_string(), "geheim".into(), "open-file".into(), "Z2VoZWlt".into()];
        let words = words.into_iter().map(String::into_bytes);
        for trace in words.chain(files.iter().flat_map(File::traces)) {
            by_first[usize::from(trace[0])].push(trace);
        }
        Self { by_first }
    }

    fn found_in(&self, bytes: &[u8]) -> Option<String> {
        let starts = |at: usize| {
            let traces = &self.by_first[usize::from(bytes[at])];
            traces.iter().find(|trace| bytes[at..].starts_with(trace))
        };
        (0..bytes.len()).find_map(starts).map(|trace| String::from_utf8_lossy(trace).into_owned())
    }
}

/// What belongs to a LAN: UDP of mDNS and of the neighbours; IGMP and ICMP.
fn is_expected(frame: &Frame) -> bool {
    let Some(packet) = &frame.packet else { return true };
    frame.is_udp(MDNS) || frame.is_udp(QUIC) || matches!(packet.protocol, 0 | 1 | 2 | 58)
}

#[test]
fn what_is_private_leaves_no_trace_on_the_lan() -> Result<()> {
    let private: Vec<File> = (0..FILES).map(File::private).collect();
    let open: Vec<File> = (0..FILES).map(File::open).collect();
    let mut script = Origin::empty();
    for file in private.iter().chain(&open) {
        let resource = Resource::of(file.body.clone());
        let fields = file.answered_with.iter();
        let resource = fields.fold(resource, |resource, (name, value)| resource.field(name, value));
        script = script.and(&file.path, resource);
    }
    let mut house = House::paired(script)?;
    house.lab.plug_bare("c")?;
    // What the client asks its own box, and gets, is between the two.
    let others = format!("not host {}", house.client.address);
    let captures = ["b", "c"].map(|name| Capture::start(&house.lab.port(name), &others));
    let given = |house: &House| -> Result<u64> {
        Ok(house.b.metrics()?.count("kith_neighbour_bytes_total{direction=\"out\"}"))
    };

    // As through a proxy: behind the prefix cookies are left out, and what comes is anybody's.
    let request = |kith: &Kith, file: &File| {
        Request::by_proxy(kith, &house.origin.url(&file.path)).from(&house.client.place)
    };
    for file in private.iter().chain(&open) {
        file.fetch(request(&house.b, file))?;
    }
    let stored = private.iter().chain(&open).filter(|file| file.is_stored).count();
    house.b.wait_stored(stored as u64)?;
    // In one filter of 33 two names share a place, and are counted as one.
    let told = || house.a.neighbour("b").ok()??["filter"]["names"].as_u64();
    until_true("a was told of what b may share", Duration::from_secs(40), || told() >= Some(FILES - 2))?;
    ensure!(told() <= Some(FILES), "b told of {:?}", told());
    let metrics = house.b.metrics()?;
    let asked = metrics.count("kith_neighbour_finds_total{outcome=\"asked\"}");
    ensure!(asked == 0, "a holds nothing, and b asked {asked} times");

    // Whoever knows what to ask for gets it no more than others.
    for file in &private {
        file.fetch(request(&house.a, file))?;
    }
    ensure!(given(&house)? == 0, "b gave a {} bytes", given(&house)?);
    house.lab.shape_uplinks(UPLINK_MBIT)?;
    open[0].fetch(request(&house.a, &open[0]))?;
    ensure!(given(&house)? >= MIB, "b gave a only {} bytes", given(&house)?);

    let traces = Traces::of(&private.into_iter().chain(open).collect::<Vec<_>>());
    let [at_b, at_c] = captures.map(|capture| capture.and_then(Capture::end));
    let (at_b, at_c) = (at_b?, at_c?);
    let transferred: usize =
        at_b.iter().filter(|frame| frame.is_udp(QUIC)).map(|frame| frame.bytes.len()).sum();
    ensure!(transferred as u64 > MIB, "the capture has missed the transfer: {transferred} bytes");
    for frame in at_b.iter().chain(&at_c) {
        ensure!(is_expected(frame), "{:?}", frame.packet);
        if let Some(trace) = traces.found_in(&frame.bytes) {
            anyhow::bail!("{trace:?} stands in {:?}", frame.packet);
        }
    }
    ensure!(at_c.iter().any(|frame| frame.is_udp(MDNS)), "c hears that boxes exist");
    ensure!(at_c.iter().all(|frame| !frame.is_udp(QUIC)), "c hears what others say to each other");
    // The search finds what is there.
    let text = format!("GET http://{ORIGIN}/open-file-7.iso");
    ensure!(traces.found_in(text.as_bytes()) == Some(ORIGIN.to_string()));
    Ok(())
}

#[test]
fn a_stranger_finds_no_door_but_one_that_stays_shut() -> Result<()> {
    let mut lab = Lab::new()?;
    let (spot, stranger, client) = (lab.plug_bare("a")?, lab.plug_bare("c")?, lab.plug_client()?);
    let allowed = format!("[\"{}/32\"]", client.address);
    let a = Lab::setup("a", &spot)
        .set("clients.allow", &allowed)
        .set("admin.listen", "[\"127.0.0.1:8481\"]")
        .start()?;
    let at = |port| SocketAddr::new(spot.address.into(), port);

    let open: Vec<u16> = stranger.place.enter(|| {
        let is_open = |port: &u16| TcpStream::connect_timeout(&at(*port), Duration::from_secs(1)).is_ok();
        Ok((1..=u16::MAX).filter(is_open).collect())
    })?;
    assert_eq!(open, [8480]);
    for path in ["/", "/.well-known/kith", "/proxy.pac"] {
        let refused = Request::own(&a, path).from(&stranger.place).fetch()?;
        assert_eq!(refused.status(), 403, "{path}");
    }
    let sockets = udp_ports(&spot)?;
    ensure!(sockets.is_subset(&[MDNS, QUIC].into()) && sockets.contains(&QUIC), "{sockets:?}");

    let socket = stranger.place.enter(|| UdpSocket::bind(SocketAddr::new(stranger.address.into(), 0)))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(knock(socket, at(QUIC)))?;
    ensure!(a.neighbours()?.is_empty(), "a box that does not announce itself is not listed");

    // Nonsense: what comes back, if anything, is no longer than what was sent.
    let socket = stranger.place.enter(|| UdpSocket::bind(SocketAddr::new(stranger.address.into(), 0)))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut buffer = [0; 2048];
    for (length, first) in [(1, 0), (21, 0x40), (60, 0x40), (1200, 0x40), (60, 0xc0), (1200, 0xc0)] {
        let mut sent = vec![0x5a; length];
        sent[0] = first;
        socket.send_to(&sent, at(QUIC))?;
        while let Ok((count, _)) = socket.recv_from(&mut buffer) {
            ensure!(count <= length, "{count} bytes came back for {length}");
        }
    }
    Ok(())
}

/// Ports of UDP on which anything listens there, on any address but loopback.
fn udp_ports(spot: &Spot) -> Result<BTreeSet<u16>> {
    let mut command = spot.place.command("cat");
    let said = kith_tests::tool::succeed(command.args(["/proc/net/udp", "/proc/net/udp6"]))?;
    let locals = said.out.lines().filter_map(|line| line.split_whitespace().nth(1)?.split_once(':'));
    Ok(locals.filter_map(|(_, port)| u16::from_str_radix(port, 16).ok()).collect())
}

/// Tries both protocols with keys that nobody knows: TLS refuses, and little comes back.
async fn knock(socket: UdpSocket, at: SocketAddr) -> Result<()> {
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket, runtime)?;
    let limits = Profile::Board.limits();
    for round in 0..50 {
        let protocol = if round % 2 == 0 { tls::ALPN } else { tls::ALPN_PAIR };
        let identity = Identity::generate()?;
        let config = endpoint::client_config(&identity, Expected::Anyone, protocol, &limits)?;
        let connecting = endpoint.connect_with(config, at, tls::SERVER_NAME)?;
        // TLS 1.3 lets the client finish before the server has seen its key.
        let refused = match connecting.await {
            Err(refused) => refused,
            Ok(connection) => {
                let closed = connection.closed().await;
                let received = connection.stats().udp_rx.bytes;
                ensure!(received <= 64 * 1024, "{received} bytes came");
                closed
            }
        };
        let quinn::ConnectionError::ConnectionClosed(close) = refused else {
            anyhow::bail!("round {round}: {refused:?}");
        };
        let code = u64::from(close.error_code);
        ensure!((0x100..0x200).contains(&code), "not a TLS alert (RFC 9001 section 4.8): {code:#x}");
    }
    Ok(())
}
