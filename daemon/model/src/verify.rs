//! Verification of chunk groups: from foreign bytes to a [`Run`] that says who vouches for it.
//!
//! A tree here is the BLAKE3 tree at chunk-group granularity. Its leaves are the chaining values of whole
//! groups (32 bytes a group); folding all leaves gives the object's id and its outboard, the parents in post-order,
//! 64 bytes a pair, byte for byte as `bao-tree` lays them out. Slices on the wire are `bao-tree`'s range encoding
//! (parents in pre-order before what they prove).
//!
//! Knows nothing of who sent what: blame is the caller's.

use std::io;

use bao_tree::io::BaoContentItem;
pub use bao_tree::io::sync::ReadAt;
use bao_tree::io::sync::{DecodeResponseIter, encode_ranges_validated};
use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges};
use blake3::hazmat::{self, HasherExt, Mode};
use bytes::{Bytes, BytesMut};

use crate::object::ObjectId;
use crate::range::{ByteRange, ChunkGroup, GROUP_BYTES, GroupSpan, groups_of};

/// 16 KiB as a power of two of 1 KiB chunks.
const BLOCK_SIZE: BlockSize = BlockSize::from_chunk_log(4);
const CHUNKS_PER_GROUP: u64 = 16;

/// The chaining value of one chunk group at its place in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf(pub [u8; 32]);

/// Who vouches for the bytes of a [`Run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// They are proven to belong to this object.
    Tree(ObjectId),
    /// The origin sent them under the validator that the fetch is bound to.
    Origin,
    /// They match a list of piece hashes that the origin told.
    Pieces,
    /// A box of the same owner signed that its origin sent them.
    Signed,
    /// Nobody yet: somebody sent them, and only the check of the whole will tell.
    Nobody,
}

/// Whole groups that follow one another, hashed once, with their leaves. Only this module makes one, so whoever
/// holds a `Run` knows that the leaves are those of the bytes and that the provenance was earned.
#[derive(Clone, Debug)]
pub struct Run {
    first: ChunkGroup,
    bytes: Bytes,
    leaves: Vec<Leaf>,
    provenance: Provenance,
}

impl Run {
    /// Hashes bytes that came from the origin. Every group but the object's last is [`GROUP_BYTES`] long; the
    /// caller sees to that, as only it knows where the object ends.
    pub fn from_origin(first: ChunkGroup, bytes: Bytes) -> Self {
        Self::hashed(first, bytes, Provenance::Origin)
    }

    /// The same for bytes that another box signs for; whether it does is the caller's to check, by [`Self::subtree`].
    pub fn of_signed_unit(first: ChunkGroup, bytes: Bytes) -> Self {
        Self::hashed(first, bytes, Provenance::Signed)
    }

    fn hashed(first: ChunkGroup, bytes: Bytes, provenance: Provenance) -> Self {
        let leaves =
            (first.0..).zip(bytes.chunks(group_usize())).map(|(at, group)| leaf(at, group)).collect();
        Self { first, bytes, leaves, provenance }
    }

    /// The same bytes, which were found to match the origin's piece hashes.
    #[must_use]
    pub fn matched_pieces(self) -> Self {
        Self { provenance: Provenance::Pieces, ..self }
    }

    /// The same bytes, vouched for by nobody.
    #[must_use]
    pub fn disowned(self) -> Self {
        Self { provenance: Provenance::Nobody, ..self }
    }

    /// Index of the first group.
    pub fn first(&self) -> ChunkGroup {
        self.first
    }

    /// The groups it covers.
    pub fn span(&self) -> GroupSpan {
        GroupSpan::clamped(self.first.0, self.first.0 + self.leaves.len() as u64)
    }

    /// All bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// One leaf a group.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// The chaining value of all groups together. They must be a complete subtree of the object: a power of two of
    /// groups at a multiple of it, or what is left of that at the object's end; and not the whole object.
    pub fn subtree(&self) -> Leaf {
        Leaf(fold_subtree(&self.leaves, &mut Vec::new()))
    }

    /// Who vouches for it.
    pub fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// The part of the run that lies in `span`, without hashing again.
    pub fn narrowed(&self, span: GroupSpan) -> Option<Run> {
        let span = self.span().intersection(span);
        if span.is_empty() {
            return None;
        }
        let skip = usize::try_from(span.start() - self.first.0).ok()?;
        let count = usize::try_from(span.len()).ok()?;
        let end = ((skip + count) * group_usize()).min(self.bytes.len());
        Some(Run {
            first: ChunkGroup(span.start()),
            bytes: self.bytes.slice(skip * group_usize()..end),
            leaves: self.leaves[skip..skip + count].to_vec(),
            provenance: self.provenance,
        })
    }
}

