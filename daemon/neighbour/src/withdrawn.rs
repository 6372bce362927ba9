//! What origins took back from this box, for boxes that have not heard of it yet: the content of `withdrawals.cbor`.
//!
//! Pure: time is passed in, bytes come and go as slices. Names are hashes, so the file tells nobody what was held.

use std::collections::VecDeque;

use kith_model::limits::{
    PAIRED_MAX, WITHDRAWAL_AGE, WITHDRAWALS_AT_ONCE_MAX, WITHDRAWALS_MAX, WITHDRAWALS_PER_HOUR_MAX,
};
use kith_model::sharing::Audience;
use kith_model::time::UnixMillis;
use litemap::LiteMap;
use minicbor::{Decode, Encode};

use crate::claim::Subject;
use crate::identity::NodeId;

/// Name of the file in the data folder.
pub const FILE_NAME: &str = "withdrawals.cbor";

const FORMAT_VERSION: u32 = 1;

/// One file that an origin took back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    #[cbor(n(0), with = "minicbor::bytes")]
    subject: [u8; 32],
    #[n(1)]
    is_for_neighbours: bool,
    /// When, in milliseconds since 1970.
    #[n(2)]
    pub at_ms: u64,
    /// Ed25519 over the withdrawal.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

impl Entry {
    /// A file that was shared as far as with `reach`.
    pub fn new(subject: Subject, reach: Audience, at: UnixMillis, signature: [u8; 64]) -> Self {
        let is_for_neighbours = reach >= Audience::Neighbour;
        Self { subject: *subject.as_bytes(), is_for_neighbours, at_ms: at.0, signature }
    }

    /// What the file is looked up as.
    pub fn subject(&self) -> Subject {
        Subject::from_bytes(self.subject)
    }

    fn is_for(&self, audience: Audience) -> bool {
        self.is_for_neighbours || audience <= Audience::Mine
    }
}

/// The latest withdrawals, and who was told of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Number of the first entry; they are numbered as they come.
    first: u64,
    entries: VecDeque<Entry>,
    /// The number that a box is to be told next.
    next: LiteMap<NodeId, u64>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    version: u32,
    #[n(1)]
    first: u64,
    #[n(2)]
    entries: Vec<Entry>,
    #[n(3)]
    told: Vec<Told>,
}

#[derive(Encode, Decode)]
struct Told {
    #[cbor(n(0), with = "minicbor::bytes")]
    id: [u8; 32],
    #[n(1)]
    next: u64,
}

impl Log {
    /// Reads the file's content; nothing when it is not ours.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = minicbor::decode(bytes).ok()?;
        let is_ours = stored.version == FORMAT_VERSION
            && stored.entries.len() <= WITHDRAWALS_MAX
            && stored.told.len() <= PAIRED_MAX
            && stored.first <= u64::MAX / 2;
        let mut next = LiteMap::new();
        for told in &stored.told {
            next.insert(NodeId::from_bytes(told.id), told.next);
        }
        is_ours.then(|| Self { first: stored.first, entries: stored.entries.into(), next })
    }

    /// The file's content.
    pub fn to_bytes(&self) -> Vec<u8> {
        let told = self.next.iter().map(|(id, next)| Told { id: *id.as_bytes(), next: *next });
        let stored = Stored {
            version: FORMAT_VERSION,
            first: self.first,
            entries: self.entries.iter().cloned().collect(),
            told: told.collect(),
        };
        minicbor::to_vec(stored).expect("invariant: writing to a Vec does not fail")
    }

    /// Notes a withdrawal. The same file again is a new one: it may have come back in between.
    pub fn push(&mut self, entry: Entry, now: UnixMillis) {
        let is_old = |entry: &Entry| now.since(UnixMillis(entry.at_ms)) > WITHDRAWAL_AGE;
        while self.entries.len() >= WITHDRAWALS_MAX || self.entries.front().is_some_and(is_old) {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back(entry);
    }

    /// What a box is to be told now, and the number behind it.
    pub fn pending(&self, id: &NodeId, audience: Audience, now: UnixMillis) -> (Vec<Entry>, u64) {
        let next = self.next.get(id).copied().unwrap_or(0).clamp(self.first, self.end());
        let skip = usize::try_from(next - self.first).unwrap_or(usize::MAX);
        let batch = self.entries.iter().skip(skip).take(WITHDRAWALS_AT_ONCE_MAX);
        let counts =
            |entry: &&Entry| entry.is_for(audience) && now.since(UnixMillis(entry.at_ms)) <= WITHDRAWAL_AGE;
        (batch.clone().filter(counts).cloned().collect(), next + batch.count() as u64)
    }

    /// Notes that a box was told of all below `next`. Who is no longer paired is forgotten.
    pub fn told(&mut self, id: &NodeId, next: u64, is_paired: impl Fn(&NodeId) -> bool) {
        self.next.retain(|id, _| is_paired(id));
        if self.next.len() < PAIRED_MAX || self.next.contains_key(id) {
            self.next.insert(*id, next);
        }
    }

    /// The number behind the last entry.
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }
}

