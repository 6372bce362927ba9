//! Who sent a request: a person, a program, or another website by way of its visitor's browser. Pure.
//!
//! Behind the prefix and by hash the box fetches whatever it is asked for, so a page anywhere could let its visitors'
//! browsers fill the shelf, or learn from the time that a picture takes what the house has loaded. What is decided
//! here is decided from the request's fields alone, before anything is looked up: a no is the same no for what is held
//! and for what is not.
//!
//! Browsers tell `Sec-Fetch-*` only to hosts that count as secure, which on plain http is none but `localhost`. For
//! all others there are older signs: `Origin`, `Referer`, and what a picture's or a style's request accepts. A script
//! element without a referrer looks like a download that the browser makes for its user; there the browser's own guard
//! of the local network is what stands in the way.
//!
//! A page from behind the prefix is sandboxed, so its origin is nobody's and what it embeds is refused like what any
//! other site's page embeds: the prefix is for downloads, listings and films, not for browsing.

use http::header::{ACCEPT, ORIGIN, REFERER, UPGRADE_INSECURE_REQUESTS, USER_AGENT};
use http::{HeaderMap, HeaderName};

use crate::refusal::Refusal;

const SERVICE_WORKER: HeaderName = HeaderName::from_static("service-worker");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// What browsers said before `Sec-Purpose`, and what they say.
const PURPOSES: [HeaderName; 3] = [
    HeaderName::from_static("sec-purpose"),
    HeaderName::from_static("purpose"),
    HeaderName::from_static("x-moz"),
];

/// What becomes of a request that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// It is answered.
    Welcome,
    /// A person came from another site's page: they may follow the link once more, from a page of ours.
    AskFirst,
}

/// Judges a request for anything but a page of ours. `is_ours` is asked about authorities (`host:port`).
pub(crate) fn judge(headers: &HeaderMap, is_ours: impl Fn(&str) -> bool) -> Result<Visit, Refusal> {
    // It would seize every site behind the prefix.
    if headers.contains_key(SERVICE_WORKER) || says(headers, &FETCH_DEST, "serviceworker") {
        return Err(Refusal::ServiceWorker);
    }
    let is_foreign = |name: &HeaderName| {
        headers.get_all(name).iter().any(|url| !authority(url.as_bytes()).is_some_and(&is_ours))
    };
    // It comes with everything whose answer a script may read; `null` is nobody.
    if is_foreign(&ORIGIN) {
        return Err(Refusal::CrossSite);
    }
    let site = headers.get(&FETCH_SITE).map(http::HeaderValue::as_bytes);
    match site {
        Some(b"none" | b"same-origin") => Ok(Visit::Welcome),
        // Nobody has asked for it yet.
        _ if is_prefetch(headers) => Err(Refusal::CrossSite),
        // Another port of this host: a link on the admin page.
        Some(b"same-site") if is_page_visit(headers) => Ok(Visit::Welcome),
        Some(_) if is_page_visit(headers) => Ok(Visit::AskFirst),
        Some(_) => Err(Refusal::CrossSite),
        None if !is_browser(headers) => Ok(Visit::Welcome),
        None if is_foreign(&REFERER) && is_navigation(headers) => Ok(Visit::AskFirst),
        None if is_foreign(&REFERER) => Err(Refusal::CrossSite),
        None if is_part_of_a_page(headers) && !headers.contains_key(REFERER) => Err(Refusal::CrossSite),
        None => Ok(Visit::Welcome),
    }
}

/// Whether a browser goes to a page, in any of its frames: what it gets stands in its address bar, and links in it are
/// relative to that.
pub(crate) fn is_navigation(headers: &HeaderMap) -> bool {
    says(headers, &FETCH_MODE, "navigate") || headers.contains_key(UPGRADE_INSECURE_REQUESTS)
}

/// A navigation of a whole window, for a person to see.
fn is_page_visit(headers: &HeaderMap) -> bool {
    says(headers, &FETCH_MODE, "navigate") && says(headers, &FETCH_DEST, "document")
}

fn is_browser(headers: &HeaderMap) -> bool {
    starts(headers, &USER_AGENT, "Mozilla/")
}

fn is_prefetch(headers: &HeaderMap) -> bool {
    PURPOSES.iter().any(|name| starts(headers, name, "prefetch"))
}

/// Pictures and styles; nothing that browsers fetch for themselves says that it accepts them before all else.
fn is_part_of_a_page(headers: &HeaderMap) -> bool {
    starts(headers, &ACCEPT, "image/") || starts(headers, &ACCEPT, "text/css")
}

