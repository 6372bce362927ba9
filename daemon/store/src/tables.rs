//! The index while it is changed: all tables of one write transaction, which change together or not at all.
//!
//! Keeps what leads to an object in step with its record. Knows no file but the index.

use kith_model::key::{CacheKey, Target};
use kith_model::ladder::{Algorithm, Digest, Teller};
use kith_model::object::ObjectId;
use kith_model::representation::ObjectInfo;
use kith_model::shelf::{Candidate, Copy, Stay};
use redb::{ReadableTable, Table, WriteTransaction};

use crate::error::IndexError;
use crate::index::{
    ACCESSES, DIGESTS, META, META_COMMITS, META_LEAD, META_VERSION, OBJECTS, SCHEMA_VERSION, TARGETS, WORTH,
    digest_key, first_key, id_of, last_key, number, target_key,
};
use crate::record::{self, Record};

type RowsOf<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// All tables of one write transaction.
pub(crate) struct Tables<'t> {
    objects: RowsOf<'t>,
    targets: RowsOf<'t>,
    digests: RowsOf<'t>,
    worth: RowsOf<'t>,
    accesses: RowsOf<'t>,
    meta: RowsOf<'t>,
}

/// Set in the count of uses of a first copy.
const FIRST: u32 = 1 << 31;

/// A stay as it stands in a row: worth, hour of the last use, and count of uses, little-endian.
fn stay_to_bytes(stay: Stay) -> [u8; 12] {
    let uses = match stay.copy {
        Copy::First => stay.uses | FIRST,
        Copy::Second => stay.uses & !FIRST,
    };
    let mut bytes = [0; 12];
    for (at, number) in [stay.worth, stay.last_hour, uses].into_iter().enumerate() {
        bytes[4 * at..][..4].copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn stay_from_bytes(bytes: &[u8]) -> Option<Stay> {
    let (numbers, []) = bytes.as_chunks::<4>() else { return None };
    let &[worth, last_hour, uses] = numbers else { return None };
    let uses = u32::from_le_bytes(uses);
    Some(Stay {
        worth: u32::from_le_bytes(worth),
        last_hour: u32::from_le_bytes(last_hour),
        uses: uses & !FIRST,
        copy: if uses & FIRST == 0 { Copy::Second } else { Copy::First },
    })
}

impl<'t> Tables<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, IndexError> {
        Ok(Self {
            objects: transaction.open_table(OBJECTS)?,
            targets: transaction.open_table(TARGETS)?,
            digests: transaction.open_table(DIGESTS)?,
            worth: transaction.open_table(WORTH)?,
            accesses: transaction.open_table(ACCESSES)?,
            meta: transaction.open_table(META)?,
        })
    }

    /// Notes that there is one more commit.
    pub(crate) fn count_commit(&mut self) -> Result<(), IndexError> {
        let commits = number(&self.meta, META_COMMITS)?.unwrap_or(0);
        self.meta.insert(META_COMMITS, &commits.wrapping_add(1).to_le_bytes()[..])?;
        self.meta.insert(META_VERSION, &SCHEMA_VERSION.to_le_bytes()[..])?;
        Ok(())
    }

    pub(crate) fn record(&self, id: &ObjectId) -> Result<Option<Record>, IndexError> {
        Ok(self.objects.get(&id.as_bytes()[..])?.and_then(|row| record::decode(row.value()).ok()))
    }

    pub(crate) fn info(&self, id: &ObjectId) -> Result<Option<ObjectInfo>, IndexError> {
        Ok(self.objects.get(&id.as_bytes()[..])?.and_then(|row| record::decode_info(row.value()).ok()))
    }

    pub(crate) fn object_of(&self, key: &CacheKey) -> Result<Option<ObjectId>, IndexError> {
        Ok(self.targets.get(&target_key(key)[..])?.and_then(|row| id_of(row.value())))
    }

    /// The objects that any variant of a target stands for.
    pub(crate) fn objects_of(&self, target: &Target) -> Result<Vec<ObjectId>, IndexError> {
        let rows = self.targets.range(&first_key(target)[..]..=&last_key(target)[..])?;
        rows.filter_map(|row| row.map(|row| id_of(row.1.value())).transpose()).map(|id| Ok(id?)).collect()
    }

    /// The objects that have a representation on this host.
    pub(crate) fn objects_of_host(&self, host: &str) -> Result<Vec<ObjectId>, IndexError> {
        let mut found = Vec::new();
        for row in self.objects.iter()? {
            let row = row?;
            let all = record::decode_representations(row.1.value()).unwrap_or_default();
            if all.iter().any(|representation| representation.key.target.host() == host) {
                found.extend(id_of(row.0.value()));
            }
        }
        Ok(found)
    }

    /// The ids of all objects that begin with a byte.
    pub(crate) fn ids_in_shard(&self, first_byte: u8) -> Result<Vec<ObjectId>, IndexError> {
        let (mut low, mut high) = ([0u8; 32], [0xffu8; 32]);
        (low[0], high[0]) = (first_byte, first_byte);
        let rows = self.objects.range(&low[..]..=&high[..])?;
        rows.filter_map(|row| row.map(|row| id_of(row.0.value())).transpose()).map(|id| Ok(id?)).collect()
    }

    /// Puts a record in place with all that leads to it. `old` is what stood there before.
    /// Returns the sealed record: the sidecar is to say the same.
    pub(crate) fn put(&mut self, old: Option<&Record>, record: &Record) -> Result<Vec<u8>, IndexError> {
        let id = record.info.id;
        for representation in old.map_or(&[][..], |old| &old.representations) {
            if !record.representations.iter().any(|kept| kept.key == representation.key) {
                self.unfile(&representation.key, &id)?;
            }
        }
        for representation in &record.representations {
            self.targets.insert(&target_key(&representation.key)[..], &id.as_bytes()[..])?;
        }
        for digest in findable(record) {
            self.digests.insert(digest_key(digest).as_slice(), &id.as_bytes()[..])?;
        }
        let sealed = record::encode(record);
        self.objects.insert(&id.as_bytes()[..], sealed.as_slice())?;
        Ok(sealed)
    }

    /// Takes an object out with all that leads to it.
    pub(crate) fn remove(&mut self, id: &ObjectId) -> Result<Option<Record>, IndexError> {
        let record = self.record(id)?;
        if let Some(record) = &record {
            for representation in &record.representations {
                self.unfile(&representation.key, id)?;
            }
            for digest in findable(record) {
                let key = digest_key(digest);
                let leads_here =
                    self.digests.get(key.as_slice())?.is_some_and(|row| row.value() == id.as_bytes());
                if leads_here {
                    self.digests.remove(key.as_slice())?;
                }
            }
        }
        self.objects.remove(&id.as_bytes()[..])?;
        if let Some(stay) = self.stay(id)? {
            self.worth.remove(&worth_key(stay.worth, id)[..])?;
            self.accesses.remove(&id.as_bytes()[..])?;
        }
        Ok(record)
    }

    /// Takes a key out, unless it leads to another object by now.
    fn unfile(&mut self, key: &CacheKey, id: &ObjectId) -> Result<(), IndexError> {
        if self.object_of(key)? == Some(*id) {
            self.targets.remove(&target_key(key)[..])?;
        }
        Ok(())
    }

    pub(crate) fn stay(&self, id: &ObjectId) -> Result<Option<Stay>, IndexError> {
        Ok(self.accesses.get(&id.as_bytes()[..])?.and_then(|row| stay_from_bytes(row.value())))
    }

    pub(crate) fn set_stay(&mut self, id: &ObjectId, stay: Stay) -> Result<(), IndexError> {
        if let Some(old) = self.stay(id)? {
            self.worth.remove(&worth_key(old.worth, id)[..])?;
        }
        self.worth.insert(&worth_key(stay.worth, id)[..], &[][..])?;
        self.accesses.insert(&id.as_bytes()[..], &stay_to_bytes(stay)[..])?;
        Ok(())
    }

    /// By how many hours the clock of the shelf's policy is ahead.
    pub(crate) fn lead_hours(&self) -> Result<u32, IndexError> {
        Ok(number(&self.meta, META_LEAD)?.and_then(|lead| u32::try_from(lead).ok()).unwrap_or(0))
    }

    pub(crate) fn set_lead_hours(&mut self, hours: u32) -> Result<(), IndexError> {
        if self.lead_hours()? != hours {
            self.meta.insert(META_LEAD, &u64::from(hours).to_le_bytes()[..])?;
        }
        Ok(())
    }

    /// At most `count_max` objects of the lowest worth that are not pinned and of which `may_go` says so.
    pub(crate) fn lowest(
        &self,
        count_max: usize,
        may_go: impl Fn(&ObjectId) -> bool,
    ) -> Result<Vec<Candidate>, IndexError> {
        let mut found = Vec::new();
        for row in self.worth.iter()? {
            if found.len() >= count_max {
                break;
            }
            let row = row?;
            let Some(id) = row.0.value().get(4..).and_then(id_of) else { continue };
            let (Some(info), Some(stay)) = (self.info(&id)?, self.stay(&id)?) else { continue };
            if !info.pinned && may_go(&id) {
                found.push(Candidate { id, length: info.length, stay });
            }
        }
        Ok(found)
    }
}

