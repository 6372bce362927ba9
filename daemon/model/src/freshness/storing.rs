//! May a response be stored by a cache that several people share (RFC 9111 section 3), what of it is kept, and for whom?

use http::header::{AUTHORIZATION, COOKIE, DATE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::control::{CacheControl, Directive, is_partly_private, named_fields};
use super::{age, renewal, selection};
use crate::limits::{RESPONSE_HEADERS_BYTES_MAX, RESPONSE_HEADERS_COUNT_MAX};
use crate::representation::Head;

/// Who may be given what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Clients of this box only: credentials had to do with it, or parts of it were meant for one person.
    Household,
    /// Whoever [`crate::sharing`] allows.
    Anyone,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStorable {
    /// It answers a request and not a question about the resource, or it is not understood and must be.
    #[error("the status is none that is stored")]
    Status,
    /// RFC 9111 section 5.2.1.5.
    #[error("the request says no-store")]
    RequestNoStore,
    /// RFC 9111 section 5.2.2.5.
    #[error("the response says no-store")]
    NoStore,
    /// RFC 9111 section 5.2.2.7.
    #[error("the response is private")]
    Private,
    /// RFC 9111 section 3.5.
    #[error("the request was authorised, and the response does not say that it is for others too")]
    Authorization,
    /// RFC 9111 has no rule for cookies; what one selected may be one person's.
    #[error("the request had a cookie, and the response does not say that it is for others too")]
    Cookie,
    /// It was made for one person (RFC 6265 section 8.6 leaves it to us; RFC 9111 section 7.3 warns).
    #[error("the response sets a cookie, and does not say that it is for others too")]
    SetCookie,
    /// RFC 9111 section 4.1.
    #[error("the response varies by anything")]
    VaryAny,
    /// The origin chose a coding that was not asked for; another client could not read it.
    #[error("the response has a content coding that the request did not ask for")]
    Encoding,
    /// Never fresh, and nothing to ask the origin with: it could never be used.
    #[error("the response has neither a lifetime nor a validator")]
    NotReusable,
    /// More fields than are kept.
    #[error("the response has too many or too long fields")]
    TooLarge,
}

/// Whether the answer to a GET with these fields may be stored, and for whom.
pub fn storable(request: &HeaderMap, head: &Head) -> Result<Reach, NotStorable> {
    let control = CacheControl::of_response(&head.headers);
    keepable(head)?;
    if CacheControl::of_request(request).has(Directive::NoStore) {
        return Err(NotStorable::RequestNoStore);
    }
    let set_cookie = setting_cookies(head, &control)?;
    let credentials = with_credentials(request, head, &control)?;
    selectable(request, &head.headers)?;
    if !reusable(head, &control) {
        return Err(NotStorable::NotReusable);
    }
    Ok(set_cookie.min(credentials).min(said_to_all(&head.headers)))
}

/// The part of [`storable`] that only the response decides: whether a stored response may stay after a confirmation
/// changed its fields (section 4.3.4).
pub fn keepable(head: &Head) -> Result<(), NotStorable> {
    let control = CacheControl::of_response(&head.headers);
    if !is_storable_status(head.status) {
        return Err(NotStorable::Status);
    }
    if too_large(&head.headers) {
        return Err(NotStorable::TooLarge);
    }
    // Section 5.2.2.3: with must-understand a cache that knows the status ignores the no-store beside it, and one
    // that does not stores nothing.
    if control.has(Directive::MustUnderstand) && !is_understood(head.status) {
        return Err(NotStorable::Status);
    }
    if control.has(Directive::NoStore) && !control.has(Directive::MustUnderstand) {
        return Err(NotStorable::NoStore);
    }
    if control.has(Directive::Private) {
        return Err(NotStorable::Private);
    }
    selection::varying(&head.headers).ok_or(NotStorable::VaryAny).map(drop)
}

/// The head that is kept of a response that may be stored. Without what was meant for one asker: cookies, and the
/// fields that `private` and `no-cache` name (sections 5.2.2.4 and 5.2.2.7 let the rest be used). With a date, since
/// the exchange was now (RFC 9110 section 6.6.1).
pub fn kept(mut head: Head) -> Head {
    for name in named_fields(&head.headers) {
        head.headers.remove(name);
    }
    head.headers.remove(SET_COOKIE);
    head.headers.remove("set-cookie2");
    if age::single_date(&head.headers, &DATE).is_none() {
        let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs(head.received_at.seconds());
        if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(date)) {
            head.headers.insert(DATE, date);
        }
    }
    head
}

