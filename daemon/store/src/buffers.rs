//! Large buffers for the bytes of objects on their way, used again: they are dear to make for every piece of a download.
//!
//! Their memory is the kernel's and goes back to it. What many threads give back to the C library's allocator it keeps
//! instead: 22 MiB after 16 downloads at once. As many wait for their next use as are in use, and a few more, so that
//! nothing is kept of a rush that is over. One pool serves the whole process, as memory does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kith_model::limits;
use memmap2::MmapMut;

/// Bytes of a buffer that is used again: 256 KiB.
pub const BUFFER_BYTES: usize = limits::READ_BUFFER_BYTES;

/// Below this many bytes an allocation of the right size is cheaper than a recycled one of full size.
const POOLED_BYTES_MIN: usize = 32 * 1024;

static POOL: Pool = Pool::new();

/// Buffers that wait for their next use.
#[derive(Debug)]
struct Pool(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    memory: Vec<Memory>,
    /// How many are in use.
    used: usize,
}

#[derive(Debug)]
enum Memory {
    Mapped(MmapMut),
    /// What is small, or what the kernel gave no pages of its own for.
    Plain(Vec<u8>),
}

/// Bytes that are written once and then handed out.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    len: usize,
    /// Where its memory goes.
    home: Option<&'static Pool>,
}

impl Memory {
    fn new(len: usize) -> Self {
        MmapMut::map_anon(len).map_or_else(|_| Self::Plain(vec![0; len]), Self::Mapped)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Plain(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Plain(bytes) => bytes,
        }
    }
}

impl Pool {
    const fn new() -> Self {
        Self(Mutex::new(Waiting { memory: Vec::new(), used: 0 }))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&'static self, len: usize) -> Buffer {
        let recycled = {
            let mut waiting = self.waiting();
            waiting.used += 1;
            waiting.memory.pop()
        };
        let memory = recycled.unwrap_or_else(|| Memory::new(BUFFER_BYTES));
        Buffer { memory, len, home: Some(self) }
    }

    fn give_back(&self, memory: Memory) {
        let mut waiting = self.waiting();
        waiting.used -= 1;
        waiting.memory.push(memory);
        let kept = (waiting.used + limits::READ_BUFFERS_SPARE).min(limits::READ_BUFFERS_KEPT_MAX);
        let kept = kept.min(waiting.memory.len());
        let surplus = waiting.memory.split_off(kept);
        drop(waiting);
        // The kernel may take its time.
        drop(surplus);
    }
}

impl Buffer {
    /// A buffer of a wished length. What stands in it is whatever stood in it before.
    pub fn of(len: usize) -> Self {
        Self::from_pool(&POOL, len)
    }

    /// A buffer with room for [`BUFFER_BYTES`] and nothing in it.
    pub fn empty() -> Self {
        POOL.take(0)
    }

    fn from_pool(pool: &'static Pool, len: usize) -> Self {
        match len {
            0..POOLED_BYTES_MIN => Self { memory: Memory::Plain(vec![0; len]), len, home: None },
            POOLED_BYTES_MIN..=BUFFER_BYTES => pool.take(len),
            _ => Self { memory: Memory::new(len), len, home: None },
        }
    }

    /// To be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory.bytes_mut()[..self.len]
    }

    /// Writes behind what is there; what finds no room is left out.
    pub fn extend(&mut self, bytes: &[u8]) {
        let room = &mut self.memory.bytes_mut()[self.len..];
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        self.len += len;
    }

    /// Leaves out what is behind `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Hands the bytes out; the memory comes back when the last of them is dropped.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory.bytes()[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give_back(std::mem::replace(&mut self.memory, Memory::Plain(Vec::new())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> &'static Pool {
        Box::leak(Box::new(Pool::new()))
    }

    #[test]
    fn as_many_wait_as_are_in_use_and_a_few_more() {
        let pool = pool();
        let waiting = || pool.waiting().memory.len();
        let mut used: Vec<Bytes> = (0..2 * limits::READ_BUFFERS_KEPT_MAX)
            .map(|_| Buffer::from_pool(pool, 100_000).freeze())
            .collect();
        assert!(used.iter().all(|bytes| bytes.len() == 100_000));
        used.truncate(limits::READ_BUFFERS_KEPT_MAX);
        assert_eq!(waiting(), limits::READ_BUFFERS_KEPT_MAX);
        used.truncate(1);
        assert_eq!(waiting(), 1 + limits::READ_BUFFERS_SPARE);
        used.push(Buffer::from_pool(pool, 40_000).freeze());
        assert_eq!(waiting(), limits::READ_BUFFERS_SPARE, "what waits is used again");
        drop(used);
        assert_eq!((waiting(), pool.waiting().used), (limits::READ_BUFFERS_SPARE, 0));
    }

    #[test]
    fn what_is_small_or_larger_is_not_kept() {
        let pool = pool();
        for len in [0, 1000, BUFFER_BYTES + 1] {
            let mut buffer = Buffer::from_pool(pool, len);
            assert_eq!(buffer.bytes_mut().len(), len);
            drop(buffer.freeze());
        }
        assert_eq!(pool.waiting().memory.len(), 0);
    }

    #[test]
    fn a_buffer_is_filled_up_to_its_room() {
        let mut buffer = Buffer::empty();
        buffer.extend(b"abc");
        buffer.extend(&vec![7; BUFFER_BYTES]);
        assert_eq!(buffer.as_ref().len(), BUFFER_BYTES);
        buffer.truncate(5);
        assert_eq!(buffer.freeze(), b"abc\x07\x07"[..]);
    }
}
