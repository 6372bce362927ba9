//! Makes the store whole again: after a crash, and when the index is missing or damaged.
//!
//! The files decide. For each folder of objects the index is made to say what is there: rows whose files are missing
//! go, sidecars without a row are taken in, and files that belong to no sidecar are deleted. An empty index is filled
//! by the same walk. Rows that hold the body need no file; their sidecars are written again. After a clean end there is nothing to do, and a mark in the lock file says so.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use kith_model::object::ObjectId;
use kith_model::representation::Representation;
use kith_model::shelf::Policy;
use kith_model::verify;

use crate::cellar::Cellar;
use crate::error::{IndexError, OpenError};
use crate::files::{self, Kind, Paths};
use crate::index::{self, Opened};
use crate::record::{self, Record, RecordError};
use crate::tables::Tables;

/// Folders that share one commit while the index is filled.
const SHARDS_PER_COMMIT: usize = 16;
/// Length of the longest mark: `clean `, 16 hexadecimal digits, a line end.
const MARK_LEN: u64 = 23;
/// Processes in a row that may end while they open the index before it is taken to be why. One may have been killed.
const OPENINGS_MAX: u64 = 2;

/// What the process before left in the lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It came to a clean end after so many commits.
    Clean(u64),
    /// It ended while it opened the index, as so many did in a row: where a panic aborts, the net under redb's is this.
    Opening(u64),
    /// It ended in between.
    None,
}

impl Mark {
    fn parse(text: &str) -> Self {
        let number = |word| {
            let hex = text.strip_prefix(word)?.strip_suffix('\n')?;
            u64::from_str_radix(hex, 16).ok()
        };
        number("clean ").map(Self::Clean).or(number("opening ").map(Self::Opening)).unwrap_or(Self::None)
    }
}

/// Takes the lock: one process a store. Returns the open file, and what the process before left in it.
pub(crate) fn lock(paths: &Paths) -> Result<(File, Mark), OpenError> {
    let path = paths.lock();
    let io = |source| OpenError::Io { path: path.clone(), source };
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::Busy(path)),
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    let mut mark = String::new();
    // Foreign bytes in the file are no mark.
    let _ = (&mut file).take(MARK_LEN + 1).read_to_string(&mut mark);
    file.set_len(0).and_then(|()| file.sync_all()).map_err(io)?;
    Ok((file, Mark::parse(&mark)))
}

/// Says that everything is on the disk. The next start need not look.
pub(crate) fn leave_clean_mark(paths: &Paths, commits: u64) {
    let mark = format!("clean {commits:016x}\n");
    let written = File::options().write(true).truncate(true).open(paths.lock()).and_then(|mut file| {
        file.write_all(mark.as_bytes())?;
        file.sync_data()
    });
    if let Err(error) = written {
        tracing::debug!(%error, "the mark of a clean end could not be written");
    }
}

/// Opens the index and makes it say what the sidecars say.
pub(crate) fn open(cellar: &Cellar, mark: Mark) -> Result<(), OpenError> {
    let openings = if let Mark::Opening(count) = mark { count } else { 0 };
    let whole = match open_index(cellar, openings) {
        Opened::Whole => true,
        Opened::Fresh => false,
        Opened::Newer(version) => return Err(OpenError::Newer { path: cellar.paths.index(), version }),
        Opened::Damaged(error) => {
            start_anew(cellar, error)?;
            false
        }
    };
    let commits = cellar.index.totals().ok().map(|totals| totals.2);
    if whole && commits.is_some_and(|commits| mark == Mark::Clean(commits)) {
        return count(cellar);
    }
    match reconcile(cellar) {
        Err(ReconcileError::Index(error)) if whole => {
            start_anew(cellar, error)?;
            reconcile(cellar)?;
        }
        other => other?,
    }
    count(cellar)
}

/// Opens the index; not once more what ended `openings` processes in a row.
fn open_index(cellar: &Cellar, openings: u64) -> Opened {
    if openings >= OPENINGS_MAX && cellar.paths.index().exists() {
        return Opened::Damaged(index::damage("it could not be opened again and again"));
    }
    leave_opening_mark(&cellar.paths, &format!("opening {:x}\n", openings + 1));
    let opened = cellar.index.open();
    leave_opening_mark(&cellar.paths, "");
    opened
}

/// Not synced: it is to outlive the process, not the power.
fn leave_opening_mark(paths: &Paths, mark: &str) {
    if let Err(error) = fs::write(paths.lock(), mark) {
        tracing::debug!(%error, "the mark of an opening could not be written");
    }
}

