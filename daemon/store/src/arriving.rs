//! One arriving object: what is held of it, what may be read of it, and its unfinished files.
//!
//! Two locks. `progress` is held for moments and never while the disk works; `disk` is held by one blocking thread at
//! a time, so that the groups of one object are written one after another. Different objects share nothing here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use kith_model::limits;
use kith_model::object::ObjectId;
use kith_model::range::{GROUP_BYTES, GroupSet, GroupSpan, groups_of};
use kith_model::representation::ObjectInfo;
use kith_model::verify::{self, Folded, Provenance, Run};
use tokio::sync::watch;

use crate::cellar::Cellar;
use crate::digests::Running;
use crate::draft::{Draft, Visibility};
use crate::error::WriteError;
use crate::files::{self, PartFiles};
use crate::leaves;
use crate::parts::Waiting;

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
    disk: Mutex<Option<Disk>>,
    wake: watch::Sender<()>,
}

/// What is held, as of now.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) held: GroupSet,
    /// The held groups that the origin vouched for.
    pub(crate) origin: GroupSet,
    pub(crate) visible: GroupSet,
    /// The length, once somebody told it.
    pub(crate) length: Option<u64>,
    /// Where the bytes end as far as a short group shows it.
    tail: Option<u64>,
    /// The only group of a small object, instead of files.
    pub(crate) memory: Option<Bytes>,
    /// Grows when groups are taken back.
    pub(crate) epoch: u64,
    pub(crate) end: Option<End>,
    /// What this part adds to the sums.
    held_bytes: u64,
    outstanding_bytes: u64,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It is stored.
    Complete(Arc<Complete>),
    /// It will not be.
    Gone,
}

/// A stored object as the readers of the arriving one see it.
#[derive(Debug)]
pub(crate) struct Complete {
    pub(crate) info: ObjectInfo,
    pub(crate) outboard: Option<File>,
}

/// What only the thread that writes touches.
struct Disk {
    data: Arc<File>,
    leaves: File,
    digests: Running,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("hashed", &self.digests.at()).finish_non_exhaustive()
    }
}

