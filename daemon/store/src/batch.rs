//! One batch of changes on its way to the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use kith_model::key::CacheKey;
use kith_model::limits;
use kith_model::object::ObjectId;
use kith_model::representation::{ObjectInfo, Representation};
use kith_model::shelf::{self, Candidate, Stay};
use kith_model::verify;

use crate::cellar::Cellar;
use crate::error::{IndexError, WriteError};
use crate::files::{self, Kind, PartFiles, Sync};
use crate::keeper::{NewBytes, NewObject, Order, Reply, percent};
use crate::record::{self, Record};
use crate::store::{Pin, Purge};
use crate::tables::Tables;

/// What a batch will have done when its index transaction is committed.
pub(crate) struct Batch<'a> {
    cellar: &'a Cellar,
    sidecars: BTreeMap<ObjectId, Sidecar>,
    /// Objects that come to the shelf, with the files that become theirs.
    arrived: BTreeMap<ObjectId, Option<PartFiles>>,
    /// Objects that leave the shelf.
    gone: BTreeSet<ObjectId>,
    /// Objects of which only a head was renewed.
    renewed: BTreeSet<ObjectId>,
    /// Parts that turned out to be on the shelf already, or are thrown away.
    spare: Vec<PartFiles>,
    /// Whether what was deleted must not come back after a crash.
    purged: bool,
    objects: (u64, u64),
    bytes: (u64, u64),
    evicted: u64,
    replies: Vec<Answer>,
}

/// What is to become of a sidecar.
enum Sidecar {
    /// It says this from now on. When the body is in the record, and so in the index row, nothing is lost before the
    /// system writes it by itself: many small objects would otherwise cost a sync each.
    Written(Vec<u8>, Sync),
    Deleted,
}

/// Answers one order, when it is known whether the batch is on the disk.
type Answer = Box<dyn FnOnce(&Result<(), WriteError>) + Send>;

impl<'a> Batch<'a> {
    pub(crate) fn new(cellar: &'a Cellar) -> Self {
        Self {
            cellar,
            sidecars: BTreeMap::new(),
            arrived: BTreeMap::new(),
            gone: BTreeSet::new(),
            renewed: BTreeSet::new(),
            spare: Vec::new(),
            purged: false,
            objects: (0, 0),
            bytes: (0, 0),
            evicted: 0,
            replies: Vec::new(),
        }
    }

    /// Makes one change in the index and notes what it means for the files.
    pub(crate) fn apply(&mut self, tables: &mut Tables<'_>, order: Order) -> Result<(), IndexError> {
        match order {
            Order::File(object, reply) => {
                let outcome = self.file(tables, *object)?;
                self.reply(reply, outcome);
            }
            Order::Refresh(representation, reply) => {
                let outcome = self.refresh(tables, *representation)?;
                self.reply(reply, outcome);
            }
            Order::Forget(key, reply) => {
                self.forget(tables, &key)?;
                self.reply(reply, Ok(()));
            }
            Order::Pin(id, pin, reply) => {
                let existed = self.pin(tables, &id, pin)?;
                self.reply(reply, Ok(existed));
            }
            Order::Purge(what, reply) => {
                self.purged = true;
                let freed = self.purge(tables, &what)?;
                self.reply(reply, Ok(freed));
            }
            Order::Lost(id) => {
                tracing::warn!(object = %id, "an object is damaged on the disk and was taken off the shelf");
                self.remove(tables, &id)?;
            }
            Order::Evict { room_bytes, reply } => {
                let freed = self.evict(tables, room_bytes)?;
                self.reply(reply, Ok(freed));
            }
            Order::Flush | Order::Close(_) => {}
        }
        Ok(())
    }

