//! Request heads as bytes: refuses whatever two readers could read in two ways, before any of it is parsed.
//!
//! hyper takes requests without `Host` or with two, bare line feeds, `Content-Length` beside `Transfer-Encoding` and
//! codings it does not know; caches were poisoned and connections taken over through each of these. Everything here
//! is pure: bytes in, verdict out; what follows a head is followed to its end by [`content`]. Knows no socket and no URL beyond its outline; what a request means is
//! told elsewhere.

pub mod content;

use kith_model::limits::{
    REQUEST_HEADERS_BYTES_MAX, REQUEST_HEADERS_COUNT_MAX, REQUEST_LINE_BYTES_MAX, URL_BYTES_MAX,
};

/// What follows a head (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// The next request.
    Request,
    /// Content of this one.
    Content(content::Framing),
    /// The next request, or another protocol: the answer decides.
    Either,
}

/// A head that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What follows it.
    pub follows: Follows,
    /// What it is about.
    pub scope: Scope,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What its target names.
    Resource,
    /// A whole site: OPTIONS with a URL that has neither path nor query (RFC 9112 section 3.2.4). Behind the URL parser
    /// it looks like a question about the path `/`.
    Site,
}

/// Why a head is refused. The asker's fault; the connection ends with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// RFC 9112 section 2.2: a recipient that takes a lone LF reads other lines than its neighbour.
    #[error("a line does not end with CR LF")]
    LineEnd,
    /// RFC 9110 section 5.5: NUL, lone CR and other control characters.
    #[error("the head has a control character")]
    Control,
    /// RFC 9112 section 3.
    #[error("the request line is not method, target and version")]
    RequestLine,
    /// RFC 9110 section 9.1: a token.
    #[error("the method is not a token")]
    Method,
    /// RFC 9112 section 3.2: visible ASCII, in one of the four forms.
    #[error("the request target is malformed")]
    Target,
    /// RFC 9110 section 4.2.4.
    #[error("the request target has a user name or password")]
    Userinfo,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    /// RFC 9110 section 5.1, and RFC 9112 section 5.1: no space before the colon.
    #[error("a field line is malformed")]
    Field,
    /// RFC 9112 section 5.2: obsolete line folding.
    #[error("a field line is folded")]
    Folded,
    /// RFC 9112 section 3.2: a request without a host is answered 400.
    #[error("there is no Host field")]
    HostMissing,
    /// RFC 9112 section 3.2.
    #[error("there is more than one Host field")]
    HostTwice,
    /// RFC 9110 section 7.2.
    #[error("the Host field is malformed")]
    Host,
    /// RFC 9112 section 6.3: a number, told once.
    #[error("the Content-Length is not one number")]
    ContentLength,
    /// RFC 9112 section 6.1: an attempt at smuggling.
    #[error("there is a Content-Length beside a Transfer-Encoding")]
    TwoLengths,
    /// RFC 9112 section 6.1: `chunked`, in HTTP/1.1, and nothing else.
    #[error("the Transfer-Encoding is not understood")]
    TransferEncoding,
    /// RFC 9112 section 7.1.
    #[error("the chunked content is malformed")]
    Chunk,
    /// RFC 9110 section 9.3.6: content of a CONNECT means nothing, and some take it for the tunnel's first bytes.
    #[error("a request for a tunnel has content")]
    TunnelContent,
    /// 414: the request line or the URL in it.
    #[error("the URL is too long")]
    UrlTooLong,
    /// 431: bytes or lines of all fields.
    #[error("the header fields are too large")]
    FieldsTooLarge,
}

impl HeadError {
    const ALL: [HeadError; 19] = [
        HeadError::LineEnd,
        HeadError::Control,
        HeadError::RequestLine,
        HeadError::Method,
        HeadError::Target,
        HeadError::Userinfo,
        HeadError::Version,
        HeadError::Field,
        HeadError::Folded,
        HeadError::HostMissing,
        HeadError::HostTwice,
        HeadError::Host,
        HeadError::ContentLength,
        HeadError::TwoLengths,
        HeadError::TransferEncoding,
        HeadError::Chunk,
        HeadError::TunnelContent,
        HeadError::UrlTooLong,
        HeadError::FieldsTooLarge,
    ];

