//! `kith explain`: why a URL is or is not stored, shared, or served from where.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::control::Control;
use super::exit::Failure;
use super::grammar::Explain;
use super::human::{Bytes, Span};
use super::{count, print_json, query_value, say, text};

/// Prints the decision trail.
pub(super) async fn run(control: &Control, command: &Explain) -> Result<(), Failure> {
    let trail = control.get(&format!("/api/v1/explain?url={}", query_value(&command.url))).await?;
    if command.format.json {
        print_json("explanation", &trail);
        return Ok(());
    }
    say!("{}", text(&trail, "url"));
    let key = &trail["key"];
    let query = key["query"].as_str().map(|query| format!(" ? {query}")).unwrap_or_default();
    say!(
        "  key        {} {} port {} {}{query}",
        text(key, "scheme"),
        text(key, "host"),
        count(key, "port"),
        text(key, "path")
    );
    say!("  now        {}", text(&trail, "decision"));
    for stored in items(&trail, "stored") {
        self::stored(stored);
    }
    verdicts(&trail);
    for job in items(&trail, "jobs") {
        say!("  fetched    {}", sources(job));
    }
    for event in items(&trail, "events") {
        say!("  {} ago: {}", ago(count(event, "at_ms")), text(event, "what"));
    }
    Ok(())
}

fn stored(stored: &Value) {
    let variant: Vec<_> = items(stored, "selected_by")
        .map(|pair| {
            format!("{}: {}", pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default())
        })
        .collect();
    let variant = if variant.is_empty() { String::new() } else { format!(" for {}", variant.join(", ")) };
    let pinned = if stored["pinned"].as_bool() == Some(true) { ", pinned" } else { "" };
    say!(
        "  stored     {} ({}, {}{pinned}){variant}",
        text(stored, "object"),
        Bytes(count(stored, "length")),
        text(stored, "standing")
    );
    let fresh = if stored["fresh"].as_bool() == Some(true) { "fresh" } else { "stale" };
    let offline = match stored["may_be_served_stale"].as_bool() {
        Some(true) => "served also when the origin is away",
        _ => "not served when the origin is away",
    };
    say!(
        "  freshness  {fresh}: age {}, lifetime {}; {offline}",
        seconds(stored, "age_s"),
        seconds(stored, "lifetime_s")
    );
    for name in ["etag", "last_modified", "cache_control"] {
        if let Some(value) = stored[name].as_str() {
            say!("             {} {value}", name.replace('_', "-"));
        }
    }
    say!("  digests    anchor: {}", text(stored, "anchor"));
    for digest in items(stored, "digests") {
        say!("             {} {}", text(digest, "algorithm"), text(digest, "value"));
        say!("               said by {}", text(digest, "said_by"));
    }
    verdicts(stored);
}

fn verdicts(of: &Value) {
    for verdict in items(of, "sharing") {
        let answer = match verdict["reason"].as_str() {
            None => "yes".to_owned(),
            Some(reason) => format!("no: {reason}"),
        };
        say!("  share      {:<10} {answer}", text(verdict, "with"));
    }
}

fn sources(job: &Value) -> String {
    let sources = job["sources"].as_object().into_iter().flatten();
    let told: Vec<_> = sources
        .map(|(source, bytes)| format!("{source} {}", Bytes(bytes.as_u64().unwrap_or_default())))
        .collect();
    told.join(", ")
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

fn seconds(value: &Value, name: &str) -> String {
    Span(Duration::from_secs(count(value, name))).to_string()
}

pub(super) fn ago(unix_millis: u64) -> String {
    let moment = UNIX_EPOCH + Duration::from_millis(unix_millis);
    Span(moment.elapsed().unwrap_or_default()).to_string()
}
