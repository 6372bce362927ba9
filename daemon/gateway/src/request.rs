//! From a request's head to a [`Demand`]: what the client wants, in our own types. Behind this door there is no raw
//! URL and no raw field that means anything to us.
//!
//! Pure, but for asking the [`House`] which names are ours. Fetches nothing and decides nothing about freshness.

use std::net::SocketAddr;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use http::header::{ACCEPT, HOST, RANGE};
use http::{HeaderMap, HeaderValue, Method, Uri};
use kith_fetch::ask::{Redirects, Verb};
use kith_fetch::wish::{ByteWish, Company};
use kith_model::key::Target;
use kith_model::ladder::{Algorithm, Digest};
use kith_model::limits::NAME_BYTES_MAX;
use kith_model::object::ObjectId;

use crate::conditions::Conditions;
use crate::fields;
use crate::house::{House, without_port};
use crate::metalink;
use crate::range;
use crate::refusal::{Refusal, Tongue};
use crate::visitor::{self, Visit};

/// By which door a URL came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Forward proxy: absolute form.
    Proxy,
    /// The URL stands behind our own name: all sites share one origin in a browser.
    Prefix,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A resource of an origin.
    Url(Target, Door),
    /// The metalink of what a URL answers with.
    Metalink(Target),
    /// A stored object.
    Object(ObjectId, Option<FileName>),
    /// A stored object, by another of its names.
    Digest(Digest, Option<FileName>),
    /// A page of ours.
    Page(Page),
}

/// Our own pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// `/`
    Home,
    /// `/?url=..`: the form of that page sends people on to the prefix form of what they typed.
    Go(Target),
    /// Instead of what was asked for: a link to it, for who came from another site's page.
    Link(String),
    /// `/proxy.pac`
    Pac,
    /// `/.well-known/pvd`
    ProvisioningDomain,
    /// `/.well-known/kith`
    WellKnown,
}

/// What a client wants, parsed.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    pub(crate) verb: Verb,
    pub(crate) what: What,
    /// End-to-end fields for the origin, without conditions and ranges.
    pub(crate) headers: HeaderMap,
    pub(crate) conditions: Conditions,
    pub(crate) range: Option<ByteWish>,
    pub(crate) company: Company,
    pub(crate) redirects: Redirects,
}

/// A name for a file, for display only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileName(String);

impl FileName {
    /// The last part of a path, without what has a meaning to shells, browsers or file systems.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let last = text.rsplit(['/', '\\']).next().unwrap_or_default();
        let mut name: String = last.chars().filter(|letter| !letter.is_control()).collect();
        while name.len() > NAME_BYTES_MAX {
            name.pop();
        }
        (!name.is_empty() && name != "." && name != "..").then_some(Self(name))
    }

    /// The name itself.
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// RFC 6266: a plain form for old clients and the right one.
    pub(crate) fn disposition(&self) -> HeaderValue {
        let plain: String = self
            .0
            .chars()
            .map(|letter| {
                let safe = letter.is_ascii_graphic() && !matches!(letter, '"' | '\\' | '%');
                if safe || letter == ' ' { letter } else { '_' }
            })
            .collect();
        let escaped: String = self.0.bytes().map(percent).collect();
        HeaderValue::from_str(&format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{escaped}"))
            .unwrap_or(HeaderValue::from_static("attachment"))
    }
}

/// RFC 8187 section 3.2.1.
fn percent(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// The language of errors for whoever sent this request.
pub(crate) fn tongue(headers: &HeaderMap) -> Tongue {
    let json = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("application/json"));
    if headers.get_all(ACCEPT).iter().any(json) { Tongue::Json } else { Tongue::Text }
}

/// Parses a request that came to `local`.
pub(crate) fn parse(
    method: &Method,
    uri: &Uri,
    mut headers: HeaderMap,
    house: &House,
    local: SocketAddr,
) -> Result<Demand, Refusal> {
    let verb = match *method {
        Method::GET => Verb::Get,
        Method::HEAD => Verb::Head,
        Method::CONNECT => return Err(Refusal::Tunnel),
        _ => return Err(Refusal::Method),
    };
    let mut what = what(uri, &headers, house, local)?;
    if house.has_seen(&headers) {
        return Err(Refusal::Loop);
    }
    if let What::Url(target, _) = &what
        && house.is_own_door(target.host(), target.port(), local)
    {
        return Err(Refusal::Loop);
    }
    let door = if let What::Url(_, door) = &what { *door } else { Door::Prefix };
    if door == Door::Prefix && !matches!(what, What::Page(_)) {
        let is_ours = |authority: &str| house.is_ours(without_port(authority), local.ip());
        match visitor::judge(&headers, is_ours)? {
            Visit::Welcome => {}
            Visit::AskFirst => what = What::Page(Page::Link(uri.to_string())),
        }
    }
    let redirects = redirects(door, &headers);
    let conditions = Conditions::take(&mut headers);
    // RFC 9110 section 14.2: a Range means nothing with other methods.
    let range = headers.get(RANGE).filter(|_| verb == Verb::Get).and_then(range::parse);
    let (headers, company) = fields::for_origin(headers, door);
    Ok(Demand { verb, what, headers, conditions, range, company, redirects })
}

