//! Salted filters: what a box may share with another, as a set of places that only the two can compute.
//!
//! Pure. Each name of an object has one place of `range`, made with the pair's secret and a salt; the sorted places are
//! a Golomb-coded set: the gaps between them in Rice code. Who looks for something computes its places and looks: when
//! none is in the set it is not held. Whatever the bytes, decoding ends with a set within bounds or [`BadFilter`].
//!
//! Our own code, as it is a page: the crates for it are Bloom filters, which take more bits, or cannot tell what was
//! added and removed in the language of places.

use bytes::Bytes;
use kith_model::limits::{FILTER_NAMES_MAX, FILTER_PROMPT_MAX};

use crate::claim::Subject;
use crate::wire::{self, Filter, SetLen};

/// Places for each name: one in 200 is taken, so a look at both names of an object is wrong in one of 100 cases, at
/// `log2(200) + 1.5` bits a name. Who has more neighbours than [`FILTER_PROMPT_MAX`] is looked at together with them, so
/// there are as many times more places, and a look at all of them is wrong as rarely: three bits more with 63.
const PLACES_A_NAME: usize = 200;

/// Bytes that are no filter. The sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a filter that is none")]
pub struct BadFilter;

/// Computes places.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Places {
    key: [u8; 32],
    range: u32,
}

impl Places {
    fn new(secret: &[u8; 32], salt: &[u8; 16], range: u32) -> Self {
        let mut input = [0; 48];
        input[..32].copy_from_slice(secret);
        input[32..].copy_from_slice(salt);
        Self { key: blake3::derive_key("kith 2026 filter v1", &input), range }
    }

    /// The first 64 bits of a keyed hash, scaled down to the range.
    fn of(&self, subject: &Subject) -> u32 {
        let hash = blake3::keyed_hash(&self.key, subject.as_bytes());
        let first = hash.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        u32::try_from((u128::from(first) * u128::from(self.range)) >> 64).unwrap_or(0)
    }

    fn sorted<'a>(&self, subjects: impl Iterator<Item = &'a Subject>) -> Vec<u32> {
        let mut places: Vec<u32> = subjects.take(FILTER_NAMES_MAX).map(|subject| self.of(subject)).collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

/// What a neighbour was told.
#[derive(Debug)]
pub struct Told {
    salt: [u8; 16],
    places: Places,
    names_max: usize,
    set: Vec<u32>,
    number: u32,
}

impl Told {
    /// A whole filter, told by a box with so many neighbours, and the raw bytes to send behind it.
    pub fn whole<'a>(
        secret: &[u8; 32],
        salt: [u8; 16],
        neighbours: usize,
        subjects: impl Iterator<Item = &'a Subject> + Clone,
    ) -> (Self, Filter, Bytes) {
        // Room to grow by an eighth, so that a shelf that fills is not told anew each time.
        let names_max = subjects.clone().take(FILTER_NAMES_MAX).count() * 9 / 8 + 32;
        let places_a_name = PLACES_A_NAME * neighbours.div_ceil(FILTER_PROMPT_MAX).max(1);
        let range = u32::try_from(names_max * places_a_name).unwrap_or(u32::MAX);
        let places = Places::new(secret, &salt, range);
        let set = places.sorted(subjects);
        let told = Self { salt, places, names_max, set, number: 0 };
        let (filter, bytes) = told.message(&told.set, &[]);
        (told, filter, bytes)
    }

    /// What has changed since; nothing when nothing has, an error when it takes a whole filter to say it.
    pub fn change<'a>(
        &mut self,
        subjects: impl Iterator<Item = &'a Subject>,
    ) -> Result<Option<(Filter, Bytes)>, Outgrown> {
        let now = self.places.sorted(subjects);
        if now.len() > self.names_max || self.number == u32::MAX {
            return Err(Outgrown);
        }
        let (added, removed) = (without(&now, &self.set), without(&self.set, &now));
        if added.is_empty() && removed.is_empty() {
            return Ok(None);
        }
        self.set = now;
        self.number += 1;
        Ok(Some(self.message(&added, &removed)))
    }

    fn message(&self, added: &[u32], removed: &[u32]) -> (Filter, Bytes) {
        let range = self.places.range;
        let mut bytes = encode(added, range);
        let added_bytes = bytes.len();
        bytes.extend(encode(removed, range));
        let len = |count: usize, bytes: usize| SetLen {
            count: u32::try_from(count).unwrap_or(u32::MAX),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        };
        let filter = Filter {
            number: self.number,
            salt: self.salt,
            range,
            added: len(added.len(), added_bytes),
            removed: len(removed.len(), bytes.len() - added_bytes),
        };
        (filter, bytes.into())
    }
}

/// There are more names than the filter was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgrown;

/// What a neighbour has told.
#[derive(Debug)]
pub struct Heard {
    salt: [u8; 16],
    places: Places,
    set: Vec<u32>,
    number: u32,
}

/// What a filter that came does to what was heard before.
#[derive(Debug)]
pub enum Hearing {
    /// It is all of it, or fits what there was: this is heard now.
    Heard(Heard),
    /// It is a change of something else than what was heard: the whole is needed.
    Lost,
}

