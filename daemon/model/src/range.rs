//! Ranges of bytes and of chunk groups, all half-open, and sets of groups.

use std::fmt;

/// Size of a chunk group in bytes: 16 BLAKE3 chunks, the unit of verification and of "have".
pub const GROUP_BYTES: u64 = 16 * 1024;

/// Bytes `start..end` of an object. `start <= end` always holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

impl ByteRange {
    /// `start..end`, or nothing when they are the wrong way round.
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    /// The whole of an object of `length` bytes.
    pub fn whole(length: u64) -> Self {
        Self { start: 0, end: length }
    }

    /// First byte.
    pub fn start(self) -> u64 {
        self.start
    }

    /// One past the last byte.
    pub fn end(self) -> u64 {
        self.end
    }

    /// Count of bytes.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

impl fmt::Debug for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {}..{}", self.start, self.end)
    }
}

/// The index of a chunk group in its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkGroup(pub u64);

impl ChunkGroup {
    /// The group that holds the byte at `offset`.
    pub fn holding(offset: u64) -> Self {
        Self(offset / GROUP_BYTES)
    }

    /// Offset of the group's first byte.
    pub fn offset(self) -> u64 {
        self.0.saturating_mul(GROUP_BYTES)
    }
}

/// How many groups an object of `length` bytes has. An empty object has none.
pub fn groups_of(length: u64) -> u64 {
    length.div_ceil(GROUP_BYTES)
}

/// Groups `start..end`. `start <= end` always holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupSpan {
    start: u64,
    end: u64,
}

impl GroupSpan {
    /// `start..end`, or nothing when they are the wrong way round.
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    /// `start..end`, empty when they are the wrong way round.
    pub fn clamped(start: u64, end: u64) -> Self {
        Self { start, end: end.max(start) }
    }

    /// All groups of an object of `length` bytes.
    pub fn whole(length: u64) -> Self {
        Self { start: 0, end: groups_of(length) }
    }

    /// The groups that hold any byte of `range`.
    pub fn covering(range: ByteRange) -> Self {
        if range.is_empty() {
            let group = range.start / GROUP_BYTES;
            return Self { start: group, end: group };
        }
        Self { start: range.start / GROUP_BYTES, end: range.end.div_ceil(GROUP_BYTES) }
    }

    /// First group's index.
    pub fn start(self) -> u64 {
        self.start
    }

    /// One past the last group's index.
    pub fn end(self) -> u64 {
        self.end
    }

    /// Count of groups.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether `group` lies in it.
    pub fn contains(self, group: u64) -> bool {
        (self.start..self.end).contains(&group)
    }

    /// What both have; empty when they are apart.
    pub fn intersection(self, other: GroupSpan) -> GroupSpan {
        let start = self.start.max(other.start);
        GroupSpan::clamped(start, self.end.min(other.end))
    }

    /// The bytes of these groups in an object of `length` bytes.
    pub fn bytes(self, length: u64) -> ByteRange {
        let end = self.end.saturating_mul(GROUP_BYTES).min(length);
        ByteRange { start: self.start.saturating_mul(GROUP_BYTES).min(end), end }
    }
}

impl fmt::Debug for GroupSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "groups {}..{}", self.start, self.end)
    }
}

/// Which groups of an object are held: sorted, disjoint, non-touching spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSet {
    spans: Vec<GroupSpan>,
}

impl GroupSet {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything in `span`.
    pub fn of(span: GroupSpan) -> Self {
        let mut set = Self::new();
        set.insert(span);
        set
    }

    /// Adds `span`.
    pub fn insert(&mut self, span: GroupSpan) {
        if span.is_empty() {
            return;
        }
        // Spans that overlap or touch the new one melt into it.
        let from = self.spans.partition_point(|held| held.end < span.start);
        let to = self.spans.partition_point(|held| held.start <= span.end);
        let merged = match self.spans.get(from..to) {
            Some([first, .., last]) => {
                GroupSpan { start: span.start.min(first.start), end: span.end.max(last.end) }
            }
            Some([only]) => GroupSpan { start: span.start.min(only.start), end: span.end.max(only.end) },
            _ => span,
        };
        self.spans.splice(from..to, [merged]);
    }

