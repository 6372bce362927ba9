//! An origin that says exactly the bytes it is told to, and keeps what it was asked to the byte.
//!
//! Where [`crate::origin::Origin`] is a server that may be slow or change its mind, this one is whatever a test makes
//! of it: each request is shown to a closure when its head is there and when its content is, and what the closure
//! returns goes out as it is. A thread a connection; all are joined when it stops.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

use crate::head::{Head, line};

/// Content that is read of one request, in bytes.
const CONTENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A request, as far as it came.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Which connection, from 0.
    pub connection: u64,
    /// Request line and fields.
    pub head: Head,
    /// Content without its framing.
    pub content: Vec<u8>,
    /// Whether all of the content came.
    pub whole: bool,
}

impl Asked {
    /// The method.
    pub fn method(&self) -> &str {
        self.head.word(0)
    }

    /// The path and query.
    pub fn path(&self) -> &str {
        self.head.word(1)
    }
}

/// When a request is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Its head is there, and it has content.
    Head,
    /// All of it is there.
    Whole,
}

/// What is said to it.
#[derive(Clone, Debug)]
pub struct Said {
    /// As they go out.
    pub bytes: Vec<u8>,
    /// What comes after.
    pub then: Then,
}

/// What comes after something was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next request; after [`Moment::Head`], the content.
    GoOn,
    /// The end of the connection.
    Close,
    /// Its end by a reset.
    Reset,
    /// Nothing, and nothing is read, until the origin stops or lets go.
    Hold,
    /// Everything that comes goes back.
    Echo,
}

impl Said {
    /// Bytes, then the next request.
    pub fn and_go_on(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), then: Then::GoOn }
    }

    /// Bytes, then the end.
    pub fn and_close(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), then: Then::Close }
    }

    /// Bytes, then something else.
    pub fn then(bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        Self { bytes: bytes.into(), then }
    }

    /// A plain 200 that may be stored for an hour.
    pub fn file(content: &[u8]) -> Self {
        let head = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nETag: \"1\"\r\nContent-Length: {}\r\n\r\n",
            content.len()
        );
        Self::and_go_on([head.as_bytes(), content].concat())
    }
}

type Script = dyn Fn(&Asked, Moment) -> Option<Said> + Send + Sync;

/// A running origin. Stops when dropped.
pub struct Wire {
    shared: Arc<Shared>,
    address: SocketAddr,
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    open: Mutex<HashMap<u64, TcpStream>>,
    changed: Condvar,
    held: (Mutex<bool>, Condvar),
    connections: AtomicU64,
    stopping: AtomicBool,
}

