//! A real browser at the doors: pages of other sites get nothing through the box, pages behind the prefix have no
//! power, and the page for people can be read by all of them.

use anyhow::Result;
use kith_tests::body::Body;
use kith_tests::browser::Browser;
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;
use kith_tests::place::Place;
use kith_tests::resource::Resource;
use serde_json::json;

/// On one machine every address is local to every other, so the browser's own guard of the LAN has nothing to say.
const UNGUARDED: &str = "--disable-features=LocalNetworkAccessChecks";

fn page(text: &str) -> Resource {
    Resource::of(Body::of(text.as_bytes().to_vec())).field("Content-Type", "text/html; charset=utf-8")
}

/// `http://localhost:port`: to a browser another site than `127.0.0.1`, and one that it tells everything to.
fn by_name(kith: &Kith) -> String {
    format!("http://localhost:{}", kith.clients().port())
}

/// Tries every way in which a page makes a browser fetch, each for an address of its own, and says how each ended.
const ATTEMPTS: &str = r#"
(async () => {
  const made = (name, attribute, url) => new Promise(ended => {
    const element = document.createElement(name);
    if (name === "link") element.rel = "stylesheet";
    element.onload = element.onloadeddata = () => ended("loaded");
    element.onerror = () => ended("failed");
    element[attribute] = url;
    document.body.append(element);
  });
  const asked = (url, options) => fetch(url, options).then(answer => answer.type + answer.status, () => "failed");
  const all = {};
  for (const [name, attribute] of [["img", "src"], ["script", "src"], ["link", "href"], ["video", "src"], ["iframe", "src"], ["object", "data"]])
    all[name] = await made(name, attribute, BOX(name));
  all.cors = await asked(BOX("cors"), {});
  all.opaque = await asked(BOX("opaque"), {mode: "no-cors"});
  all.silent = await asked(BOX("silent"), {mode: "no-cors", referrerPolicy: "no-referrer"});
  all.post = await asked(BOX("post"), {mode: "no-cors", method: "POST", body: "x"});
  all.head = await asked(BOX("head"), {mode: "no-cors", method: "HEAD"});
  return all;
})()
"#;

#[test]
fn a_foreign_page_fetches_nothing_and_learns_nothing() -> Result<()> {
    let names =
        ["img", "script", "link", "video", "iframe", "object", "cors", "opaque", "silent", "post", "head"];
    let mut script = Origin::empty().and("evil", page("<!doctype html><title>evil</title><body>"));
    for name in names {
        let held = Body::of(format!("/* {name} */").into_bytes());
        script = script.and(&format!("held-{name}"), Resource::of(held).field("Content-Type", "text/css"));
    }
    let origin = script.start()?;
    let kith = Kith::start_one("box")?;
    for name in names {
        assert_eq!(Request::by_prefix(&kith, &origin.url(&format!("held-{name}"))).fetch()?.status(), 200);
    }
    kith.wait_stored(names.len() as u64)?;
    let before = origin.requests().len();
    let mut browser = Browser::start(&Place::Here, &[UNGUARDED])?;
    browser.go(&origin.url("evil"))?;

    let ended = |browser: &mut Browser, kind: &str| {
        let url = format!("{}/{}", by_name(&kith), origin.url(kind));
        browser.run(&ATTEMPTS.replace("BOX(", &format!("(name => \"{url}-\" + name)(")))
    };
    let held = ended(&mut browser, "held")?;
    let missed = ended(&mut browser, "missed")?;

    assert_eq!(held, missed, "what is held and what is not end alike");
    for name in ["img", "script", "link", "video", "object", "cors"] {
        assert_eq!(held[name], "failed", "{name}: {held}");
    }
    let asked: Vec<_> =
        origin.requests().into_iter().skip(before).map(|seen| seen.path().to_owned()).collect();
    let asked: Vec<_> = asked.into_iter().filter(|path| path.contains('-')).collect();
    assert!(asked.is_empty(), "the box asked for {asked:?}");
    kith.wait_stored(names.len() as u64)
}

