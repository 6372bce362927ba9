//! mDNS as this house speaks it: what the box announces by DNS-SD (RFC 6763), on which interfaces, and its goodbyes.
//!
//! The doors for clients are announced whether or not there are neighbours: with them, discovery announces the doors
//! along with the box itself, so that there is one responder; without them, an [`Announcer`] does. Knows nothing of
//! what is behind an announced port. Never announces `wpad`, which anybody on a network may claim.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};
use tokio::time::timeout;

use crate::links::Loopback;

/// A goodbye is one packet; what is not out by then is not waited for.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// Where and how mDNS is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice {
    /// Names of interfaces; empty means all.
    pub interfaces: Vec<String>,
    /// Whether boxes on the same host are found.
    pub loopback: Loopback,
    /// 5353, unless a test wants to be alone.
    pub port: u16,
}

/// Something that the box serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// `_http._tcp`
    pub service: &'static str,
    /// Shown to people.
    pub instance: String,
    /// Where it is served.
    pub port: u16,
    /// On which addresses; empty means all that the box has, now and later.
    pub addresses: Vec<IpAddr>,
    /// On which interfaces; empty means wherever mDNS is spoken.
    pub interfaces: Vec<String>,
    /// What the TXT record says.
    pub txt: Vec<(&'static str, String)>,
}

/// mDNS does not work on this machine.
#[derive(Debug, thiserror::Error)]
#[error("mDNS does not work: {0}")]
pub struct AnnounceError(#[from] mdns_sd::Error);

/// Announces for a box without neighbours. What is announced is withdrawn by [`Announcer::stop`]; when it is only
/// dropped, others forget it after two minutes.
pub struct Announcer(Responder);

impl Announcer {
    /// Announces under the name `host` (`kith-attic.local`) until stopped.
    pub fn start(voice: &Voice, host: &str, announcements: &[Announcement]) -> Result<Self, AnnounceError> {
        Ok(Self(Responder::start(voice, host, announcements)?))
    }

    /// Says goodbye.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the goodbye to itself.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

/// The library's daemon with what it announces.
pub(crate) struct Responder {
    daemon: ServiceDaemon,
    full_names: Vec<String>,
}

impl Responder {
    pub(crate) fn start(
        voice: &Voice,
        host: &str,
        announcements: &[Announcement],
    ) -> Result<Self, mdns_sd::Error> {
        let daemon = ServiceDaemon::new_with_port(voice.port)?;
        if voice.loopback == Loopback::Ignored {
            daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        }
        if !voice.interfaces.is_empty() {
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(named(&voice.interfaces))?;
        }
        let mut responder = Self { daemon, full_names: Vec::with_capacity(announcements.len()) };
        for announcement in announcements {
            responder.announce(host, announcement)?;
        }
        Ok(responder)
    }

    fn announce(&mut self, host: &str, announcement: &Announcement) -> Result<(), mdns_sd::Error> {
        let Announcement { service, instance, port, addresses, interfaces, txt } = announcement;
        let kind = format!("{service}.local.");
        let host = format!("{}.", host.strip_suffix('.').unwrap_or(host));
        let mut service = ServiceInfo::new(&kind, label(instance), &host, &addresses[..], *port, &txt[..])?;
        if addresses.is_empty() {
            service = service.enable_addr_auto();
        }
        if !interfaces.is_empty() {
            service.set_interfaces(named(interfaces));
        }
        self.full_names.push(service.get_fullname().to_owned());
        self.daemon.register(service)
    }

    pub(crate) fn daemon(&self) -> &ServiceDaemon {
        &self.daemon
    }

    /// Says goodbye.
    pub(crate) async fn stop(self) {
        let goodbyes = self.full_names.iter().filter_map(|name| self.daemon.unregister(name).ok());
        let goodbyes: Vec<_> = goodbyes.collect();
        let _ = timeout(GOODBYE_MAX, join_all(goodbyes.iter().map(mdns_sd::Receiver::recv_async))).await;
        if let Ok(done) = self.daemon.shutdown() {
            let _ = timeout(GOODBYE_MAX, done.recv_async()).await;
        }
    }
}

/// As much of a name as fits a DNS label (RFC 1035 section 2.3.4), with room for what tells it from the same name of
/// another box (RFC 6762 section 9): `den (2)`.
fn label(name: &str) -> &str {
    let mut end = name.len().min(63 - " (99)".len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

fn named(interfaces: &[String]) -> Vec<IfKind> {
    interfaces.iter().cloned().map(IfKind::Name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_cut_between_letters() {
        assert_eq!(label("Kith on attic"), "Kith on attic");
        assert_eq!(label(&"\u{fc}".repeat(40)), "\u{fc}".repeat(29));
    }
}