/// How many withdrawals of one neighbour may still be heard within the hour.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    hour: u64,
    heard: usize,
}

impl Allowance {
    pub(crate) fn take(&mut self, count: usize, now: UnixMillis) -> bool {
        let hour = now.seconds() / 3_600;
        if self.hour != hour {
            *self = Self { hour, heard: 0 };
        }
        let may = self.heard + count <= WITHDRAWALS_PER_HOUR_MAX;
        if may {
            self.heard += count;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 86_400_000;

    fn entry(number: u8, reach: Audience, at: u64) -> Entry {
        Entry::new(Subject::from_bytes([number; 32]), reach, UnixMillis(at), [number; 64])
    }

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn numbers(entries: &[Entry]) -> Vec<u8> {
        entries.iter().map(|entry| entry.subject[0]).collect()
    }

    #[test]
    fn who_was_off_is_told_once_and_of_what_it_may_know() {
        let now = UnixMillis(DAY);
        let mut log = Log::default();
        log.push(entry(1, Audience::Mine, DAY), now);
        log.push(entry(2, Audience::Neighbour, DAY), now);
        let (mine, next) = log.pending(&id(1), Audience::Mine, now);
        assert_eq!((numbers(&mine), next), (vec![1, 2], 2));
        assert_eq!(numbers(&log.pending(&id(2), Audience::Neighbour, now).0), [2]);
        log.told(&id(1), next, |_| true);
        assert_eq!(log.pending(&id(1), Audience::Mine, now), (vec![], 2));
        log.push(entry(3, Audience::Mine, DAY), now);
        assert_eq!(numbers(&log.pending(&id(1), Audience::Mine, now).0), [3]);
        log.told(&id(3), 1, |other| *other == id(3));
        assert_eq!(log.next.len(), 1, "who is no longer paired is forgotten");
    }

    #[test]
    fn it_is_bounded_in_count_and_age_and_told_in_pieces() {
        let mut log = Log::default();
        for number in 0..=255u8 {
            log.push(entry(number, Audience::Mine, DAY), UnixMillis(DAY));
        }
        log.push(entry(7, Audience::Mine, DAY), UnixMillis(DAY));
        assert_eq!(log.entries.len(), WITHDRAWALS_MAX);
        let mut told = Vec::new();
        while log.next.get(&id(1)).copied().unwrap_or(0) < log.end() {
            let (batch, next) = log.pending(&id(1), Audience::Mine, UnixMillis(DAY));
            assert!(batch.len() <= WITHDRAWALS_AT_ONCE_MAX);
            told.extend(numbers(&batch));
            log.told(&id(1), next, |_| true);
        }
        assert_eq!((told.len(), told[0], told[255]), (WITHDRAWALS_MAX, 1, 7));
        let later = UnixMillis(32 * DAY);
        assert!(log.pending(&id(2), Audience::Mine, later).0.is_empty());
        log.push(entry(9, Audience::Mine, later.0), later);
        assert_eq!(log.entries.len(), 1);
        assert_eq!(numbers(&log.pending(&id(1), Audience::Mine, later).0), [9]);
    }

    #[test]
    fn the_file_round_trips_and_what_is_not_ours_is_none() {
        let mut log = Log::default();
        log.push(entry(1, Audience::Neighbour, DAY), UnixMillis(DAY));
        log.told(&id(1), 1, |_| true);
        assert_eq!(Log::from_bytes(&log.to_bytes()), Some(log.clone()));
        let later = Stored { version: 2, first: 0, entries: Vec::new(), told: Vec::new() };
        assert_eq!(Log::from_bytes(&minicbor::to_vec(later).expect("vec")), None);
    }

    #[test]
    fn an_hour_has_its_measure() {
        let mut allowance = Allowance::default();
        assert!(allowance.take(WITHDRAWALS_PER_HOUR_MAX, UnixMillis(DAY)));
        assert!(!allowance.take(1, UnixMillis(DAY + 1)));
        assert!(allowance.take(1, UnixMillis(DAY + 3_600_000)));
        assert!(!allowance.take(WITHDRAWALS_PER_HOUR_MAX, UnixMillis(DAY + 3_600_001)));
    }

    proptest! {
        #[test]
        fn no_file_content_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), first in any::<u64>(), next in any::<u64>()) {
            let _ = Log::from_bytes(&bytes);
            let told = vec![Told { id: [1; 32], next }];
            let stored = Stored { version: 1, first, entries: vec![entry(1, Audience::Mine, next)], told };
            if let Some(mut log) = Log::from_bytes(&minicbor::to_vec(stored).expect("vec")) {
                let _ = log.pending(&id(1), Audience::Mine, UnixMillis(first));
                log.push(entry(2, Audience::Mine, first), UnixMillis(next));
            }
        }
    }
}