/// A browser behind the prefix follows redirects itself: links in a page are relative to where it ended. For programs
/// the box follows, so that they get the file by any of its names.
fn redirects(door: Door, headers: &HeaderMap) -> Redirects {
    match door {
        Door::Prefix if !visitor::is_navigation(headers) => Redirects::Follow,
        Door::Prefix | Door::Proxy => Redirects::HandBack,
    }
}

fn what(uri: &Uri, headers: &HeaderMap, house: &House, local: SocketAddr) -> Result<What, Refusal> {
    if uri.scheme().is_some() {
        // RFC 9112 section 3.2.2: the URL's authority wins over the Host field.
        return Ok(What::Url(Target::parse(&uri.to_string())?, Door::Proxy));
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map(without_port);
    if !host.is_some_and(|host| house.is_ours(host, local.ip())) {
        return Err(Refusal::Host);
    }
    let path = uri.path();
    if let Some(url) = prefixed(uri) {
        let target = Target::parse(&url?)?;
        let described = metalink::subject(&target);
        return Ok(described.map_or_else(|| What::Url(target, Door::Prefix), What::Metalink));
    }
    let page = match path {
        "/" => home(uri.query())?,
        "/proxy.pac" => Page::Pac,
        "/.well-known/pvd" => Page::ProvisioningDomain,
        "/.well-known/kith" => Page::WellKnown,
        _ => return named(path, uri.query()),
    };
    Ok(What::Page(page))
}

/// The page, or where its form leads. What is typed without a scheme is a website's address all the same.
fn home(query: Option<&str>) -> Result<Page, Refusal> {
    let Some(typed) = parameter(query, "url") else { return Ok(Page::Home) };
    let typed = typed.trim();
    let scheme = if typed.contains("://") { "" } else { "https://" };
    Ok(Page::Go(Target::parse(&format!("{scheme}{typed}"))?))
}

/// The first value of a parameter in a query.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query?.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The URL of the prefix form, with one slash after the colon or two: some clients merge them.
fn prefixed(uri: &Uri) -> Option<Result<String, Refusal>> {
    let text = uri.path_and_query()?.as_str().strip_prefix('/')?;
    let (scheme, rest) = ["https", "http"].into_iter().find_map(|scheme| {
        let head = text.get(..scheme.len())?;
        let rest = after_colon(&text[scheme.len()..])?.strip_prefix('/')?;
        head.eq_ignore_ascii_case(scheme).then_some((scheme, rest))
    })?;
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    // More slashes would be skipped by the URL parser, and a path would become a host.
    if rest.starts_with(['/', '\\', '?']) || rest.is_empty() {
        return Some(Err(Refusal::Target(kith_model::key::TargetError::Host)));
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    Some(Ok(format!("{scheme}://{}{path}", with_colons(authority))))
}

/// What stands behind a colon. Some clients, pip among them, escape the one of a scheme that stands in a path.
fn after_colon(text: &str) -> Option<&str> {
    [":", "%3A", "%3a"].into_iter().find_map(|colon| text.strip_prefix(colon))
}

/// The same clients escape the one before a port.
fn with_colons(authority: &str) -> String {
    authority.replace("%3A", ":").replace("%3a", ":")
}

/// Objects by hash: `/b3/..`, `/sha256/..` and RFC 6920.
fn named(path: &str, query: Option<&str>) -> Result<What, Refusal> {
    let name = || parameter(query, "name").and_then(|name| FileName::new(&name));
    if let Some(hash) = path.strip_prefix("/b3/") {
        return Ok(What::Object(hash.parse().map_err(|_| Refusal::Name)?, name()));
    }
    let bytes = if let Some(hash) = path.strip_prefix("/sha256/") {
        HEXLOWER_PERMISSIVE.decode(hash.as_bytes()).map_err(|_| Refusal::Name)?
    } else if let Some(hash) = path.strip_prefix("/.well-known/ni/sha-256/") {
        BASE64URL_NOPAD.decode(hash.as_bytes()).map_err(|_| Refusal::Name)?
    } else {
        return Err(Refusal::Path);
    };
    Ok(What::Digest(Digest::new(Algorithm::Sha256, &bytes).ok_or(Refusal::Name)?, name()))
}

#[cfg(test)]
mod tests;
