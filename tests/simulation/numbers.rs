//! Counts as figures and back. A simulation moves less than 2^52 of anything.

#[allow(clippy::cast_precision_loss, reason = "below 2^52")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and below 2^52")]
pub(crate) fn whole(figure: f64) -> u64 {
    figure.max(0.0) as u64
}

/// A part of a whole; 0 of nothing.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { as_f64(part) / as_f64(whole) }
}