/// Opens the index again after it failed, while the store is running.
pub(crate) fn reopen(cellar: &Cellar) {
    cellar.index.close();
    let recovered = match open_index(cellar, 0) {
        Opened::Whole => Ok(()),
        Opened::Fresh => reconcile(cellar).map_err(OpenError::from),
        Opened::Newer(version) => Err(OpenError::Newer { path: cellar.paths.index(), version }),
        Opened::Damaged(error) => {
            start_anew(cellar, error).and_then(|()| reconcile(cellar).map_err(OpenError::from))
        }
    };
    if let Err(error) = recovered.and_then(|()| count(cellar)) {
        tracing::error!(error = %crate::keeper::Chain(&error), "the index could not be opened again");
    }
}

/// Puts a damaged index aside and begins an empty one.
fn start_anew(cellar: &Cellar, why: IndexError) -> Result<(), OpenError> {
    if is_systems_fault(&why) {
        return Err(why.into());
    }
    let (index, aside) = (cellar.paths.index(), cellar.paths.damaged_index());
    tracing::warn!(error = %crate::keeper::Chain(&why), "the index is damaged and will be made anew");
    cellar.index.close();
    fs::rename(&index, &aside).map_err(|source| OpenError::Io { path: index.clone(), source })?;
    match cellar.index.open() {
        Opened::Whole | Opened::Fresh => Ok(()),
        Opened::Damaged(error) => Err(error.into()),
        Opened::Newer(version) => Err(OpenError::Newer { path: index, version }),
    }
}

/// Whether the file may be whole and only this attempt failed: then it is not to be put aside.
fn is_systems_fault(error: &IndexError) -> bool {
    let IndexError::Failed(error) = error else { return true };
    match &**error {
        redb::Error::Io(error) => !matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
        ),
        redb::Error::DatabaseAlreadyOpen => true,
        _ => false,
    }
}

fn count(cellar: &Cellar) -> Result<(), OpenError> {
    let (objects, bytes, _) = cellar.index.totals()?;
    let mut sums = cellar.sums();
    (sums.objects, sums.bytes) = (objects, bytes);
    Ok(())
}

/// Why index and sidecars could not be made to agree.
#[derive(Debug)]
enum ReconcileError {
    Index(IndexError),
    Open(OpenError),
}

impl From<IndexError> for ReconcileError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

impl From<ReconcileError> for OpenError {
    fn from(error: ReconcileError) -> Self {
        match error {
            ReconcileError::Index(error) => error.into(),
            ReconcileError::Open(error) => error,
        }
    }
}

fn reconcile(cellar: &Cellar) -> Result<(), ReconcileError> {
    let shards: Vec<u8> = (0..=u8::MAX).collect();
    for shards in shards.chunks(SHARDS_PER_COMMIT) {
        let found: Vec<(u8, Shard)> = shards
            .iter()
            .map(|shard| Ok((*shard, Shard::list(&cellar.paths.shard(*shard))?)))
            .collect::<Result<_, OpenError>>()
            .map_err(ReconcileError::Open)?;
        cellar.index.write(|tables| {
            found.iter().try_for_each(|(first_byte, shard)| shard.reconcile(cellar, tables, *first_byte))
        })?;
    }
    Ok(())
}

/// The files in one folder of objects.
#[derive(Debug, Default)]
struct Shard {
    objects: BTreeMap<ObjectId, Found>,
}

/// Which files of an object there are.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    data: bool,
    outboard: bool,
    sidecar: bool,
}

impl Shard {
    fn list(folder: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: folder.to_owned(), source };
        let mut shard = Self::default();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(shard),
            Err(error) => return Err(io(error)),
        };
        for entry in entries {
            let path = entry.map_err(io)?.path();
            let Some((id, extension)) = parse_name(&path) else { continue };
            match extension {
                "data" => shard.objects.entry(id).or_default().data = true,
                "outboard" => shard.objects.entry(id).or_default().outboard = true,
                "sidecar" => shard.objects.entry(id).or_default().sidecar = true,
                // A sidecar that was about to take the place of the old one.
                "new" => files::remove_if_there(&path),
                _ => {}
            }
        }
        Ok(shard)
    }

    fn reconcile(
        &self,
        cellar: &Cellar,
        tables: &mut Tables<'_>,
        first_byte: u8,
    ) -> Result<(), ReconcileError> {
        for id in tables.ids_in_shard(first_byte)? {
            let found = self.objects.get(&id).copied().unwrap_or_default();
            match tables.record(&id)? {
                Some(record) if found.is_complete(&record) => renew_sidecar(cellar, &record),
                _ => {
                    tables.remove(&id)?;
                }
            }
        }
        for (id, found) in &self.objects {
            if tables.record(id)?.is_none() && !adopt(cellar, tables, id, *found)? {
                for kind in [Kind::Sidecar, Kind::Outboard, Kind::Data] {
                    files::remove_if_there(&cellar.paths.object(id, kind));
                }
            }
        }
        Ok(())
    }
}

