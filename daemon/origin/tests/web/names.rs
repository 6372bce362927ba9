//! Names: asked of the resolver that the owner names, and judged by all that it says.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use kith_fetch::ask::AskError;
use kith_origin::resolve::Resolver;
use kith_origin::web::{Config, Web};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::origin::{Origin, get, read, room_with, say};

/// A DNS server with one set of addresses for every name. By UDP it says "truncated" when told so.
struct Server {
    address: SocketAddr,
    addresses: Arc<Mutex<Vec<IpAddr>>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Copy, PartialEq)]
enum ByUdp {
    Answers,
    Truncates,
}

impl Server {
    async fn start(addresses: &[&str], by_udp: ByUdp) -> Self {
        let addresses = addresses.iter().map(|text| text.parse().expect(text)).collect();
        let addresses = Arc::new(Mutex::new(addresses));
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = tcp.local_addr().expect("bound");
        let udp = UdpSocket::bind(address).await.expect("the same port is free");
        let mut tasks = JoinSet::new();
        let told = addresses.clone();
        tasks.spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                let reply = match by_udp {
                    ByUdp::Answers => reply(&buffer[..length], &told),
                    ByUdp::Truncates => truncated(&buffer[..length]),
                };
                // one that guesses comes first
                let mut forged = reply.clone();
                forged[0] ^= 0xff;
                udp.send_to(&forged, from).await.expect("sent");
                udp.send_to(&reply, from).await.expect("sent");
            }
        });
        let told = addresses.clone();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let length = stream.read_u16().await.expect("a length");
                let mut query = vec![0; length.into()];
                stream.read_exact(&mut query).await.expect("a query");
                let reply = reply(&query, &told);
                stream.write_u16(u16::try_from(reply.len()).expect("short")).await.expect("sent");
                stream.write_all(&reply).await.expect("sent");
            }
        });
        Self { address, addresses, _tasks: tasks }
    }

    fn now_says(&self, addresses: &[&str]) {
        *self.addresses.lock().expect("no panic") =
            addresses.iter().map(|text| text.parse().expect(text)).collect();
    }
}

/// The question of a query: after the header, up to its class.
fn question(query: &[u8]) -> &[u8] {
    let name = query[12..].iter().position(|byte| *byte == 0).expect("a name's end");
    &query[12..12 + name + 5]
}

fn reply(query: &[u8], addresses: &Mutex<Vec<IpAddr>>) -> Vec<u8> {
    let question = question(query);
    let wants_v6 = question[question.len() - 3] == 28;
    let addresses = addresses.lock().expect("no panic");
    let matching: Vec<&IpAddr> = addresses.iter().filter(|ip| ip.is_ipv6() == wants_v6).collect();
    let count = u8::try_from(matching.len()).expect("few");
    let mut reply = [&query[..2], &[0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0], question].concat();
    for address in matching {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        reply.extend([0xc0, 12, 0, question[question.len() - 3], 0, 1, 0, 0, 0, 60, 0]);
        reply.push(u8::try_from(octets.len()).expect("short"));
        reply.extend(octets);
    }
    reply
}

fn truncated(query: &[u8]) -> Vec<u8> {
    [&query[..2], &[0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 0], question(query)].concat()
}

fn web(server: &Server) -> kith_origin::web::Web {
    room_with(Config { resolver: Resolver::Server(server.address), ..Config::default() })
}

#[tokio::test]
async fn no_spelling_of_a_private_address_is_dialled() {
    let listeners = [
        TcpListener::bind("127.0.0.1:0").await.expect("bound"),
        TcpListener::bind("[::1]:0").await.expect("bound"),
    ];
    let web = Web::new(Config::default()).expect("set up");
    for listener in &listeners {
        let port = listener.local_addr().expect("bound").port();
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0x7f.0.0.1",
            "017700000001",
            "0177.0.0.1",
            "0177.1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "0.0.0.0",
            "0",
            "[::1]",
            "[::]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[::127.0.0.1]",
            "localhost",
            "LOCALHOST",
        ] {
            for scheme in ["http", "https"] {
                let outcome = get(&web, &format!("{scheme}://{host}:{port}/")).await;
                assert!(matches!(outcome, Err(AskError::Denied(_))), "{host}: {:?}", outcome.err());
            }
        }
    }
    for listener in &listeners {
        assert!(listener.accept().now_or_never().is_none(), "somebody connected");
    }
}

fn file() -> Origin {
    Origin::always(say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"))
}

#[tokio::test]
async fn a_named_resolver_is_asked_and_a_long_answer_is_fetched_by_tcp() {
    let origin = file();
    for by_udp in [ByUdp::Answers, ByUdp::Truncates] {
        let server = Server::start(&["127.0.0.1"], by_udp).await;
        let url = format!("http://files.test:{}/", origin.address.port());
        let answer = get(&web(&server), &url).await.expect("an answer");
        assert_eq!(read(answer).await.0, b"hello");
    }
    assert_eq!(
        origin.seen()[0].field("host"),
        Some(format!("files.test:{}", origin.address.port()).as_str())
    );
}

#[tokio::test]
async fn a_name_with_one_private_address_among_others_makes_no_connection() {
    let origin = file();
    let url = format!("http://files.test:{}/", origin.address.port());
    for addresses in [
        &["127.0.0.1", "192.168.1.1"][..],
        &["192.168.1.1", "127.0.0.1"],
        &["127.0.0.1", "::1"],
        &["127.0.0.1", "64:ff9b::a00:1"],
        &["1.1.1.1", "127.0.0.2"],
    ] {
        let server = Server::start(addresses, ByUdp::Answers).await;
        let outcome = get(&web(&server), &url).await;
        assert!(matches!(outcome, Err(AskError::Denied(_))), "{addresses:?}: {:?}", outcome.err());
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_name_that_is_rebound_to_a_private_address_is_refused_from_then_on() {
    let origin = file();
    let inside = Origin::start_at(&format!("127.0.0.2:{}", origin.address.port()), |_| say(""));
    let server = Server::start(&["127.0.0.1"], ByUdp::Answers).await;
    let url = format!("http://files.test:{}/", origin.address.port());
    let web = web(&server);
    assert_eq!(read(get(&web, &url).await.expect("an answer")).await.0, b"hello");
    server.now_says(&["127.0.0.2"]);
    assert!(matches!(get(&web, &url).await, Err(AskError::Denied(_))));
    assert_eq!((origin.connections(), inside.connections()), (1, 0));
}

#[tokio::test]
async fn a_name_without_addresses_is_said_so() {
    let server = Server::start(&[], ByUdp::Answers).await;
    let outcome = get(&web(&server), "http://nothing.test/").await;
    assert!(matches!(outcome, Err(AskError::Dns(_))), "{:?}", outcome.err());
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_is_silent_is_given_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let resolver = Resolver::Server(silent.local_addr().expect("bound"));
    let web = room_with(Config { resolver, ..Config::default() });
    let outcome = get(&web, "http://files.test/").await;
    assert!(matches!(outcome, Err(AskError::Dns(_))), "{:?}", outcome.err());
}
