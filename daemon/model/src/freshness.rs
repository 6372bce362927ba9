//! Freshness: RFC 9111 for a shared cache, as decisions over fields and moments.
//!
//! Answers four questions: may this be stored ([`storable`]), what is to be done with a request ([`decide`],
//! [`fallback`]), how is a stored response checked ([`conditional`], [`confirms`]) and what does a 304 change
//! ([`renewed`]). Everything is a pure function; the clause of the RFC stands beside each rule. What a sender got
//! wrong is read in the way that stores less and asks the origin more.
//!
//! Knows no clock, no store, no ranges and no conditional requests of clients: a 206 or 304 to a client is cut from
//! what is served. `CDN-Cache-Control` (RFC 9213) is not read: it speaks to caches that act for the origin.

mod age;
mod control;
mod invalidation;
mod renewal;
mod selection;
mod storing;

use std::time::Duration;

use http::{HeaderMap, Method};

pub use self::age::{age, lifetime};
pub use self::control::{CacheControl, Directive};
pub use self::invalidation::invalidated;
pub use self::renewal::{conditional, confirms, renewed};
pub use self::selection::{Selecting, accepted_encodings, selecting};
pub use self::storing::{NotStorable, storable};
use crate::representation::{Representation, http_date};
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
        /// It is past its lifetime and the client said that it takes such.
        stale: bool,
    },
    /// Ask the origin whether this one still holds; the fields to ask with are [`conditional`]'s.
    Revalidate {
        /// Which one.
        index: usize,
        /// When the origin cannot be reached, this one may be served, marked stale.
        may_serve_stale_on_error: bool,
    },
    /// Ask the origin for the whole; what comes may be stored. When it cannot be reached, see [`fallback`].
    Fetch,
    /// Let the request through and store nothing.
    PassThrough {
        /// Why.
        reason: PassReason,
    },
    /// The client wants nothing but what is stored, and that is not here (RFC 9111 section 5.2.1.7): answer 504.
    OnlyIfCached504,
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

/// Decides what to do with a request for a target of which `stored` is known (RFC 9111 section 4).
pub fn decide(now: UnixMillis, asked: &Asked<'_>, stored: &[Representation]) -> Decision {
    if !matches!(*asked.method, Method::GET | Method::HEAD) {
        return Decision::PassThrough { reason: PassReason::Method };
    }
    let wish = CacheControl::of_request(asked.headers);
    let selected = selected(asked, stored);
    if let Some((index, stale)) = selected.and_then(|index| {
        let stale = reusable(now, &wish, &stored[index])?;
        Some((index, stale))
    }) {
        return Decision::Serve { index, age: age(now, &stored[index].head), stale };
    }
    if wish.has(Directive::OnlyIfCached) {
        return Decision::OnlyIfCached504;
    }
    if wish.has(Directive::NoStore) {
        return Decision::PassThrough { reason: PassReason::NoStore };
    }
    let asked_about = selected.or_else(|| selection::same_bytes_elsewhere(asked.headers, stored));
    match asked_about {
        Some(index) if !conditional(&stored[index]).is_empty() => Decision::Revalidate {
            index,
            may_serve_stale_on_error: fallback(now, asked, stored) == Some(index),
        },
        _ => Decision::Fetch,
    }
}

/// Which stored representation may be served, marked stale, when the origin cannot be reached
/// (RFC 9111 section 4.2.4).
pub fn fallback(now: UnixMillis, asked: &Asked<'_>, stored: &[Representation]) -> Option<usize> {
    let wish = CacheControl::of_request(asked.headers);
    // Section 5.2.1.4: without a successful validation this client wants nothing stored.
    if wish.has(Directive::NoCache) {
        return None;
    }
    selected(asked, stored).filter(|index| may_serve_stale(now, &stored[*index]))
}

/// Whether a stored response may be served though the origin cannot be asked about it (RFC 9111 section 4.2.4:
/// disconnected, and no directive forbids it).
pub fn may_serve_stale(now: UnixMillis, representation: &Representation) -> bool {
    let control = CacheControl::of_response(&representation.head.headers);
    if control.has(Directive::NoCache) {
        return false;
    }
    let (age, lifetime) = (age(now, &representation.head), lifetime(&representation.head));
    if lifetime > age {
        return true;
    }
    // RFC 5861 section 4: the origin says for how long.
    !control.forbids_stale()
        && control.stale_if_error.is_none_or(|window| age.saturating_sub(lifetime) <= window)
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

/// Whether the response may be reused without asking: nothing when not, else whether it is stale.
fn reusable(now: UnixMillis, wish: &CacheControl, representation: &Representation) -> Option<bool> {
    let head = &representation.head;
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
    // Section 5.2.1.1.
    if !fixed && wish.max_age.is_some_and(|limit| age > limit) {
        return None;
    }
    // Section 5.2.1.3.
    if wish.min_fresh.is_some_and(|span| lifetime.saturating_sub(age) < span) {
        return None;
    }
    if fresh {
        return Some(false);
    }
    // Sections 5.2.1.2 and 4.2.4: a client's patience does not lift the origin's prohibition.
    let allowed = wish.max_stale?;
    (!control.forbids_stale() && age.saturating_sub(lifetime) <= allowed).then_some(true)
}

#[cfg(test)]
mod tests;
