//! What an answer says of other places, as it must read from behind the prefix. Pure.
//!
//! A browser there takes `/b` for a page of ours and `//host/b` for another box: both are led back through the prefix
//! to where the site meant. What leads to no website is left alone when it names its own scheme, and is taken out when
//! it would be taken for an address of ours.

use http::header::{CONTENT_LOCATION, LINK, LOCATION, REFRESH};
use http::{HeaderMap, HeaderName, HeaderValue};
use kith_model::key::Target;

/// Rewrites an answer that `base` gave.
pub(crate) fn relocate(headers: &mut HeaderMap, base: &Target) {
    for name in [LOCATION, CONTENT_LOCATION] {
        each(headers, &name, |reference| place(reference, base));
    }
    each(headers, &REFRESH, |refresh| refreshed(refresh, base));
    each(headers, &LINK, |links| linked(links, base));
}

/// Puts every value of a field through `rewrite`; what gives nothing is taken out.
fn each(headers: &mut HeaderMap, name: &HeaderName, rewrite: impl Fn(&str) -> Option<String>) {
    if !headers.contains_key(name) {
        return;
    }
    let rewritten: Vec<HeaderValue> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| HeaderValue::from_str(&rewrite(value.to_str().ok()?)?).ok())
        .collect();
    headers.remove(name);
    for value in rewritten {
        headers.append(name, value);
    }
}

/// `/https://host/path` for a reference to a website (RFC 3986 section 5). A fragment is the client's own affair and
/// stays (RFC 9110 section 10.2.2).
fn place(reference: &str, base: &Target) -> Option<String> {
    if names_another_scheme(reference) {
        return Some(reference.to_owned());
    }
    let (reference, fragment) = match reference.split_once('#') {
        Some((reference, fragment)) => (reference, format!("#{fragment}")),
        None => (reference, String::new()),
    };
    Some(format!("/{}{fragment}", base.join(reference.trim()).ok()?))
}

/// `5; url=/next`, as browsers understand it (HTML, "shared declarative refresh steps").
fn refreshed(refresh: &str, base: &Target) -> Option<String> {
    let Some((seconds, rest)) = refresh.split_once([';', ',']) else { return Some(refresh.to_owned()) };
    let rest = rest.trim();
    let is_url = rest.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("url"));
    let named = is_url.then(|| rest[3..].trim_start().strip_prefix('=')).flatten();
    let reference = named.unwrap_or(rest).trim().trim_matches(['\'', '"']);
    Some(format!("{}; url={}", seconds.trim(), place(reference, base)?))
}

/// Only what is relative: tools use whole addresses as further sources (RFC 6249), whether a box is between or not.
fn linked(links: &str, base: &Target) -> Option<String> {
    let mut rewritten = String::with_capacity(links.len());
    let mut rest = links;
    while let Some(open) = unquoted(rest, '<') {
        let (reference, after) = rest[open + 1..].split_once('>')?;
        rewritten.push_str(&rest[..=open]);
        rewritten.push_str(&if has_scheme(reference) {
            reference.to_owned()
        } else {
            place(reference, base)?
        });
        rewritten.push('>');
        rest = after;
    }
    rewritten.push_str(rest);
    Some(rewritten)
}

/// Where a character stands outside of quoted strings.
fn unquoted(text: &str, wanted: char) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if letter == wanted && !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn scheme(reference: &str) -> Option<&str> {
    let (scheme, _) = reference.trim_start().split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(scheme)
}

fn has_scheme(reference: &str) -> bool {
    scheme(reference).is_some()
}

fn names_another_scheme(reference: &str) -> bool {
    scheme(reference)
        .is_some_and(|scheme| !["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relocated(name: &'static str, value: &str) -> Option<String> {
        let base = Target::parse("https://a.test/dir/page?q").expect("a URL");
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        relocate(&mut headers, &base);
        headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn places_lead_back_through_the_prefix() {
        for name in ["location", "content-location"] {
            for (from, to) in [
                ("https://b.test/x?y#z", Some("/https://b.test/x?y#z")),
                ("HTTP://B.test", Some("/http://b.test/")),
                ("//b.test/x", Some("/https://b.test/x")),
                ("/x", Some("/https://a.test/x")),
                ("x", Some("/https://a.test/dir/x")),
                ("../x", Some("/https://a.test/x")),
                ("?r", Some("/https://a.test/dir/page?r")),
                ("#top", Some("/https://a.test/dir/page?q#top")),
                ("/https://b.test/", Some("/https://a.test/https://b.test/")),
                ("magnet:?xt=urn:btih:00", Some("magnet:?xt=urn:btih:00")),
                ("ftp://a.test/x", Some("ftp://a.test/x")),
                ("http://u:p@a.test/", None),
                ("http://", None),
            ] {
                assert_eq!(relocated(name, from).as_deref(), to, "{name}: {from}");
            }
        }
    }

    #[test]
    fn a_refresh_leads_back_too() {
        for (from, to) in [
            ("5", Some("5")),
            ("5; url=/x", Some("5; url=/https://a.test/x")),
            ("0,URL = 'x'", Some("0; url=/https://a.test/dir/x")),
            ("0;https://b.test/", Some("0; url=/https://b.test/")),
            ("0; url=http://", None),
        ] {
            assert_eq!(relocated("refresh", from).as_deref(), to, "{from}");
        }
    }

    #[test]
    fn relative_links_lead_back_and_mirrors_stay_as_they_are() {
        for (from, to) in [
            ("</x.meta4>; rel=describedby", Some("</https://a.test/x.meta4>; rel=describedby")),
            (
                "<https://m.test/x>; rel=duplicate; title=\"<y>, \\\"z\", <n>;rel=next",
                Some(
                    "<https://m.test/x>; rel=duplicate; title=\"<y>, \\\"z\", </https://a.test/dir/n>;rel=next",
                ),
            ),
            ("</x; rel=next", None),
        ] {
            assert_eq!(relocated("link", from).as_deref(), to, "{from}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_left_that_a_browser_would_look_for_on_the_box(reference in "[ -~]{0,60}") {
            for name in ["location", "content-location"] {
                if let Some(place) = relocated(name, &reference) {
                    let prefixed = place.starts_with("/https://") || place.starts_with("/http://");
                    proptest::prop_assert!(prefixed || names_another_scheme(&place), "{} {}", name, place);
                }
            }
        }
    }
}
