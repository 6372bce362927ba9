//! Contents of test files: real bytes, or a seeded function of the offset so that large ones need no memory.

use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use ring::digest;

/// Bytes worked on at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// The content of a file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Body {
    kind: Kind,
    sums: Arc<OnceLock<Sums>>,
}

#[derive(Clone, Debug)]
enum Kind {
    Seeded { seed: u64, length: u64 },
    Real(Arc<[u8]>),
}

#[derive(Debug)]
struct Sums {
    sha256: [u8; 32],
    blake3: String,
}

impl Body {
    /// `length` bytes that look random and follow from the seed and the offset.
    pub fn seeded(seed: u64, length: u64) -> Self {
        Self { kind: Kind::Seeded { seed, length }, sums: Arc::default() }
    }

    /// These bytes.
    pub fn of(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { kind: Kind::Real(bytes.into()), sums: Arc::default() }
    }

    /// In bytes.
    pub fn length(&self) -> u64 {
        match &self.kind {
            Kind::Seeded { length, .. } => *length,
            Kind::Real(bytes) => bytes.len() as u64,
        }
    }

    /// Fills the buffer with what stands at the offset; all of it must lie inside.
    pub fn fill(&self, offset: u64, buffer: &mut [u8]) {
        match &self.kind {
            Kind::Seeded { seed, .. } => fill_seeded(*seed, offset, buffer),
            Kind::Real(bytes) => {
                let start = usize::try_from(offset).expect("test files fit memory");
                buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
            }
        }
    }

    /// A part, in memory.
    pub fn part(&self, range: Range<u64>) -> Vec<u8> {
        let mut buffer = vec![0; usize::try_from(range.end - range.start).expect("parts fit memory")];
        self.fill(range.start, &mut buffer);
        buffer
    }

    /// All of it as a stream.
    pub fn reader(&self) -> BodyReader<'_> {
        self.reader_of(0..self.length())
    }

    /// A part as a stream.
    pub fn reader_of(&self, range: Range<u64>) -> BodyReader<'_> {
        BodyReader { body: self, range }
    }

    /// Lower-case hexadecimal SHA-256 of the whole.
    pub fn sha256(&self) -> String {
        hex(&self.sums().sha256)
    }

    /// SHA-256 of a part.
    pub fn sha256_of(&self, range: Range<u64>) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        self.pieces(range, |piece| context.update(piece));
        hex(context.finish().as_ref())
    }

    /// Lower-case hexadecimal BLAKE3 of the whole: the object's id.
    pub fn blake3(&self) -> String {
        self.sums().blake3.clone()
    }

    /// The value of `Repr-Digest` for the whole (RFC 9530).
    pub fn repr_digest(&self) -> String {
        format!("sha-256=:{}:", base64(&self.sums().sha256))
    }

    fn sums(&self) -> &Sums {
        self.sums.get_or_init(|| {
            let mut sha256 = digest::Context::new(&digest::SHA256);
            let mut blake3 = blake3::Hasher::new();
            self.pieces(0..self.length(), |piece| {
                sha256.update(piece);
                blake3.update(piece);
            });
            let sha256 = sha256.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
            Sums { sha256, blake3: blake3.finalize().to_hex().to_string() }
        })
    }

    fn pieces(&self, range: Range<u64>, mut each: impl FnMut(&[u8])) {
        let mut reader = self.reader_of(range);
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            each(&buffer[..count]);
        }
    }
}

/// Reads a body from front to back.
#[derive(Debug)]
pub struct BodyReader<'a> {
    body: &'a Body,
    range: Range<u64>,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        self.body.fill(self.range.start, &mut buffer[..count]);
        self.range.start += count as u64;
        Ok(count)
    }
}

/// Every eight bytes are a number of their own, so that any offset can be computed alone.
fn fill_seeded(seed: u64, offset: u64, buffer: &mut [u8]) {
    let mut word = offset / 8;
    let skip = usize::try_from(offset % 8).expect("below eight");
    let (front, rest) = buffer.split_at_mut(buffer.len().min((8 - skip) % 8));
    if !front.is_empty() {
        front.copy_from_slice(&scramble(seed, word).to_le_bytes()[skip..skip + front.len()]);
        word += 1;
    }
    let mut words = rest.chunks_exact_mut(8);
    for chunk in &mut words {
        chunk.copy_from_slice(&scramble(seed, word).to_le_bytes());
        word += 1;
    }
    let tail = words.into_remainder();
    tail.copy_from_slice(&scramble(seed, word).to_le_bytes()[..tail.len()]);
}

/// The output function of `SplitMix64` (Steele, Lea and Flood 2014).
fn scramble(seed: u64, word: u64) -> u64 {
    let mut mixed = seed.wrapping_add(word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A small seeded source of numbers for tests that choose "at random".
#[derive(Clone, Debug)]
pub struct Dice {
    seed: u64,
    thrown: u64,
}

impl Dice {
    /// Prints its seed, so that a failure can be played again.
    pub fn seeded(seed: u64) -> Self {
        eprintln!("dice: seed {seed}");
        Self { seed, thrown: 0 }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.thrown += 1;
        scramble(self.seed, self.thrown) % bound
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_equals_the_same_bytes_of_the_whole() {
        let body = Body::seeded(7, 100);
        let whole = body.part(0..100);
        for start in 0..20 {
            for end in start..=100 {
                let (from, to) =
                    (usize::try_from(start).expect("small"), usize::try_from(end).expect("small"));
                assert_eq!(body.part(start..end), whole[from..to], "{start}..{end}");
            }
        }
    }
}
