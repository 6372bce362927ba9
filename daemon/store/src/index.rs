//! The index: which object a key or digest stands for, and the record of every object.
//!
//! Keys and values of every table are plain bytes: redb's trees are compiled anew for every pair of types, which were
//! hundreds of kilobytes in a program that has to fit a router.
//!
//! It is a cache of the sidecars. It can be thrown away at any time and made again from them, so every doubt about it
//! ends the same way: it is closed and opened again, or rebuilt. Rows are sealed records ([`crate::record`]), so that a row that
//! the disk changed is noticed when it is read: redb itself checks its pages only when it is opened.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use kith_model::key::{CacheKey, Target, Variant};
use kith_model::ladder::Digest;
use kith_model::object::ObjectId;
use kith_model::representation::{ObjectInfo, Representation};
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use crate::error::IndexError;
use crate::recent::{Recent, Row};
use crate::record;
use crate::tables::Tables;

/// Version of the tables. A newer one is refused, an older one is made anew from the sidecars.
pub(crate) const SCHEMA_VERSION: u64 = 2;

type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Object id to sealed record.
pub(crate) const OBJECTS: Rows = TableDefinition::new("objects-2");
/// Hash of the target, then the variant, to object id.
pub(crate) const TARGETS: Rows = TableDefinition::new("targets-2");
/// Algorithm, then the digest, to object id.
pub(crate) const DIGESTS: Rows = TableDefinition::new("digests-2");
/// What the object is worth (big-endian), then its id, to nothing: the order of eviction.
pub(crate) const WORTH: Rows = TableDefinition::new("worth-2");
/// Object id to its stay: what it is worth, when and how often it was used.
pub(crate) const ACCESSES: Rows = TableDefinition::new("accesses-2");
/// Name to number.
pub(crate) const META: Rows = TableDefinition::new("meta");
pub(crate) const META_VERSION: &[u8] = b"version";
pub(crate) const META_COMMITS: &[u8] = b"commits";
pub(crate) const META_LEAD: &[u8] = b"lead";

/// The database and the way to open it again.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    cache_bytes: usize,
    database: RwLock<Option<Database>>,
    recent: Recent,
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
        Self { path, cache_bytes, database: RwLock::new(None), recent: Recent::default() }
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
            Ok(Some(version)) if version < SCHEMA_VERSION => {
                Opened::Damaged(damage("an older program wrote it"))
            }
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

    /// Closes the database; reads and writes are refused from now on.
    pub(crate) fn close(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        self.recent.forget_all();
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
        let outcome = catch_unwind(AssertUnwindSafe(attempt))
            .unwrap_or_else(|_| Err(damage("the index made its library panic").into()));
        // After a failure too: how far it went is not known.
        self.recent.forget_all();
        outcome
    }

    fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a target answers, one representation a variant.
    pub(crate) fn representations(&self, target: &Target) -> Result<Arc<[Representation]>, IndexError> {
        if let Some(answers) = self.recent.answers(target) {
            return Ok(answers);
        }
        let state = self.recent.state();
        let rows = self.read(|transaction| {
            let targets = transaction.open_table(TARGETS)?;
            let mut ids: Vec<ObjectId> = Vec::new();
            for row in targets.range(&first_key(target)[..]..=&last_key(target)[..])? {
                ids.extend(id_of(row?.1.value()).filter(|id| !ids.contains(id)));
            }
            let objects = transaction.open_table(OBJECTS)?;
            let rows = ids.iter().map(|id| read_row(&objects, id));
            rows.filter_map(Result::transpose).collect::<Result<Vec<_>, IndexError>>()
        })?;
        let all = rows.iter().flat_map(|(row, _)| &row.representations);
        let answers: Arc<[Representation]> = all.filter(|one| one.key.target == *target).cloned().collect();
        for (row, bytes) in &rows {
            self.recent.keep_row(state, row, *bytes);
        }
        if !answers.is_empty() {
            let bytes = rows.iter().map(|(_, bytes)| bytes).sum();
            self.recent.keep_answers(state, target, &answers, bytes);
        }
        Ok(answers)
    }

    /// An object's row. A damaged one is none: the next recovery makes it again from the sidecar.
    pub(crate) fn row(&self, id: &ObjectId) -> Result<Option<Arc<Row>>, IndexError> {
        if let Some(row) = self.recent.row(id) {
            return Ok(Some(row));
        }
        let state = self.recent.state();
        let found = self.read(|transaction| read_row(&transaction.open_table(OBJECTS)?, id))?;
        Ok(found.map(|(row, bytes)| {
            self.recent.keep_row(state, &row, bytes);
            row
        }))
    }

    pub(crate) fn object(&self, id: &ObjectId) -> Result<Option<Arc<ObjectInfo>>, IndexError> {
        Ok(self.row(id)?.map(|row| Arc::clone(&row.info)))
    }

    pub(crate) fn object_by_digest(&self, digest: &Digest) -> Result<Option<Arc<ObjectInfo>>, IndexError> {
        let key = digest_key(digest);
        let id = self.read(|transaction| {
            let digests = transaction.open_table(DIGESTS)?;
            Ok(digests.get(key.as_slice())?.and_then(|row| id_of(row.value())))
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
        let after = after.as_ref().map(|id| &id.as_bytes()[..]);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|transaction| {
            let objects = transaction.open_table(OBJECTS)?;
            let mut found = Vec::new();
            for row in objects.range::<&[u8]>((from, Bound::Unbounded))? {
                if found.len() >= count_max {
                    break;
                }
                found.extend(record::decode_info(row?.1.value()).ok());
            }
            Ok(found)
        })
    }

    /// By how many hours the clock of the shelf's policy is ahead.
    pub(crate) fn lead_hours(&self) -> Result<u32, IndexError> {
        self.read(|transaction| {
            let lead = number(&transaction.open_table(META)?, META_LEAD)?;
            Ok(lead.and_then(|lead| u32::try_from(lead).ok()).unwrap_or(0))
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
            let commits = number(&transaction.open_table(META)?, META_COMMITS)?.unwrap_or(0);
            Ok((count, bytes, commits))
        })
    }
}

