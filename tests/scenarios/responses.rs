//! Answers that are malformed, tricky, or only look so: one line each, from the bytes of an origin to what the client
//! gets and what is kept.
//!
//! After each the origin mends its ways, and the next client gets the right bytes: the mended ones, or those that were
//! rightly kept. What a broken answer left on its connection is never read as the next one.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::wire::{Moment, Said, Then, Wire};

/// What comes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// It is passed on whole and kept.
    Kept(&'static str),
    /// It is passed on whole and not kept.
    Passed(u16),
    /// 502 or 504, which says why.
    Failed,
    /// The client sees that it is incomplete.
    Broken,
}
use Want::{Broken, Failed, Kept, Passed};

struct Row {
    name: &'static str,
    want: Want,
    said: Said,
    /// The client asks for the bytes 2 and 3 only.
    part: bool,
    /// There are bytes behind the answer that belong to nothing.
    littered: bool,
}

fn row(name: &'static str, want: Want, bytes: impl Into<Vec<u8>>) -> Row {
    Row { name, want, said: Said::and_close(bytes), part: false, littered: false }
}

/// A 200 that may be kept.
fn ok(name: &'static str, want: Want, fields: &str, content: &str) -> Row {
    row(
        name,
        want,
        format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nETag: \"0\"\r\n{fields}\r\n{content}"),
    )
}

/// A 206 of five bytes.
fn part(name: &'static str, want: Want, fields: &str, content: &str) -> Row {
    let head = "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=3600\r\nETag: \"0\"\r\n";
    Row { part: true, ..row(name, want, format!("{head}{fields}\r\n{content}")) }
}

impl Row {
    fn reset(mut self) -> Self {
        self.said.then = Then::Reset;
        self
    }