/// The digests that may be looked up.
fn findable(record: &Record) -> impl Iterator<Item = &Digest> {
    let rungs = record.info.ladder.rungs().iter();
    rungs
        .filter(|rung| rung.teller == Teller::Ourselves || is_name(rung.digest.algorithm()))
        .map(|rung| &rung.digest)
}

/// Whether an object may be looked up by such a digest that somebody else told. Never by md5: a name that can be made to
/// fit two objects is none.
fn is_name(algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::Sha1 | Algorithm::Sha256 | Algorithm::Sha512 => true,
        Algorithm::Md5 => false,
    }
}

fn worth_key(worth: u32, id: &ObjectId) -> [u8; 36] {
    let mut key = [0; 36];
    key[..4].copy_from_slice(&worth.to_be_bytes());
    key[4..].copy_from_slice(id.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stay_is_written_as_it_is_read() {
        let stay = Stay { worth: 1, last_hour: 0x0203, uses: 7, copy: Copy::Second };
        assert_eq!(stay_to_bytes(stay), [1, 0, 0, 0, 3, 2, 0, 0, 7, 0, 0, 0]);
        assert_eq!(stay_from_bytes(&stay_to_bytes(stay)), Some(stay));
        let first = Stay { copy: Copy::First, ..stay };
        assert_eq!(stay_to_bytes(first)[8..], [7, 0, 0, 0x80]);
        assert_eq!(stay_from_bytes(&stay_to_bytes(first)), Some(first));
        assert_eq!(stay_from_bytes(&[0; 13]), None);
    }
}
