//! The proxy auto-configuration that browsers and systems read.
//!
//! Everything but plain http to public names goes direct: a browser that speaks https through a proxy on the LAN
//! forgets to guard the LAN, and the box could not store it anyway; and what is in the house is nobody's to cache. A
//! name is looked up, since many names of routers and printers look public. `; DIRECT` is for when the box is off.

/// For the box at `authority`.
pub(super) fn pac(authority: &str) -> String {
    let proxy = serde_json::Value::from(format!("PROXY {authority}; DIRECT"));
    format!(
        r#"function FindProxyForURL(url, host) {{
  var home = /^(0|10|127|169\.254|192\.168|172\.(1[6-9]|2\d|3[01])|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\./;
  host = host.toLowerCase().replace(/\.$/, "");
  if (url.substring(0, 5).toLowerCase() !== "http:") return "DIRECT";
  if (host.indexOf(".") < 0 || host.indexOf(":") >= 0) return "DIRECT";
  if (/\.(local|lan|home|internal|localdomain|localhost|home\.arpa)$/.test(host)) return "DIRECT";
  var address = /^[\d.]+$/.test(host) ? host : dnsResolve(host);
  return address && home.test(address) ? "DIRECT" : {proxy};
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pac_is_small_and_sends_https_direct() {
        let pac = pac("192.168.1.2:8480");
        assert!(pac.len() < 2048);
        assert!(pac.contains(r#"? "DIRECT" : "PROXY 192.168.1.2:8480; DIRECT""#));
        assert!(pac.contains(r#"!== "http:") return "DIRECT""#));
    }

    #[test]
    fn a_name_cannot_write_into_the_script() {
        assert!(pac("a\";alert(1)//:8480").contains(r#""PROXY a\";alert(1)//:8480; DIRECT""#));
    }
}
