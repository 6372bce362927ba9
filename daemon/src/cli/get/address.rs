//! What `kith get` is asked for: which URL of the box or the web answers it, how the file is called, and which
//! digest its name already promises. Pure.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use http::HeaderMap;
use kith_model::key::Target;
use url::Url;

use crate::cli::exit::{Exit, Failure};

/// What to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// From the web.
    Web(Target),
    /// By its sha-256 (RFC 6920), from whoever has it.
    Digest([u8; 32]),
}

impl Address {
    /// Reads what the user typed.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
        match scheme.as_str() {
            "http" | "https" => Target::parse(text)
                .map(Address::Web)
                .map_err(|error| Failure::new(Exit::Usage, format!("{text}: {error}"))),
            "ni" => named(text),
            "magnet" => Err(Failure::new(Exit::Refused, "magnet links are not in this build")),
            _ => Err(Failure::new(Exit::Usage, format!("{text} is no http, https or ni URL"))),
        }
    }

    /// The path on the client port of a box.
    pub(super) fn on_box(&self) -> String {
        match self {
            Address::Web(target) => format!("/{target}"),
            Address::Digest(digest) => format!("/.well-known/ni/sha-256/{}", BASE64URL_NOPAD.encode(digest)),
        }
    }

    /// The digest that the name promises.
    pub(super) fn promised(&self) -> Option<[u8; 32]> {
        match self {
            Address::Web(_) => None,
            Address::Digest(digest) => Some(*digest),
        }
    }

    /// A file name that is safe on disk: the last part of the path, or something in its place.
    pub(super) fn file_name(&self) -> String {
        let last = match self {
            Address::Web(target) => target.path().rsplit('/').next().unwrap_or_default(),
            Address::Digest(digest) => return data_encoding::HEXLOWER.encode(digest),
        };
        let name = percent_decoded(last);
        let usable = !name.is_empty()
            && name.len() <= 200
            && !name.starts_with('.')
            && !name.contains(|c: char| c == '/' || c.is_control());
        if usable { name } else { "download".to_owned() }
    }
}

/// `ni://authority/sha-256;value?query`; the authority is only a hint and is not asked.
fn named(text: &str) -> Result<Address, Failure> {
    let refuse = |why: &str| Failure::new(Exit::Usage, format!("{text}: {why}"));
    let url = Url::parse(text).map_err(|_| refuse("this is no ni URL"))?;
    let name = url.path().trim_start_matches('/');
    let (algorithm, value) = name.split_once(';').ok_or_else(|| refuse("expected ni:///sha-256;VALUE"))?;
    if algorithm != "sha-256" {
        return Err(Failure::new(Exit::Refused, format!("{algorithm} names are not in this build")));
    }
    let bytes = BASE64URL_NOPAD.decode(value.as_bytes()).map_err(|_| refuse("the value is no base64url"))?;
    bytes.try_into().map(Address::Digest).map_err(|_| refuse("a sha-256 has 32 bytes"))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| data_encoding::HEXLOWER_PERMISSIVE.decode(digits).ok());
        match digits {
            Some(decoded) if *first == b'%' => {
                bytes.extend(decoded);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The sha-256 in `Repr-Digest` (RFC 9530 section 3): `sha-256=:base64:` among others.
pub(super) fn told_sha256(headers: &HeaderMap) -> Option<[u8; 32]> {
    let members = headers.get_all("repr-digest").iter().filter_map(|value| value.to_str().ok());
    let value = members
        .flat_map(|value| value.split(','))
        .find_map(|member| member.trim().strip_prefix("sha-256=:")?.strip_suffix(':'))?;
    BASE64.decode(value.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn names_of_files_are_safe() {
        for (url, expected) in [
            ("http://e/a/b.iso?x=1", "b.iso"),
            ("http://e/", "download"),
            ("http://e/%2e%2e%2fetc%2fpasswd", "download"),
            ("http://e/a%2Fb", "download"),
            ("http://e/.bashrc", "download"),
            ("http://e/a%20b%zz", "a b%zz"),
            ("http://e/a%00", "download"),
        ] {
            assert_eq!(Address::parse(url).expect(url).file_name(), expected, "{url}");
        }
    }

    #[test]
    fn each_scheme_has_its_way() {
        let web = Address::parse("https://E.com/x?y").expect("web");
        assert_eq!(web.on_box(), "/https://e.com/x?y");
        let digest = ring::digest::digest(&ring::digest::SHA256, b"kith");
        let value = BASE64URL_NOPAD.encode(digest.as_ref());
        let named = Address::parse(&format!("ni:///sha-256;{value}?ct=text/plain")).expect("named");
        assert_eq!(named.on_box(), format!("/.well-known/ni/sha-256/{value}"));
        assert_eq!(named.promised().expect("promised"), digest.as_ref());
        for (text, exit) in [
            ("magnet:?xt=urn:btih:00", Exit::Refused),
            ("ftp://e/x", Exit::Usage),
            ("e/x", Exit::Usage),
            ("http://user@e/x", Exit::Usage),
            ("ni:///sha-256;AAAA", Exit::Usage),
            ("ni:///sha-512;AAAA", Exit::Refused),
        ] {
            assert_eq!(Address::parse(text).expect_err(text).exit, exit, "{text}");
        }
    }

    #[test]
    fn the_told_digest_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(told_sha256(&headers), None);
        let text = format!("md5=:AAAA:, sha-256=:{}:", BASE64.encode(&[7; 32]));
        headers.insert("repr-digest", HeaderValue::from_str(&text).expect("ascii"));
        assert_eq!(told_sha256(&headers), Some([7; 32]));
    }
}
