//! What other boxes of the same owner may have of a fetch that is under way, and what they tell of theirs: the seam
//! between the job and the neighbours' room.
//!
//! Knows no connection. Which box may be told, and how, is the other side's business; who fetches what is decided in
//! [`crate::crowd`].

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use kith_model::object::ObjectId;
use kith_model::range::GroupSpan;
use kith_store::Body;
use tokio::sync::watch;

use crate::crowd::{MemberId, Told};
use crate::source::Source;

/// What others may have of one fetch. When it is dropped, the box has left.
#[derive(Debug)]
pub struct Share {
    told: watch::Sender<Told>,
    body: Body,
    length: u64,
}

impl Share {
    /// Of an object of `length` bytes that arrives as `body`.
    pub fn new(body: Body, length: u64) -> Self {
        Self { told: watch::Sender::new(Told::default()), body, length }
    }

    /// Changes what is told; who listens is woken when `change` says that it did.
    pub fn tell(&self, change: impl FnOnce(&mut Told) -> bool) {
        self.told.send_if_modified(change);
    }

    /// What is told.
    pub fn told(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// Length of the whole in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The object, once it is complete.
    pub fn object(&self) -> Option<ObjectId> {
        self.body.id()
    }

    /// The bytes of a unit, when it is ready.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn read(&self, unit: GroupSpan) -> Option<Bytes> {
        let is_ready = !unit.is_empty() && self.told.borrow().ready.contains_all(unit);
        if !is_ready {
            return None;
        }
        self.body.read(unit.bytes(self.length)).await.ok()
    }
}

/// Others that fetch the same.
pub struct Gathering {
    /// This box, as it is known to them.
    pub us: MemberId,
    /// What they say. Dropping it ends the listening.
    pub words: BoxStream<'static, Word>,
}

/// What another box says of its fetch.
pub enum Word {
    /// How far it is, all told so far.
    Told {
        /// Which box.
        member: MemberId,
        /// Delivers units that it told as ready, one a lane, each with its signature.
        source: Arc<dyn Source>,
        /// What it tells.
        told: Told,
    },
    /// It has no such fetch any more, or is gone.
    Left(MemberId),
}
