//! `Cache-Control` (RFC 9111 section 5.2), bounded and read strictly where that stores less.
//!
//! Repeated fields count as one list; quoted arguments may hold commas; a semicolon separates like a comma, so that
//! no prohibition hides behind one. A number that is none is the most cautious number. Of two values of one
//! directive the more cautious counts (section 4.2.1). A `CDN-Cache-Control` that can be read takes the field's place
//! (RFC 9213 section 2.2).

use std::fmt;
use std::time::Duration;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName};

use super::targeted::{self, Value};
use crate::limits::{CACHE_CONTROL_BYTES_MAX, CACHE_CONTROL_DIRECTIVES_MAX};

/// The largest number of seconds that is told apart (RFC 9111 section 1.2.2).
pub(super) const DELTA_MAX: Duration = Duration::from_secs(1 << 31);

/// A directive that is there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Sections 5.2.1.5 and 5.2.2.5.
    NoStore,
    /// Sections 5.2.1.4 and 5.2.2.4. The form that names fields is another matter: it keeps them out of what is stored.
    NoCache,
    /// Section 5.2.2.7. The form that names fields is another matter: it keeps them out of what is stored.
    Private,
    /// Section 5.2.2.9.
    Public,
    /// Section 5.2.2.2.
    MustRevalidate,
    /// Section 5.2.2.8.
    ProxyRevalidate,
    /// Section 5.2.2.3.
    MustUnderstand,
    /// Sections 5.2.1.6 and 5.2.2.6.
    NoTransform,
    /// Section 5.2.1.7.
    OnlyIfCached,
    /// RFC 8246.
    Immutable,
}

const NAMES: [(Directive, &str); 10] = [
    (Directive::NoStore, "no-store"),
    (Directive::NoCache, "no-cache"),
    (Directive::Private, "private"),
    (Directive::Public, "public"),
    (Directive::MustRevalidate, "must-revalidate"),
    (Directive::ProxyRevalidate, "proxy-revalidate"),
    (Directive::MustUnderstand, "must-understand"),
    (Directive::NoTransform, "no-transform"),
    (Directive::OnlyIfCached, "only-if-cached"),
    (Directive::Immutable, "immutable"),
];

/// The directives of a message. Durations are whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    flags: u16,
    /// Sections 5.2.1.1 and 5.2.2.1.
    pub max_age: Option<Duration>,
    /// Section 5.2.2.10, for shared caches.
    pub s_maxage: Option<Duration>,
    /// Section 5.2.1.3.
    pub min_fresh: Option<Duration>,
    /// Section 5.2.1.2.
    pub max_stale: Option<Duration>,
    /// RFC 5861 section 4.
    pub stale_if_error: Option<Duration>,
    /// RFC 5861 section 3.
    pub stale_while_revalidate: Option<Duration>,
    /// A targeted field said all this: `Expires` does not count then (RFC 9213 section 2.2).
    pub targeted: bool,
}

impl CacheControl {
    /// Of a request. `Pragma: no-cache` counts when there is no `Cache-Control` (section 5.4).
    pub fn of_request(headers: &HeaderMap) -> Self {
        let mut control = Self::plain(headers);
        let pragma = || headers.get_all(PRAGMA).iter().any(|value| contains(value.as_bytes(), b"no-cache"));
        if !headers.contains_key(CACHE_CONTROL) && pragma() {
            control.set(Directive::NoCache);
        }
        control
    }

    /// Of a response: of its targeted field when that can be read, else of `Cache-Control`.
    pub fn of_response(headers: &HeaderMap) -> Self {
        targeted::members(headers).map_or_else(|| Self::plain(headers), |members| Self::of_members(&members))
    }

    /// Of the field `Cache-Control` alone: what is said to every cache.
    pub fn plain(headers: &HeaderMap) -> Self {
        let Some(directives) = directives(headers) else { return Self::forbidding() };
        let mut control = Self::default();
        for directive in directives {
            control.take(directive);
        }
        control
    }

    /// A number of another type is as if it were not there; a prohibition counts whatever is said with it.
    fn of_members(members: &[(String, Value)]) -> Self {
        let mut control = Self { targeted: true, ..Self::default() };
        for (name, value) in members {
            if let Value::Integer(seconds) = value
                && let Some(slot) = control.span(name)
            {
                let seconds = Duration::from_secs(u64::try_from(*seconds).unwrap_or(0));
                *slot = Some(seconds.min(DELTA_MAX));
            }
            if let Some((flag, _)) = NAMES.iter().find(|(_, known)| known == name)
                && *value != Value::No
            {
                control.set(*flag);
            }
        }
        control
    }

    /// Where the seconds of a directive of responses are kept.
    fn span(&mut self, name: &str) -> Option<&mut Option<Duration>> {
        match name {
            "max-age" => Some(&mut self.max_age),
            "s-maxage" => Some(&mut self.s_maxage),
            "stale-if-error" => Some(&mut self.stale_if_error),
            "stale-while-revalidate" => Some(&mut self.stale_while_revalidate),
            _ => None,
        }
    }

    /// Whether the directive is there.
    pub fn has(&self, directive: Directive) -> bool {
        self.flags & bit(directive) != 0
    }

    /// Whether this response must not be served stale by a shared cache (section 4.2.4; `s-maxage` implies
    /// `proxy-revalidate`, section 5.2.2.10).
    pub fn forbids_stale(&self) -> bool {
        self.has(Directive::NoCache)
            || self.has(Directive::MustRevalidate)
            || self.has(Directive::ProxyRevalidate)
            || self.s_maxage.is_some()
    }

