//! What can go wrong in the cellar, one enum an operation, cut by who is at fault and what to do next.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kith_model::ladder::Algorithm;
use kith_model::object::ObjectId;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process", .0.display())]
    Busy(PathBuf),
    /// A newer program wrote it. Nothing was changed or deleted.
    #[error("{} was written by a newer version of this program (format {version})", .path.display())]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// The version it names.
        version: u64,
    },
    /// The disk failed or may not be written to.
    #[error("{}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The index could neither be opened nor made anew.
    #[error("the index cannot be used")]
    Index(#[from] IndexError),
}

/// Why the index could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IndexError {
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The index failed: the disk, or damage.
    #[error("the index failed")]
    Failed(#[source] Arc<redb::Error>),
}

impl<E: Into<redb::Error>> From<E> for IndexError {
    fn from(error: E) -> Self {
        Self::Failed(Arc::new(error.into()))
    }
}

/// Why something was not written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk or the shelf is full, also after eviction.
    #[error("there is no space left")]
    NoSpace,
    /// The object grows beyond what one object may take.
    #[error("the object is larger than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// The bytes do not fit the object's length, or a head does not fit a record. The asker's fault.
    #[error("this does not fit the object")]
    Misfit,
    /// No such object is stored.
    #[error("the object is not stored")]
    NotHeld,
    /// The writer was discarded or has finished.
    #[error("nothing more can be written to this object")]
    Ended,
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The disk failed.
    #[error("the disk failed")]
    Broken(#[source] Arc<io::Error>),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::NoSpace } else { Self::Broken(Arc::new(error)) }
    }
}

impl WriteError {
    /// A full disk has one name, also when the index came upon it.
    pub(crate) fn named(self) -> Self {
        match &self {
            Self::Index(IndexError::Failed(error)) => match &**error {
                redb::Error::Io(error) if is_full(error) => Self::NoSpace,
                _ => self,
            },
            _ => self,
        }
    }
}

/// Whether the system says that the disk, or what we may use of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why no place could be made for an arriving object.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateError {
    /// Its head has more fields or bytes than a record holds.
    #[error("the head is too large to be kept")]
    HeadTooLarge,
    /// The disk or the shelf is full, also after eviction.
    #[error("there is no space left")]
    NoSpace,
    /// Larger than one object may be.
    #[error("the object is larger than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// The disk failed.
    #[error("the disk failed")]
    Broken(#[source] Arc<io::Error>),
}

impl From<io::Error> for CreateError {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::NoSpace } else { Self::Broken(Arc::new(error)) }
    }
}

/// Why bytes could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// They are not held, or no longer.
    #[error("the bytes are not held")]
    Missing,
    /// The disk gives other bytes than were stored. The object has been taken off the shelf.
    #[error("group {group} is damaged on the disk")]
    Rotten {
        /// The first group that is wrong.
        group: u64,
    },
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The disk failed.
    #[error("the disk failed")]
    Io(#[source] Arc<io::Error>),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// Why an arriving object did not become a stored one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FinishError {
    /// Groups are missing, or the length is not that of the bytes. The writer is still usable.
    #[error("the object is not complete")]
    Incomplete,
    /// The bytes are another object than expected. The writer is still usable.
    #[error("the bytes are object {found}, which is not the expected one")]
    WrongRoot {
        /// What they are.
        found: ObjectId,
    },
    /// A digest that the origin told does not match. The writer is still usable.
    #[error("the {} digest does not match", .algorithm.as_str())]
    DigestMismatch {
        /// Which one.
        algorithm: Algorithm,
    },
    /// The bytes are right but could not be kept; the writer is spent.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The arriving object will not become complete: its writer was discarded, or what this reader had read of it was
/// taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the object is gone")]
pub struct Gone;
