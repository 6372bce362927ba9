//! A load generator: connections that are kept alive ask again and again for one thing, and drop what they get.
//!
//! One thread, so that on two cores one is left to whoever serves. All connections read into the same buffer, which
//! stays in the processor's cache: what is measured is the server, as far as one machine can tell the two apart.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

/// As large as what servers write at once at most.
const BUFFER_BYTES: usize = 256 * 1024;

/// Connections from one address of loopback: half of what a small box takes from one client.
const CONNECTIONS_AN_ADDRESS: usize = 16;

/// A target, asked for over that many connections for that long.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) target: String,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
}

/// What came.
pub(crate) struct Drawn {
    /// Of content.
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

/// Draws until the time is over. An answer that is not 200 with a `Content-Length` is an error.
pub(crate) fn draw(load: &Load) -> Result<Drawn> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, draw_all(load))
}

async fn draw_all(load: &Load) -> Result<Drawn> {
    let mut streams = Vec::new();
    for index in 0..load.connections {
        streams.push(connect(load.address, index).await?);
    }
    let shared = Rc::new(Shared {
        request: format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", load.target, load.address),
        buffer: RefCell::new(vec![0; BUFFER_BYTES]),
        bytes: Cell::new(0),
    });
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for stream in streams {
        clients.spawn_local(draw_one(stream, Rc::clone(&shared)));
    }
    tokio::select! {
        () = tokio::time::sleep_until(began + load.duration) => {}
        Some(ended) = clients.join_next() => ended?.with_context(|| load.target.clone())?,
    }
    Ok(Drawn { bytes: shared.bytes.get(), took: began.elapsed() })
}

struct Shared {
    request: String,
    buffer: RefCell<Vec<u8>>,
    bytes: Cell<u64>,
}

async fn connect(address: SocketAddr, index: usize) -> Result<TcpStream> {
    let number = u8::try_from(index / CONNECTIONS_AN_ADDRESS + 1)?;
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, number)), 0))?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn draw_one(stream: TcpStream, shared: Rc<Shared>) -> Result<()> {
    loop {
        send(&stream, shared.request.as_bytes()).await?;
        let mut left = receive_head(&stream, &shared).await?;
        while left > 0 {
            let count = receive(&stream, &shared, |_| ()).await?;
            left = left.checked_sub(count).context("more came than was announced")?;
            shared.bytes.set(shared.bytes.get() + count);
        }
    }
}

async fn send(stream: &TcpStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Bytes of content still to come; those that came with the head are counted.
async fn receive_head(stream: &TcpStream, shared: &Shared) -> Result<u64> {
    let mut head = Vec::new();
    loop {
        receive(stream, shared, |bytes| head.extend_from_slice(bytes)).await?;
        let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let length = content_length(std::str::from_utf8(&head[..end])?)?;
        let here = (head.len() - end - 4) as u64;
        shared.bytes.set(shared.bytes.get() + here);
        return length.checked_sub(here).context("more came than was announced");
    }
}

async fn receive(stream: &TcpStream, shared: &Shared, each: impl FnOnce(&[u8])) -> Result<u64> {
    loop {
        stream.readable().await?;
        let mut buffer = shared.buffer.borrow_mut();
        match stream.try_read(&mut buffer) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => {
                each(&buffer[..count]);
                return Ok(count as u64);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn content_length(head: &str) -> Result<u64> {
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = lengths.next().with_context(|| format!("no length: {head}"))?;
    Ok(length.trim().parse()?)
}
