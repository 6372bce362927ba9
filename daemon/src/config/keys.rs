//! The keys: how each is spelt, which setting it is, and whether anything in this build heeds it.
//!
//! The one table from which reading, showing and the report of unheeded keys follow, so that a key cannot be read
//! and not shown. Pure.

use super::layer::{Entry, Fault, Place, Value};
use super::settings::{Allow, Settings};
use super::value::Setting;

/// A key of the configuration.
pub(super) struct Key {
    /// `section.key`, or the key alone at the top.
    pub(super) name: &'static str,
    heeded: Heeded,
    read: fn(&mut Settings, &Value) -> Result<(), String>,
    show: fn(&Settings) -> toml::Value,
}

/// Whether this build does anything about a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heeded {
    Yes,
    NotYet,
}

macro_rules! key {
    ($heeded:ident, $name:literal, $($field:ident).+) => {
        Key {
            name: $name,
            heeded: Heeded::$heeded,
            read: |settings, value| {
                settings.$($field).+ = Setting::read(value)?;
                Ok(())
            },
            show: |settings| settings.$($field).+.show(),
        }
    };
}

pub(super) const KEYS: &[Key] = &[
    key!(Yes, "name", name),
    key!(Yes, "data_dir", data_dir),
    key!(Yes, "profile", profile),
    key!(Yes, "clients.listen", clients.listen),
    key!(Yes, "clients.allow", clients.allow),
    key!(Yes, "clients.interfaces", clients.interfaces),
    key!(Yes, "clients.hosts", clients.hosts),
    key!(Yes, "clients.connect", clients.connect),
    key!(Yes, "clients.apt_listen", clients.apt_listen),
    key!(Yes, "clients.announce", clients.announce),
    key!(Yes, "admin.listen", admin.listen),
    key!(Yes, "store.size", store.size),
    key!(Yes, "store.reserve", store.reserve),
    key!(NotYet, "store.write_budget_per_day", store.write_budget_per_day),
    key!(Yes, "origins.allow_private", origins.allow_private),
    key!(Yes, "origins.max_connections_per_host", origins.max_connections_per_host),
    key!(Yes, "origins.touch", origins.touch),
    key!(Yes, "origins.resolver", origins.resolver),
    key!(Yes, "origins.extra_ca_files", origins.extra_ca_files),
    key!(Yes, "neighbours.enabled", neighbours.enabled),
    key!(Yes, "neighbours.listen", neighbours.listen),
    key!(Yes, "neighbours.interfaces", neighbours.interfaces),
    key!(Yes, "neighbours.static", neighbours.fixed),
    key!(Yes, "neighbours.share", neighbours.share),
    key!(Yes, "neighbours.upload_rate", neighbours.upload_rate),
    key!(Yes, "neighbours.min_object", neighbours.min_object),
    key!(NotYet, "world.dht", world.dht),
    key!(NotYet, "world.listen", world.listen),
    key!(NotYet, "world.bootstrap", world.bootstrap),
    key!(NotYet, "world.share", world.share),
    key!(NotYet, "world.hosts", world.hosts),
    key!(NotYet, "world.upload_rate", world.upload_rate),
    key!(NotYet, "world.flows_max", world.flows_max),
    key!(NotYet, "world.port_mapping", world.port_mapping),
    key!(NotYet, "world.allow_private_peers", world.allow_private_peers),
    key!(NotYet, "privacy.log_urls", privacy.log_urls),
    key!(Yes, "metrics.prometheus", metrics.prometheus),
    key!(Yes, "shutdown.grace_s", shutdown.grace_s),
];

