//! `kith doctor`: looks at the machine and the configuration, and says what to do.
//!
//! It changes nothing and needs no running box; with one, ports in use are as they should be.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::control::SOCKET_FILE;
use super::exit::{Exit, Failure};
use super::grammar::Output;
use super::human::Bytes;
use super::say;
use crate::config::{self, ConfigError, Loaded};
use crate::{listen, machine};

/// 2026-01-01: an older clock was never set. Certificates and freshness need a right one.
const CLOCK_SECONDS_MIN: u64 = 1_767_225_600;

/// 2100-01-01.
const CLOCK_SECONDS_MAX: u64 = 4_102_444_800;

/// What QUIC asks of the kernel for each socket; below it bursts of a fast neighbour are lost.
const RECEIVE_BUFFER_BYTES: u64 = 4 * 1024 * 1024;

/// Free space below which a shelf makes no sense.
const FREE_BYTES_MIN: u64 = 512 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
struct Check {
    name: &'static str,
    verdict: Verdict,
    finding: String,
    fix: String,
}

fn check(name: &'static str, verdict: Verdict, finding: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name, verdict, finding: finding.into(), fix: fix.into() }
}

fn fine(name: &'static str, finding: impl Into<String>) -> Check {
    check(name, Verdict::Ok, finding, "")
}

/// Looks at everything; exit 1 when something must be put right.
pub(super) fn run(outcome: Result<Loaded, ConfigError>, format: Output) -> Exit {
    let mut checks = vec![clock(), receive_buffer(), mdns()];
    match outcome {
        Ok(loaded) => checks.extend(of_config(&loaded)),
        Err(ConfigError(complaints)) => checks.extend(complaints.iter().map(|complaint| {
            check("config", Verdict::Fail, complaint.to_string(), "correct the line it names")
        })),
    }
    for check in &checks {
        tell(check, format);
    }
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    if failed { Exit::General } else { Exit::Ok }
}

fn tell(check: &Check, format: Output) {
    let Check { name, verdict, finding, fix } = check;
    if format.json {
        let line = json!({"type": "check", "name": name, "verdict": verdict.as_str(),
            "finding": finding, "fix": fix});
        say!("{line}");
        return;
    }
    say!("{:<4}  {name:<10}  {finding}", verdict.as_str());
    if !fix.is_empty() {
        say!("{:18}-> {fix}", "");
    }
}

fn of_config(loaded: &Loaded) -> Vec<Check> {
    let settings = &loaded.settings;
    let mut checks = vec![fine("config", "every key is right")];
    checks.extend(config::keys::unheeded(settings).into_iter().map(|key| {
        let finding = format!("{key} is set, but nothing in this build heeds it");
        check("config", Verdict::Warn, finding, "leave it out until it does")
    }));
    checks.push(writable(loaded.data_dir()));
    checks.push(space(loaded.data_dir()));
    let running = UnixStream::connect(loaded.data_dir().join(SOCKET_FILE)).is_ok();
    if running {
        checks.push(fine("ports", "the box is running and has its ports"));
        return checks;
    }
    let tcp = settings.clients.listen.iter().map(|address| ("clients.listen", *address));
    let apt = settings.clients.apt_listen.iter().map(|address| ("clients.apt_listen", *address));
    let tcp = tcp.chain(apt).chain(settings.admin.listen.iter().map(|address| ("admin.listen", *address)));
    checks.extend(tcp.map(|(key, address)| port(address, listen::tcp(key, &[address]).map(drop))));
    if settings.neighbours.enabled {
        let address = settings.neighbours.listen;
        checks.push(port(address, listen::udp("neighbours.listen", address).map(drop)));
    }
    checks
}

fn port(address: SocketAddr, bound: Result<(), Failure>) -> Check {
    match bound {
        Ok(()) => fine("ports", format!("{address} is free")),
        Err(Failure { message, fix, .. }) => check("ports", Verdict::Fail, message, fix),
    }
}

fn clock() -> Check {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if (CLOCK_SECONDS_MIN..CLOCK_SECONDS_MAX).contains(&seconds) {
        return fine("clock", "the clock is set");
    }
    let finding = "the clock was never set: certificates fail and stored files look stale or new";
    check("clock", Verdict::Fail, finding, "run an NTP client (systemd-timesyncd, chrony, busybox ntpd)")
}

fn receive_buffer() -> Check {
    match machine::receive_buffer_max() {
        Some(bytes) if bytes < RECEIVE_BUFFER_BYTES => check(
            "udp",
            Verdict::Warn,
            format!("sockets may buffer {} only: fast neighbours will be slowed down", Bytes(bytes)),
            format!("sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}, and the same in /etc/sysctl.d"),
        ),
        Some(bytes) => fine("udp", format!("sockets may buffer {}", Bytes(bytes))),
        None => check("udp", Verdict::Warn, "the largest socket buffer is unknown", ""),
    }
}

fn mdns() -> Check {
    match join_mdns() {
        Ok(()) => fine("mdns", "multicast DNS can be heard"),
        Err(error) => check(
            "mdns",
            Verdict::Fail,
            format!("multicast DNS cannot be heard ({error}): boxes will not find each other"),
            "allow UDP port 5353 and multicast on the LAN interface",
        ),
    }
}

/// Shares port 5353 with whoever has it, as every responder does (RFC 6762 section 15.1).
fn join_mdns() -> io::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5353)).into())?;
    socket.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::UNSPECIFIED)
}

fn writable(directory: &Path) -> Check {
    let shown = directory.display();
    if !directory.exists() {
        return fine("disk", format!("{shown} will be made at the first start"));
    }
    let probe = directory.join(format!(".doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, b"kith").and_then(|()| std::fs::remove_file(&probe));
    match written {
        Ok(()) => fine("disk", format!("{shown} can be written to")),
        Err(error) => check(
            "disk",
            Verdict::Fail,
            format!("{shown} cannot be written to ({error})"),
            "give it to the user that runs the box, or name another with data_dir",
        ),
    }
}

fn space(directory: &Path) -> Check {
    match machine::space(directory) {
        Ok(space) if space.free_bytes < FREE_BYTES_MIN => check(
            "disk",
            Verdict::Warn,
            format!("only {} are free: hardly anything can be kept", Bytes(space.free_bytes)),
            "make room, or put data_dir on a larger disk",
        ),
        Ok(space) => {
            fine("disk", format!("{} of {} are free", Bytes(space.free_bytes), Bytes(space.total_bytes)))
        }
        Err(error) => check("disk", Verdict::Fail, format!("the free space is unknown ({error})"), ""),
    }
}
