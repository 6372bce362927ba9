//! One arriving object: what is held of it, what may be read of it, and its unfinished files.
//!
//! Two locks. `progress` is held for moments and never while the disk works; `disk` is held by one blocking thread at
//! a time, so that the groups of one object are written one after another. Different objects share nothing here.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use kith_model::ladder::{Algorithm, Contradiction, Digest, Ladder};
use kith_model::limits;
use kith_model::object::ObjectId;
use kith_model::range::{GROUP_BYTES, GroupSet, GroupSpan, groups_of};
use kith_model::verify::{self, Run};
use tokio::sync::watch;

use crate::cellar::Cellar;
use crate::digests::Running;
use crate::disk::Disk;
use crate::draft::{Draft, Visibility};
use crate::error::WriteError;
use crate::files::{self, PartFiles};
use crate::inbox::{Entry, Inbox};
use crate::parts::Waiting;
use crate::progress::{Complete, Leave, Progress, bytes_of};

#[derive(Debug)]
pub(crate) struct Arriving {
    pub(crate) cellar: Arc<Cellar>,
    pub(crate) draft: Arc<Draft>,
    /// The number under which the part is listed.
    number: u64,
    files: PartFiles,
    /// The data file as readers see it; set once it was made.
    data: OnceLock<Arc<File>>,
    progress: Mutex<Progress>,
    disk: SharedDisk,
    /// The draft's digests and those told since.
    told: Mutex<Ladder>,
    /// Runs on their way to the disk.
    pub(crate) inbox: Arc<Inbox>,
    wake: watch::Sender<()>,
}

/// Only the thread that writes touches what is in it.
type SharedDisk = Arc<Mutex<Option<Disk>>>;

/// A whole that was checked and waits to be filed.
pub(crate) struct Whole {
    pub(crate) id: ObjectId,
    pub(crate) digests: Vec<Digest>,
    /// Present for an object that is kept in its record.
    pub(crate) inline: Option<Vec<u8>>,
}

/// Why the held groups are not the whole that was expected.
pub(crate) enum NotWhole {
    Incomplete,
    Disk(io::Error),
}

impl From<io::Error> for NotWhole {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl Arriving {
    /// Begins a part, or goes on with one whose groups are known.
    pub(crate) fn new(
        cellar: Arc<Cellar>,
        draft: Arc<Draft>,
        number: u64,
        files: PartFiles,
        held: GroupSet,
    ) -> Arc<Self> {
        let progress = Progress::new(&cellar, draft.length, held);
        let told = Mutex::new(draft.ladder.clone());
        Arc::new(Self {
            cellar,
            draft,
            number,
            files,
            data: OnceLock::new(),
            progress: Mutex::new(progress),
            disk: SharedDisk::default(),
            told,
            inbox: Inbox::new(),
            wake: watch::Sender::new(()),
        })
    }

    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> MutexGuard<'_, Option<Disk>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn data(&self) -> Option<&Arc<File>> {
        self.data.get()
    }

    pub(crate) fn files(&self) -> &PartFiles {
        &self.files
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.wake.subscribe()
    }

    fn wake(&self) {
        self.wake.send_replace(());
    }

    /// Whether the object lives in memory until it is complete, as far as is known before `run` is written.
    pub(crate) fn stays_in_memory(&self, run: &Run) -> bool {
        match self.draft.length {
            Some(length) => length < limits::INLINE_BYTES_LIMIT,
            None if self.has_files() => false,
            None => run.first().0 == 0 && (run.bytes().len() as u64) < limits::INLINE_BYTES_LIMIT,
        }
    }

    /// Makes the files. Blocks.
    pub(crate) fn create_files(&self) -> io::Result<()> {
        self.open_disk(&mut self.disk(), files::create_new)
    }

    /// Opens the files of a part from before. Blocks.
    pub(crate) fn open_files(&self) -> io::Result<()> {
        let mut disk = self.disk();
        self.open_disk(&mut disk, files::open_writable)?;
        disk.as_mut().map(Disk::was_noted);
        Ok(())
    }

    fn open_disk(
        &self,
        disk: &mut Option<Disk>,
        open: impl Fn(&std::path::Path) -> io::Result<File>,
    ) -> io::Result<()> {
        let data = Arc::new(open(&self.files.data())?);
        let leaves = open(&self.files.leaves())?;
        if let Some(length) = self.draft.length {
            data.set_len(length)?;
        }
        let data = Arc::clone(self.data.get_or_init(|| data));
        *disk = Some(Disk::new(data, leaves, &self.told()));
        Ok(())
    }

    /// Keeps the only group of a small object. Does not block.
    pub(crate) fn write_memory(&self, run: &Run, visibility: Visibility) -> Result<(), WriteError> {
        let mut progress = self.progress();
        progress.check_open()?;
        progress.check_fit(run)?;
        let group = GroupSpan::clamped(0, 1);
        if progress.memory.is_none() || progress.may_replace(0, run) {
            progress.memory = Some(run.bytes().clone());
            progress.note(&self.cellar, run, group);
        }
        progress.show(group, visibility);
        drop(progress);
        self.wake();
        Ok(())
    }

