//! Requests that pass by the store, by the forward proxy only: methods other than GET and HEAD, requests with
//! content, switches to other protocols, and tunnels.
//!
//! Decides which those are and what of them is passed on; how it gets there is the origin room's. Nothing of it is
//! stored, but a change that succeeded makes the store forget what it changed (RFC 9111 section 4.4).

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, MAX_FORWARDS, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use kith_fetch::ask::{AskError, Verb};
use kith_fetch::relay::{Answer, Content, Relay, Relayed, Reply, Scope, Switched, Upload};
use kith_model::freshness::invalidated;
use kith_model::key::Target;
use kith_model::limits::TUNNELS_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use crate::answer::{Answered, Answerer};
use crate::body::Body;
use crate::connection::{REFUSED, SITE_OPTIONS, Switch};
use crate::counters::Outcome;
use crate::fields;
use crate::gateway::Connect;
use crate::refusal::{PROXY_METHODS, Refusal};
use crate::request::Door;
use crate::respond::{self, CacheStatus, Forwarded};
use crate::tunnel::{Doorstep, Tunnel};
use crate::upload::Fate;

/// The port of https: the only one that tunnels lead to.
const TUNNEL_PORT: u16 = 443;

/// Beginnings of protocols that are another version of HTTP, or its encryption, on this hop: who let them through was
/// walked past (h2c smuggling). A server may ignore any `Upgrade` (RFC 9110 section 7.8), and so may we.
const NEVER_SWITCHED_TO: [&[u8]; 3] = [b"h2", b"http", b"tls"];

/// Passes requests by the store.
pub(crate) struct Relayer {
    origin: Arc<dyn Relay>,
    connect: Connect,
    tunnels: Arc<Semaphore>,
}

/// One request and what belongs to it.
pub(crate) struct Errand {
    pub(crate) parts: Parts,
    pub(crate) content: Upload,
    pub(crate) fate: Fate,
    /// The client's side of a tunnel.
    pub(crate) near: OnUpgrade,
    /// Where the client connected to.
    pub(crate) local: SocketAddr,
}

/// Whether a request passes by the store.
pub(crate) fn is_relayed(parts: &Parts, has_content: bool) -> bool {
    if parts.method.as_str() == REFUSED {
        return false;
    }
    if parts.method == Method::CONNECT || parts.uri.path() == "*" {
        return true;
    }
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    parts.uri.scheme().is_some() && (!is_read || has_content || protocols(parts).is_some())
}

/// Whether the bytes behind a request wait for its answer (see [`Switch`]).
pub(crate) fn may_switch(parts: &Parts) -> bool {
    parts.method == Method::CONNECT || parts.headers.contains_key(UPGRADE)
}

impl Relayer {
    pub(crate) fn new(origin: Arc<dyn Relay>, connect: Connect) -> Self {
        Self { origin, connect, tunnels: Arc::new(Semaphore::new(TUNNELS_MAX)) }
    }

