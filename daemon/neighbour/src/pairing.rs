//! Pairing: eight digits, one guess, and a key that both boxes have only if nobody stands between them.
//!
//! Pure. [`desk`] decides when a code counts; [`exchange`] is the handshake over messages. Clocks, sockets and storage
//! are the drivers' (`pair.rs`). Codes and keys are never logged and have no `Debug`.

pub mod desk;
pub mod exchange;