/// The chaining value of group number `group`, or of the complete subtree that begins with it.
pub fn leaf(group: u64, bytes: &[u8]) -> Leaf {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(group.saturating_mul(GROUP_BYTES));
    hasher.update(bytes);
    Leaf(hasher.finalize_non_root())
}

/// An object's id and its outboard in post-order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// The root of the tree.
    pub id: ObjectId,
    /// 64 bytes for each parent; `64 * (groups - 1)` bytes in all.
    pub outboard: Vec<u8>,
}

/// Folds the leaves of an object of two groups or more. An object of one group or none has no parents: its id is
/// [`ObjectId::of`] its bytes, and a chaining value cannot be turned into it.
///
/// Returns nothing when the count of leaves is less than two.
pub fn fold(leaves: &[Leaf]) -> Option<Folded> {
    if leaves.len() < 2 {
        return None;
    }
    let mut outboard = Vec::with_capacity((leaves.len() - 1) * 64);
    let (left, right) = leaves.split_at(left_len(leaves.len()));
    let left = fold_subtree(left, &mut outboard);
    let right = fold_subtree(right, &mut outboard);
    push_pair(&mut outboard, &left, &right);
    let id = hazmat::merge_subtrees_root(&left, &right, Mode::Hash).into();
    Some(Folded { id, outboard })
}

fn fold_subtree(leaves: &[Leaf], outboard: &mut Vec<u8>) -> [u8; 32] {
    if let [only] = leaves {
        return only.0;
    }
    let (left, right) = leaves.split_at(left_len(leaves.len()));
    let left = fold_subtree(left, outboard);
    let right = fold_subtree(right, outboard);
    push_pair(outboard, &left, &right);
    hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash)
}

fn push_pair(outboard: &mut Vec<u8>, left: &[u8; 32], right: &[u8; 32]) {
    outboard.extend_from_slice(left);
    outboard.extend_from_slice(right);
}

/// The left subtree takes the largest power of two of groups that leaves one for the right
/// (BLAKE3 paper, section 2.1).
fn left_len(groups: usize) -> usize {
    1 << (groups - 1).ilog2()
}

/// Size in bytes of the outboard of an object of `length` bytes.
pub fn outboard_len(length: u64) -> u64 {
    groups_of(length).saturating_sub(1) * 64
}

/// Size in bytes of the encoded slice that carries `span` of an object of `length` bytes.
/// What a receiver may expect at most: the bytes, a pair for every parent inside, and a path to the root.
pub fn slice_len_max(length: u64, span: GroupSpan) -> u64 {
    let inside = span.len().saturating_mul(64);
    let path = 64 * 2 * u64::from(64 - groups_of(length).leading_zeros());
    span.bytes(length).len() + inside + path
}

/// Encodes `span` for a receiver that knows only the object's id and length, checking every group on the way.
///
/// # Errors
/// `InvalidData` when the stored bytes no longer match the stored tree; else what reading gave.
pub fn encode(
    object: ObjectId,
    length: u64,
    span: GroupSpan,
    outboard: impl ReadAt,
    data: impl ReadAt,
) -> io::Result<Bytes> {
    let tree = BaoTree::new(length, BLOCK_SIZE);
    let outboard = bao_tree::io::outboard::PostOrderOutboard { root: object.into(), tree, data: outboard };
    let capacity = usize::try_from(slice_len_max(length, span)).map_err(io::Error::other)?;
    let mut encoded = Vec::with_capacity(capacity);
    encode_ranges_validated(data, outboard, &chunks(span), &mut encoded)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(encoded.into())
}

/// Bytes that are not what the tree says. The sender's fault.
#[derive(Debug, thiserror::Error)]
#[error("the slice does not prove groups of {object}")]
pub struct BadSlice {
    /// The object the slice was asked of.
    pub object: ObjectId,
    #[source]
    source: Option<io::Error>,
}

