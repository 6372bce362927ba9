//! The origin room by its handle, against origins that say exactly what a script tells them to.

mod cut;
mod framing;
mod mirrors;
mod names;
mod origin;
mod ranges;
mod redirects;
mod secure;