impl Found {
    fn is_complete(self, record: &Record) -> bool {
        let outboard = self.outboard || verify::outboard_len(record.info.length) == 0;
        // A row with the body in it needs no sidecar: it may not have reached the disk before a power cut.
        record.inline.is_some() || (self.sidecar && self.data && outboard)
    }
}

/// Writes a sidecar again that is missing, cut, or older than its row.
fn renew_sidecar(cellar: &Cellar, record: &Record) {
    let path = cellar.paths.object(&record.info.id, Kind::Sidecar);
    let sealed = record::encode(record);
    if fs::metadata(&path).is_ok_and(|there| there.len() == sealed.len() as u64) {
        return;
    }
    if let Err(error) = files::replace(&path, &sealed, files::Sync::Before) {
        // The row has all of it; only a rebuild of the index would miss it.
        tracing::debug!(path = %path.display(), %error, "a sidecar could not be written again");
    }
}

fn parse_name(path: &Path) -> Option<(ObjectId, &str)> {
    let id = path.file_stem()?.to_str()?;
    // Only names that we would write: ids in lower case.
    let id = id.parse::<ObjectId>().ok().filter(|parsed| parsed.to_string() == id)?;
    Some((id, path.extension()?.to_str()?))
}

/// Takes an object in that the index does not know. Whether its files are good for it.
fn adopt(
    cellar: &Cellar,
    tables: &mut Tables<'_>,
    id: &ObjectId,
    found: Found,
) -> Result<bool, ReconcileError> {
    let path = cellar.paths.object(id, Kind::Sidecar);
    let mut record = match read_sidecar(&path).map_err(ReconcileError::Open)? {
        Sidecar::Whole(record) => *record,
        Sidecar::Damaged => return Ok(false),
        Sidecar::Unreadable => return Ok(true),
    };
    let right_lengths = || {
        let len = |kind| fs::metadata(cellar.paths.object(id, kind)).map(|data| data.len()).ok();
        let outboard_len = verify::outboard_len(record.info.length);
        record.inline.is_some()
            || (len(Kind::Data) == Some(record.info.length)
                && (outboard_len == 0 || len(Kind::Outboard) == Some(outboard_len)))
    };
    let right_body = || record.inline.as_ref().is_none_or(|body| ObjectId::of(body) == *id);
    if record.info.id != *id || !found.is_complete(&record) || !right_lengths() || !right_body() {
        return Ok(false);
    }
    // Two sidecars may name one key when a crash came between them: the younger answer counts.
    let mut kept: Vec<Representation> = Vec::new();
    for representation in std::mem::take(&mut record.representations) {
        if wins_its_key(tables, &representation)? {
            kept.push(representation);
        }
    }
    record.representations = kept;
    tables.put(None, &record)?;
    let stored_hour = u32::try_from(record.info.stored_at.0 / 3_600_000).unwrap_or(u32::MAX);
    tables.set_stay(id, Policy::found(record.info.length, stored_hour.min(cellar.clock.hour())))?;
    Ok(true)
}

/// What a sidecar gives.
enum Sidecar {
    Whole(Box<Record>),
    /// It was written badly or is not there: its object cannot be used.
    Damaged,
    /// The disk does not give it now. It is left alone and not listed.
    Unreadable,
}

fn read_sidecar(path: &Path) -> Result<Sidecar, OpenError> {
    let bytes = match files::read_record(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sidecar::Damaged),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a sidecar cannot be read; its object is not listed");
            return Ok(Sidecar::Unreadable);
        }
    };
    match record::decode(&bytes) {
        Ok(record) => Ok(Sidecar::Whole(Box::new(record))),
        Err(RecordError::Newer(version)) => {
            Err(OpenError::Newer { path: path.to_owned(), version: version.into() })
        }
        Err(RecordError::Damaged | RecordError::Nonsense) => {
            tracing::warn!(path = %path.display(), "a sidecar is damaged; its object is dropped");
            Ok(Sidecar::Damaged)
        }
    }
}

/// Whether a representation is younger than what its key stands for so far, which then loses the key.
fn wins_its_key(tables: &mut Tables<'_>, candidate: &Representation) -> Result<bool, IndexError> {
    let Some(other) = tables.object_of(&candidate.key)? else { return Ok(true) };
    let Some(old) = tables.record(&other)? else { return Ok(true) };
    let rival = old.representations.iter().find(|known| known.key == candidate.key);
    if rival.is_some_and(|rival| rival.head.received_at >= candidate.head.received_at) {
        return Ok(false);
    }
    let mut rest = old.clone();
    rest.representations.retain(|known| known.key != candidate.key);
    tables.put(Some(&old), &rest)?;
    Ok(true)
}
