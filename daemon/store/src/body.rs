//! The readable bytes of one object, complete or still arriving.

use bytes::Bytes;
use kith_model::object::ObjectId;
use kith_model::range::{ByteRange, GroupSpan};

use crate::error::{Gone, ReadError};

/// Readable bytes of a complete or arriving object. Goes on working when the object is finished, evicted or purged.
#[derive(Clone, Debug)]
pub struct Body {
    length: Option<u64>,
}

impl Body {
    /// Length in bytes; unknown while an object of unknown length arrives.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The object, once it is complete.
    pub fn id(&self) -> Option<ObjectId> {
        None
    }

    /// How many groups follow one another readably from `group` on.
    pub fn visible_from(&self, group: u64) -> u64 {
        group.min(0)
    }

    /// Waits until `group` is readable, or until the length is known and `group` lies behind it.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn changed(&self, _group: u64) -> Result<(), Gone> {
        Err(Gone)
    }

    /// Reads at most 1 MiB, all of it visible.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn read(&self, _range: ByteRange) -> Result<Bytes, ReadError> {
        Err(ReadError::Missing)
    }

    /// At most 64 groups of a complete object with the part of the tree that proves them.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn encode(&self, _span: GroupSpan) -> Result<Bytes, ReadError> {
        Err(ReadError::Missing)
    }
}