fn says(headers: &HeaderMap, name: &HeaderName, expected: &str) -> bool {
    headers.get(name).is_some_and(|value| value == expected)
}

fn starts(headers: &HeaderMap, name: &HeaderName, expected: &str) -> bool {
    headers.get(name).is_some_and(|value| value.as_bytes().starts_with(expected.as_bytes()))
}

/// `host:port` of an http URL or origin.
fn authority(url: &[u8]) -> Option<&str> {
    let (scheme, rest) = std::str::from_utf8(url).ok()?.split_once("://")?;
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    is_web.then(|| rest.split(['/', '?', '#']).next().unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const FIREFOX: (&str, &str) = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101");
    const PAGE: (&str, &str) = ("accept", "text/html,application/xhtml+xml");
    const PICTURE: (&str, &str) = ("accept", "image/avif,image/webp,*/*;q=0.8");
    const ANYTHING: (&str, &str) = ("accept", "*/*");
    const UPGRADE: (&str, &str) = ("upgrade-insecure-requests", "1");
    const FOREIGN: (&str, &str) = ("referer", "http://evil.test/page");

    fn judged(fields: &[(&'static str, &'static str)]) -> &'static str {
        let fields = fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
        match judge(&fields.collect(), |authority| authority == "box:8480") {
            Ok(Visit::Welcome) => "welcome",
            Ok(Visit::AskFirst) => "link",
            Err(Refusal::CrossSite) => "refused",
            Err(_) => "worker",
        }
    }

    #[test]
    fn what_browsers_say_of_secure_hosts_decides() {
        let document = |site| {
            judged(&[
                ("sec-fetch-site", site),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ])
        };
        for (site, expected) in [
            ("none", "welcome"),
            ("same-origin", "welcome"),
            ("same-site", "welcome"),
            ("cross-site", "link"),
        ] {
            assert_eq!(document(site), expected, "{site}");
        }
        for (mode, dest) in [
            ("no-cors", "image"),
            ("no-cors", "script"),
            ("no-cors", "style"),
            ("no-cors", "video"),
            ("no-cors", "empty"),
            ("cors", "font"),
            ("cors", "empty"),
            ("navigate", "iframe"),
            ("navigate", "object"),
            ("navigate", "embed"),
            ("websocket", "empty"),
        ] {
            for (site, expected) in [
                ("cross-site", "refused"),
                ("same-site", "refused"),
                ("same-origin", "welcome"),
                ("none", "welcome"),
            ] {
                let fields = [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
                assert_eq!(judged(&fields), expected, "{site} {mode} {dest}");
            }
        }
        assert_eq!(
            judged(&[("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "serviceworker")]),
            "worker"
        );
        assert_eq!(judged(&[("service-worker", "script")]), "worker");
    }

    #[test]
    fn an_origin_that_is_not_ours_is_refused() {
        for (origin, expected) in [
            ("http://box:8480", "welcome"),
            ("http://evil.test", "refused"),
            ("https://box:8480.evil.test", "refused"),
            ("null", "refused"),
            ("", "refused"),
            ("chrome-extension://box:8480", "refused"),
        ] {
            assert_eq!(judged(&[("origin", origin)]), expected, "{origin}");
        }
    }

    #[test]
    fn without_these_older_signs_decide() {
        for (fields, expected) in [
            (&[][..], "welcome"),
            (&[FOREIGN], "welcome"),
            (&[FIREFOX, PAGE, UPGRADE], "welcome"),
            (&[FIREFOX, ANYTHING], "welcome"),
            (&[FIREFOX, PICTURE], "refused"),
            (&[FIREFOX, ("accept", "text/css,*/*;q=0.1")], "refused"),
            (&[FIREFOX, PICTURE, ("referer", "http://box:8480/")], "welcome"),
            (&[FIREFOX, PAGE, UPGRADE, FOREIGN], "link"),
            (&[FIREFOX, ANYTHING, FOREIGN], "refused"),
            (&[FIREFOX, PICTURE, FOREIGN], "refused"),
            (&[FIREFOX, ANYTHING, ("purpose", "prefetch")], "refused"),
            (&[FIREFOX, PAGE, ("sec-purpose", "prefetch;prerender"), UPGRADE], "refused"),
            (&[("accept", "image/*")], "welcome"),
        ] {
            assert_eq!(judged(fields), expected, "{fields:?}");
        }
    }
}
