//! The page for people: how each device uses this box, with the box's real addresses. Plain HTML without a script, for
//! phones too.

use super::{About, filled};

/// For clients that reach the box at `authority`.
pub(super) fn home(about: &About, authority: &str) -> String {
    let (host, port) = (crate::house::without_port(authority), port_of(authority));
    let apt = match about.apt_ports.first() {
        Some(_) => "On this box a port is open for it.",
        None => "The box\u{2019}s owner turns it on with clients.apt_listen.",
    };
    filled(
        include_str!("home.html"),
        &[
            ("name", &about.name),
            ("version", &about.version),
            ("authority", authority),
            ("host", host),
            ("port", port),
            ("apt", apt),
        ],
    )
}

/// What stands behind the host; 80 when nothing does.
fn port_of(authority: &str) -> &str {
    let host = crate::house::without_port(authority);
    authority[host.len()..].strip_prefix(':').filter(|port| !port.is_empty()).unwrap_or("80")
}

#[cfg(test)]
mod tests {
    use super::super::tests::about;
    use super::*;

    #[test]
    fn the_page_has_the_boxs_address_for_every_device_and_fits() {
        let page = home(&about("attic"), "192.168.1.2:8480");
        assert!(page.len() < 16 * 1024, "{} bytes", page.len());
        assert!(!page.contains("{{") && !page.contains("<script") && !page.contains(" style="));
        for device in ["windows", "mac", "iphone", "android", "linux", "apt", "browsers", "terminal"] {
            assert!(page.contains(&format!("<section id=\"{device}\">")), "{device}");
            assert!(page.contains(&format!("href=\"#{device}\"")), "{device}");
        }
        assert!(page.matches("http://192.168.1.2:8480/proxy.pac").count() >= 6);
        assert!(
            page.contains("Acquire::http::Proxy &quot;http://192.168.1.2:8480&quot;")
                || page.contains("Acquire::http::Proxy \"http://192.168.1.2:8480\"")
        );
    }

    #[test]
    fn every_element_is_closed_in_order() {
        let page = home(&about("attic"), "box:8480");
        let mut open: Vec<&str> = Vec::new();
        for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().expect("closed")) {
            let name = tag.trim_start_matches('/').split([' ', '\n']).next().expect("a name");
            match name {
                "!doctype" | "meta" | "input" | "link" | "path" | "circle" | "br" => {}
                _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "</{name}>"),
                _ => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn an_authority_has_a_port_though_it_is_not_written() {
        for (authority, port) in
            [("box:8480", "8480"), ("box", "80"), ("[::1]:8480", "8480"), ("[::1]", "80")]
        {
            assert_eq!(port_of(authority), port);
        }
    }
}
