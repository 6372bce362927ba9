//! The unfinished parts: which key has one, who writes it, and which wait to be resumed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use kith_model::key::CacheKey;
use kith_model::limits;
use kith_model::range::{GroupSet, groups_of};
use kith_model::time::UnixMillis;

use crate::arriving::Seen;
use crate::draft::{Draft, Part};
use crate::error::OpenError;
use crate::files::{self, PartFiles, Paths};
use crate::leaves;
use crate::progress::bytes_of;
use crate::record::{self, RecordError};

/// All parts, one a key at most. Older writers of the same key go on without being listed here.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    slots: HashMap<CacheKey, Slot>,
    next_number: u64,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Somebody writes it.
    Live,
    /// It waits to be resumed.
    Waiting(Waiting),
}

/// A part that nobody writes.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) draft: Arc<Draft>,
    pub(crate) files: PartFiles,
    /// Bytes it takes on the disk.
    pub(crate) bytes: u64,
    /// When it was written to last.
    pub(crate) touched_at: UnixMillis,
    /// The groups that this process saw arrive; absent for a part from before, whose groups have to be checked.
    pub(crate) seen: Option<Seen>,
}

impl Parts {
    /// A name for the files of a new part that no other part had.
    pub(crate) fn next_files(&mut self, paths: &Paths, key: &CacheKey) -> (u64, PartFiles) {
        self.next_number += 1;
        let hash = blake3::hash(&crate::index::target_key(key));
        let stem = format!("{}-{:016x}", hash.to_hex(), self.next_number);
        (self.next_number, PartFiles::new(paths.parts().join(stem)))
    }

    /// Lists a part as being written. What waited under the key is handed back.
    pub(crate) fn begin(&mut self, key: CacheKey, number: u64) -> Option<Waiting> {
        match self.slots.insert(key, Slot { number, state: State::Live })?.state {
            State::Waiting(waiting) => Some(waiting),
            State::Live => None,
        }
    }

    /// The writer of part `number` is done with it. Whether it was still the one listed.
    pub(crate) fn end(&mut self, key: &CacheKey, number: u64) -> bool {
        let listed = self.slots.get(key).is_some_and(|slot| slot.number == number);
        if listed {
            self.slots.remove(key);
        }
        listed
    }

    /// The writer of part `number` lets go of it; it is handed back when another one took its place.
    pub(crate) fn wait(&mut self, key: &CacheKey, number: u64, waiting: Waiting) -> Option<Waiting> {
        match self.slots.get_mut(key) {
            Some(slot) if slot.number == number => {
                slot.state = State::Waiting(waiting);
                None
            }
            _ => Some(waiting),
        }
    }

    /// What waits under a key. Its groups as they are noted.
    pub(crate) fn waiting(&self, key: &CacheKey) -> Option<Part> {
        let State::Waiting(waiting) = &self.slots.get(key)?.state else { return None };
        Some(Part { draft: (*waiting.draft).clone(), held: waiting.noted() })
    }

    /// How many bytes of the part that waits under a key are still to come.
    pub(crate) fn missing_bytes(&self, key: &CacheKey) -> Option<u64> {
        let State::Waiting(waiting) = &self.slots.get(key)?.state else { return None };
        Some(waiting.draft.length.unwrap_or(0).saturating_sub(waiting.bytes))
    }

    /// Takes what waits under a key; its number goes on being listed as live when it is to be resumed.
    pub(crate) fn take(&mut self, key: &CacheKey) -> Option<(u64, Waiting)> {
        let slot = self.slots.get_mut(key)?;
        match std::mem::replace(&mut slot.state, State::Live) {
            State::Waiting(waiting) => Some((slot.number, waiting)),
            State::Live => None,
        }
    }

    /// Takes what waits under a key off the list.
    pub(crate) fn remove_waiting(&mut self, key: &CacheKey) -> Option<Waiting> {
        let (number, waiting) = self.take(key)?;
        self.end(key, number);
        Some(waiting)
    }

    /// Takes parts off the list: those that waited too long, then the oldest while all together take more than
    /// `bytes_max`, and then more until `bytes_needed` are freed.
    pub(crate) fn evict(&mut self, now: UnixMillis, bytes_max: u64, bytes_needed: u64) -> Vec<Waiting> {
        let mut waiting: Vec<(UnixMillis, u64, CacheKey)> = self
            .slots
            .iter()
            .filter_map(|(key, slot)| match &slot.state {
                State::Waiting(waiting) => Some((waiting.touched_at, waiting.bytes, key.clone())),
                State::Live => None,
            })
            .collect();
        waiting.sort_unstable();
        let mut left: u64 = waiting.iter().map(|(_, bytes, _)| bytes).sum();
        let mut freed = 0;
        let mut gone = Vec::new();
        for (touched_at, bytes, key) in waiting {
            if !is_too_old(touched_at, now) && left <= bytes_max && freed >= bytes_needed {
                break;
            }
            left -= bytes;
            freed += bytes;
            gone.extend(self.remove_waiting(&key));
        }
        gone
    }

