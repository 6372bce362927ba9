//! The cellar: keeps objects on the disk, readable while they arrive, and finds them again after any crash.
//!
//! Owns the data folder: the index (redb), one file, outboard and sidecar an object, unfinished parts, eviction and
//! recovery. `FORMAT.md` describes every byte. Knows nothing of HTTP rules, of who asks and of who delivered: groups
//! come in as [`kith_model::verify::Run`], which says who vouches for them. Nobody else knows its paths or redb.

mod arriving;
mod batch;
mod body;
pub mod buffers;
mod cellar;
mod changed;
mod digests;
mod disk;
mod draft;
mod edge;
mod error;
mod extent;
mod files;
mod fold;
mod inbox;
mod index;
mod keeper;
mod leaves;
mod opened;
mod parts;
mod progress;
mod recent;
pub mod record;
mod recover;
mod store;
mod tables;
mod writer;

pub use body::Body;
pub use draft::{Draft, Finish, Finished, Part, Visibility};
pub use error::{CreateError, FinishError, Gone, IndexError, OpenError, ReadError, WriteError};
pub use extent::FileExtent;
pub use store::{Config, Pin, Purge, Store, Usage};
pub use writer::Writer;