    fn littered(mut self) -> Self {
        self.said.then = Then::GoOn;
        self.littered = true;
        self
    }
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[rustfmt::skip]
fn lengths() -> Vec<Row> {
    vec![
        ok("a length", Kept("hello"), "Content-Length: 5\r\n", "hello"),
        ok("a length that is not reached", Broken, "Content-Length: 50\r\n", "hello"),
        ok("a length that is not reached, by a reset", Broken, "Content-Length: 50\r\n", "hello").reset(),
        ok("more than its length", Kept("hel"), "Content-Length: 3\r\n", "hello").littered(),
        ok("zeros in front of a length", Kept("hello"), "Content-Length: 005\r\n", "hello"),
        ok("two lengths alike", Passed(200), "Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ok("two lengths", Failed, "Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
        ok("a list of one length", Passed(200), "Content-Length: 5, 5\r\n", "hello"),
        ok("a list of two lengths", Failed, "Content-Length: 5, 6\r\n", "hello!"),
        ok("a length below zero", Failed, "Content-Length: -5\r\n", "hello"),
        ok("a length with a plus", Failed, "Content-Length: +5\r\n", "hello"),
        ok("a length in hex", Failed, "Content-Length: 0x5\r\n", "hello"),
        ok("a length of two words", Failed, "Content-Length: 5 5\r\n", "hello"),
        ok("an empty length", Failed, "Content-Length:\r\n", "hello"),
        ok("a length past counting", Failed, "Content-Length: 18446744073709551616\r\n", "hello"),
        ok("a length near the end of counting", Failed, "Content-Length: 18446744073709551615\r\n", "hello"),
        ok("a length and chunks", Failed, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ok("chunks and a length", Failed, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ok("no length", Passed(200), "", "hello"),
        ok("no length, by a reset", Broken, "", "hello").reset(),
        row("no length in HTTP/1.0", Passed(200), "HTTP/1.0 200 OK\r\nCache-Control: max-age=3600\r\n\r\nhello"),
    ]
}

#[rustfmt::skip]
fn chunks() -> Vec<Row> {
    let long = "x".repeat(20_000);
    vec![
        ok("chunks", Kept("hello"), CHUNKED, "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        ok("chunks with extensions and a trailer", Kept("hello"), CHUNKED, "5;a=\"b\"\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"),
        ok("no last chunk", Broken, CHUNKED, "5\r\nhello\r\n"),
        ok("half of the last chunk", Broken, CHUNKED, "5\r\nhello\r\n0\r\n"),
        ok("a chunk that is too short", Broken, CHUNKED, "9\r\nhello\r\n0\r\n\r\n"),
        ok("a chunk that is too long", Broken, CHUNKED, "2\r\nhello\r\n0\r\n\r\n"),
        ok("a chunk size that is no number", Broken, CHUNKED, "xyz\r\nhello\r\n0\r\n\r\n"),
        ok("a chunk size below zero", Broken, CHUNKED, "-5\r\nhello\r\n0\r\n\r\n"),
        ok("a chunk size with 0x", Broken, CHUNKED, "0x5\r\nhello\r\n0\r\n\r\n"),
        ok("a chunk size past counting", Broken, CHUNKED, "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ok("chunks with bare LF", Broken, CHUNKED, "5\nhello\n0\n\n"),
        ok("an endless extension", Broken, CHUNKED, &format!("5;{long}\r\nhello\r\n0\r\n\r\n")),
        ok("endless trailers", Broken, CHUNKED, &format!("5\r\nhello\r\n0\r\nX: {long}\r\n\r\n")),
        ok("chunks and more", Kept("hello"), CHUNKED, "5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil").littered(),
        ok("gzip", Failed, "Transfer-Encoding: gzip\r\n", "hello"),
        ok("gzip in chunks", Failed, "Transfer-Encoding: gzip, chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ok("chunks in gzip", Failed, "Transfer-Encoding: chunked, gzip\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ok("chunks in chunks", Failed, "Transfer-Encoding: chunked, chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ok("chunks twice", Failed, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ok("identity", Failed, "Transfer-Encoding: identity\r\n", "hello"),
        ok("xchunked", Failed, "Transfer-Encoding: xchunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        row("chunks in HTTP/1.0", Failed, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ]
}

#[rustfmt::skip]
fn statuses() -> Vec<Row> {
    let file = "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: 5\r\n\r\nhello";
    let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    vec![
        row("100 before it", Kept("hello"), format!("HTTP/1.1 100 Continue\r\n\r\n{file}")),
        row("102 and 103 before it", Kept("hello"), format!("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{file}")),
        row("a flood of 100", Failed, format!("{flood}{file}")),
        row("nothing but 100", Failed, flood),
        row("101 that nobody asked for", Failed, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        row("304 to a plain request", Failed, "HTTP/1.1 304 Not Modified\r\nETag: \"0\"\r\n\r\n"),
        row("206 to a plain request", Failed, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nhello"),
        row("416 to a plain request", Passed(416), "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */5\r\nContent-Length: 0\r\n\r\n"),
        row("content of a 204", Passed(204), "HTTP/1.1 204 No Content\r\n\r\nhello").littered(),
        row("content of a 204 with a length", Passed(204), "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello").littered(),
        row("a status of two digits", Failed, "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
        row("a status of four digits", Failed, "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
        row("status 099", Failed, "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"),
        row("status 600", Failed, "HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n"),
        row("status 999", Failed, "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
        row("a status below zero", Failed, "HTTP/1.1 -20 Odd\r\nContent-Length: 0\r\n\r\n"),
        row("no reason", Kept("hello"), "HTTP/1.1 200\r\nCache-Control: max-age=3600\r\nContent-Length: 5\r\n\r\nhello"),
        row("no space before the reason", Failed, "HTTP/1.1 200OK\r\nContent-Length: 0\r\n\r\n"),
        row("another version", Failed, "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        row("a version in small letters", Failed, "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        row("another protocol", Failed, "ICY 200 OK\r\nContent-Length: 0\r\n\r\n"),
        row("HTTP/0.9", Failed, "<html>hello</html>"),
        row("a frame of HTTP/2", Failed, &b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0"[..]),
        row("an alert of TLS", Failed, &b"\x15\x03\x01\0\x02\x02\x46"[..]),
        row("nothing at all", Failed, ""),
        row("nothing but a reset", Failed, "").reset(),
        row("two answers for one", Kept("hello"), format!("{file}HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: 4\r\n\r\nevil")).littered(),
    ]
}

#[rustfmt::skip]
fn fields() -> Vec<Row> {
    let (long, longest) = ("x".repeat(33 * 1024), "x".repeat(300 * 1024));
    let many = "X: y\r\n".repeat(200);
    let five = |field: &str| format!("{field}Content-Length: 5\r\n");
    vec![
        ok("NUL", Failed, &five("X: a\0b\r\n"), "hello"),
        ok("a bare CR", Failed, &five("X: a\rb\r\n"), "hello"),
        ok("DEL", Failed, &five("X: a\x7fb\r\n"), "hello"),
        ok("folded", Failed, &five("X: a\r\n b\r\n"), "hello"),
        ok("folded by a tab", Failed, &five("X: a\r\n\tb\r\n"), "hello"),
        ok("a space before the colon", Failed, "Content-Length : 5\r\n", "hello"),
        ok("a space in front", Failed, " Content-Length: 5\r\n", "hello"),
        ok("without a colon", Failed, &five("nonsense\r\n"), "hello"),
        ok("without a name", Failed, &five(": x\r\n"), "hello"),
        ok("a name that is no token", Failed, &five("X@Y(): z\r\n"), "hello"),
        ok("33 KiB", Failed, &five(&format!("X: {long}\r\n")), "hello"),
        ok("300 KiB", Failed, &five(&format!("X: {longest}\r\n")), "hello"),
        ok("200 lines", Failed, &five(&many), "hello"),
        ok("no end", Failed, "X: y", ""),
        ok("Connection names what frames and keeps", Kept("hello"), &five("Connection: content-length, etag, cache-control\r\n"), "hello"),
        ok("a place in a 200", Kept("hello"), &five("Content-Range: bytes 0-4/9\r\n"), "hello"),
        row("bare LF", Kept("hello"), "HTTP/1.1 200 OK\nCache-Control: max-age=3600\nContent-Length: 5\n\nhello"),
    ]
}

#[rustfmt::skip]
fn parts() -> Vec<Row> {
    let five = |field: &str| format!("{field}Content-Length: 5\r\n");
    vec![
        part("the part asked for", Kept("hello"), &five("Content-Range: bytes 0-4/5\r\n"), "hello"),
        part("no place", Failed, &five(""), "hello"),
        part("two places", Failed, &five("Content-Range: bytes 0-4/5\r\nContent-Range: bytes 0-4/5\r\n"), "hello"),
        // The first question asks for more than the client did: less of it that still has what the client wants is fine.
        part("less in front of it", Passed(206), &five("Content-Range: bytes 1-5/6\r\n"), "ello."),
        part("less behind it", Passed(206), &five("Content-Range: bytes 0-4/50\r\n"), "hello"),
        part("less than the client asked for", Failed, &five("Content-Range: bytes 3-7/8\r\n"), "hello"),
        part("a place beyond the end", Failed, &five("Content-Range: bytes 0-4/3\r\n"), "hello"),
        part("a place backwards", Failed, &five("Content-Range: bytes 4-0/5\r\n"), "hello"),
        part("a place in another unit", Failed, &five("Content-Range: octets 0-4/5\r\n"), "hello"),
        part("a place without a whole", Failed, &five("Content-Range: bytes 0-4\r\n"), "hello"),
        part("a place of an unknown whole", Failed, &five("Content-Range: bytes 0-4/*\r\n"), "hello"),
        part("a place below zero", Failed, &five("Content-Range: bytes -1-4/5\r\n"), "hello"),
        part("a place past counting", Failed, &five("Content-Range: bytes 0-18446744073709551615/18446744073709551616\r\n"), "hello"),
        part("a place like a request's", Failed, &five("Content-Range: bytes=0-4/5\r\n"), "hello"),
        part("no place at all", Failed, &five("Content-Range: bytes */5\r\n"), "hello"),
        part("a length that is not its place's", Failed, "Content-Range: bytes 0-4/5\r\nContent-Length: 4\r\n", "hell"),
        part("several parts", Failed, "Content-Type: multipart/byteranges; boundary=x\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n", "hello"),
        part("a part that breaks off", Broken, &five("Content-Range: bytes 0-4/5\r\n"), "hel"),
        Row { part: true, ..row("416", Passed(416), "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */1\r\nContent-Length: 0\r\n\r\n") },
        Row { part: true, ..row("416 that says nonsense", Passed(416), "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes nonsense\r\nContent-Length: 0\r\n\r\n") },
    ]
}

#[test]
fn no_length_misleads_anybody() -> Result<()> {
    check(&lengths())
}

#[test]
fn no_chunk_misleads_anybody() -> Result<()> {
    check(&chunks())
}

#[test]
fn no_status_misleads_anybody() -> Result<()> {
    check(&statuses())
}

#[test]
fn no_field_misleads_anybody() -> Result<()> {
    check(&fields())
}

#[test]
fn no_part_misleads_anybody() -> Result<()> {
    check(&parts())
}

/// Says what it is told to for the paths that are listed, and mends its ways when they are not any more.
#[derive(Clone, Default)]
struct Moods(Arc<Mutex<Vec<(String, Said)>>>);

impl Moods {
    fn say(&self, path: &str, said: Option<&Said>) {
        let mut moods = self.0.lock().expect("nobody panics");
        moods.clear();
        moods.extend(said.map(|said| (format!("/{path}"), said.clone())));
    }

    fn said(&self, path: &str) -> Said {
        let moods = self.0.lock().expect("nobody panics");
        let said = moods.iter().find(|(known, _)| known == path).map(|(_, said)| said.clone());
        said.unwrap_or_else(|| Said::file(b"clean"))
    }
}

fn check(rows: &[Row]) -> Result<()> {
    let moods = Moods::default();
    let script = moods.clone();
    let origin =
        Wire::start(move |asked, moment| (moment == Moment::Whole).then(|| script.said(asked.path())))?;
    let mut kith = Kith::start_one("box")?;
    let mut wrong = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let path = format!("row-{index}");
        let judged =
            read(&kith, &origin, &moods, row, &path).and_then(|()| post(&kith, &origin, &moods, row));
        if let Err(error) = judged {
            wrong.push(format!("{}: {error}", row.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert_eq!(kith.has_ended(), None);
    Ok(())
}

/// A GET, and another when the origin has mended its ways.
fn read(kith: &Kith, origin: &Wire, moods: &Moods, row: &Row, path: &str) -> Result<()> {
    moods.say(path, Some(&row.said));
    let before = origin.asked().len();
    let request = Request::by_proxy(kith, &origin.url(path));
    let first = if row.part { request.clone().range("2-3") } else { request.clone() };
    judge(row, &get(&first)?)?;
    let asked = origin.asked();
    let used: HashSet<_> = asked[before..].iter().map(|asked| asked.connection).collect();
    ensure!(!used.is_empty(), "it was not asked");

    moods.say(path, None);
    let kept = if let Kept(content) = row.want { content } else { "clean" };
    let (status, content) = get(&request)?;
    ensure!((status, content.as_deref()) == (200, Some(kept)), "then {status} {content:?}");
    let again = origin.asked().len() - asked.len();
    ensure!((again == 0) == matches!(row.want, Kept(_)), "it was asked {again} times more");

    let probe = get(&Request::by_proxy(kith, &origin.url(&format!("probe-{path}"))))?;
    ensure!(probe == (200, Some("clean".to_owned())), "the next was answered {probe:?}");
    let dirty = row.littered || matches!(row.want, Failed | Broken);
    let reused = origin.asked()[asked.len()..].iter().any(|asked| used.contains(&asked.connection));
    ensure!(!(dirty && reused), "its connection was used again");
    Ok(())
}

/// The same answer to a request that passes by the store.
fn post(kith: &Kith, origin: &Wire, moods: &Moods, row: &Row) -> Result<()> {
    // What is odd about these is odd only for a GET.
    if row.part || row.name.ends_with("to a plain request") {
        return Ok(());
    }
    moods.say("post", Some(&row.said));
    let request = Request::by_proxy(kith, &origin.url("post")).method("POST").field("Content-Length", "0");
    let came = get(&request)?;
    moods.say("post", None);
    if let Kept(content) = row.want {
        ensure!(came == (200, Some(content.to_owned())), "a POST got {came:?}");
        return Ok(());
    }
    judge(row, &came)
}

fn judge(row: &Row, came: &(u16, Option<String>)) -> Result<()> {
    let fine = match (row.want, came) {
        (Kept(content), (200, Some(got))) => got == content,
        (Kept(content), (206, Some(got))) => row.part && *got == content[2..4],
        (Passed(wanted), (206, Some(got))) if row.part => wanted == 206 && got == "ll",
        (Passed(wanted), (status, Some(_))) => wanted == *status,
        (Failed, (502 | 504, Some(why))) => why.contains("(origin_nonsense)") || why.contains("(connect)"),
        (Broken, (_, None)) => true,
        _ => false,
    };
    ensure!(fine, "wanted {:?}, got {came:?}", row.want);
    Ok(())
}

/// Status and content; no content when it is incomplete, and no status when not even the head came.
fn get(request: &Request) -> Result<(u16, Option<String>)> {
    match request.send() {
        Ok(answer) => Ok((answer.status(), answer.text().ok())),
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
            Ok((0, None))
        }
        Err(error) => Err(error.into()),
    }
}

#[test]
fn a_head_with_content_is_over_where_it_ends() -> Result<()> {
    let origin = Wire::start(|asked, moment| {
        let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\n\r\nevil";
        (moment == Moment::Whole).then(|| match asked.method() {
            "HEAD" => Said::and_go_on(evil),
            _ => Said::file(b"clean"),
        })
    })?;
    let kith = Kith::start_one("box")?;
    for index in 0..3 {
        let url = origin.url(&format!("{index}"));
        let head = Request::by_proxy(&kith, &url).method("HEAD").fetch()?;
        assert_eq!((head.status(), head.bytes, head.field("content-length")), (200, 0, "4"));
        assert_eq!(get(&Request::by_proxy(&kith, &url))?, (200, Some("clean".to_owned())));
    }
    Ok(())
}