/// Section 3 lets any final status be stored that the response says may be. Not here those that speak about the
/// request, its credentials, conditions, length, protocol or pace: the next request is another one. RFC 6585 forbids
/// it of 428, 429, 431 and 511, RFC 8470 section 5.2 of 425. A 206 is stored as the 200 it is a part of (section 3.3).
fn is_storable_status(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(
            status.as_u16(),
            304 | 401 | 402 | 407 | 408 | 411..=413 | 416 | 417 | 421 | 425 | 426 | 428 | 429 | 431 | 511
        )
}

/// Statuses whose meaning for a cache we know (RFC 9110 section 15, RFC 7538, RFC 7725).
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=204 | 206 | 300..=303 | 307 | 308 | 400 | 403..=406 | 409 | 410 | 414 | 415 | 451 | 500..=505
    )
}

/// Whether the response says by itself that everybody may be given it: not by a guess, and not by a lifetime that
/// people's browsers were meant with.
fn is_meant_for_all(control: &CacheControl) -> bool {
    control.has(Directive::Public) || control.s_maxage.is_some() || control.targeted
}

/// A response that sets a cookie was made for one person unless it says otherwise; the cookie itself never is kept
/// ([`kept`]), so nobody gets another's.
fn setting_cookies(head: &Head, control: &CacheControl) -> Result<Reach, NotStorable> {
    if !head.headers.contains_key(SET_COOKIE) && !head.headers.contains_key("set-cookie2") {
        return Ok(Reach::Anyone);
    }
    let set_apart = named_fields(&head.headers).contains(&SET_COOKIE);
    if set_apart || is_meant_for_all(control) { Ok(Reach::Household) } else { Err(NotStorable::SetCookie) }
}

/// Section 3.5 for `Authorization`. For `Cookie`, which no clause speaks of: the response has to say itself how long it
/// may be reused, a guess or a validator is not enough. Both never when the response varies by them: the index would
/// hold the secret.
fn with_credentials(request: &HeaderMap, head: &Head, control: &CacheControl) -> Result<Reach, NotStorable> {
    let varies_by = |name| selection::varying(&head.headers).is_none_or(|names| names.contains(&name));
    let mut reach = Reach::Anyone;
    if request.contains_key(AUTHORIZATION) {
        let allowed = is_meant_for_all(control) || control.has(Directive::MustRevalidate);
        if !allowed || varies_by(AUTHORIZATION) {
            return Err(NotStorable::Authorization);
        }
        reach = Reach::Household;
    }
    if request.contains_key(COOKIE) {
        let lives = age::explicit_lifetime(head, control).is_some_and(|lifetime| !lifetime.is_zero());
        if !(lives || control.has(Directive::Public)) || varies_by(COOKIE) {
            return Err(NotStorable::Cookie);
        }
        reach = Reach::Household;
    }
    Ok(reach)
}

/// A targeted field may allow us what is not allowed to others, and a part may be one person's: such a response goes
/// no further than our own clients.
fn said_to_all(headers: &HeaderMap) -> Reach {
    let plain = CacheControl::plain(headers);
    let no_store = plain.has(Directive::NoStore) && !plain.has(Directive::MustUnderstand);
    let is_closed = no_store || plain.has(Directive::Private) || is_partly_private(headers);
    if is_closed { Reach::Household } else { Reach::Anyone }
}

fn selectable(request: &HeaderMap, response: &HeaderMap) -> Result<(), NotStorable> {
    if selection::selecting(response, request).is_none() {
        return Err(NotStorable::TooLarge);
    }
    if !selection::takes_encoding_of(&selection::accepted_encodings(request), response) {
        return Err(NotStorable::Encoding);
    }
    Ok(())
}

/// An answer that is no success is only stored for its lifetime: there is little to gain by having it confirmed.
fn reusable(head: &Head, control: &CacheControl) -> bool {
    let lives = !age::lifetime(head).is_zero() && !control.has(Directive::NoCache);
    lives || (head.status.is_success() && !renewal::questions(&head.headers).is_empty())
}

fn too_large(headers: &HeaderMap) -> bool {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    headers.len() > RESPONSE_HEADERS_COUNT_MAX || bytes > RESPONSE_HEADERS_BYTES_MAX
}
