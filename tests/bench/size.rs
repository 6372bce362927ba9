//! How large the build for routers is.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use kith_tests::binary;

use crate::figures::{Table, figure};

/// What it may take of a router's flash.
const BYTES_MAX: u64 = 5_000_000;

/// Builds it and looks.
pub(crate) fn measure() -> Result<()> {
    binary::kith()?;
    // A profile's programs lie beside each other, in a directory of the profile's name; this one too.
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).context("target/<profile>/bench")?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(binary::root()).args([
        "build",
        "--quiet",
        "--locked",
        "--profile",
        "router",
        "-p",
        "kith",
    ]);
    ensure!(cargo.status()?.success(), "cargo could not build the router profile");
    let table = Table::titled("size", &["build", "bytes", "of 5,000,000"]);
    for profile in ["release", "router"] {
        if let Ok(metadata) = std::fs::metadata(target.join(profile).join("kith")) {
            let of_max = format!("{:.3}", figure(metadata.len()) / figure(BYTES_MAX));
            table.row(&[profile.to_owned(), metadata.len().to_string(), of_max]);
        }
    }
    let router = std::fs::metadata(target.join("router").join("kith")).context("the router's build")?.len();
    ensure!(router <= BYTES_MAX, "the router's build has {router} bytes, more than {BYTES_MAX}");
    Ok(())
}