impl Heard {
    /// Takes in a filter and its raw bytes. More names than are kept are [`BadFilter`]: look at [`is_too_large`] before.
    pub fn hear(
        before: Option<Heard>,
        secret: &[u8; 32],
        filter: &Filter,
        bytes: &[u8],
    ) -> Result<Hearing, BadFilter> {
        let (added, removed) = bytes.split_at_checked(filter.added.bytes as usize).ok_or(BadFilter)?;
        if removed.len() != filter.removed.bytes as usize {
            return Err(BadFilter);
        }
        let added = decode(added, filter.added.count, filter.range)?;
        let removed = decode(removed, filter.removed.count, filter.range)?;
        if filter.number == 0 {
            let places = Places::new(secret, &filter.salt, filter.range);
            return Ok(Hearing::Heard(Self { salt: filter.salt, places, set: added, number: 0 }));
        }
        let follows = |heard: &Heard| {
            (heard.salt, heard.places.range) == (filter.salt, filter.range)
                && heard.number.checked_add(1) == Some(filter.number)
        };
        let Some(mut heard) = before.filter(follows) else { return Ok(Hearing::Lost) };
        heard.set = without(&heard.set, &removed);
        heard.set.extend(added);
        heard.set.sort_unstable();
        heard.set.dedup();
        heard.number = filter.number;
        if heard.set.len() > FILTER_NAMES_MAX { Err(BadFilter) } else { Ok(Hearing::Heard(heard)) }
    }

    /// Whether one of `subjects` may be held. "No" is certain.
    pub fn may_hold(&self, subjects: &[Subject]) -> bool {
        subjects.iter().any(|subject| self.set.binary_search(&self.places.of(subject)).is_ok())
    }

    /// Whether it hits by chance in no more than one of a hundred looks at one name, as an honest one.
    pub fn is_sparse(&self) -> bool {
        self.set.len() * 100 <= self.places.range as usize
    }

    /// How many names there are, but for those that share a place.
    pub fn names(&self) -> usize {
        self.set.len()
    }
}

/// Whether a filter has more than is taken in.
pub fn is_too_large(filter: &Filter) -> bool {
    let is_too_large = |set: SetLen| {
        let count = set.count as usize;
        count > FILTER_NAMES_MAX || set.bytes as usize > coded_bytes_max(count, filter.range)
    };
    is_too_large(filter.added) || is_too_large(filter.removed)
}

/// Of two sorted sets: what is in `these` and not in `those`.
fn without(these: &[u32], those: &[u32]) -> Vec<u32> {
    let mut those = those.iter().copied().peekable();
    let is_only_here = |place: &u32| {
        while those.next_if(|other| other < place).is_some() {}
        those.peek() != Some(place)
    };
    these.iter().copied().filter(is_only_here).collect()
}

/// Low bits of each gap that are written as they are. The best number is the logarithm of the mean gap times ln 2.
fn low_bits(count: usize, range: u32) -> u32 {
    let mean = u64::from(range) / (count.max(1) as u64);
    (mean * 69 / 100).max(1).ilog2()
}

/// The most bytes that a code can take: each gap has its low bits and the end of its unary part, and the unary parts
/// together are no longer than the range without its low bits.
fn coded_bytes_max(count: usize, range: u32) -> usize {
    let low = low_bits(count, range);
    (count * (low as usize + 1) + (range >> low) as usize).div_ceil(8)
}

/// Codes sorted, distinct places.
fn encode(places: &[u32], range: u32) -> Vec<u8> {
    let low = low_bits(places.len(), range);
    let mut bits = BitWriter::default();
    let mut least = 0;
    for place in places {
        let gap = place - least;
        (0..gap >> low).for_each(|_| bits.push(true));
        bits.push(false);
        (0..low).rev().for_each(|at| bits.push(gap >> at & 1 == 1));
        least = place + 1;
    }
    bits.bytes
}

fn decode(bytes: &[u8], count: u32, range: u32) -> Result<Vec<u32>, BadFilter> {
    let count = usize::try_from(count).map_err(|_| BadFilter)?;
    if count > FILTER_NAMES_MAX {
        return Err(BadFilter);
    }
    let low = low_bits(count, range);
    let mut bits = (0..bytes.len() * 8).map(|at| bytes[at / 8] << (at % 8) & 0x80 != 0);
    let mut places = Vec::with_capacity(count);
    let mut least = 0u64;
    for _ in 0..count {
        let mut gap = 0u64;
        while bits.next().ok_or(BadFilter)? {
            gap += 1;
        }
        for _ in 0..low {
            gap = gap << 1 | u64::from(bits.next().ok_or(BadFilter)?);
        }
        let place = u32::try_from(least + gap).ok().filter(|place| *place < range).ok_or(BadFilter)?;
        places.push(place);
        least = u64::from(place) + 1;
    }
    // One code a set: no bytes behind it, and nothing but zeros in the last one.
    let is_end = bits.len() < 8 && bits.all(|bit| !bit);
    if is_end { Ok(places) } else { Err(BadFilter) }
}

/// Bits, the highest of a byte first.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    count: usize,
}

impl BitWriter {
    fn push(&mut self, bit: bool) {
        if self.count.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (7 - self.count % 8);
        }
        self.count += 1;
    }
}

/// Bytes that a filter takes on the wire.
pub fn wire_bytes(filter: &Filter) -> u64 {
    let frame = wire::encode(&wire::Message::Filter(filter.clone())).len() as u64;
    frame + u64::from(filter.added.bytes) + u64::from(filter.removed.bytes)
}

#[cfg(test)]
mod tests;
