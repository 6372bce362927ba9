//! archive.org: what its metadata says of one file of an item. Pure.
//!
//! `/download/ITEM/FILE` has its description at `/metadata/ITEM`: for each file `size`, `md5` and `sha1`, and the servers
//! that have the item now. The item's torrent is named for who can use it.

use data_encoding::HEXLOWER;
use kith_model::key::Target;
use kith_model::ladder::{Algorithm, Digest};
use kith_model::limits::MIRRORS_MAX;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::ladder::{Description, DescriptionKind, Mirror};
use crate::metalink::File;

const HOSTS: [&str; 2] = ["archive.org", "www.archive.org"];

/// The description of a file that is asked for; nothing when it is none of archive.org's.
pub(crate) fn description(asked: &Target) -> Option<Description> {
    let (item, _) = place(asked)?;
    let target = asked.join(&format!("/metadata/{item}")).ok()?;
    Some(Description { target, kind: DescriptionKind::Archive, said_by: asked.clone() })
}

/// What the metadata says of the file that was asked for.
pub(crate) fn read(text: &[u8], asked: &Target) -> Option<File> {
    let (item, path) = place(asked)?;
    let name = percent_decode_str(path).decode_utf8().ok()?.into_owned();
    let metadata: Metadata = serde_json::from_slice(text).ok()?;
    let entry = metadata.files.iter().find(|file| file.name == name)?;
    let digests = [(Algorithm::Sha1, &entry.sha1), (Algorithm::Md5, &entry.md5)];
    let digest = |(algorithm, hex): (Algorithm, &Option<String>)| {
        Digest::new(algorithm, &HEXLOWER.decode(hex.as_deref()?.as_bytes()).ok()?)
    };
    let torrent = asked.join(&format!("/download/{item}/{item}_archive.torrent"));
    Some(File {
        size: entry.size.as_deref().and_then(|size| size.parse().ok()),
        digests: digests.into_iter().filter_map(digest).collect(),
        pieces: None,
        mirrors: metadata.mirrors(asked, path),
        torrents: torrent.into_iter().collect(),
        name,
    })
}

/// The item and the file's path in it, as they stand in the URL.
fn place(asked: &Target) -> Option<(&str, &str)> {
    if !HOSTS.contains(&asked.host()) {
        return None;
    }
    let (item, path) = asked.path().strip_prefix("/download/")?.split_once('/')?;
    let is_name = item.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (is_name && !item.is_empty() && !path.is_empty()).then_some((item, path))
}

/// As much of the metadata as counts.
#[derive(Deserialize)]
struct Metadata {
    /// The folder of the item on each server.
    dir: Option<String>,
    #[serde(default)]
    workable_servers: Vec<String>,
    d1: Option<String>,
    d2: Option<String>,
    #[serde(default)]
    files: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    size: Option<String>,
    md5: Option<String>,
    sha1: Option<String>,
}

impl Metadata {
    fn mirrors(&self, asked: &Target, path: &str) -> Vec<Mirror> {
        let Some(dir) = self.dir.as_deref().filter(|dir| dir.starts_with('/')) else { return Vec::new() };
        let servers = self.workable_servers.iter().chain(&self.d1).chain(&self.d2);
        // What is no host of theirs is not taken for one.
        let servers =
            servers.filter(|server| server.ends_with(".archive.org") && !server.contains(['/', '@', ':']));
        let scheme = asked.scheme().as_str();
        let urls = servers.take(MIRRORS_MAX).map(|server| format!("{scheme}://{server}{dir}/{path}"));
        let targets = urls.filter_map(|url| Target::parse(&url).ok());
        targets
            .zip(1..)
            .map(|(target, priority)| Mirror { target, priority, location: String::new() })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the API answers, cut to two files.
    const RECORDED: &str = r#"{"created":1731000000,"d1":"ia800301.us.archive.org","d2":"ia600301.us.archive.org",
        "dir":"/12/items/some_item","files":[
        {"name":"some item.mp4","source":"original","mtime":"1300000000","size":"9823004","md5":
         "0123456789abcdef0123456789abcdef","crc32":"12345678","sha1":"0123456789abcdef0123456789abcdef01234567",
         "format":"MPEG4","length":"61.5"},
        {"name":"some_item_files.xml","source":"metadata","format":"Metadata","md5":"zz"}],
        "files_count":2,"item_size":9830000,"metadata":{"identifier":"some_item","title":["a","b"]},
        "server":"ia800301.us.archive.org","uniq":1,"workable_servers":["ia800301.us.archive.org",
        "ia600301.us.archive.org","evil.example","x@ia1.archive.org"]}"#;

    fn target(url: &str) -> Target {
        Target::parse(url).expect(url)
    }

    #[test]
    fn a_files_digests_length_and_servers_are_read() {
        let asked = target("https://archive.org/download/some_item/some%20item.mp4");
        let file = read(RECORDED.as_bytes(), &asked).expect("a file");
        assert_eq!(file.size, Some(9_823_004));
        let algorithms: Vec<_> = file.digests.iter().map(Digest::algorithm).collect();
        assert_eq!(algorithms, [Algorithm::Sha1, Algorithm::Md5]);
        let mirrors: Vec<_> = file.mirrors.iter().map(|mirror| mirror.target.as_str()).take(2).collect();
        assert_eq!(
            mirrors,
            [
                "https://ia800301.us.archive.org/12/items/some_item/some%20item.mp4",
                "https://ia600301.us.archive.org/12/items/some_item/some%20item.mp4"
            ]
        );
        assert!(file.mirrors.iter().all(|mirror| mirror.target.host().ends_with(".us.archive.org")));
        assert_eq!(
            file.torrents,
            [target("https://archive.org/download/some_item/some_item_archive.torrent")]
        );
    }

    #[test]
    fn what_is_not_there_is_not_described() {
        let read = |text: &str, url: &str| read(text.as_bytes(), &target(url));
        assert_eq!(read(RECORDED, "https://archive.org/download/some_item/other.mp4"), None);
        for text in ["", "{}", "[]", "{\"files\":5}", "{\"error\":\"x\"}"] {
            assert_eq!(read(text, "https://archive.org/download/some_item/a"), None, "{text}");
        }
        let bare =
            read(RECORDED, "https://archive.org/download/some_item/some_item_files.xml").expect("a file");
        assert_eq!((bare.size, bare.digests), (None, vec![]));
    }

    #[test]
    fn only_files_of_items_have_metadata() {
        for (url, expected) in [
            (
                "https://archive.org/download/a-b_c.d/e/f.mp4?x=1",
                Some("https://archive.org/metadata/a-b_c.d"),
            ),
            ("http://www.archive.org/download/a/f", Some("http://www.archive.org/metadata/a")),
            ("https://archive.org/download/a/", None),
            ("https://archive.org/download/a", None),
            ("https://archive.org/details/a/f", None),
            ("https://archive.org/download/a%2Fb/f", None),
            ("https://ia800301.us.archive.org/download/a/f", None),
            ("https://example.org/download/a/f", None),
        ] {
            let found = description(&target(url)).map(|about| about.target.to_string());
            assert_eq!(found.as_deref(), expected, "{url}");
        }
    }
}
