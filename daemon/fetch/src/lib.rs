//! The hearth: one job for each object being fetched, joined by everybody who wants it, fed by whatever source
//! delivers.
//!
//! Owns the [`source::Source`] and [`ask::Origin`] seams, the plan (who fetches which groups next, pure), the job,
//! the reader and the handle [`fetcher::Fetcher`]. Knows no HTTP connection, no QUIC, no BitTorrent: what can deliver
//! comes in through the traits, and what was delivered goes out through the store.

mod absence;
mod around;
pub mod ask;
mod asking;
pub mod assemble;
mod audience;
pub mod counters;
pub mod crowd;
mod drafted;
pub mod fetcher;
mod gathering;
mod holders;
mod job;
pub mod journal;
mod lane;
mod past_shelf;
pub mod pieces;
pub mod plan;
pub mod reader;
pub mod relay;
pub mod running;
mod sampled;
pub mod share;
pub mod source;
mod speeds;
pub mod wish;