    /// Answers a request that passes by the store. A tunnel is left on the doorstep.
    ///
    /// # Cancel safety
    /// Dropping the future ends the exchange with the origin.
    pub(crate) async fn answer(
        &self,
        answerer: &Answerer,
        errand: Errand,
        switch: &Switch,
        doorstep: &Doorstep,
    ) -> Answered {
        let Errand { mut parts, content, fate, near, local } = errand;
        let scope = if parts.method.as_str() == SITE_OPTIONS { Scope::Site } else { Scope::Resource };
        if scope == Scope::Site {
            parts.method = Method::OPTIONS;
        }
        if parts.method == Method::CONNECT {
            let (far, place) = self.tunnel(answerer, &parts, local).await?;
            switch.open();
            doorstep.put(Tunnel { near, far, place });
            return Ok((Response::new(Body::empty()), Outcome::Passed));
        }
        if parts.method == Method::TRACE {
            return Err(Refusal::Trace);
        }
        let mut headers = fields::for_relay(&parts.headers);
        if parts.method == Method::OPTIONS && ends_here(&parts, &mut headers, answerer, local)? {
            return Ok((options(), Outcome::Page));
        }
        let target = Target::parse(&parts.uri.to_string())?;
        let house = &answerer.house;
        if house.has_seen(&parts.headers) || house.is_own_door(target.host(), target.port(), local) {
            return Err(Refusal::Loop);
        }
        let upgrade = protocols(&parts);
        // A tunnel that could not be kept is not begun.
        let place = upgrade.as_ref().map(|_| self.place()).transpose()?;
        let relayed = Relayed {
            target: target.clone(),
            scope,
            method: parts.method.clone(),
            headers,
            content: content_of(&parts, content),
            upgrade,
        };
        let reply = self.origin.relay(relayed).await;
        let reply =
            reply.map_err(|error| fate.fault().unwrap_or_else(|| Refusal::Origin(Arc::new(error))))?;
        match (reply, place) {
            (Reply::Answer(answer), _) => {
                for outdated in invalidated(&parts.method, &target, answer.status, &answer.headers) {
                    answerer.fetcher.invalidate(&outdated).await;
                }
                debug!(host = target.host(), status = answer.status.as_u16(), "relayed");
                Ok((answered(&parts.method, answer), Outcome::Passed))
            }
            (Reply::Switched(Switched { headers, upgrade, stream }), Some(place)) => {
                switch.open();
                doorstep.put(Tunnel { near, far: stream, place });
                Ok((switching(headers, upgrade), Outcome::Passed))
            }
            (Reply::Switched(_), None) => {
                let what = "an upgrade that was not asked for";
                Err(Refusal::Origin(Arc::new(AskError::Nonsense(target.authority(), what))))
            }
        }
    }

    async fn tunnel(
        &self,
        answerer: &Answerer,
        parts: &Parts,
        local: SocketAddr,
    ) -> Result<(Box<dyn kith_fetch::relay::Duplex>, OwnedSemaphorePermit), Refusal> {
        if self.connect == Connect::Off {
            return Err(Refusal::Tunnel);
        }
        let host = parts.uri.host().unwrap_or_default();
        if parts.uri.port_u16() != Some(TUNNEL_PORT) || host.is_empty() {
            return Err(Refusal::TunnelPort);
        }
        if answerer.house.has_seen(&parts.headers) || answerer.house.is_own_door(host, TUNNEL_PORT, local) {
            return Err(Refusal::Loop);
        }
        let place = self.place()?;
        let far = self.origin.tunnel(host.to_owned(), TUNNEL_PORT).await;
        Ok((far.map_err(|error| Refusal::Origin(Arc::new(error)))?, place))
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.tunnels).try_acquire_owned().map_err(|_| Refusal::Tunnels)
    }
}

/// The protocols that a request may be switched to: it asks by both fields (RFC 9110 section 7.8), is a GET without
/// content, and means none of [`NEVER_SWITCHED_TO`].
fn protocols(parts: &Parts) -> Option<HeaderValue> {
    let plain = parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && parts.uri.scheme().is_some()
        && !parts.headers.contains_key(TRANSFER_ENCODING)
        && !parts.headers.contains_key(CONTENT_LENGTH);
    let named = members(&parts.headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case(b"upgrade"));
    if !plain || !named {
        return None;
    }
    let wanted = members(&parts.headers, &UPGRADE).filter(|protocol| {
        let protocol = protocol.to_ascii_lowercase();
        !protocol.is_empty() && !NEVER_SWITCHED_TO.iter().any(|never| protocol.starts_with(never))
    });
    let wanted = wanted.collect::<Vec<_>>().join(&b", "[..]);
    HeaderValue::from_bytes(&wanted).ok().filter(|value| !value.is_empty())
}

fn members<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