/// Decodes a slice that carries `span` of `object` and proves it.
///
/// The length is proven only by a slice that holds the object's last group; until then it is the claimant's word,
/// and a wrong one makes slices fail.
pub fn decode(object: ObjectId, length: u64, span: GroupSpan, encoded: &[u8]) -> Result<Run, BadSlice> {
    let bad = |source: Option<io::Error>| BadSlice { object, source };
    let span = span.intersection(GroupSpan::whole(length));
    let tree = BaoTree::new(length, BLOCK_SIZE);
    let ranges = chunks(span);
    let mut rest = encoded;
    let mut path = LeafPath::new(span, groups_of(length));
    let mut bytes =
        BytesMut::with_capacity(usize::try_from(span.bytes(length).len()).map_err(|_| bad(None))?);
    let mut leaves = Vec::with_capacity(usize::try_from(span.len()).map_err(|_| bad(None))?);
    for item in DecodeResponseIter::new(object.into(), tree, &mut rest, &ranges) {
        match item.map_err(|error| bad(Some(error.into())))? {
            BaoContentItem::Parent(parent) => path.descend(&parent.pair),
            BaoContentItem::Leaf(item) => {
                // The only group of an object is its root; its chaining value has to be computed.
                leaves.push(path.next_leaf().unwrap_or_else(|| leaf(span.start(), &item.data)));
                bytes.extend_from_slice(&item.data);
            }
        }
    }
    if !rest.is_empty() || leaves.len() as u64 != span.len() {
        return Err(bad(None));
    }
    let first = ChunkGroup(span.start());
    Ok(Run { first, bytes: bytes.freeze(), leaves, provenance: Provenance::Tree(object) })
}

/// Walks along with the decoder and remembers the chaining values that the proven parents name, so that no group
/// is hashed twice. The stack holds subtrees still to come, the next one on top.
struct LeafPath {
    span: GroupSpan,
    stack: Vec<(GroupSpan, Option<Leaf>)>,
}

impl LeafPath {
    fn new(span: GroupSpan, groups: u64) -> Self {
        Self { span, stack: vec![(GroupSpan::clamped(0, groups), None)] }
    }

    fn descend(&mut self, pair: &(blake3::Hash, blake3::Hash)) {
        let Some((subtree, _)) = self.stack.pop() else { return };
        let groups = usize::try_from(subtree.len()).unwrap_or(usize::MAX);
        let middle = subtree.start() + left_len(groups.max(2)) as u64;
        let right = (GroupSpan::clamped(middle, subtree.end()), Some(Leaf(*pair.1.as_bytes())));
        let left = (GroupSpan::clamped(subtree.start(), middle), Some(Leaf(*pair.0.as_bytes())));
        for (subtree, leaf) in [right, left] {
            if !subtree.intersection(self.span).is_empty() {
                self.stack.push((subtree, leaf));
            }
        }
    }

    fn next_leaf(&mut self) -> Option<Leaf> {
        self.stack.pop().and_then(|(_, leaf)| leaf)
    }
}

fn chunks(span: GroupSpan) -> ChunkRanges {
    let at = |group: u64| ChunkNum(group.saturating_mul(CHUNKS_PER_GROUP));
    ChunkRanges::from(at(span.start())..at(span.end()))
}

fn group_usize() -> usize {
    usize::try_from(GROUP_BYTES).expect("invariant: 16 KiB fits every usize")
}

/// The bytes of `range` that lie in `run`, as (offset in the object, bytes).
pub fn part_of(run: &Run, range: ByteRange) -> Option<(u64, Bytes)> {
    let start = range.start().max(run.first.offset());
    let end = range.end().min(run.first.offset() + run.bytes.len() as u64);
    if start >= end {
        return None;
    }
    let from = usize::try_from(start - run.first.offset()).ok()?;
    let to = usize::try_from(end - run.first.offset()).ok()?;
    Some((start, run.bytes.slice(from..to)))
}

#[cfg(test)]
mod tests {
    use bao_tree::io::outboard::PostOrderMemOutboard;
    use proptest::prelude::*;

    use super::*;

