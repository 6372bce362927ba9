//! Read buffers that are used again: large ones are dear to allocate and to give back for every piece of a download.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kith_model::limits;

/// Below this many bytes an allocation of the right size is cheaper than a recycled one of full size.
const POOLED_BYTES_MIN: usize = 32 * 1024;

/// Buffers that wait for the next read.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    waiting: Mutex<Vec<Vec<u8>>>,
}

/// One buffer of a wished length. What stands in it is whatever stood in it before.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    home: Option<Arc<Buffers>>,
}

impl Buffers {
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        if !(POOLED_BYTES_MIN..=limits::READ_BUFFER_BYTES).contains(&len) {
            return Buffer { bytes: vec![0; len], len, home: None };
        }
        let recycled = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = recycled.unwrap_or_else(|| vec![0; limits::READ_BUFFER_BYTES]);
        Buffer { bytes, len, home: Some(Arc::clone(self)) }
    }
}

impl Buffer {
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// Hands the bytes out; the memory comes back when the last of them is dropped.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = self.home.take() else { return };
        let mut waiting = home.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < limits::READ_BUFFERS_KEPT_MAX {
            waiting.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_used_again_and_a_bounded_number_is_kept() {
        let pool = Arc::new(Buffers::default());
        let kept: Vec<Bytes> =
            (0..limits::READ_BUFFERS_KEPT_MAX + 5).map(|_| pool.take(100_000).freeze()).collect();
        assert!(kept.iter().all(|bytes| bytes.len() == 100_000));
        drop(kept);
        let waiting = || pool.waiting.lock().expect("not poisoned").len();
        assert_eq!(waiting(), limits::READ_BUFFERS_KEPT_MAX);
        let again = pool.take(40_000);
        assert_eq!(waiting(), limits::READ_BUFFERS_KEPT_MAX - 1);
        drop(again);
        drop(pool.take(1000));
        assert_eq!(waiting(), limits::READ_BUFFERS_KEPT_MAX);
    }
}