    /// Writes the groups of a run that are not held, tells who waits for it, and then brings the digests up to date:
    /// nobody waits for those before the end. Blocks.
    pub(crate) fn write_files(&self, entry: Entry) {
        let Entry { run, visibility, reply } = entry;
        let mut disk = self.disk();
        let written = self.write_parts(&mut disk, &run, visibility);
        let (outcome, written) = match written {
            Ok(written) => {
                self.note(&mut disk);
                (Ok(()), Some(written))
            }
            Err(error) => (Err(error), None),
        };
        // Whoever waited may have gone.
        let _ = reply.send(outcome);
        if let (Some(disk), Some((parts, frontier))) = (disk.as_mut(), written) {
            disk.hash_written(&parts, frontier);
            if let Err(error) = disk.catch_up(frontier, limits::DIGEST_CATCH_UP_BYTES) {
                // The next run or the check of the whole tries again, and tells when it cannot.
                tracing::debug!(%error, "written groups could not be read back for their digests");
            }
        }
    }

    /// Behind the first run that is readable: no client waits for it, and what the writer is told is written is found
    /// again after a crash.
    fn note(&self, disk: &mut Option<Disk>) {
        let is_resumable = self.draft.validator.is_some() && self.draft.length.is_some();
        if let Some(disk) = disk.as_mut().filter(|_| is_resumable)
            && let Err(error) = disk.note(&self.files, &self.draft)
        {
            tracing::debug!(%error, "a part could not be written down; it goes with this process");
        }
    }

    /// Returns what was written and up to where bytes are held without a gap.
    fn write_parts(
        &self,
        disk: &mut Option<Disk>,
        run: &Run,
        visibility: Visibility,
    ) -> Result<(Vec<Run>, u64), WriteError> {
        let missing = {
            let mut progress = self.progress();
            progress.check_open()?;
            progress.check_fit(run)?;
            progress.missing(&self.cellar, run)
        };
        if disk.is_none() {
            self.open_disk(disk, files::create_new)?;
        }
        let disk = disk.as_mut().expect("invariant: opened just above");
        let parts: Vec<Run> = missing.iter().filter_map(|span| run.narrowed(*span)).collect();
        for part in &parts {
            // Whatever was hashed of a group that is written over is not what is hashed now.
            if disk.hashed() > part.first().offset() {
                disk.hash_anew(&self.told());
            }
            disk.write(part)?;
        }
        let mut progress = self.progress();
        progress.check_open()?;
        for part in &parts {
            progress.note(&self.cellar, part, part.span());
        }
        progress.show(run.span(), visibility);
        let frontier = progress.frontier();
        drop(progress);
        self.wake();
        Ok((parts, frontier))
    }

