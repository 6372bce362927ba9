//! Reads metalinks (RFC 5854): what a file is, by size and hashes, and where it is. Pure.
//!
//! Bounded in bytes, depth, files, places and pieces. A document with a type declaration is refused: metalinks have
//! none, and entities of one's own are a known way to make little text large. Says nothing about whose word it is.

use data_encoding::HEXLOWER_PERMISSIVE;
use kith_fetch::pieces::Pieces;
use kith_model::key::Target;
use kith_model::ladder::{Algorithm, Digest};
use kith_model::limits::{
    DESCRIPTION_BYTES_MAX, METALINK_DEPTH_MAX, METALINK_FILES_MAX, METALINK_PIECES_MAX,
    METALINK_TEXT_BYTES_MAX, METALINK_URLS_MAX, PIECE_BYTES_MAX,
};
use kith_model::range::GROUP_BYTES;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

use crate::ladder::{Mirror, best};

/// One file of a metalink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Its name, possibly with folders before it.
    pub name: String,
    /// Its length in bytes.
    pub size: Option<u64>,
    /// Digests of the whole.
    pub digests: Vec<Digest>,
    /// Digests of its pieces.
    pub pieces: Option<Pieces>,
    /// Where it is, the best first.
    pub mirrors: Vec<Mirror>,
    /// Torrents of it.
    pub torrents: Vec<Target>,
}

/// Why a text is no metalink that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Longer than [`DESCRIPTION_BYTES_MAX`].
    #[error("the metalink is longer than {DESCRIPTION_BYTES_MAX} bytes")]
    TooLong,
    /// No well-formed XML, or no metalink.
    #[error("this is no metalink")]
    Malformed,
    /// It declares a type or uses entities of its own.
    #[error("the metalink declares entities of its own")]
    Entities,
    /// Elements in elements in elements.
    #[error("the metalink is nested too deep")]
    TooDeep,
}

/// The files of a metalink.
pub fn parse(text: &[u8]) -> Result<Vec<File>, Fault> {
    if text.len() > DESCRIPTION_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    let text = std::str::from_utf8(text).map_err(|_| Fault::Malformed)?;
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut document = Document::default();
    loop {
        match reader.read_event().map_err(|_| Fault::Malformed)? {
            Event::Start(start) => document.open(&start)?,
            Event::End(_) => document.close(),
            Event::Text(text) => document.text(&text.decode().map_err(|_| Fault::Malformed)?),
            Event::CData(text) => document.text(&text.decode().map_err(|_| Fault::Malformed)?),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(letter)) => document.text(letter.encode_utf8(&mut [0; 4])),
                Ok(None) => {
                    let name = reference.decode().map_err(|_| Fault::Malformed)?;
                    document.text(resolve_predefined_entity(&name).ok_or(Fault::Entities)?);
                }
                Err(_) => return Err(Fault::Malformed),
            },
            Event::DocType(_) => return Err(Fault::Entities),
            Event::Eof => return document.finish(),
            Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
}

/// An element that stands open.
#[derive(Debug)]
enum Element {
    Metalink,
    File,
    Size,
    Hash(Option<Algorithm>),
    Pieces,
    Piece,
    Url { priority: u32, location: String },
    Torrent,
    Other,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Document {
    open: Vec<Element>,
    text: String,
    is_metalink: bool,
    files: Vec<File>,
    file: File,
    pieces: Option<PieceList>,
}

/// A list of pieces that is being read.
#[derive(Debug)]
struct PieceList {
    algorithm: Algorithm,
    length: u64,
    digests: Vec<Digest>,
    is_whole: bool,
}

impl Document {
    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), Fault> {
        if self.open.len() == METALINK_DEPTH_MAX {
            return Err(Fault::TooDeep);
        }
        let element = match (self.open.last(), start.local_name().as_ref()) {
            (None, b"metalink") => Element::Metalink,
            (Some(Element::Metalink), b"file") => Element::File,
            (Some(Element::File), b"size") => Element::Size,
            (Some(Element::File), b"hash") => {
                Element::Hash(attribute(start, "type").and_then(|name| algorithm(&name)))
            }
            (Some(Element::File), b"pieces") => Element::Pieces,
            (Some(Element::File), b"url") => Element::Url {
                priority: priority(start),
                location: attribute(start, "location").unwrap_or_default().to_ascii_lowercase(),
            },
            (Some(Element::File), b"metaurl")
                if attribute(start, "mediatype").is_some_and(|kind| kind == "torrent") =>
            {
                Element::Torrent
            }
            (Some(Element::Pieces), b"hash") => Element::Piece,
            _ => Element::Other,
        };
        match &element {
            Element::Metalink => self.is_metalink = true,
            Element::File => {
                self.file = File { name: attribute(start, "name").unwrap_or_default(), ..File::default() };
            }
            Element::Pieces => self.pieces = PieceList::begin(start),
            _ => {}
        }
        self.text.clear();
        self.open.push(element);
        Ok(())
    }

