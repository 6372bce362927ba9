//! mDNS: announces this box, and turns announcements of others into the roster.
//!
//! What comes from the network here is a hint and stays one: an address that is on none of our links, a record without
//! the right node id or one that is too long is dropped, and the roster has its bounds. The mDNS library answers to
//! and learns from packets of any source port and keeps what it learns without a bound; it does not tell us where
//! a packet came from. So its cache is looked at every few seconds and thrown away with the whole daemon when it
//! holds more than a street could announce.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_model::limits::{
    DISCOVERY_CHECK_EVENTS, DISCOVERY_CHECK_INTERVAL, DISCOVERY_RECORDS_MAX, TXT_BYTES_MAX,
};
use mdns_sd::{Receiver, ResolvedService, ScopedIp, ServiceEvent};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::announce::{Announcement, Responder, Voice};
use crate::config::Discovery;
use crate::identity::NodeId;
use crate::links::{Links, Loopback};
use crate::room::Room;
use crate::roster::Sighting;
use crate::{clock, name};

/// The service type.
const SERVICE: &str = "_kith._udp";

/// The same as a name.
const SERVICE_NAME: &str = "_kith._udp.local.";

/// What the record says.
const TXT_VERSION: &str = "v";
const TXT_ID: &str = "id";

/// Announces and listens until the room stops.
pub(crate) async fn run(room: Arc<Room>) {
    let Discovery::Mdns(voice) = room.config.discovery.clone() else { return };
    while !room.stopping.is_cancelled() {
        match Responder::start(&voice, &host(&room.identity.id()), &announcements(&room)) {
            Ok(responder) => {
                Listening { responder: &responder }.run(&room, &voice).await;
                responder.stop().await;
            }
            Err(error) => tracing::warn!(%error, "mDNS does not work; boxes are not found"),
        }
        // Before the next try, so that a flood costs little.
        tokio::select! {
            () = room.stopping.cancelled() => {}
            () = sleep(Duration::from_secs(1)) => {}
        }
    }
}

/// The name that goes with this box's addresses.
pub(crate) fn host(id: &NodeId) -> String {
    format!("kith-{}.local", id.short())
}

/// The box itself, and what the roof wants announced with it.
fn announcements(room: &Room) -> Vec<Announcement> {
    let id = room.identity.id();
    let name = &room.config.name;
    let itself = Announcement {
        service: SERVICE,
        instance: if name.is_empty() { format!("kith {}", id.short()) } else { name.clone() },
        port: room.endpoint.local_addr().map_or(0, |address| address.port()),
        addresses: Vec::new(),
        interfaces: Vec::new(),
        txt: vec![(TXT_VERSION, "1".to_owned()), (TXT_ID, id.to_string())],
    };
    std::iter::once(itself).chain(room.config.announcements.iter().cloned()).collect()
}

struct Listening<'a> {
    responder: &'a Responder,
}

impl Listening<'_> {
    /// Returns when the room stops or the cache is too large.
    async fn run(&self, room: &Arc<Room>, voice: &Voice) {
        let mut hearing = Hearing::new(voice.clone());
        let mut check = interval(DISCOVERY_CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let Some(mut events) = self.browse() else { return };
        let mut unchecked = 0;
        loop {
            let event = tokio::select! {
                () = room.stopping.cancelled() => return,
                _ = check.tick() => {
                    unchecked = DISCOVERY_CHECK_EVENTS;
                    None
                }
                event = events.recv_async() => Some(event),
            };
            unchecked += 1;
            if unchecked >= DISCOVERY_CHECK_EVENTS {
                unchecked = 0;
                if self.records().await > DISCOVERY_RECORDS_MAX {
                    tracing::warn!("too many mDNS records; discovery begins anew");
                    return;
                }
            }
            match event {
                Some(Ok(ServiceEvent::ServiceResolved(service))) => hearing.resolved(room, &service),
                Some(Ok(ServiceEvent::ServiceRemoved(_, full_name))) => hearing.removed(room, &full_name),
                Some(Ok(_)) | None => {}
                // The library gives up on a listener that lags.
                Some(Err(_)) => match self.browse() {
                    Some(again) => events = again,
                    None => return,
                },
            }
        }
    }

    fn browse(&self) -> Option<Receiver<ServiceEvent>> {
        self.responder
            .daemon()
            .browse(SERVICE_NAME)
            .inspect_err(|error| tracing::debug!(%error, "browsing ended"))
            .ok()
    }

    /// How many records the library keeps.
    async fn records(&self) -> i64 {
        let Ok(reply) = self.responder.daemon().get_metrics() else { return 0 };
        let Ok(Ok(metrics)) = timeout(Duration::from_secs(1), reply.recv_async()).await else { return 0 };
        metrics.iter().filter(|(name, _)| name.starts_with("cached-")).map(|(_, count)| *count).sum()
    }
}

