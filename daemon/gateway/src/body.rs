//! The content of an answer, pulled piece by piece as the client takes it: at most one piece waits for a slow one.
//!
//! When bytes do not come as promised the body ends with an error, and the connection is cut: an incomplete transfer
//! never looks complete. Knows no status and no fields.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::StreamExt;
use http_body::{Frame, SizeHint};
use kith_fetch::reader::{ReadError, Reader};
use kith_fetch::source::{ByteStream, SourceError};
use tokio_util::sync::ReusableBoxFuture;

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
    Reading(ReusableBoxFuture<'static, Read>),
    /// From the origin, past the store.
    Passing {
        stream: ByteStream,
        skip: u64,
    },
}

type Read = (Reader, Result<Option<Bytes>, ReadError>);

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

    pub(crate) fn reading(reader: Reader) -> Self {
        Self { left: reader.remaining(), kind: Kind::Reading(ReusableBoxFuture::new(read(reader))) }
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
            Kind::Reading(future) => {
                let (reader, next) = ready!(future.poll(cx));
                future.set(read(reader));
                next.map_err(BodyError::from).transpose()
            }
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

async fn read(mut reader: Reader) -> Read {
    let next = reader.next().await;
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