    /// A number that [`Self::from_number`] turns back.
    pub(crate) fn number(self) -> usize {
        Self::ALL.iter().position(|error| *error == self).unwrap_or_default()
    }

    /// The inverse of [`Self::number`].
    pub(crate) fn from_number(number: usize) -> Option<Self> {
        Self::ALL.get(number).copied()
    }
}

/// Finds the end of a head while it arrives, looking at each byte once. Refuses early what no further byte can mend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanner {
    looked_at: usize,
    line_start: usize,
    request_line_bytes: usize,
    fields: usize,
}

impl Scanner {
    /// Looks at what was added to `buffered`, which begins with the head. The length of the head once all of it,
    /// its empty line included, is there.
    pub fn advance(&mut self, buffered: &[u8]) -> Result<Option<usize>, HeadError> {
        while let Some(found) = buffered[self.looked_at..].iter().position(|byte| *byte == b'\n') {
            let end = self.looked_at + found;
            let line = &buffered[self.line_start..end];
            let line = line.strip_suffix(b"\r").ok_or(HeadError::LineEnd)?;
            self.looked_at = end + 1;
            self.line_start = self.looked_at;
            if line.is_empty() && self.request_line_bytes > 0 {
                return Ok(Some(self.looked_at));
            }
            self.count(line)?;
        }
        self.looked_at = buffered.len();
        self.bound_the_rest(buffered.len()).map(|()| None)
    }

    fn count(&mut self, line: &[u8]) -> Result<(), HeadError> {
        if self.request_line_bytes == 0 {
            if line.is_empty() {
                return Err(HeadError::RequestLine);
            }
            self.request_line_bytes = self.line_start;
            return if line.len() > REQUEST_LINE_BYTES_MAX { Err(HeadError::UrlTooLong) } else { Ok(()) };
        }
        self.fields += 1;
        let bytes = self.line_start - self.request_line_bytes;
        if self.fields > REQUEST_HEADERS_COUNT_MAX || bytes > REQUEST_HEADERS_BYTES_MAX {
            return Err(HeadError::FieldsTooLarge);
        }
        Ok(())
    }

    fn bound_the_rest(&self, buffered: usize) -> Result<(), HeadError> {
        if self.request_line_bytes == 0 {
            // The line's own end may be on its way.
            return if buffered > REQUEST_LINE_BYTES_MAX + 2 { Err(HeadError::UrlTooLong) } else { Ok(()) };
        }
        if buffered - self.request_line_bytes > REQUEST_HEADERS_BYTES_MAX + 2 {
            return Err(HeadError::FieldsTooLarge);
        }
        Ok(())
    }
}

/// Checks one whole request head, from the method to the empty line.
pub fn check(head: &[u8]) -> Result<Checked, HeadError> {
    let end = Scanner::default().advance(head)?;
    if end != Some(head.len()) {
        return Err(HeadError::RequestLine);
    }
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = RequestLine::parse(lines.next().unwrap_or_default())?;
    let mut framing = Framing::default();
    for field in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = split_field(field)?;
        framing.note(name, value)?;
    }
    Ok(Checked { follows: framing.verdict(&line)?, scope: line.scope })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `/path`
    Origin,
    /// `http://host/path`
    Absolute,
    /// `host:port`, for CONNECT
    Authority,
    /// `*`, for OPTIONS
    Asterisk,
}

struct RequestLine {
    form: Form,
    version: Version,
    scope: Scope,
}

impl RequestLine {
    fn parse(line: &[u8]) -> Result<Self, HeadError> {
        if line.iter().any(|byte| is_control(*byte)) {
            return Err(HeadError::Control);
        }
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(HeadError::RequestLine);
        };
        if !is_token(method) {
            return Err(HeadError::Method);
        }
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            other if other.starts_with(b"HTTP/") => return Err(HeadError::Version),
            _ => return Err(HeadError::RequestLine),
        };
        // One more for the slash in front of a URL.
        if target.len() > URL_BYTES_MAX + 1 {
            return Err(HeadError::UrlTooLong);
        }
        let form = form_of(method, target)?;
        let is_site = method == b"OPTIONS" && form == Form::Absolute && is_bare(target);
        Ok(Self { form, version, scope: if is_site { Scope::Site } else { Scope::Resource } })
    }
}

