//! Paths in the data folder, and the few file operations whose order matters after a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kith_model::limits;
use kith_model::object::ObjectId;

/// The layout of the data folder.
#[derive(Debug)]
pub(crate) struct Paths {
    dir: PathBuf,
}

/// The three files of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Outboard,
    Sidecar,
}

impl Kind {
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Kind::Data => "data",
            Kind::Outboard => "outboard",
            Kind::Sidecar => "sidecar",
        }
    }
}

impl Paths {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Makes the folders that are missing.
    pub(crate) fn create(&self) -> Result<(), (PathBuf, io::Error)> {
        for dir in [self.dir.clone(), self.objects(), self.parts()] {
            fs::create_dir_all(&dir).map_err(|error| (dir, error))?;
        }
        Ok(())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.dir.join("index.redb")
    }

    /// Where a damaged index is put for whoever wants to look at it. There is one at most.
    pub(crate) fn damaged_index(&self) -> PathBuf {
        self.dir.join("index.damaged")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.dir.join("objects")
    }

    pub(crate) fn parts(&self) -> PathBuf {
        self.dir.join("parts")
    }

    /// The folder of all objects whose ids begin with this byte.
    pub(crate) fn shard(&self, first_byte: u8) -> PathBuf {
        self.objects().join(format!("{first_byte:02x}"))
    }

    pub(crate) fn object(&self, id: &ObjectId, kind: Kind) -> PathBuf {
        self.shard(id.as_bytes()[0]).join(format!("{id}.{}", kind.extension()))
    }
}

/// The files of one unfinished part. The stem is unique: two parts never share a file, also not across a crash.
#[derive(Clone, Debug)]
pub(crate) struct PartFiles {
    stem: PathBuf,
}

impl PartFiles {
    pub(crate) fn new(stem: PathBuf) -> Self {
        Self { stem }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.stem.with_extension("data")
    }

    pub(crate) fn leaves(&self) -> PathBuf {
        self.stem.with_extension("leaves")
    }

    pub(crate) fn outboard(&self) -> PathBuf {
        self.stem.with_extension("outboard")
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.stem.with_extension("part")
    }

    /// Deletes them all; the record first, so that a crash in between leaves nothing that looks like a part.
    pub(crate) fn remove(&self) {
        for path in [self.record(), self.leaves(), self.outboard(), self.data()] {
            remove_if_there(&path);
        }
    }
}

/// Makes a file that must not be there yet, for reading and writing.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Opens a file that must be there, for reading and writing.
pub(crate) fn open_writable(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// When the bytes of a file that takes another's place go to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Before it takes the place: after a crash there is the old one or the new one, never a mixture.
    Before,
    /// When the system likes. After a power cut there may be neither.
    Later,
}

/// Puts a file in place of another. The folder is not synced: until it is, a crash may bring the old one back.
pub(crate) fn replace(path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let written = match sync {
        Sync::Before => write_synced(&fresh, bytes),
        Sync::Later => fs::write(&fresh, bytes),
    };
    let written = written.and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        remove_if_there(&fresh);
    }
    written
}

/// Writes a file and waits until its bytes are on the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// Waits until the names in a folder are on the disk.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads a record file, refusing what is too long to be one.
pub(crate) fn read_record(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(limits::RECORD_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Deletes a file. What cannot be deleted is found again by the next recovery.
pub(crate) fn remove_if_there(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a file could not be deleted");
        }
        _ => {}
    }
}

/// Bytes that are free for us on the disk that holds `dir`.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
