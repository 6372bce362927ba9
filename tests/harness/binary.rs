//! Where the programs under test are: beside the test's own program, built before they are used.
//!
//! Cargo tells a test only the programs of its own package. So they are built here, once for a run of the tests, in
//! the same target directory and profile; `KITH_BIN` names another `kith` and builds nothing.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FlockOperation, flock};

/// The daemon and its command line.
pub fn kith() -> Result<PathBuf> {
    match std::env::var_os("KITH_BIN") {
        Some(path) => Ok(path.into()),
        None => built("kith", "kith"),
    }
}

/// A box that lies to its neighbours: `tests/bin/liar.rs`.
pub fn liar() -> Result<PathBuf> {
    match std::env::var_os("KITH_LIAR_BIN") {
        Some(path) => Ok(path.into()),
        None => built("kith-tests", "liar"),
    }
}

/// QUIC with nothing around it, for a bench: `tests/bin/raw_quic.rs`.
pub fn raw_quic() -> Result<PathBuf> {
    built("kith-tests", "raw-quic")
}

fn built(package: &str, program: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<std::sync::Mutex<Vec<String>>> = OnceLock::new();
    let directory = directory()?;
    let mut built = BUILT.get_or_init(Default::default).lock().expect("nobody panics while building");
    if !built.iter().any(|known| known == program) {
        build_once_a_run(&directory, package, program)?;
        built.push(program.to_owned());
    }
    Ok(directory.join(program))
}

/// `target/<profile>`: tests lie in `deps` below it, benches and other programs in it.
fn directory() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own.parent().context("a program lies in a directory")?;
    let above = directory.parent().filter(|_| directory.ends_with("deps"));
    Ok(above.unwrap_or(directory).to_owned())
}

/// Under nextest every test is a process: the first of a run builds, the others see its mark.
fn build_once_a_run(directory: &Path, package: &str, program: &str) -> Result<()> {
    let path = directory.join(format!(".{program}-built"));
    let lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let run = std::env::var("NEXTEST_RUN_ID").unwrap_or_default();
    if !run.is_empty() && std::fs::read_to_string(&path)? == run && directory.join(program).exists() {
        return Ok(());
    }
    build(directory, package, program)?;
    std::fs::write(&path, run)?;
    drop::<File>(lock);
    Ok(())
}

fn build(directory: &Path, package: &str, program: &str) -> Result<()> {
    let profile = directory.file_name().and_then(|name| name.to_str()).context("the profile's directory")?;
    let profile = if profile == "debug" { "dev" } else { profile };
    let status = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["build", "--quiet", "--locked", "--profile", profile, "-p", package, "--bin", program])
        .status()?;
    ensure!(status.success(), "cargo could not build {program}");
    Ok(())
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace").to_owned()
}