    /// What is longer than any text that counts is cut, and then means nothing.
    fn text(&mut self, text: &str) {
        if self.text.len() + text.len() <= METALINK_TEXT_BYTES_MAX + 1 {
            self.text.push_str(text);
        } else {
            self.text.clear();
            self.text.push('\0');
        }
    }

    fn close(&mut self) {
        let text = std::mem::take(&mut self.text);
        let text = text.trim();
        let file = &mut self.file;
        match self.open.pop() {
            Some(Element::Size) => file.size = text.parse().ok(),
            Some(Element::Hash(Some(algorithm))) => file.digests.extend(hex(algorithm, text)),
            Some(Element::Url { priority, location }) if file.mirrors.len() < METALINK_URLS_MAX => {
                if let Ok(target) = Target::parse(text) {
                    file.mirrors.push(Mirror { target, priority, location });
                }
            }
            Some(Element::Torrent) if file.torrents.len() < METALINK_URLS_MAX => {
                file.torrents.extend(Target::parse(text));
            }
            Some(Element::Piece) => {
                if let Some(pieces) = &mut self.pieces {
                    pieces.push(text);
                }
            }
            Some(Element::Pieces) if file.pieces.is_none() => {
                file.pieces = self.pieces.take().and_then(PieceList::end);
            }
            Some(Element::File) if self.files.len() < METALINK_FILES_MAX => {
                let mut file = std::mem::take(file);
                file.mirrors = best(file.mirrors);
                file.digests.truncate(METALINK_DIGESTS_MAX);
                self.files.push(file);
            }
            _ => {}
        }
    }

    fn finish(self) -> Result<Vec<File>, Fault> {
        if self.is_metalink && self.open.is_empty() { Ok(self.files) } else { Err(Fault::Malformed) }
    }
}

/// Digests of one file that are kept: one of each algorithm, and as many contradictions.
const METALINK_DIGESTS_MAX: usize = 8;

impl PieceList {
    fn begin(start: &BytesStart<'_>) -> Option<Self> {
        let algorithm = attribute(start, "type").and_then(|name| algorithm(&name))?;
        let length: u64 = attribute(start, "length")?.trim().parse().ok()?;
        let is_usable = (GROUP_BYTES..=PIECE_BYTES_MAX).contains(&length)
            && length.is_multiple_of(GROUP_BYTES)
            && algorithm != Algorithm::Md5;
        is_usable.then_some(Self { algorithm, length, digests: Vec::new(), is_whole: true })
    }

    fn push(&mut self, text: &str) {
        match hex(self.algorithm, text) {
            Some(digest) if self.digests.len() < METALINK_PIECES_MAX => self.digests.push(digest),
            _ => self.is_whole = false,
        }
    }

    fn end(self) -> Option<Pieces> {
        self.is_whole.then(|| Pieces::new(self.length, &self.digests)).flatten()
    }
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let value = start.try_get_attribute(name).ok()??;
    // Of entities only the five of XML are known.
    let value = quick_xml::escape::unescape(std::str::from_utf8(&value.value).ok()?).ok()?.into_owned();
    (value.len() <= METALINK_TEXT_BYTES_MAX).then_some(value)
}

/// RFC 5854 section 4.2.16.1 has 1 to 999999, and what names none comes last.
fn priority(start: &BytesStart<'_>) -> u32 {
    let told = attribute(start, "priority").and_then(|priority| priority.trim().parse().ok());
    told.unwrap_or(crate::ladder::PRIORITY_LAST)
}

/// IANA's hash function textual names (RFC 5854 section 4.2.4.2).
fn algorithm(name: &str) -> Option<Algorithm> {
    match name.to_ascii_lowercase().as_str() {
        "md5" => Some(Algorithm::Md5),
        "sha-1" => Some(Algorithm::Sha1),
        "sha-256" => Some(Algorithm::Sha256),
        "sha-512" => Some(Algorithm::Sha512),
        _ => None,
    }
}

