//! The ground: the words of Kith as types, and the decisions that need nothing but their inputs.
//!
//! Owns ranges and chunk groups, object ids, verification against a BLAKE3 tree, the hash ladder, cache keys,
//! stored representations, freshness (RFC 9111), the fields that link and name bytes, sharing, trust, and every limit.
//! Everything here is pure: no runtime, no clock, no files, no sockets, no logs. Time is passed in as
//! [`time::UnixMillis`].

pub mod digest_field;
pub mod freshness;
pub mod key;
pub mod ladder;
pub mod limits;
pub mod link;
pub mod object;
pub mod range;
pub mod representation;
pub mod sharing;
pub mod shelf;
pub mod signature;
pub mod time;
pub mod trust;
pub mod verify;
