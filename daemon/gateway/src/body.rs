//! The content of an answer, pulled piece by piece as the client takes it: at most one piece waits for a slow one,
//! and a small one after the first.
//!
//! When bytes do not come as promised the body ends with an error, and the connection is cut: an incomplete transfer
//! never looks complete. Knows no status and no fields.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::StreamExt;
use http_body::{Frame, SizeHint};
use kith_fetch::reader::{PIECE_BYTES, ReadError, Reader};
use kith_fetch::source::{ByteStream, SourceError};
use kith_model::limits::{
    CLIENT_LARGE_PIECES_MAX, CLIENT_PROOF_BYTES, CLIENT_SLOW_BYTES_A_MILLISECOND, CLIENT_SMALL_PIECE_BYTES,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::ReusableBoxFuture;

use crate::outlet::{FILE_PIECE_BYTES, FileQueue};

/// Content of an answer.
#[derive(Debug)]
pub(crate) struct Body {
    kind: Kind,
    /// Bytes still to come; nothing while that is not known.
    left: Option<u64>,
}

enum Kind {
    Empty,
    Whole(Bytes),
    /// From the store, after or while it arrives.
    Reading(Reading),
    /// From the origin, past the store.
    Passing {
        stream: ByteStream,
        skip: u64,
    },
}

/// Reads pieces of a size that suits the client.
struct Reading {
    future: Option<ReusableBoxFuture<'static, Read>>,
    /// The reader while no piece is being read.
    idle: Option<Reader>,
    helping: Helping,
    /// Where pieces go that the kernel sends by itself.
    files: Option<FileQueue>,
}

type Read = (Reader, Result<Option<Bytes>, ReadError>);

/// The shares of large pieces that all clients have together.
#[derive(Clone, Debug)]
pub(crate) struct LargePieces(Arc<Semaphore>);

impl Default for LargePieces {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CLIENT_LARGE_PIECES_MAX)))
    }
}

/// How much one client is given at once.
struct Helping {
    shares: LargePieces,
    /// Held while a large piece is on its way.
    share: Option<OwnedSemaphorePermit>,
    /// When the last piece was given, and its size.
    given: Option<(Instant, u64)>,
    /// What a client that was slow still has to take without a pause to count as quick again. The kernel takes some
    /// at once for any client, so one quick piece says nothing.
    to_prove: u64,
}

impl Helping {
    fn new(shares: LargePieces) -> Self {
        Self { shares, share: None, given: None, to_prove: 0 }
    }

    /// Bytes to give next. The last piece is gone when this is asked.
    fn next(&mut self) -> u64 {
        self.share = None;
        self.judge();
        if self.to_prove == 0 {
            self.share = Arc::clone(&self.shares.0).try_acquire_owned().ok();
        }
        if self.share.is_some() { PIECE_BYTES } else { CLIENT_SMALL_PIECE_BYTES }
    }

    fn judge(&mut self) {
        let Some((since, bytes)) = self.given.take() else { return };
        if since.elapsed().as_millis() > u128::from(bytes / CLIENT_SLOW_BYTES_A_MILLISECOND) {
            self.to_prove = CLIENT_PROOF_BYTES;
        } else {
            self.to_prove = self.to_prove.saturating_sub(bytes);
        }
    }

    fn given(&mut self, bytes: u64) {
        self.given = Some((Instant::now(), bytes));
    }
}

impl Reading {
    fn new(reader: Reader, shares: LargePieces) -> Self {
        Self { future: None, idle: Some(reader), helping: Helping::new(shares), files: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        if let Some(reader) = &mut self.idle
            && let Some(files) = &self.files
            && let Some(extent) = reader.next_extent(FILE_PIECE_BYTES)
        {
            return Poll::Ready(Ok(Some(files.push(extent))));
        }
        if let Some(reader) = self.idle.take() {
            let reading = read(reader, self.helping.next());
            match &mut self.future {
                Some(future) => future.set(reading),
                None => self.future = Some(ReusableBoxFuture::new(reading)),
            }
        }
        let Some(future) = &mut self.future else { return Poll::Ready(Ok(None)) };
        let (reader, next) = ready!(future.poll(cx));
        self.idle = Some(reader);
        if let Ok(Some(piece)) = &next {
            self.helping.given(piece.len() as u64);
        }
        Poll::Ready(next)
    }
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The fetch or the shelf failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The origin broke off.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It ended before the bytes it had promised.
    #[error("the content ended early")]
    Short,
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self { kind: Kind::Empty, left: Some(0) }
    }

    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { left: Some(bytes.len() as u64), kind: Kind::Whole(bytes) }
    }

    pub(crate) fn reading(reader: Reader, shares: &LargePieces) -> Self {
        Self { left: reader.remaining(), kind: Kind::Reading(Reading::new(reader, shares.clone())) }
    }

    /// The same, with what stands in finished files sent from there by the connection that has this queue.
    pub(crate) fn with_files(mut self, files: &FileQueue) -> Self {
        if let Kind::Reading(reading) = &mut self.kind {
            reading.files = Some(files.clone());
        }
        self
    }

    /// A body that the origin sends: `skip` bytes of it are left out, then `left` are passed on.
    pub(crate) fn passing(stream: ByteStream, skip: u64, left: Option<u64>) -> Self {
        Self { kind: Kind::Passing { stream, skip }, left }
    }

    /// Bytes of a body that is in memory; 0 for others.
    pub(crate) fn len(&self) -> usize {
        if let Kind::Whole(bytes) = &self.kind { bytes.len() } else { 0 }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.left == Some(0) {
            self.kind = Kind::Empty;
            return Poll::Ready(None);
        }
        let next = match &mut self.kind {
            Kind::Empty => None,
            Kind::Whole(bytes) => Some(Ok(std::mem::take(bytes))),
            Kind::Reading(reading) => ready!(reading.poll(cx)).map_err(BodyError::from).transpose(),
            Kind::Passing { stream, skip } => ready!(poll_passing(stream, skip, cx)),
        };
        Poll::Ready(self.account(next))
    }

    /// Counts down, cuts what is more than promised, and tells when less came.
    fn account(&mut self, next: Option<Result<Bytes, BodyError>>) -> Option<Result<Bytes, BodyError>> {
        let Some(Ok(mut bytes)) = next else {
            self.kind = Kind::Empty;
            let short = next.is_none() && self.left.is_some_and(|left| left > 0);
            self.left = Some(0);
            return if short { Some(Err(BodyError::Short)) } else { next };
        };
        if let Some(left) = &mut self.left {
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
        }
        Some(Ok(bytes))
    }
}

