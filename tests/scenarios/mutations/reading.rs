//! A second reader of requests, as strict as one can be and written apart from the box's own: what it finds in the
//! bytes of a client is all that may reach an origin.

use std::net::SocketAddr;

use kith_model::key::Target;
use kith_tests::wire::Asked;

/// A request that a client meant: method, path, and content as far as it came whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Meant {
    method: String,
    path: String,
    /// Nothing when it broke off.
    content: Option<Vec<u8>>,
}

impl Meant {
    /// As an origin saw it.
    pub(crate) fn of(asked: &Asked) -> Self {
        Self {
            method: asked.method().to_owned(),
            path: asked.path().to_owned(),
            content: asked.whole.then(|| asked.content.clone()),
        }
    }
}

/// The requests to `origin` in what was sent over one connection, up to the first that is not well-formed.
pub(crate) fn requests(mut bytes: &[u8], origin: SocketAddr) -> Vec<Meant> {
    let mut found = Vec::new();
    loop {
        // RFC 9112 section 2.2: an empty line before a request is no part of it.
        bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return found };
        let Some(head) = Head::read(&bytes[..end]) else { return found };
        let content = head.content(&bytes[end + 4..]);
        // By prefix nothing but reading is done, and content is not looked at, whether it is whole or not.
        if head.target.starts_with('/') {
            let is_reading = matches!(head.method.as_str(), "GET" | "HEAD");
            found.extend(is_reading.then(|| head.meant(origin, Some(Vec::new()))).flatten());
        } else {
            found.extend(head.meant(origin, content.as_ref().map(|(content, _)| content.clone())));
        }
        let Some((_, rest)) = content else { return found };
        bytes = rest;
    }
}

struct Head {
    method: String,
    target: String,
    length: usize,
    chunked: bool,
}

impl Head {
    fn read(head: &[u8]) -> Option<Self> {
        // No byte outside of lines that end as they must, none that prints nothing.
        let text: String = head.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let is_plain = |text: &str| text.chars().all(|letter| !letter.is_ascii_control() || letter == '\t');
        let is_ok =
            words.next().is_none() && is_token(method) && target.chars().all(|c| c.is_ascii_graphic());
        if !is_ok || !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
            return None;
        }
        let (mut hosts, mut lengths, mut codings) = (0, Vec::new(), Vec::new());
        for line in lines {
            let (name, value) = line.split_once(':')?;
            if !is_token(name) || !is_plain(value) {
                return None;
            }
            let value = value.trim_matches([' ', '\t']);
            match name.to_ascii_lowercase().as_str() {
                "host" => hosts += 1,
                "content-length" => lengths.push(value.to_owned()),
                "transfer-encoding" => codings.push(value.to_ascii_lowercase()),
                _ => {}
            }
        }
        let chunked = codings == ["chunked"];
        let length = match lengths.as_slice() {
            [] => 0,
            [one] if one.bytes().all(|byte| byte.is_ascii_digit()) => one.parse().ok()?,
            _ => return None,
        };
        let framed = codings.is_empty() || (chunked && lengths.is_empty() && version == "HTTP/1.1");
        let hosted = hosts == 1 || (hosts == 0 && version == "HTTP/1.0");
        (framed && hosted).then(|| Self {
            method: method.to_owned(),
            target: target.to_owned(),
            length,
            chunked,
        })
    }

    /// The content and what comes behind it; nothing when it is not all there, or not well-formed.
    fn content<'a>(&self, bytes: &'a [u8]) -> Option<(Vec<u8>, &'a [u8])> {
        if !self.chunked {
            return bytes.split_at_checked(self.length).map(|(content, rest)| (content.to_vec(), rest));
        }
        let (mut content, mut rest) = (Vec::new(), bytes);
        loop {
            let (line, behind) = line(rest)?;
            let size = line.split(|byte| *byte == b';').next()?;
            let is_hex = !size.is_empty() && size.len() <= 16 && size.iter().all(u8::is_ascii_hexdigit);
            let size = usize::from_str_radix(std::str::from_utf8(size).ok().filter(|_| is_hex)?, 16).ok()?;
            rest = behind;
            if size == 0 {
                break;
            }
            let (data, behind) = rest.split_at_checked(size)?;
            content.extend_from_slice(data);
            rest = behind.strip_prefix(b"\r\n")?;
        }
        loop {
            let (line, behind) = line(rest)?;
            rest = behind;
            if line.is_empty() {
                return Some((content, rest));
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = std::str::from_utf8(&line[..colon]).ok()?;
            is_token(name).then_some(())?;
        }
    }

    /// As `origin` would see it, when it is for it.
    fn meant(&self, origin: SocketAddr, content: Option<Vec<u8>>) -> Option<Meant> {
        let url = match self.target.strip_prefix('/') {
            None => self.target.clone(),
            Some(url) => {
                let (scheme, rest) = url.split_once(":/")?;
                format!("{scheme}://{}", rest.strip_prefix('/').unwrap_or(rest))
            }
        };
        let target = Target::parse(&url).ok()?;
        (target.authority() == origin.to_string()).then(|| Meant {
            method: self.method.clone(),
            path: target.path_and_query().to_owned(),
            content,
        })
    }
}

/// A line without its ending, which must be CR LF, and what comes behind it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes[..end].strip_suffix(b"\r")?;
    (!line.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f))
        .then_some((line, &bytes[end + 1..]))
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
