//! Freshness: RFC 9111 for a shared cache, as decisions over fields and moments.
//!
//! Answers these questions: may this be stored, what of it and for whom ([`storable`], [`kept`]), what is to be done
//! with a request ([`decide`], [`fallback`]), how is a stored response checked ([`conditional`], [`confirms`]), what
//! does a confirmation change ([`renewed`]) and what does an unsafe request make doubtful ([`invalidated`]). Everything
//! is a pure function; the clause of the RFC stands beside each rule. What a sender got wrong is read in the way that
//! stores less and asks the origin more.
//!
//! Knows no clock, no store, no ranges and no conditional requests of clients: a 206 or 304 to a client is cut from
//! what is served.

mod age;
mod control;
mod invalidation;
mod redirection;
mod renewal;
mod selection;
mod storing;
mod targeted;

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

pub use self::age::{age, lifetime};
pub(crate) use self::control::is_partly_private;
pub use self::control::{CacheControl, Directive};
pub use self::invalidation::invalidated;
pub use self::redirection::behind;
pub use self::renewal::{conditional, confirms, described_by, is_news, is_outdated, outdated, renewed};
pub use self::selection::{Selecting, accepted_encodings, selecting};
pub use self::storing::{NotStorable, Reach, keepable, kept, storable};
use crate::representation::{Head, Representation, http_date};
use crate::time::UnixMillis;

/// A request, as far as freshness looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What the client wants done.
    pub method: &'a Method,
    /// Its end-to-end fields.
    pub headers: &'a HeaderMap,
}

/// What to do with a request. `index` points into the stored representations that were passed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Answer from the store.
    Serve {
        /// Which one.
        index: usize,
        /// Its current age, for the `Age` field.
        age: Duration,
        /// Whether it is within its lifetime.
        state: State,
    },
    /// Ask the origin whether this one still holds; the fields to ask with are [`conditional`]'s. When the origin
    /// cannot be reached, see [`fallback`].
    Revalidate {
        /// Which one.
        index: usize,
        /// What stands against serving it.
        lack: Lack,
    },
    /// Ask the origin for the whole; what comes may be stored. When it cannot be reached, see [`fallback`].
    Fetch {
        /// What stands against serving from the store.
        lack: Lack,
    },
    /// Let the request through and store nothing.
    PassThrough {
        /// Why.
        reason: PassReason,
    },
    /// The client wants nothing but what is stored, and that is not here (RFC 9111 section 5.2.1.7): answer 504.
    OnlyIfCached504,
}

/// How a stored response that is served stands to its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Within it.
    Fresh,
    /// Past it; the client said that it takes such (RFC 9111 section 5.2.1.2).
    Tolerated,
    /// Past it; the origin lets it be served while it is asked in the background (RFC 5861 section 3).
    Revalidating,
}

/// Why the store alone cannot answer (RFC 9211 section 2.2 has words for it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Nothing is stored for the target.
    Target,
    /// What is stored was selected by other fields.
    Variant,
    /// What is stored is past its lifetime, or has to be asked about each time.
    Stale,
    /// What is stored is fresh; the request asks for more than that.
    Request,
}

/// Why a request passes by the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassReason {
    /// Only GET is stored, and only GET and HEAD are answered from it.
    #[error("the method is neither GET nor HEAD")]
    Method,
    /// The client asks that nothing is kept (RFC 9111 section 5.2.1.5).
    #[error("the request says no-store")]
    NoStore,
}

/// How an origin failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It gave no answer that can be used.
    Unreachable,
    /// It answered with this status.
    Answered(StatusCode),
}

/// Decides what to do with a request for a target of which `stored` is known (RFC 9111 section 4).
pub fn decide(now: UnixMillis, asked: &Asked<'_>, stored: &[Representation]) -> Decision {
    if !matches!(*asked.method, Method::GET | Method::HEAD) {
        return Decision::PassThrough { reason: PassReason::Method };
    }
    let wish = CacheControl::of_request(asked.headers);
    let selected = selected(asked, stored);
    if let Some((index, state)) = selected.and_then(|index| {
        let state = reusable(now, &wish, &stored[index].head)?;
        Some((index, state))
    }) {
        return Decision::Serve { index, age: age(now, &stored[index].head), state };
    }
    if wish.has(Directive::OnlyIfCached) {
        return Decision::OnlyIfCached504;
    }
    if wish.has(Directive::NoStore) {
        return Decision::PassThrough { reason: PassReason::NoStore };
    }
    let lack = match selected {
        None if stored.is_empty() => Lack::Target,
        None => Lack::Variant,
        Some(index) if is_fresh(now, &stored[index].head) => Lack::Request,
        Some(_) => Lack::Stale,
    };
    let asked_about = selected.or_else(|| selection::same_bytes_elsewhere(asked.headers, stored));
    // An error is not asked about: what may be confirmed is what somebody wants to keep.
    match asked_about.filter(|index| !is_error(stored[*index].head.status)) {
        Some(index) if !conditional(&stored[index]).is_empty() => Decision::Revalidate { index, lack },
        _ => Decision::Fetch { lack },
    }
}

