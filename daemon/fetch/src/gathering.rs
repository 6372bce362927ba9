//! The memory in which a run comes together, used again for the next ones: fresh memory for each costs more than
//! the copy.
//!
//! A slow stream gathers in a small buffer of the run's own size, so that many slow ones hold little; a fast one in
//! buffers of the [pool](kith_store::buffers). Knows neither groups nor streams.

use bytes::Bytes;
use kith_store::buffers::{BUFFER_BYTES, Buffer};

/// Most bytes of a run: 256 KiB. Each run costs a few changes between threads, a fifth of the processor time of a miss
/// when runs were 128 KiB on average. Runs of 512 KiB took the peak of 16 downloads at once from 34 to 54 MiB.
pub(crate) const RUN_BYTES_MAX: usize = BUFFER_BYTES;

/// Runs above this many bytes gather in a buffer of full size, and only from such a buffer are handed out without a
/// copy: what is handed out never hangs on more than twice its size.
const SMALL_BYTES_MAX: usize = RUN_BYTES_MAX / 2;

/// What came of a run so far.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    bytes: Gathered,
    /// The last run was large, and so will be the next one.
    is_fast: bool,
}

#[derive(Debug)]
enum Gathered {
    Small(Vec<u8>),
    Large(Buffer),
}

impl Default for Gathered {
    fn default() -> Self {
        Self::Small(Vec::new())
    }
}

impl Gathered {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Large(buffer) => buffer.as_ref(),
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        match self {
            Self::Small(small) => small.extend_from_slice(bytes),
            Self::Large(buffer) => buffer.extend(bytes),
        }
    }

    fn grow(&mut self) {
        if let Self::Small(small) = self {
            let mut large = Buffer::empty();
            large.extend(small);
            *self = Self::Large(large);
        }
    }
}

impl Gathering {
    /// Takes from `piece` what there is room for.
    pub(crate) fn fill(&mut self, piece: &mut Bytes) {
        let room = RUN_BYTES_MAX - self.bytes.bytes().len();
        let part = piece.split_to(piece.len().min(room));
        self.extend(&part);
    }

    fn extend(&mut self, part: &[u8]) {
        if part.is_empty() {
            return;
        }
        if self.is_fast || self.bytes.bytes().len() + part.len() > SMALL_BYTES_MAX {
            self.bytes.grow();
        }
        self.bytes.extend(part);
    }

    /// The first `count` bytes, of as many as there are at least.
    pub(crate) fn cut(&mut self, count: usize) -> Bytes {
        self.is_fast = count > SMALL_BYTES_MAX;
        let mut gathered = std::mem::take(&mut self.bytes);
        self.extend(&gathered.bytes()[count..]);
        match &mut gathered {
            Gathered::Small(bytes) => bytes.truncate(count),
            Gathered::Large(buffer) => buffer.truncate(count),
        }
        match gathered {
            Gathered::Small(bytes) => bytes.into(),
            Gathered::Large(buffer) if self.is_fast => buffer.freeze(),
            Gathered::Large(buffer) => Bytes::copy_from_slice(buffer.as_ref()),
        }
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

    /// What is lent cannot be had for good.
    fn is_lent(bytes: Bytes) -> bool {
        bytes.try_into_mut().is_err()
    }

    #[test]
    fn only_a_large_run_is_handed_out_in_a_buffer_that_comes_back() {
        let mut gathering = Gathering::default();
        for (len, lent) in [(16, false), (SMALL_BYTES_MAX, false), (SMALL_BYTES_MAX + 1, true), (16, false)] {
            filled(&mut gathering, len);
            let run = gathering.cut(len);
            assert_eq!(run, vec![7; len]);
            assert_eq!(is_lent(run), lent, "{len} bytes");
        }
    }

    #[test]
    fn a_small_run_does_not_hold_a_large_buffer() {
        let mut gathering = Gathering::default();
        filled(&mut gathering, SMALL_BYTES_MAX + 1);
        let small = gathering.cut(16);
        assert_eq!(small, vec![7; 16]);
        assert!(!is_lent(small));
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
