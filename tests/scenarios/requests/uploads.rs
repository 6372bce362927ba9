//! What no store answers passes the forward proxy: content both ways, in order, to its end or visibly broken.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use kith_tests::body::Body;
use kith_tests::client::{Request, raw};
use kith_tests::kith::Kith;
use kith_tests::wire::{Asked, Moment, Said, Then, Wire};

/// For answers that come at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Says 200 and what it was asked.
fn mirror(asked: &Asked, moment: Moment) -> Option<Said> {
    (moment == Moment::Whole).then(|| {
        let content = [asked.method().as_bytes(), b" ", &asked.content].concat();
        let head = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: {}\r\n\r\n",
            content.len()
        );
        Said::and_go_on([head.as_bytes(), &content].concat())
    })
}

fn connect(kith: &Kith) -> Result<TcpStream> {
    let stream = TcpStream::connect(kith.clients())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// Reads up to the end of a head.
fn read_head(stream: &mut TcpStream) -> Result<String> {
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).with_context(|| String::from_utf8_lossy(&said).into_owned())?;
        said.push(byte[0]);
    }
    Ok(String::from_utf8(said)?)
}

#[test]
fn every_method_passes_the_proxy_with_its_content_and_none_is_stored() -> Result<()> {
    let origin = Wire::start(mirror)?;
    let kith = Kith::start_one("box")?;
    let address = origin.address();

    for (method, framing, sent, content) in [
        ("POST", "Content-Length: 5\r\n", "hello", "hello"),
        ("POST", "Content-Length: 0\r\n", "", ""),
        ("POST", "", "", ""),
        (
            "PUT",
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-Trailer: y\r\n\r\n",
            "hello world",
        ),
        ("PATCH", "Content-Length: 2\r\n", "{}", "{}"),
        ("DELETE", "", "", ""),
        ("OPTIONS", "", "", ""),
        ("PROPFIND", "Content-Length: 5\r\nDepth: 1\r\n", "<xml>", "<xml>"),
        ("BREW", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", ""),
        ("GET", "Content-Length: 3\r\n", "fat", "fat"),
        ("GET", "Transfer-Encoding: chunked\r\n", "3\r\nfat\r\n0\r\n\r\n", "fat"),
    ] {
        let text = format!(
            "{method} http://{address}/a HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{framing}\r\n{sent}"
        );
        let (said, _) = raw(kith.clients(), text.as_bytes(), PATIENCE)?;
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{method} {framing}: {said}");
        assert!(said.ends_with(&format!("\r\n\r\n{method} {content}")), "{method} {framing}: {said}");
        assert!(said.contains("via: 1.1 kith\r\n") && !said.contains("stored"), "{said}");
        let asked = origin.asked().pop().context("it was asked")?;
        assert_eq!((asked.method(), asked.path(), asked.whole), (method, "/a", true));
        assert_eq!(asked.content, content.as_bytes(), "{method}");
        assert_eq!(asked.head.field("host"), Some(address.to_string().as_str()));
        assert_eq!(asked.head.field("x-trailer"), None);
        let via = asked.head.field("via").unwrap_or_default();
        assert!(via.starts_with("1.1 kith (") && asked.head.field("cdn-loop").is_some(), "{:?}", asked.head);
    }
    assert_eq!(kith.metrics()?.count("kith_store_objects"), 0);
    Ok(())
}

#[test]
fn by_prefix_nothing_but_reading_is_allowed() -> Result<()> {
    let origin = Wire::start(mirror)?;
    let kith = Kith::start_one("box")?;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "TRACE", "BREW"] {
        let received = Request::by_prefix(&kith, &origin.url("a")).method(method).fetch()?;
        assert_eq!((received.status(), received.field("allow")), (405, "GET, HEAD"), "{method}");
    }
    let trace = Request::by_proxy(&kith, &origin.url("a")).method("TRACE").fetch()?;
    assert_eq!(trace.status(), 405);
    assert!(trace.field("allow").contains("POST"));
    assert_eq!(origin.connections(), 0);
    Ok(())
}

