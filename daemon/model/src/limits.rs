//! Every bound in one place, each with its unit and its reason.

/// Longest URL in bytes.
pub const URL_BYTES_MAX: usize = 4 * 1024;
