//! An origin that answers by script: for each path a list of answers, given in their order, the last one again and
//! again. It notes what it was asked. A thread a connection; all are joined when it stops.

use std::collections::HashMap;
use std::io::{BufReader, Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

use crate::head::Head;

/// How the end of an answer's content shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// By its length.
    #[default]
    Length,
    /// By the last chunk.
    Chunks,
    /// By the end of the connection.
    Close,
}

/// One answer.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Its status; nothing when the connection is closed without a word.
    pub status: Option<u16>,
    /// Fields as sent; the length is added.
    pub fields: Vec<(String, String)>,
    /// Its content.
    pub body: Vec<u8>,
    /// How that ends.
    pub end: End,
}

/// The running origin. Stops when dropped.
#[derive(Debug)]
pub struct Scripted {
    shared: Arc<Shared>,
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    asked: Condvar,
}

#[derive(Debug, Default)]
struct State {
    scripts: HashMap<String, Vec<Line>>,
    asked: HashMap<String, Vec<Head>>,
    open: Vec<TcpStream>,
    stopping: bool,
}

impl Scripted {
    /// Listens on loopback; answers 404 to what it has no script for.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let shared = Arc::new(Shared::default());
        let (ours, theirs) = (listener.try_clone()?, Arc::clone(&shared));
        let thread = Some(std::thread::spawn(move || accept(&ours, &theirs)));
        Ok(Self { shared, listener, thread })
    }

    /// What is answered to requests for a path, by any method.
    pub fn tell(&self, path: &str, answers: Vec<Line>) {
        self.shared.lock().scripts.insert(path.to_owned(), answers);
    }

    /// What it was asked for a path, in order.
    pub fn asked(&self, path: &str) -> Vec<Head> {
        self.shared.lock().asked.get(path).cloned().unwrap_or_default()
    }

    /// Waits until it was asked so often for a path; says whether it was.
    pub fn was_asked(&self, path: &str, count: usize, limit: Duration) -> bool {
        let enough = |state: &mut State| state.asked.get(path).is_none_or(|asked| asked.len() < count);
        let waited = self.shared.asked.wait_timeout_while(self.shared.lock(), limit, enough);
        waited.is_ok_and(|(_, timeout)| !timeout.timed_out())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the origin panics")
    }

    /// Notes the question and finds its answer.
    fn answer(&self, head: &Head) -> Line {
        let path = head.word(1).to_owned();
        let mut state = self.lock();
        let asked = state.asked.entry(path.clone()).or_default();
        let index = asked.len();
        asked.push(head.clone());
        self.asked.notify_all();
        let unknown = || Line { status: Some(404), ..Line::default() };
        let Some(script) = state.scripts.get(&path) else { return unknown() };
        script.get(index).or(script.last()).cloned().unwrap_or_else(unknown)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if shared.lock().stopping {
            break;
        }
        let Ok(handle) = stream.try_clone() else { continue };
        shared.lock().open.push(handle);
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || {
            let _ = serve(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        }));
    }
    for stream in &shared.lock().open {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut source = BufReader::new(stream);
    while let Some(head) = Head::read(&mut source)? {
        let length = head.field("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        std::io::copy(&mut source.by_ref().take(length), &mut std::io::sink())?;
        let line = shared.answer(&head);
        let Some(status) = line.status else { return Ok(()) };
        stream.write_all(&message(&line, status, head.word(0)))?;
        if line.end == End::Close {
            return Ok(());
        }
    }
    Ok(())
}

fn message(line: &Line, status: u16, method: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in &line.fields {
        text.extend([name, ": ", value, "\r\n"]);
    }
    let has_content = !matches!(status, 204 | 304);
    match line.end {
        _ if !has_content => {}
        End::Length => text.extend(["Content-Length: ", &line.body.len().to_string(), "\r\n"]),
        End::Chunks => text += "Transfer-Encoding: chunked\r\n",
        End::Close => text += "Connection: close\r\n",
    }
    let mut message = (text + "\r\n").into_bytes();
    if !has_content || method == "HEAD" {
        return message;
    }
    if line.end == End::Chunks {
        message.extend_from_slice(format!("{:x}\r\n", line.body.len()).as_bytes());
        message.extend_from_slice(&line.body);
        message.extend_from_slice(b"\r\n0\r\n\r\n");
    } else {
        message.extend_from_slice(&line.body);
    }
    message
}
