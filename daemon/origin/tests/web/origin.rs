//! An origin that speaks raw bytes by script, and what every test says to the room.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use kith_fetch::ask::{Answer, AskError, Origin as _, Part, Question, Redirects, Verb};
use kith_fetch::source::SourceError;
use kith_model::key::Target;
use kith_origin::web::{Config, Web};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What the origin does after a request.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends these bytes.
    Say(Vec<u8>),
    /// Sends this many bytes of the sample, from an offset.
    Pour(u64, u64),
    /// Sends nothing until the test says so.
    Await(Arc<Notify>),
    /// Sends nothing and keeps the connection open.
    Hang,
    /// Closes the connection.
    Close,
}

pub(crate) fn say(text: impl Into<Vec<u8>>) -> Vec<Step> {
    vec![Step::Say(text.into())]
}

/// Says `text` and closes.
pub(crate) fn last_words(text: impl Into<Vec<u8>>) -> Vec<Step> {
    vec![Step::Say(text.into()), Step::Close]
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
}

impl Seen {
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// `Range: bytes=a-b` as a half-open range of an object of `length` bytes.
    pub(crate) fn range(&self, length: u64) -> Option<(u64, u64)> {
        let (first, last) = self.field("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let end = last.parse().map_or(length, |last: u64| (last + 1).min(length));
        Some((first.parse().ok()?, end))
    }
}

type Script = Arc<dyn Fn(&Seen) -> Vec<Step> + Send + Sync>;

#[derive(Default)]
struct Records {
    seen: Mutex<Vec<Seen>>,
    asked: Notify,
    connections: AtomicUsize,
    sent: AtomicU64,
    closed: tokio::sync::Notify,
}

/// A listening origin; gone when dropped.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    records: Arc<Records>,
    _tasks: JoinSet<()>,
}

impl Origin {
    pub(crate) fn start(script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", script)
    }

    /// Gives the same answer to everything.
    pub(crate) fn always(steps: Vec<Step>) -> Self {
        Self::start(move |_| steps.clone())
    }

    /// Gives one answer after the other.
    pub(crate) fn in_turn(steps: Vec<Vec<Step>>) -> Self {
        let steps = Mutex::new(VecDeque::from(steps));
        Self::start(move |_| steps.lock().expect("no panic").pop_front().unwrap_or(vec![Step::Close]))
    }

    pub(crate) fn start_at(
        address: &str,
        script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        // A small send buffer: what is counted as sent is on its way, and not waiting in the origin's own kernel.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_send_buffer_size(32 * 1024).expect("set");
        socket.bind(address.parse().expect(address)).expect("bound");
        let listener = socket.listen(64).expect("listening");
        let address = listener.local_addr().expect("bound");
        let records = Arc::new(Records::default());
        let script: Script = Arc::new(script);
        let mut tasks = JoinSet::new();
        let accepting = records.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepting.connections.fetch_add(1, Ordering::Relaxed);
                let (script, records) = (script.clone(), accepting.clone());
                connections.spawn(async move {
                    speak(stream, &script, &records).await;
                    records.closed.notify_one();
                });
            }
        });
        Self { address, records, _tasks: tasks }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.records.seen.lock().expect("no panic").clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.records.connections.load(Ordering::Relaxed)
    }

    /// Bytes that the kernel took from it.
    pub(crate) fn sent(&self) -> u64 {
        self.records.sent.load(Ordering::Relaxed)
    }

    /// Waits until there was a request.
    pub(crate) async fn asked(&self) {
        self.records.asked.notified().await;
    }

    /// Waits until a connection has come to its end.
    pub(crate) async fn closed(&self) {
        self.records.closed.notified().await;
    }
}

async fn speak(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: &Script, records: &Records) {
    while let Some(seen) = read_head(&mut stream).await {
        records.seen.lock().expect("no panic").push(seen.clone());
        records.asked.notify_one();
        for step in script(&seen) {
            let done = match step {
                Step::Say(bytes) => stream.write_all(&bytes).await.is_ok(),
                Step::Pour(from, count) => pour(&mut stream, from, count, records).await,
                Step::Await(signal) => {
                    signal.notified().await;
                    true
                }
                Step::Hang => stream.read_u8().await.is_ok(),
                Step::Close => false,
            };
            if !done {
                return;
            }
        }
    }
}

async fn pour(stream: &mut (impl AsyncWrite + Unpin), from: u64, count: u64, records: &Records) -> bool {
    let mut at = from;
    while at < from + count {
        let piece = sample(at, (from + count - at).min(16 * 1024));
        if stream.write_all(&piece).await.is_err() {
            return false;
        }
        at += piece.len() as u64;
        records.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    true
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(Seen { head: String::from_utf8(head).expect("text") })
}

/// Bytes that tell where they belong.
pub(crate) fn sample(from: u64, count: u64) -> Vec<u8> {
    (from..from + count).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

/// A room that may fetch from `127.0.0.1`.
pub(crate) fn room() -> Web {
    room_with(Config::default())
}

pub(crate) fn room_with(config: Config) -> Web {
    let allow_private = vec!["127.0.0.1/32".parse().expect("a network")];
    Web::new(Config { allow_private, ..config }).expect("set up")
}

pub(crate) fn question(url: &str) -> Question {
    Question {
        verb: Verb::Get,
        target: Target::parse(url).expect(url),
        headers: HeaderMap::new(),
        part: None,
        redirects: Redirects::Follow,
    }
}

pub(crate) fn part_question(url: &str, part: Part) -> Question {
    Question { part: Some(part), ..question(url) }
}

pub(crate) async fn get(web: &Web, url: &str) -> Result<Answer, AskError> {
    web.ask(question(url)).await
}

/// All that comes, and how it ends.
pub(crate) async fn read(mut answer: Answer) -> (Vec<u8>, Result<(), SourceError>) {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.body.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) => return (bytes, Err(error)),
        }
    }
    (bytes, Ok(()))
}

pub(crate) async fn read_some(answer: &mut Answer, count: usize) -> Vec<Bytes> {
    let mut pieces: Vec<Bytes> = Vec::new();
    while pieces.iter().map(Bytes::len).sum::<usize>() < count {
        pieces.push(answer.body.next().await.expect("more to come").expect("no error"));
    }
    pieces
}
