//! How fast a client must be at least, in either direction.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use kith_model::limits::{SLOWEST_WINDOW, SLOWEST_WINDOW_BYTES};
use tokio::time::{Instant, Sleep};

/// The slowest client allowed: so many bytes within a window of time in which we wait for it. Time in which it waits
/// for us does not count.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    waited: Duration,
    bytes: u64,
    waiting_since: Option<Instant>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Passes on what came of a write, or an error when too little was taken for too long.
    pub(crate) fn judge(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
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

    /// So many bytes moved.
    pub(crate) fn took(&mut self, count: u64) {
        self.waited += self.waiting_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.bytes += count;
        if self.bytes >= SLOWEST_WINDOW_BYTES {
            self.waited = Duration::ZERO;
            self.bytes = 0;
        }
    }

    /// The client is waited for. Ready when it was for too long.
    pub(crate) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let at =
            *self.waiting_since.get_or_insert_with(Instant::now) + SLOWEST_WINDOW.saturating_sub(self.waited);
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if deadline.deadline() != at {
            deadline.as_mut().reset(at);
        }
        deadline.as_mut().poll(cx)
    }
}
