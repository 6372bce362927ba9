//! What download tools need to use this box beside others: links to the bytes by their hash, and metalinks of what is
//! held.
//!
//! Writes RFC 6249 fields and RFC 5854 documents, and knows the form of URLs that ask for one: `?kith=meta4` behind the
//! prefix form. Says only what the store has checked. Must not know: how what they point to is served.

use std::fmt::Write as _;
use std::net::SocketAddr;

use data_encoding::HEXLOWER;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use kith_fetch::ask::Verb;
use kith_model::digest_field;
use kith_model::key::Target;
use kith_model::ladder::{Algorithm, Digest};
use kith_model::limits::TOUCH_BYTES_MIN;
use kith_model::link::Link;
use kith_model::representation::ObjectInfo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::body::Body;
use crate::request::{Door, FileName};

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const MEDIA_TYPE: &str = "application/metalink4+xml";

/// What asks for the metalink of a URL, at the end of its query.
const QUESTION: &str = "kith=meta4";

/// What a name keeps in a query (RFC 3986 section 2.3).
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The URL whose metalink is asked for by `target`; nothing when it is asked for itself.
pub(crate) fn subject(target: &Target) -> Option<Target> {
    let (url, query) = target.as_str().split_once('?')?;
    let rest = query.strip_suffix(QUESTION)?;
    match rest.strip_suffix('&') {
        Some(rest) => Target::parse(&format!("{url}?{rest}")).ok(),
        None if rest.is_empty() => Target::parse(url).ok(),
        None => None,
    }
}

/// What a file is named by for download tools. `headers` are those of an answer with a file that is held.
///
/// Small files are not worth the words; of coded ones the bytes alone are not the whole truth.
pub(crate) fn named(headers: &HeaderMap) -> Option<Digest> {
    let is_download = length(headers).is_some_and(|length| length >= TOUCH_BYTES_MIN);
    sha256(headers).filter(|_| is_download && !headers.contains_key(CONTENT_ENCODING))
}

/// Where the file that `target` answers with is to be had by its hash.
pub(crate) struct Places<'a> {
    pub(crate) target: &'a Target,
    /// This box, as the client reached it.
    pub(crate) here: &'a str,
    /// The owner's other boxes.
    pub(crate) others: &'a [SocketAddr],
}

impl Places<'_> {
    fn urls(&self, digest: &Digest) -> impl Iterator<Item = String> {
        let others = self.others.iter().map(ToString::to_string);
        std::iter::once(self.here.to_owned())
            .chain(others)
            .map(|authority| by_hash(&authority, digest, self.target))
    }
}

/// Points a client to a file of this digest, here and elsewhere, and to its metalink.
pub(crate) fn point(headers: &mut HeaderMap, digest: &Digest, places: &Places<'_>, door: Door) {
    let Places { target, here: authority, .. } = places;
    let duplicates = places.urls(digest).filter_map(|url| Some(Link::new(&url)?.with("rel", "duplicate")));
    let joint = if target.query().is_some() { '&' } else { '?' };
    let metalink = Link::new(&format!("http://{authority}/{target}{joint}{QUESTION}"));
    // In the proxy's form a URL of ours would be a stranger's.
    let metalink = metalink.filter(|_| door == Door::Prefix);
    let metalink = metalink.map(|link| link.with("rel", "describedby").with("type", MEDIA_TYPE));
    for link in duplicates.chain(metalink) {
        if let Ok(value) = HeaderValue::from_str(&link.to_string()) {
            headers.append(LINK, value);
        }
    }
}

/// The metalink of a held object.
pub(crate) fn respond(info: &ObjectInfo, places: &Places<'_>, verb: Verb) -> Response<Body> {
    let text = document(info, places);
    let target = places.target;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    // It says what is held now.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    if let Some(name) = FileName::new(&format!("{}.meta4", name(target))) {
        headers.insert(CONTENT_DISPOSITION, name.disposition());
    }
    let body = if verb == Verb::Head { Body::empty() } else { Body::whole(text.into()) };
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}

