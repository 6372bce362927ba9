//! What a stored response is filed under: scheme, host, port, path, query and variant, and nothing less.
//!
//! A [`Target`] can be made only by [`Target::parse`], so two spellings of one URL are one key, and no key lacks
//! its host or scheme (RFC 9111 section 2; other caches were poisoned through shorter keys).

use std::fmt;

use url::Url;

/// Longest URL in bytes that is looked at; the reason stands in `LIMITS.md`: request heads are bounded.
pub const URL_BYTES_MAX: usize = crate::limits::URL_BYTES_MAX;

/// How the origin is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port when the URL names none.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// A canonical absolute http or https URL without userinfo and fragment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    url: Url,
}

/// Why a text is no target. The asker's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Longer than [`URL_BYTES_MAX`].
    #[error("the URL is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// Not a URL at all.
    #[error("this is not an absolute URL")]
    Malformed,
    /// Neither http nor https.
    #[error("only http and https URLs can be fetched")]
    Scheme,
    /// `user:password@` (RFC 9110 section 4.2.4: a recipient should refuse it).
    #[error("URLs with a user name or password are refused")]
    Userinfo,
    /// Nothing where the host should be.
    #[error("the URL has no host")]
    Host,
}

impl Target {
    /// Parses and normalises: host in lower case and ASCII (IDNA), default port removed, dot segments resolved,
    /// fragment dropped (RFC 3986 section 6.2).
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.len() > URL_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        // The URL standard trims and skips some control characters; in a request they are somebody's trick.
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(TargetError::Malformed);
        }
        let mut url = Url::parse(text).map_err(|_| TargetError::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Userinfo);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(TargetError::Host);
        }
        url.set_fragment(None);
        Ok(Self { url })
    }

    /// Resolves a reference such as a `Location` against this URL (RFC 3986 section 5).
    pub fn join(&self, reference: &str) -> Result<Self, TargetError> {
        if reference.len() > URL_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        let url = self.url.join(reference).map_err(|_| TargetError::Malformed)?;
        Self::parse(url.as_str())
    }

    /// http or https.
    pub fn scheme(&self) -> Scheme {
        if self.url.scheme() == "https" { Scheme::Https } else { Scheme::Http }
    }

    /// The host, without brackets around an IPv6 address.
    pub fn host(&self) -> &str {
        let host = self.url.host_str().unwrap_or_default();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port, also when the URL leaves it out.
    pub fn port(&self) -> u16 {
        self.url.port().unwrap_or_else(|| self.scheme().default_port())
    }

    /// Host and, when it is not the scheme's own, port: the value of a `Host` field.
    pub fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The path; at least `/`.
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// What follows the question mark.
    pub fn query(&self) -> Option<&str> {
        self.url.query()
    }

    /// Path and query as they stand in a request line.
    pub fn path_and_query(&self) -> &str {
        &self.url[url::Position::BeforePath..url::Position::AfterQuery]
    }

    /// The whole canonical URL.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.url)
    }
}

/// Which of several representations of a target: a hash over the selecting request fields that the response's
/// `Vary` names (RFC 9111 section 4.1). All zero when the response does not vary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Variant([u8; 16]);

impl Variant {
    /// The only representation of a target that does not vary.
    pub const ONLY: Variant = Variant([0; 16]);

    /// Hashes the selecting fields, given as (name in lower case, normalised value) in the order of their names.
    pub fn of<'a>(selecting: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("kith 2026 cache key variant");
        let mut any = false;
        for (name, value) in selecting {
            any = true;
            for part in [name.as_bytes(), value] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        if !any {
            return Self::ONLY;
        }
        let mut out = [0; 16];
        hasher.finalize_xof().fill(&mut out);
        Self(out)
    }

    /// As stored.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// As stored.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// The key of a stored response.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey {
    /// Scheme, host, port, path and query.
    pub target: Target,
    /// Which representation of it.
    pub variant: Variant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_url_are_one_target() {
        let canonical = Target::parse("http://example.com/a/c?q=1").expect("plain");
        for spelling in [
            "HTTP://EXAMPLE.com:80/a/c?q=1",
            "http://example.com/a/b/../c?q=1#part",
            "http://example.com/./a/c?q=1",
        ] {
            assert_eq!(Target::parse(spelling).as_ref(), Ok(&canonical), "{spelling}");
        }
        assert_eq!(canonical.authority(), "example.com");
        assert_eq!(canonical.path_and_query(), "/a/c?q=1");
        assert_eq!((canonical.host(), canonical.port()), ("example.com", 80));
    }

    #[test]
    fn each_part_of_the_key_counts() {
        let all = [
            "http://example.com/a",
            "https://example.com/a",
            "http://example.org/a",
            "http://example.com:81/a",
            "http://example.com/A",
            "http://example.com/a?",
            "http://example.com/a?b",
        ];
        let targets: std::collections::BTreeSet<_> =
            all.iter().map(|url| Target::parse(url).expect(url)).collect();
        assert_eq!(targets.len(), all.len());
    }

    #[test]
    fn what_is_no_target_is_refused_with_its_reason() {
        let long = format!("http://example.com/{}", "a".repeat(URL_BYTES_MAX));
        for (text, expected) in [
            ("ftp://example.com/", TargetError::Scheme),
            ("http://user@example.com/", TargetError::Userinfo),
            ("http://user:secret@example.com/", TargetError::Userinfo),
            ("http://", TargetError::Malformed),
            ("/just/a/path", TargetError::Malformed),
            ("http://exa mple.com/", TargetError::Malformed),
            ("http://example.com/\r\nX: y", TargetError::Malformed),
            (long.as_str(), TargetError::TooLong),
        ] {
            assert_eq!(Target::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn an_ipv6_host_loses_its_brackets_but_not_in_the_authority() {
        let target = Target::parse("https://[::1]:8443/x").expect("valid");
        assert_eq!((target.host(), target.port()), ("::1", 8443));
        assert_eq!(target.authority(), "[::1]:8443");
    }

    #[test]
    fn variants_differ_by_name_and_value_and_not_by_their_seam() {
        let variant = |pairs: &[(&str, &str)]| Variant::of(pairs.iter().map(|(n, v)| (*n, v.as_bytes())));
        assert_eq!(variant(&[]), Variant::ONLY);
        assert_ne!(variant(&[("accept-encoding", "gzip")]), variant(&[("accept-encoding", "")]));
        assert_ne!(variant(&[("a", "bc")]), variant(&[("ab", "c")]));
    }
}
