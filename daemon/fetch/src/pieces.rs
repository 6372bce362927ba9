//! A list of piece hashes (RFC 5854 section 4.2.13): a flat tree, by which each piece can be checked as it comes. Pure but for
//! `Checked`, which holds a source to such a list.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use kith_model::ladder::{Algorithm, Digest};
use kith_model::range::{ByteRange, GROUP_BYTES, GroupSpan};
use kith_model::verify::Run;

use crate::source::{Abilities, Fault, Lane, Source, SourceError, SourceKind, Truth};

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

    /// Whether these parts, in a row, are the piece that begins at byte `offset`.
    pub fn check(&self, offset: u64, parts: &[&[u8]]) -> bool {
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
            && told.is_some_and(|told| {
                let mut context = ring::digest::Context::new(function);
                for part in parts {
                    context.update(part);
                }
                context.finish().as_ref() == told
            })
    }
}

/// A source whose bytes are handed on piece by piece, each once it was found to match the list.
pub(crate) struct Checked {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) pieces: Arc<Pieces>,
    /// Of the object, in bytes.
    pub(crate) length: u64,
}

impl Source for Checked {
    fn kind(&self) -> SourceKind {
        self.source.kind()
    }

    fn label(&self) -> &str {
        self.source.label()
    }

    fn abilities(&self) -> Abilities {
        Abilities { grain: self.pieces.length() / GROUP_BYTES, ..self.source.abilities() }
    }

    fn open(&self, span: GroupSpan) -> BoxFuture<'static, Result<Box<dyn Lane>, SourceError>> {
        let (source, pieces, length) = (Arc::clone(&self.source), Arc::clone(&self.pieces), self.length);
        Box::pin(async move {
            let around = pieces.around(span, length).ok_or(SourceError::NotHeld)?;
            let lane = source.open(GroupSpan::covering(around)).await?;
            Ok(checked(lane, source, pieces, (around, span)))
        })
    }

    fn blame(&self, fault: Fault) {
        self.source.blame(fault);
    }

    fn vouches(&self) -> bool {
        self.source.vouches()
    }
}

/// Hands on what a lane of `source` brings of `span`, piece by piece, each once it was found to match the list; the lane
/// brings `around`, the pieces that the span touches. The source is blamed for one that does not match.
pub fn checked(
    lane: Box<dyn Lane>,
    source: Arc<dyn Source>,
    pieces: Arc<Pieces>,
    (around, span): (ByteRange, GroupSpan),
) -> Box<dyn Lane> {
    let (at, end) = (around.start(), around.end());
    let (gathered, checked) = (VecDeque::new(), VecDeque::new());
    Box::new(CheckedLane { lane, source, pieces, at, end, span, gathered, checked })
}

struct CheckedLane {
    lane: Box<dyn Lane>,
    source: Arc<dyn Source>,
    pieces: Arc<Pieces>,
    /// First byte of the piece that is gathered, and one past the last one's last.
    at: u64,
    end: u64,
    /// What was asked for; the pieces around it may be larger.
    span: GroupSpan,
    gathered: VecDeque<Run>,
    checked: VecDeque<Run>,
}

impl Lane for CheckedLane {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Run>, SourceError>> {
        Box::pin(async move {
            loop {
                while let Some(run) = self.checked.pop_front() {
                    if let Some(run) = run.narrowed(self.span) {
                        return Ok(Some(run.matched_pieces()));
                    }
                }
                if self.at >= self.end {
                    return Ok(None);
                }
                match self.lane.next().await? {
                    Some(run) => self.gather(run)?,
                    None => return Err(SourceError::BrokeOff("it ended within a piece".into())),
                }
            }
        })
    }
}

impl CheckedLane {
    /// Takes a run, which may end one piece and begin others.
    fn gather(&mut self, run: Run) -> Result<(), SourceError> {
        let mut rest = Some(run);
        while let Some(run) = rest {
            let piece_end = (self.at + self.pieces.length()).min(self.end).div_ceil(GROUP_BYTES);
            let within = run.narrowed(GroupSpan::clamped(0, piece_end));
            rest = run.narrowed(GroupSpan::clamped(piece_end, u64::MAX));
            let Some(within) = within else {
                return Err(SourceError::Nonsense("a run out of place".into()));
            };
            let is_whole = within.span().end() == piece_end;
            self.gathered.push_back(within);
            if is_whole {
                self.check()?;
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), SourceError> {
        let parts: Vec<&[u8]> = self.gathered.iter().map(|run| &run.bytes()[..]).collect();
        if !self.pieces.check(self.at, &parts) {
            // What a box sends is proven to be of the object that it claims: so that is another one.
            self.source.blame(Fault::FalseClaim(Truth::Piece(self.at)));
            return Err(SourceError::Mismatch);
        }
        self.at = (self.at + self.pieces.length()).min(self.end);
        self.checked.append(&mut self.gathered);
        Ok(())
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
        let (first, last) = body.split_at(piece);
        assert!(pieces.check(0, &[first]) && pieces.check(2 * GROUP_BYTES, &[last]));
        assert!(pieces.check(0, &[&first[..7], &first[7..]]));
        assert!(!pieces.check(0, &[last]) && !pieces.check(GROUP_BYTES, &[first]));
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
