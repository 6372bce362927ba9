//! A client's connection as hyper sees it: only request heads that passed [`crate::strict::check`] come through, one
//! at a time, and content only to the end that its framing tells. A client that does not read is cut off.
//!
//! A refused head is replaced by a request of our own that names the reason ([`REFUSED`]); so its answer takes its
//! turn behind the answers of earlier requests and is written by the same code. After it nothing more is read as a
//! request: what follows is thrown away while the connection closes.
//!
//! OPTIONS about a whole site gets a method of our own ([`SITE_OPTIONS`]).
//!
//! Behind a request to switch protocols the bytes wait until the answer has decided what they are ([`Switch`]).
//!
//! Knows no URL and no store. Keeps one head in memory, never more than its bounds.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Acquire, Ordering::Release};
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use kith_model::limits::{LINGER_BYTES_MAX, LINGER_TIMEOUT};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use self::heads::{Heads, Stage};
use crate::pace::Pace;

mod heads;

/// The method of the request that stands for a refused head; its path is the reason's number. No client can send
/// it, as it would have to get past this module.
pub(crate) const REFUSED: &str = "KITH-REFUSED";

/// The method of OPTIONS about a whole site ([`crate::strict::Scope::Site`]), since the URL that hyper makes of its
/// target cannot tell. No client can send it.
pub(crate) const SITE_OPTIONS: &str = "KITH-OPTIONS";

/// What our own methods begin with.
const OWN_METHODS: &str = "KITH-";

/// Bytes read at once: most heads come in one piece. The largest head fits four times over its growth.
const READ_BYTES: usize = 4 * 1024;

/// What the bytes behind a request to switch protocols are. Shared with whoever answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switch(Arc<AtomicU8>);

impl Switch {
    const UNDECIDED: u8 = 0;
    const REQUESTS: u8 = 1;
    const TUNNEL: u8 = 2;

    /// The answer is an ordinary one: they are requests.
    pub(crate) fn decline(&self) {
        self.0.store(Self::REQUESTS, Release);
    }

    /// The answer switches: they are the other protocol's, all of them.
    pub(crate) fn open(&self) {
        self.0.store(Self::TUNNEL, Release);
    }

    fn reset(&self) {
        self.0.store(Self::UNDECIDED, Release);
    }

    fn decided(&self) -> u8 {
        self.0.load(Acquire)
    }
}

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

    /// The first head must be complete within its time from now. `switch` is for whoever answers.
    pub(crate) fn new(stream: S, switch: Switch) -> Self {
        Self { stream, heads: Heads::new(switch), pace: Pace::default(), linger: Linger::default() }
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
            this.heads.advance()?;
            if this.heads.give(&mut out) {
                return Poll::Ready(Ok(()));
            }
            if this.heads.is_full() {
                // Asked again when the answer has decided.
                return Poll::Pending;
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
        if matches!(this.heads.stage, Stage::Fresh | Stage::Partial | Stage::Between | Stage::Open) {
            return Pin::new(&mut this.stream).poll_shutdown(cx);
        }
        this.linger.poll(cx, &mut this.stream)
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
