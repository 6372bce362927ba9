//! The handle of the room.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use kith_model::key::{CacheKey, Target};
use kith_model::ladder::Digest;
use kith_model::limits;
use kith_model::object::ObjectId;
use kith_model::range::GroupSet;
use kith_model::representation::{ObjectInfo, Representation};
use kith_model::shelf::Policy;
use kith_model::time::UnixMillis;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use crate::arriving::Arriving;
use crate::body::Body;
use crate::cellar::Cellar;
use crate::disk::check_groups;
use crate::draft::{Draft, Part};
use crate::error::{CreateError, IndexError, OpenError, ReadError, WriteError};
use crate::keeper::{self, Order};
use crate::opened::Opened;
use crate::parts::Waiting;
use crate::writer::Writer;
use crate::{record, recover};

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

/// Says how many other boxes hold an object.
pub(crate) struct Counter(Box<dyn Fn(&ObjectId) -> u32 + Send + Sync>);

impl Counter {
    pub(crate) fn of(&self, id: &ObjectId) -> u32 {
        (self.0)(id)
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counter")
    }
}

/// The store. Clones are handles to the same one; when the last is dropped the store is closed.
#[derive(Clone, Debug)]
pub struct Store {
    cellar: Arc<Cellar>,
    keeper: Arc<Keeper>,
}

/// The keeper's thread, and the lock that may go only after it.
#[derive(Debug)]
struct Keeper {
    orders: mpsc::Sender<Order>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Held, not read.
    _lock: File,
}

impl Store {
    /// Takes the lock, recovers what a crash left and rebuilds the index when it is missing or damaged. Blocks.
    pub fn open(config: Config, now: UnixMillis) -> Result<Store, OpenError> {
        let (orders, received) = mpsc::channel(limits::INDEX_QUEUE_MAX);
        let cellar = Arc::new(Cellar::new(config, now, orders.clone()));
        cellar.paths.create().map_err(|(path, source)| OpenError::Io { path, source })?;
        let (lock, mark) = recover::lock(&cellar.paths)?;
        recover::open(&cellar, mark)?;
        let partial_bytes = cellar.parts().recover(&cellar.paths, now)?;
        cellar.sums().partial_bytes = partial_bytes;
        *cellar.policy() = Policy::new(cellar.index.lead_hours()?);
        let kept = Arc::clone(&cellar);
        let thread = std::thread::Builder::new()
            .name("kith-store".into())
            .spawn(move || keeper::run(&kept, received))
            .map_err(|source| OpenError::Io { path: cellar.paths.dir().to_owned(), source })?;
        Ok(Store {
            cellar,
            keeper: Arc::new(Keeper { orders, thread: Mutex::new(Some(thread)), _lock: lock }),
        })
    }