/// Turns events into sightings.
struct Hearing {
    voice: Voice,
    links: Links,
    links_at: Instant,
    /// Which box an instance name stood for, for goodbyes; as long as the roster.
    ids: HashMap<String, NodeId>,
}

impl Hearing {
    fn new(voice: Voice) -> Self {
        let links = Links::of_this_box(&voice.interfaces, voice.loopback);
        Self { voice, links, links_at: Instant::now(), ids: HashMap::new() }
    }

    fn refresh_links(&mut self) {
        if self.links_at.elapsed() > Duration::from_secs(2) {
            self.links = Links::of_this_box(&self.voice.interfaces, self.voice.loopback);
            self.links_at = Instant::now();
        }
    }

    fn resolved(&mut self, room: &Arc<Room>, service: &ResolvedService) {
        let Some(id) = node_id(service).filter(|id| *id != room.identity.id()) else { return };
        self.refresh_links();
        let known = room.known(&id);
        let name = instance_name(service.get_fullname());
        let mut is_news = false;
        for address in service.get_addresses().iter().filter_map(|ip| self.on_link(ip, service.get_port())) {
            match room.roster().see(id, &name, address, known, clock::now()) {
                Sighting::News => {
                    tracing::debug!(neighbour = %id.short(), %address, "box seen");
                    is_news = true;
                }
                Sighting::Known | Sighting::Refused => {}
            }
        }
        if room.roster().find(&id).is_some() {
            if self.ids.len() > 4 * room.config.limits.roster_max {
                self.ids.clear();
            }
            self.ids.insert(service.get_fullname().to_owned(), id);
        }
        if is_news {
            room.changed();
        }
    }

    fn removed(&mut self, room: &Room, full_name: &str) {
        if let Some(id) = self.ids.remove(full_name) {
            room.roster().forget(&id);
            room.changed();
        }
    }

    /// The address to dial, when it is on one of our links.
    fn on_link(&self, ip: &ScopedIp, port: u16) -> Option<SocketAddr> {
        let address = ip.to_ip_addr();
        if port == 0 || !self.links.has(address) {
            return None;
        }
        if address.is_loopback() && self.voice.loopback == Loopback::Ignored {
            return None;
        }
        Some(match (address, ip) {
            (IpAddr::V6(v6), ScopedIp::V6(scoped)) => {
                SocketAddr::V6(SocketAddrV6::new(v6, port, 0, scoped.scope_id().index))
            }
            _ => SocketAddr::new(address, port),
        })
    }
}

/// The node id of a record that is as ours are.
fn node_id(service: &ResolvedService) -> Option<NodeId> {
    let bytes: usize =
        service.get_properties().iter().map(|one| one.key().len() + one.val().map_or(0, <[u8]>::len)).sum();
    if bytes > TXT_BYTES_MAX || service.get_property_val_str(TXT_VERSION) != Some("1") {
        return None;
    }
    NodeId::parse(service.get_property_val_str(TXT_ID)?)
}

/// `den` of `den._kith._udp.local.`, made harmless.
fn instance_name(full_name: &str) -> String {
    let instance = full_name.strip_suffix(SERVICE_NAME).unwrap_or(full_name);
    name::cleaned(instance.strip_suffix('.').unwrap_or(instance))
}