#[test]
fn a_visitor_from_another_site_follows_the_link_once_more() -> Result<()> {
    let script = Origin::empty().and("target", page("<!doctype html><title>there</title><p>there"));
    let origin = script.start()?;
    let kith = Kith::start_one("box")?;
    let url = format!("{}/{}", by_name(&kith), origin.url("target"));
    let link = format!("<!doctype html><title>evil</title><a href=\"{url}\">free</a>");
    origin.change("evil", page(&link));
    let mut browser = Browser::start(&Place::Here, &[UNGUARDED])?;
    browser.go(&origin.url("evil"))?;

    browser.go_by("document.querySelector('a').click()")?;
    assert_eq!(browser.run("document.title")?, "Open through Kith on box?");
    assert_eq!(browser.run("location.href")?, url);
    assert!(origin.requests().iter().all(|seen| seen.path() != "/target"), "nothing was fetched yet");

    browser.go_by("document.querySelector('a').click()")?;
    assert_eq!(browser.run("document.title")?, "there");
    assert_eq!(origin.requests().iter().filter(|seen| seen.path() == "/target").count(), 1);
    Ok(())
}

#[test]
fn a_page_behind_the_prefix_has_no_power_over_the_others() -> Result<()> {
    let hostile = "<!doctype html><title>still</title><script>document.title = 'ran'</script>\
                   <img src=picture onerror=\"document.title = 'ran'\"><a href=next>next</a>\
                   <form action=/https://evil.test/><button>send</button></form>";
    let hostile = page(hostile).field("Set-Cookie", "session=stolen").field("Clear-Site-Data", "\"*\"");
    let origin = Origin::empty().and("a/page", hostile).and("a/next", page("<title>next</title>")).start()?;
    let kith = Kith::start_one("box")?;
    let mut browser = Browser::start(&Place::Here, &[UNGUARDED])?;

    browser.go(&format!("{}/{}", by_name(&kith), origin.url("a/page")))?;

    assert_eq!(browser.run("[document.title, self.origin]")?, json!(["still", "null"]));
    let cookie = "(() => { try { return document.cookie } catch (error) { return error.name } })()";
    assert_eq!(browser.run(cookie)?, "SecurityError");
    let cookies = browser.call("Network.getCookies", &json!({"urls": [by_name(&kith)]}))?;
    assert_eq!(cookies["cookies"], json!([]));
    assert_eq!(
        browser.run("document.querySelector('a').href")?,
        format!("{}/{}", by_name(&kith), origin.url("a/next"))
    );
    assert!(origin.requests().iter().all(|seen| seen.path() != "/a/picture"), "no parts of pages");
    Ok(())
}

