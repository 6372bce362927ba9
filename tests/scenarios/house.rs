//! The house keeps its shape: arrows between rooms point down (DESIGN section 3), each room knows only what it may,
//! and the lock file has nothing that we know to be broken. Reads `cargo metadata` and `Cargo.lock`, runs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Which rooms a room may import. What is not written here is forbidden.
const ARROWS: [(&str, &[&str]); 9] = [
    ("kith-model", &[]),
    ("kith-store", &["kith-model"]),
    ("kith-fetch", &["kith-store", "kith-model"]),
    ("kith-origin", &["kith-fetch", "kith-model"]),
    ("kith-neighbour", &["kith-fetch", "kith-store", "kith-model"]),
    ("kith-gateway", &["kith-fetch", "kith-model"]),
    ("kith-admin", &["kith-fetch", "kith-store", "kith-model"]),
    (
        "kith",
        &[
            "kith-gateway",
            "kith-admin",
            "kith-neighbour",
            "kith-origin",
            "kith-fetch",
            "kith-store",
            "kith-model",
        ],
    ),
    // Tests stand outside and may look into every room.
    (
        "kith-tests",
        &[
            "kith",
            "kith-gateway",
            "kith-admin",
            "kith-neighbour",
            "kith-origin",
            "kith-fetch",
            "kith-store",
            "kith-model",
        ],
    ),
];

/// Crates that only some rooms may know; the tests may know all.
const KNOWLEDGE: [(&str, &[&str]); 15] = [
    ("quick-xml", &["kith-origin"]),
    ("md-5", &["kith-store"]),
    ("redb", &["kith-store"]),
    ("memmap2", &["kith-store"]),
    ("quinn", &["kith-neighbour"]),
    ("quinn-proto", &["kith-neighbour"]),
    ("mdns-sd", &["kith-neighbour"]),
    ("spake2", &["kith-neighbour"]),
    ("hyper-rustls", &["kith-origin"]),
    ("hyper", &["kith-origin", "kith-gateway", "kith-admin", "kith"]),
    ("serde_json", &["kith-admin", "kith-gateway", "kith-origin", "kith"]),
    ("toml", &["kith"]),
    ("lexopt", &["kith"]),
    ("tracing-subscriber", &["kith"]),
    (
        "tokio",
        &["kith-store", "kith-fetch", "kith-origin", "kith-neighbour", "kith-gateway", "kith-admin", "kith"],
    ),
];

/// Oldest versions without a known fault that concerns us. Where the number of the advisory is known it is named.
const MINIMUM_VERSIONS: [(&str, &str); 15] = [
    ("quinn-proto", "0.11.19"),       // RUSTSEC-2026-0185: memory by reassembly
    ("rustls", "0.23.18"),            // RUSTSEC-2024-0399: panic in the acceptor
    ("rustls-webpki", "0.103.13"),    // RUSTSEC-2026-0104: name constraints
    ("ring", "0.17.12"),              // RUSTSEC-2025-0009: panic
    ("h2", "0.4.16"),                 // RUSTSEC-2026-0258: empty DATA frames
    ("bytes", "1.11.1"),              // RUSTSEC-2026-0007
    ("redb", "4.6.0"),                // opened a damaged file as an empty one
    ("mdns-sd", "0.21.6"),            // deadlock under back-pressure
    ("url", "2.5.8"),                 // the idna below
    ("idna", "1.0.0"),                // RUSTSEC-2024-0421: two names for one host
    ("time", "0.3.47"),               // RUSTSEC-2026-0009
    ("lru", "0.18.2"),                // RUSTSEC-2026-0253
    ("quick-xml", "0.41.0"),          // RUSTSEC-2026-0194 and 0195
    ("tracing-subscriber", "0.3.20"), // RUSTSEC-2025-0055: escape codes in logs
    ("blake3", "1.8.7"),              // the first without arrayref
];

/// Crates that must not be in the lock file at all, or not in that version.
const NEVER: [(&str, Option<&str>); 6] = [
    ("aws-lc-sys", None),
    ("aws-lc-rs", None),
    ("openssl", None),
    ("openssl-sys", None),
    ("native-tls", None),
    ("arrayref", Some("0.3.10")), // RUSTSEC-2026-0260: malicious
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// For each workspace member all crates it names in its manifest, of every kind; but the rooms that only its own tests
/// stand on are no arrows of the house.
fn dependencies() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .context("running cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let is_scaffold = |value: &Value| {
        value["kind"] == "dev" && value["name"].as_str().is_some_and(|name| name.starts_with("kith-"))
    };
    let named = |value: &Value| Ok::<_, anyhow::Error>(value["name"].as_str().context("name")?.to_owned());
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().context("dependencies")?;
            let arrows = dependencies.iter().filter(|dependency| !is_scaffold(dependency));
            Ok((named(package)?, arrows.map(named).collect::<Result<_>>()?))
        })
        .collect()
}