fn version_of(database: &Database) -> Result<Option<u64>, IndexError> {
    let transaction = database.begin_read()?;
    match transaction.open_table(META) {
        Ok(meta) => number(&meta, META_VERSION),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A row, decoded, and how many bytes it takes.
fn read_row(
    objects: &ReadOnlyTable<&'static [u8], &'static [u8]>,
    id: &ObjectId,
) -> Result<Option<(Arc<Row>, usize)>, IndexError> {
    let Some(row) = objects.get(&id.as_bytes()[..])? else { return Ok(None) };
    Ok(record::decode(row.value()).ok().map(|record| (Arc::new(record.into()), row.value().len())))
}

pub(crate) fn number(
    meta: &impl ReadableTable<&'static [u8], &'static [u8]>,
    name: &[u8],
) -> Result<Option<u64>, IndexError> {
    Ok(meta.get(name)?.and_then(|row| row.value().try_into().ok().map(u64::from_le_bytes)))
}

pub(crate) fn id_of(bytes: &[u8]) -> Option<ObjectId> {
    bytes.try_into().ok().map(ObjectId::from_bytes)
}

pub(crate) fn damage(what: &str) -> IndexError {
    redb::Error::Corrupted(what.to_owned()).into()
}

pub(crate) fn digest_key(digest: &Digest) -> Vec<u8> {
    std::iter::once(record::algorithm_tag(digest.algorithm())).chain(digest.bytes().iter().copied()).collect()
}

/// The hash of a key's target and its variant. URLs are hashed to keep rows short and of one length.
pub(crate) fn target_key(key: &CacheKey) -> [u8; 48] {
    keyed(&key.target, key.variant)
}

pub(crate) fn first_key(target: &Target) -> [u8; 48] {
    keyed(target, Variant::from_bytes([0; 16]))
}

pub(crate) fn last_key(target: &Target) -> [u8; 48] {
    keyed(target, Variant::from_bytes([0xff; 16]))
}

fn keyed(target: &Target, variant: Variant) -> [u8; 48] {
    let mut key = [0; 48];
    key[..32].copy_from_slice(blake3::hash(target.as_str().as_bytes()).as_bytes());
    key[32..].copy_from_slice(variant.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use redb::WriteTransaction;

    use super::*;

    /// An index whose table of numbers was made by `fill`, as it is found.
    fn found(fill: impl FnOnce(&WriteTransaction)) -> Opened {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("index.redb");
        let database = Database::create(&path).expect("made");
        let transaction = database.begin_write().expect("begun");
        fill(&transaction);
        transaction.commit().expect("committed");
        drop(database);
        Index::new(path, 1024 * 1024).open()
    }

    fn of_version(version: u64) -> Opened {
        found(|transaction| {
            let mut meta = transaction.open_table(META).expect("opened");
            meta.insert(META_VERSION, &version.to_le_bytes()[..]).expect("inserted");
        })
    }

    #[test]
    fn an_older_index_is_made_anew_and_a_newer_one_refused() {
        assert!(matches!(of_version(SCHEMA_VERSION - 1), Opened::Damaged(IndexError::Failed(_))));
        assert!(matches!(of_version(SCHEMA_VERSION), Opened::Whole));
        assert!(
            matches!(of_version(SCHEMA_VERSION + 1), Opened::Newer(version) if version == SCHEMA_VERSION + 1)
        );
    }

    #[test]
    fn an_index_with_tables_of_other_types_is_made_anew() {
        let opened = found(|transaction| {
            let typed: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
            transaction.open_table(typed).expect("opened").insert("version", 1).expect("inserted");
        });
        assert!(matches!(opened, Opened::Damaged(IndexError::Failed(_))));
    }
}