    /// Writes down what is still in memory and stops. Bodies can still be read; nothing can be changed any more.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn close(&self) {
        self.cellar.tracker.close();
        self.cellar.tracker.wait().await;
        let (closed, closing) = oneshot::channel();
        if self.keeper.orders.send(Order::Close(closed)).await.is_ok() {
            // An error says that the keeper has ended, which is what was wished.
            let _ = closing.await;
        }
    }

    /// Lets eviction know how many other boxes hold an object. To be told once; until then every copy counts as the last
    /// one. It is called while room is made, so it must neither wait nor use the store.
    pub fn count_copies(&self, copies: Box<dyn Fn(&ObjectId) -> u32 + Send + Sync>) {
        self.cellar.set_counter(Counter(copies));
    }

    /// All representations stored for a target, one a variant.
    pub fn representations(&self, target: &Target) -> Result<Arc<[Representation]>, IndexError> {
        self.cellar.index.representations(target)
    }

    /// All representations that an object stands behind.
    pub fn representations_of(&self, id: &ObjectId) -> Result<Vec<Representation>, IndexError> {
        Ok(self.cellar.index.row(id)?.map_or_else(Vec::new, |row| row.representations.clone()))
    }

    /// What is known of an object. Every sha digest in its ladder was computed or checked by us.
    pub fn object(&self, id: &ObjectId) -> Result<Option<Arc<ObjectInfo>>, IndexError> {
        self.cellar.index.object(id)
    }

    /// The object of a digest that was computed or checked by us.
    pub fn object_by_digest(&self, digest: &Digest) -> Result<Option<Arc<ObjectInfo>>, IndexError> {
        self.cellar.index.object_by_digest(digest)
    }

    /// At most `count_max` objects in the order of their ids, behind `after`.
    pub fn objects(&self, after: Option<ObjectId>, count_max: usize) -> Result<Vec<ObjectInfo>, IndexError> {
        self.cellar.index.objects(after, count_max)
    }

    /// What the store holds and did.
    pub fn usage(&self) -> Usage {
        self.cellar.usage()
    }

    /// A number that grows whenever objects come, go or are described anew.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.cellar.generation.subscribe()
    }

    /// Which objects came, went or are described anew since the number was `seen`, and the number now. No list when that
    /// is too long ago to be told.
    pub fn changed_since(&self, seen: u64) -> (Option<Vec<ObjectId>>, u64) {
        let changed = self.cellar.changed();
        (changed.since(seen), changed.count())
    }

    /// Files a new head for a stored object (304). Resolves when it is durable.
    ///
    /// # Cancel safety
    /// Dropping the future may or may not stop it; the same holds for all changes below.
    pub async fn refresh(&self, representation: Representation) -> Result<(), WriteError> {
        self.cellar.order(|reply| Order::Refresh(Box::new(representation), reply)).await
    }

    /// Drops what is filed under a key; the object stays.
    ///
    /// # Cancel safety
    /// As [`Self::refresh`].
    pub async fn forget(&self, key: &CacheKey) -> Result<(), WriteError> {
        self.cellar.order(|reply| Order::Forget(key.clone(), reply)).await
    }

    /// Excludes an object from eviction, or no longer. Whether it is stored.
    ///
    /// # Cancel safety
    /// As [`Self::refresh`].
    pub async fn pin(&self, id: &ObjectId, pin: Pin) -> Result<bool, WriteError> {
        self.cellar.order(|reply| Order::Pin(*id, pin, reply)).await
    }

    /// Throws objects away, pinned ones too. Returns the bytes freed.
    ///
    /// # Cancel safety
    /// As [`Self::refresh`].
    pub async fn purge(&self, what: Purge) -> Result<u64, WriteError> {
        self.cellar.order(|reply| Order::Purge(what, reply)).await
    }

    /// The bytes of a stored object. Counts as an access.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn open_object(&self, id: &ObjectId) -> Result<Option<Body>, ReadError> {
        if let Some(opened) = self.cellar.opened().find(id) {
            self.cellar.note_access(*id);
            return Ok(Some(Body::opened(Arc::clone(&self.cellar), opened)));
        }
        let Some(row) = self.cellar.index.row(id)? else { return Ok(None) };
        self.cellar.note_access(*id);
        if let Some(bytes) = &row.inline {
            return Ok(Some(Body::inline(Arc::clone(&self.cellar), Arc::clone(&row.info), bytes.clone())));
        }
        self.open_files(Arc::clone(&row.info)).await
    }

    async fn open_files(&self, info: Arc<ObjectInfo>) -> Result<Option<Body>, ReadError> {
        let (cellar, id) = (Arc::clone(&self.cellar), info.id);
        let opening = self.cellar.tracker.spawn_blocking(move || Opened::open(&cellar.paths, info)).await;
        match opening.map_err(|_| ReadError::Missing)? {
            Ok(opened) => {
                let opened = Arc::new(opened);
                self.cellar.opened().keep(Arc::clone(&opened));
                Ok(Some(Body::opened(Arc::clone(&self.cellar), opened)))
            }
            Err(error) if is_lost(&error) => {
                // Evicted just now, or lost: then its row has to go too.
                let _ = self.cellar.orders.try_send(Order::Lost(id));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes place for an arriving object; an unfinished part under the same key is thrown away.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn create(&self, draft: Draft) -> Result<Writer, CreateError> {
        let bytes_max = self.cellar.config.object_bytes_max;
        if draft.length.is_some_and(|length| length > bytes_max) {
            return Err(CreateError::TooLarge { bytes_max });
        }
        if !record::fits(&draft.selecting, &draft.head) {
            return Err(CreateError::HeadTooLarge);
        }
        self.discard(&draft.key).await;
        self.cellar.make_room(draft.length.unwrap_or(0)).await?;
        let cellar = Arc::clone(&self.cellar);
        self.blocking(move || create(&cellar, draft)).await
    }

    /// The part that waits under a key, also one from before a crash.
    pub fn unfinished(&self, key: &CacheKey) -> Option<Part> {
        self.cellar.parts().waiting(key)
    }

    /// Goes on with the part that waits under a key. Groups of a part from an earlier process are checked first;
    /// those that do not match are not held.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the part where it was.
    pub async fn resume(&self, key: &CacheKey) -> Result<Option<Writer>, CreateError> {
        let Some(missing_bytes) = self.cellar.parts().missing_bytes(key) else { return Ok(None) };
        self.cellar.make_room(missing_bytes).await?;
        // To make room the part itself may have gone.
        let Some((number, waiting)) = self.cellar.parts().take(key) else { return Ok(None) };
        let cellar = Arc::clone(&self.cellar);
        self.blocking(move || Ok(resume(cellar, number, waiting))).await
    }

    /// Throws the part away that waits under a key.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn discard(&self, key: &CacheKey) {
        let Some(waiting) = self.cellar.parts().remove_waiting(key) else { return };
        {
            let mut sums = self.cellar.sums();
            sums.partial_bytes = sums.partial_bytes.saturating_sub(waiting.bytes);
        }
        // Nothing is to be done when the deletion fails: the next start finds the files.
        let _ = self.cellar.tracker.spawn_blocking(move || waiting.files.remove()).await;
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, CreateError> + Send + 'static,
    ) -> Result<T, CreateError> {
        let worked = self.cellar.blocking(work).await;
        worked.unwrap_or_else(|| Err(CreateError::Broken(Arc::new(io::Error::other("the work panicked")))))
    }
}

/// Lists and begins a part. Blocks.
fn create(cellar: &Arc<Cellar>, draft: Draft) -> Result<Writer, CreateError> {
    let draft = Arc::new(draft);
    let with_files = draft.length.is_some_and(|length| length >= limits::INLINE_BYTES_LIMIT);
    loop {
        let (number, files) = cellar.parts().next_files(&cellar.paths, &draft.key);
        let arriving = Arriving::new(Arc::clone(cellar), Arc::clone(&draft), number, files, GroupSet::new());
        if with_files {
            match arriving.create_files() {
                Ok(()) => {}
                // A name from before the clock went back.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    arriving.give_up();
                    continue;
                }
                Err(error) => {
                    arriving.discard();
                    return Err(error.into());
                }
            }
        }
        let before = cellar.parts().begin(draft.key.clone(), number);
        if let Some(waiting) = before {
            let mut sums = cellar.sums();
            sums.partial_bytes = sums.partial_bytes.saturating_sub(waiting.bytes);
            drop(sums);
            waiting.files.remove();
        }
        return Ok(Writer::new(arriving));
    }
}

