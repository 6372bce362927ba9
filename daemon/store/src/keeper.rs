//! The keeper: the one thread that changes the index, the sidecars and the names of finished objects.
//!
//! Orders that wait together share one commit. A batch goes in the order that a crash cannot hurt (`FORMAT.md`): files
//! renamed into place, sidecars written, folders synced, index committed; only then is anything reported. What is
//! taken off the shelf loses its sidecar first, then its row, then its bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_model::key::CacheKey;
use kith_model::limits;
use kith_model::object::ObjectId;
use kith_model::representation::{ObjectInfo, Representation};
use kith_model::shelf::Copy;
use tokio::sync::{mpsc, oneshot};

use crate::batch::Batch;
use crate::cellar::Cellar;
use crate::error::{IndexError, WriteError};
use crate::files::PartFiles;
use crate::record::Record;
use crate::recover;
use crate::store::{Pin, Purge};

/// Accesses are written down at the first commit after this.
const FLUSH_EVERY: Duration = Duration::from_mins(10);

pub(crate) type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// A change to be made.
#[derive(Debug)]
pub(crate) enum Order {
    /// Put a complete object on the shelf, or add what is new to the one that is there.
    File(Box<NewObject>, Reply<ObjectInfo>),
    /// A new head for a stored object.
    Refresh(Box<Representation>, Reply<()>),
    /// Nothing is filed under this key any more.
    Forget(CacheKey, Reply<()>),
    /// Exclude from eviction, or no longer.
    Pin(ObjectId, Pin, Reply<bool>),
    /// Throw away; answers with the bytes freed.
    Purge(Purge, Reply<u64>),
    /// The disk does not give back what was stored.
    Lost(ObjectId),
    /// Make room for so many bytes, if there is none yet; answers with the bytes freed.
    Evict { room_bytes: u64, reply: Reply<u64> },
    /// Write the accesses down.
    Flush,
    /// Stop.
    Close(oneshot::Sender<()>),
}

/// A complete object.
#[derive(Debug)]
pub(crate) struct NewObject {
    pub(crate) record: Record,
    pub(crate) bytes: NewBytes,
    /// Whether a neighbour brought it.
    pub(crate) copy: Copy,
}

/// Where the bytes of a complete object are.
#[derive(Clone, Debug)]
pub(crate) enum NewBytes {
    /// In the record.
    Inline,
    /// In synced files.
    Files(PartFiles),
    /// On the shelf already, when last looked.
    Held,
}

/// Works until told to stop, or until nobody is left who could give an order.
pub(crate) fn run(cellar: &Arc<Cellar>, mut orders: mpsc::Receiver<Order>) {
    let mut keeper = Keeper { cellar, flushed_at: Instant::now() };
    let mut closing = None;
    while closing.is_none() {
        let Some(first) = orders.blocking_recv() else { break };
        let mut batch = vec![first];
        while batch.len() < limits::INDEX_BATCH_MAX {
            let Ok(order) = orders.try_recv() else { break };
            batch.push(order);
        }
        closing = take_close(&mut batch);
        keeper.work(batch);
    }
    orders.close();
    keeper.close();
    if let Some(closed) = closing {
        let _ = closed.send(());
    }
}

fn take_close(batch: &mut Vec<Order>) -> Option<oneshot::Sender<()>> {
    let at = batch.iter().position(|order| matches!(order, Order::Close(_)))?;
    match batch.swap_remove(at) {
        Order::Close(closed) => Some(closed),
        _ => None,
    }
}

struct Keeper<'a> {
    cellar: &'a Cellar,
    flushed_at: Instant,
}

impl Keeper<'_> {
    fn work(&mut self, orders: Vec<Order>) {
        self.commit(orders);
        let taken = self.cellar.sums().taken();
        if taken > percent(self.cellar.config.bytes_max, limits::EVICT_ABOVE_PERCENT) {
            let (reply, _) = oneshot::channel();
            self.commit(vec![Order::Evict { room_bytes: 0, reply }]);
        }
    }

    /// Makes all changes in one transaction. All of them succeed or fail together.
    fn commit(&mut self, orders: Vec<Order>) {
        let mut batch = Batch::new(self.cellar);
        let flush = self.is_flush_due(&orders);
        let committed: Result<(), WriteError> = self.cellar.index.write(|tables| {
            if flush {
                batch.write_accesses(tables)?;
            }
            for order in orders {
                batch.apply(tables, order)?;
            }
            batch.write_files()?;
            Ok(())
        });
        if flush {
            self.flushed_at = Instant::now();
        }
        if let Err(error) = &committed {
            tracing::error!(error = %Chain(error), "changes to the store could not be written");
        }
        let index_failed = matches!(committed, Err(WriteError::Index(IndexError::Failed(_))));
        batch.settle(&committed.map_err(WriteError::named));
        if index_failed {
            recover::reopen(self.cellar);
            self.cellar.announce_all();
        }
    }

    fn is_flush_due(&self, orders: &[Order]) -> bool {
        let noted = self.cellar.accesses_noted();
        let told = orders.iter().any(|order| matches!(order, Order::Flush | Order::Evict { .. }));
        noted > 0
            && (told || noted >= limits::ACCESSES_NOTED_MAX / 2 || self.flushed_at.elapsed() >= FLUSH_EVERY)
    }

    /// Writes down what is in memory and leaves the mark of a clean end.
    fn close(&mut self) {
        self.commit(vec![Order::Flush]);
        let commits = self.cellar.index.totals().map(|totals| totals.2);
        self.cellar.opened().clear();
        self.cellar.index.close();
        if let Ok(commits) = commits {
            recover::leave_clean_mark(&self.cellar.paths, commits);
        }
    }
}

pub(crate) fn percent(whole: u64, percent: u64) -> u64 {
    whole / 100 * percent + whole % 100 * percent / 100
}

/// An error with all its causes on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
