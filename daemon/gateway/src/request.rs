//! From a request's head to a [`Demand`]: what the client wants, in our own types. Behind this door there is no raw
//! URL and no raw field that means anything to us.
//!
//! Pure, but for asking the [`House`] which names are ours. Fetches nothing and decides nothing about freshness.

use std::net::SocketAddr;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use http::header::{ACCEPT, HOST, ORIGIN, RANGE, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use kith_fetch::ask::Verb;
use kith_fetch::wish::{ByteWish, Company};
use kith_model::key::Target;
use kith_model::ladder::{Algorithm, Digest};
use kith_model::limits::NAME_BYTES_MAX;
use kith_model::object::ObjectId;

use crate::conditions::Conditions;
use crate::fields;
use crate::house::House;
use crate::range;
use crate::refusal::{Refusal, Tongue};

const SERVICE_WORKER: HeaderName = HeaderName::from_static("service-worker");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

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
    /// A stored object.
    Object(ObjectId, Option<FileName>),
    /// A stored object, by another of its names.
    Digest(Digest, Option<FileName>),
    /// A page of ours.
    Page(Page),
}

/// Our own pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// `/`
    Home,
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
    let what = what(uri, &headers, house, local)?;
    if came_back(&headers) {
        return Err(Refusal::Loop);
    }
    if let What::Url(target, _) = &what
        && house.is_own_door(target.host(), target.port(), local)
    {
        return Err(Refusal::Loop);
    }
    let door = if let What::Url(_, door) = &what { *door } else { Door::Prefix };
    if door == Door::Prefix {
        guard(&what, &headers, house, local)?;
    }
    let conditions = Conditions::take(&mut headers);
    // RFC 9110 section 14.2: a Range means nothing with other methods.
    let range = headers.get(RANGE).filter(|_| verb == Verb::Get).and_then(range::parse);
    let (headers, company) = fields::for_origin(headers, door);
    Ok(Demand { verb, what, headers, conditions, range, company })
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
        return Ok(What::Url(Target::parse(&url?)?, Door::Prefix));
    }
    let page = match path {
        "/" => Page::Home,
        "/proxy.pac" => Page::Pac,
        "/.well-known/pvd" => Page::ProvisioningDomain,
        "/.well-known/kith" => Page::WellKnown,
        _ => return named(path, uri.query()),
    };
    Ok(What::Page(page))
}

/// The URL of the prefix form, with one slash after the colon or two: some clients merge them.
fn prefixed(uri: &Uri) -> Option<Result<String, Refusal>> {
    let text = uri.path_and_query()?.as_str().strip_prefix('/')?;
    let (scheme, rest) = ["https", "http"].into_iter().find_map(|scheme| {
        let head = text.get(..scheme.len())?;
        let rest = text[scheme.len()..].strip_prefix(":/")?;
        head.eq_ignore_ascii_case(scheme).then_some((scheme, rest))
    })?;
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    // More slashes would be skipped by the URL parser, and a path would become a host.
    if rest.starts_with(['/', '\\', '?']) || rest.is_empty() {
        return Some(Err(Refusal::Target(kith_model::key::TargetError::Host)));
    }
    Some(Ok(format!("{scheme}://{rest}")))
}

/// Objects by hash: `/b3/..`, `/sha256/..` and RFC 6920.
fn named(path: &str, query: Option<&str>) -> Result<What, Refusal> {
    let name = || {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        pairs.into_iter().find(|(key, _)| key == "name").and_then(|(_, value)| FileName::new(&value))
    };
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

/// `host` of `host:port` or `[address]:port`.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !unclosed(host) => host,
        _ => authority,
    }
}

/// Whether a colon was found inside of an IPv6 address.
fn unclosed(host: &str) -> bool {
    host.starts_with('[') && !host.ends_with(']')
}

/// Every box signs with `kith` (RFC 9110 section 7.6.3). Boxes ask each other by another protocol, so one in front
/// of another is a mistake too.
fn came_back(headers: &HeaderMap) -> bool {
    let is_kith = |member: &str| {
        member.split_whitespace().nth(1).is_some_and(|received_by| received_by.eq_ignore_ascii_case("kith"))
    };
    let values = headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(is_kith)
}

/// Keeps websites from using the box through their visitors' browsers: to fill its disk, to learn what it holds, or
/// to seize what others load through it. Decides before anything is looked up, so that its no tells nothing.
fn guard(what: &What, headers: &HeaderMap, house: &House, local: SocketAddr) -> Result<(), Refusal> {
    if headers.contains_key(SERVICE_WORKER) {
        return Err(Refusal::ServiceWorker);
    }
    if matches!(what, What::Page(_)) {
        return Ok(());
    }
    let is = |name: &HeaderName, expected: &str| headers.get(name).is_some_and(|value| value == expected);
    // A person who follows a link is welcome; a picture, script or frame of another site is not.
    let navigation = is(&FETCH_MODE, "navigate") && is(&FETCH_DEST, "document");
    if is(&FETCH_SITE, "cross-site") && !navigation {
        return Err(Refusal::CrossSite);
    }
    // Browsers send no Sec-Fetch fields to plain http, but Origin with everything a script may read.
    let foreign = |origin: &HeaderValue| {
        let authority =
            origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
        !authority.is_some_and(|authority| house.is_ours(without_port(authority), local.ip()))
    };
    if headers.get_all(ORIGIN).iter().any(foreign) {
        return Err(Refusal::CrossSite);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
