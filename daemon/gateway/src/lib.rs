//! The door for clients: a forward proxy, a gateway by URL prefix, and objects by hash, over HTTP/1.
//!
//! Owns the listeners and their bounds, strictness about request heads, the way from a head to a demand, and from
//! what is served to a response. Knows no files, no QUIC and no origin connections: content comes from the fetch room
//! only, the same way for a hit and a miss.

mod answer;
mod body;
mod conditions;
mod connection;
pub mod counters;
mod errand;
mod fields;
mod gateway;
mod house;
mod listen;
mod metalink;
mod outlet;
mod pace;
mod pages;
pub mod range;
mod refusal;
mod relay;
mod relocate;
mod request;
mod respond;
pub mod strict;
mod tunnel;
mod upload;
mod visitor;

pub use answer::Touch;
pub use gateway::{Config, Connect, Gateway};
pub use house::{Allow, House};
