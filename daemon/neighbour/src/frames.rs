//! Frames on a QUIC stream: the thin driver of [`crate::wire`].

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream};

use crate::wire::{self, BadFrame, Message, PREFIX_BYTES};

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The sender's fault.
    #[error(transparent)]
    Bad(#[from] BadFrame),
    /// The stream or connection ended first.
    #[error("the stream broke off")]
    Read(#[from] quinn::ReadError),
    /// The stream ended in the middle of something.
    #[error("the stream ended early")]
    Early,
}

/// Reads frames, and the raw bytes between them.
pub struct FrameReader {
    stream: RecvStream,
    buffer: BytesMut,
}

impl FrameReader {
    /// Reads from here on.
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next message; nothing when the stream ended cleanly.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: what has arrived waits for the next call.
    pub async fn frame(&mut self) -> Result<Option<Message>, FrameError> {
        if !self.fill(PREFIX_BYTES).await? {
            return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::Early) };
        }
        let mut prefix = [0; PREFIX_BYTES];
        prefix.copy_from_slice(&self.buffer[..PREFIX_BYTES]);
        let whole = PREFIX_BYTES + wire::body_len(prefix)?;
        if !self.fill(whole).await? {
            return Err(FrameError::Early);
        }
        let frame = self.buffer.split_to(whole);
        Ok(Some(wire::decode(&frame[PREFIX_BYTES..])?))
    }

    /// The next `count` raw bytes.
    ///
    /// # Cancel safety
    /// As [`Self::frame`].
    pub async fn bytes(&mut self, count: usize) -> Result<Bytes, FrameError> {
        if !self.fill(count).await? {
            return Err(FrameError::Early);
        }
        Ok(self.buffer.split_to(count).freeze())
    }

    /// Whether `count` bytes are buffered; reads no further than that.
    async fn fill(&mut self, count: usize) -> Result<bool, FrameError> {
        if self.buffer.capacity() < count {
            self.buffer.reserve(count - self.buffer.len());
        }
        while self.buffer.len() < count {
            match self.stream.read_chunk(count - self.buffer.len(), true).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk.bytes),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Sends one message.
///
/// # Cancel safety
/// Dropping the future may leave half a frame on the stream.
pub async fn send(stream: &mut SendStream, message: &Message) -> Result<(), quinn::WriteError> {
    stream.write_chunk(wire::encode(message)).await
}
