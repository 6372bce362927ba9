//! A scripted origin: an HTTP/1.1 server written by hand, so that it can count honestly and be wrong on purpose.
//!
//! Its send buffer is small, so that what it counts as sent was taken by the other side, give or take a buffer. A
//! thread a connection; all are joined when it stops.

use std::collections::HashMap;
use std::io::{BufReader, Read, Result, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::body::Body;
use crate::head::Head;
use crate::place::Place;
use crate::resource::{Resource, UnderWay};

/// `SO_SNDBUF`; the kernel doubles it.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Content is written in pieces of so much.
const PIECE_BYTES: u64 = 16 * 1024;

/// What a sleep that took too long may be made up for: else a high rate would never be reached.
const CATCH_UP: Duration = Duration::from_millis(20);

/// A request that the origin saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which connection, from 0.
    pub connection: u64,
    /// When its head was complete.
    pub at: Instant,
    /// From where.
    pub from: SocketAddr,
    /// As it came.
    pub head: Head,
    /// When the first byte of content was sent.
    pub first_byte_at: Option<Instant>,
    /// Bytes of content that were sent in answer.
    pub sent: u64,
    /// Status of the answer.
    pub status: u16,
}

impl Seen {
    /// The path that was asked for.
    pub fn path(&self) -> &str {
        self.head.word(1)
    }
}

/// An origin that is not started yet.
#[derive(Debug)]
pub struct Script {
    resources: HashMap<String, Resource>,
    place: Place,
    host: SocketAddr,
    rate: Option<u64>,
}

impl Script {
    /// Serves one more file.
    pub fn and(mut self, path: &str, resource: Resource) -> Self {
        self.resources.insert(format!("/{path}"), resource);
        self
    }

    /// Sends at most so many bytes a second, over all its connections.
    pub fn slow(mut self, bytes_per_second: u64) -> Self {
        self.rate = Some(bytes_per_second);
        self
    }

    /// Stands in a namespace, at that address.
    pub fn at(mut self, place: &Place, host: SocketAddr) -> Self {
        self.place = place.clone();
        self.host = host;
        self
    }

    /// Listens.
    pub fn start(self) -> Result<Origin> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                resources: self.resources,
                seen: Vec::new(),
                open: HashMap::new(),
                sent: HashMap::new(),
                budget: Budget { rate: self.rate, spent_until: Instant::now() },
                is_silent: false,
            }),
            changed: Condvar::new(),
            connections: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        });
        let mut origin = Origin { shared, place: self.place, address: self.host, listener: None };
        origin.start()?;
        Ok(origin)
    }
}

/// A running origin. Stops when dropped.
#[derive(Debug)]
pub struct Origin {
    shared: Arc<Shared>,
    place: Place,
    address: SocketAddr,
    listener: Option<(TcpListener, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something was seen or sent.
    changed: Condvar,
    connections: AtomicU64,
    stopping: AtomicBool,
}

#[derive(Debug)]
struct State {
    resources: HashMap<String, Resource>,
    seen: Vec<Seen>,
    open: HashMap<u64, TcpStream>,
    /// Bytes of content sent a path, since the last change of it.
    sent: HashMap<String, u64>,
    budget: Budget,
    /// No content goes out.
    is_silent: bool,
}

/// Paces all connections together: when the bytes promised so far will have been sent.
#[derive(Debug)]
struct Budget {
    rate: Option<u64>,
    spent_until: Instant,
}

impl Origin {
    /// A script with one file: a strong `ETag`, fresh for an hour, ranges.
    pub fn serving(path: &str, body: &Body) -> Script {
        Self::empty().and(path, Resource::of(body.clone()))
    }

    /// A script without files.
    pub fn empty() -> Script {
        let host = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Script { resources: HashMap::new(), place: Place::Here, host, rate: None }
    }

    /// Listens again at the same address after a stop.
    pub fn start(&mut self) -> Result<()> {
        let listener = self.place.listen(self.address)?;
        self.address = listener.local_addr()?;
        SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER_BYTES)?;
        self.shared.stopping.store(false, Ordering::SeqCst);
        let (ours, shared) = (listener.try_clone()?, Arc::clone(&self.shared));
        let thread = std::thread::spawn(move || accept(&ours, &shared));
        self.listener = Some((listener, thread));
        Ok(())
    }

