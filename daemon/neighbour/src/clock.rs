//! The room's clock. Pure parts are told the time; drivers ask here.

use std::time::{SystemTime, UNIX_EPOCH};

use kith_model::time::UnixMillis;

/// Now; the epoch when the clock stands before it.
pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
