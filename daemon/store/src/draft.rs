//! What is known of an object before it is complete, and what is asked for when it is.

use kith_model::key::CacheKey;
use kith_model::ladder::Ladder;
use kith_model::object::ObjectId;
use kith_model::range::GroupSet;
use kith_model::representation::{Head, ObjectInfo, Standing, StrongValidator};
use kith_model::time::UnixMillis;

/// An object that is about to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What its representation is filed under.
    pub key: CacheKey,
    /// The selecting request fields (name in lower case, normalised value) that `Vary` names.
    pub selecting: Vec<(String, Vec<u8>)>,
    /// Status, fields and times.
    pub head: Head,
    /// What the fetch is bound to. Without it an unfinished part is not kept.
    pub validator: Option<StrongValidator>,
    /// Length in bytes, when the origin told it. Without it an unfinished part is not kept.
    pub length: Option<u64>,
    /// Digests that the origin told: checked when the object is complete.
    pub ladder: Ladder,
}

/// An unfinished object that waits to be resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it was begun with.
    pub draft: Draft,
    /// What was noted as held. After a crash [`Store::resume`](crate::Store::resume) checks it and may find less.
    pub held: GroupSet,
}

/// When groups become readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// At once.
    Now,
    /// After `release` or `finish`.
    Held,
}

/// How an arriving object ends.
#[derive(Clone, Copy, Debug)]
pub struct Finish {
    /// Length of the whole in bytes.
    pub length: u64,
    /// The object that this must be.
    pub expected: Option<ObjectId>,
    /// How we know what the target answered.
    pub standing: Standing,
    /// Also file a representation under the draft's key.
    pub representation: bool,
    /// The moment.
    pub now: UnixMillis,
}

/// A stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// What is known of it.
    pub info: ObjectInfo,
}
