//! A client's connection as hyper sees it: only request heads that passed [`strict::check`] come through, one at a
//! time, and a client that does not read is cut off.
//!
//! A refused head is replaced by a request of our own that names the reason ([`REFUSED`]); so its answer takes its
//! turn behind the answers of earlier requests and is written by the same code. After it, and after a request with
//! content, nothing more is read as a request: what follows is thrown away while the connection closes.
//!
//! Knows no URL and no store. Keeps one head in memory, never more than its bounds.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::ReadBufCursor;
use kith_model::limits::{
    LINGER_BYTES_MAX, LINGER_TIMEOUT, REQUEST_HEAD_TIMEOUT, SLOWEST_WINDOW, SLOWEST_WINDOW_BYTES,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::strict::{self, Content, HeadError, Scanner};

/// The method of the request that stands for a refused head; its path is the reason's number. No client can send
/// it, as it would have to get past this module.
pub(crate) const REFUSED: &str = "KITH-REFUSED";

/// Bytes read at once: most heads come in one piece. The largest head fits four times over its growth.
const READ_BYTES: usize = 4 * 1024;

/// A connection whose requests are checked and whose reader must keep up.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: S,
    heads: Heads,
    pace: Pace,
    linger: Linger,
}

impl<S> Connection<S> {
    /// The connection itself, and whether its client can tell a broken answer from a complete one only by a reset:
    /// HTTP/1.0 knows no chunked coding, so content of unknown length ends with the connection.
    pub(crate) fn into_broken(self) -> (S, bool) {
        (self.stream, self.heads.old)
    }

    /// The first head must be complete within its time from now.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, heads: Heads::new(), pace: Pace::default(), linger: Linger::default() }
    }
}

/// Where the reading side stands: `Fresh -> Partial -> Between -> Partial -> ... -> Ended`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No byte has come yet.
    Fresh,
    /// A head has begun.
    Partial,
    /// Waiting for the next head; hyper closes what idles for too long.
    Between,
    /// The last request is through.
    Ended,
}

/// The bytes from the client that hyper has not got yet.
#[derive(Debug)]
struct Heads {
    stage: Stage,
    buffer: Vec<u8>,
    filled: usize,
    scanner: Scanner,
    /// How much of the buffer's front is checked and may go to hyper.
    granted: usize,
    given: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    /// The last head was HTTP/1.0.
    old: bool,
}

impl Heads {
    fn new() -> Self {
        Self {
            stage: Stage::Fresh,
            buffer: Vec::new(),
            filled: 0,
            scanner: Scanner::default(),
            granted: 0,
            given: 0,
            deadline: None,
            old: false,
        }
    }

    /// Gives checked bytes to hyper. `true` when there were some.
    fn give(&mut self, out: &mut ReadBufCursor<'_>) -> bool {
        let count = (self.granted - self.given).min(out.remaining());
        if count == 0 {
            return false;
        }
        out.put_slice(&self.buffer[self.given..self.given + count]);
        self.given += count;
        if self.given == self.granted {
            self.forget_given();
        }
        true
    }

    fn forget_given(&mut self) {
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        self.granted = 0;
        if self.filled == 0 && self.buffer.len() > READ_BYTES {
            self.buffer = Vec::new();
        }
    }

    /// Looks for the next head in what is buffered.
    fn advance(&mut self) {
        if self.stage == Stage::Ended || self.granted > 0 || self.filled == 0 {
            return;
        }
        // RFC 9112 section 2.2: some clients send an empty line behind a request.
        if self.stage != Stage::Partial && self.buffer[..self.filled].starts_with(b"\r\n") {
            self.given = 2;
            self.forget_given();
        }
        if self.filled == 0 || (self.stage != Stage::Partial && self.buffer[..self.filled] == *b"\r") {
            return;
        }
        match self.scanner.advance(&self.buffer[..self.filled]) {
            Ok(None) => self.stage = Stage::Partial,
            Ok(Some(end)) => self.grant(end),
            Err(error) => self.refuse(error),
        }
    }

    fn grant(&mut self, end: usize) {
        self.scanner = Scanner::default();
        self.deadline = None;
        let head = &self.buffer[..end];
        // Nobody but us speaks this method.
        let checked =
            if head.starts_with(REFUSED.as_bytes()) { Err(HeadError::Method) } else { strict::check(head) };
        match checked {
            Ok(content) => {
                let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
                self.old = line.ends_with(b"/1.0");
                self.granted = end;
                self.stage = if content == Content::Follows { Stage::Ended } else { Stage::Between };
            }
            Err(error) => self.refuse(error),
        }
    }

    fn refuse(&mut self, error: HeadError) {
        let request =
            format!("{REFUSED} /{} HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n", error.number());
        self.stage = Stage::Ended;
        self.deadline = None;
        self.buffer = request.into_bytes();
        self.filled = self.buffer.len();
        self.granted = self.filled;
        self.given = 0;
    }

    /// Whether the head that is expected has taken too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.stage, Stage::Between | Stage::Ended) {
            return Poll::Pending;
        }
        self.deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(REQUEST_HEAD_TIMEOUT)))
            .as_mut()
            .poll(cx)
    }

    fn room(&mut self) -> &mut [u8] {
        if self.buffer.len() - self.filled < READ_BYTES / 2 {
            self.buffer.resize(self.filled + READ_BYTES, 0);
        }
        &mut self.buffer[self.filled..]
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Read for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut out: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            this.heads.advance();
            if this.heads.give(&mut out) {
                return Poll::Ready(Ok(()));
            }
            if this.heads.stage == Stage::Ended {
                // Not the end of the stream: hyper would drop the answer that is on its way.
                return Poll::Pending;
            }
            let mut room = ReadBuf::new(this.heads.room());
            match Pin::new(&mut this.stream).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) if room.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => this.heads.filled += room.filled().len(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(this.heads.poll_late(cx));
                    // As if the client had left: there is nobody to answer.
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Write for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.pace.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.pace.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.heads.stage != Stage::Ended {
            return Pin::new(&mut this.stream).poll_shutdown(cx);
        }
        this.linger.poll(cx, &mut this.stream)
    }
}

/// The slowest client allowed: so many bytes within a window of time in which we wait for it. Time in which it waits
/// for us does not count.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
    waiting_since: Option<Instant>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(count)) => {
                self.took(count as u64);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.poll_late(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn took(&mut self, count: u64) {
        self.waited += self.waiting_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.bytes += count;
        if self.bytes >= SLOWEST_WINDOW_BYTES {
            self.waited = Duration::ZERO;
            self.bytes = 0;
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let at =
            *self.waiting_since.get_or_insert_with(Instant::now) + SLOWEST_WINDOW.saturating_sub(self.waited);
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if deadline.deadline() != at {
            deadline.as_mut().reset(at);
        }
        deadline.as_mut().poll(cx)
    }
}

/// Closing while the client may still be sending: our end is shut, and what comes is thrown away for a moment, since
/// closing over unread bytes would make the kernel take back the answer that is under way (RFC 9112 section 9.6).
#[derive(Debug, Default)]
pub(crate) struct Linger {
    shut: bool,
    thrown_away: usize,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Linger {
    /// Ready when the client has left, or was given time enough to.
    pub(crate) fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
            self.shut = true;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIMEOUT)));
        let mut scrap = [0; READ_BYTES];
        while self.thrown_away < LINGER_BYTES_MAX && deadline.as_mut().poll(cx).is_pending() {
            let mut room = ReadBuf::new(&mut scrap);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut room))?;
            if room.filled().is_empty() {
                break;
            }
            self.thrown_away += room.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