impl Wire {
    /// Says what `script` returns: at [`Moment::Head`] nothing means to read on, at [`Moment::Whole`] it means to
    /// close.
    pub fn start(script: impl Fn(&Asked, Moment) -> Option<Said> + Send + Sync + 'static) -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    /// The same at an address.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(&Asked, Moment) -> Option<Said> + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            script: Box::new(script),
            asked: Mutex::default(),
            open: Mutex::default(),
            changed: Condvar::new(),
            held: Default::default(),
            connections: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        });
        let (ours, theirs) = (listener.try_clone()?, Arc::clone(&shared));
        let thread = Some(std::thread::spawn(move || accept(&ours, &theirs)));
        Ok(Self { shared, address, listener, thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Everything that was asked so far, also what broke off.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    /// Connections made so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Lets those that hold go on to their end.
    pub fn let_go(&self) {
        *lock(&self.shared.held.0) = true;
        self.shared.held.1.notify_all();
    }

    /// Waits until enough was asked, and returns it.
    pub fn wait(&self, what: &str, enough: impl Fn(&[Asked]) -> bool) -> anyhow::Result<Vec<Asked>> {
        let limit = Duration::from_secs(20);
        let asked = lock(&self.shared.asked);
        let waited = self.shared.changed.wait_timeout_while(asked, limit, |asked| !enough(asked));
        let (asked, result) = waited.expect("no thread of the origin panics");
        anyhow::ensure!(!result.timed_out(), "{what}: not within {limit:?}: {:?}", *asked);
        Ok(asked.clone())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.let_go();
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        for stream in lock(&self.shared.open).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread of the origin panics")
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
        let Ok(handle) = stream.try_clone() else { continue };
        lock(&shared.open).insert(connection, handle);
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || {
            // A reset is what closing does when it was asked for; every other end is an orderly one.
            if shared.serve(connection, &stream).ok() != Some(After::Reset) {
                let _ = stream.shutdown(Shutdown::Both);
            }
            lock(&shared.open).remove(&connection);
        }));
    }
    for stream in lock(&shared.open).values() {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

impl Shared {
    fn serve(&self, connection: u64, stream: &TcpStream) -> Result<After> {
        stream.set_nodelay(true)?;
        let mut source = BufReader::new(stream);
        while let Some(head) = Head::read(&mut source)? {
            let mut asked = Asked { connection, head, ..Asked::default() };
            if has_content(&asked.head) {
                let early = (self.script)(&asked, Moment::Head);
                if let Some(early) = early {
                    let after = self.say(&early, stream, &mut source, &asked)?;
                    if after != After::More {
                        return Ok(after);
                    }
                }
            }
            let read = content(&mut source, &mut asked);
            asked.whole = read.is_ok();
            self.note(asked.clone());
            read?;
            let Some(said) = (self.script)(&asked, Moment::Whole) else { return Ok(After::End) };
            let after = self.say(&said, stream, &mut source, &asked)?;
            if after != After::More {
                return Ok(after);
            }
        }
        Ok(After::End)
    }

    fn note(&self, asked: Asked) {
        lock(&self.asked).push(asked);
        self.changed.notify_all();
    }

    fn say(
        &self,
        said: &Said,
        mut stream: &TcpStream,
        source: &mut BufReader<&TcpStream>,
        asked: &Asked,
    ) -> Result<After> {
        // Noted first: who has read the answer may ask for this at once.
        if said.then == Then::Hold && !asked.whole {
            self.note(asked.clone());
        }
        stream.write_all(&said.bytes)?;
        match said.then {
            Then::GoOn => return Ok(After::More),
            Then::Close => {}
            Then::Reset => {
                SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
                return Ok(After::Reset);
            }
            Then::Hold => {
                let held = lock(&self.held.0);
                drop(self.held.1.wait_while(held, |gone| !*gone).expect("no thread of the origin panics"));
            }
            Then::Echo => {
                let mut buffer = [0; 4096];
                loop {
                    let count = source.read(&mut buffer)?;
                    if count == 0 {
                        break;
                    }
                    stream.write_all(&buffer[..count])?;
                }
            }
        }
        Ok(After::End)
    }
}

#[derive(PartialEq, Eq)]
enum After {
    More,
    End,
    Reset,
}

fn has_content(head: &Head) -> bool {
    head.field("transfer-encoding").is_some()
        || head.field("content-length").is_some_and(|length| length != "0")
}

fn content(source: &mut BufReader<&TcpStream>, asked: &mut Asked) -> Result<()> {
    if asked.head.field("transfer-encoding").is_some() {
        return chunks(source, asked);
    }
    let length = asked.head.field("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    take(source, length, asked)
}

fn chunks(source: &mut BufReader<&TcpStream>, asked: &mut Asked) -> Result<()> {
    let ended = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    loop {
        let size = line(source)?.ok_or_else(ended)?;
        let size = u64::from_str_radix(&size, 16).map_err(std::io::Error::other)?;
        if size == 0 {
            while !line(source)?.ok_or_else(ended)?.is_empty() {}
            return Ok(());
        }
        take(source, size, asked)?;
        line(source)?.ok_or_else(ended)?;
    }
}

fn take(source: &mut BufReader<&TcpStream>, count: u64, asked: &mut Asked) -> Result<()> {
    let mut left = usize::try_from(count).unwrap_or(usize::MAX);
    while left > 0 {
        let available = source.fill_buf()?;
        let count = available.len().min(left);
        if count == 0 || asked.content.len() + count > CONTENT_BYTES_MAX {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        asked.content.extend_from_slice(&available[..count]);
        source.consume(count);
        left -= count;
    }
    Ok(())
}