/// Whether a URL has neither path nor query.
fn is_bare(url: &[u8]) -> bool {
    let behind_scheme = url.windows(3).position(|three| three == b"://").map_or(0, |at| at + 3);
    !url[behind_scheme..].iter().any(|byte| matches!(byte, b'/' | b'?'))
}

fn form_of(method: &[u8], target: &[u8]) -> Result<Form, HeadError> {
    let visible = target.iter().all(u8::is_ascii_graphic);
    if target.is_empty() || !visible || target.contains(&b'#') {
        return Err(HeadError::Target);
    }
    if method == b"CONNECT" {
        return if is_authority(target) { Ok(Form::Authority) } else { Err(HeadError::Target) };
    }
    if target[0] == b'/' {
        return Ok(Form::Origin);
    }
    if target == b"*" {
        return if method == b"OPTIONS" { Ok(Form::Asterisk) } else { Err(HeadError::Target) };
    }
    let after_scheme = target.windows(3).position(|three| three == b"://").ok_or(HeadError::Target)?;
    let (scheme, rest) = (&target[..after_scheme], &target[after_scheme + 3..]);
    let authority = rest.split(|byte| matches!(byte, b'/' | b'?')).next().unwrap_or_default();
    if authority.contains(&b'@') {
        return Err(HeadError::Userinfo);
    }
    if !scheme.iter().all(u8::is_ascii_alphanumeric) || !is_authority(authority) {
        return Err(HeadError::Target);
    }
    Ok(Form::Absolute)
}

fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), HeadError> {
    if matches!(line[0], b' ' | b'\t') {
        return Err(HeadError::Folded);
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(HeadError::Field)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        return Err(HeadError::Field);
    }
    if value.iter().any(|byte| is_control(*byte)) {
        return Err(HeadError::Control);
    }
    Ok((name, trim(value)))
}

/// What the fields say about where the message goes and ends.
#[derive(Default)]
struct Framing {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl Framing {
    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
            if self.hosts > 1 {
                return Err(HeadError::HostTwice);
            }
            if !is_authority(value) {
                return Err(HeadError::Host);
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err(HeadError::ContentLength);
            }
            self.length = Some(decimal(value).ok_or(HeadError::ContentLength)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::TransferEncoding);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        Ok(())
    }

    fn verdict(&self, line: &RequestLine) -> Result<Follows, HeadError> {
        // HTTP/1.0 had no Host; then only the absolute form says where to go.
        if self.hosts == 0 && (line.version == Version::Http11 || line.form == Form::Origin) {
            return Err(HeadError::HostMissing);
        }
        if self.chunked && self.length.is_some() {
            return Err(HeadError::TwoLengths);
        }
        if self.chunked && line.version == Version::Http10 {
            return Err(HeadError::TransferEncoding);
        }
        let content = match self.length.filter(|length| *length > 0) {
            Some(length) => Some(content::Framing::Length(length)),
            None => self.chunked.then_some(content::Framing::Chunked),
        };
        match content {
            Some(_) if line.form == Form::Authority => Err(HeadError::TunnelContent),
            Some(framing) => Ok(Follows::Content(framing)),
            None if line.form == Form::Authority || self.upgrade => Ok(Follows::Either),
            None => Ok(Follows::Request),
        }
    }
}

/// Digits that fit, and nothing else: no sign, no list.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Host and port in outline (RFC 3986 section 3.2): enough that nothing else hides in it.
fn is_authority(value: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte);
    !value.is_empty() && value[0] != b':' && value.iter().all(allowed)
}

/// RFC 9110 section 5.6.2.
fn is_token(value: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !value.is_empty() && value.iter().all(allowed)
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(start) = value.iter().position(|byte| !blank(byte)) else { return &[] };
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

#[cfg(test)]
mod tests;
