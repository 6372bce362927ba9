//! `kith status`: how the box is doing, on one screen.

use serde_json::Value;

use super::control::Control;
use super::exit::Failure;
use super::grammar::Output;
use super::human::{Bytes, Span};
use super::{count, print_json, say, text};

/// Asks and prints.
pub(super) async fn run(control: &Control, format: Output) -> Result<(), Failure> {
    let status = control.get("/api/v1/status").await?;
    if format.json {
        print_json("status", &status);
    } else {
        print(&status);
    }
    Ok(())
}

fn print(status: &Value) {
    let addresses = |name: &str| {
        let items = status[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        items.collect::<Vec<_>>().join(", ")
    };
    let store = &status["store"];
    let served = &status["served"];
    let bytes = |value: &Value, name: &str| Bytes(count(value, name));
    let uptime = std::time::Duration::from_secs(count(status, "uptime_s"));
    say!("box         {} ({})", text(status, "name"), text(status, "key_words"));
    say!("node id     {}", text(status, "node_id"));
    say!("version     {}, up {}", text(status, "version"), Span(uptime));
    say!("clients     {}", addresses("clients"));
    say!("admin       {}", addresses("admin"));
    say!("neighbours  {} ({} paired)", addresses("neighbours"), count(status, "paired"));
    say!(
        "shelf       {} objects, {} of {}",
        count(store, "objects"),
        bytes(store, "bytes"),
        bytes(store, "bytes_max")
    );
    say!(
        "served      {} from the shelf, {} from origins, {} from neighbours",
        bytes(served, "store"),
        bytes(served, "origin"),
        bytes(served, "neighbour")
    );
    say!("downloads   {} now", count(status, "jobs"));
}
