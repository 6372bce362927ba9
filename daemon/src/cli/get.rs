//! `kith get`: one download, checked, resumable, through the running box or without one.
//!
//! The file appears under its name only when it is whole and right; until then it is `FILE.part`, which a later
//! run continues when the origin still has the same version.

mod address;
mod bar;
mod part;
mod progress;
mod route;

use std::path::Path;

use http::{HeaderMap, HeaderValue};
use kith_model::representation::StrongValidator;
use serde_json::json;

use self::address::{Address, told_sha256};
use self::part::PartFile;
use self::progress::{Progress, Sources, Watch};
use self::route::{Incoming, Route};
use super::control::Control;
use super::exit::{Exit, Failure};
use super::grammar::Get;
use super::human::Bytes;
use super::say;
use crate::config::Loaded;

/// Broken transfers are continued so often as long as each attempt brings bytes.
const ATTEMPTS_MAX: u32 = 10;

/// A finished transfer that is still to be checked.
struct Arrived {
    part: PartFile,
    headers: HeaderMap,
    length: Option<u64>,
}

/// Downloads.
pub(super) async fn run(command: &Get, loaded: &Loaded) -> Result<(), Failure> {
    let address = Address::parse(&command.url)?;
    let target = command.output.clone().unwrap_or_else(|| address.file_name().into());
    let control = Control::new(loaded.data_dir());
    let route = route(&control, loaded).await?;
    let watch = match (&route, &address) {
        (Route::Box(_), Address::Web(target)) => Some(Watch { control: &control, url: target.to_string() }),
        _ => None,
    };
    let mut progress = Progress::new(command.format.json);
    let arrived = transfer(&route, &address, &target, &mut progress, watch.as_ref()).await;
    progress.clear();
    let Arrived { part, headers, length } = arrived?;
    if let Some(watch) = watch.as_ref().filter(|_| !from_shelf(&headers)) {
        progress.settle(watch).await;
    }
    check_length(&part, length)?;
    let sha256 = part.sha256();
    let expected = expected(&route, &address, &headers).await;
    if expected.is_some_and(|expected| expected != sha256) {
        part.discard().map_err(|error| disk(&target, &error))?;
        return Err(Failure::new(Exit::DigestMismatch, "the bytes are not what their digest says"));
    }
    let bytes = part.bytes();
    part.finish().map_err(|error| disk(&target, &error))?;
    let sources = sources(&route, &headers, progress.sources(), bytes);
    report(command, &target, &Report { bytes, sha256, checked: expected.is_some(), sources }, &progress);
    Ok(())
}

async fn route(control: &Control, loaded: &Loaded) -> Result<Route, Failure> {
    if !control.is_reachable().await {
        return crate::wiring::lone_origin(loaded).map(Route::Direct);
    }
    let status = control.get("/api/v1/status").await?;
    let port =
        status["clients"].as_array().into_iter().flatten().find_map(|text| text.as_str()?.parse().ok());
    let port = port.ok_or_else(|| Failure::new(Exit::General, "the box names no port for clients"))?;
    Ok(Route::Box(route::dialable(port)))
}

/// Fetches until the end, going on after breaks as long as something comes.
async fn transfer(
    route: &Route,
    address: &Address,
    target: &Path,
    progress: &mut Progress,
    watch: Option<&Watch<'_>>,
) -> Result<Arrived, Failure> {
    let mut part = PartFile::open(target, &address.on_box()).map_err(|error| disk(target, &error))?;
    let mut attempts = 0;
    let mut broken = None;
    loop {
        let bytes_before = part.bytes();
        progress.resumed(bytes_before);
        let failure = match attempt(route, address, &mut part, progress, watch).await {
            Ok((headers, length)) => return Ok(Arrived { part, headers, length }),
            Err(Attempt::Again) if attempts < ATTEMPTS_MAX => {
                attempts += 1;
                continue;
            }
            Err(Attempt::Again) => Failure::new(Exit::Network, "the answers are for other ranges"),
            Err(Attempt::Failed(failure)) => failure,
        };
        attempts += 1;
        let hopeful = failure.exit == Exit::Network
            && part.bytes() > bytes_before
            && part.resume_point().is_some()
            && attempts < ATTEMPTS_MAX;
        if !hopeful {
            return Err(given_up(part, failure, broken).map_err(|error| disk(target, &error))?);
        }
        broken = broken.or(Some(failure));
    }
}

