//! Requests that are malformed, tricky, or only look so: one line each, from the bytes to the answer, to the fate of
//! the connection, to what the origin saw.
//!
//! Behind each stands a request that would be granted. Where the connection must end its answer would show that the
//! box read on; where the connection goes on it must be answered, too. In what is sent and seen, `BOX` and `ORIGIN`
//! stand for addresses, and `PATH` for a path that no other row has.

use std::time::Duration;

use anyhow::Result;
use kith_tests::client::{Closing, Request, raw};
use kith_tests::kith::Kith;
use kith_tests::wire::{Asked, Moment, Said, Wire};

use super::{replaced, spelled};
use After::{Closed, Open};

/// Every row ends with the end of its connection; only a box that hangs is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

const BEHIND: &str = "GET /.well-known/kith HTTP/1.1\r\nHost: BOX\r\nConnection: close\r\n\r\n";

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Closed,
    Open,
}

/// What it is, status, fate of the connection, what the origin saw (method, path, content; several joined by `; `),
/// and the bytes.
type Row = (&'static str, u16, After, &'static str, &'static [u8]);

#[rustfmt::skip]
const LINES: &[Row] = &[
    ("no version", 400, Closed, "", b"GET /http://ORIGIN/PATH\r\nHost: BOX\r\n\r\n"),
    ("HTTP/0.9", 400, Closed, "", b"GET /\r\n\r\n"),
    ("two spaces", 400, Closed, "", b"GET  /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("a tab for a space", 400, Closed, "", b"GET\t/http://ORIGIN/PATH\tHTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("a space in front", 400, Closed, "", b" GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("a space behind", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1 \r\nHost: BOX\r\n\r\n"),
    ("a version in small letters", 400, Closed, "", b"GET /http://ORIGIN/PATH http/1.1\r\nHost: BOX\r\n\r\n"),
    ("HTTP/0.9 by name", 505, Closed, "", b"GET /http://ORIGIN/PATH HTTP/0.9\r\nHost: BOX\r\n\r\n"),
    ("HTTP/1.10", 505, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.10\r\nHost: BOX\r\n\r\n"),
    ("HTTP/2.0", 505, Closed, "", b"GET /http://ORIGIN/PATH HTTP/2.0\r\nHost: BOX\r\n\r\n"),
    ("the preface of HTTP/2", 505, Closed, "", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("another protocol", 400, Closed, "", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ("a method that is no token", 400, Closed, "", b"G@T /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("our own method", 400, Closed, "", b"KITH-REFUSED /0 HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("bare LF", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\nHost: BOX\n\n"),
    ("one bare LF", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\nAccept: */*\r\n\r\n"),
    ("bare CR for CR LF", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\rHost: BOX\r\r\n\r\n"),
    ("CR CR LF", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\r\n\r\n"),
    ("LF CR", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\n\rHost: BOX\n\r\n\r"),
    ("an empty line in front", 200, Open, "GET /PATH", b"\r\nGET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("a lone LF in front", 400, Closed, "", b"\nGET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\n\r\n"),
];

#[rustfmt::skip]
const TARGETS: &[Row] = &[
    ("raw bytes", 400, Closed, "", b"GET /http://ORIGIN/PATH\xc3\xa4 HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("NUL", 400, Closed, "", b"GET /http://ORIGIN/PATH\0 HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("a space", 400, Closed, "", b"GET /http://ORIGIN/PATH b HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("a fragment", 400, Closed, "", b"GET /http://ORIGIN/PATH#b HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("an escaped NUL", 200, Open, "GET /PATH%00", b"GET /http://ORIGIN/PATH%00 HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("an escaped line", 200, Open, "GET /PATH%0d%0aX:%20y", b"GET http://ORIGIN/PATH%0d%0aX:%20y HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("dot segments", 200, Open, "GET /PATH", b"GET http://ORIGIN/b/../PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("escaped dot segments", 200, Open, "GET /PATH", b"GET http://ORIGIN/b/%2e%2e/PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("backslashes are slashes", 200, Open, "GET /b/PATH", b"GET http://ORIGIN/b\\PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("userinfo by proxy", 400, Closed, "", b"GET http://user:word@ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("userinfo by prefix", 400, Closed, "", b"GET /http://user:word@ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("empty userinfo", 400, Closed, "", b"GET http://@ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("no host", 400, Closed, "", b"GET http:///PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("no host but a port", 400, Closed, "", b"GET http://:80/PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("one slash by proxy", 400, Closed, "", b"GET http:/ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("one slash by prefix", 200, Open, "GET /PATH", b"GET /http:/ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("three slashes by prefix", 400, Closed, "", b"GET /http:///ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("a port past counting", 400, Closed, "", b"GET http://127.0.0.1:65536/PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("a port that is not dialled", 403, Open, "", b"GET http://127.0.0.1:22/PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("another scheme", 400, Closed, "", b"GET ftp://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("an asterisk for GET", 400, Closed, "", b"GET * HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("an authority for GET", 400, Closed, "", b"GET ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("a host for a path", 404, Open, "", b"GET //ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("the box itself by proxy", 508, Open, "", b"GET http://BOX/.well-known/kith HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("the box itself by POST", 508, Open, "", b"POST http://BOX/PATH HTTP/1.1\r\nHost: BOX\r\n\r\n"),
];

#[rustfmt::skip]
const FIELDS: &[Row] = &[
    ("no Host", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\n\r\n"),
    ("no Host by proxy", 400, Closed, "", b"GET http://ORIGIN/PATH HTTP/1.1\r\n\r\n"),
    ("no Host in HTTP/1.0 by proxy", 200, Closed, "GET /PATH", b"GET http://ORIGIN/PATH HTTP/1.0\r\n\r\n"),
    ("two Hosts", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nHost: BOX\r\n\r\n"),
    ("two different Hosts", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nhost: evil.test\r\n\r\n"),
    ("a list of Hosts", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX, BOX\r\n\r\n"),
    ("an empty Host", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost:\r\n\r\n"),
    ("a path as Host", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX/x\r\n\r\n"),
    ("userinfo as Host", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: a@BOX\r\n\r\n"),
    ("two words as Host", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX evil.test\r\n\r\n"),
    ("another Host by prefix", 421, Open, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
    ("another Host by proxy", 200, Open, "GET /PATH", b"GET http://ORIGIN/PATH HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
    ("bare CR", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nA: b\rc\r\n\r\n"),
    ("NUL", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nA: b\0c\r\n\r\n"),
    ("DEL", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nA: b\x7fc\r\n\r\n"),
    ("a vertical tab", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nA: b\x0bc\r\n\r\n"),
    ("folded", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nA: b\r\n c\r\n\r\n"),
    ("folded by a tab", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nA: b\r\n\tc\r\n\r\n"),
    ("a space before the first", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\n Host: BOX\r\n\r\n"),
    ("a space before the colon", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nA : b\r\n\r\n"),
    ("a tab before the colon", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nA\t: b\r\n\r\n"),
    ("without a name", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\n: b\r\n\r\n"),
    ("without a colon", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nnonsense\r\n\r\n"),
    ("a raw byte in a name", 400, Closed, "", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\n\xe9: b\r\n\r\n"),
    ("a raw byte in a value", 200, Open, "GET /PATH", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nA: \xe9\r\n\r\n"),
    ("an empty value", 200, Open, "GET /PATH", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nA:\r\n\r\n"),
    ("space around a value", 200, Open, "GET /PATH", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: \t BOX \t \r\n\r\n"),
];

#[rustfmt::skip]
const FRAMING: &[Row] = &[
    ("CL with TE", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE with CL", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("TE gzip", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: gzip\r\n\r\n"),
    ("TE gzip, chunked", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("TE chunked twice", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("TE on two lines", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE identity", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: identity\r\n\r\n"),
    ("TE xchunked", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("TE with a parameter", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    ("TE behind a vertical tab", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("TE folded", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("TE before a space", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("TE empty", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding:\r\n\r\n"),
    ("TE in HTTP/1.0", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.0\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE in capitals", 200, Open, "POST /PATH hi", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\ntransfer-ENCODING: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    ("CL twice", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    ("CL twice alike", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nxx"),
    ("CL in a list", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 2, 2\r\n\r\nxx"),
    ("CL with a plus", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: +1\r\n\r\nx"),
    ("CL below zero", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: -1\r\n\r\nx"),
    ("CL in hex", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 0x1\r\n\r\nx"),
    ("CL with a fraction", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 1.0\r\n\r\nx"),
    ("CL of two numbers", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 1 1\r\n\r\nx"),
    ("CL past counting", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    ("CL empty", 400, Closed, "", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length:\r\n\r\n"),
    ("CL with zeros in front", 200, Open, "POST /PATH xx", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 002\r\n\r\nxx"),
    ("CL that Connection names", 200, Open, "POST /PATH xx", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nConnection: Host, Content-Length\r\nContent-Length: 2\r\n\r\nxx"),
    ("TE that Connection names", 200, Open, "POST /PATH xx", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n0\r\n\r\n"),
    ("content that looks like a request", 200, Open, "POST /PATH GET /x HTTP/1.1\r\n\r\n", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 19\r\n\r\nGET /x HTTP/1.1\r\n\r\n"),
    ("content of a GET by proxy", 200, Open, "GET /PATH GET /x HTTP/1.1\r\n\r\n", b"GET http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 19\r\n\r\nGET /x HTTP/1.1\r\n\r\n"),
    ("content of a GET by prefix", 200, Closed, "GET /PATH", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nContent-Length: 19\r\n\r\nGET /x HTTP/1.1\r\n\r\n"),
    ("content of a POST by prefix", 405, Closed, "", b"POST /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nContent-Length: 19\r\n\r\nGET /x HTTP/1.1\r\n\r\n"),
    ("a chunk that is too short", 400, Closed, "POST /PATH", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi\r\n0\r\n\r\n"),
    ("a chunk size with a space", 400, Closed, "POST /PATH", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n"),
    ("a chunk size past counting", 400, Closed, "POST /PATH", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nhi\r\n0\r\n\r\n"),
    ("a chunk extension with a bare LF", 400, Closed, "POST /PATH", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nhi\r\n0\r\n\r\n"),
    ("a trailer that is no field", 400, Closed, "POST /PATH", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET / HTTP/1.1\r\nHost : x\r\n\r\n"),
    ("trailers that would frame", 200, Open, "POST /PATH hi", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nContent-Length: 50\r\n\r\n"),
];

#[rustfmt::skip]
const METHODS: &[Row] = &[
    ("a small letter by proxy", 200, Open, "get /PATH", b"get http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("a small letter by prefix", 405, Open, "", b"get /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("deleting by prefix", 405, Open, "", b"DELETE /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("tracing", 405, Open, "", b"TRACE http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("asking what there is", 204, Open, "", b"OPTIONS * HTTP/1.1\r\nHost: BOX\r\n\r\n"),
    ("asking a site what there is", 200, Open, "OPTIONS *", b"OPTIONS http://ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("asking a site by a capital scheme", 200, Open, "OPTIONS *", b"OPTIONS HTTP://ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("asking a site what its root takes", 200, Open, "OPTIONS /", b"OPTIONS http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("asking a site what a query takes", 200, Open, "OPTIONS /?PATH", b"OPTIONS http://ORIGIN?PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("asking a site, and then something else", 200, Open, "OPTIONS *; GET /PATH", b"OPTIONS http://ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\nGET http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("asking a site with content", 200, Open, "OPTIONS * hi", b"OPTIONS http://ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 2\r\n\r\nhi"),
    ("asking a site by our own method", 400, Closed, "", b"KITH-OPTIONS http://ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("asking a site no further", 204, Open, "", b"OPTIONS http://ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\nMax-Forwards: 0\r\n\r\n"),
    ("asking somebody else what there is", 421, Open, "", b"OPTIONS * HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
    ("a tunnel", 405, Closed, "", b"CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("a tunnel to a URL", 400, Closed, "", b"CONNECT http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("a tunnel to a path", 400, Closed, "", b"CONNECT /PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    ("a tunnel with content", 400, Closed, "", b"CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 2\r\n\r\nhi"),
    ("a tunnel in chunks", 400, Closed, "", b"CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a switch that is not granted", 200, Open, "GET /PATH", b"GET http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ("a switch by prefix", 200, Open, "GET /PATH", b"GET /http://ORIGIN/PATH HTTP/1.1\r\nHost: BOX\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ("a switch to HTTP/2", 200, Open, "GET /PATH", b"GET http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"),
    ("a switch with content", 200, Open, "POST /PATH hi", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi"),
    ("two at once", 200, Open, "GET /PATH; POST /PATH hi", b"GET http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\n\r\nPOST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 2\r\n\r\nhi"),
    ("an expectation nobody knows", 200, Open, "POST /PATH hi", b"POST http://ORIGIN/PATH HTTP/1.1\r\nHost: ORIGIN\r\nExpect: wonders\r\nContent-Length: 2\r\n\r\nhi"),
];

/// Stores what is read, and says what it was told to anything else.
fn site(asked: &Asked, moment: Moment) -> Option<Said> {
    (moment == Moment::Whole).then(|| Said::file(if asked.method() == "GET" { b"file" } else { b"done" }))
}

#[test]
fn every_request_line_gets_its_answer_and_nothing_more() -> Result<()> {
    check(LINES)
}

#[test]
fn every_target_gets_its_answer_and_nothing_more() -> Result<()> {
    check(TARGETS)
}

#[test]
fn every_field_line_gets_its_answer_and_nothing_more() -> Result<()> {
    check(FIELDS)
}

#[test]
fn every_framing_gets_its_answer_and_nothing_more() -> Result<()> {
    check(FRAMING)
}

#[test]
fn every_method_gets_its_answer_and_nothing_more() -> Result<()> {
    check(METHODS)
}

fn check(rows: &[Row]) -> Result<()> {
    let origin = Wire::start(site)?;
    let mut kith = Kith::start_one("box")?;
    let mut wrong = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        if let Err(error) = judge(&kith, &origin, row, &format!("row-{index}")) {
            wrong.push(format!("{}: {error}", row.0));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert_eq!(kith.has_ended(), None);
    // Nothing of it poisoned what others get.
    for (index, row) in rows.iter().enumerate() {
        let received = Request::by_proxy(&kith, &origin.url(&format!("row-{index}"))).send()?.text()?;
        assert_eq!(received, "file", "{}", row.0);
    }
    Ok(())
}

fn judge(kith: &Kith, origin: &Wire, row: &Row, path: &str) -> Result<()> {
    let (_, status, after, saw, bytes) = *row;
    let filled = |text: &[u8]| {
        let text = spelled(&kith.clients().to_string(), &origin.address().to_string(), text);
        replaced(&text, "PATH", path)
    };
    let before = origin.asked().len();
    let (said, closing) =
        raw(kith.clients(), &[filled(bytes), filled(BEHIND.as_bytes())].concat(), PATIENCE)?;
    anyhow::ensure!(closing == Closing::Closed, "the box hangs; it said {said}");
    let said_status = said.split(' ').nth(1).unwrap_or_default();
    anyhow::ensure!(said_status == status.to_string(), "wanted {status}, got {said}");
    let is_open = said.contains("\"gateway\":");
    anyhow::ensure!(is_open == (after == Open), "wanted {after:?}, got {said}");
    let announced = said.split("\r\n\r\n").next().unwrap_or_default().contains("connection: close");
    anyhow::ensure!(announced == (after == Closed) || said.starts_with("HTTP/1.0"), "not told: {said}");
    let asked = &origin.asked()[before..];
    let seen: Vec<_> = asked
        .iter()
        .map(|asked| {
            let content = String::from_utf8_lossy(&asked.content);
            format!("{} {} {content}", asked.method(), asked.path()).trim_end_matches(' ').to_owned()
        })
        .collect();
    let expected = String::from_utf8(filled(saw.as_bytes()))?;
    // What broke off may or may not have begun at the origin; it must not have become whole.
    let broke_off = status == 400 && !saw.is_empty();
    let fine = if broke_off { asked.iter().all(|asked| !asked.whole) } else { seen.join("; ") == expected };
    anyhow::ensure!(fine, "the origin saw {asked:?}");
    Ok(())
}
