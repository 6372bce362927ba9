//! `Cache-Control` (RFC 9111 section 5.2), bounded and read strictly where that stores less.
//!
//! Repeated fields count as one list; quoted arguments may hold commas; a semicolon separates like a comma, so that
//! no prohibition hides behind one. A number that is none is the most cautious number. Of two values of one
//! directive the more cautious counts (section 4.2.1).

use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

use crate::limits::{CACHE_CONTROL_BYTES_MAX, CACHE_CONTROL_DIRECTIVES_MAX};

/// The largest number of seconds that is told apart (RFC 9111 section 1.2.2).
pub(super) const DELTA_MAX: Duration = Duration::from_secs(1 << 31);

/// A directive that is there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Sections 5.2.1.5 and 5.2.2.5.
    NoStore,
    /// Sections 5.2.1.4 and 5.2.2.4. The form that names fields counts for the whole response, as the section allows.
    NoCache,
    /// Section 5.2.2.7. The form that names fields counts for the whole response, as the section allows.
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
}

impl CacheControl {
    /// Of a request. `Pragma: no-cache` counts when there is no `Cache-Control` (section 5.4).
    pub fn of_request(headers: &HeaderMap) -> Self {
        let mut control = Self::of_response(headers);
        let pragma = || headers.get_all(PRAGMA).iter().any(|value| contains(value.as_bytes(), b"no-cache"));
        if !headers.contains_key(CACHE_CONTROL) && pragma() {
            control.set(Directive::NoCache);
        }
        control
    }

    /// Of a response.
    pub fn of_response(headers: &HeaderMap) -> Self {
        let values = || headers.get_all(CACHE_CONTROL).iter().map(http::HeaderValue::as_bytes);
        if values().map(<[u8]>::len).sum::<usize>() > CACHE_CONTROL_BYTES_MAX {
            return Self::forbidding();
        }
        let mut control = Self::default();
        for (count, directive) in values().flat_map(Directives).enumerate() {
            if count == CACHE_CONTROL_DIRECTIVES_MAX {
                return Self::forbidding();
            }
            control.take(directive);
        }
        control
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
        let (name, argument) = split(directive);
        if let Some((flag, _)) = NAMES.iter().find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes())) {
            self.set(*flag);
            return;
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let at_most = |slot: &mut Option<Duration>, value: Duration| {
            *slot = Some(slot.map_or(value, |known| known.min(value)));
        };
        if is("max-age") {
            at_most(&mut self.max_age, argument.seconds().unwrap_or(Duration::ZERO));
        } else if is("s-maxage") {
            at_most(&mut self.s_maxage, argument.seconds().unwrap_or(Duration::ZERO));
        } else if is("stale-if-error") {
            at_most(&mut self.stale_if_error, argument.seconds().unwrap_or(Duration::ZERO));
        } else if is("max-stale") {
            let any = matches!(argument, Argument::Absent).then_some(DELTA_MAX);
            at_most(&mut self.max_stale, any.or(argument.seconds()).unwrap_or(Duration::ZERO));
        } else if is("min-fresh") {
            let value = argument.seconds().unwrap_or(DELTA_MAX);
            self.min_fresh = Some(self.min_fresh.map_or(value, |known| known.max(value)));
        }
    }
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
