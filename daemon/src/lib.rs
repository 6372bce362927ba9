//! The roof of Kith: configuration, command line, wiring of the rooms, start and stop.
//!
//! Owns nothing but the order in which things begin and end. Only here are files of configuration, the environment
//! and the command line read; the rooms below get plain data. What a room does is not known here.

mod announce;
pub mod cli;
pub mod config;
mod doors;
mod listen;
pub mod machine;
mod neighbourhood;
mod run;
mod welcome;
mod wiring;
