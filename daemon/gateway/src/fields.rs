//! Which fields cross the box, in both directions (RFC 9110 section 7.6.1). Pure.
//!
//! To origins go the fields that are known to do no harm to others who get the same stored answer. A field that is
//! not known may change the answer in ways that `Vary` does not tell (caches were poisoned so), yet a program may
//! need it: it is passed on, and what comes stays within the household. When the field has a name of the kind that
//! carries secrets, or by which servers were deceived, the answer is that client's alone.

use http::header::{
    ACCEPT_ENCODING, ALT_SVC, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, EXPECT, HOST, ORIGIN, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, RANGE, REFERER, REFERRER_POLICY, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use kith_fetch::wish::Company;
use kith_model::freshness;

use crate::request::Door;

/// Known request fields that are passed on; besides these what begins as [`KNOWN_FAMILIES`] do.
const KNOWN: [&str; 28] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "cdn-loop",
    "cookie",
    "dnt",
    "downlink",
    "dpr",
    "ect",
    "origin",
    "pragma",
    "priority",
    "purpose",
    "referer",
    "rtt",
    "save-data",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "viewport-width",
    "want-content-digest",
    "want-digest",
    "want-repr-digest",
    "device-memory",
    "width",
];

/// What browsers and package managers say about themselves.
const KNOWN_FAMILIES: [&str; 3] = ["sec-", "npm-", "pacote-"];

/// Fields that end at every hop.
const HOP_BY_HOP: [HeaderName; 7] =
    [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// The same, without a constant.
const HOP_BY_HOP_NAMES: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];

/// Fields by which servers were made to answer another request than the one that the answer was filed under.
const NEVER: [&str; 11] = [
    "forwarded",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-wap-profile",
    "service-worker",
];

