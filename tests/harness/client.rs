//! A client on a raw socket: says what it is told, reads what comes, and notes when and whether it was all.

use std::io::{BufReader, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ring::digest;
use socket2::SockRef;

use crate::body::{Body, hex};
use crate::head::{Head, line};
use crate::kith::Kith;
use crate::place::Place;

/// Silence for so long means that something hangs.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Content is read in pieces of so much.
const PIECE_BYTES: usize = 64 * 1024;

/// A request for one file through a box. Built by chaining.
#[derive(Clone, Debug)]
pub struct Request {
    address: SocketAddr,
    place: Place,
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    /// `SO_RCVBUF` for clients that are slow on purpose.
    receive_buffer_bytes: Option<usize>,
}

impl Request {
    /// As a URL with the box's address before it: `GET /http://host/path`.
    pub fn by_prefix(kith: &Kith, url: &str) -> Self {
        Self::to(kith.clients(), &format!("/{url}"))
    }

    /// As to a forward proxy: `GET http://host/path`.
    pub fn by_proxy(kith: &Kith, url: &str) -> Self {
        let host = url.split('/').nth(2).unwrap_or_default();
        Self::to(kith.clients(), url).without("Host").field("Host", host)
    }

    /// For a path of the box itself.
    pub fn own(kith: &Kith, path: &str) -> Self {
        Self::to(kith.clients(), path)
    }

    /// To any server.
    pub fn to(address: SocketAddr, target: &str) -> Self {
        Self {
            address,
            place: Place::Here,
            method: "GET".into(),
            target: target.into(),
            fields: vec![("Host".into(), address.to_string())],
            receive_buffer_bytes: None,
        }
    }

    /// From another network.
    pub fn from(mut self, place: &Place) -> Self {
        self.place = place.clone();
        self
    }

    /// With another method.
    pub fn method(mut self, method: &str) -> Self {
        self.method = method.into();
        self
    }

    /// With one more field.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Without a field.
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// With `Range: bytes=...`.
    pub fn range(self, range: &str) -> Self {
        self.field("Range", &format!("bytes={range}"))
    }

    /// With a small window, so that what is not read stays with the sender.
    pub fn narrow(mut self, receive_buffer_bytes: usize) -> Self {
        self.receive_buffer_bytes = Some(receive_buffer_bytes);
        self
    }

    /// Sends it and reads the head of the answer.
    pub fn send(&self) -> Result<Answer> {
        let stream = self.place.connect(self.address)?;
        if let Some(bytes) = self.receive_buffer_bytes {
            SockRef::from(&stream).set_recv_buffer_size(bytes)?;
        }
        stream.set_read_timeout(Some(SILENCE_LIMIT))?;
        stream.set_nodelay(true)?;
        let sent_at = Instant::now();
        (&stream).write_all(self.text().as_bytes())?;
        Answer::read(stream, sent_at, &self.method)
    }

    /// Sends it and reads the whole answer.
    pub fn fetch(&self) -> Result<Received> {
        self.send()?.receive()
    }

    fn text(&self) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.fields {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text + "Connection: close\r\n\r\n"
    }
}

/// How the end of content is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunks {
        left: u64,
    },
    /// By the end of the connection: cannot be told from a broken one.
    Close,
    Over,
}

/// An answer whose content is still to come.
pub struct Answer {
    /// Status and fields.
    pub head: Head,
    /// When the request was sent.
    pub sent_at: Instant,
    source: BufReader<TcpStream>,
    framing: Framing,
    first_byte_at: Option<Instant>,
    received: u64,
    context: digest::Context,
    buffer: Vec<u8>,
}

/// What came in the end.
#[derive(Clone, Debug)]
pub struct Received {
    /// Status and fields.
    pub head: Head,
    /// Bytes of content.
    pub bytes: u64,
    /// Of the content.
    pub sha256: String,
    /// Whether all that was announced came.
    pub whole: bool,
    /// When the request was sent.
    pub sent_at: Instant,
    /// When the first byte of content came.
    pub first_byte_at: Option<Instant>,
    /// From sending the request to the last byte.
    pub took: Duration,
}

impl Received {
    /// Status of the answer.
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// A field, or the empty string.
    pub fn field(&self, name: &str) -> &str {
        self.head.field(name).unwrap_or("")
    }
}

impl Answer {
    fn read(stream: TcpStream, sent_at: Instant, method: &str) -> Result<Self> {
        let mut source = BufReader::with_capacity(PIECE_BYTES, stream);
        let head = Head::read(&mut source)?.ok_or_else(|| std::io::Error::from(ErrorKind::UnexpectedEof))?;
        let framing = framing(&head, method);
        let context = digest::Context::new(&digest::SHA256);
        Ok(Self {
            head,
            sent_at,
            source,
            framing,
            first_byte_at: None,
            received: 0,
            context,
            buffer: vec![0; PIECE_BYTES],
        })
    }

    /// Status of the answer.
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// Reads until so many bytes of content are there or it ends; says how many there are.
    pub fn read_until(&mut self, bytes: u64) -> Result<u64> {
        while self.received < bytes && self.piece(bytes - self.received)? > 0 {}
        Ok(self.received)
    }