/// Which stored representation may be served, marked stale, when the origin fails (RFC 9111 sections 4.2.4 and 4.3.3,
/// RFC 5861 section 4).
pub fn fallback(
    now: UnixMillis,
    asked: &Asked<'_>,
    stored: &[Representation],
    trouble: Trouble,
) -> Option<usize> {
    let wish = CacheControl::of_request(asked.headers);
    // Section 5.2.1.4: without a successful validation this client wants nothing stored.
    if wish.has(Directive::NoCache) {
        return None;
    }
    selected(asked, stored).filter(|index| helps_out(now, &wish, &stored[*index].head, trouble))
}

/// Whether a stored response may be served to anybody while the origin cannot be reached.
pub fn may_serve_stale(now: UnixMillis, head: &Head) -> bool {
    helps_out(now, &CacheControl::default(), head, Trouble::Unreachable)
}

/// Whether a stored response may be served though the origin cannot be asked about it.
fn helps_out(now: UnixMillis, wish: &CacheControl, head: &Head, trouble: Trouble) -> bool {
    let control = CacheControl::of_response(&head.headers);
    // An error of yesterday says nothing about today.
    if control.has(Directive::NoCache) || is_error(head.status) {
        return false;
    }
    let stale_for = age(now, head).saturating_sub(lifetime(head));
    let within = |window: Option<Duration>| window.is_some_and(|window| stale_for <= window);
    let told = within(control.stale_if_error) || within(wish.stale_if_error);
    if is_fresh(now, head) {
        return true;
    }
    if control.forbids_stale() {
        return false;
    }
    match trouble {
        // RFC 5861 section 4 counts it as an error; RFC 9111 does not.
        Trouble::Answered(StatusCode::INTERNAL_SERVER_ERROR) => told,
        Trouble::Answered(
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT,
        )
        | Trouble::Unreachable => told || control.stale_if_error.is_none(),
        Trouble::Answered(_) => false,
    }
}

/// Whether a response that is still on its way may be given to this request too as if it were stored already.
pub fn is_reusable(now: UnixMillis, request: &HeaderMap, head: &Head) -> bool {
    reusable(now, &CacheControl::of_request(request), head) == Some(State::Fresh)
}

/// Section 4.2. What has to be asked about each time is never fresh.
fn is_fresh(now: UnixMillis, head: &Head) -> bool {
    lifetime(head) > age(now, head) && !CacheControl::of_response(&head.headers).has(Directive::NoCache)
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// The stored response whose selecting fields are those of the request; the newest of several
/// (RFC 9111 section 4.1).
fn selected(asked: &Asked<'_>, stored: &[Representation]) -> Option<usize> {
    (0..stored.len())
        .filter(|index| selection::matches(asked.headers, &stored[*index].selecting))
        .max_by_key(|index| dated(&stored[*index]))
}

fn dated(representation: &Representation) -> UnixMillis {
    let head = &representation.head;
    head.headers.get(http::header::DATE).and_then(http_date).unwrap_or(head.received_at)
}

/// Whether the response may be reused without asking first: nothing when not, else how it stands to its lifetime.
fn reusable(now: UnixMillis, wish: &CacheControl, head: &Head) -> Option<State> {
    let control = CacheControl::of_response(&head.headers);
    // Sections 5.2.1.4 and 5.2.2.4.
    if wish.has(Directive::NoCache) || control.has(Directive::NoCache) {
        return None;
    }
    let (age, lifetime) = (age(now, head), lifetime(head));
    // Section 4.2.
    let fresh = lifetime > age;
    // RFC 8246 section 2: a plain reload (max-age=0) of something immutable and fresh asks nobody.
    let fixed = fresh && control.has(Directive::Immutable);
    // Section 5.2.1.1. An age of nothing is known to the second only.
    if !fixed && wish.max_age.is_some_and(|limit| age > limit || limit.is_zero()) {
        return None;
    }
    // Section 5.2.1.3.
    if wish.min_fresh.is_some_and(|span| lifetime.saturating_sub(age) < span) {
        return None;
    }
    if fresh {
        return Some(State::Fresh);
    }
    // Section 4.2.4: neither a client's patience nor the origin's lifts a prohibition.
    if control.forbids_stale() || is_error(head.status) {
        return None;
    }
    let within =
        |window: Option<Duration>| window.is_some_and(|window| age.saturating_sub(lifetime) <= window);
    if within(control.stale_while_revalidate) {
        return Some(State::Revalidating);
    }
    // Section 5.2.1.2.
    within(wish.max_stale).then_some(State::Tolerated)
}

#[cfg(test)]
mod tests;
