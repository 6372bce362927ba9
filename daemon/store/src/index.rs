//! The index: which object a key or digest stands for, and the record of every object.
//!
//! It is a cache of the sidecars. It can be thrown away at any time and made again from them, so every doubt about it
//! ends the same way: [`Index::reopen`] or a rebuild. Rows are sealed records ([`crate::record`]), so that a row that
//! the disk changed is noticed when it is read: redb itself checks its pages only when it is opened.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use kith_model::key::{CacheKey, Target, Variant};
use kith_model::ladder::{Algorithm, Digest, Teller};
use kith_model::object::ObjectId;
use kith_model::representation::{ObjectInfo, Representation};
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};

use crate::error::IndexError;
use crate::record::{self, Record, Stored};

/// Version of the tables. A newer one is refused.
pub(crate) const SCHEMA_VERSION: u64 = 1;

/// Object id to sealed record.
const OBJECTS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("objects-1");
/// Hash of the target, then the variant, to object id.
const TARGETS: TableDefinition<'_, &[u8; 48], &[u8; 32]> = TableDefinition::new("targets-1");
/// Algorithm, then the digest, to object id.
const DIGESTS: TableDefinition<'_, &[u8], &[u8; 32]> = TableDefinition::new("digests-1");
/// Hour until which the object is worth keeping (big-endian), then its id: the order of eviction.
const WORTH: TableDefinition<'_, &[u8; 36], ()> = TableDefinition::new("worth-1");
/// Object id to (hour in `WORTH`, hour of the last access, count of accesses).
const ACCESSES: TableDefinition<'_, &[u8; 32], (u32, u32, u32)> = TableDefinition::new("accesses-1");
/// Name to number.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const META_VERSION: &str = "version";
const META_COMMITS: &str = "commits";

/// The database and the way to open it again.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    cache_bytes: usize,
    database: RwLock<Option<Database>>,
}

/// How the index was found.
#[derive(Debug)]
pub(crate) enum Opened {
    /// As it was left.
    Whole,
    /// It was not there, or empty.
    Fresh,
    /// It cannot be used.
    Damaged(IndexError),
    /// A newer program wrote it.
    Newer(u64),
}

impl Index {
    pub(crate) fn new(path: PathBuf, cache_bytes: usize) -> Self {
        Self { path, cache_bytes, database: RwLock::new(None) }
    }

    /// Opens the database, or makes it. Whatever the file holds, the answer is a value: redb may panic on damage.
    pub(crate) fn open(&self) -> Opened {
        let fresh = !self.path.exists();
        let database = match catch_unwind(AssertUnwindSafe(|| self.open_checked())) {
            Ok(Ok(database)) => database,
            Ok(Err(error)) => return Opened::Damaged(error),
            Err(_) => return Opened::Damaged(damage("the index made its library panic")),
        };
        let version = catch_unwind(AssertUnwindSafe(|| version_of(&database)))
            .unwrap_or_else(|_| Err(damage("the index made its library panic")));
        match version {
            Ok(Some(version)) if version > SCHEMA_VERSION => Opened::Newer(version),
            Ok(version) => {
                *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
                if fresh || version.is_none() { Opened::Fresh } else { Opened::Whole }
            }
            Err(error) => Opened::Damaged(error),
        }
    }

    fn open_checked(&self) -> Result<Database, IndexError> {
        let mut builder = Database::builder();
        builder.set_cache_size(self.cache_bytes).set_check_integrity_on_open(true);
        Ok(builder.create(&self.path)?)
    }

    /// Closes the database and opens it again: after a failed write redb refuses every further one.
    pub(crate) fn reopen(&self) -> Opened {
        self.close();
        self.open()
    }

    /// Closes the database; reads and writes are refused from now on.
    pub(crate) fn close(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(database) = database {
            // A file that fails while it is closed is looked at when it is opened again.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
        }
    }

