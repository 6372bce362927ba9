//! Answers that say no: the error table of the contract, with a body for people or programs and the step that failed
//! for proxies' users (RFC 9209).
//!
//! Texts are our own or escaped by being plain text: nothing that a client or origin sent comes back as HTML.

use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use kith_fetch::ask::AskError;
use kith_model::key::TargetError;
use serde_json::json;

use crate::body::Body;
use crate::range;
use crate::strict::HeadError;

/// RFC 9209.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What the forward proxy takes; others pass, too, as long as they are tokens.
pub(crate) const PROXY_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Why a request gets no object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The head is not HTTP that can be read in one way only.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// What stands in the URL's place is no URL.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// The path names no object.
    #[error("this is not the name of an object")]
    Name,
    /// Neither GET nor HEAD.
    #[error("only GET and HEAD are answered")]
    Method,
    /// CONNECT, while it is off.
    #[error("this box opens no tunnels")]
    Tunnel,
    /// CONNECT to another port than that of https.
    #[error("this box opens tunnels to port 443 only")]
    TunnelPort,
    /// As many tunnels as there may be.
    #[error("this box has too many tunnels open")]
    Tunnels,
    /// TRACE: it would show fields to a page that its browser keeps from it.
    #[error("TRACE is not answered")]
    Trace,
    /// `Max-Forwards` that is no number.
    #[error("Max-Forwards is not a number")]
    MaxForwards,
    /// The client stopped sending, or sent too slowly.
    #[error("the content of the request did not come in time")]
    Upload,
    /// The client's address is not in `clients.allow`.
    #[error("this device may not use this box")]
    Client,
    /// Too many connections of one address.
    #[error("this device has too many connections open")]
    Crowd,
    /// The `Host` is none of ours.
    #[error("this box does not answer to that name")]
    Host,
    /// Nothing of ours has this path.
    #[error("there is nothing here")]
    Path,
    /// Another website's page sent the browser.
    #[error("another website may not fetch through this box")]
    CrossSite,
    /// A service worker would seize every site behind the prefix.
    #[error("service workers cannot be loaded through this box")]
    ServiceWorker,
    /// The request came through this box already, or goes to it.
    #[error("the request would come back to this box")]
    Loop,
    /// The box does not hold the object of a hash.
    #[error("this box does not hold the object")]
    NotHeld,
    /// `only-if-cached`.
    #[error("this is not stored, and the request asked for nothing else")]
    OnlyIfCached,
    /// A precondition does not hold.
    #[error("what the box has is not what the request was made for")]
    Precondition,
    /// The range lies outside.
    #[error("the range lies outside of the {length} bytes")]
    Range {
        /// Of the whole, in bytes.
        length: u64,
    },
    /// The origin.
    #[error("{0}")]
    Origin(std::sync::Arc<AskError>),
    /// The shelf cannot be read and nobody else can be asked.
    #[error("the box cannot read what it stored")]
    Shelf,
    /// The daemon is stopping.
    #[error("the box is stopping")]
    Stopping,
}

/// How a refusal looks from outside.
struct Look {
    status: StatusCode,
    code: &'static str,
    hint: &'static str,
    /// The error type of RFC 9209 section 2.3.
    step: Option<&'static str>,
}

fn look(status: StatusCode, code: &'static str, hint: &'static str) -> Look {
    Look { status, code, hint, step: None }
}

fn step(status: StatusCode, code: &'static str, step: &'static str, hint: &'static str) -> Look {
    Look { status, code, hint, step: Some(step) }
}

impl Refusal {
    fn look(&self) -> Look {
        use StatusCode as S;
        match self {
            Refusal::Head(HeadError::UrlTooLong) | Refusal::Target(TargetError::TooLong) => {
                look(S::URI_TOO_LONG, "url_too_long", "URLs may have 4096 bytes")
            }
            Refusal::Head(HeadError::FieldsTooLarge) => look(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "header fields may have 16 KiB and 100 lines; deleting cookies may help",
            ),
            Refusal::Head(HeadError::Version) => {
                look(S::HTTP_VERSION_NOT_SUPPORTED, "version", "speak HTTP/1.1")
            }
            Refusal::Head(_) => look(S::BAD_REQUEST, "malformed_request", "the client program is at fault"),
            Refusal::Target(_) => {
                look(S::BAD_REQUEST, "malformed_url", "write the URL behind the slash: /https://host/path")
            }
            Refusal::Name => look(S::BAD_REQUEST, "malformed_name", "a hash is written with 64 hex digits"),
            Refusal::Method => {
                look(S::METHOD_NOT_ALLOWED, "method", "uploads have to go to the site directly")
            }
            Refusal::Tunnel => look(
                S::METHOD_NOT_ALLOWED,
                "tunnels_off",
                "use this box for http only (proxy.pac does), or put it in front of the URL: /https://host/path",
            ),
            Refusal::TunnelPort => step(
                S::FORBIDDEN,
                "destination_denied",
                "http_request_denied",
                "tunnels are for https to public addresses",
            ),
            Refusal::Tunnels => {
                look(S::SERVICE_UNAVAILABLE, "tunnels", "close some, or go to the site directly")
            }
            Refusal::Trace => look(S::METHOD_NOT_ALLOWED, "method", "ask the site directly"),
            Refusal::MaxForwards => {
                look(S::BAD_REQUEST, "malformed_request", "the client program is at fault")
            }
            Refusal::Upload => look(S::REQUEST_TIMEOUT, "upload", "send at least 1 KiB a second"),
            Refusal::Client => {
                look(S::FORBIDDEN, "client_denied", "the owner can add its network to clients.allow")
            }
            Refusal::Crowd => look(S::TOO_MANY_REQUESTS, "connections", "close some, or try again later"),
            Refusal::Host => {
                look(S::MISDIRECTED_REQUEST, "host", "the owner can add the name to clients.hosts")
            }
            Refusal::Path => look(S::NOT_FOUND, "not_found", "/ says what there is"),
            Refusal::CrossSite => look(S::FORBIDDEN, "cross_site", "open the address yourself"),
            Refusal::ServiceWorker => look(S::FORBIDDEN, "service_worker", "open the site itself"),
            Refusal::Loop => step(
                S::LOOP_DETECTED,
                "loop",
                "proxy_loop_detected",
                "the box's own address cannot be fetched through it",
            ),
            Refusal::NotHeld => look(S::NOT_FOUND, "not_held", "fetch it by its URL once"),
            Refusal::OnlyIfCached => {
                look(S::GATEWAY_TIMEOUT, "only_if_cached", "ask again without only-if-cached")
            }
            Refusal::Precondition => look(S::PRECONDITION_FAILED, "precondition", "fetch it anew"),
            Refusal::Range { .. } => {
                look(S::RANGE_NOT_SATISFIABLE, "range", "the file may be complete already, or have changed")
            }
            Refusal::Origin(error) => origin_look(error),
            Refusal::Shelf => step(
                S::INTERNAL_SERVER_ERROR,
                "storage",
                "proxy_internal_error",
                "kith doctor says what is wrong with the disk",
            ),
            Refusal::Stopping => look(S::SERVICE_UNAVAILABLE, "stopping", "try again in a moment"),
        }
    }