    /// Closes the listener and breaks every connection off.
    pub fn stop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let Some((listener, thread)) = self.listener.take() else { return };
        let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
        self.shared.changed.notify_all();
        self.break_off();
        drop(listener);
        let _ = thread.join();
    }

    /// Breaks the connections off that are open now; new ones are welcome.
    pub fn break_off(&self) {
        for stream in self.shared.lock().open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The URL of a file.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves something else under a path.
    pub fn change(&self, path: &str, resource: Resource) {
        self.shared.lock().resources.insert(format!("/{path}"), resource);
    }

    /// Sends at another rate from now on, in bytes a second.
    pub fn set_rate(&self, rate: Option<u64>) {
        self.shared.lock().budget = Budget { rate, spent_until: Instant::now() };
    }

    /// Sends no content from now on, and closes nothing.
    pub fn fall_silent(&self) {
        self.shared.lock().is_silent = true;
    }

    /// Everything that was asked so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// Bytes of content sent so far, over all answers.
    pub fn sent(&self) -> u64 {
        self.shared.lock().seen.iter().map(|seen| seen.sent).sum()
    }

    /// Bytes of content that were sent for one path.
    pub fn sent_for(&self, path: &str) -> u64 {
        let path = format!("/{path}");
        self.shared.lock().seen.iter().filter(|seen| seen.path() == path).map(|seen| seen.sent).sum()
    }

    /// What one box asked, told by its address.
    pub fn requests_from(&self, address: IpAddr) -> Vec<Seen> {
        self.requests().into_iter().filter(|seen| seen.from.ip() == address).collect()
    }

    /// Connections made so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many bytes of content were sent.
    pub fn wait_sent(&self, bytes: u64, limit: Duration) -> anyhow::Result<()> {
        self.wait("bytes sent by the origin", limit, |state| {
            state.seen.iter().map(|s| s.sent).sum::<u64>() >= bytes
        })
    }

    /// Waits until so many requests were seen.
    pub fn wait_requests(&self, count: usize, limit: Duration) -> anyhow::Result<()> {
        self.wait("requests at the origin", limit, |state| state.seen.len() >= count)
    }

    fn wait(&self, what: &str, limit: Duration, enough: impl Fn(&State) -> bool) -> anyhow::Result<()> {
        let state = self.shared.lock();
        let (_state, result) = self
            .shared
            .changed
            .wait_timeout_while(state, limit, |state| !enough(state))
            .expect("no thread of the origin panics");
        anyhow::ensure!(!result.timed_out(), "{what}: not enough within {limit:?}");
        Ok(())
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the origin panics")
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while let Ok((stream, from)) = listener.accept() {
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
        let Ok(handle) = stream.try_clone() else { continue };
        shared.lock().open.insert(connection, handle);
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || {
            let _ = Exchange { shared: &shared, connection, from }.serve(&stream);
            let _ = stream.shutdown(Shutdown::Both);
            shared.lock().open.remove(&connection);
        }));
    }
    for stream in shared.lock().open.values() {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// One connection.
struct Exchange<'a> {
    shared: &'a Shared,
    connection: u64,
    from: SocketAddr,
}

/// What one answer will be.
struct Reply {
    status: u16,
    reason: &'static str,
    range: Range<u64>,
    with_content: bool,
}

/// Whether the connection can carry another exchange.
#[derive(PartialEq, Eq)]
enum After {
    KeepAlive,
    Close,
}

impl Exchange<'_> {
    fn serve(&self, stream: &TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut source = BufReader::new(stream);
        while let Some(head) = Head::read(&mut source)? {
            // Nobody sends content to an origin through Kith's gateway, but a proxy may pass some on.
            let length = head.field("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            std::io::copy(&mut source.by_ref().take(length), &mut std::io::sink())?;
            let index = self.note(&head);
            if self.answer(stream, &head, index)? == After::Close {
                break;
            }
        }
        Ok(())
    }

    fn note(&self, head: &Head) -> usize {
        let mut state = self.shared.lock();
        state.seen.push(Seen {
            connection: self.connection,
            at: Instant::now(),
            from: self.from,
            head: head.clone(),
            first_byte_at: None,
            sent: 0,
            status: 0,
        });
        self.shared.changed.notify_all();
        state.seen.len() - 1
    }

    fn answer(&self, stream: &TcpStream, head: &Head, index: usize) -> Result<After> {
        let path = head.word(1).to_owned();
        let found = self.shared.lock().resources.get(&path).cloned();
        let resource = found.unwrap_or_else(|| Resource::refusal(404, "Not Found"));
        if !resource.delay.is_zero() {
            // The delay is what is scripted here; nothing waits for it to have passed.
            std::thread::sleep(resource.delay);
        }
        let reply = reply(&resource, head);
        self.shared.lock().seen[index].status = reply.status;
        let mut writer = stream;
        writer.write_all(response_head(&resource, &reply).as_bytes())?;
        if !reply.with_content {
            return Ok(After::KeepAlive);
        }
        self.content(stream, &resource, &reply, (&path, index))
    }

    fn content(
        &self,
        mut stream: &TcpStream,
        resource: &Resource,
        reply: &Reply,
        (path, index): (&str, usize),
    ) -> Result<After> {
        let end = reply.range.end;
        let stop = resource.breaks_after.map_or(end, |most| end.min(reply.range.start.saturating_add(most)));
        let mut buffer = vec![0; usize::try_from(PIECE_BYTES).expect("small")];
        let mut offset = reply.range.start;
        while offset < stop {
            let count = PIECE_BYTES.min(stop - offset);
            let piece = &mut buffer[..usize::try_from(count).expect("small")];
            resource.body.fill(offset, piece);
            self.pace(count);
            if resource.chunked {
                stream.write_all(format!("{count:x}\r\n").as_bytes())?;
            }
            stream.write_all(piece)?;
            if resource.chunked {
                stream.write_all(b"\r\n")?;
            }
            offset += count;
            if self.sent(path, index, count, resource) == UnderWay::BreakOff {
                return Ok(After::Close);
            }
        }
        if stop < end {
            return Ok(After::Close);
        }
        if resource.chunked {
            stream.write_all(b"0\r\n\r\n")?;
        }
        Ok(After::KeepAlive)
    }

    /// Counts, and lets the resource turn when it is time.
    fn sent(&self, path: &str, index: usize, count: u64, resource: &Resource) -> UnderWay {
        let mut state = self.shared.lock();
        let seen = &mut state.seen[index];
        seen.sent += count;
        seen.first_byte_at.get_or_insert_with(Instant::now);
        let sent = state.sent.entry(path.to_owned()).or_default();
        *sent += count;
        let sent = *sent;
        self.shared.changed.notify_all();
        let Some(turn) = resource.turn.as_ref().filter(|turn| sent >= turn.after) else {
            return UnderWay::GoOn;
        };
        let served = state.resources.get(path).and_then(|served| served.etag.clone());
        if served == resource.etag {
            state.resources.insert(path.to_owned(), turn.to.clone());
        }
        turn.under_way
    }

    fn pace(&self, count: u64) {
        let wait = {
            let is_held = |state: &mut State| state.is_silent && !self.shared.stopping.load(Ordering::SeqCst);
            let state = self.shared.changed.wait_while(self.shared.lock(), is_held);
            let mut state = state.expect("no thread of the origin panics");
            let Some(rate) = state.budget.rate else { return };
            let now = Instant::now();
            let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
            let due = state.budget.spent_until.max(earliest);
            state.budget.spent_until = due + Duration::from_nanos(count * 1_000_000_000 / rate);
            due.saturating_duration_since(now)
        };
        // Pacing is what is scripted here.
        std::thread::sleep(wait);
    }
}