    /// Takes `span` out.
    pub fn remove(&mut self, span: GroupSpan) {
        if span.is_empty() {
            return;
        }
        let from = self.spans.partition_point(|held| held.end <= span.start);
        let to = self.spans.partition_point(|held| held.start < span.end);
        let left: Vec<GroupSpan> = self.spans[from..to]
            .iter()
            .flat_map(|held| {
                [
                    GroupSpan::clamped(held.start, span.start.min(held.end)),
                    GroupSpan::clamped(span.end.max(held.start), held.end),
                ]
            })
            .filter(|part| !part.is_empty())
            .collect();
        self.spans.splice(from..to, left);
    }

    /// Whether `group` is in the set.
    pub fn contains(&self, group: u64) -> bool {
        self.run_from(group) > 0
    }

    /// Whether all of `span` is in the set.
    pub fn contains_all(&self, span: GroupSpan) -> bool {
        self.run_from(span.start) >= span.len()
    }

    /// How many groups follow one another in the set from `group` on; 0 when it is not in the set.
    pub fn run_from(&self, group: u64) -> u64 {
        let at = self.spans.partition_point(|held| held.end <= group);
        self.spans.get(at).filter(|held| held.start <= group).map_or(0, |held| held.end - group)
    }

    /// Count of groups.
    pub fn len(&self) -> u64 {
        self.spans.iter().map(|span| span.len()).sum()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The spans, in order.
    pub fn spans(&self) -> &[GroupSpan] {
        &self.spans
    }

    /// The parts of `span` that are not in the set, in order.
    pub fn missing_in(&self, span: GroupSpan) -> impl Iterator<Item = GroupSpan> + '_ {
        let from = self.spans.partition_point(|held| held.end <= span.start);
        let mut at = span.start;
        let mut held = self.spans[from..].iter();
        std::iter::from_fn(move || {
            while at < span.end {
                let next = held.next().copied();
                let gap_end = next.map_or(span.end, |next| next.start.min(span.end));
                let gap = GroupSpan::clamped(at, gap_end);
                at = next.map_or(span.end, |next| next.end);
                if !gap.is_empty() {
                    return Some(gap);
                }
            }
            None
        })
    }

    /// What is in both this set and `span`.
    pub fn within(&self, span: GroupSpan) -> GroupSet {
        let spans =
            self.spans.iter().map(|held| held.intersection(span)).filter(|part| !part.is_empty()).collect();
        GroupSet { spans }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn span() -> impl Strategy<Value = GroupSpan> {
        (0u64..64, 0u64..16).prop_map(|(start, len)| GroupSpan::clamped(start, start + len))
    }

    proptest! {
        #[test]
        fn group_set_behaves_as_a_set_of_numbers(steps in prop::collection::vec((any::<bool>(), span()), 0..40), probe in span()) {
            let mut set = GroupSet::new();
            let mut model = BTreeSet::new();
            for (insert, span) in steps {
                for group in span.start()..span.end() {
                    if insert { model.insert(group); } else { model.remove(&group); }
                }
                if insert { set.insert(span) } else { set.remove(span) }
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            let listed: Vec<u64> = set.spans().iter().flat_map(|s| s.start()..s.end()).collect();
            prop_assert_eq!(&listed, &model.iter().copied().collect::<Vec<_>>());
            prop_assert!(set.spans().windows(2).all(|pair| pair[0].end() < pair[1].start()));
            let missing: Vec<u64> = set.missing_in(probe).flat_map(|s| s.start()..s.end()).collect();
            let expected: Vec<u64> = (probe.start()..probe.end()).filter(|g| !model.contains(g)).collect();
            prop_assert_eq!(missing, expected);
            prop_assert_eq!(set.contains_all(probe), (probe.start()..probe.end()).all(|g| model.contains(&g)));
            prop_assert_eq!(set.within(probe).len(), (probe.start()..probe.end()).filter(|g| model.contains(g)).count() as u64);
        }
    }

    #[test]
    fn the_last_group_may_be_short() {
        assert_eq!(groups_of(0), 0);
        assert_eq!(groups_of(GROUP_BYTES), 1);
        assert_eq!(groups_of(GROUP_BYTES + 1), 2);
        let span = GroupSpan::clamped(1, 2);
        assert_eq!(span.bytes(GROUP_BYTES + 5), ByteRange { start: GROUP_BYTES, end: GROUP_BYTES + 5 });
        assert_eq!(span.bytes(3), ByteRange { start: 3, end: 3 });
    }
}
