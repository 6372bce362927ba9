//! The ground: the words of Kith as types, and the decisions that need nothing but their inputs.
//!
//! Owns ranges and chunk groups, object ids, verification against a BLAKE3 tree, the hash ladder, cache keys,
//! stored representations, freshness (RFC 9111), sharing, and every limit. Everything here is pure:
//! no runtime, no clock, no files, no sockets, no logs. Time is passed in as [`time::UnixMillis`].

pub mod freshness;
pub mod key;
pub mod ladder;
pub mod limits;
pub mod object;
pub mod range;
pub mod representation;
pub mod sharing;
pub mod time;
pub mod verify;
