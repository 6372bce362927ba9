//! Errors as problem documents (RFC 9457), each with a `code` for programs and a `fix` for people.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

use crate::house::PairingError;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    pub(crate) fix: &'static str,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    fix: &'a str,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        fix: &'static str,
    ) -> Self {
        Self { status, code, detail: detail.into(), fix }
    }

    /// As a response.
    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let document = Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            fix: self.fix,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = self.status;
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

impl From<PairingError> for Problem {
    fn from(error: PairingError) -> Self {
        let (status, code, fix) = match error {
            PairingError::Off => {
                (StatusCode::CONFLICT, "neighbours_off", "set neighbours.enabled = true and restart the box")
            }
            PairingError::NotFound => {
                (StatusCode::NOT_FOUND, "box_not_found", "look at `kith neighbours`, or use its address")
            }
            PairingError::Ourselves => (StatusCode::BAD_REQUEST, "box_is_this_one", "name the other box"),
            PairingError::Ambiguous => (StatusCode::CONFLICT, "box_ambiguous", "use its node id"),
            PairingError::NotOpen => (
                StatusCode::SERVICE_UNAVAILABLE,
                "pairing_not_open",
                "run `kith pair` on the other box first",
            ),
            PairingError::WrongCode => {
                (StatusCode::FORBIDDEN, "wrong_code", "run `kith pair` on the other box again for a new code")
            }
            PairingError::LockedOut => {
                (StatusCode::TOO_MANY_REQUESTS, "locked_out", "wait a few minutes, then ask for a new code")
            }
            PairingError::Unreachable => {
                (StatusCode::GATEWAY_TIMEOUT, "box_unreachable", "check that both boxes are on one network")
            }
            PairingError::Role => {
                (StatusCode::FORBIDDEN, "role_refused", "update the other box, or use the role mine")
            }
            PairingError::Words => {
                (StatusCode::BAD_REQUEST, "wrong_words", "type them as `kith group new` has shown them")
            }
            PairingError::Owed(_) => {
                (StatusCode::CONFLICT, "key_change_under_way", "look at `kith neighbours` for who is away")
            }
            PairingError::Failed(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "pairing_failed", "look at the log")
            }
        };
        Problem::new(status, code, error.to_string(), fix)
    }
}