/// A whole that was checked and waits to be filed.
pub(crate) struct Whole {
    pub(crate) id: ObjectId,
    pub(crate) digests: Vec<kith_model::ladder::Digest>,
    /// Present for an object of two groups or more.
    pub(crate) outboard: Option<Vec<u8>>,
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
        let length = draft.length;
        let held_bytes = length.map_or(0, |length| bytes_of(&held, length));
        let outstanding_bytes = length.unwrap_or(0).saturating_sub(held_bytes);
        let mut sums = cellar.sums();
        sums.partial_bytes += held_bytes;
        sums.outstanding_bytes += outstanding_bytes;
        drop(sums);
        let progress = Progress {
            origin: held.clone(),
            visible: held.clone(),
            held,
            length,
            held_bytes,
            outstanding_bytes,
            ..Progress::default()
        };
        Arc::new(Self {
            cellar,
            draft,
            number,
            files,
            data: OnceLock::new(),
            progress: Mutex::new(progress),
            disk: Mutex::default(),
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
        self.open_disk(&mut self.disk(), files::open_writable)
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
        *disk = Some(Disk { data, leaves, digests: Running::new(&self.draft.ladder) });
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

    /// Writes the groups of a run that are not held. Blocks.
    pub(crate) fn write_files(&self, run: &Run, visibility: Visibility) -> Result<(), WriteError> {
        let mut disk = self.disk();
        let missing = {
            let progress = self.progress();
            progress.check_open()?;
            progress.check_fit(run)?;
            progress.missing(run)
        };
        if disk.is_none() {
            self.open_disk(&mut disk, files::create_new)?;
        }
        let disk = disk.as_mut().expect("invariant: opened just above");
        let parts: Vec<Run> = missing.iter().filter_map(|span| run.narrowed(*span)).collect();
        for part in &parts {
            // Whatever was hashed of a group that is written over is not what is hashed now.
            if disk.digests.at() > part.first().offset() {
                disk.digests = Running::new(&self.draft.ladder);
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
        disk.hash_written(&parts, frontier);
        Ok(disk.catch_up(frontier, limits::DIGEST_CATCH_UP_BYTES)?)
    }

    /// Makes everything that is held readable.
    pub(crate) fn release(&self) {
        let mut progress = self.progress();
        progress.visible = progress.held.clone();
        drop(progress);
        self.wake();
    }

    /// Takes back what the origin did not vouch for. Blocks.
    pub(crate) fn retract(&self) -> GroupSet {
        let mut disk = self.disk();
        let mut progress = self.progress();
        let mut dropped = progress.held.clone();
        progress.origin.spans().to_vec().into_iter().for_each(|span| dropped.remove(span));
        if !dropped.is_empty() {
            progress.retract(&self.cellar);
        }
        let left = progress.held.clone();
        drop(progress);
        if let Some(disk) = disk.as_mut() {
            let first =
                dropped.spans().first().map_or(u64::MAX, |span| span.start().saturating_mul(GROUP_BYTES));
            if disk.digests.at() > first {
                disk.digests = Running::new(&self.draft.ladder);
            }
            for span in dropped.spans() {
                if let Err(error) = leaves::clear(&disk.leaves, *span) {
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
        let memory = self.progress().whole(length)?;
        let Some(disk) = disk.as_mut() else {
            let body = memory.unwrap_or_default().to_vec();
            let mut running = Running::new(&self.draft.ladder);
            running.update(&body);
            let digests = running.digests();
            return Ok(Whole { id: ObjectId::of(&body), digests, outboard: None, inline: Some(body) });
        };
        disk.catch_up(length, u64::MAX)?;
        let digests = disk.digests.digests();
        let groups = groups_of(length);
        if groups < 2 {
            let body = read_exact(&disk.data, 0, length)?;
            let id = ObjectId::of(&body);
            let inline = (length < limits::INLINE_BYTES_LIMIT).then_some(body);
            return Ok(Whole { id, digests, outboard: None, inline });
        }
        let leaves = leaves::read_all(&disk.leaves, groups)?.ok_or(NotWhole::Incomplete)?;
        let Folded { id, outboard } = verify::fold(&leaves).ok_or(NotWhole::Incomplete)?;
        Ok(Whole { id, digests, outboard: Some(outboard), inline: None })
    }

    /// Waits until the bytes are on the disk, and the outboard with them. Blocks.
    pub(crate) fn sync(&self, outboard: Option<&[u8]>) -> io::Result<()> {
        if let Some(data) = self.data() {
            data.sync_data()?;
        }
        if let Some(outboard) = outboard {
            files::write_synced(&self.files.outboard(), outboard)?;
            self.cellar.sums().written_bytes += outboard.len() as u64;
        }
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

    /// The object is stored.
    pub(crate) fn complete(&self, complete: Complete) {
        let length = complete.info.length;
        let mut progress = self.progress();
        progress.leave_sums(&self.cellar);
        progress.length = Some(length);
        progress.visible = GroupSet::of(GroupSpan::whole(length));
        progress.end = Some(End::Complete(Arc::new(complete)));
        drop(progress);
        self.cellar.parts().end(&self.draft.key, self.number);
        self.wake();
    }

    /// The part is thrown away. Blocks as long as the disk takes to forget it.
    pub(crate) fn discard(&self) {
        if self.let_go() {
            self.cellar.parts().end(&self.draft.key, self.number);
            self.files.remove();
        }
    }

    /// The part was never begun: its files are somebody else's.
    pub(crate) fn forsake(&self) {
        self.let_go();
    }

    /// Takes it from its readers. Whether it was still arriving.
    fn let_go(&self) -> bool {
        let mut progress = self.progress();
        if progress.end.is_some() {
            return false;
        }
        progress.end = Some(End::Gone);
        progress.leave_sums(&self.cellar);
        drop(progress);
        self.wake();
        true
    }

    /// The writer lets go: the part waits to be resumed when that is possible. Otherwise its files are handed back
    /// to be deleted.
    pub(crate) fn park(&self) -> Option<PartFiles> {
        let origin = self.progress().origin.clone();
        if !self.let_go() {
            return None;
        }
        let (Some(length), true) = (self.draft.length, self.draft.validator.is_some()) else {
            self.cellar.parts().end(&self.draft.key, self.number);
            return Some(self.files.clone());
        };
        if origin.is_empty() || !self.has_files() {
            self.cellar.parts().end(&self.draft.key, self.number);
            return Some(self.files.clone());
        }
        let bytes = bytes_of(&origin, length);
        let waiting = Waiting {
            draft: Arc::clone(&self.draft),
            files: self.files.clone(),
            bytes,
            touched_at: self.cellar.clock.now(),
            seen: Some(origin),
        };
        self.cellar.sums().partial_bytes += bytes;
        let refused = self.cellar.parts().wait(&self.draft.key, self.number, waiting)?;
        self.cellar.sums().partial_bytes -= bytes;
        Some(refused.files)
    }
}

impl Progress {
    fn check_open(&self) -> Result<(), WriteError> {
        if self.end.is_some() { Err(WriteError::Ended) } else { Ok(()) }
    }

    /// Whether a run ends where it may: at a group's edge or at the object's end.
    fn check_fit(&self, run: &Run) -> Result<(), WriteError> {
        let end = run.first().offset().saturating_add(run.bytes().len() as u64);
        let short = !(run.bytes().len() as u64).is_multiple_of(GROUP_BYTES);
        let fits = match self.length.or(self.tail) {
            Some(length) => end <= length && (!short || end == length),
            None => !short || self.held.spans().last().is_none_or(|last| last.end() <= run.span().end()),
        };
        if fits { Ok(()) } else { Err(WriteError::Misfit) }
    }

    /// Whether exactly the bytes `0..length` are held; the body when it is in memory.
    fn whole(&self, length: u64) -> Result<Option<Bytes>, NotWhole> {
        let groups_end = self.held.spans().last().map_or(0, |last| last.end());
        // With a length told, only groups that fit it were taken.
        let end = self.length.or(self.tail).unwrap_or(groups_end.saturating_mul(GROUP_BYTES));
        if end != length || !self.held.contains_all(GroupSpan::whole(length)) {
            return Err(NotWhole::Incomplete);
        }
        Ok(self.memory.clone())
    }

    /// The parts of a run that are to be written.
    fn missing(&self, run: &Run) -> Vec<GroupSpan> {
        let mut kept = self.held.within(run.span());
        if run.provenance() == Provenance::Origin {
            // What the origin sends takes the place of what nobody has seen yet and it did not vouch for.
            let doubtful: Vec<u64> = kept
                .spans()
                .iter()
                .flat_map(|span| span.start()..span.end())
                .filter(|group| self.may_replace(*group, run))
                .collect();
            for group in doubtful {
                kept.remove(GroupSpan::clamped(group, group + 1));
            }
        }
        kept.missing_in(run.span()).collect()
    }

    fn may_replace(&self, group: u64, run: &Run) -> bool {
        run.provenance() == Provenance::Origin
            && !self.visible.contains(group)
            && !self.origin.contains(group)
    }

    /// Counts groups as held.
    fn note(&mut self, cellar: &Cellar, run: &Run, span: GroupSpan) {
        let fresh: u64 = self.held.missing_in(span).map(GroupSpan::len).sum();
        self.held.insert(span);
        match run.provenance() {
            Provenance::Origin => self.origin.insert(span),
            Provenance::Tree(_) => {}
        }
        let len = run.bytes().len() as u64;
        if !len.is_multiple_of(GROUP_BYTES) {
            self.tail = Some(run.first().offset() + len);
        }
        let fresh_bytes = if fresh == span.len() { len } else { fresh * GROUP_BYTES };
        let expected = fresh_bytes.min(self.outstanding_bytes);
        self.held_bytes += fresh_bytes;
        self.outstanding_bytes -= expected;
        let mut sums = cellar.sums();
        sums.partial_bytes += fresh_bytes;
        sums.outstanding_bytes -= expected;
        if self.memory.is_none() {
            sums.written_bytes += len;
        }
    }

    fn show(&mut self, span: GroupSpan, visibility: Visibility) {
        if visibility == Visibility::Now {
            for part in self.held.within(span).spans() {
                self.visible.insert(*part);
            }
        }
    }

    fn retract(&mut self, cellar: &Cellar) {
        self.epoch += 1;
        self.held = self.origin.clone();
        let seen: Vec<GroupSpan> = self.visible.spans().to_vec();
        self.visible = GroupSet::new();
        for span in seen {
            self.held.within(span).spans().iter().for_each(|part| self.visible.insert(*part));
        }
        if self.held.is_empty() {
            self.memory = None;
        }
        let tail_held =
            self.tail.is_some_and(|tail| tail > 0 && self.held.contains((tail - 1) / GROUP_BYTES));
        if !tail_held {
            self.tail = None;
        }
        let left = bytes_of(&self.held, self.length.or(self.tail).unwrap_or(u64::MAX));
        let lost = self.held_bytes.saturating_sub(left);
        self.held_bytes -= lost;
        let mut sums = cellar.sums();
        sums.partial_bytes = sums.partial_bytes.saturating_sub(lost);
        if self.length.is_some() {
            self.outstanding_bytes += lost;
            sums.outstanding_bytes += lost;
        }
    }

    fn leave_sums(&mut self, cellar: &Cellar) {
        let mut sums = cellar.sums();
        sums.partial_bytes = sums.partial_bytes.saturating_sub(std::mem::take(&mut self.held_bytes));
        sums.outstanding_bytes =
            sums.outstanding_bytes.saturating_sub(std::mem::take(&mut self.outstanding_bytes));
    }

    /// How many bytes from the front are held without a gap.
    fn frontier(&self) -> u64 {
        let end = self.held.run_from(0).saturating_mul(GROUP_BYTES);
        end.min(self.length.or(self.tail).unwrap_or(u64::MAX))
    }

    /// The end of the bytes that may be read, as far as it is known.
    pub(crate) fn known_end(&self) -> Option<u64> {
        self.length.or(self.tail)
    }
}

impl Disk {
    fn write(&self, part: &Run) -> io::Result<()> {
        self.data.write_all_at(part.bytes(), part.first().offset())?;
        leaves::write(&self.leaves, part.first().0, &leaves::encode(part.leaves(), part.provenance()))
    }

    /// Hashes what was just written and follows the frontier, while it is still in memory.
    fn hash_written(&mut self, parts: &[Run], frontier: u64) {
        for part in parts {
            let start = part.first().offset();
            if start == self.digests.at() && start < frontier {
                self.digests.update(part.bytes());
            }
        }
    }

    /// Hashes up to the frontier from the file, at most `bytes_max`.
    fn catch_up(&mut self, frontier: u64, bytes_max: u64) -> io::Result<()> {
        let end = frontier.min(self.digests.at().saturating_add(bytes_max));
        let mut buffer = vec![0; if self.digests.at() < end { limits::READ_BUFFER_BYTES } else { 0 }];
        while self.digests.at() < end {
            let at = self.digests.at();
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            self.data.read_exact_at(&mut buffer[..len], at)?;
            self.digests.update(&buffer[..len]);
        }
        Ok(())
    }
}

/// Checks the noted groups of a part from before a crash and returns those whose bytes hash to their leaves. Blocks.
pub(crate) fn check_groups(files: &PartFiles, length: u64, noted: &GroupSet) -> io::Result<GroupSet> {
    let data = File::open(files.data())?;
    let leaves = File::options().read(true).write(true).open(files.leaves())?;
    let mut right = GroupSet::new();
    for group in noted.spans().iter().flat_map(|span| span.start()..span.end()) {
        let span = GroupSpan::clamped(group, group + 1);
        let range = span.bytes(length);
        let bytes = read_exact(&data, range.start(), range.len())?;
        if leaves::read(&leaves, group)? == verify::leaf(group, &bytes) {
            right.insert(span);
        } else {
            leaves::clear(&leaves, span)?;
        }
    }
    Ok(right)
}

fn read_exact(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Bytes of these groups in an object of `length` bytes.
pub(crate) fn bytes_of(set: &GroupSet, length: u64) -> u64 {
    set.spans().iter().map(|span| span.bytes(length).len()).sum()
}