    /// What is read into a field that goes on for ever: store nothing, reuse nothing.
    fn forbidding() -> Self {
        let mut control = Self::default();
        control.set(Directive::NoStore);
        control.set(Directive::NoCache);
        control
    }

    fn set(&mut self, directive: Directive) {
        self.flags |= bit(directive);
    }

    fn take(&mut self, directive: &[u8]) {
        if names_fields(directive).is_some() {
            return;
        }
        let (name, argument) = split(directive);
        if let Some((flag, _)) = NAMES.iter().find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes())) {
            self.set(*flag);
            return;
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if let Some(slot) = self.span(&name) {
            let value = argument.seconds().unwrap_or(Duration::ZERO);
            *slot = Some(slot.map_or(value, |known| known.min(value)));
        } else if name == "max-stale" {
            let any = matches!(argument, Argument::Absent).then_some(DELTA_MAX);
            let value = any.or(argument.seconds()).unwrap_or(Duration::ZERO);
            self.max_stale = Some(self.max_stale.map_or(value, |known| known.min(value)));
        } else if name == "min-fresh" {
            let value = argument.seconds().unwrap_or(DELTA_MAX);
            self.min_fresh = Some(self.min_fresh.map_or(value, |known| known.max(value)));
        }
    }
}

/// The fields that `private="..."` and `no-cache="..."` name (sections 5.2.2.4 and 5.2.2.7): what is said of them is
/// not said of the rest of the response.
pub(super) fn named_fields(headers: &HeaderMap) -> Vec<HeaderName> {
    directives(headers).into_iter().flatten().filter_map(names_fields).flatten().collect()
}

/// Whether a part of the response is for one person only.
pub(crate) fn is_partly_private(headers: &HeaderMap) -> bool {
    let is_private =
        |directive: &[u8]| directive.get(..7).is_some_and(|name| name.eq_ignore_ascii_case(b"private"));
    directives(headers)
        .into_iter()
        .flatten()
        .any(|directive| is_private(directive) && names_fields(directive).is_some())
}

/// The directives of `Cache-Control`; nothing when they go on for ever.
fn directives(headers: &HeaderMap) -> Option<Vec<&[u8]>> {
    let values = || headers.get_all(CACHE_CONTROL).iter().map(http::HeaderValue::as_bytes);
    if values().map(<[u8]>::len).sum::<usize>() > CACHE_CONTROL_BYTES_MAX {
        return None;
    }
    let directives: Vec<_> = values().flat_map(Directives).take(CACHE_CONTROL_DIRECTIVES_MAX + 1).collect();
    (directives.len() <= CACHE_CONTROL_DIRECTIVES_MAX).then_some(directives)
}

/// The fields that a directive is about; nothing when it is about the whole, or names what is no field: then the
/// whole is meant, to be on the safe side.
fn names_fields(directive: &[u8]) -> Option<Vec<HeaderName>> {
    let equals = directive.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&directive[..equals], &directive[equals + 1..]);
    if !name.eq_ignore_ascii_case(b"private") && !name.eq_ignore_ascii_case(b"no-cache") {
        return None;
    }
    let list = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""))?;
    let names = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
    let names: Vec<_> = names.map(HeaderName::from_bytes).collect::<Result<_, _>>().ok()?;
    (!names.is_empty()).then_some(names)
}

impl fmt::Display for CacheControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = NAMES.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| (*name).to_owned());
        let numbers = [
            ("max-age", self.max_age),
            ("s-maxage", self.s_maxage),
            ("min-fresh", self.min_fresh),
            ("max-stale", self.max_stale),
            ("stale-if-error", self.stale_if_error),
            ("stale-while-revalidate", self.stale_while_revalidate),
        ];
        let numbers =
            numbers.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?.as_secs())));
        f.write_str(&flags.chain(numbers).collect::<Vec<_>>().join(", "))
    }
}

fn bit(directive: Directive) -> u16 {
    1 << directive as u16
}

fn contains(value: &[u8], token: &[u8]) -> bool {
    Directives(value).any(|directive| split(directive).0.eq_ignore_ascii_case(token))
}

/// What follows the equals sign.
#[derive(Clone, Copy)]
enum Argument {
    Absent,
    Seconds(Duration),
    Other,
}

impl Argument {
    fn seconds(self) -> Option<Duration> {
        if let Argument::Seconds(seconds) = self { Some(seconds) } else { None }
    }
}

/// Name and argument. Space around the equals sign is no part of the grammar: the name still counts, the number not.
fn split(directive: &[u8]) -> (&[u8], Argument) {
    let Some(equals) = directive.iter().position(|byte| *byte == b'=') else {
        return (directive, Argument::Absent);
    };
    let (name, value) = (&directive[..equals], &directive[equals + 1..]);
    let trimmed = name.trim_ascii_end();
    if trimmed.len() != name.len() {
        return (trimmed, Argument::Other);
    }
    let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    (name, delta_seconds(value).map_or(Argument::Other, Argument::Seconds))
}

/// RFC 9111 section 1.2.2: digits only; what is too large for anybody is 2^31.
pub(super) fn delta_seconds(digits: &[u8]) -> Option<Duration> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = digits
        .iter()
        .fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(*digit - b'0')));
    Some(Duration::from_secs(seconds).min(DELTA_MAX))
}

/// The members of a list, trimmed, without empty ones; separators inside quotes do not count.
struct Directives<'a>(&'a [u8]);

impl<'a> Iterator for Directives<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.0.is_empty() {
            let end = member_len(self.0);
            let member = self.0[..end].trim_ascii();
            self.0 = self.0.get(end + 1..).unwrap_or_default();
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    }
}

fn member_len(list: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in list.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b';' if !quoted => return at,
            _ => {}
        }
    }
    list.len()
}
