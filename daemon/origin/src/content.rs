//! The content of an answer on its way: counted against what the head said, timed, and cut without waste.
//!
//! Knows no store and no client. The rule it keeps: it ends cleanly only when everything came that the head promised;
//! in every other case it ends with an error.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::Version;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kith_fetch::source::SourceError;
use kith_model::limits::{DRAIN_BYTES_MAX, DRAIN_TIMEOUT, SLOWEST_WINDOW, SLOWEST_WINDOW_BYTES};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::client::Place;
use crate::tasks::Tasks;

/// What can be wrong with content.
#[derive(Debug, thiserror::Error)]
enum Flaw {
    #[error("the connection ended {0} bytes early")]
    Short(u64),
    #[error("more content than the head said")]
    Long,
    #[error("the stream was reset")]
    Reset,
    #[error("less than 1 KiB/s over a minute")]
    Slow,
}

/// Bytes from an origin, in order.
///
/// Dropping it ends the exchange at once: the connection is closed (HTTP/1.1) or the stream reset (HTTP/2). Only a
/// remainder that is shorter than a new connection would be long is read to its end, so that the connection lives on.
///
/// What a cut wastes: the library's read buffer (128 KiB), and what is in the kernel's receive buffer or on its way.
/// That is about what the line carries in one round trip, as the kernel sizes its buffer by what is read from it.
/// Measured on loopback at full speed: 7 to 410 KiB while the reader kept up, up to 1.3 MiB when it had stopped
/// reading for a while. An HTTP/2 stream has a window of 1 MiB. A small fixed receive buffer would waste less and slow
/// down every long line.
pub(crate) struct Content {
    incoming: Option<Incoming>,
    /// Bytes to come, when the head said so.
    remaining: Option<u64>,
    patience: Patience,
    version: Version,
    /// Kept as long as the origin is kept busy.
    place: Option<Place>,
    tasks: Tasks,
}

impl Content {
    pub(crate) fn new(
        incoming: Incoming,
        count: Option<u64>,
        version: Version,
        place: Place,
        tasks: Tasks,
    ) -> Self {
        Self {
            incoming: Some(incoming),
            remaining: count,
            patience: Patience::default(),
            version,
            place: Some(place),
            tasks,
        }
    }

    fn count(&mut self, bytes: &Bytes) -> Result<(), SourceError> {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| SourceError::Nonsense(Flaw::Long.into()))?;
        }
        self.patience.received(bytes.len() as u64);
        Ok(())
    }

    /// Whether the content may end here. The library shows an HTTP/2 stream that was reset without an error code as
    /// one that has ended (RFC 9113 section 8.1 uses such a reset to stop a request's content); only a stream that
    /// the origin ended itself is whole.
    fn ended(&self) -> Result<(), SourceError> {
        let is_reset = self.version >= Version::HTTP_2
            && self.incoming.as_ref().is_some_and(|incoming| !incoming.is_end_stream());
        match self.remaining {
            None if is_reset => Err(SourceError::BrokeOff(Flaw::Reset.into())),
            None | Some(0) => Ok(()),
            Some(missing) => Err(SourceError::BrokeOff(Flaw::Short(missing).into())),
        }
    }

    /// Nothing more is wanted or to be had.
    fn close(&mut self) {
        self.incoming = None;
        self.place = None;
    }
}

impl Stream for Content {
    type Item = Result<Bytes, SourceError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
            let frame = match Pin::new(incoming).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(this.patience.poll_exhausted(context));
                    this.close();
                    return Poll::Ready(Some(Err(SourceError::BrokeOff(Flaw::Slow.into()))));
                }
            };
            let outcome = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if bytes.is_empty() => continue,
                    Ok(bytes) => this.count(&bytes).map(|()| Some(bytes)),
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => Err(SourceError::BrokeOff(error.into())),
                None => this.ended().map(|()| None),
            };
            if !matches!(outcome, Ok(Some(_))) {
                this.close();
            }
            return Poll::Ready(outcome.transpose());
        }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let (Some(incoming), Some(remaining)) = (self.incoming.take(), self.remaining) else { return };
        // a stream of HTTP/2 is reset without harm to its connection
        if self.version >= Version::HTTP_2 || remaining > DRAIN_BYTES_MAX {
            return;
        }
        self.tasks.run(drain(incoming, remaining, self.place.take()));
    }
}

/// Reads what is left, within bounds.
async fn drain(mut incoming: Incoming, mut remaining: u64, _place: Option<Place>) {
    let rest = async {
        while let Some(Ok(frame)) = incoming.frame().await {
            let count = frame.data_ref().map_or(0, Bytes::len) as u64;
            let Some(left) = remaining.checked_sub(count) else { return };
            remaining = left;
        }
    };
    let _ = timeout(DRAIN_TIMEOUT, rest).await;
}

/// Measures how fast an origin is while it is waited for. Time in which nobody asked for bytes does not count, as a
/// slow reader is not the origin's fault.
#[derive(Default)]
struct Patience {
    /// Waited for, and received, since the window began.
    waited: Duration,
    received: u64,
    /// Set while bytes are waited for: since when, and an alarm at the window's end.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Patience {
    fn received(&mut self, count: u64) {
        if let Some((since, _)) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        self.received += count;
        if self.received >= SLOWEST_WINDOW_BYTES {
            (self.waited, self.received) = (Duration::ZERO, 0);
        }
    }

    /// Ready when a whole window was waited for and too little has come in it.
    fn poll_exhausted(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let left = SLOWEST_WINDOW.saturating_sub(self.waited);
        let (_, alarm) = self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        alarm.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn wait(patience: &mut Patience, time: Duration) -> bool {
        timeout(time, poll_fn(|context| patience.poll_exhausted(context))).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_is_too_slow_only_for_the_time_it_was_waited_for() {
        let mut patience = Patience::default();
        assert!(!wait(&mut patience, Duration::from_secs(40)).await);
        patience.received(1);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert!(!wait(&mut patience, Duration::from_secs(19)).await);
        assert!(wait(&mut patience, Duration::from_secs(2)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_just_above_the_slowest_pace_is_waited_for() {
        let mut patience = Patience::default();
        for _ in 0..200 {
            assert!(!wait(&mut patience, Duration::from_secs(1)).await);
            patience.received(1100);
        }
    }
}