    /// Reads in one transaction.
    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, IndexError>) -> Result<T, IndexError> {
        let guard = self.database();
        let database = guard.as_ref().ok_or(IndexError::Closed)?;
        catch_unwind(AssertUnwindSafe(|| read(&database.begin_read()?)))
            .unwrap_or_else(|_| Err(damage("the index made its library panic")))
    }

    /// Writes in one transaction, which is committed when `write` succeeds and thrown away otherwise.
    pub(crate) fn write<T, E: From<IndexError>>(
        &self,
        write: impl FnOnce(&mut Tables<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let guard = self.database();
        let database = guard.as_ref().ok_or(IndexError::Closed)?;
        let attempt = || {
            let transaction = database.begin_write().map_err(IndexError::from)?;
            let mut tables = Tables::open(&transaction)?;
            let outcome = write(&mut tables)?;
            tables.count_commit()?;
            drop(tables);
            transaction.commit().map_err(IndexError::from)?;
            Ok(outcome)
        };
        catch_unwind(AssertUnwindSafe(attempt))
            .unwrap_or_else(|_| Err(damage("the index made its library panic").into()))
    }

    fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn representations(&self, target: &Target) -> Result<Vec<Representation>, IndexError> {
        self.read(|transaction| {
            let targets = transaction.open_table(TARGETS)?;
            let mut ids: Vec<[u8; 32]> = Vec::new();
            for row in targets.range::<&[u8; 48]>(&first_key(target)..=&last_key(target))? {
                let id = *row?.1.value();
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            let objects = transaction.open_table(OBJECTS)?;
            let mut found = Vec::new();
            for id in ids {
                let Some(row) = objects.get(&id)? else { continue };
                let all = record::decode_representations(row.value()).unwrap_or_default();
                found.extend(all.into_iter().filter(|representation| representation.key.target == *target));
            }
            Ok(found)
        })
    }

    pub(crate) fn representations_of(&self, id: &ObjectId) -> Result<Vec<Representation>, IndexError> {
        Ok(self.row(id, record::decode_representations)?.unwrap_or_default())
    }

    pub(crate) fn object(&self, id: &ObjectId) -> Result<Option<ObjectInfo>, IndexError> {
        self.row(id, record::decode_info)
    }

    pub(crate) fn body(&self, id: &ObjectId) -> Result<Option<Stored>, IndexError> {
        self.row(id, record::decode_body)
    }

    /// One row, decoded. A damaged row is no row: the next recovery makes it again from the sidecar.
    fn row<T>(
        &self,
        id: &ObjectId,
        decode: impl FnOnce(&[u8]) -> Result<T, record::RecordError>,
    ) -> Result<Option<T>, IndexError> {
        self.read(|transaction| {
            let objects = transaction.open_table(OBJECTS)?;
            Ok(objects.get(id.as_bytes())?.and_then(|row| decode(row.value()).ok()))
        })
    }

    pub(crate) fn object_by_digest(&self, digest: &Digest) -> Result<Option<ObjectInfo>, IndexError> {
        let key = digest_key(digest);
        let id = self.read(|transaction| {
            let digests = transaction.open_table(DIGESTS)?;
            Ok(digests.get(key.as_slice())?.map(|row| ObjectId::from_bytes(*row.value())))
        })?;
        let info = id.map(|id| self.object(&id)).transpose()?.flatten();
        Ok(info.filter(|info| info.ladder.digest(digest.algorithm()) == Some(digest)))
    }

    pub(crate) fn objects(
        &self,
        after: Option<ObjectId>,
        count_max: usize,
    ) -> Result<Vec<ObjectInfo>, IndexError> {
        use std::ops::Bound;
        let from = after.as_ref().map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_bytes()));
        self.read(|transaction| {
            let objects = transaction.open_table(OBJECTS)?;
            let mut found = Vec::new();
            for row in objects.range::<&[u8; 32]>((from, Bound::Unbounded))? {
                if found.len() >= count_max {
                    break;
                }
                found.extend(record::decode_info(row?.1.value()).ok());
            }
            Ok(found)
        })
    }

    /// Count and bytes of all objects, and how often the index was committed.
    pub(crate) fn totals(&self) -> Result<(u64, u64, u64), IndexError> {
        self.read(|transaction| {
            let objects = transaction.open_table(OBJECTS)?;
            let (mut count, mut bytes) = (0, 0u64);
            for row in objects.iter()? {
                if let Ok(info) = record::decode_info(row?.1.value()) {
                    count += 1;
                    bytes = bytes.saturating_add(info.length);
                }
            }
            let commits = transaction.open_table(META)?.get(META_COMMITS)?.map_or(0, |row| row.value());
            Ok((count, bytes, commits))
        })
    }
}

