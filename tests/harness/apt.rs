//! apt as users have it: a repository of a real package on an origin, and an apt-get that installs from it into an
//! empty root, with everything it keeps in one folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::body::Body;
use crate::origin::{Origin, Script};
use crate::place::Place;
use crate::resource::Resource;
use crate::tool::succeed;

/// A package with no dependencies and no scripts of its own, so that it installs into an empty root.
const PACKAGE: &str = "fonts-lato";

/// Fetches a package from the distribution into a folder, with lists of the test's own: the machine's may be old or
/// absent.
pub fn download(package: &str, folder: &Path) -> Result<()> {
    let lists = tempfile::tempdir()?;
    std::fs::create_dir(lists.path().join("partial"))?;
    let state = format!("Dir::State::lists={}", lists.path().display());
    for words in [&["update"][..], &["download", package][..]] {
        let mut command = Command::new("apt-get");
        command.current_dir(folder).args(["-qq", "-o", "APT::Sandbox::User=root", "-o", &state]).args(words);
        succeed(&mut command).context("a real package from the distribution")?;
    }
    Ok(())
}

/// A flat repository of the package, for an origin to serve; the package is put into `folder`.
pub fn repository(folder: &Path) -> Result<Script> {
    let pool = folder.join("pool");
    std::fs::create_dir_all(&pool)?;
    download(PACKAGE, &pool)?;
    let packages =
        succeed(Command::new("apt-ftparchive").current_dir(folder).args(["packages", "pool"]))?.out;
    let date = "Sun, 01 Nov 2026 10:00:00 GMT";
    let file = |bytes: Vec<u8>| {
        Resource::of(Body::of(bytes)).last_modified(date).field("Cache-Control", "max-age=60")
    };
    let sums = Body::of(packages.as_bytes().to_vec()).sha256();
    let release = format!("Date: {date}\nSHA256:\n {sums} {} Packages\n", packages.len());
    let mut script = Origin::empty()
        .and("debian/Packages", file(packages.into_bytes()))
        .and("debian/Release", file(release.into_bytes()));
    for entry in std::fs::read_dir(&pool)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("packages have plain names")?;
        // apt asks for the escaped form of what stands in the index.
        script = script.and(&format!("debian/pool/{name}"), file(std::fs::read(&path)?));
        script =
            script.and(&format!("debian/pool/{}", name.replace('%', "%25")), file(std::fs::read(&path)?));
    }
    Ok(script)
}

/// The root is empty but for what every package may rely on.
fn dpkg_itself() -> Result<String> {
    let architecture = succeed(Command::new("dpkg").arg("--print-architecture"))?.out;
    Ok(format!(
        "Package: dpkg\nStatus: install ok installed\nMulti-Arch: foreign\nMaintainer: nobody <nobody@example.org>\n\
         Architecture: {architecture}Version: 1.21.22\nDescription: package manager\n\n"
    ))
}

/// apt-get with everything it keeps in one folder.
#[derive(Debug)]
pub struct Apt {
    place: Place,
    root: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// Installs from the origin's repository; `way` is the option that says by which proxy.
    pub fn at(folder: &Path, place: &Place, origin: &Origin, way: &str) -> Result<Self> {
        let root = folder.join("root");
        for path in
            ["var/lib/dpkg/info", "var/lib/dpkg/updates", "lists/partial", "cache/archives/partial", "etc"]
        {
            std::fs::create_dir_all(root.join(path))?;
        }
        std::fs::write(root.join("var/lib/dpkg/status"), dpkg_itself()?)?;
        let list = root.join("etc/sources.list");
        std::fs::write(&list, format!("deb [trusted=yes] {} ./\n", origin.url("debian")))?;
        let at = |path: &str| root.join(path).display().to_string();
        let options = vec![
            format!("Dir::Etc::sourcelist={}", list.display()),
            "Dir::Etc::sourceparts=/dev/null".into(),
            "Dir::Etc::parts=/dev/null".into(),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("var/lib/dpkg/status")),
            format!("Dir::Cache={}", at("cache")),
            way.into(),
            format!("DPkg::Options::=--root={}", root.display()),
            "DPkg::Options::=--force-not-root,bad-path".into(),
            "DPkg::Run-Directory=/".into(),
            "APT::Sandbox::User=root".into(),
            "APT::Install-Recommends=false".into(),
        ];
        Ok(Self { place: place.clone(), root, options })
    }

    /// Updates its lists, installs the package, and looks whether it is there.
    pub fn installs(&self) -> Result<()> {
        succeed(&mut self.command(&["update"]))?;
        succeed(&mut self.command(&["install", "--yes", PACKAGE]))?;
        let listed = std::fs::read_to_string(self.root.join("var/lib/dpkg/status"))?;
        ensure!(listed.contains(&format!("Package: {PACKAGE}\nStatus: install ok installed")), "{listed}");
        ensure!(self.root.join("usr/share/fonts").exists(), "its files are there");
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.place.command("apt-get");
        command.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
        for option in &self.options {
            command.args(["-o", option]);
        }
        command.args(words);
        command
    }
}
