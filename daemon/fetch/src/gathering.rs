//! The memory in which a run comes together, used again for the next ones: fresh memory for each costs more than
//! the copy.
//!
//! A slow stream gathers in a small buffer of the run's own size, so that many slow ones hold little. Knows neither
//! groups nor streams.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Most bytes of a run: 256 KiB. Each run costs a few changes between threads, a fifth of the processor time of a miss
/// when runs were 128 KiB on average. Runs of 512 KiB took the peak of 16 downloads at once from 34 to 54 MiB.
pub(crate) const RUN_BYTES_MAX: usize = 256 * 1024;

/// Runs above this many bytes gather in a buffer of full size, and only from such a buffer are handed out without a
/// copy: what is handed out never hangs on more than twice its size.
const SMALL_BYTES_MAX: usize = RUN_BYTES_MAX / 2;

/// Buffers kept by one stream for its next runs, besides the one being filled and the one being written.
const KEPT_MAX: usize = 2;

/// Buffers of full size that wait to be used again.
type Shelf = Arc<Mutex<Vec<Vec<u8>>>>;

/// What came of a run so far.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    bytes: Vec<u8>,
    shelf: Shelf,
}

impl Gathering {
    /// Takes from `piece` what there is room for.
    pub(crate) fn fill(&mut self, piece: &mut Bytes) {
        let part = piece.split_to(piece.len().min(RUN_BYTES_MAX - self.bytes.len()));
        let len = self.bytes.len() + part.len();
        if len > SMALL_BYTES_MAX && self.bytes.capacity() < RUN_BYTES_MAX {
            let mut large = self.take_large();
            large.extend_from_slice(&self.bytes);
            self.bytes = large;
        }
        self.bytes.extend_from_slice(&part);
    }

    /// The first `count` bytes, of as many as there are at least.
    pub(crate) fn cut(&mut self, count: usize) -> Bytes {
        let mut rest = Vec::new();
        if self.bytes.len() > count {
            rest.extend_from_slice(&self.bytes[count..]);
        }
        let mut cut = std::mem::replace(&mut self.bytes, rest);
        cut.truncate(count);
        if cut.capacity() < RUN_BYTES_MAX {
            cut.into()
        } else if count > SMALL_BYTES_MAX {
            Bytes::from_owner(Lent { bytes: cut, shelf: Arc::clone(&self.shelf) })
        } else {
            let small = Bytes::copy_from_slice(&cut);
            put_back(&self.shelf, cut);
            small
        }
    }

    fn take_large(&self) -> Vec<u8> {
        let kept = self.shelf.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Vec::with_capacity(RUN_BYTES_MAX))
    }
}

fn put_back(shelf: &Shelf, mut bytes: Vec<u8>) {
    bytes.clear();
    let mut kept = shelf.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < KEPT_MAX {
        kept.push(bytes);
    }
}

/// A buffer that was handed out; it comes back when the last of its bytes is dropped.
struct Lent {
    bytes: Vec<u8>,
    shelf: Shelf,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        put_back(&self.shelf, std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(gathering: &mut Gathering, len: usize) {
        let mut piece = Bytes::from(vec![7; len]);
        gathering.fill(&mut piece);
        assert!(piece.is_empty());
    }

    fn waiting(gathering: &Gathering) -> usize {
        gathering.shelf.lock().expect("not poisoned").len()
    }

    #[test]
    fn large_buffers_are_used_again_and_a_bounded_number_is_kept() {
        let mut gathering = Gathering::default();
        let lent: Vec<Bytes> = (0..KEPT_MAX + 2)
            .map(|_| {
                filled(&mut gathering, RUN_BYTES_MAX);
                gathering.cut(RUN_BYTES_MAX)
            })
            .collect();
        assert_eq!(waiting(&gathering), 0);
        drop(lent);
        assert_eq!(waiting(&gathering), KEPT_MAX);
        filled(&mut gathering, RUN_BYTES_MAX);
        assert_eq!(waiting(&gathering), KEPT_MAX - 1);
    }

    #[test]
    fn a_small_run_does_not_hold_a_large_buffer() {
        let mut gathering = Gathering::default();
        filled(&mut gathering, SMALL_BYTES_MAX + 1);
        let small = gathering.cut(16);
        assert_eq!(waiting(&gathering), 1);
        assert_eq!(small, vec![7; 16]);
        assert_eq!(gathering.cut(SMALL_BYTES_MAX - 15).len(), SMALL_BYTES_MAX - 15);
    }

    #[test]
    fn what_finds_no_room_is_left_in_its_piece() {
        let mut gathering = Gathering::default();
        filled(&mut gathering, RUN_BYTES_MAX - 1);
        let mut piece = Bytes::from_static(b"abc");
        gathering.fill(&mut piece);
        assert_eq!(piece, "bc");
        assert!(gathering.cut(RUN_BYTES_MAX).ends_with(b"\x07a"));
    }
}