fn hex(algorithm: Algorithm, text: &str) -> Option<Digest> {
    Digest::new(algorithm, &HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<metalink xmlns="urn:ietf:params:xml:ns:metalink">
  <generator>some/1.0</generator>
  <file name="d/a&amp;b.iso">
    <size> 40000 </size>
    <hash type="md5">05050505050505050505050505050505</hash>
    <hash type="sha-256">abABabababababababababababababababababababababababababababababab</hash>
    <hash type="tiger">00</hash>
    <pieces length="16384" type="sha-1">
      <hash>1111111111111111111111111111111111111111</hash>
      <hash>2222222222222222222222222222222222222222</hash>
      <hash>3333333333333333333333333333333333333333</hash>
    </pieces>
    <url location="DE" priority="2">http://b.example/a?x=1&amp;y=2</url>
    <url priority="1"><![CDATA[https://a.example/a]]></url>
    <url>ftp://c.example/a</url>
    <url>https://d.example/&#97;</url>
    <metaurl mediatype="torrent">https://a.example/a.torrent</metaurl>
    <url/>
  </file>
</metalink>"#;

    #[test]
    fn a_metalink_names_size_hashes_pieces_and_places() {
        let files = parse(SAMPLE.as_bytes()).expect("a metalink");
        let [file] = &files[..] else { panic!("{files:?}") };
        assert_eq!((file.name.as_str(), file.size), ("d/a&b.iso", Some(40_000)));
        let algorithms: Vec<_> = file.digests.iter().map(Digest::algorithm).collect();
        assert_eq!(algorithms, [Algorithm::Md5, Algorithm::Sha256]);
        assert_eq!(file.digests[1].bytes(), [0xab; 32]);
        let pieces = file.pieces.as_ref().expect("pieces");
        assert_eq!((pieces.length(), pieces.count()), (16_384, 3));
        let mirrors: Vec<_> =
            file.mirrors.iter().map(|mirror| (mirror.target.as_str(), mirror.location.as_str())).collect();
        let expected =
            [("https://a.example/a", ""), ("http://b.example/a?x=1&y=2", "de"), ("https://d.example/a", "")];
        assert_eq!(mirrors, expected);
        assert_eq!(file.torrents.len(), 1);
    }

    #[test]
    fn entities_and_declarations_of_ones_own_are_refused() {
        let bomb = r#"<!DOCTYPE metalink [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><metalink><file name="x">
            <url>&b;</url></file></metalink>"#;
        assert_eq!(parse(bomb.as_bytes()), Err(Fault::Entities));
        assert_eq!(parse(b"<metalink><file><url>&b;</url></file></metalink>"), Err(Fault::Entities));
        let outside = "<!DOCTYPE metalink SYSTEM \"file:///etc/passwd\"><metalink/>";
        assert_eq!(parse(outside.as_bytes()), Err(Fault::Entities));
    }

    #[test]
    fn what_is_no_metalink_is_refused() {
        let deep = "<metalink>".to_owned() + &"<a>".repeat(METALINK_DEPTH_MAX);
        for (text, expected) in [
            ("", Fault::Malformed),
            ("<html></html>", Fault::Malformed),
            ("<metalink>", Fault::Malformed),
            ("<metalink></file>", Fault::Malformed),
            ("\u{0}", Fault::Malformed),
            (&deep, Fault::TooDeep),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(expected), "{text}");
        }
        assert_eq!(parse(&vec![b' '; DESCRIPTION_BYTES_MAX + 1]), Err(Fault::TooLong));
        assert_eq!(parse(&[0xff, 0xfe, b'<']), Err(Fault::Malformed));
    }

    #[test]
    fn a_list_of_pieces_counts_only_whole_and_usable() {
        let pieces = |attributes: &str, hashes: &str| {
            let text = format!(
                "<metalink><file name=\"x\"><pieces {attributes}>{hashes}</pieces></file></metalink>"
            );
            parse(text.as_bytes()).expect("a metalink")[0].pieces.is_some()
        };
        let sha1 = format!("<hash>{}</hash>", "ab".repeat(20));
        assert!(pieces("length=\"16384\" type=\"sha-1\"", &sha1));
        assert!(!pieces("length=\"16384\" type=\"md5\"", &format!("<hash>{}</hash>", "ab".repeat(16))));
        assert!(!pieces("length=\"16384\" type=\"sha-1\"", &format!("{sha1}<hash>ab</hash>")));
        assert!(!pieces("length=\"1000\" type=\"sha-1\"", &sha1));
        assert!(!pieces("length=\"16777216\" type=\"sha-1\"", &sha1));
        assert!(!pieces("type=\"sha-1\"", &sha1));
        assert!(!pieces("length=\"16384\" type=\"sha-1\"", ""));
    }

    #[test]
    fn many_places_are_cut_to_the_best() {
        let urls: Vec<String> = (0..METALINK_URLS_MAX * 2)
            .map(|number| format!("<url priority=\"{}\">http://m{number}.example/</url>", 1000 - number))
            .collect();
        let text = format!("<metalink><file name=\"x\">{}</file></metalink>", urls.concat());
        let files = parse(text.as_bytes()).expect("a metalink");
        assert_eq!(files[0].mirrors.len(), kith_model::limits::MIRRORS_MAX);
        let long = "a".repeat(METALINK_TEXT_BYTES_MAX * 2);
        let text = format!("<metalink><file name=\"x\"><url>http://a.example/{long}</url></file></metalink>");
        assert_eq!(parse(text.as_bytes()).expect("a metalink")[0].mirrors, []);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("<metalink>"), Just("</metalink>"), Just("<file name='a'>"), Just("</file>"),
                    Just("<size>5</size>"), Just("<hash type='md5'>"), Just("</hash>"), Just("<url>"), Just("</url>"),
                    Just("<pieces length='16384' type='sha-1'>"), Just("</pieces>"), Just("&amp;"), Just("&#x41;"),
                    Just("&"), Just("<![CDATA["), Just("]]>"), Just("<!--"), Just("-->"), Just("ab"), Just("<x/>"),
                ],
                0..30,
            ),
        ) {
            let _ = parse(parts.concat().as_bytes());
        }
    }
}