/// What to say in the end. An empty part is taken away.
fn given_up(part: PartFile, last: Failure, first: Option<Failure>) -> std::io::Result<Failure> {
    if part.bytes() == 0 {
        part.discard()?;
        return Ok(last);
    }
    let may_pass = matches!(last.exit, Exit::Network | Exit::NoDaemon | Exit::Temporary);
    // The first break tells more than the vain attempts to go on after it.
    Ok(if may_pass { first.unwrap_or(last).fix("run the same command again to go on") } else { last })
}

/// How an attempt ended before its end.
enum Attempt {
    /// The part is of no use any more and was emptied.
    Again,
    /// For good, unless it can be continued.
    Failed(Failure),
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Self {
        Attempt::Failed(failure)
    }
}

async fn attempt(
    route: &Route,
    address: &Address,
    part: &mut PartFile,
    progress: &mut Progress,
    watch: Option<&Watch<'_>>,
) -> Result<(HeaderMap, Option<u64>), Attempt> {
    let broken = |error: std::io::Error| Failure::new(Exit::of_io(&error), format!("the part: {error}"));
    let resume = part.resume_point();
    let resuming = resume.is_some();
    let mut incoming = match route.ask(address, resume).await {
        // The part may be as long as the whole, or longer than the file is now (416).
        Err(failure) if resuming && failure.exit == Exit::NotFound => {
            part.restart().map_err(broken)?;
            return Err(Attempt::Again);
        }
        answer => answer?,
    };
    if incoming.start != part.bytes() {
        part.restart().map_err(broken)?;
        progress.resumed(0);
        if incoming.start != 0 {
            // Not the part that was asked for: the whole is.
            return Err(Attempt::Again);
        }
    }
    part.bind(validator(&incoming).as_ref(), incoming.length).map_err(broken)?;
    progress.length(incoming.length);
    let watch = watch.filter(|_| !from_shelf(&incoming.headers));
    while let Some(bytes) = incoming.next().await? {
        part.write(&bytes).map_err(broken)?;
        progress.advance(part.bytes(), watch).await;
    }
    Ok((incoming.headers, incoming.length))
}

fn validator(incoming: &Incoming) -> Option<HeaderValue> {
    StrongValidator::of(&incoming.headers).map(|validator| validator.value().clone())
}

fn check_length(part: &PartFile, length: Option<u64>) -> Result<(), Failure> {
    match length.or(part.length()) {
        Some(length) if length != part.bytes() => {
            let message = format!("{} of {length} bytes came", part.bytes());
            Err(Failure::new(Exit::Network, message).fix("run the same command again to go on"))
        }
        _ => Ok(()),
    }
}

/// The digest to check: what the name promises, else what the answer says, else what the box knows by now.
async fn expected(route: &Route, address: &Address, headers: &HeaderMap) -> Option<[u8; 32]> {
    if let Some(known) = address.promised().or_else(|| told_sha256(headers)) {
        return Some(known);
    }
    let tag = headers.get(http::header::ETAG)?;
    route.digest_afterwards(address, tag).await
}

/// What lay on the shelf before has no job that would tell its sources.
fn from_shelf(headers: &HeaderMap) -> bool {
    let value = headers.get("cache-status").and_then(|value| value.to_str().ok());
    let on_shelf = |parameter: &str| matches!(parameter.trim(), "hit" | "fwd-status=304");
    value.is_some_and(|value| value.split(';').any(on_shelf))
}

/// By the box's count of the job; a hit has no job.
fn sources(route: &Route, headers: &HeaderMap, seen: &Sources, bytes: u64) -> Sources {
    if !seen.0.is_empty() {
        return seen.clone();
    }
    let from = match route {
        Route::Direct(_) => "origin",
        Route::Box(_) if from_shelf(headers) => "store",
        Route::Box(_) => "box",
    };
    Sources(vec![(from.to_owned(), bytes)])
}

struct Report {
    bytes: u64,
    sha256: [u8; 32],
    checked: bool,
    sources: Sources,
}

fn report(command: &Get, target: &Path, report: &Report, progress: &Progress) {
    let hex = data_encoding::HEXLOWER.encode(&report.sha256);
    if command.format.json {
        let line = json!({"type": "done", "path": target.display().to_string(), "bytes": report.bytes,
            "sha256": hex, "verified": report.checked, "seconds": progress.seconds(),
            "sources": report.sources.json()});
        say!("{line}");
        return;
    }
    say!("{}", target.display());
    let checked = if report.checked { "sha-256 checked" } else { "no digest known, length checked" };
    eprintln!(
        "{} at {}/s, {checked}, from {}",
        Bytes(report.bytes),
        Bytes(progress.rate(report.bytes)),
        report.sources.text()
    );
}

fn disk(target: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::of_io(error), format!("{}: {error}", target.display()))
}