/// Lays entries over the settings, later ones over earlier ones; every fault is named, not only the first.
pub fn apply(settings: &mut Settings, entries: &[Entry]) -> Result<(), Vec<Fault>> {
    let mut faults = Vec::new();
    for entry in entries {
        if let Err(message) = apply_one(settings, entry) {
            faults.push(Fault { place: entry.place.clone(), key: Some(entry.key.clone()), message });
        }
    }
    if faults.is_empty() {
        faults = contradictions(settings, entries);
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn apply_one(settings: &mut Settings, entry: &Entry) -> Result<(), String> {
    if let Some(section) = entry.key.strip_suffix('.') {
        let prefix = format!("{section}.");
        let known = KEYS.iter().any(|key| key.name.starts_with(&prefix));
        return if known { Ok(()) } else { Err(unknown(&entry.key)) };
    }
    let key = KEYS.iter().find(|key| key.name == entry.key).ok_or_else(|| unknown(&entry.key))?;
    match ((key.read)(settings, &entry.value), &entry.raw) {
        // `--set name=42`: what reads as a number may be meant as text.
        (Err(message), Some(raw)) => (key.read)(settings, &Value::Text(raw.clone())).map_err(|_| message),
        (result, _) => result,
    }
}

fn unknown(name: &str) -> String {
    let section = name.split_once('.').map_or("", |(section, _)| section);
    let in_section = |key: &&Key| key.name.split_once('.').map_or("", |(section, _)| section) == section;
    let siblings: Vec<_> = KEYS.iter().filter(in_section).map(|key| key.name).collect();
    if siblings.is_empty() {
        return format!("there is no section [{section}]");
    }
    format!("there is no such key; known are {}", siblings.join(", "))
}

/// What is wrong though each key by itself is right. It is blamed on the line that set the key last.
fn contradictions(settings: &Settings, entries: &[Entry]) -> Vec<Fault> {
    let place = |key: &str| {
        let last = entries.iter().rev().find(|entry| entry.key == key);
        last.map_or(Place::CommandLine, |entry| entry.place.clone())
    };
    bounds(settings)
        .into_iter()
        .map(|(key, message)| Fault { place: place(key), key: Some(key.to_owned()), message })
        .collect()
}

/// Bounds of single settings and of pairs, each with the key to blame.
fn bounds(settings: &Settings) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    let mut check = |right: bool, key: &'static str, message: &str| {
        if !right {
            faults.push((key, message.to_owned()));
        }
    };
    let Settings { clients, admin, origins, neighbours, .. } = settings;
    check(
        settings.name.len() <= 63 && !settings.name.chars().any(char::is_control),
        "name",
        "a name has at most 63 bytes and no control characters",
    );
    check(!clients.listen.is_empty(), "clients.listen", "at least one address is needed to serve clients");
    check(
        !clients.listen.iter().any(|address| address.port() != 0 && admin.listen.contains(address)),
        "admin.listen",
        "clients and admin cannot share an address",
    );
    check(
        !clients.apt_listen.iter().any(|address| {
            address.port() != 0 && (clients.listen.contains(address) || admin.listen.contains(address))
        }),
        "clients.apt_listen",
        "apt's port cannot share an address with clients or admin",
    );
    check(
        clients.hosts.iter().all(|host| is_host(host)),
        "clients.hosts",
        "a host name has letters, digits, dots and hyphens",
    );
    check(clients.interfaces.iter().all(|name| is_interface(name)), "clients.interfaces", INTERFACE);
    check(neighbours.interfaces.iter().all(|name| is_interface(name)), "neighbours.interfaces", INTERFACE);
    check(
        (1..=64).contains(&origins.max_connections_per_host),
        "origins.max_connections_per_host",
        "between 1 and 64 connections are possible",
    );
    check(settings.shutdown.grace_s <= 3600, "shutdown.grace_s", "at most 3600 seconds are possible");
    check(
        !clients.allow.iter().any(|allow| matches!(allow, Allow::Network(net) if net.prefix_len() == 0)),
        "clients.allow",
        "a cache for everybody is abused within hours: name the networks that may use it",
    );
    faults
}

const INTERFACE: &str = "an interface has a name of 1 to 15 characters like \"br-lan\"";

fn is_interface(name: &str) -> bool {
    // IFNAMSIZ of Linux is 16 with the closing zero.
    (1..=15).contains(&name.len())
        && !name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
}

fn is_host(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':'))
}

/// Keys that were set to something else than their default and that nothing in this build heeds.
pub fn unheeded(settings: &Settings) -> Vec<&'static str> {
    let default = Settings::default();
    let differs = |key: &&Key| key.heeded == Heeded::NotYet && (key.show)(settings) != (key.show)(&default);
    KEYS.iter().filter(differs).map(|key| key.name).collect()
}

/// The settings as a TOML document that reads back as the same settings.
pub fn show(settings: &Settings) -> String {
    let mut lines = Vec::new();
    let mut section = "";
    for key in KEYS {
        let (of, name) = key.name.split_once('.').unwrap_or(("", key.name));
        let value = (key.show)(settings);
        if of != section {
            section = of;
            lines.push(format!("\n[{section}]"));
        }
        // A directory left to the box has no spelling of its own.
        let comment = if key.name == "data_dir" && settings.data_dir.is_none() { "# " } else { "" };
        lines.push(format!("{comment}{name} = {value}"));
    }
    lines.join("\n") + "\n"
}
