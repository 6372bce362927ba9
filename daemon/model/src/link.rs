//! The `Link` field (RFC 8288): read from origins, written to clients. Pure.
//!
//! What is malformed ends the reading: the links before it count, nothing behind it does. At most [`LINKS_MAX`] links
//! and [`LINK_PARAMETERS_MAX`] parameters of each are read. Resolves no reference and knows no relation's meaning.

use std::fmt;

use crate::limits::{LINK_PARAMETERS_MAX, LINKS_MAX};

/// One link: a reference and what is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    reference: String,
    /// Names in lower case, in the order given.
    parameters: Vec<(String, String)>,
}

impl Link {
    /// A link to `reference`, which holds neither `>` nor a control character.
    pub fn new(reference: &str) -> Option<Self> {
        is_reference(reference).then(|| Self { reference: reference.to_owned(), parameters: Vec::new() })
    }

    /// With one more parameter; left out when it cannot be written.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let is_name = !name.is_empty() && name.bytes().all(is_token);
        let is_value = value.bytes().all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\t');
        if is_name && is_value {
            self.parameters.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        self
    }

    /// Where it points, as written.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The value of a parameter; the first one counts (RFC 8288 section 3.3 says so of `rel`).
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the link has this relation; `rel` may name several (section 3.3), in any case (section 2.1.1).
    pub fn has_relation(&self, relation: &str) -> bool {
        let named = self.parameter("rel").unwrap_or_default();
        named.split_ascii_whitespace().any(|name| name.eq_ignore_ascii_case(relation))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.reference)?;
        for (name, value) in &self.parameters {
            if !value.is_empty() && value.bytes().all(is_token) {
                write!(f, "; {name}={value}")?;
            } else {
                write!(f, "; {name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))?;
            }
        }
        Ok(())
    }
}

/// The links of one field line.
pub fn parse(line: &str) -> Vec<Link> {
    let mut rest = line;
    let mut links = Vec::new();
    while links.len() < LINKS_MAX {
        // RFC 9110 section 5.6.1: a recipient takes empty members of a list.
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            break;
        }
        let Some((link, after)) = link(rest) else { break };
        links.push(link);
        rest = after;
    }
    links
}

/// One link and what follows it.
fn link(text: &str) -> Option<(Link, &str)> {
    let (reference, mut rest) = text.strip_prefix('<')?.split_once('>')?;
    // Whitespace around a reference is not in the grammar but in the world.
    let mut link = Link::new(reference.trim_matches([' ', '\t']))?;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let Some(parameters) = rest.strip_prefix(';') else { break };
        rest = parameters.trim_start_matches([' ', '\t']);
        // An empty parameter, as before a comma.
        if rest.is_empty() || rest.starts_with([',', ';']) {
            continue;
        }
        let (parameter, after) = parameter(rest)?;
        if link.parameters.len() < LINK_PARAMETERS_MAX {
            link.parameters.push(parameter);
        }
        rest = after;
    }
    (rest.is_empty() || rest.starts_with(',')).then_some((link, rest))
}

/// `name`, `name=token` or `name="quoted"`, and what follows it.
fn parameter(text: &str) -> Option<((String, String), &str)> {
    let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let Some(value) = rest.trim_start_matches([' ', '\t']).strip_prefix('=') else {
        return Some(((name, String::new()), rest));
    };
    let value = value.trim_start_matches([' ', '\t']);
    if let Some(quoted) = value.strip_prefix('"') {
        let (value, rest) = quoted_string(quoted)?;
        return Some(((name, value), rest));
    }
    // Media types stand here without quotes too, against the grammar.
    let end = value.find([';', ',', ' ', '\t']).unwrap_or(value.len());
    let (value, rest) = value.split_at(end);
    value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"')
        .then(|| ((name, value.to_owned()), rest))
}

/// What stands before the closing quote, unescaped (RFC 9110 section 5.6.4), and what follows the quote.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            _ => value.push(letter),
        }
    }
    None
}

fn is_reference(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>'))
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(line: &str, expected: &[(&str, &[(&str, &str)])]) {
        let links = parse(line);
        let read: Vec<_> = links
            .iter()
            .map(|link| {
                let parameters: Vec<_> =
                    link.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                (link.reference(), parameters)
            })
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(reference, parameters)| (*reference, parameters.to_vec())).collect();
        assert_eq!(read, expected, "{line}");
    }

    #[test]
    fn links_are_read_as_rfc_8288_writes_them() {
        check("<http://a.example/x>; rel=duplicate", &[("http://a.example/x", &[("rel", "duplicate")])]);
        check(
            "<http://a.example/x>; rel=\"duplicate\"; pri=1; geo=de, <f.meta4>;rel=describedby; \
             type=\"application/metalink4+xml\"",
            &[
                ("http://a.example/x", &[("rel", "duplicate"), ("pri", "1"), ("geo", "de")]),
                ("f.meta4", &[("rel", "describedby"), ("type", "application/metalink4+xml")]),
            ],
        );
        check("<a,b;c>; title=\"x, <y>; \\\"z\\\"\"", &[("a,b;c", &[("title", "x, <y>; \"z\"")])]);
        check("<a>;REL = next ; pref", &[("a", &[("rel", "next"), ("pref", "")])]);
        check("<f>; type=application/metalink4+xml;", &[("f", &[("type", "application/metalink4+xml")])]);
        check(",, <a> , , <b>,", &[("a", &[]), ("b", &[])]);
    }

    #[test]
    fn reading_ends_where_sense_does() {
        for line in
            ["", "a", "<a", "<a\u{1}>", "<a>; rel=\"x", "<a>; =x", "<a> b", "<a>; rel=\"x\\", "<a>;rel=x\"y"]
        {
            check(line, &[]);
        }
        check("<a>; rel=x, b, <c>", &[("a", &[("rel", "x")])]);
        assert_eq!(parse(&"<a>,".repeat(LINKS_MAX * 2)).len(), LINKS_MAX);
        let parameters = parse(&format!("<a>{}", ";b=c".repeat(LINK_PARAMETERS_MAX * 2)));
        assert_eq!(parameters[0].parameters.len(), LINK_PARAMETERS_MAX);
    }

    #[test]
    fn relations_are_found_among_several_and_only_in_the_first_rel() {
        let links = parse("<a>; rel=\"alternate Duplicate\"; rel=next, <b>; rel=duplicates");
        assert!(links[0].has_relation("duplicate") && !links[0].has_relation("next"));
        assert!(!links[1].has_relation("duplicate"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            links in prop::collection::vec(
                ("[!-;=?-~]{0,20}", prop::collection::vec(("[a-z*]{1,8}", "[ -~]{0,12}"), 0..4)),
                1..6,
            ),
        ) {
            let links: Vec<Link> = links
                .into_iter()
                .map(|(reference, parameters)| {
                    let link = Link::new(&reference).expect("no brackets");
                    parameters.iter().fold(link, |link, (name, value)| link.with(name, value))
                })
                .collect();
            let line = links.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(parse(&line), links, "{}", line);
        }

        #[test]
        fn any_text_is_read_within_bounds(line in "[<>;,=\"\\\\a-c \t\u{e9}]{0,200}") {
            for link in parse(&line) {
                prop_assert_eq!(parse(&link.to_string()).len(), 1);
            }
        }
    }
}