    /// Reads to the end without hashing: says how many bytes came, which must be all.
    pub fn skip_all(&mut self) -> Result<u64> {
        let mut buffer = vec![0; 4 * PIECE_BYTES];
        while self.advance(&mut buffer)? > 0 {}
        Ok(self.received)
    }

    /// Reads to the end and compares with what should come, piece by piece, so that nothing is kept and nothing hashed;
    /// says whether all of that came and nothing else.
    pub fn brings(&mut self, body: &Body) -> Result<bool> {
        let (mut buffer, mut expected) = (vec![0; 4 * PIECE_BYTES], vec![0; 4 * PIECE_BYTES]);
        loop {
            let at = self.received;
            let count = match self.advance(&mut buffer) {
                Ok(0) => return Ok(at == body.length()),
                Ok(count) => count,
                Err(error) if is_break(&error) => return Ok(false),
                Err(error) => return Err(error),
            };
            if self.received > body.length() {
                return Ok(false);
            }
            body.fill(at, &mut expected[..count]);
            if buffer[..count] != expected[..count] {
                return Ok(false);
            }
        }
    }

    /// Reads to the end, however it ends.
    pub fn receive(mut self) -> Result<Received> {
        let whole = loop {
            match self.piece(u64::MAX) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) if is_break(&error) => break false,
                Err(error) => return Err(error),
            }
        };
        Ok(Received {
            bytes: self.received,
            sha256: hex(self.context.finish().as_ref()),
            whole: whole && self.framing == Framing::Over,
            took: self.sent_at.elapsed(),
            head: self.head,
            sent_at: self.sent_at,
            first_byte_at: self.first_byte_at,
        })
    }

    /// Reads to the end and keeps the content as text.
    pub fn text(mut self) -> Result<String> {
        let mut text = Vec::new();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let count = self.next(&mut buffer)?;
            if count == 0 {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            text.extend_from_slice(&buffer[..count]);
        }
    }

    fn piece(&mut self, most: u64) -> Result<usize> {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let mut buffer = std::mem::take(&mut self.buffer);
        let count = self.next(&mut buffer[..most]);
        self.buffer = buffer;
        count
    }

    /// The next bytes of content, hashed; 0 at the end; an error when the end came too early.
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.advance(buffer)?;
        self.context.update(&buffer[..count]);
        Ok(count)
    }

    fn advance(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = match self.framing {
            Framing::Over | Framing::Length(0) => 0,
            Framing::Chunks { left: 0 } => self.chunk()?,
            Framing::Length(left) | Framing::Chunks { left } => left,
            Framing::Close => u64::MAX,
        };
        if most == 0 {
            self.framing = Framing::Over;
            return Ok(0);
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.source.read(&mut buffer[..most])?;
        if count == 0 {
            return if self.framing == Framing::Close { Ok(0) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
        self.took(count)
    }

    fn took(&mut self, count: usize) -> Result<usize> {
        self.first_byte_at.get_or_insert_with(Instant::now);
        self.received += count as u64;
        match &mut self.framing {
            Framing::Length(left) => *left -= count as u64,
            Framing::Chunks { left } => {
                *left -= count as u64;
                if *left == 0 {
                    line(&mut self.source)?;
                }
            }
            Framing::Close | Framing::Over => {}
        }
        Ok(count)
    }

    /// The size of the next chunk; past the last one the trailer is read, too.
    fn chunk(&mut self) -> Result<u64> {
        let text = line(&mut self.source)?.ok_or_else(|| std::io::Error::from(ErrorKind::UnexpectedEof))?;
        let size = text.split(';').next().unwrap_or_default().trim();
        let left = u64::from_str_radix(size, 16)
            .map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))?;
        while left == 0 && line(&mut self.source)?.is_some_and(|text| !text.is_empty()) {}
        self.framing = Framing::Chunks { left };
        Ok(left)
    }
}

fn framing(head: &Head, method: &str) -> Framing {
    let chunked =
        head.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    match (head.status(), head.field("content-length")) {
        (100..=199 | 204 | 304, _) => Framing::Over,
        _ if method == "HEAD" => Framing::Over,
        _ if chunked => Framing::Chunks { left: 0 },
        (_, Some(length)) => Framing::Length(length.parse().unwrap_or(0)),
        (_, None) => Framing::Close,
    }
}

fn is_break(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Sends bytes as they are and reads until the other side closes; says what it said and whether it closed in time.
pub fn raw(address: SocketAddr, bytes: &[u8], patience: Duration) -> Result<(String, Closing)> {
    let mut stream = Place::Here.connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    // A server that refuses early may close before everything is sent; what it said still counts.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    let closing = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break Closing::Closed,
            Ok(count) => said.extend_from_slice(&buffer[..count]),
            Err(error) if is_break(&error) => break Closing::Closed,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break Closing::Open;
            }
            Err(error) => return Err(error),
        }
    };
    Ok((String::from_utf8_lossy(&said).into_owned(), closing))
}

/// What the other side did with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It closed.
    Closed,
    /// It kept it open.
    Open,
}