    fn sample(length: u64) -> Vec<u8> {
        (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
    }

    fn folded(data: &[u8]) -> Option<Folded> {
        fold(Run::from_origin(ChunkGroup(0), Bytes::copy_from_slice(data)).leaves())
    }

    fn slice(data: &[u8], span: GroupSpan) -> (ObjectId, Bytes) {
        let id = ObjectId::of(data);
        let outboard = folded(data).map_or_else(Vec::new, |folded| folded.outboard);
        let encoded = encode(id, data.len() as u64, span, &outboard[..], data).expect("own data matches");
        (id, encoded)
    }

    #[test]
    fn the_fold_is_the_blake3_tree_and_the_outboard_is_bao_trees() {
        for groups in [1u64, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33] {
            for length in [groups * GROUP_BYTES + 1, (groups + 1) * GROUP_BYTES] {
                let data = sample(length);
                let folded = folded(&data).expect("two groups at least");
                let theirs = PostOrderMemOutboard::create(&data, BLOCK_SIZE);
                assert_eq!(folded.id, ObjectId::of(&data), "{length}");
                assert_eq!(folded.outboard, theirs.data, "{length}");
                assert_eq!(folded.outboard.len() as u64, outboard_len(length));
            }
        }
    }

    #[test]
    fn an_object_of_one_group_is_proven_by_its_hash_alone() {
        for length in [1, 1000, GROUP_BYTES] {
            let data = sample(length);
            let (id, encoded) = slice(&data, GroupSpan::whole(length));
            let run = decode(id, length, GroupSpan::whole(length), &encoded).expect("right bytes");
            assert_eq!(run.bytes(), &data);
            assert_eq!(run.leaves(), [leaf(0, &data)]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_decoded_slice_has_the_bytes_and_the_leaves_of_the_object(length in 1u64..600_000, a in 0u64..40, b in 0u64..40) {
            let data = sample(length);
            let span = GroupSpan::clamped(a.min(b), a.max(b) + 1).intersection(GroupSpan::whole(length));
            prop_assume!(!span.is_empty());
            let (id, encoded) = slice(&data, span);
            prop_assert!(encoded.len() as u64 <= slice_len_max(length, span));
            let run = decode(id, length, span, &encoded).expect("right bytes");
            let range = span.bytes(length);
            let at = |offset: u64| usize::try_from(offset).expect("small");
            let expected = &data[at(range.start())..at(range.end())];
            prop_assert_eq!(&run.bytes()[..], expected);
            let hashed = Run::from_origin(ChunkGroup(span.start()), Bytes::copy_from_slice(expected));
            prop_assert_eq!(run.leaves(), hashed.leaves());
            prop_assert_eq!(run.span(), span);
        }

        #[test]
        fn any_flipped_bit_or_cut_is_noticed(length in 1u64..200_000, at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
            let data = sample(length);
            let span = GroupSpan::whole(length);
            let (id, encoded) = slice(&data, span);
            let mut damaged = encoded.to_vec();
            if cut { damaged.truncate(at.index(damaged.len())); } else { let i = at.index(damaged.len()); damaged[i] ^= 1 << bit; }
            prop_assert!(decode(id, length, span, &damaged).is_err());
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..5000), length in any::<u64>(), start in any::<u64>(), len in 0u64..8) {
            let span = GroupSpan::clamped(start, start.saturating_add(len));
            prop_assert!(decode(ObjectId::from_bytes([7; 32]), length, span, &bytes).is_err() || length == 0 || span.intersection(GroupSpan::whole(length)).is_empty());
        }
    }

    #[test]
    fn the_chaining_value_of_a_unit_is_the_same_from_its_leaves_and_its_bytes() {
        let data = sample(5 * 64 * GROUP_BYTES + 70_000);
        for first in [0u64, 64, 256, 320] {
            let from = usize::try_from(first * GROUP_BYTES).expect("small");
            let unit = &data[from..data.len().min(from + 64 * group_usize())];
            let run = Run::of_signed_unit(ChunkGroup(first), Bytes::copy_from_slice(unit));
            assert_eq!(run.subtree(), leaf(first, unit), "{first}");
        }
    }

    #[test]
    fn a_narrowed_run_keeps_bytes_and_leaves_together() {
        let data = sample(5 * GROUP_BYTES + 10);
        let run = Run::from_origin(ChunkGroup(0), data.clone().into());
        let part = run.narrowed(GroupSpan::clamped(2, 4)).expect("inside");
        assert_eq!(part.span(), GroupSpan::clamped(2, 4));
        assert_eq!(part.leaves(), &run.leaves()[2..4]);
        assert_eq!(&part.bytes()[..], &data[2 * group_usize()..4 * group_usize()]);
        let tail = run.narrowed(GroupSpan::clamped(5, 9)).expect("the short last group");
        assert_eq!(tail.bytes().len(), 10);
        assert!(run.narrowed(GroupSpan::clamped(6, 9)).is_none());
    }
}
