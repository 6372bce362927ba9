//! Pages of our own: how to use this box, for people and for programs.
//!
//! Addresses in them are those by which the client reached us, and nothing a client sent comes back unescaped. No page
//! has a script, and none may be framed or embedded by others.

mod home;
mod link;
mod pac;
mod provisioning;

use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use hyper::ext::ReasonPhrase;
use kith_fetch::ask::Verb;
use kith_model::key::Target;
use kith_model::time::UnixMillis;
use serde_json::json;

use crate::body::Body;
use crate::fields::RESOURCE_POLICY;
use crate::request::Page;

const HTML: &str = "text/html; charset=utf-8";

/// By these words apt clients know a proxy for packages on the port that [`About::apt_ports`] lists: apt-cacher-ng
/// says them, and auto-apt-proxy looks for them.
const APT_PROXY: &[u8] = b"Usage Information";

/// Form and style of our own pages; nothing else is loaded, run or framed.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// What pages tell about the box.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) node_id: String,
    /// Where apt looks for a proxy by itself.
    pub(crate) apt_ports: Vec<u16>,
}

/// How a client reached us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached<'a> {
    /// `host:port` for other devices, already known to be ours.
    pub(crate) authority: &'a str,
    /// Our port.
    pub(crate) port: u16,
    pub(crate) now: UnixMillis,
}

/// Renders a page.
pub(crate) fn page(about: &About, page: &Page, reached: Reached<'_>, verb: Verb) -> Response<Body> {
    let authority = reached.authority;
    match page {
        Page::Home => {
            let response = whole(HTML, home::home(about, authority), verb);
            if about.apt_ports.contains(&reached.port) { usage(response) } else { response }
        }
        Page::Go(target) => go(target),
        Page::Link(place) => whole(HTML, link::link(about, place), verb),
        Page::Pac => whole("application/x-ns-proxy-autoconfig", pac::pac(authority), verb),
        Page::ProvisioningDomain => {
            whole("application/pvd+json", provisioning::domain(authority, reached.now), verb)
        }
        Page::WellKnown => whole("application/json", well_known(about, authority), verb),
    }
}

fn whole(kind: &'static str, text: String, verb: Verb) -> Response<Body> {
    let length = text.len();
    let body = if verb == Verb::Head { Body::empty() } else { Body::whole(text.into()) };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

fn usage(mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
    response.extensions_mut().insert(ReasonPhrase::from_static(APT_PROXY));
    response
}

/// On to the prefix form, which is always a place of ours.
fn go(target: &Target) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let place = HeaderValue::from_str(&format!("/{target}")).expect("invariant: a canonical URL is ASCII");
    response.headers_mut().insert(LOCATION, place);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
    response
}

fn well_known(about: &About, authority: &str) -> String {
    json!({
        "name": about.name,
        "version": about.version,
        "node_id": about.node_id,
        "proxy": format!("http://{authority}"),
        "gateway": format!("http://{authority}/"),
    })
    .to_string()
}

/// Puts values into a page: `{{key}}` is replaced, escaped. What a value holds is not looked at again.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let mut page = String::with_capacity(template.len() + 1024);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (key, after) = after.split_once("}}").expect("invariant: our own template");
        let (_, value) = values.iter().find(|(name, _)| *name == key).expect("invariant: our own template");
        page.push_str(before);
        escape(value, &mut page);
        rest = after;
    }
    page.push_str(rest);
    page
}

fn escape(text: &str, escaped: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn about(name: &str) -> About {
        About {
            name: name.to_owned(),
            version: "1".to_owned(),
            node_id: "00".to_owned(),
            apt_ports: vec![3142],
        }
    }

    #[test]
    fn names_and_addresses_cannot_write_into_a_page() {
        let about = about("<u>\"'&{{authority}}");
        for page in
            [home::home(&about, "box:8480\"><i>"), link::link(&about, "/https://a.test/\"><script>'&")]
        {
            assert!(page.contains("&lt;u&gt;&quot;&#39;&amp;{{authority}}"), "{page}");
            assert!(!page.contains("<u>") && !page.contains("<i>") && !page.contains("<script"), "{page}");
        }
        serde_json::from_str::<serde_json::Value>(&well_known(&about, "box:8480")).expect("JSON");
    }

    #[test]
    fn only_where_apt_looks_is_the_page_a_usage_information() {
        for (port, status) in [(8480, 200), (3142, 406)] {
            let reached = Reached { authority: "box:1", port, now: UnixMillis(0) };
            let response = page(&about("den"), &Page::Home, reached, Verb::Get);
            assert_eq!(response.status(), status);
            let reason = response.extensions().get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
            assert_eq!(reason, (port == 3142).then_some(&b"Usage Information"[..]));
        }
    }
}