/// RFC 5854: this box first, then the owner's others, then the origin.
fn document(info: &ObjectInfo, places: &Places<'_>) -> String {
    let target = places.target;
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metalink xmlns=\"urn:ietf:params:xml:ns:metalink\">\n  \
         <generator>Kith</generator>\n  <file name=\"{}\">\n    <size>{}</size>\n",
        Escaped(&name(target)),
        info.length
    );
    for rung in info.ladder.rungs() {
        let (kind, hex) = (textual_name(rung.digest.algorithm()), HEXLOWER.encode(rung.digest.bytes()));
        let _ = writeln!(text, "    <hash type=\"{kind}\">{hex}</hash>");
    }
    let near = info.ladder.digest(Algorithm::Sha256).into_iter().flat_map(|digest| places.urls(digest));
    for (url, priority) in near.chain([target.as_str().to_owned()]).zip(1..) {
        let _ = writeln!(text, "    <url priority=\"{priority}\">{}</url>", Escaped(&url));
    }
    text.push_str("  </file>\n</metalink>\n");
    text
}

fn by_hash(authority: &str, digest: &Digest, target: &Target) -> String {
    let (hex, name) = (HEXLOWER.encode(digest.bytes()), name(target));
    format!("http://{authority}/sha256/{hex}?name={}", utf8_percent_encode(&name, &UNRESERVED))
}

/// The last part of the path, as people read it.
fn name(target: &Target) -> String {
    let last = target.path().rsplit('/').find(|part| !part.is_empty()).unwrap_or("download");
    let decoded = percent_decode_str(last).decode_utf8_lossy();
    FileName::new(&decoded).map_or_else(|| "download".to_owned(), FileName::into_text)
}

/// IANA's hash function textual names (RFC 5854 section 4.2.4.2).
fn textual_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Md5 => "md5",
        Algorithm::Sha1 => "sha-1",
        Algorithm::Sha256 => "sha-256",
        Algorithm::Sha512 => "sha-512",
    }
}

fn sha256(headers: &HeaderMap) -> Option<Digest> {
    let values = headers.get_all(REPR_DIGEST).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(digest_field::parse).find(|digest| digest.algorithm() == Algorithm::Sha256)
}

/// Length of the whole.
fn length(headers: &HeaderMap) -> Option<u64> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text(CONTENT_RANGE) {
        Some(range) => range.rsplit('/').next()?.parse().ok(),
        None => text(CONTENT_LENGTH)?.parse().ok(),
    }
}