fn content_of(parts: &Parts, bytes: Upload) -> Option<Content> {
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let framed = length.is_some() || parts.headers.contains_key(TRANSFER_ENCODING);
    let waits = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    // RFC 9110 section 10.1.1: an expectation in HTTP/1.0, or without content, means nothing.
    let expects_continue = parts.version == Version::HTTP_11
        && length != Some(0)
        && parts.headers.get_all(EXPECT).iter().any(waits);
    framed.then_some(Content { length, expects_continue, bytes })
}

/// Whether OPTIONS is for us: `*`, or a chain of proxies that ends here (RFC 9110 section 7.6.2). Counts down else.
fn ends_here(
    parts: &Parts,
    headers: &mut HeaderMap,
    answerer: &Answerer,
    local: SocketAddr,
) -> Result<bool, Refusal> {
    if parts.uri.path() == "*" {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let ours = answerer.house.is_ours(crate::house::without_port(host), local.ip());
        return if ours { Ok(true) } else { Err(Refusal::Host) };
    }
    let Some(forwards) = headers.get(MAX_FORWARDS) else { return Ok(false) };
    let left = forwards.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let left: u32 = left.and_then(|text| text.parse().ok()).ok_or(Refusal::MaxForwards)?;
    let Some(fewer) = left.checked_sub(1) else { return Ok(true) };
    headers.insert(MAX_FORWARDS, HeaderValue::from(fewer));
    Ok(false)
}

fn options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(PROXY_METHODS));
    response.headers_mut().insert(VIA, HeaderValue::from_static("1.1 kith"));
    response
}

fn answered(method: &Method, answer: Answer) -> Response<Body> {
    let Answer { status, headers, length, body } = answer;
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let forwarded = if is_read { Forwarded::Bypass } else { Forwarded::Method };
    let headers = respond::site_fields(headers, Door::Proxy, CacheStatus::Passed { forwarded, status }, None);
    let verb = if *method == Method::HEAD { Verb::Head } else { Verb::Get };
    let bare = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let left = if bare { Some(0) } else { length };
    respond::passed(status, headers, length, verb, Body::passing(body, 0, left))
}

fn switching(mut headers: HeaderMap, upgrade: HeaderValue) -> Response<Body> {
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, upgrade);
    headers.append(VIA, HeaderValue::from_static("1.1 kith"));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(method: &str, url: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn only_the_proxy_form_and_only_what_no_store_answers_passes_by() {
        let switch = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        for (method, url, fields, has_content, expected) in [
            ("GET", "http://a.test/", &[][..], false, false),
            ("HEAD", "http://a.test/", &[], false, false),
            ("GET", "http://a.test/", &[], true, true),
            ("GET", "http://a.test/", &switch, false, true),
            ("GET", "http://a.test/", &switch[1..], false, false),
            ("POST", "http://a.test/", &[], false, true),
            ("BREW", "http://a.test/", &[], false, true),
            ("POST", "/http://a.test/", &[], true, false),
            ("GET", "/http://a.test/", &switch, false, false),
            ("OPTIONS", "*", &[], false, true),
            ("CONNECT", "a.test:443", &[], false, true),
            (REFUSED, "/1", &[], false, false),
        ] {
            assert_eq!(
                is_relayed(&parts(method, url, fields), has_content),
                expected,
                "{method} {url} {fields:?}"
            );
        }
    }

    #[test]
    fn no_request_is_switched_to_another_version_of_http() {
        for (asked, expected) in [
            ("websocket", Some("websocket")),
            ("h2c", None),
            ("HTTP/2.0", None),
            ("TLS/1.2", None),
            ("h2c, websocket, foo/1", Some("websocket, foo/1")),
            ("", None),
        ] {
            let parts = parts("GET", "http://a.test/", &[("connection", "upgrade"), ("upgrade", asked)]);
            assert_eq!(protocols(&parts).as_ref().and_then(|value| value.to_str().ok()), expected, "{asked}");
        }
        let content = [("connection", "upgrade"), ("upgrade", "websocket"), ("content-length", "5")];
        assert_eq!(protocols(&parts("GET", "http://a.test/", &content)), None);
        assert_eq!(protocols(&parts("POST", "http://a.test/", &content[..2])), None);
    }
}