/// RFC 9110 sections 13 and 14, as far as tests need them.
fn reply(resource: &Resource, head: &Head) -> Reply {
    let length = resource.body.length();
    let with_content = head.word(0) != "HEAD";
    let whole = |status, reason, with_content| Reply { status, reason, range: 0..length, with_content };
    if let Some((status, reason)) = resource.status {
        return whole(status, reason, with_content);
    }
    if is_unchanged(resource, head) {
        return whole(304, "Not Modified", false);
    }
    let bound = head.field("if-range").is_none_or(|validator| {
        resource.etag.as_deref() == Some(validator) || resource.last_modified.as_deref() == Some(validator)
    });
    let range = head.field("range").filter(|_| resource.ranges && bound).and_then(|text| range(text, length));
    match range {
        Some(range) if range.is_empty() => {
            Reply { status: 416, reason: "Range Not Satisfiable", range: 0..0, with_content: false }
        }
        Some(range) => Reply { status: 206, reason: "Partial Content", range, with_content },
        None => whole(200, "OK", with_content),
    }
}

fn is_unchanged(resource: &Resource, head: &Head) -> bool {
    match head.field("if-none-match") {
        Some(tags) => {
            resource.etag.as_ref().is_some_and(|etag| tags.split(',').any(|tag| tag.trim() == etag))
        }
        None => {
            resource.last_modified.is_some()
                && head.field("if-modified-since") == resource.last_modified.as_deref()
        }
    }
}

/// One range; empty when it cannot be satisfied; `None` for what may be ignored.
fn range(text: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first, last) {
        ("", last) => length.saturating_sub(last.parse().ok()?)..length,
        (first, "") => first.parse().ok()?..length,
        (first, last) => first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?.min(length),
    };
    Some(if range.start < length { range } else { 0..0 })
}

fn response_head(resource: &Resource, reply: &Reply) -> String {
    let Reply { status, reason, range, .. } = reply;
    let mut text = format!(
        "HTTP/1.1 {status} {reason}\r\nDate: {}\r\n",
        httpdate::fmt_http_date(std::time::SystemTime::now())
    );
    let mut field = |name: &str, value: &str| text.extend([name, ": ", value, "\r\n"]);
    for (name, value) in &resource.fields {
        field(name, value);
    }
    if let Some(etag) = &resource.etag {
        field("ETag", etag);
    }
    if let Some(date) = &resource.last_modified {
        field("Last-Modified", date);
    }
    if resource.ranges {
        field("Accept-Ranges", "bytes");
    }
    match status {
        206 => field(
            "Content-Range",
            &format!("bytes {}-{}/{}", range.start, range.end - 1, resource.body.length()),
        ),
        416 => field("Content-Range", &format!("bytes */{}", resource.body.length())),
        _ => {}
    }
    match status {
        304 => {}
        _ if resource.chunked => field("Transfer-Encoding", "chunked"),
        _ => field("Content-Length", &(range.end - range.start).to_string()),
    }
    text + "\r\n"
}
