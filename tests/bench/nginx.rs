//! nginx in three parts: the yardstick for hits, the origin, and the yardstick for misses (`proxy_cache`).
//!
//! One worker, `sendfile` on, `tcp_nopush` off (on loopback it holds answers of 64 KiB up by 44 ms). Everything it
//! writes lies in a folder of its own.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use kith_tests::body::Body;
use kith_tests::patience::until_true;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Bytes a second of the origin in the bench of misses.
const ORIGIN_RATE: u64 = 50_000_000;

/// A running nginx; ended when dropped.
pub(crate) struct Nginx {
    child: Child,
    address: SocketAddr,
    _home: TempDir,
}

impl Nginx {
    /// Serves files of these names and lengths; each also as `/fresh/WORD/NAME`, and as `/slow/WORD/NAME` at 50 MB/s.
    pub(crate) fn serving(files: &[(&str, u64)]) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let root = home.path().join("files");
        std::fs::create_dir(&root)?;
        for (seed, (name, length)) in (1..).zip(files) {
            let mut file = std::fs::File::create(root.join(name))?;
            std::io::copy(&mut Body::seeded(seed, *length).reader(), &mut file)?;
        }
        let locations = format!(
            "root {};\n\
             add_header Cache-Control max-age=3600;\n\
             location /fresh/ {{ rewrite ^/fresh/[^/]+/(.*)$ /$1 break; }}\n\
             location /slow/ {{ rewrite ^/slow/[^/]+/(.*)$ /$1 break; limit_rate {ORIGIN_RATE}; }}\n",
            root.display()
        );
        Self::start(home, "", &locations)
    }

    /// A cache before that origin.
    pub(crate) fn caching(origin: &Nginx) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let cache = home.path().join("cache");
        let before = format!(
            "proxy_cache_path {} keys_zone=shelf:10m max_size=20g use_temp_path=off;\n",
            cache.display()
        );
        let locations = format!(
            "location / {{\n\
             proxy_pass http://{};\n\
             proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\";\n\
             proxy_cache shelf;\n\
             }}\n",
            origin.address
        );
        Self::start(home, &before, &locations)
    }

    /// Of a file there.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn start(home: TempDir, before: &str, locations: &str) -> Result<Self> {
        let address = free_address()?;
        let config = home.path().join("nginx.conf");
        std::fs::write(&config, configuration(home.path(), address, before, locations))?;
        let mut command = Command::new(program());
        command.arg("-p").arg(home.path()).arg("-c").arg(&config).args(["-e", "stderr"]);
        let child = command.stdin(Stdio::null()).spawn().context("starting nginx (Debian: nginx-light)")?;
        let nginx = Self { child, address, _home: home };
        until_true("nginx listens", Duration::from_secs(10), || TcpStream::connect(address).is_ok())?;
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The worker ends with its master when that is asked, not when it is killed.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// Debian keeps it where an ordinary user's path does not look.
fn program() -> PathBuf {
    let usual = Path::new("/usr/sbin/nginx");
    if usual.exists() { usual.into() } else { "nginx".into() }
}

fn configuration(home: &Path, address: SocketAddr, before: &str, locations: &str) -> String {
    let home = home.display();
    // The folder is its owner's alone, and the worker would be another user.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let mut text = format!(
        "daemon off;\nworker_processes 1;\n{user}pid {home}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\naccess_log off;\nsendfile on;\ntcp_nopush off;\n\
         keepalive_requests 1000000000;\ndefault_type application/octet-stream;\n"
    );
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "{kind}_temp_path {home}/{kind};");
    }
    let _ = write!(text, "{before}server {{\nlisten {address} backlog=1024;\n{locations}}}\n}}\n");
    text
}

/// nginx cannot tell which port it got.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