fn allowed_arrows(room: &str) -> Option<&'static [&'static str]> {
    ARROWS.iter().find(|(name, _)| *name == room).map(|(_, below)| *below)
}

/// What is wrong with a room's imports, one line each.
fn faults(room: &str, dependencies: &BTreeSet<String>) -> Vec<String> {
    let Some(below) = allowed_arrows(room) else {
        return vec![format!("{room} is no room of the house: add it to DESIGN section 3 and here")];
    };
    let ours = |name: &str| name == "kith" || name.starts_with("kith-");
    let up = dependencies
        .iter()
        .filter(|name| ours(name) && !below.contains(&name.as_str()))
        .map(|name| format!("{room} -> {name} does not point down"));
    let knows = KNOWLEDGE
        .iter()
        .filter(|(name, rooms)| {
            room != "kith-tests" && dependencies.contains(*name) && !rooms.contains(&room)
        })
        .map(|(name, _)| format!("{room} must not know {name}"));
    up.chain(knows).collect()
}

/// (name, version) of every crate in the lock file.
fn locked() -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).context("reading Cargo.lock")?;
    let value = |line: &str, key: &str| {
        Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
    };
    let packages = text.split("[[package]]").skip(1).map(|package| {
        let find = |key| package.lines().find_map(|line| value(line, key));
        Ok((find("name").context("a package without name")?, find("version").context("without version")?))
    });
    packages.collect()
}

/// The three numbers of a version; what follows a minus or plus does not count.
fn numbers(version: &str) -> Vec<u64> {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    plain.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

#[test]
fn arrows_between_the_rooms_point_down() -> Result<()> {
    let dependencies = dependencies()?;
    for (room, _) in ARROWS {
        ensure!(dependencies.contains_key(room), "the room {room} is missing from the workspace");
    }
    let faults: Vec<_> =
        dependencies.iter().flat_map(|(room, dependencies)| faults(room, dependencies)).collect();
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[test]
fn an_arrow_that_points_up_or_sideways_is_noticed() {
    let check = |room: &str, dependency: &str| faults(room, &BTreeSet::from([dependency.to_owned()])).len();
    for (room, dependency, expected) in [
        ("kith-gateway", "kith-fetch", 0),
        ("kith-gateway", "kith-neighbour", 1),
        ("kith-model", "kith-store", 1),
        ("kith-store", "kith", 1),
        ("kith-fetch", "hyper", 1),
        ("kith-model", "tokio", 1),
        ("kith-cellar", "kith-model", 1),
        ("kith-tests", "redb", 0),
    ] {
        assert_eq!(check(room, dependency), expected, "{room} -> {dependency}");
    }
}

#[test]
fn the_lock_file_has_no_crate_with_a_known_fault() -> Result<()> {
    let locked = locked()?;
    ensure!(locked.iter().any(|(name, _)| name == "quinn-proto"), "Cargo.lock was not understood");
    for (name, version) in &locked {
        let never =
            NEVER.iter().find(|(bad, which)| bad == name && which.is_none_or(|which| which == version));
        ensure!(never.is_none(), "{name} {version} must not be in Cargo.lock");
        let minimum = MINIMUM_VERSIONS.iter().find(|(known, _)| known == name);
        if let Some((_, minimum)) = minimum {
            ensure!(numbers(version) >= numbers(minimum), "{name} {version} is older than {minimum}");
        }
    }
    Ok(())
}

#[test]
fn versions_are_compared_by_number() {
    for (newer, older) in
        [("0.11.19", "0.11.9"), ("1.0.0", "0.99.99"), ("0.3.20", "0.3.20"), ("4.6.0-rc.1", "4.6.0")]
    {
        assert!(numbers(newer) >= numbers(older), "{newer} >= {older}");
    }
    assert!(numbers("0.11.9") < numbers("0.11.19"));
}

#[test]
fn every_room_takes_the_lints_of_the_house() -> Result<()> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml"))?;
    ensure!(manifest.contains("unsafe_code = \"forbid\""), "the house forbids unsafe code");
    for room in ["", "gateway", "admin", "neighbour", "origin", "fetch", "store", "model", "../tests"] {
        let path = root().join("daemon").join(room).join("Cargo.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        ensure!(
            text.contains("[lints]\nworkspace = true"),
            "{} does not take the workspace's lints",
            path.display()
        );
    }
    Ok(())
}