    /// Whether the connection can be trusted to be in step with us after this.
    fn closes(&self) -> bool {
        matches!(
            self,
            Refusal::Head(_)
                | Refusal::Target(_)
                | Refusal::Tunnel
                | Refusal::TunnelPort
                | Refusal::Tunnels
                | Refusal::MaxForwards
                | Refusal::Upload
                | Refusal::Client
                | Refusal::Crowd
                | Refusal::Stopping
        )
    }

    /// The whole answer.
    pub(crate) fn response(&self, tongue: Tongue) -> Response<Body> {
        let look = self.look();
        let (content_type, body) = self.words(&look, tongue);
        let mut response = Response::new(Body::whole(body.into()));
        *response.status_mut() = look.status;
        let length = response.body().len();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(step) = look.step {
            let value = HeaderValue::from_str(&format!("kith; error={step}"));
            headers.insert(PROXY_STATUS, value.expect("invariant: a token"));
        }
        if self.closes() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        match self {
            Refusal::Method | Refusal::Tunnel => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Refusal::Trace => {
                headers.insert(ALLOW, HeaderValue::from_static(PROXY_METHODS));
            }
            Refusal::Crowd | Refusal::Stopping | Refusal::Tunnels => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            Refusal::Range { length } => {
                headers.insert(CONTENT_RANGE, range::unsatisfied(*length));
            }
            _ => {}
        }
        response
    }

    fn words(&self, look: &Look, tongue: Tongue) -> (&'static str, String) {
        match tongue {
            Tongue::Text => {
                ("text/plain; charset=utf-8", format!("{self}\n{}\n({})\n", look.hint, look.code))
            }
            Tongue::Json => {
                let error = json!({"code": look.code, "message": self.to_string(), "hint": look.hint});
                ("application/json", json!({ "error": error }).to_string())
            }
        }
    }

    /// The answer as bytes, for a connection that gets nothing but this.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let look = self.look();
        let (content_type, body) = self.words(&look, Tongue::Text);
        let retry = if matches!(self, Refusal::Crowd) { "retry-after: 5\r\n" } else { "" };
        format!(
            "HTTP/1.1 {}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n{retry}connection: close\r\n\r\n{body}",
            look.status,
            body.len(),
        )
        .into_bytes()
    }
}

/// What the asker reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tongue {
    /// A person.
    #[default]
    Text,
    /// A program that accepts JSON.
    Json,
}

fn origin_look(error: &AskError) -> Look {
    use StatusCode as S;
    match error {
        AskError::Denied(_) => step(
            S::FORBIDDEN,
            "destination_denied",
            "destination_ip_prohibited",
            "the owner can list addresses of the house in origins.allow_private",
        ),
        AskError::Dns(_) => step(S::GATEWAY_TIMEOUT, "dns", "dns_error", "check the name and the uplink"),
        AskError::Connect(_, Some(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            step(S::GATEWAY_TIMEOUT, "connect", "connection_refused", "the site is down")
        }
        AskError::Connect(..) => {
            step(S::GATEWAY_TIMEOUT, "connect", "connection_timeout", "the site or the uplink is down")
        }
        AskError::Tls(..) => step(
            S::BAD_GATEWAY,
            "tls",
            "tls_certificate_error",
            "check the clock of the box; the site's certificate may have expired",
        ),
        AskError::Timeout(_) => {
            step(S::GATEWAY_TIMEOUT, "timeout", "http_response_timeout", "the site is slow; try again later")
        }
        AskError::Nonsense(..) => {
            step(S::BAD_GATEWAY, "origin_nonsense", "http_protocol_error", "the site's server is at fault")
        }
        AskError::Redirects(_) => step(
            S::BAD_GATEWAY,
            "redirects",
            "http_protocol_error",
            "the site redirects in a circle, or too often",
        ),
        AskError::Loop => step(
            S::LOOP_DETECTED,
            "loop",
            "proxy_loop_detected",
            "the box's own address cannot be fetched through it",
        ),
    }
}
