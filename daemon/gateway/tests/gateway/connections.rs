//! Connections: what is refused before it is parsed, what ends with its answer, and who waits for whom.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::house::{House, Reply, Site, sample};

#[tokio::test]
async fn malformed_requests_are_refused_closed_and_never_reach_the_origin() {
    let house = House::start(Site::serving(sample(100)));
    let long_url = format!("GET /http://a.test/{} HTTP/1.1\r\nHost: attic\r\n\r\n", "a".repeat(5000));
    let endless_line = format!("GET /{}", "a".repeat(9000));
    let many = format!("GET / HTTP/1.1\r\nHost: attic\r\n{}\r\n", "X: y\r\n".repeat(101));
    let large = format!("GET / HTTP/1.1\r\nHost: attic\r\nX: {}\r\n\r\n", "a".repeat(17_000));
    for (request, status) in [
        ("GET http://a.test/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://a.test/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (
            "GET http://a.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("GET http://a.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("GET http://a.test/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        ("GET http://a.test/ HTTP/1.1\nHost: a\n\n", 400),
        ("GET http://a.test/ HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        ("GET http://a.test/ HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET http://a.test/\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://u:p@a.test/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /http://u:p@a.test/ HTTP/1.1\r\nHost: attic\r\n\r\n", 400),
        ("GET http://a.test/ HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        ("KITH-REFUSED /0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\n", 400),
        (&long_url, 414),
        (&endless_line, 414),
        (&many, 431),
        (&large, 431),
        ("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", 405),
    ] {
        // A second request rides along: it must not be answered.
        let sent = [request.as_bytes(), b"GET /proxy.pac HTTP/1.1\r\nHost: attic\r\n\r\n"].concat();
        let reply = Reply::parse(&house.say_bytes(&sent).await);
        assert_eq!(reply.status, status, "{request:?}");
        assert_eq!(reply.field("connection"), Some("close"), "{request:?}");
        assert!(reply.complete && reply.rest.is_empty(), "{request:?}");
    }
    assert_eq!(house.questions(), 0);
    assert_eq!(house.say("GET / HTTP/1.0\r\nHost: attic\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn requests_on_one_connection_are_answered_in_order_up_to_the_malformed_one() {
    let house = House::start(Site::serving(sample(100)));
    let page = "GET /proxy.pac HTTP/1.1\r\nHost: attic\r\n\r\n";
    let heard = house.say_bytes(format!("{page}{page}GET / HTTP/1.1\r\n\r\n{page}").as_bytes()).await;
    let first = Reply::parse(&heard);
    let second = Reply::parse(&first.rest);
    let third = Reply::parse(&second.rest);
    assert_eq!([first.status, second.status, third.status], [200, 200, 400]);
    assert!(third.rest.is_empty());
}

#[tokio::test]
async fn content_of_a_get_is_thrown_away_and_ends_the_connection() {
    let house = House::start(Site::serving(sample(100)));
    for framing in ["Content-Length: 44\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n2c\r\n"] {
        let smuggled = "GET /http://b.test/ HTTP/1.1\r\nHost: attic\r\n\r\n";
        let heard = house
            .say_bytes(
                format!("GET /http://a.test/ HTTP/1.1\r\nHost: attic\r\n{framing}{smuggled}").as_bytes(),
            )
            .await;
        let reply = Reply::parse(&heard);
        assert_eq!((reply.status, reply.field("connection")), (200, Some("close")));
        assert!(reply.rest.is_empty());
    }
    let asked = house.origin.questions.lock().expect("lock");
    assert!(asked.iter().all(|question| question.target.host() == "a.test"));
}

#[tokio::test]
async fn a_device_that_is_not_allowed_is_told_so_before_it_asks() {
    let house = House::start_with(Site::serving(sample(100)), |config| {
        config.allow = vec![kith_gateway::Allow::Net("192.0.2.0/24".parse().expect("a network"))];
    });
    let reply = Reply::parse(&house.say_bytes(b"").await);
    assert_eq!((reply.status, reply.field("connection")), (403, Some("close")));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_a_minute_and_a_silent_one_after_ten_seconds() {
    let house = House::start(Site::serving(sample(100)));
    for (request, seconds) in [("", 10), ("GET /proxy.pac HTTP/1.1\r\nHost: attic\r\n\r\n", 60)] {
        let started = tokio::time::Instant::now();
        let heard = house.say_bytes(request.as_bytes()).await;
        assert_eq!(heard.is_empty(), request.is_empty());
        assert_eq!(started.elapsed().as_secs(), seconds, "{request}");
    }
}

#[tokio::test]
async fn one_device_cannot_open_more_connections_than_its_share() {
    let house = House::start_with(Site::serving(sample(100)), |config| {
        config.connections_max = 8;
        config.connections_per_address_max = 4;
    });
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(house.address).await.expect("it listens");
        stream.write_all(b"GET /proxy.pac HTTP/1.1\r\nHost: attic\r\n\r\n").await.expect("it reads");
        // Answered: so it has its place.
        stream.read_u8().await.expect("an answer");
        held.push(stream);
    }
    let reply = Reply::parse(&house.say_bytes(b"").await);
    assert_eq!((reply.status, reply.field("retry-after")), (429, Some("5")));
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let body = sample(16 << 20);
    let house = House::start(Site::serving(body.clone()));
    let mut stuck = TcpStream::connect(house.address).await.expect("it listens");
    stuck.write_all(b"GET /http://a.test/ HTTP/1.1\r\nHost: attic\r\n\r\n").await.expect("it reads");
    house.asked().await;
    let reply = house.get("http://a.test/", "").await;
    assert!(reply.complete && reply.body == body);
    // It comes back to life and finds everything as it should be.
    stuck
        .write_all(b"GET /proxy.pac HTTP/1.1\r\nHost: attic\r\nConnection: close\r\n\r\n")
        .await
        .expect("open");
    let mut heard = Vec::new();
    stuck.read_to_end(&mut heard).await.expect("no reset");
    let first = Reply::parse(&heard);
    assert!(first.complete && first.body == body);
    assert_eq!(Reply::parse(&first.rest).status, 200);
}

#[tokio::test]
async fn draining_finishes_what_runs_and_cuts_what_does_not_end() {
    let body = sample(1 << 20);
    let house = House::start(Site::serving(body.clone()));
    let pieces = house.origin.pieces.clone();
    pieces.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let request = b"GET /http://a.test/ HTTP/1.1\r\nHost: attic\r\n\r\n";
    let mut stream = TcpStream::connect(house.address).await.expect("it listens");
    let mut idle = TcpStream::connect(house.address).await.expect("it listens");
    idle.write_all(b"GET /proxy.pac HTTP/1.1\r\nHost: attic\r\n\r\n").await.expect("it reads");
    idle.read_u8().await.expect("an answer");
    stream.write_all(request).await.expect("it reads");
    house.asked().await;
    let (mut heard, mut idled) = (Vec::new(), Vec::new());
    let client = async {
        // The idle one is closed at once, while the other still waits for the origin.
        idle.read_to_end(&mut idled).await.expect("closed in order");
        pieces.add_permits(1000);
        stream.read_to_end(&mut heard).await.expect("closed in order");
    };
    tokio::join!(house.gateway.shutdown(Duration::from_secs(60)), client);
    let reply = Reply::parse(&heard);
    assert!(reply.complete && reply.body == body);

    let house = House::start(Site::serving(body));
    house.origin.pieces.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let mut stream = TcpStream::connect(house.address).await.expect("it listens");
    stream.write_all(request).await.expect("it reads");
    house.asked().await;
    house.gateway.shutdown(Duration::ZERO).await;
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
    assert!(heard.is_empty() || !Reply::parse(&heard).complete);
}
