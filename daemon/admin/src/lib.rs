//! The admin room: what people and their programs are told about the box, and what they can order.
//!
//! Owns the JSON of the API, health, metrics, and the control socket. Two doors lead to it: the admin port, where
//! this far everything can be read and nothing changed, and the control socket, where the owner's user may do
//! everything. Knows no HTTP of clients, no QUIC and no configuration: neighbours, the client door and the rules of
//! admission come in through the traits of [`house`]. No other room knows JSON for people.

mod explain;
pub mod house;
pub mod metrics;
mod pairing;
mod problem;
mod routes;
pub mod serve;
mod shelf;
mod views;
