//! May a response be stored by a cache that several people share (RFC 9111 section 3)?

use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{HeaderMap, StatusCode};

use super::control::{CacheControl, Directive};
use super::{age, renewal, selection};
use crate::limits::{RESPONSE_HEADERS_BYTES_MAX, RESPONSE_HEADERS_COUNT_MAX};
use crate::representation::Head;

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStorable {
    /// Only a complete 200, or the 206 that is a part of one, is stored.
    #[error("the status is not 200")]
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
    #[error("the request was authorised")]
    Authorization,
    /// RFC 9111 has no rule for cookies; what one selected may be one person's.
    #[error("the request had a cookie")]
    Cookie,
    /// It was made for one person (RFC 6265 section 8.6 leaves it to us; RFC 9111 section 7.3 warns).
    #[error("the response sets a cookie")]
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

/// Whether the answer to a GET with these fields may be stored.
pub fn storable(request: &HeaderMap, head: &Head) -> Result<(), NotStorable> {
    let control = CacheControl::of_response(&head.headers);
    // Section 3: method and status understood. A 206 is stored as the 200 it is a part of (section 3.3).
    if !matches!(head.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return Err(NotStorable::Status);
    }
    if too_large(&head.headers) {
        return Err(NotStorable::TooLarge);
    }
    if CacheControl::of_request(request).has(Directive::NoStore) {
        return Err(NotStorable::RequestNoStore);
    }
    // Section 5.2.2.3: who understands the status, and 200 is understood, ignores the no-store beside it.
    if control.has(Directive::NoStore) && !control.has(Directive::MustUnderstand) {
        return Err(NotStorable::NoStore);
    }
    if control.has(Directive::Private) {
        return Err(NotStorable::Private);
    }
    if head.headers.contains_key(SET_COOKIE) {
        return Err(NotStorable::SetCookie);
    }
    without_credentials(request)?;
    selectable(request, &head.headers)?;
    if reusable(head, &control) { Ok(()) } else { Err(NotStorable::NotReusable) }
}

/// Section 3.5 lets `public`, `s-maxage` and `must-revalidate` lift the prohibition. Here they do not: what is stored
/// may be handed to paired boxes, which must never get what came with credentials (DESIGN section 7), and a stored
/// response does not remember what its request carried.
fn without_credentials(request: &HeaderMap) -> Result<(), NotStorable> {
    if request.contains_key(AUTHORIZATION) {
        return Err(NotStorable::Authorization);
    }
    if request.contains_key(COOKIE) {
        return Err(NotStorable::Cookie);
    }
    Ok(())
}

fn selectable(request: &HeaderMap, response: &HeaderMap) -> Result<(), NotStorable> {
    selection::varying(response).ok_or(NotStorable::VaryAny)?;
    if selection::selecting(response, request).is_none() {
        return Err(NotStorable::TooLarge);
    }
    if !selection::takes_encoding_of(&selection::accepted_encodings(request), response) {
        return Err(NotStorable::Encoding);
    }
    Ok(())
}

fn reusable(head: &Head, control: &CacheControl) -> bool {
    let lives = !age::lifetime(head).is_zero() && !control.has(Directive::NoCache);
    lives || !renewal::questions(&head.headers).is_empty()
}

fn too_large(headers: &HeaderMap) -> bool {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    headers.len() > RESPONSE_HEADERS_COUNT_MAX || bytes > RESPONSE_HEADERS_BYTES_MAX
}
