//! The neighbours: other Kith boxes on the LAN, as a well (they deliver groups) and as a door (they ask for some).
//!
//! Owns who this box is ([`identity`]), who is paired ([`peers`]), how boxes find ([`roster`]) and get to know each
//! other ([`pairing`]), what they say ([`wire`], described in `PROTOCOL.md`), and the handle [`Neighbourhood`].
//! Knows nothing of HTTP, of clients but where they connect, and of who is asked first: the hearth decides that. Gives
//! away only what the store holds and `kith_model::sharing` allows, and hands on only what it has verified.

pub mod announce;
mod bucket;
pub mod claim;
pub mod clients;
mod clock;
pub mod config;
mod connect;
mod copies;
mod crowd;
mod dial;
mod discovery;
pub mod endpoint;
pub mod filter;
pub mod frames;
pub mod gathering;
pub mod group;
pub mod identity;
pub mod links;
mod membership;
mod name;
mod named;
mod neighbourhood;
mod pair;
pub mod pairing;
pub mod peers;
mod private_file;
mod registry;
mod room;
pub mod roster;
mod rotation;
mod server;
mod session;
mod shelf;
mod source;
mod tally;
mod telling;
pub mod tls;
mod uploads;
mod view;
mod window;
pub mod wire;
mod withdrawals;
pub mod withdrawn;

pub use neighbourhood::{Neighbourhood, StartError, UnpairError};
pub use pair::JoinError;
pub use pairing::desk::LockedOut;
pub use registry::RegistryError;
pub use rotation::RotateError;
pub use tally::Totals;
pub use telling::FilterView;
pub use view::{FindError, State, View};
pub use window::{PairingOutcome, PairingWindow};
