//! Package managers with registries of their own, through a box: pip by prefix; npm by prefix and by proxy.
//!
//! pip resolves a relative link of an index against the address it asked, so all of a registry comes by prefix. npm
//! takes a package's address from the registry's answer as it stands, which leads past any prefix: by prefix it gets
//! single packages, and a whole registry by proxy.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use kith_tests::body::Body;
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;
use kith_tests::resource::Resource;
use kith_tests::tool::succeed;

/// Builds a wheel (PEP 427) with a module and some weight.
const WHEEL: &str = r#"
import random, sys, zipfile
info = "kith_sample-1.0.dist-info/"
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("kith_sample/__init__.py", "answer = 42\n")
    wheel.writestr("kith_sample/weight", random.Random(1).randbytes(3 << 20))
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: kith-sample\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    names = [*wheel.namelist(), info + "RECORD"]
    wheel.writestr(info + "RECORD", "".join(name + ",,\n" for name in names))
"#;

fn file(bytes: Vec<u8>, kind: &str) -> Resource {
    Resource::of(Body::of(bytes)).field("Content-Type", kind)
}

#[test]
fn pip_installs_twice_and_the_registry_sends_one_copy() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let name = "kith_sample-1.0-py3-none-any.whl";
    let path = folder.path().join(name);
    succeed(Command::new("python3").args(["-c", WHEEL]).arg(&path))?;
    let wheel = Body::of(std::fs::read(&path)?);
    let index = format!("<!doctype html><a href=\"../../files/{name}#sha256={}\">{name}</a>", wheel.sha256());
    let origin = Origin::empty()
        .and("simple/kith-sample/", file(index.into_bytes(), "text/html"))
        .and(&format!("files/{name}"), Resource::of(wheel.clone()).field("Content-Type", "application/zip"))
        .start()?;
    let kith = Kith::start_one("box")?;

    for round in ["one", "two"] {
        let target = folder.path().join(round);
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "--isolated", "--quiet", "--disable-pip-version-check", "install"]);
        pip.args(["--no-cache-dir", "--no-deps", "--root-user-action=ignore", "--target"]).arg(&target);
        pip.arg(format!("--index-url=http://{}/{}", kith.clients(), origin.url("simple/")));
        succeed(pip.arg("kith-sample").env("PIP_CONFIG_FILE", "/dev/null"))?;
        let mut python = Command::new("python3");
        let said = succeed(
            python.args(["-c", "import kith_sample; print(kith_sample.answer)"]).env("PYTHONPATH", &target),
        )?;
        assert_eq!(said.out, "42\n");
        kith.wait_stored(2)?;
    }

    assert_eq!(origin.sent_for(&format!("files/{name}")), wheel.length());
    assert!(
        origin.requests().iter().all(|seen| seen.head.field("via").is_some()),
        "all came through the box"
    );
    Ok(())
}

/// A real package, as npm packs it: one of npm's own parts. Gives its bytes and its manifest.
fn package(folder: &Path) -> Result<(Vec<u8>, serde_json::Value)> {
    let modules = succeed(Command::new("npm").args(["root", "--global"]))?.out;
    let debian = Path::new("/usr/share/nodejs/semver");
    let own = Path::new(modules.trim()).join("npm/node_modules/semver");
    let source = if own.exists() { &own } else { debian };
    let mut pack = npm(folder);
    let said = succeed(pack.args(["pack", "--silent", "--ignore-scripts"]).arg(source))?;
    let name = said.out.trim().lines().last().context("npm names what it packed")?.to_owned();
    let manifest = serde_json::from_slice(&std::fs::read(source.join("package.json"))?)?;
    Ok((std::fs::read(folder.join(name))?, manifest))
}

/// npm that knows nothing of the machine's settings.
fn npm(folder: &Path) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(folder).env("npm_config_cache", folder.join("cache")).env("HOME", folder);
    command
        .env("npm_config_userconfig", folder.join("user"))
        .env("npm_config_globalconfig", folder.join("global"));
    command.env("npm_config_update_notifier", "false").env("npm_config_audit", "false");
    command.env("npm_config_fund", "false").env("npm_config_fetch_retries", "0");
    command
}

#[test]
fn npm_installs_a_package_by_prefix_and_from_a_registry_by_proxy() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (bytes, manifest) = package(folder.path())?;
    let version = manifest["version"].as_str().context("a version")?.to_owned();
    let tarball = format!("semver/-/semver-{version}.tgz");
    let mut origin = Origin::empty().and(&tarball, file(bytes, "application/octet-stream")).start()?;
    let described = serde_json::json!({"name": "semver", "version": version,
        "dist": {"tarball": origin.url(&tarball)}});
    let about = serde_json::json!({"name": "semver", "dist-tags": {"latest": version},
        "versions": {&version: described}});
    origin.change("semver", file(serde_json::to_vec(&about)?, "application/json"));
    let kith = Kith::start_one("box")?;
    let project = |name: &str| -> Result<_> {
        let project = folder.path().join(name);
        std::fs::create_dir(&project)?;
        std::fs::write(project.join("package.json"), "{}")?;
        Ok(project)
    };

    let by_prefix = project("by-prefix")?;
    let url = format!("http://{}/{}", kith.clients(), origin.url(&tarball));
    succeed(npm(&by_prefix).args(["install", "--silent", "--ignore-scripts", "--omit=dev"]).arg(url))?;
    let by_proxy = project("by-proxy")?;
    let mut install = npm(&by_proxy);
    install.args(["install", "--silent", "--ignore-scripts", "--omit=dev", "semver"]);
    install.arg(format!("--registry={}", origin.url(""))).arg(format!("--proxy=http://{}", kith.clients()));
    succeed(&mut install)?;

    for project in [by_prefix, by_proxy] {
        let installed = std::fs::read(project.join("node_modules/semver/package.json"))?;
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&installed)?["version"], version.as_str());
    }
    assert!(
        origin.requests().iter().all(|seen| seen.head.field("via").is_some()),
        "all came through the box"
    );
    origin.stop();
    Ok(())
}
