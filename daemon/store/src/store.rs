//! The handle of the room.

use std::path::PathBuf;
use std::sync::Arc;

use kith_model::key::{CacheKey, Target};
use kith_model::ladder::Digest;
use kith_model::object::ObjectId;
use kith_model::representation::{ObjectInfo, Representation};
use kith_model::time::UnixMillis;
use tokio::sync::watch;

use crate::body::Body;
use crate::draft::{Draft, Part};
use crate::error::{CreateError, IndexError, OpenError, ReadError, WriteError};
use crate::writer::Writer;

/// Where the store is and how much it may take.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data folder; made when missing.
    pub dir: PathBuf,
    /// Most bytes that finished objects and parts take together.
    pub bytes_max: u64,
    /// Bytes of the disk that stay free whatever happens.
    pub reserve_bytes: u64,
    /// Largest object in bytes.
    pub object_bytes_max: u64,
    /// Memory that the index may use as cache, in bytes.
    pub cache_bytes: usize,
}

/// What the store holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Count of finished objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of unfinished parts.
    pub partial_bytes: u64,
    /// Bytes written to the disk since the start, as far as we know them.
    pub written_bytes: u64,
    /// The quota.
    pub bytes_max: u64,
    /// Count of objects evicted since the start.
    pub evicted: u64,
}

/// Whether an object is excluded from eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// It stays.
    Pinned,
    /// It may go.
    Unpinned,
}

/// What to throw away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// One object with all its representations.
    Object(ObjectId),
    /// What a URL stands for, and its objects when no other URL stands for them.
    Target(Target),
    /// The same for every URL of a host.
    Host(String),
}

/// The store. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    generation: watch::Sender<u64>,
}

impl Store {
    /// Takes the lock, recovers what a crash left and rebuilds the index when it is missing or damaged. Blocks.
    pub fn open(config: Config, _now: UnixMillis) -> Result<Store, OpenError> {
        Ok(Store { inner: Arc::new(Inner { config, generation: watch::Sender::new(0) }) })
    }

    /// Writes down what is still in memory and stops.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn close(&self) {}

    /// All representations stored for a target, one a variant.
    pub fn representations(&self, _target: &Target) -> Result<Vec<Representation>, IndexError> {
        Err(IndexError::Closed)
    }

    /// All representations that an object stands behind.
    pub fn representations_of(&self, _id: &ObjectId) -> Result<Vec<Representation>, IndexError> {
        Err(IndexError::Closed)
    }

    /// What is known of an object.
    pub fn object(&self, _id: &ObjectId) -> Result<Option<ObjectInfo>, IndexError> {
        Err(IndexError::Closed)
    }

    /// The object of a digest.
    pub fn object_by_digest(&self, _digest: &Digest) -> Result<Option<ObjectInfo>, IndexError> {
        Err(IndexError::Closed)
    }

    /// At most `count_max` objects in the order of their ids, behind `after`.
    pub fn objects(
        &self,
        _after: Option<ObjectId>,
        _count_max: usize,
    ) -> Result<Vec<ObjectInfo>, IndexError> {
        Err(IndexError::Closed)
    }

    /// What the store holds and did.
    pub fn usage(&self) -> Usage {
        Usage { bytes_max: self.inner.config.bytes_max, ..Usage::default() }
    }

    /// A number that grows whenever objects come or go.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.generation.subscribe()
    }

    /// Files a new head for a stored object (304). Resolves when it is durable.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it; the same holds for all changes below.
    pub async fn refresh(&self, _representation: Representation) -> Result<(), WriteError> {
        Err(IndexError::Closed.into())
    }

    /// Drops what is filed under a key; the object stays.
    ///
    /// # Cancel safety
    /// As [`Self::refresh`].
    pub async fn forget(&self, _key: &CacheKey) -> Result<(), WriteError> {
        Err(IndexError::Closed.into())
    }

    /// Excludes an object from eviction, or no longer. Whether it is stored.
    ///
    /// # Cancel safety
    /// As [`Self::refresh`].
    pub async fn pin(&self, _id: &ObjectId, _pin: Pin) -> Result<bool, WriteError> {
        Err(IndexError::Closed.into())
    }

    /// Throws objects away, pinned ones too. Returns the bytes freed.
    ///
    /// # Cancel safety
    /// As [`Self::refresh`].
    pub async fn purge(&self, _what: Purge) -> Result<u64, WriteError> {
        Err(IndexError::Closed.into())
    }

    /// The bytes of a stored object. Counts as an access.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn open_object(&self, _id: &ObjectId) -> Result<Option<Body>, ReadError> {
        Err(IndexError::Closed.into())
    }

    /// Makes place for an arriving object; an unfinished part under the same key is thrown away.
    ///
    /// # Cancel safety
    /// Dropping the future drops the writer.
    pub async fn create(&self, _draft: Draft) -> Result<Writer, CreateError> {
        Err(CreateError::NoSpace)
    }

    /// The part that waits under a key, also one from before a crash.
    pub fn unfinished(&self, _key: &CacheKey) -> Option<Part> {
        None
    }

    /// Goes on with the part that waits under a key.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the part where it was.
    pub async fn resume(&self, _key: &CacheKey) -> Result<Option<Writer>, CreateError> {
        Ok(None)
    }

    /// Throws the part away that waits under a key.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn discard(&self, _key: &CacheKey) {}
}
