//! What all handles of one store share: paths, index, parts, open objects, sums and the way to the keeper.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use kith_model::limits;
use kith_model::object::ObjectId;
use kith_model::shelf::Policy;
use kith_model::time::UnixMillis;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use crate::changed::Changed;
use crate::edge::Budget;
use crate::error::{CreateError, IndexError, WriteError};
use crate::files::{self, Paths};
use crate::index::Index;
use crate::keeper::Order;
use crate::opened::OpenObjects;
use crate::parts::Parts;
use crate::store::{Config, Counter, Usage};

#[derive(Debug)]
pub(crate) struct Cellar {
    pub(crate) config: Config,
    pub(crate) paths: Paths,
    pub(crate) index: Index,
    pub(crate) clock: Clock,
    pub(crate) edge: Arc<Budget>,
    pub(crate) generation: watch::Sender<u64>,
    pub(crate) tracker: TaskTracker,
    pub(crate) orders: mpsc::Sender<Order>,
    changed: Mutex<Changed>,
    sums: Mutex<Sums>,
    accesses: Mutex<HashMap<ObjectId, u32>>,
    opened: Mutex<OpenObjects>,
    parts: Mutex<Parts>,
    policy: Mutex<Policy>,
    counter: OnceLock<Counter>,
}

/// What is counted. Not atomics: 32-bit MIPS has none of 64 bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    /// Held bytes of all parts.
    pub(crate) partial_bytes: u64,
    /// Bytes that arriving objects of known length will still take.
    pub(crate) outstanding_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) evicted: u64,
    /// Bytes written since the disk's free space was looked at.
    unchecked_bytes: u64,
}

/// The time of day, told once and then moved by a clock that never jumps.
#[derive(Debug)]
pub(crate) struct Clock {
    told: UnixMillis,
    at: Instant,
}

impl Clock {
    pub(crate) fn now(&self) -> UnixMillis {
        self.told.after(self.at.elapsed())
    }

    /// Whole hours since 1970.
    pub(crate) fn hour(&self) -> u32 {
        u32::try_from(self.now().0 / 3_600_000).unwrap_or(u32::MAX)
    }
}

impl Cellar {
    pub(crate) fn new(config: Config, now: UnixMillis, orders: mpsc::Sender<Order>) -> Self {
        let paths = Paths::new(config.dir.clone());
        let index = Index::new(paths.index(), config.cache_bytes);
        Self {
            config,
            paths,
            index,
            clock: Clock { told: now, at: Instant::now() },
            edge: Arc::default(),
            generation: watch::Sender::new(0),
            tracker: TaskTracker::new(),
            orders,
            changed: Mutex::default(),
            sums: Mutex::default(),
            accesses: Mutex::default(),
            opened: Mutex::default(),
            parts: Mutex::default(),
            policy: Mutex::default(),
            counter: OnceLock::new(),
        }
    }

    /// Works on a thread that may block; nothing when the work panicked. Boxed, as all tasks are: what the runtime does
    /// with a task is compiled anew for every type of one, and the program has to fit a router.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the work.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, done) = oneshot::channel();
        let task: Box<dyn FnOnce() + Send> = Box::new(move || {
            // Who asked may be gone.
            let _ = reply.send(work());
        });
        self.tracker.spawn_blocking(task);
        done.await.ok()
    }

    pub(crate) fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn opened(&self) -> MutexGuard<'_, OpenObjects> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn policy(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_counter(&self, counter: Counter) {
        // It is told once.
        let _ = self.counter.set(counter);
    }

    /// How many other boxes hold an object.
    pub(crate) fn copies(&self, id: &ObjectId) -> u32 {
        self.counter.get().map_or(0, |counter| counter.of(id))
    }

    pub(crate) fn usage(&self) -> Usage {
        let sums = *self.sums();
        Usage {
            objects: sums.objects,
            bytes: sums.bytes,
            partial_bytes: sums.partial_bytes,
            written_bytes: sums.written_bytes,
            bytes_max: self.config.bytes_max,
            evicted: sums.evicted,
        }
    }

    /// Says which objects came, went or are described anew.
    pub(crate) fn announce<'a>(&self, ids: impl Iterator<Item = &'a ObjectId>) {
        let mut changed = self.changed();
        let before = changed.count();
        ids.for_each(|id| changed.note(*id));
        let count = changed.count();
        drop(changed);
        if count != before {
            self.generation.send_replace(count);
        }
    }

    /// Says that anything may have changed: the index was made anew.
    pub(crate) fn announce_all(&self) {
        let mut changed = self.changed();
        changed.forget();
        self.generation.send_replace(changed.count());
    }

    pub(crate) fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an object was used. Written down with other changes, or when there are many.
    pub(crate) fn note_access(&self, id: ObjectId) {
        let mut accesses = self.accesses.lock().unwrap_or_else(PoisonError::into_inner);
        if accesses.len() < limits::ACCESSES_NOTED_MAX || accesses.contains_key(&id) {
            *accesses.entry(id).or_default() += 1;
        }
        if accesses.len() == limits::ACCESSES_NOTED_MAX {
            // When the queue is full the keeper is at work and will look at the notes by itself.
            let _ = self.orders.try_send(Order::Flush);
        }
    }

    pub(crate) fn accesses_noted(&self) -> usize {
        self.accesses.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn take_accesses(&self) -> HashMap<ObjectId, u32> {
        std::mem::take(&mut *self.accesses.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends an order to the keeper and waits for its answer.
    pub(crate) async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, WriteError>>) -> Order,
    ) -> Result<T, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.map_err(|_| IndexError::Closed)?;
        answer.await.map_err(|_| IndexError::Closed)?
    }

    /// Makes sure that `bytes` more may be written, by eviction if need be.
    pub(crate) async fn make_room(&self, bytes: u64) -> Result<(), CreateError> {
        if self.shortage(bytes)? == 0 {
            return Ok(());
        }
        // What eviction could free is seen by looking again.
        let _ = self.order(|reply| Order::Evict { room_bytes: bytes, reply }).await;
        if self.shortage(bytes)? == 0 { Ok(()) } else { Err(CreateError::NoSpace) }
    }

    /// How many bytes would have to go before `bytes` more may come.
    pub(crate) fn shortage(&self, bytes: u64) -> Result<u64, CreateError> {
        let sums = *self.sums();
        let shelf = sums.taken().saturating_add(bytes).saturating_sub(self.config.bytes_max);
        let free = files::free_bytes(self.paths.dir())?;
        let wanted = self.config.reserve_bytes.saturating_add(sums.outstanding_bytes).saturating_add(bytes);
        Ok(shelf.max(wanted.saturating_sub(free)))
    }

    /// Whether it is time to look for room before `bytes` more are written, `fresh` of which were not set aside.
    pub(crate) fn is_room_due(&self, bytes: u64, fresh: u64) -> bool {
        let mut sums = self.sums();
        sums.unchecked_bytes += bytes;
        let due = sums.unchecked_bytes >= limits::SPACE_CHECK_BYTES
            || sums.taken().saturating_add(fresh) > self.config.bytes_max;
        if due {
            sums.unchecked_bytes = 0;
        }
        due
    }
}

impl Sums {
    /// Bytes of the shelf that are taken or promised.
    pub(crate) fn taken(&self) -> u64 {
        self.bytes.saturating_add(self.partial_bytes).saturating_add(self.outstanding_bytes)
    }
}
