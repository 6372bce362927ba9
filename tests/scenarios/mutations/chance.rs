//! Requests by chance, and what goes wrong with them. Everything follows from a seed.

use std::net::SocketAddr;

/// Before every token, so that it can be found again.
const MARK: &str = "token-";

const TOKEN_CHARS: usize = 32;

/// Bytes that readers differ about.
const NASTY: &[u8] = b"\r\n\0 \t:;,0-+\x0b\x7f\xff/\\@#?%\"";

/// What stands in messages, and what somebody might make of it.
const SWAPS: &[(&str, &str)] = &[
    ("\r\n", "\n"),
    ("\r\n", "\r"),
    ("\r\n", "\r\n "),
    ("\r\n", "\r\n\r\n"),
    ("\r\n\r\n", "\r\n"),
    ("\r\n", "\n\r\n"),
    (": ", " : "),
    (": ", ":"),
    (": ", "\t:"),
    ("chunked", "chunked, identity"),
    ("chunked", "xchunked"),
    ("chunked", "\x0bchunked"),
    ("chunked", "gzip, chunked"),
    ("chunked", "CHUNKED"),
    ("Transfer-Encoding", "Transfer-Encoding "),
    ("Transfer-Encoding", "Content-Length"),
    ("Transfer-Encoding", "X-Transfer-Encoding"),
    ("Content-Length", "Content_Length"),
    ("Content-Length", "Transfer-Encoding"),
    ("Content-Length: ", "Content-Length: 1"),
    ("Content-Length: ", "Content-Length: +"),
    ("Content-Length: ", "Content-Length: 0, "),
    ("HTTP/1.1", "HTTP/1.0"),
    ("HTTP/1.1", "HTTP/2.0"),
    ("HTTP/1.1", "HTTP/1.1 HTTP/1.1"),
    ("POST", "GET"),
    ("GET", "POST"),
    ("GET", "HEAD"),
    ("Host", "host"),
    ("Host: ", "Host: evil.test, "),
    ("0\r\n\r\n", "0\r\n"),
    ("0\r\n\r\n", "00\r\n\r\n"),
    ("200", "101"),
    ("200", "100"),
    ("200", "304"),
    ("200", "204"),
    ("200", "206"),
];

/// Lines that somebody might add.
const LINES: &[&str] = &[
    "Content-Length: 0",
    "Content-Length: 3",
    "Content-Length: 500",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Connection: content-length, transfer-encoding, host",
    "Connection: close",
    "Connection: upgrade",
    "Upgrade: websocket",
    "Host: evil.test",
    "Expect: wonders",
    "Range: bytes=0-1",
    "If-None-Match: \"1\"",
    " folded: x",
    "X-Original-URL: /smuggled",
    "X-HTTP-Method-Override: DELETE",
];

/// Chance that repeats itself (xorshift64*, Vigna 2016).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from((self.next() >> 33) % (bound.max(1) as u64)).unwrap_or(0)
    }

    fn one_of<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Something that nobody guesses.
    pub(crate) fn token(&mut self) -> String {
        format!("{MARK}{:016x}{:016x}", self.next(), self.next())
    }

    /// A well-formed request for a path with the token. Its content, if any, looks like another request.
    pub(crate) fn request(&mut self, address: SocketAddr, origin: SocketAddr, token: &str) -> Vec<u8> {
        let inner = format!("GET http://{origin}/smuggled/{token} HTTP/1.1\r\nHost: {origin}\r\n\r\n");
        let (length, size) = (inner.len(), inner.len());
        let field = self.one_of(&[
            "Accept: */*",
            "User-Agent: curl",
            "Accept-Encoding: gzip, br",
            "Cookie: a=b",
            "X-Any: thing",
        ]);
        let proxied = |method: &str| {
            format!("{method} http://{origin}/{token} HTTP/1.1\r\nHost: {origin}\r\n{field}\r\n")
        };
        match self.below(10) {
            0..=2 => proxied("GET") + "\r\n",
            3 => format!("GET /http://{origin}/{token} HTTP/1.1\r\nHost: {address}\r\n{field}\r\n\r\n"),
            4 => proxied("HEAD") + "\r\n",
            5 => proxied("GET") + &format!("Content-Length: {length}\r\n\r\n{inner}"),
            6 => proxied("POST") + &format!("Content-Length: {length}\r\n\r\n{inner}"),
            7 => proxied("PUT") + &format!("Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{inner}\r\n0\r\n\r\n"),
            8 => proxied("POST") + &format!("Transfer-Encoding: chunked\r\n\r\n{size:x};a=b\r\n{inner}\r\n0\r\nX-Trailer: {token}\r\n\r\n"),
            _ => proxied("DELETE") + "Connection: keep-alive, x-any\r\n\r\n",
        }
        .into_bytes()
    }

    /// Makes one thing wrong, or different.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        match self.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            1 if !bytes.is_empty() => {
                bytes.remove(at);
            }
            2 => bytes.insert(at, NASTY[self.below(NASTY.len())]),
            3 => self.repeat_a_line(bytes),
            4 => self.add_a_line(bytes),
            5 => bytes.truncate(at.max(1)),
            _ => self.swap(bytes),
        }
    }

    fn swap(&mut self, bytes: &mut Vec<u8>) {
        let (from, to) = SWAPS[self.below(SWAPS.len())];
        let places: Vec<_> = bytes
            .windows(from.len())
            .enumerate()
            .filter(|(_, found)| *found == from.as_bytes())
            .map(|(at, _)| at)
            .collect();
        if places.is_empty() {
            return;
        }
        let at = places[self.below(places.len())];
        bytes.splice(at..at + from.len(), to.bytes());
    }

    fn repeat_a_line(&mut self, bytes: &mut Vec<u8>) {
        let starts = line_starts(bytes);
        let start = starts[self.below(starts.len())];
        let end =
            bytes[start..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| start + end + 1);
        let line = bytes[start..end].to_vec();
        let at = starts[self.below(starts.len())];
        bytes.splice(at..at, line);
    }

    fn add_a_line(&mut self, bytes: &mut Vec<u8>) {
        let starts = line_starts(bytes);
        let at = starts[self.below(starts.len().min(5))];
        let line = format!("{}\r\n", self.one_of(LINES));
        bytes.splice(at..at, line.bytes());
    }
}

fn line_starts(bytes: &[u8]) -> Vec<usize> {
    let behind = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(behind).collect()
}

/// The tokens that stand in a text.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(MARK).filter_map(|(at, _)| text.get(at..at + MARK.len() + TOKEN_CHARS))
}