#[test]
fn the_pac_keeps_https_and_the_house_away_from_the_box() -> Result<()> {
    let kith = Kith::start_one("box")?;
    let pac = Request::own(&kith, "/proxy.pac").send()?.text()?;
    assert!(pac.len() < 2048);
    let mut browser = Browser::start(&Place::Here, &[])?;
    let proxied = format!("PROXY {}; DIRECT", kith.clients());
    for (url, host, expected) in [
        ("http://example.org/a", "example.org", &proxied[..]),
        ("HTTP://EXAMPLE.ORG/a", "EXAMPLE.ORG", &proxied),
        ("http://8.8.8.8/", "8.8.8.8", &proxied),
        ("http://172.32.0.1/", "172.32.0.1", &proxied),
        ("http://unresolved.example/", "unresolved.example", &proxied),
        ("https://example.org/", "example.org", "DIRECT"),
        ("ftp://example.org/a", "example.org", "DIRECT"),
        ("ws://example.org/", "example.org", "DIRECT"),
        ("http://printer/", "printer", "DIRECT"),
        ("http://printer./", "printer.", "DIRECT"),
        ("http://box.local/", "box.local", "DIRECT"),
        ("http://box.LAN./", "box.LAN.", "DIRECT"),
        ("http://box.home.arpa/", "box.home.arpa", "DIRECT"),
        ("http://fritz.example/", "fritz.example", "DIRECT"),
        ("http://10.1.2.3/", "10.1.2.3", "DIRECT"),
        ("http://192.168.1.1/", "192.168.1.1", "DIRECT"),
        ("http://172.31.9.9/", "172.31.9.9", "DIRECT"),
        ("http://100.64.1.1/", "100.64.1.1", "DIRECT"),
        ("http://169.254.1.1/", "169.254.1.1", "DIRECT"),
        ("http://127.0.0.1/", "127.0.0.1", "DIRECT"),
        ("http://[fe80::1]/", "fe80::1", "DIRECT"),
        ("http://[2001:db8::1]/", "[2001:db8::1]", "DIRECT"),
    ] {
        let resolved = "({'example.org': '93.184.215.14', 'fritz.example': '192.168.178.1'})";
        let asked = format!(
            "(() => {{ const dnsResolve = host => {resolved}[host] || null; {pac}; return FindProxyForURL({url:?}, {host:?}) }})()"
        );
        assert_eq!(browser.run(&asked)?, expected, "{url}");
    }
    Ok(())
}

/// Every piece of text with less contrast to what is behind it than WCAG 2.2 asks for (1.4.3).
const TOO_PALE: &str = r#"
(() => {
  const numbers = colour => colour.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = numbers(getComputedStyle(element).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const pale = [];
  for (const element of document.body.querySelectorAll("*")) {
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    const [one, other] = [light(numbers(getComputedStyle(element).color)), light(behind(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) pale.push(element.tagName + " " + contrast.toFixed(2));
  }
  return pale;
})()
"#;

#[test]
fn the_page_for_people_fits_a_phone_and_can_be_read() -> Result<()> {
    let kith = Kith::start_one("box")?;
    let mut browser = Browser::start(&Place::Here, &[])?;
    for scheme in ["light", "dark"] {
        for (width, height) in [(320, 640), (390, 844), (1280, 800)] {
            let size =
                json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
            browser.call("Emulation.setDeviceMetricsOverride", &size)?;
            let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
            browser.call("Emulation.setEmulatedMedia", &media)?;
            browser.go(&format!("{}/", by_name(&kith)))?;
            let out = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.run(out)?, 0, "nothing sticks out at {width}");
            assert_eq!(browser.run(TOO_PALE)?, json!([]), "{scheme} at {width}");
        }
    }
    assert_eq!(browser.run("document.documentElement.lang")?, "en");
    assert_eq!(browser.run("document.querySelectorAll('h1').length")?, 1);
    assert_eq!(browser.run("document.querySelector('input').labels.length")?, 1);
    assert_eq!(browser.run("document.querySelectorAll('script, [onclick], [style]').length")?, 0);
    let lost = "[...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.hash)).length";
    assert_eq!(browser.run(lost)?, 0, "every link leads somewhere");
    let address = format!("http://localhost:{}/proxy.pac", kith.clients().port());
    assert_eq!(browser.run(&format!("document.body.innerText.includes({address:?})"))?, true);
    Ok(())
}

#[test]
fn the_form_fetches_a_file() -> Result<()> {
    let body = Body::seeded(7, 300_000);
    let file = Resource::of(body.clone()).field("Content-Type", "application/octet-stream");
    let origin = Origin::empty().and("a.iso", file).start()?;
    let kith = Kith::start_one("box")?;
    let mut browser = Browser::start(&Place::Here, &[])?;
    browser.go(&format!("{}/", by_name(&kith)))?;

    browser.run(&format!("document.querySelector('input').value = {:?}", origin.url("a.iso")))?;
    browser.run("document.querySelector('button').click()")?;

    assert_eq!(Body::of(browser.saved()?).sha256(), body.sha256());
    Ok(())
}
