//! Where else the bytes are said to be (`Link: rel=duplicate`, RFC 6249 section 3), and which documents say more about
//! them (`rel=describedby`, section 4.1: a metalink; section 4.2: a torrent).

use http::HeaderMap;
use http::header::LINK;
use kith_model::key::Target;
use kith_model::limits::{DESCRIPTIONS_MAX, MIRRORS_MAX};
use kith_model::link::{self, Link};

use super::values;

/// Priority of a mirror that names none: behind all that do (RFC 6249 section 3.1 has 1 to 999999).
pub(crate) const PRIORITY_LAST: u32 = 999_999;

/// A place that is said to have the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The place.
    pub target: Target,
    /// The lower, the better.
    pub priority: u32,
    /// ISO 3166-1 code of the country it is in, in lower case; empty when not told.
    pub location: String,
}

/// A document about the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Where it is.
    pub target: Target,
    /// What it is.
    pub kind: DescriptionKind,
    /// Who pointed to it: what it says counts as theirs only when it comes from them.
    pub said_by: Target,
}

/// What a description is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptionKind {
    /// RFC 5854.
    Metalink,
    /// BEP 3 or BEP 52.
    Torrent,
    /// archive.org's metadata.
    Archive,
}

/// All mirrors and descriptions that the answers name, each told with its target; `asked` is what the client asked for.
pub(super) fn read<'a>(
    answers: impl Iterator<Item = (&'a Target, &'a HeaderMap)>,
    asked: &Target,
) -> (Vec<Mirror>, Vec<Description>) {
    let (mut mirrors, mut descriptions) = (Vec::new(), Vec::new());
    for (target, headers) in answers {
        for link in values(headers, &LINK).flat_map(link::parse) {
            // A link with another context says nothing about this file (RFC 8288 section 3.2).
            if link.parameter("anchor").is_some_and(|anchor| target.join(anchor).as_ref() != Ok(target)) {
                continue;
            }
            let Ok(to) = target.join(link.reference()) else { continue };
            if link.has_relation("duplicate") && to != *asked && to != *target {
                mirrors.push(mirror(to, &link));
            } else if link.has_relation("describedby")
                && let Some(kind) = kind(&link)
            {
                descriptions.push(Description { target: to, kind, said_by: target.clone() });
            }
        }
    }
    descriptions.truncate(DESCRIPTIONS_MAX);
    (best(mirrors), descriptions)
}

/// The best mirrors, each once.
pub(crate) fn best(mut mirrors: Vec<Mirror>) -> Vec<Mirror> {
    mirrors.sort_by_key(|mirror| mirror.priority);
    let mut kept: Vec<Mirror> = Vec::new();
    for mirror in mirrors {
        if kept.len() < MIRRORS_MAX && kept.iter().all(|known| known.target != mirror.target) {
            kept.push(mirror);
        }
    }
    kept
}

fn mirror(target: Target, link: &Link) -> Mirror {
    let priority = link.parameter("pri").and_then(|priority| priority.parse().ok());
    Mirror {
        target,
        priority: priority.unwrap_or(PRIORITY_LAST),
        location: link.parameter("geo").unwrap_or_default().to_ascii_lowercase(),
    }
}

fn kind(link: &Link) -> Option<DescriptionKind> {
    let media_type = link.parameter("type")?.split(';').next().unwrap_or_default().trim();
    match media_type.to_ascii_lowercase().as_str() {
        "application/metalink4+xml" => Some(DescriptionKind::Metalink),
        "application/x-bittorrent" => Some(DescriptionKind::Torrent),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    type Read = (Vec<(String, u32, String)>, Vec<(String, DescriptionKind)>);

    fn check(lines: &[&str]) -> Read {
        let target = Target::parse("https://a.example/d/f.iso").expect("a target");
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(LINK, HeaderValue::from_str(line).expect("a value"));
        }
        let (mirrors, descriptions) = read(std::iter::once((&target, &headers)), &target);
        (
            mirrors
                .into_iter()
                .map(|mirror| (mirror.target.to_string(), mirror.priority, mirror.location))
                .collect(),
            descriptions.into_iter().map(|about| (about.target.to_string(), about.kind)).collect(),
        )
    }

    #[test]
    fn mirrors_come_by_priority_and_once() {
        let (mirrors, descriptions) = check(&[
            "<http://c.example/f>; rel=duplicate, <http://b.example/f>; rel=duplicate; pri=2; geo=DE",
            "<http://b.example/f>; rel=duplicate; pri=9, <//d.example/f>; rel=\"x duplicate\"; pri=1",
        ]);
        let expected = [("https://d.example/f", 1, ""), ("http://b.example/f", 2, "de")];
        let last = ("http://c.example/f", PRIORITY_LAST, "");
        let expected = expected
            .iter()
            .chain([&last])
            .map(|(url, priority, geo)| ((*url).to_owned(), *priority, (*geo).to_owned()));
        assert_eq!(mirrors, expected.collect::<Vec<_>>());
        assert_eq!(descriptions, []);
    }

    #[test]
    fn what_is_no_mirror_of_this_file_is_left_alone() {
        let (mirrors, _) = check(&[
            "<http://b.example/f>; rel=alternate",
            "<ftp://b.example/f>; rel=duplicate",
            "<http://u:p@b.example/f>; rel=duplicate",
            "<f.iso>; rel=duplicate",
            "<http://b.example/f>; rel=duplicate; anchor=\"g.iso\"",
        ]);
        assert_eq!(mirrors, []);
        assert_eq!(check(&["<http://b.example/f>; rel=duplicate; anchor=\"f.iso\""]).0.len(), 1);
    }

    #[test]
    fn descriptions_are_known_by_their_type() {
        let (_, descriptions) = check(&[
            "<f.iso.meta4>; rel=describedby; type=\"application/metalink4+xml\"",
            "<f.torrent>; rel=describedby; type=\"application/x-bittorrent\"; name=\"x\"",
            "<f.asc>; rel=describedby; type=\"application/pgp-signature\", <f.html>; rel=describedby",
        ]);
        let url = |name: &str| format!("https://a.example/d/{name}");
        assert_eq!(
            descriptions,
            [(url("f.iso.meta4"), DescriptionKind::Metalink), (url("f.torrent"), DescriptionKind::Torrent)]
        );
    }

    #[test]
    fn only_the_best_mirrors_are_kept() {
        let line: Vec<String> = (0..MIRRORS_MAX + 4)
            .map(|number| format!("<http://m{number}.example/f>; rel=duplicate; pri={}", 100 - number))
            .collect();
        let (mirrors, _) = check(&[&line.join(", ")]);
        assert_eq!(mirrors.len(), MIRRORS_MAX);
        assert!(mirrors.iter().all(|(_, priority, _)| *priority <= 96));
    }
}