/// The fields to pass to an origin, and whether the answer may be others' too.
pub(crate) fn for_origin(headers: HeaderMap, door: Door) -> (HeaderMap, Company) {
    let hop = named_by_connection(&headers);
    let mut passed = HeaderMap::with_capacity(headers.len());
    let mut company = Company::Shared;
    let mut current = None;
    for (name, value) in headers {
        // The map names a field once and then lists its values.
        let name = name.or_else(|| current.clone());
        let Some(name) = name else { continue };
        current = Some(name.clone());
        match fate(&name, door, &hop) {
            Fate::Dropped => {}
            Fate::Passed => {
                passed.append(name, value);
            }
            Fate::PassedAlone => {
                company = Company::Alone;
                passed.append(name, value);
            }
            Fate::PassedUnstored => {
                company = Company::Alone;
                passed.append(name, value);
                passed.append(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
        }
    }
    normalise_codings(&mut passed);
    (passed, company)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Dropped,
    Passed,
    PassedAlone,
    PassedUnstored,
}

fn fate(name: &HeaderName, door: Door, hop: &[HeaderName]) -> Fate {
    if name == AUTHORIZATION || (name == COOKIE && door == Door::Proxy) {
        return Fate::PassedAlone;
    }
    let text = name.as_str();
    // In the prefix form these speak of the box's own pages.
    let of_the_box = [COOKIE, ORIGIN, REFERER].contains(name) || text.starts_with("sec-") || text == "dnt";
    if door == Door::Prefix && of_the_box {
        return Fate::Dropped;
    }
    if KNOWN.contains(&text) || KNOWN_FAMILIES.iter().any(|family| text.starts_with(family)) {
        return Fate::Passed;
    }
    let ours = [HOST, CONTENT_LENGTH, EXPECT, RANGE].contains(name);
    let hostile = NEVER.contains(&text) || text.starts_with("x-forwarded-");
    if ours || hostile || is_hop_by_hop(name) || hop.contains(name) {
        return Fate::Dropped;
    }
    if is_suspicious(text) { Fate::PassedUnstored } else { Fate::PassedAlone }
}

/// Whether a field that is not known may be a secret, or may tell a server to answer another request than the one that
/// it was sent: by its name, since nothing else is known. Nearly all such fields begin with `x-`.
fn is_suspicious(name: &str) -> bool {
    const WORDS: [&str; 26] = [
        "access", "api", "auth", "client", "cookie", "cred", "csrf", "debug", "forward", "host", "id-token",
        "jwt", "key", "method", "origin", "original", "override", "pass", "path", "proxy", "rewrite",
        "secret", "session", "token", "url", "user",
    ];
    name.starts_with("x-") || WORDS.iter().any(|word| name.contains(word))
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name) || HOP_BY_HOP_NAMES.contains(&name.as_str())
}

/// Fields that `Connection` names. It cannot name one that we know to be end-to-end: that was used to make a cache
/// lose `Host` or `Content-Length` (section 7.6.1 forbids it to senders).
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// Fields that say who the client is. They never leave the house.
const OF_THE_CLIENT: [&str; 4] = ["forwarded", "x-real-ip", "x-client-ip", "true-client-ip"];

/// Beginnings of the names of request fields that `Connection` may not take away (section 7.6.1 forbids senders to name
/// them): requests lost their target, their credentials or the marks of a loop that way.
const NEVER_NAMED: [&str; 14] = [
    "accept",
    "authorization",
    "cache-control",
    "cdn-loop",
    "content-",
    "cookie",
    "host",
    "if-",
    "origin",
    "pragma",
    "range",
    "referer",
    "user-agent",
    "via",
];

/// The fields of a request that passes by the store: all that are end to end, since nobody shares its answer, but for
/// those that say who asks.
pub(crate) fn for_relay(headers: &HeaderMap) -> HeaderMap {
    let hop: Vec<_> = named_by_connection(headers)
        .into_iter()
        .filter(|name| !NEVER_NAMED.iter().any(|kept| name.as_str().starts_with(kept)))
        .collect();
    let is_ours = |name: &HeaderName| [HOST, CONTENT_LENGTH, EXPECT].contains(name);
    let tells_who = |name: &HeaderName| {
        OF_THE_CLIENT.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-")
    };
    let leaves =
        |name: &HeaderName| !(is_ours(name) || tells_who(name) || is_hop_by_hop(name) || hop.contains(name));
    let passed = headers.iter().filter(|(name, _)| leaves(name));
    passed.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// `Accept-Encoding` as the few codings that the web uses, each alike: a stored answer is filed under this field, and
/// clients that spell it in thousands of ways filled another cache and flooded its origins (CVE-2024-35296).
fn normalise_codings(headers: &mut HeaderMap) {
    if !headers.contains_key(ACCEPT_ENCODING) {
        return;
    }
    let taken = freshness::accepted_encodings(headers);
    let mut codings: Vec<_> =
        ["br", "gzip", "zstd"].into_iter().filter(|name| taken.contains(*name)).collect();
    if !taken.contains("identity") {
        codings.push("identity;q=0");
    } else if codings.is_empty() {
        codings.push("identity");
    }
    let value = HeaderValue::from_str(&codings.join(", ")).unwrap_or(HeaderValue::from_static("identity"));
    headers.insert(ACCEPT_ENCODING, value);
}

/// Takes from an answer of an origin what is not for this client, and adds what guards it.
pub(crate) fn for_client(headers: &mut HeaderMap, door: Door) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    for name in HOP_BY_HOP_NAMES {
        headers.remove(name);
    }
    match door {
        Door::Prefix => guard_our_origin(headers),
        Door::Proxy => guard_the_house(headers),
    }
}

/// What a site says about its origin, or asks for as one: behind the prefix it would be taken to be about ours. A
/// challenge is among it: a password given to one site would go to each that names the same realm.
const OF_AN_ORIGIN: [HeaderName; 5] = [
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    ALT_SVC,
    WWW_AUTHENTICATE,
    HeaderName::from_static("authentication-info"),
];

/// The same, without a constant.
const OF_AN_ORIGIN_NAMES: [&str; 14] = [
    "accept-ch",
    "access-control-allow-credentials",
    "access-control-allow-origin",
    "activate-storage-access",
    "clear-site-data",
    "critical-ch",
    "nel",
    "origin-agent-cluster",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "set-login",
    "speculation-rules",
    "use-as-dictionary",
];

/// A resource that only pages of its own origin may embed (Fetch, section 3.8).
pub(crate) const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Behind the prefix all sites share our own origin: each page is put into a box of its own, and nothing that a site
/// says about its origin may be taken to be about ours.
fn guard_our_origin(headers: &mut HeaderMap) {
    for name in OF_AN_ORIGIN {
        headers.remove(name);
    }
    for name in OF_AN_ORIGIN_NAMES {
        headers.remove(name);
    }
    headers.append(CONTENT_SECURITY_POLICY, sandbox(headers.get(CONTENT_TYPE)));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

/// No scripts, no forms, an origin of its own. Two things are let be: browsers refuse the download that somebody
/// clicks on in a sandboxed listing unless it is allowed, and the page that a browser makes around a film, which has
/// nothing of the site's in it, has to load the film from where it stands.
fn sandbox(kind: Option<&HeaderValue>) -> HeaderValue {
    let is_film = |kind: &HeaderValue| {
        let kind = kind.as_bytes().to_ascii_lowercase();
        kind.starts_with(b"video/") || kind.starts_with(b"audio/")
    };
    HeaderValue::from_static(match kind {
        Some(kind) if is_film(kind) => "sandbox allow-same-origin",
        kind if may_be_page(kind) => "sandbox allow-downloads",
        _ => "sandbox",
    })
}

/// Browsers lift their guard of the local network for what comes through a proxy on it; this puts it back.
fn guard_the_house(headers: &mut HeaderMap) {
    if may_be_page(headers.get(CONTENT_TYPE)) {
        headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static("treat-as-public-address"));
    }
}

/// Whether a browser may make a page of content of this type: HTML, and every XML, which may hold or become HTML.
fn may_be_page(kind: Option<&HeaderValue>) -> bool {
    kind.is_none_or(|kind| {
        let kind = kind.as_bytes().to_ascii_lowercase();
        let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        kind == b"text/html" || kind.ends_with(b"/xml") || kind.ends_with(b"+xml") || !kind.contains(&b'/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn connection_cannot_name_end_to_end_fields() {
        let asked = fields(&[
            ("connection", "authorization, x-hop, close, user-agent"),
            ("authorization", "secret"),
            ("user-agent", "curl"),
            ("x-hop", "1"),
            ("keep-alive", "1"),
            ("te", "gzip"),
        ]);
        let (passed, company) = for_origin(asked, Door::Proxy);
        assert_eq!(passed, fields(&[("authorization", "secret"), ("user-agent", "curl")]));
        assert_eq!(company, Company::Alone);
    }

    #[test]
    fn a_request_past_the_store_keeps_all_but_what_is_for_one_hop_or_says_who_asks() {
        let asked = fields(&[
            ("connection", "x-hop, authorization, content-type, via, cdn-loop, host, close"),
            ("x-hop", "1"),
            ("authorization", "secret"),
            ("content-type", "text/plain"),
            ("content-length", "5"),
            ("via", "1.1 fred"),
            ("cdn-loop", "cdn.example"),
            ("host", "a.example"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("keep-alive", "5"),
            ("proxy-authorization", "secret"),
            ("proxy-connection", "keep-alive"),
            ("x-forwarded-for", "192.168.1.7"),
            ("x-forwarded-host", "evil.test"),
            ("forwarded", "for=192.168.1.7"),
            ("x-http-method-override", "DELETE"),
        ]);
        let expected = fields(&[
            ("authorization", "secret"),
            ("content-type", "text/plain"),
            ("via", "1.1 fred"),
            ("cdn-loop", "cdn.example"),
            ("x-http-method-override", "DELETE"),
        ]);
        assert_eq!(for_relay(&asked), expected);
    }

    #[test]
    fn accept_encoding_is_one_of_few_whatever_a_client_writes() {
        for (asked, expected) in [
            ("gzip, deflate, br, zstd", "br, gzip, zstd"),
            ("br;q=1.0, gzip;q=0.2", "br, gzip"),
            ("X-GZIP", "gzip"),
            ("gzip;q=0", "identity"),
            ("x-unknown-0001", "identity"),
            ("*", "identity"),
            ("gzip, identity;q=0", "gzip, identity;q=0"),
            ("", "identity"),
        ] {
            let (passed, _) = for_origin(fields(&[("accept-encoding", asked)]), Door::Proxy);
            assert_eq!(passed["accept-encoding"], expected, "{asked}");
        }
        assert!(for_origin(HeaderMap::new(), Door::Proxy).0.is_empty());
    }

    #[test]
    fn fields_that_poison_are_dropped_and_unknown_ones_keep_the_answer_to_one_client() {
        let poison =
            [("x-forwarded-host", "evil.test"), ("x-original-url", "/b"), ("x-http-method-override", "POST")];
        let (passed, company) = for_origin(fields(&poison), Door::Proxy);
        assert!(passed.is_empty());
        assert_eq!(company, Company::Shared);
        let (passed, company) = for_origin(fields(&[("x-api-key", "k")]), Door::Proxy);
        assert_eq!(passed, fields(&[("x-api-key", "k"), ("cache-control", "no-store")]));
        assert_eq!(company, Company::Alone);
        for (name, is_kept_out) in
            [("private-token", true), ("base-url", true), ("true-client-ip", true), ("test-number", false)]
        {
            let (passed, company) = for_origin(fields(&[(name, "1")]), Door::Proxy);
            assert_eq!(passed.contains_key(CACHE_CONTROL), is_kept_out, "{name}");
            assert_eq!(company, Company::Alone);
        }
    }

    #[test]
    fn cookies_do_not_cross_the_prefix_form_in_either_direction() {
        let asked = [("cookie", "a=b"), ("referer", "http://box/"), ("accept", "*/*")];
        let (passed, company) = for_origin(fields(&asked), Door::Prefix);
        assert_eq!((passed, company), (fields(&[("accept", "*/*")]), Company::Shared));
        assert_eq!(for_origin(fields(&asked), Door::Proxy).1, Company::Alone);
        let mut answer = fields(&[("set-cookie", "a=b"), ("content-security-policy", "default-src 'self'")]);
        for_client(&mut answer, Door::Prefix);
        assert!(!answer.contains_key(SET_COOKIE));
        let policies: Vec<_> = answer.get_all(CONTENT_SECURITY_POLICY).iter().collect();
        assert_eq!(policies, ["default-src 'self'", "sandbox allow-downloads"]);
        assert_eq!(answer["cross-origin-resource-policy"], "same-origin");
        assert_eq!(answer[X_CONTENT_TYPE_OPTIONS], "nosniff");
    }

    #[test]
    fn pages_through_the_proxy_count_as_public() {
        for (kind, marked) in [
            ("text/html; charset=utf-8", true),
            ("Image/SVG+xml", true),
            ("text/xml", true),
            ("image/png", false),
        ] {
            let mut answer = fields(&[("content-type", kind), ("set-cookie", "a=b")]);
            for_client(&mut answer, Door::Proxy);
            assert_eq!(answer.contains_key(CONTENT_SECURITY_POLICY), marked, "{kind}");
            assert!(answer.contains_key(SET_COOKIE));
        }
    }

    #[test]
    fn films_may_load_themselves_and_listings_may_link_to_downloads() {
        for (kind, policy) in [
            ("text/html", "sandbox allow-downloads"),
            ("html", "sandbox allow-downloads"),
            ("application/rss+xml", "sandbox allow-downloads"),
            ("Video/mp4", "sandbox allow-same-origin"),
            ("text/html, video/mp4", "sandbox"),
            ("application/octet-stream", "sandbox"),
        ] {
            let mut answer = fields(&[("content-type", kind)]);
            for_client(&mut answer, Door::Prefix);
            assert_eq!(answer[CONTENT_SECURITY_POLICY], policy, "{kind}");
        }
    }

    #[test]
    fn what_a_site_says_of_its_origin_is_not_said_of_ours() {
        let said = [
            ("www-authenticate", "Basic realm=\"x\""),
            ("access-control-allow-origin", "*"),
            ("accept-ch", "device-memory"),
            ("use-as-dictionary", "match=\"/*\""),
            ("cross-origin-resource-policy", "cross-origin"),
        ];
        let mut answer = fields(&said);
        for_client(&mut answer, Door::Prefix);
        assert_eq!(answer.keys().filter(|name| said.iter().any(|(other, _)| name == other)).count(), 1);
        assert_eq!(answer["cross-origin-resource-policy"], "same-origin");
        let mut by_proxy = fields(&said);
        for_client(&mut by_proxy, Door::Proxy);
        assert_eq!(by_proxy.len(), said.len() + 1);
    }
}
