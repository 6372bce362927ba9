//! A list of piece hashes (RFC 5854 section 4.2.13): a flat tree, by which each piece can be checked as it comes. Pure.

use kith_model::ladder::{Algorithm, Digest};
use kith_model::range::{ByteRange, GROUP_BYTES, GroupSpan};

/// Digests of consecutive pieces of one length; only the last piece may be shorter. Pieces begin at groups' edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces {
    algorithm: Algorithm,
    length: u64,
    /// All digests in a row: a list of 65,536 costs no more than its bytes.
    digests: Vec<u8>,
}

impl Pieces {
    /// Nothing without digests, with digests of several kinds or of a kind that is not checked, or when pieces do not
    /// begin at groups' edges.
    pub fn new(length: u64, digests: &[Digest]) -> Option<Self> {
        let algorithm = digests.first()?.algorithm();
        let fits = length > 0
            && length.is_multiple_of(GROUP_BYTES)
            && algorithm != Algorithm::Md5
            && digests.iter().all(|digest| digest.algorithm() == algorithm);
        fits.then(|| Self {
            algorithm,
            length,
            digests: digests.iter().flat_map(|digest| digest.bytes().to_vec()).collect(),
        })
    }

    /// Length of a piece in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        (self.digests.len() / self.algorithm.digest_len()) as u64
    }

    /// Whether the list is one of an object of so many bytes.
    pub fn suits(&self, length: u64) -> bool {
        self.count() == length.div_ceil(self.length)
    }

    /// The smallest range of whole pieces around `span` in an object of `length` bytes.
    pub fn around(&self, span: GroupSpan, length: u64) -> Option<ByteRange> {
        let range = span.bytes(length);
        let start = range.start() / self.length * self.length;
        let end = range.end().checked_next_multiple_of(self.length)?.min(length);
        ByteRange::new(start, end)
    }

    /// Whether `bytes` are the piece that begins at byte `offset`.
    pub fn check(&self, offset: u64, bytes: &[u8]) -> bool {
        let function = match self.algorithm {
            Algorithm::Sha1 => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => &ring::digest::SHA256,
            Algorithm::Sha512 => &ring::digest::SHA512,
            Algorithm::Md5 => return false,
        };
        let len = self.algorithm.digest_len();
        let told =
            usize::try_from(offset / self.length).ok().and_then(|index| self.digests.chunks(len).nth(index));
        offset.is_multiple_of(self.length)
            && told.is_some_and(|told| ring::digest::digest(function, bytes).as_ref() == told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(bytes: &[u8]) -> Digest {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        Digest::new(Algorithm::Sha256, digest.as_ref()).expect("32 bytes")
    }

    #[test]
    fn a_piece_is_checked_at_its_place() {
        let piece = usize::try_from(2 * GROUP_BYTES).expect("small");
        let body = vec![7; piece + 5];
        let pieces =
            Pieces::new(2 * GROUP_BYTES, &[sha256(&body[..piece]), sha256(&body[piece..])]).expect("a list");
        let length = body.len() as u64;
        assert!(pieces.suits(length) && !pieces.suits(4 * GROUP_BYTES + 1) && !pieces.suits(2 * GROUP_BYTES));
        assert!(pieces.check(0, &body[..piece]) && pieces.check(2 * GROUP_BYTES, &body[piece..]));
        assert!(!pieces.check(0, &body[piece..]) && !pieces.check(GROUP_BYTES, &body[..piece]));
        assert!(!pieces.check(4 * GROUP_BYTES, &[]));
        let around = |start, end| pieces.around(GroupSpan::clamped(start, end), length);
        assert_eq!(around(1, 2), ByteRange::new(0, 2 * GROUP_BYTES));
        assert_eq!(around(1, 3), ByteRange::new(0, length));
        assert_eq!(around(2, 3), ByteRange::new(2 * GROUP_BYTES, length));
    }

    #[test]
    fn a_list_that_cannot_be_checked_is_none() {
        let md5 = Digest::new(Algorithm::Md5, &[0; 16]).expect("16 bytes");
        assert!(Pieces::new(GROUP_BYTES, &[]).is_none());
        assert!(Pieces::new(GROUP_BYTES, std::slice::from_ref(&md5)).is_none());
        assert!(Pieces::new(GROUP_BYTES, &[sha256(b""), md5]).is_none());
        assert!(Pieces::new(GROUP_BYTES + 1, &[sha256(b"")]).is_none());
        assert!(Pieces::new(0, &[sha256(b"")]).is_none());
    }
}
