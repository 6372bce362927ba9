//! Every bound in one place, each with its unit, its reason and, where there is one, its source.
//!
//! Constants are the same on every box. What depends on the size of the box is in [`Limits`], made from a
//! [`Profile`]. Rooms take the numbers they need in their own `Config`; nobody but the roof picks a profile.

use std::time::Duration;

// Requests and responses

/// Longest URL in bytes. Longer ones are 414.
pub const URL_BYTES_MAX: usize = 4 * 1024;

/// All fields of a response, in bytes with their separators. Checked before storing: another cache fell over stored
/// heads that were larger than it could read back (CVE-2023-5824).
pub const RESPONSE_HEADERS_BYTES_MAX: usize = 32 * 1024;

/// Field lines of a response. The same reason.
pub const RESPONSE_HEADERS_COUNT_MAX: usize = 128;

// Freshness

/// Bytes of `Cache-Control` that are read; a longer one forbids everything. Real ones stay below 200.
pub const CACHE_CONTROL_BYTES_MAX: usize = 4 * 1024;

/// Directives that are read; more forbid everything.
pub const CACHE_CONTROL_DIRECTIVES_MAX: usize = 64;

/// Longest lifetime that we guess from `Last-Modified` (RFC 9111 section 4.2.2 suggests a tenth of the age and
/// leaves the cap to us): a day keeps a guess from hiding a change for long.
pub const HEURISTIC_LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Request fields that may select a representation. Responses that vary by more are as good as never reused.
pub const SELECTING_FIELDS_MAX: usize = 8;

/// Bytes of one selecting value that are kept in the index.
pub const SELECTING_VALUE_BYTES_MAX: usize = 1024;
