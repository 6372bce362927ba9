//! Pages of our own: how to use this box, for people and for programs.
//!
//! Addresses in them are those by which the client reached us, and nothing a client sent comes back unescaped.

use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response};
use kith_fetch::ask::Verb;
use serde_json::json;

use crate::body::Body;
use crate::request::Page;

/// What pages tell about the box.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) node_id: String,
}

/// Renders a page for a client that reached us as `authority` (`host:port`, already known to be ours).
pub(crate) fn page(about: &About, page: Page, authority: &str, verb: Verb) -> Response<Body> {
    let (kind, text) = match page {
        Page::Home => ("text/html; charset=utf-8", home(about, authority)),
        Page::Pac => ("application/x-ns-proxy-autoconfig", pac(authority)),
        Page::ProvisioningDomain => ("application/pvd+json", provisioning_domain(about, authority)),
        Page::WellKnown => ("application/json", well_known(about, authority)),
    };
    let length = text.len();
    let mut response =
        Response::new(if verb == Verb::Head { Body::empty() } else { Body::whole(text.into()) });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    response
}

fn home(about: &About, authority: &str) -> String {
    let (name, version, authority) = (escape(&about.name), escape(&about.version), escape(authority));
    format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kith on {name}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 40rem; padding: 0 1rem; color: #222; background: #fff }}
code, pre {{ font-size: .9rem; background: #f0f0f0; border-radius: .2rem; padding: .1rem .3rem; overflow-wrap: anywhere }}
pre {{ padding: .6rem; white-space: pre-wrap }}
@media (prefers-color-scheme: dark) {{ body {{ color: #ddd; background: #181818 }} code, pre {{ background: #2a2a2a }} a {{ color: #8bf }} }}
</style>
<h1>Kith on {name}</h1>
<p>This box downloads for everyone in the house, keeps what came, and checks every byte.</p>
<h2>One download</h2>
<p>Put the box in front of the address:</p>
<pre>http://{authority}/https://example.org/file.iso</pre>
<p>It works in a browser, with <code>curl</code>, <code>wget</code> and <code>aria2c</code>, and continues where it stopped.</p>
<h2>A computer</h2>
<p>Automatic proxy configuration (only plain http goes through the box):</p>
<pre>http://{authority}/proxy.pac</pre>
<h2>apt</h2>
<pre>echo 'Acquire::http::Proxy "http://{authority}";' | sudo tee /etc/apt/apt.conf.d/30kith</pre>
<h2>By hash</h2>
<pre>http://{authority}/sha256/&lt;64 hex digits&gt;?name=file.iso</pre>
<p><small>Kith {version}</small></p>
</html>
"#
    )
}

/// Everything but plain http to public names goes direct: a browser that speaks https through a proxy on the LAN
/// forgets to guard the LAN, and the box could not store it anyway.
fn pac(authority: &str) -> String {
    let proxy = serde_json::Value::from(format!("PROXY {authority}; DIRECT"));
    format!(
        r#"function FindProxyForURL(url, host) {{
  if (url.substring(0, 5).toLowerCase() !== "http:") return "DIRECT";
  if (isPlainHostName(host) || host.indexOf(":") >= 0) return "DIRECT";
  if (/\.(local|lan|internal|home\.arpa|localhost)\.?$/i.test(host)) return "DIRECT";
  if (/^(0|10|127|169\.254|192\.168|172\.(1[6-9]|2\d|3[01]))(\.\d+)+$/.test(host)) return "DIRECT";
  return {proxy};
}}
"#
    )
}

/// RFC 8801 section 4.3, with the keys for proxies of draft-ietf-intarea-proxy-config.
fn provisioning_domain(about: &About, authority: &str) -> String {
    let host = format!("{}.local", about.name.to_ascii_lowercase());
    json!({
        "identifier": host,
        "expires": "2099-12-31T23:59:59Z",
        "prefixes": [],
        "proxies": [{ "protocol": "http", "proxy": authority, "identifier": "kith" }],
        "proxy-match": [{ "ports": ["80"], "proxies": ["kith"] }],
    })
    .to_string()
}

fn well_known(about: &About, authority: &str) -> String {
    json!({
        "name": about.name,
        "version": about.version,
        "node_id": about.node_id,
        "proxy": format!("http://{authority}"),
        "gateway": format!("http://{authority}/"),
    })
    .to_string()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_write_into_the_page() {
        let about = About { name: "<b>\"'&".to_owned(), version: "1".to_owned(), node_id: "00".to_owned() };
        let page = home(&about, "box:8480");
        assert!(page.contains("&lt;b&gt;&quot;&#39;&amp;") && !page.contains("<b>"));
        serde_json::from_str::<serde_json::Value>(&well_known(&about, "box:8480")).expect("JSON");
        serde_json::from_str::<serde_json::Value>(&provisioning_domain(&about, "box:8480")).expect("JSON");
    }

    #[test]
    fn the_pac_is_small_and_sends_https_direct_first() {
        let pac = pac("192.168.1.2:8480");
        assert!(pac.len() < 2048);
        assert!(pac.contains(r#"return "PROXY 192.168.1.2:8480; DIRECT""#));
        let first = pac.lines().nth(1).expect("a body");
        assert!(first.contains(r#"!== "http:") return "DIRECT""#));
    }
}