async fn read(mut reader: Reader, bytes_max: u64) -> Read {
    let next = reader.next_within(bytes_max).await;
    (reader, next)
}

fn poll_passing(
    stream: &mut ByteStream,
    skip: &mut u64,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, BodyError>>> {
    loop {
        let Some(piece) = ready!(stream.poll_next_unpin(cx)) else { return Poll::Ready(None) };
        let mut piece = match piece {
            Ok(piece) => piece,
            Err(error) => return Poll::Ready(Some(Err(error.into()))),
        };
        let skipped = usize::try_from(*skip).unwrap_or(usize::MAX).min(piece.len());
        *skip -= skipped as u64;
        let piece = piece.split_off(skipped);
        if !piece.is_empty() {
            return Poll::Ready(Some(Ok(piece)));
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = ready!(self.get_mut().poll_bytes(cx));
        if let Some(Err(error)) = &next {
            tracing::debug!(%error, "an answer was broken off");
        }
        Poll::Ready(next.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Empty => "Empty",
            Kind::Whole(_) => "Whole",
            Kind::Reading(_) => "Reading",
            Kind::Passing { .. } => "Passing",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;

    fn pieces(texts: &[&'static str]) -> ByteStream {
        stream::iter(texts.iter().map(|text| Ok(Bytes::from_static(text.as_bytes()))).collect::<Vec<_>>())
            .boxed()
    }

    async fn read_all(body: Body) -> Result<Bytes, BodyError> {
        body.collect().await.map(http_body_util::Collected::to_bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_given_little_at_once_and_a_quick_one_much() {
        let shares = LargePieces::default();
        let mut quick = Helping::new(shares.clone());
        let mut slow = Helping::new(shares.clone());
        assert_eq!((quick.next(), slow.next()), (PIECE_BYTES, PIECE_BYTES));
        slow.given(PIECE_BYTES);
        tokio::time::sleep(Duration::from_secs(2)).await;
        quick.given(PIECE_BYTES);
        assert_eq!((quick.next(), slow.next()), (PIECE_BYTES, CLIENT_SMALL_PIECE_BYTES));
        for _ in 1..CLIENT_PROOF_BYTES / CLIENT_SMALL_PIECE_BYTES {
            slow.given(CLIENT_SMALL_PIECE_BYTES);
            assert_eq!(slow.next(), CLIENT_SMALL_PIECE_BYTES);
        }
        slow.given(CLIENT_SMALL_PIECE_BYTES);
        assert_eq!(slow.next(), PIECE_BYTES);
        let mut others: Vec<_> = (0..CLIENT_LARGE_PIECES_MAX).map(|_| Helping::new(shares.clone())).collect();
        let large = others.iter_mut().filter_map(|other| (other.next() == PIECE_BYTES).then_some(())).count();
        assert_eq!(large, CLIENT_LARGE_PIECES_MAX - 2);
    }

    #[tokio::test]
    async fn a_part_is_cut_out_of_what_the_origin_sends() {
        for (skip, left, expected) in
            [(0, None, "abcdef"), (1, Some(3), "bcd"), (3, None, "def"), (5, Some(1), "f"), (0, Some(0), "")]
        {
            let body = Body::passing(pieces(&["ab", "cd", "", "ef"]), skip, left);
            assert_eq!(read_all(body).await.expect("complete"), expected);
        }
    }

    #[tokio::test]
    async fn a_short_body_is_an_error_and_not_an_end() {
        let body = Body::passing(pieces(&["abc"]), 0, Some(4));
        assert!(matches!(read_all(body).await, Err(BodyError::Short)));
    }
}
