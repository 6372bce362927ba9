//! Content of a request as it comes from a client: in order, no faster than it is taken, and no slower than a client
//! may be.
//!
//! Trailer fields are read and dropped (RFC 9110 section 6.5.1 allows it): nothing that comes after the content can
//! change what was decided by the head.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body::Body as _;
use hyper::body::Incoming;
use kith_fetch::relay::{Upload, UploadError};

use crate::pace::Pace;
use crate::refusal::Refusal;
use crate::strict::HeadError;

/// What became of the content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<AtomicU8>);

impl Fate {
    const COMING: u8 = 0;
    const OVER: u8 = 1;
    const MALFORMED: u8 = 2;
    const LATE: u8 = 3;

    /// Whether all of it was read.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Relaxed) == Self::OVER
    }

    /// What the client is told when its content was at fault.
    pub(crate) fn fault(&self) -> Option<Refusal> {
        match self.0.load(Relaxed) {
            Self::MALFORMED => Some(HeadError::Chunk.into()),
            Self::LATE => Some(Refusal::Upload),
            _ => None,
        }
    }
}

/// Begins to read content; nothing is read before it is asked for.
pub(crate) fn reading(incoming: Incoming) -> (Upload, Fate) {
    let fate = Fate::default();
    let over = if incoming.is_end_stream() { Fate::OVER } else { Fate::COMING };
    fate.0.store(over, Relaxed);
    (Reading { incoming, pace: Pace::default(), fate: fate.clone() }.boxed(), fate)
}

struct Reading {
    incoming: Incoming,
    pace: Pace,
    fate: Fate,
}

impl Reading {
    fn ended(&self, fate: u8) {
        self.fate.0.store(fate, Relaxed);
    }
}

impl Stream for Reading {
    type Item = Result<Bytes, UploadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(this.pace.poll_late(cx));
                    this.ended(Fate::LATE);
                    return Poll::Ready(Some(Err(UploadError)));
                }
            };
            match frame {
                None => {
                    this.ended(Fate::OVER);
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    let malformed = error
                        .source()
                        .and_then(|cause| cause.downcast_ref::<io::Error>())
                        .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData);
                    this.ended(if malformed { Fate::MALFORMED } else { Fate::LATE });
                    return Poll::Ready(Some(Err(UploadError)));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if bytes.is_empty() => {}
                    Ok(bytes) => {
                        this.pace.took(bytes.len() as u64);
                        if this.incoming.is_end_stream() {
                            this.ended(Fate::OVER);
                        }
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    Err(_trailers) => {}
                },
            }
        }
    }
}