    /// The keys under which something waits.
    pub(crate) fn waiting_keys(&self) -> Vec<CacheKey> {
        let waits = |slot: &Slot| matches!(slot.state, State::Waiting(_));
        self.slots.iter().filter(|(_, slot)| waits(slot)).map(|(key, _)| key.clone()).collect()
    }

    /// Finds the parts that an earlier process left, and deletes what is no part or too old. Returns their bytes.
    pub(crate) fn recover(&mut self, paths: &Paths, now: UnixMillis) -> Result<u64, OpenError> {
        // Numbers of this process come after those of any earlier one, unless the clock went back; files are then
        // refused to be made twice and the next number is tried.
        self.next_number = now.0 << 8;
        let io = |source| OpenError::Io { path: paths.parts(), source };
        let mut stems: Vec<PathBuf> = fs::read_dir(paths.parts())
            .map_err(io)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| is_ours(path))
            .map(|path| path.with_extension(""))
            .collect();
        stems.sort_unstable();
        stems.dedup();
        for stem in stems {
            let files = PartFiles::new(stem);
            match read(files.clone(), now)? {
                Some(waiting) => self.adopt(waiting),
                None => files.remove(),
            }
        }
        Ok(self.slots.values().map(Slot::bytes).sum())
    }

    /// Lists a part of an earlier process; of two under one key the younger stays.
    fn adopt(&mut self, waiting: Waiting) {
        let key = waiting.draft.key.clone();
        let loser = match self.slots.remove(&key).map(|slot| slot.state) {
            Some(State::Waiting(other)) if other.touched_at > waiting.touched_at => {
                self.insert(key, other);
                Some(waiting)
            }
            Some(State::Waiting(other)) => {
                self.insert(key, waiting);
                Some(other)
            }
            _ => {
                self.insert(key, waiting);
                None
            }
        };
        if let Some(loser) = loser {
            loser.files.remove();
        }
    }

    fn insert(&mut self, key: CacheKey, waiting: Waiting) {
        self.next_number += 1;
        self.slots.insert(key, Slot { number: self.next_number, state: State::Waiting(waiting) });
    }
}

impl Slot {
    fn bytes(&self) -> u64 {
        match &self.state {
            State::Waiting(waiting) => waiting.bytes,
            State::Live => 0,
        }
    }
}

impl Waiting {
    /// The groups that are noted as sent by the origin.
    pub(crate) fn noted(&self) -> GroupSet {
        if let Some(seen) = &self.seen {
            return seen.groups.clone();
        }
        let groups = groups_of(self.draft.length.unwrap_or(0));
        File::open(self.files.leaves())
            .and_then(|file| leaves::from_origin(&file, groups))
            .unwrap_or_default()
    }
}

fn is_too_old(touched_at: UnixMillis, now: UnixMillis) -> bool {
    now.since(touched_at) > Duration::from_hours(limits::PART_AGE_HOURS)
}

fn is_ours(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("data" | "leaves" | "outboard" | "part" | "new"))
}

/// Reads what an earlier process left of a part. Nothing when it is not worth keeping.
fn read(files: PartFiles, now: UnixMillis) -> Result<Option<Waiting>, OpenError> {
    let Ok(bytes) = files::read_record(&files.record()) else { return Ok(None) };
    let draft = match record::decode_draft(&bytes) {
        Ok(draft) => draft,
        Err(RecordError::Newer(version)) => {
            return Err(OpenError::Newer { path: files.record(), version: version.into() });
        }
        Err(_) => return Ok(None),
    };
    let (Ok(data), Ok(leaves)) = (fs::metadata(files.data()), fs::metadata(files.leaves())) else {
        return Ok(None);
    };
    let touched_at = leaves.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let touched_at = touched_at.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0);
    let touched_at = UnixMillis(touched_at);
    if is_too_old(touched_at, now) || draft.validator.is_none() || draft.length != Some(data.len()) {
        return Ok(None);
    }
    let mut waiting = Waiting { draft: Arc::new(draft), files, bytes: 0, touched_at, seen: None };
    // The blocks of the data file would say less: what was written last may have none yet.
    waiting.bytes = bytes_of(&waiting.noted(), data.len());
    Ok(Some(waiting))
}
