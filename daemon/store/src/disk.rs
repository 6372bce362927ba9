//! The files of one arriving object, as the thread that writes them sees them: the data, the leaves, and the digests
//! that follow the frontier.
//!
//! Everything here blocks. Knows neither readers nor what may be read; who may write when is the business of
//! [`crate::arriving`].

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use kith_model::ladder::{Digest, Ladder};
use kith_model::object::ObjectId;
use kith_model::range::{GroupSet, GroupSpan};
use kith_model::verify::{self, Run};

use crate::buffers::{BUFFER_BYTES, Buffer};
use crate::digests::Running;
use crate::draft::Draft;
use crate::files::{self, PartFiles};
use crate::fold::Fold;
use crate::{leaves, record};

/// The open files of one arriving object.
pub(crate) struct Disk {
    data: Arc<File>,
    leaves: File,
    digests: Running,
    /// What it will be is written down, for who finds the part after a crash.
    is_noted: bool,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("hashed", &self.digests.at()).finish_non_exhaustive()
    }
}

impl Disk {
    /// Hashes from the front on, for the digests of `told`.
    pub(crate) fn new(data: Arc<File>, leaves: File, told: &Ladder) -> Self {
        Self { data, leaves, digests: Running::new(told), is_noted: false }
    }

    /// The part was written down before.
    pub(crate) fn was_noted(&mut self) {
        self.is_noted = true;
    }

    /// Writes down what the part will be, once.
    pub(crate) fn note(&mut self, files: &PartFiles, draft: &Draft) -> io::Result<()> {
        if self.is_noted {
            return Ok(());
        }
        self.is_noted = true;
        files::replace(&files.record(), &record::encode_draft(draft), files::Sync::Later)
    }

    /// Count of bytes hashed.
    pub(crate) fn hashed(&self) -> u64 {
        self.digests.at()
    }

    /// The digests of what is hashed.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.digests.digests()
    }

    /// Hashes from the front on once more.
    pub(crate) fn hash_anew(&mut self, told: &Ladder) {
        self.digests = Running::new(told);
    }

    /// Writes a run that is not held.
    pub(crate) fn write(&self, part: &Run) -> io::Result<()> {
        self.data.write_all_at(part.bytes(), part.first().offset())?;
        leaves::write(&self.leaves, part.first().0, &leaves::encode(part.leaves(), part.provenance()))
    }

    /// Marks groups as not held.
    pub(crate) fn clear(&self, span: GroupSpan) -> io::Result<()> {
        leaves::clear(&self.leaves, span)
    }

    /// Hashes what was just written and follows the frontier, while it is still in memory.
    pub(crate) fn hash_written(&mut self, parts: &[Run], frontier: u64) {
        for part in parts {
            let start = part.first().offset();
            if start == self.digests.at() && start < frontier {
                self.digests.update(part.bytes());
            }
        }
    }

    /// Hashes up to the frontier from the file, at most `bytes_max`.
    pub(crate) fn catch_up(&mut self, frontier: u64, bytes_max: u64) -> io::Result<()> {
        let end = frontier.min(self.digests.at().saturating_add(bytes_max));
        let mut buffer = Buffer::of(if self.digests.at() < end { BUFFER_BYTES } else { 0 });
        let buffer = buffer.bytes_mut();
        while self.digests.at() < end {
            let at = self.digests.at();
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            self.data.read_exact_at(&mut buffer[..len], at)?;
            self.digests.update(&buffer[..len]);
        }
        Ok(())
    }

    /// The first `length` bytes, for what is small.
    pub(crate) fn read(&self, length: u64) -> io::Result<Vec<u8>> {
        read_exact(&self.data, 0, length)
    }

    /// The object of the first `groups` leaves; nothing when one is missing.
    pub(crate) fn root(&self, groups: u64) -> io::Result<Option<ObjectId>> {
        Ok(self.fold(groups, io::sink())?.map(|(id, _)| id))
    }

    /// Waits until the data are on the disk.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.data.sync_data()
    }

    /// Writes the outboard of an object that was folded before, and waits until it is on the disk.
    pub(crate) fn write_outboard(&self, path: &Path, id: ObjectId, groups: u64) -> io::Result<()> {
        let outboard = BufWriter::new(File::create(path)?);
        match self.fold(groups, outboard)? {
            Some((folded, outboard)) if folded == id => Ok(outboard.into_inner()?.sync_data()?),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the leaves changed under our feet")),
        }
    }

    fn fold<W: Write>(&self, groups: u64, outboard: W) -> io::Result<Option<(ObjectId, W)>> {
        let mut fold = Fold::new(outboard);
        let all_held = leaves::for_each_held(&self.leaves, groups, |leaf| fold.push(leaf))?;
        if all_held { fold.finish() } else { Ok(None) }
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
