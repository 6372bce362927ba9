//! The room by its handle: a real store and fetcher, a scripted origin, and clients that speak bytes over loopback.

mod answers;
mod browsers;
mod connections;
mod house;
mod metalinks;
