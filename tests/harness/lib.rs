//! The harness of Kith's tests: scripted origins, boxes as processes, clients on raw sockets, and home networks made
//! of network namespaces.
//!
//! A test reads as a sentence: an [`origin::Origin`] serves a [`body::Body`], a [`kith::Kith`] runs beside it, a
//! [`client::Request`] goes through it, and what each of them counted is compared. Everything here is plain threads
//! and blocking sockets: a faulty peer is easier to write byte by byte, and a thread can be put into a network
//! namespace. It knows of the program only what `kith`'s command line, ports and files show.

pub mod apt;
pub mod avahi;
pub mod binary;
pub mod body;
pub mod browser;
pub mod capture;
pub mod client;
pub mod dns;
pub mod head;
pub mod kith;
pub mod lab;
pub mod metrics;
pub mod origin;
pub mod pairing;
pub mod patience;
pub mod place;
pub mod resource;
pub mod script;
pub mod secure;
pub mod tool;
pub mod usage;
pub mod wire;

/// One mebibyte.
pub const MIB: u64 = 1024 * 1024;