fn version_of(database: &Database) -> Result<Option<u64>, IndexError> {
    let transaction = database.begin_read()?;
    match transaction.open_table(META) {
        Ok(meta) => Ok(meta.get(META_VERSION)?.map(|row| row.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn damage(what: &str) -> IndexError {
    redb::Error::Corrupted(what.to_owned()).into()
}

/// All tables of one write transaction.
pub(crate) struct Tables<'t> {
    objects: Table<'t, &'static [u8; 32], &'static [u8]>,
    targets: Table<'t, &'static [u8; 48], &'static [u8; 32]>,
    digests: Table<'t, &'static [u8], &'static [u8; 32]>,
    worth: Table<'t, &'static [u8; 36], ()>,
    accesses: Table<'t, &'static [u8; 32], (u32, u32, u32)>,
    meta: Table<'t, &'static str, u64>,
}

/// When an object was used, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Hour until which the object is worth keeping.
    pub(crate) worth_until_hour: u32,
    /// Hour of the last access.
    pub(crate) last_hour: u32,
    /// How often it was used.
    pub(crate) count: u32,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, IndexError> {
        Ok(Self {
            objects: transaction.open_table(OBJECTS)?,
            targets: transaction.open_table(TARGETS)?,
            digests: transaction.open_table(DIGESTS)?,
            worth: transaction.open_table(WORTH)?,
            accesses: transaction.open_table(ACCESSES)?,
            meta: transaction.open_table(META)?,
        })
    }

    fn count_commit(&mut self) -> Result<(), IndexError> {
        let commits = self.meta.get(META_COMMITS)?.map_or(0, |row| row.value());
        self.meta.insert(META_COMMITS, commits.wrapping_add(1))?;
        self.meta.insert(META_VERSION, SCHEMA_VERSION)?;
        Ok(())
    }

    pub(crate) fn record(&self, id: &ObjectId) -> Result<Option<Record>, IndexError> {
        Ok(self.objects.get(id.as_bytes())?.and_then(|row| record::decode(row.value()).ok()))
    }

    pub(crate) fn object_of(&self, key: &CacheKey) -> Result<Option<ObjectId>, IndexError> {
        Ok(self.targets.get(&target_key(key))?.map(|row| ObjectId::from_bytes(*row.value())))
    }

    /// The objects that any variant of a target stands for.
    pub(crate) fn objects_of(&self, target: &Target) -> Result<Vec<ObjectId>, IndexError> {
        let rows = self.targets.range::<&[u8; 48]>(&first_key(target)..=&last_key(target))?;
        rows.map(|row| Ok(ObjectId::from_bytes(*row?.1.value()))).collect()
    }

    /// The objects that have a representation on this host.
    pub(crate) fn objects_of_host(&self, host: &str) -> Result<Vec<ObjectId>, IndexError> {
        let mut found = Vec::new();
        for row in self.objects.iter()? {
            let row = row?;
            let all = record::decode_representations(row.1.value()).unwrap_or_default();
            if all.iter().any(|representation| representation.key.target.host() == host) {
                found.push(ObjectId::from_bytes(*row.0.value()));
            }
        }
        Ok(found)
    }

    /// The ids of all objects that begin with a byte.
    pub(crate) fn ids_in_shard(&self, first_byte: u8) -> Result<Vec<ObjectId>, IndexError> {
        let (mut low, mut high) = ([0; 32], [0xff; 32]);
        (low[0], high[0]) = (first_byte, first_byte);
        let rows = self.objects.range::<&[u8; 32]>(&low..=&high)?;
        rows.map(|row| Ok(ObjectId::from_bytes(*row?.0.value()))).collect()
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
            self.targets.insert(&target_key(&representation.key), id.as_bytes())?;
        }
        for digest in findable(record) {
            self.digests.insert(digest_key(digest).as_slice(), id.as_bytes())?;
        }
        let sealed = record::encode(record);
        self.objects.insert(id.as_bytes(), sealed.as_slice())?;
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
        self.objects.remove(id.as_bytes())?;
        if let Some(access) = self.access(id)? {
            self.worth.remove(&worth_key(access.worth_until_hour, id))?;
            self.accesses.remove(id.as_bytes())?;
        }
        Ok(record)
    }

    /// Takes a key out, unless it leads to another object by now.
    fn unfile(&mut self, key: &CacheKey, id: &ObjectId) -> Result<(), IndexError> {
        if self.object_of(key)? == Some(*id) {
            self.targets.remove(&target_key(key))?;
        }
        Ok(())
    }

    pub(crate) fn access(&self, id: &ObjectId) -> Result<Option<Access>, IndexError> {
        let row = self.accesses.get(id.as_bytes())?.map(|row| row.value());
        Ok(row.map(|(worth_until_hour, last_hour, count)| Access { worth_until_hour, last_hour, count }))
    }

    pub(crate) fn set_access(&mut self, id: &ObjectId, access: Access) -> Result<(), IndexError> {
        if let Some(old) = self.access(id)? {
            self.worth.remove(&worth_key(old.worth_until_hour, id))?;
        }
        self.worth.insert(&worth_key(access.worth_until_hour, id), ())?;
        self.accesses.insert(id.as_bytes(), (access.worth_until_hour, access.last_hour, access.count))?;
        Ok(())
    }

    /// Calls back with each object, the one least worth keeping first, until told to stop.
    pub(crate) fn least_worth_first(
        &self,
        mut each: impl FnMut(ObjectId, &Record) -> std::ops::ControlFlow<()>,
    ) -> Result<(), IndexError> {
        for row in self.worth.iter()? {
            let key = *row?.0.value();
            let mut id = [0; 32];
            id.copy_from_slice(&key[4..]);
            let id = ObjectId::from_bytes(id);
            let Some(record) = self.record(&id)? else { continue };
            if each(id, &record).is_break() {
                break;
            }
        }
        Ok(())
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

fn digest_key(digest: &Digest) -> Vec<u8> {
    std::iter::once(record::algorithm_tag(digest.algorithm())).chain(digest.bytes().iter().copied()).collect()
}

fn worth_key(hour: u32, id: &ObjectId) -> [u8; 36] {
    let mut key = [0; 36];
    key[..4].copy_from_slice(&hour.to_be_bytes());
    key[4..].copy_from_slice(id.as_bytes());
    key
}

/// The hash of a key's target and its variant. URLs are hashed to keep rows short and of one length.
pub(crate) fn target_key(key: &CacheKey) -> [u8; 48] {
    keyed(&key.target, key.variant)
}

fn first_key(target: &Target) -> [u8; 48] {
    keyed(target, Variant::from_bytes([0; 16]))
}

fn last_key(target: &Target) -> [u8; 48] {
    keyed(target, Variant::from_bytes([0xff; 16]))
}

fn keyed(target: &Target, variant: Variant) -> [u8; 48] {
    let mut key = [0; 48];
    key[..32].copy_from_slice(blake3::hash(target.as_str().as_bytes()).as_bytes());
    key[32..].copy_from_slice(variant.as_bytes());
    key
}