    /// Notes what is to be answered when the batch is on the disk.
    fn reply<T: Send + 'static>(&mut self, reply: Reply<T>, outcome: Result<T, WriteError>) {
        self.replies.push(Box::new(move |committed| {
            // Whoever asked may have gone.
            let _ = reply.send(match committed {
                Ok(()) => outcome,
                Err(error) => Err(error.clone()),
            });
        }));
    }

    fn file(
        &mut self,
        tables: &mut Tables<'_>,
        object: NewObject,
    ) -> Result<Result<ObjectInfo, WriteError>, IndexError> {
        let NewObject { record: fresh, bytes, copy } = object;
        let id = fresh.info.id;
        let held = tables.record(&id)?;
        if let (None, NewBytes::Held) = (&held, &bytes) {
            return Ok(Err(WriteError::NotHeld));
        }
        for representation in &fresh.representations {
            self.unfile_elsewhere(tables, representation)?;
        }
        if let Some(old) = held {
            // Whoever brings files found none on the shelf, or was overtaken by the same bytes a moment ago.
            if let NewBytes::Files(files) = bytes {
                self.arrived.insert(id, Some(files));
            }
            let mut merged = old.clone();
            merged.learn(&fresh.info.ladder);
            fresh.representations.into_iter().for_each(|representation| merged.file(representation));
            self.put(tables, Some(&old), &merged)?;
            return Ok(Ok(merged.info));
        }
        let files = match bytes {
            NewBytes::Files(files) => Some(files),
            NewBytes::Inline | NewBytes::Held => None,
        };
        self.put(tables, None, &fresh)?;
        let stay = self.cellar.policy().arrived(&id, fresh.info.length, copy, self.cellar.clock.hour());
        tables.set_stay(&id, stay)?;
        self.gone.remove(&id);
        self.arrived.insert(id, files);
        self.objects.0 += 1;
        self.bytes.0 += fresh.info.length;
        Ok(Ok(fresh.info))
    }

    fn refresh(
        &mut self,
        tables: &mut Tables<'_>,
        representation: Representation,
    ) -> Result<Result<(), WriteError>, IndexError> {
        let Some(old) = tables.record(&representation.object)? else {
            return Ok(Err(WriteError::NotHeld));
        };
        let fits = record::fits(&representation.selecting, &representation.head);
        if old.info.length != representation.length || !fits {
            return Ok(Err(WriteError::Misfit));
        }
        self.unfile_elsewhere(tables, &representation)?;
        let known = old.representations.iter().any(|filed| filed.key == representation.key);
        let mut renewed = old.clone();
        renewed.file(representation);
        if known && !self.sidecars.contains_key(&old.info.id) {
            // Every download lets the origin confirm: that must not cost a sidecar each time. The one that is there
            // has an older head, which a rebuilt index would only have confirmed again.
            tables.put(Some(&old), &renewed)?;
            self.renewed.insert(old.info.id);
        } else {
            self.put(tables, Some(&old), &renewed)?;
        }
        Ok(Ok(()))
    }

    /// A key stands for one object: takes it from the one it stood for.
    fn unfile_elsewhere(
        &mut self,
        tables: &mut Tables<'_>,
        representation: &Representation,
    ) -> Result<(), IndexError> {
        match tables.object_of(&representation.key)? {
            Some(other) if other != representation.object => self.forget(tables, &representation.key),
            _ => Ok(()),
        }
    }

    fn forget(&mut self, tables: &mut Tables<'_>, key: &CacheKey) -> Result<(), IndexError> {
        let Some(id) = tables.object_of(key)? else { return Ok(()) };
        let Some(old) = tables.record(&id)? else { return Ok(()) };
        let mut rest = old.clone();
        rest.representations.retain(|representation| representation.key != *key);
        self.put(tables, Some(&old), &rest)
    }

    fn pin(&mut self, tables: &mut Tables<'_>, id: &ObjectId, pin: Pin) -> Result<bool, IndexError> {
        let Some(old) = tables.record(id)? else { return Ok(false) };
        let mut changed = old.clone();
        changed.info.pinned = pin == Pin::Pinned;
        if changed.info.pinned != old.info.pinned {
            self.put(tables, Some(&old), &changed)?;
        }
        Ok(true)
    }

    fn put(
        &mut self,
        tables: &mut Tables<'_>,
        old: Option<&Record>,
        record: &Record,
    ) -> Result<(), IndexError> {
        let sealed = tables.put(old, record)?;
        let sync = if record.inline.is_some() { Sync::Later } else { Sync::Before };
        self.sidecars.insert(record.info.id, Sidecar::Written(sealed, sync));
        Ok(())
    }

    fn purge(&mut self, tables: &mut Tables<'_>, what: &Purge) -> Result<u64, IndexError> {
        let targets = |representation: &Representation| match what {
            Purge::Object(_) => true,
            Purge::Target(target) => representation.key.target == *target,
            Purge::Host(host) => representation.key.target.host() == host,
        };
        let ids = match what {
            Purge::Object(id) => vec![*id],
            Purge::Target(target) => tables.objects_of(target)?,
            Purge::Host(host) => tables.objects_of_host(host)?,
        };
        let mut freed = self.purge_parts(what);
        for id in ids {
            let Some(old) = tables.record(&id)? else { continue };
            let mut rest = old.clone();
            rest.representations.retain(|representation| !targets(representation));
            if rest.representations.is_empty() {
                freed += self.remove(tables, &id)?;
            } else {
                self.put(tables, Some(&old), &rest)?;
            }
        }
        Ok(freed)
    }

    fn purge_parts(&mut self, what: &Purge) -> u64 {
        let concerns = |key: &CacheKey| match what {
            Purge::Object(_) => false,
            Purge::Target(target) => key.target == *target,
            Purge::Host(host) => key.target.host() == host,
        };
        let mut parts = self.cellar.parts();
        let keys: Vec<CacheKey> = parts.waiting_keys().into_iter().filter(concerns).collect();
        let gone: Vec<_> = keys.iter().filter_map(|key| parts.remove_waiting(key)).collect();
        drop(parts);
        let freed = gone.iter().map(|waiting| waiting.bytes).sum();
        self.cellar.sums().partial_bytes -= freed;
        self.spare.extend(gone.into_iter().map(|waiting| waiting.files));
        freed
    }

    /// Takes an object off the shelf. Returns the bytes freed.
    fn remove(&mut self, tables: &mut Tables<'_>, id: &ObjectId) -> Result<u64, IndexError> {
        let Some(record) = tables.remove(id)? else { return Ok(0) };
        self.sidecars.insert(*id, Sidecar::Deleted);
        self.gone.insert(*id);
        self.objects.1 += 1;
        self.bytes.1 += record.info.length;
        Ok(record.info.length + verify::outboard_len(record.info.length))
    }

    /// Makes room: down to the lower mark when the upper one is passed, and for `room_bytes` at least. What is needed
    /// is reckoned here and now: somebody else may have made room since it was asked for.
    fn evict(&mut self, tables: &mut Tables<'_>, room_bytes: u64) -> Result<u64, IndexError> {
        let shelf = self.cellar.config.bytes_max;
        let taken = (self.cellar.sums().taken() + self.bytes.0).saturating_sub(self.bytes.1);
        let above = taken > percent(shelf, limits::EVICT_ABOVE_PERCENT);
        let to_mark = if above { taken - percent(shelf, limits::EVICT_TO_PERCENT) } else { 0 };
        // A disk that cannot be asked is not helped by eviction either.
        let goal = self.cellar.shortage(room_bytes).unwrap_or(0).max(to_mark);
        let now = self.cellar.clock.now();
        let parts_max = percent(shelf, limits::PARTS_PERCENT);
        let mut freed = self.evict_parts(|parts| parts.evict(now, parts_max, 0));
        freed += self.evict_objects(tables, goal.saturating_sub(freed))?;
        if freed < goal {
            freed += self.evict_parts(|parts| parts.evict(now, 0, goal - freed));
        }
        Ok(freed)
    }

    /// As the policy says.
    fn evict_objects(&mut self, tables: &mut Tables<'_>, goal_bytes: u64) -> Result<u64, IndexError> {
        let cellar = self.cellar;
        let mut policy = cellar.policy();
        let (count, freed) = policy.make_room(
            &mut Standing { batch: self, tables },
            goal_bytes,
            cellar.clock.hour(),
            &|id| cellar.copies(id),
        )?;
        tables.set_lead_hours(policy.lead_hours())?;
        self.evicted += count;
        Ok(freed)
    }

    fn evict_parts(
        &mut self,
        evict: impl FnOnce(&mut crate::parts::Parts) -> Vec<crate::parts::Waiting>,
    ) -> u64 {
        let gone = evict(&mut self.cellar.parts());
        let freed = gone.iter().map(|waiting| waiting.bytes).sum();
        self.cellar.sums().partial_bytes -= freed;
        self.spare.extend(gone.into_iter().map(|waiting| waiting.files));
        freed
    }

    /// Writes down which objects were used since the last time.
    pub(crate) fn write_accesses(&mut self, tables: &mut Tables<'_>) -> Result<(), IndexError> {
        let hour = self.cellar.clock.hour();
        for (id, count) in self.cellar.take_accesses() {
            if let (Some(stay), Some(info)) = (tables.stay(&id)?, tables.info(&id)?) {
                tables.set_stay(&id, self.cellar.policy().used(stay, info.length, hour, count))?;
            }
        }
        Ok(())
    }

    /// Brings the files into the state that the index is about to be committed with.
    pub(crate) fn write_files(&mut self) -> Result<(), WriteError> {
        let paths = &self.cellar.paths;
        let mut written = 0;
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        for (id, files) in &self.arrived {
            let shard = paths.shard(id.as_bytes()[0]);
            if !shard.is_dir() {
                fs::create_dir_all(&shard)?;
                folders.insert(paths.objects());
            }
            if let Some(files) = files {
                fs::rename(files.data(), paths.object(id, Kind::Data))?;
                if files.outboard().exists() {
                    fs::rename(files.outboard(), paths.object(id, Kind::Outboard))?;
                }
                files::remove_if_there(&files.leaves());
                files::remove_if_there(&files.record());
            }
        }
        for (id, sidecar) in &self.sidecars {
            let path = paths.object(id, Kind::Sidecar);
            let needs_sync = match sidecar {
                Sidecar::Written(sealed, sync) => {
                    files::replace(&path, sealed, *sync)?;
                    written += sealed.len() as u64;
                    *sync == Sync::Before
                }
                Sidecar::Deleted => {
                    files::remove_if_there(&path);
                    self.purged
                }
            };
            if needs_sync {
                folders.insert(paths.shard(id.as_bytes()[0]));
            }
        }
        // A folder's name is synced before what is in it could matter; the sorted order has `objects` first.
        folders.iter().try_for_each(|folder| files::sync_dir(folder))?;
        self.cellar.sums().written_bytes += written;
        Ok(())
    }

    /// Does what is left to do when the commit has succeeded or failed, and answers everybody.
    pub(crate) fn settle(self, committed: &Result<(), WriteError>) {
        let bytes_of = [Kind::Sidecar, Kind::Outboard, Kind::Data];
        // After a failure nobody may find what was not reported as stored.
        let unwanted: Vec<ObjectId> = match committed {
            Ok(()) => self.gone.iter().copied().collect(),
            Err(_) => self.arrived.keys().copied().collect(),
        };
        for id in self.arrived.keys().chain(&self.gone) {
            self.cellar.opened().forget(id);
        }
        for id in &unwanted {
            for kind in bytes_of {
                files::remove_if_there(&self.cellar.paths.object(id, kind));
            }
        }
        if committed.is_err() {
            self.arrived.values().flatten().for_each(PartFiles::remove);
        }
        self.spare.iter().for_each(PartFiles::remove);
        if committed.is_ok() {
            let mut sums = self.cellar.sums();
            sums.objects = (sums.objects + self.objects.0).saturating_sub(self.objects.1);
            sums.bytes = (sums.bytes + self.bytes.0).saturating_sub(self.bytes.1);
            sums.evicted += self.evicted;
            drop(sums);
            self.cellar.announce(self.sidecars.keys().chain(&self.renewed));
        }
        self.replies.into_iter().for_each(|reply| reply(committed));
    }
}

/// The order of eviction as it stands in the index.
struct Standing<'s, 'b, 't> {
    batch: &'s mut Batch<'b>,
    tables: &'s mut Tables<'t>,
}

impl shelf::Order for Standing<'_, '_, '_> {
    type Error = IndexError;

    fn lowest(&mut self, count_max: usize) -> Result<Vec<Candidate>, IndexError> {
        let opened = self.batch.cellar.opened();
        self.tables.lowest(count_max, |id| !opened.is_read(id))
    }

    fn put(&mut self, id: &ObjectId, stay: Stay) -> Result<(), IndexError> {
        self.tables.set_stay(id, stay)
    }

    fn remove(&mut self, id: &ObjectId) -> Result<u64, IndexError> {
        self.batch.remove(self.tables, id)
    }
}