/// Checks and opens a part that waited. Blocks.
fn resume(cellar: Arc<Cellar>, number: u64, waiting: Waiting) -> Option<Writer> {
    {
        let mut sums = cellar.sums();
        sums.partial_bytes = sums.partial_bytes.saturating_sub(waiting.bytes);
    }
    let held = match &waiting.seen {
        Some(seen) => {
            seen.settle();
            Ok(seen.groups.clone())
        }
        None => check_groups(&waiting.files, waiting.draft.length.unwrap_or(0), &waiting.noted()),
    };
    // A part that cannot be read is no part any more.
    let held = held.unwrap_or_default();
    let Waiting { draft, files, .. } = waiting;
    let arriving = Arriving::new(cellar, draft, number, files, held.clone());
    if held.is_empty() || arriving.open_files().is_err() {
        arriving.discard();
        return None;
    }
    Some(Writer::new(arriving))
}

/// Whether a file is not what the index says, as opposed to a disk that fails for now.
fn is_lost(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let (closed, _) = oneshot::channel();
        let mut order = Order::Close(closed);
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if thread.as_ref().is_some_and(|thread| thread.thread().id() == std::thread::current().id()) {
            // Who counts copies held the last handle. The thread cannot wait for itself; a crash loses no more.
            let _ = self.orders.try_send(order);
            return;
        }
        // The keeper is at work on a full queue: there will be a place soon.
        while let Err(TrySendError::Full(back)) = self.orders.try_send(order) {
            order = back;
            std::thread::yield_now();
        }
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's thread panicked");
        }
    }
}
