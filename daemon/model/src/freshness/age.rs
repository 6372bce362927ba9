//! How old a response is (RFC 9111 section 4.2.3) and how old it may become (section 4.2.1).

use std::time::Duration;

use http::header::{AGE, DATE, EXPIRES, HeaderName, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use super::control::{CacheControl, Directive, delta_seconds};
use crate::limits::{ERROR_LIFETIME_MAX, HEURISTIC_LIFETIME_MAX};
use crate::representation::{Head, http_date};
use crate::time::UnixMillis;

/// The current age (section 4.2.3): at least what the origin's `Date` says, at least what caches before us say plus
/// the time the exchange took, and the time it has been here.
///
/// A clock that is set forward makes responses older, which only asks the origin more.
pub fn age(now: UnixMillis, head: &Head) -> Duration {
    let apparent = head.received_at.since(date(head));
    let told = age_field(&head.headers).unwrap_or_default();
    let corrected = told.saturating_add(head.received_at.since(head.requested_at));
    apparent.max(corrected).saturating_add(now.since(head.received_at))
}

/// How long after its generation a response stays fresh in a shared cache (section 4.2.1); zero when nothing says so.
/// Of an error never longer than [`ERROR_LIFETIME_MAX`].
pub fn lifetime(head: &Head) -> Duration {
    let control = CacheControl::of_response(&head.headers);
    let lifetime = explicit_lifetime(head, &control).unwrap_or_else(|| {
        // Section 4.2.2: only where the status is such, or the response says that it may be stored.
        let may_guess = is_guessable(head.status) || control.has(Directive::Public);
        if may_guess { heuristic(head) } else { Duration::ZERO }
    });
    let is_error = head.status.is_client_error() || head.status.is_server_error();
    if is_error { lifetime.min(ERROR_LIFETIME_MAX) } else { lifetime }
}

/// What the origin itself says about it.
pub(super) fn explicit_lifetime(head: &Head, control: &CacheControl) -> Option<Duration> {
    if let Some(seconds) = control.s_maxage.or(control.max_age) {
        return Some(seconds);
    }
    if control.targeted || !head.headers.contains_key(EXPIRES) {
        return None;
    }
    // Section 5.3: what is no date, such as "0", is the past. Section 4.2.1: so is what is said twice.
    let expires = single_date(&head.headers, &EXPIRES);
    Some(expires.map_or(Duration::ZERO, |expires| expires.since(date(head))))
}

/// RFC 9110 section 15.1: cacheable by heuristics.
fn is_guessable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Section 4.2.2: a tenth of the time since the last modification; a day at most.
fn heuristic(head: &Head) -> Duration {
    let modified = single_date(&head.headers, &LAST_MODIFIED);
    modified.map_or(Duration::ZERO, |modified| (date(head).since(modified) / 10).min(HEURISTIC_LIFETIME_MAX))
}

/// The origin's clock; ours when it did not tell (RFC 9110 section 6.6.1).
pub(super) fn date(head: &Head) -> UnixMillis {
    single_date(&head.headers, &DATE).unwrap_or(head.received_at)
}

/// Section 5.1: the first member of a list; what is no number is as if it were not there.
fn age_field(headers: &HeaderMap) -> Option<Duration> {
    let first = headers.get(AGE)?.as_bytes().split(|byte| *byte == b',').next()?;
    delta_seconds(first.trim_ascii())
}

pub(super) fn single_date(headers: &HeaderMap, name: &HeaderName) -> Option<UnixMillis> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => http_date(line),
        _ => None,
    }
}