    /// The digests that were told, in the draft and since.
    pub(crate) fn told(&self) -> Ladder {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes digests that were told after the draft was made. Refused as a whole when one contradicts what is known.
    /// One that would need too much hashed anew is left out. Blocks.
    pub(crate) fn learn(&self, news: &Ladder) -> Result<(), Contradiction> {
        let mut disk = self.disk();
        let hashed = disk.as_ref().map_or(0, Disk::hashed);
        let before = self.told();
        let mut told = before.clone();
        for rung in news.rungs() {
            let algorithm = rung.digest.algorithm();
            let is_computed = algorithm == Algorithm::Sha256 || before.digest(algorithm).is_some();
            if is_computed || hashed <= limits::LATE_DIGEST_BYTES_MAX {
                told.add(rung.clone())?;
            }
        }
        let news = told.rungs().iter().skip(before.rungs().len());
        if let Some(disk) = disk.as_mut()
            && news.into_iter().any(|rung| rung.digest.algorithm() != Algorithm::Sha256)
        {
            disk.hash_anew(&told);
        }
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
        Ok(())
    }

    /// Makes everything readable that somebody vouches for.
    pub(crate) fn release(&self) {
        self.progress().release();
        self.wake();
    }

    /// Makes everything readable: the whole was checked.
    pub(crate) fn approve(&self) {
        self.progress().approve();
        self.wake();
    }

    /// Takes back what the origin did not vouch for. Blocks.
    pub(crate) fn retract(&self) -> GroupSet {
        self.drop_groups(Progress::take_back)
    }

    /// Drops what nobody vouches for. Blocks.
    pub(crate) fn drop_doubtful(&self) -> GroupSet {
        self.drop_groups(Progress::drop_doubtful)
    }

    /// Drops groups and returns what is left.
    fn drop_groups(&self, drop: impl FnOnce(&mut Progress, &Cellar) -> GroupSet) -> GroupSet {
        let mut disk = self.disk();
        let (dropped, left) = {
            let mut progress = self.progress();
            // What has ended may be in the hands of the next writer already.
            if progress.end.is_some() {
                return GroupSet::new();
            }
            let dropped = drop(&mut progress, &self.cellar);
            (dropped, progress.held.clone())
        };
        if let (Some(disk), Some(first)) = (disk.as_mut(), dropped.spans().first()) {
            if disk.hashed() > first.start().saturating_mul(GROUP_BYTES) {
                disk.hash_anew(&self.told());
            }
            for span in dropped.spans() {
                if let Err(error) = disk.clear(*span) {
                    // After a crash groups of a tree do not count anyway.
                    tracing::debug!(%error, "retracted groups could not be cleared");
                }
            }
        }
        self.wake();
        left
    }

    /// Checks that all bytes are there and what object they are. Blocks.
    pub(crate) fn fold(&self, length: u64) -> Result<Whole, NotWhole> {
        let mut disk = self.disk();
        let memory = {
            let progress = self.progress();
            if !progress.is_whole(length) {
                return Err(NotWhole::Incomplete);
            }
            progress.memory.clone()
        };
        let Some(disk) = disk.as_mut() else {
            let body = memory.unwrap_or_default().to_vec();
            let mut running = Running::new(&self.told());
            running.update(&body);
            return Ok(Whole { id: ObjectId::of(&body), digests: running.digests(), inline: Some(body) });
        };
        disk.catch_up(length, u64::MAX)?;
        let digests = disk.digests();
        if groups_of(length) < 2 {
            let body = disk.read(length)?;
            let id = ObjectId::of(&body);
            return Ok(Whole { id, digests, inline: (length < limits::INLINE_BYTES_LIMIT).then_some(body) });
        }
        let id = disk.root(groups_of(length))?.ok_or(NotWhole::Incomplete)?;
        Ok(Whole { id, digests, inline: None })
    }

    /// Waits until the bytes of an object that was folded are on the disk, and its outboard with them. Blocks.
    pub(crate) fn sync(&self, id: ObjectId, length: u64) -> io::Result<()> {
        let disk = self.disk();
        let Some(disk) = disk.as_ref() else { return Ok(()) };
        disk.sync_data()?;
        if groups_of(length) < 2 {
            return Ok(());
        }
        disk.write_outboard(&self.files.outboard(), id, groups_of(length))?;
        self.cellar.sums().written_bytes += verify::outboard_len(length);
        Ok(())
    }

    /// Whether the bytes are in files.
    pub(crate) fn has_files(&self) -> bool {
        self.data.get().is_some()
    }

    /// Opens the outboard that was just written, for readers that go on reading this part.
    pub(crate) fn open_outboard(&self) -> Option<File> {
        File::open(self.files.outboard()).ok()
    }

    /// Its bytes do not count as a part's any more.
    pub(crate) fn leave_sums(&self) {
        self.progress().leave_sums(&self.cellar);
    }

    /// The object is whole and will not change.
    pub(crate) fn complete(&self, complete: Complete) {
        self.progress().complete(&self.cellar, complete);
        self.cellar.parts().end(&self.draft.key, self.number);
        self.wake();
    }

    /// The part is thrown away. Blocks as long as the disk takes to forget it.
    pub(crate) fn discard(&self) {
        // A write that is under way comes first: it must not make files anew.
        let disk = self.disk();
        if self.give_up() {
            self.cellar.parts().end(&self.draft.key, self.number);
            self.files.remove();
        }
        drop(disk);
    }

    /// Deletes the files of a part that has ended. Blocks.
    pub(crate) fn clear(&self) {
        let disk = self.disk();
        self.files.remove();
        drop(disk);
    }

    /// Takes it from its readers, but leaves its files. Whether it was still arriving.
    pub(crate) fn give_up(&self) -> bool {
        let gave_up = self.progress().give_up(&self.cellar);
        if gave_up {
            self.wake();
        }
        gave_up
    }

    /// The writer lets go: the part waits to be resumed when that is possible. Whether its files are to be deleted
    /// instead.
    pub(crate) fn park(&self) -> bool {
        let origin = self.progress().origin.clone();
        if self.progress().leave_to_readers(&self.cellar) != Leave::Left {
            return false;
        }
        self.wake();
        let resumable = self.draft.validator.is_some() && !origin.is_empty() && self.has_files();
        let Some(length) = self.draft.length.filter(|_| resumable) else {
            self.cellar.parts().end(&self.draft.key, self.number);
            return true;
        };
        // Closes the files, unless a write is under way: then whoever resumes waits for it.
        if let Ok(mut disk) = self.disk.try_lock() {
            disk.take();
        }
        let bytes = bytes_of(&origin, length);
        let waiting = Waiting {
            draft: Arc::clone(&self.draft),
            files: self.files.clone(),
            bytes,
            touched_at: self.cellar.clock.now(),
            seen: Some(Seen { groups: origin, disk: Arc::clone(&self.disk) }),
        };
        self.cellar.sums().partial_bytes += bytes;
        let refused = self.cellar.parts().wait(&self.draft.key, self.number, waiting).is_some();
        if refused {
            self.cellar.sums().partial_bytes -= bytes;
        }
        refused
    }
}

/// What this process saw of a part that waits.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) groups: GroupSet,
    disk: SharedDisk,
}

impl Seen {
    /// Waits until the last writer's last write is done. Blocks.
    pub(crate) fn settle(&self) {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
