//! Writes one arriving object.

use kith_model::range::GroupSet;
use kith_model::verify::Run;

use crate::body::Body;
use crate::draft::{Draft, Finish, Finished, Visibility};
use crate::error::{FinishError, WriteError};

/// The one writer of an unfinished object. Dropping it keeps the part for [`Store::resume`](crate::Store::resume)
/// when it has a strong validator and a length, and deletes it otherwise.
#[derive(Debug)]
pub struct Writer {
    draft: Draft,
    body: Body,
}

impl Writer {
    /// What it was begun with.
    pub fn draft(&self) -> Draft {
        self.draft.clone()
    }

    /// The bytes as they become readable.
    pub fn body(&self) -> Body {
        self.body.clone()
    }

    /// Which groups are held, readable or not.
    pub fn held(&self) -> GroupSet {
        GroupSet::new()
    }

    /// Takes groups in any order. Groups that are held already are skipped: the first one stays.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop a write that has begun.
    pub async fn write(&self, _run: Run, _visibility: Visibility) -> Result<(), WriteError> {
        Err(WriteError::Ended)
    }

    /// Makes all held-back groups readable.
    ///
    /// # Cancel safety
    /// Does not wait.
    pub async fn release(&self) {}

    /// Drops every group that the origin did not vouch for and returns what is still held.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn retract(&self) -> GroupSet {
        GroupSet::new()
    }

    /// Checks the whole, makes it durable and files it.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn finish(&self, _finish: Finish) -> Result<Finished, FinishError> {
        Err(FinishError::Incomplete)
    }

    /// Throws the part away.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn discard(self) {}
}
