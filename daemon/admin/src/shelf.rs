//! Orders about the shelf: pin, unpin, purge.

use http::StatusCode;
use kith_model::key::Target;
use kith_model::object::ObjectId;
use kith_store::{IndexError, Pin, Purge, Store, WriteError};
use serde::Serialize;

use crate::problem::Problem;

/// What an order did.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    /// Objects it was about.
    objects: u64,
    /// Bytes it freed.
    freed: u64,
}

/// What the owner named.
enum Named {
    Object(ObjectId),
    Target(Target),
    Other(String),
}

fn named(text: &str) -> Named {
    if let Ok(id) = text.parse() {
        return Named::Object(id);
    }
    Target::parse(text).map_or_else(|_| Named::Other(text.to_owned()), Named::Target)
}

/// Pins or unpins all objects that a URL or id names.
pub(crate) async fn pin(store: &Store, what: &str, pin: Pin) -> Result<Done, Problem> {
    let ids = match named(what) {
        Named::Object(id) => vec![id],
        Named::Target(target) => {
            let found = store.representations(&target).map_err(|error| unreadable(&error))?;
            found.iter().map(|representation| representation.object).collect()
        }
        Named::Other(_) => return Err(unnamed()),
    };
    let mut objects = 0;
    for id in ids {
        objects += u64::from(store.pin(&id, pin).await.map_err(|error| unwritten(&error))?);
    }
    if objects == 0 { Err(absent()) } else { Ok(Done { objects, freed: 0 }) }
}

/// Throws away what a URL, id or host names.
pub(crate) async fn purge(store: &Store, what: &str) -> Result<Done, Problem> {
    let purge = match named(what) {
        Named::Object(id) if !is_stored(store, &id)? => return Err(absent()),
        Named::Object(id) => Purge::Object(id),
        Named::Target(target) => {
            if store.representations(&target).map_err(|error| unreadable(&error))?.is_empty() {
                return Err(absent());
            }
            Purge::Target(target)
        }
        Named::Other(host) if is_host(&host) => Purge::Host(host.to_ascii_lowercase()),
        Named::Other(_) => return Err(unnamed()),
    };
    let objects_before = store.usage().objects;
    let freed = store.purge(purge).await.map_err(|error| unwritten(&error))?;
    let objects = objects_before.saturating_sub(store.usage().objects);
    if objects == 0 && freed == 0 && !what.contains("://") {
        Err(absent())
    } else {
        Ok(Done { objects, freed })
    }
}

fn is_stored(store: &Store, id: &ObjectId) -> Result<bool, Problem> {
    Ok(store.object(id).map_err(|error| unreadable(&error))?.is_some())
}

fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    (1..=253).contains(&text.len()) && text.bytes().all(allowed)
}

fn absent() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_stored",
        "nothing of that name is stored",
        "look at `kith objects`",
    )
}

fn unnamed() -> Problem {
    let detail = "that is neither a URL nor an object id";
    Problem::new(StatusCode::BAD_REQUEST, "bad_name", detail, "use a whole URL or the 64 digits of an id")
}

pub(crate) fn unreadable(error: &IndexError) -> Problem {
    let fix = "look at the log and at `kith doctor`";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shelf_failed", error.to_string(), fix)
}

fn unwritten(error: &WriteError) -> Problem {
    let fix = "look at the log and at `kith doctor`";
    let status = match error {
        WriteError::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, "shelf_failed", error.to_string(), fix)
}
