//! The well that draws from websites: an HTTP client with an address guard and no trust in what answers.
//!
//! Owns the [guard], the [resolver](resolve), the connections, the strict reading of answers beyond what
//! the HTTP library checks, redirects, the reading of what tells about the whole ([`ladder`], [`metalink`]), and the
//! [source] of further ranges, here and at mirrors.
//! [`web::Web`] is the handle; it implements [`kith_fetch::ask::Origin`] and [`kith_fetch::relay::Relay`].
//!
//! Must not know: what is stored and for how long (freshness is the ground's), who in the house asked, neighbours,
//! files, configuration text, the command line. It keeps no cookies, no credentials and no answer.

mod archive;
mod client;
mod content;
mod dial;
mod dns;
pub mod guard;
pub mod ladder;
mod leads;
pub mod metalink;
mod mirror;
mod relay;
mod request;
pub mod resolve;
pub mod source;
pub mod strict;
mod strikes;
mod tasks;
pub mod web;