/// Text in XML, without what XML 1.0 section 2.2 has no place for.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&apos;")?,
                '\u{fffe}' | '\u{ffff}' => {}
                letter if letter.is_control() => {}
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kith_model::ladder::{Ladder, Rung, Teller};
    use kith_model::object::ObjectId;
    use kith_model::time::UnixMillis;

    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).expect(url)
    }

    #[test]
    fn the_question_stands_at_the_end_of_the_query() {
        for (url, expected) in [
            ("https://a.example/f?kith=meta4", Some("https://a.example/f")),
            ("https://a.example/f?x=1&y&kith=meta4", Some("https://a.example/f?x=1&y")),
            ("https://a.example/f?x=%26&kith=meta4", Some("https://a.example/f?x=%26")),
            ("https://a.example/f", None),
            ("https://a.example/f?kith=meta4&x", None),
            ("https://a.example/f?akith=meta4", None),
            ("https://a.example/f?kith=meta5", None),
            ("https://a.example/kith=meta4", None),
        ] {
            let found = subject(&target(url));
            assert_eq!(found.as_ref().map(Target::as_str), expected, "{url}");
        }
    }

    fn fields(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let pair = |(name, value): &(HeaderName, &str)| {
            (name.clone(), HeaderValue::from_str(value).expect("a value"))
        };
        fields.iter().map(pair).collect()
    }

    fn links(mut headers: HeaderMap, url: &str, door: Door) -> Vec<String> {
        let places = Places { target: &target(url), here: "box:8480", others: &[] };
        if let Some(digest) = named(&headers) {
            point(&mut headers, &digest, &places, door);
        }
        headers.get_all(LINK).iter().map(|link| link.to_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn a_held_download_is_linked_by_its_hash_and_described() {
        let digest = digest_field::format(&Digest::new(Algorithm::Sha256, &[0xab; 32]).expect("32 bytes"));
        let hex = "ab".repeat(32);
        let whole = fields(&[(REPR_DIGEST, &digest), (CONTENT_LENGTH, "1048576")]);
        let part =
            fields(&[(REPR_DIGEST, &digest), (CONTENT_LENGTH, "1"), (CONTENT_RANGE, "bytes 0-0/1048576")]);
        let duplicate = format!("<http://box:8480/sha256/{hex}?name=a%20%26b.iso>; rel=duplicate");
        let about = "<http://box:8480/https://x.example/d/a%20&b.iso?kith=meta4>; rel=describedby; \
                     type=\"application/metalink4+xml\"";
        for headers in [whole.clone(), part] {
            let found = links(headers, "https://x.example/d/a%20&b.iso", Door::Prefix);
            assert_eq!(found, [duplicate.as_str(), about]);
        }
        assert_eq!(links(whole.clone(), "https://x.example/d/a%20&b.iso", Door::Proxy), [duplicate]);
        assert!(
            links(whole.clone(), "https://x.example/f?x=1", Door::Prefix)[1].contains("/f?x=1&kith=meta4>")
        );

        let small = fields(&[(REPR_DIGEST, &digest), (CONTENT_LENGTH, "1048575")]);
        let mut coded = whole;
        coded.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let unnamed = fields(&[(CONTENT_LENGTH, "1048576")]);
        for headers in [small, coded, unnamed] {
            assert_eq!(links(headers, "https://x.example/f", Door::Prefix), Vec::<String>::new());
        }
    }

    #[test]
    fn other_boxes_that_hold_it_are_linked_behind_this_one() {
        let digest = Digest::new(Algorithm::Sha256, &[0xab; 32]).expect("32 bytes");
        let others = ["192.168.1.9:8480".parse().expect("an address"), "[fd00::9]:80".parse().expect("one")];
        let places =
            Places { target: &target("http://x.example/f"), here: "192.168.1.2:8480", others: &others };
        let mut headers = HeaderMap::new();
        point(&mut headers, &digest, &places, Door::Proxy);
        let links: Vec<_> = headers.get_all(LINK).iter().map(|link| link.to_str().expect("text")).collect();
        let url = |authority: &str| {
            format!("<http://{authority}/sha256/{}?name=f>; rel=duplicate", "ab".repeat(32))
        };
        assert_eq!(links, [url("192.168.1.2:8480"), url("192.168.1.9:8480"), url("[fd00::9]:80")]);
    }

    #[test]
    fn a_metalink_is_well_formed_whatever_the_name() {
        let mut ladder = Ladder::default();
        for (algorithm, teller) in [(Algorithm::Sha256, Teller::Ourselves), (Algorithm::Sha1, Teller::Url)] {
            let digest = Digest::new(algorithm, &vec![1; algorithm.digest_len()]).expect("right length");
            ladder.add(Rung { digest, teller, said_at: UnixMillis(0) }).expect("one of each");
        }
        let info =
            ObjectInfo { id: ObjectId::of(b""), length: 5, ladder, stored_at: UnixMillis(0), pinned: false };
        let target = &target("https://x.example/%3C%22%00%2e%2e%2f&.iso?a=1&b=2");
        let others = ["192.168.1.9:8480".parse().expect("an address"), "[fd00::9]:80".parse().expect("one")];
        let text = document(&info, &Places { target, here: "box:8480", others: &others });
        assert!(text.contains("<file name=\"&amp;.iso\">"), "{text}");
        assert!(text.contains("<size>5</size>"), "{text}");
        assert!(text.contains(&format!("<hash type=\"sha-256\">{}</hash>", "01".repeat(32))), "{text}");
        assert!(text.contains(&format!("<hash type=\"sha-1\">{}</hash>", "01".repeat(20))), "{text}");
        assert!(text.contains("<url priority=\"1\">http://box:8480/sha256/"), "{text}");
        assert!(text.contains("<url priority=\"2\">http://192.168.1.9:8480/sha256/"), "{text}");
        assert!(text.contains("<url priority=\"3\">http://[fd00::9]:80/sha256/"), "{text}");
        assert!(text.contains("<url priority=\"4\">https://x.example/"), "{text}");
        assert!(text.contains("?a=1&amp;b=2</url>"), "{text}");
        assert_eq!(text.matches('<').count(), text.matches('>').count());
    }

    #[test]
    fn a_name_is_the_last_part_of_the_path_and_no_way_out_of_a_folder() {
        assert_eq!(name(&target("https://x.example/")), "download");
        assert_eq!(name(&target("https://x.example/a/..%2F")), "download");
        assert_eq!(name(&target("https://x.example/a/..%2Fb%5Cc")), "c");
    }
}