#[test]
fn options_ends_where_max_forwards_or_the_asterisk_says() -> Result<()> {
    let origin = Wire::start(mirror)?;
    let kith = Kith::start_one("box")?;
    let options = || Request::by_proxy(&kith, &origin.url("a")).method("OPTIONS");
    let own = Request::own(&kith, "*").method("OPTIONS").fetch()?;
    assert_eq!((own.status(), own.bytes), (204, 0));
    assert!(own.field("allow").contains("OPTIONS"));
    assert_eq!(options().field("Max-Forwards", "0").fetch()?.status(), 204);
    assert_eq!(options().field("Max-Forwards", "-1").fetch()?.status(), 400);
    let foreign = Request::own(&kith, "*").method("OPTIONS").without("Host").field("Host", "evil.test");
    assert_eq!(foreign.fetch()?.status(), 421);
    assert_eq!(origin.connections(), 0);
    assert_eq!(options().field("Max-Forwards", "3").fetch()?.status(), 200);
    assert_eq!(origin.asked()[0].head.field("max-forwards"), Some("2"));
    Ok(())
}

#[test]
fn a_large_upload_arrives_to_the_byte_and_an_origin_that_does_not_read_stops_the_client() -> Result<()> {
    let origin = Wire::start(|asked, moment| match (asked.path(), moment) {
        ("/stall", Moment::Head) => Some(Said::then("", Then::Hold)),
        (_, Moment::Head) => None,
        _ => mirror(&Asked { content: Vec::new(), ..asked.clone() }, moment),
    })?;
    let kith = Kith::start_one("box")?;
    let body = Body::seeded(41, 32 * 1024 * 1024);
    let mut content = vec![0; 32 * 1024 * 1024];
    body.fill(0, &mut content);
    let address = origin.address();
    let head = |path: &str| {
        let length = content.len();
        format!(
            "POST http://{address}/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        )
    };

    let mut stream = connect(&kith)?;
    stream.write_all(head("take").as_bytes())?;
    stream.write_all(&content)?;
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 200 OK\r\n"));
    let asked = origin.asked().pop().context("it was asked")?;
    assert!(asked.whole && asked.content == content, "{} bytes", asked.content.len());

    let mut stream = connect(&kith)?;
    stream.write_all(head("stall").as_bytes())?;
    origin.wait("the stalled upload", |asked| asked.len() == 2)?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    let taken = taken(&mut stream, &content)?;
    // What the kernel buffers on two connections, and a little of ours.
    assert!(taken < 16 * 1024 * 1024, "{taken} bytes were taken that nobody read");
    let resident = kith.metrics()?.count("process_resident_memory_bytes");
    assert!(resident < 64 * 1024 * 1024, "{resident}");
    Ok(())
}

/// Bytes that could be written until nobody took any for a second.
fn taken(stream: &mut TcpStream, content: &[u8]) -> Result<usize> {
    let mut taken = 0;
    while taken < content.len() {
        match stream.write(&content[taken..]) {
            Ok(count) => taken += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(taken)
}

#[test]
fn who_waits_for_a_100_gets_the_origins_word_or_one_after_a_moment() -> Result<()> {
    let origin = Wire::start(|asked, moment| match (asked.path(), moment) {
        ("/welcome", Moment::Head) => Some(Said::and_go_on("HTTP/1.1 100 Continue\r\n\r\n")),
        ("/refused", Moment::Head) => {
            Some(Said::then("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno", Then::Hold))
        }
        _ => mirror(asked, moment),
    })?;
    let kith = Kith::start_one("box")?;
    let address = origin.address();
    let head = |path: &str| {
        format!(
            "PUT http://{address}/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
    };

    for path in ["welcome", "silent"] {
        let mut stream = connect(&kith)?;
        stream.write_all(head(path).as_bytes())?;
        assert_eq!(read_head(&mut stream)?, "HTTP/1.1 100 Continue\r\n\r\n", "{path}");
        stream.write_all(b"hello")?;
        let said = read_all(&mut stream);
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("PUT hello"), "{path}: {said}");
        let asked = origin.asked().pop().context("it was asked")?;
        assert_eq!(asked.head.field("expect"), Some("100-continue"));
    }

    let mut stream = connect(&kith)?;
    stream.write_all(head("refused").as_bytes())?;
    let said = read_all(&mut stream);
    assert!(said.starts_with("HTTP/1.1 413 "), "no 100 before it: {said}");
    assert!(said.ends_with("\r\n\r\nno") && said.contains("connection: close\r\n"), "{said}");
    assert!(
        origin.asked().last().is_some_and(|asked| asked.path() == "/refused" && asked.content.is_empty())
    );
    Ok(())
}

#[test]
fn an_upload_that_breaks_off_never_looks_complete_to_the_origin() -> Result<()> {
    let origin = Wire::start(mirror)?;
    let kith = Kith::start_one("box")?;
    let address = origin.address();
    for (framing, sent, answer) in [
        ("Content-Length: 10\r\n", "hello", ""),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\nxyz\r\n0\r\n\r\n", "HTTP/1.1 400 "),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n5 \r\nhello\r\n0\r\n\r\n", "HTTP/1.1 400 "),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhelloGET http://evil/ HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        ("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nhello", "HTTP/1.1 400 "),
        ("Transfer-Encoding: chunked\r\n", "-5\r\nhello\r\n0\r\n\r\n", "HTTP/1.1 400 "),
        ("Transfer-Encoding: chunked\r\n", "5\nhello\n0\n\n", "HTTP/1.1 400 "),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nnonsense\r\n\r\n", "HTTP/1.1 400 "),
    ] {
        let before = origin.asked().len();
        let mut stream = connect(&kith)?;
        write!(stream, "POST http://{address}/a HTTP/1.1\r\nHost: {address}\r\n{framing}\r\n{sent}")?;
        if answer.is_empty() {
            stream.shutdown(Shutdown::Write)?;
        }
        let said = read_all(&mut stream);
        assert!(said.starts_with(answer) && !said.contains("200 OK"), "{framing}{sent:?}: {said}");
        let asked = origin.asked();
        assert!(asked[before..].iter().all(|asked| !asked.whole), "{framing}{sent:?}: {asked:?}");
    }
    assert!(origin.asked().iter().all(|asked| asked.method() == "POST"));
    Ok(())
}

#[test]
fn an_answer_before_the_end_of_an_upload_is_passed_on_and_ends_the_connection() -> Result<()> {
    let origin = Wire::start(|_, moment| match moment {
        Moment::Head => Some(Said::then("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", Then::Hold)),
        Moment::Whole => None,
    })?;
    let kith = Kith::start_one("box")?;
    let address = origin.address();
    let mut stream = connect(&kith)?;
    write!(
        stream,
        "POST http://{address}/a HTTP/1.1\r\nHost: {address}\r\nContent-Length: 1000000\r\n\r\nhello"
    )?;
    let said = read_all(&mut stream);
    assert!(said.starts_with("HTTP/1.1 403 ") && said.ends_with("\r\n\r\nno"), "{said}");
    assert!(said.contains("connection: close\r\n"), "{said}");
    Ok(())
}

#[test]
fn a_change_that_succeeded_makes_the_box_forget_and_one_that_failed_does_not() -> Result<()> {
    let origin = Wire::start(|asked, moment| {
        let refuse = asked.path() == "/kept" && asked.method() == "POST";
        (moment == Moment::Whole).then(|| match asked.method() {
            "GET" => Said::file(b"content"),
            _ if refuse => Said::and_go_on("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
            _ => Said::and_go_on("HTTP/1.1 204 No Content\r\nLocation: /named\r\n\r\n"),
        })
    })?;
    let kith = Kith::start_one("box")?;
    for path in ["gone", "named", "kept"] {
        assert_eq!(Request::by_proxy(&kith, &origin.url(path)).fetch()?.status(), 200);
    }
    kith.wait_stored(1)?;
    for (path, status) in [("gone", 204), ("kept", 403)] {
        let changed = Request::by_proxy(&kith, &origin.url(path)).method("POST").field("Content-Length", "0");
        assert_eq!(changed.fetch()?.status(), status);
    }
    let before = origin.asked().len();
    let again = |path: &str| Request::by_proxy(&kith, &origin.url(path)).fetch();
    assert!(again("kept")?.field("cache-status").starts_with("kith; hit; ttl="));
    for path in ["gone", "named"] {
        assert!(again(path)?.field("cache-status").contains("fwd=uri-miss"));
    }
    assert_eq!(origin.asked().len(), before + 2);
    Ok(())
}

#[test]
fn a_request_with_content_poisons_nothing_for_the_next_one_without() -> Result<()> {
    let origin = Wire::start(mirror)?;
    let kith = Kith::start_one("box")?;
    let address = origin.address();
    let fat =
        format!("GET http://{address}/a HTTP/1.1\r\nHost: {address}\r\nContent-Length: 6\r\n\r\npoison");
    let plain = format!("GET http://{address}/a HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let (said, _) = raw(kith.clients(), format!("{fat}{plain}").as_bytes(), PATIENCE)?;
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 2, "{said}");
    assert!(said.contains("\r\n\r\nGET poisonHTTP/1.1 200"), "{said}");
    assert!(said.ends_with("\r\n\r\nGET "), "{said}");
    assert_eq!(Request::by_proxy(&kith, &origin.url("a")).send()?.text()?, "GET ");
    let connections: Vec<_> = origin.asked().iter().map(|asked| asked.connection).collect();
    assert_eq!(connections, [0, 1], "what has content has a connection of its own");
    Ok(())
}
