//! mDNS: announces this box, and turns announcements of others into the roster.
//!
//! What comes from the network here is a hint and stays one: an address that is on none of our links, a record without
//! the right node id or one that is too long is dropped, and the roster has its bounds. The mDNS library answers to
//! and learns from packets of any source port and keeps what it learns without a bound; it does not tell us where
//! a packet came from. So its cache is looked at all the time and thrown away with the whole daemon when it holds more
//! than a street could announce. The same is done when the machine has slept: what is known then is old, on both sides.
//! Everybody is asked anew, which costs one question, when the roster was too small for a while or a paired box is
//! missing for long.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kith_model::limits::{
    DISCOVERY_ASK_ANEW, DISCOVERY_CHECK_EVENTS, DISCOVERY_CHECK_INTERVAL, DISCOVERY_EVENTS_MAX,
    DISCOVERY_LINKS_INTERVAL, DISCOVERY_RECORDS_MAX, DISCOVERY_SLEPT, DISCOVERY_SWEEP, TXT_BYTES_MAX,
};
use mdns_sd::{Receiver, ResolvedService, ScopedIp, ServiceEvent};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::announce::{Announcement, Responder, Voice};
use crate::config::Discovery;
use crate::identity::NodeId;
use crate::links::{Links, Loopback};
use crate::room::Room;
use crate::roster::{Announced, Known, Sighting};
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
                Listening::new(&responder, &voice).run(&room).await;
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

/// One run of discovery: from the start of the library's daemon to its end.
struct Listening<'a> {
    responder: &'a Responder,
    hearing: Hearing,
    /// Events since the daemon started, and since its cache was looked at.
    events: u32,
    unchecked: u32,
    checked_at: (Instant, SystemTime),
    links_at: Instant,
    /// When everybody was asked, and when that may be done again because somebody found no room, or is missing.
    asked_at: Instant,
    crowded_next: Instant,
    missing_next: Instant,
    /// Whether those are still on the roster who were heard before everybody was asked.
    is_swept: bool,
}

impl<'a> Listening<'a> {
    fn new(responder: &'a Responder, voice: &Voice) -> Self {
        let now = Instant::now();
        Self {
            responder,
            hearing: Hearing::new(voice.clone()),
            events: 0,
            unchecked: 0,
            checked_at: (now, SystemTime::now()),
            links_at: now,
            asked_at: now,
            crowded_next: now,
            missing_next: now + DISCOVERY_ASK_ANEW,
            is_swept: false,
        }
    }

    /// Returns when the room stops, the cache is too large, or the machine has slept.
    async fn run(mut self, room: &Arc<Room>) {
        room.roster().begin_anew();
        let mut check = interval(DISCOVERY_CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let Some(mut events) = self.browse() else { return };
        loop {
            let event = tokio::select! {
                () = room.stopping.cancelled() => return,
                _ = check.tick() => {
                    if self.has_slept() {
                        tracing::info!("this machine has slept; neighbours are looked for anew");
                        room.doubt_all();
                        return;
                    }
                    if !self.is_small().await {
                        return;
                    }
                    if let Some(again) = self.look_after(room) {
                        events = again;
                    }
                    self.unchecked = 0;
                    continue;
                }
                event = events.recv_async() => event,
            };
            self.unchecked += 1;
            self.events = self.events.saturating_add(1);
            if self.unchecked.is_multiple_of(DISCOVERY_CHECK_EVENTS) && !self.is_small().await {
                return;
            }
            match event {
                Ok(ServiceEvent::ServiceResolved(service)) => self.hearing.resolved(room, &service),
                Ok(ServiceEvent::ServiceRemoved(_, full_name)) => {
                    if room.roster().forget(&full_name) {
                        room.changed();
                    }
                }
                Ok(_) => {}
                // The library gives up on a listener that lags.
                Err(_) => match self.browse() {
                    Some(again) => events = again,
                    None => return,
                },
            }
        }
    }

    /// Whether more time has passed since the last look than this process has seen: it was stopped, or the machine
    /// slept. The clock on the wall may also have been set; then this costs little.
    fn has_slept(&mut self) -> bool {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let (then, wall_then) = std::mem::replace(&mut self.checked_at, (now, wall));
        let passed = wall.duration_since(wall_then).unwrap_or_default().max(now - then);
        passed > DISCOVERY_CHECK_INTERVAL + DISCOVERY_SLEPT
    }

    /// Whether the library has kept within bounds. One that does not answer has too much to do.
    async fn is_small(&self) -> bool {
        let is_small = self.events <= DISCOVERY_EVENTS_MAX
            && self.records().await.is_some_and(|records| records <= DISCOVERY_RECORDS_MAX);
        if !is_small {
            tracing::warn!("too many mDNS records; discovery begins anew");
        }
        is_small
    }

    /// What is due now and then. New events when everybody was asked anew.
    fn look_after(&mut self, room: &Arc<Room>) -> Option<Receiver<ServiceEvent>> {
        let now = Instant::now();
        if now - self.links_at >= DISCOVERY_LINKS_INTERVAL {
            self.links_at = now;
            if self.hearing.refresh_links() {
                tracing::debug!("this box's addresses have changed");
                room.doubt_all();
                // Who answered before this was noticed was taken to be on no link of ours.
                return self.ask_anew(room);
            }
        }
        if !self.is_swept && now - self.asked_at >= DISCOVERY_SWEEP {
            self.is_swept = true;
            if room.roster().sweep() {
                room.changed();
            }
        }
        // While a flood lasts there is no use in it.
        let is_quiet = self.unchecked < DISCOVERY_CHECK_EVENTS / 2;
        if is_quiet && now >= self.crowded_next && room.roster().has_overflowed() {
            self.crowded_next = now + DISCOVERY_ASK_ANEW;
            return self.ask_anew(room);
        }
        if now >= self.missing_next {
            self.missing_next = now + DISCOVERY_ASK_ANEW;
            if room.is_missing_somebody() {
                return self.ask_anew(room);
            }
        }
        None
    }

    /// Asks without saying what is known already, so that everybody answers.
    fn ask_anew(&mut self, room: &Room) -> Option<Receiver<ServiceEvent>> {
        room.roster().begin_anew();
        (self.asked_at, self.is_swept) = (Instant::now(), false);
        let _ = self.responder.daemon().stop_browse(SERVICE_NAME);
        self.browse()
    }

    fn browse(&self) -> Option<Receiver<ServiceEvent>> {
        self.responder
            .daemon()
            .browse(SERVICE_NAME)
            .inspect_err(|error| tracing::debug!(%error, "browsing ended"))
            .ok()
    }

    /// How many records the library keeps.
    async fn records(&self) -> Option<i64> {
        let reply = self.responder.daemon().get_metrics().ok()?;
        let metrics = timeout(Duration::from_secs(1), reply.recv_async()).await.ok()?.ok()?;
        Some(metrics.iter().filter(|(name, _)| name.starts_with("cached-")).map(|(_, count)| *count).sum())
    }
}

/// Turns events into sightings.
struct Hearing {
    voice: Voice,
    links: Links,
}

impl Hearing {
    fn new(voice: Voice) -> Self {
        let links = Links::of_this_box(&voice.interfaces, voice.loopback);
        Self { voice, links }
    }

    /// Whether this box's addresses have changed.
    fn refresh_links(&mut self) -> bool {
        let links = Links::of_this_box(&self.voice.interfaces, self.voice.loopback);
        let is_same = links == self.links;
        self.links = links;
        !is_same
    }

    fn resolved(&mut self, room: &Arc<Room>, service: &ResolvedService) {
        let Some(id) = node_id(service).filter(|id| *id != room.identity.id()) else { return };
        let on_link = |ip: &ScopedIp| self.on_link(ip, service.get_port());
        let addresses: Vec<SocketAddr> = service.get_addresses().iter().filter_map(on_link).collect();
        let (known, name) = (room.known(&id), instance_name(service.get_fullname()));
        let heard = Announced { full_name: service.get_fullname(), name: &name, addresses: &addresses };
        let sighting = room.roster().see(id, heard, known, clock::now());
        if sighting == Sighting::News {
            tracing::debug!(neighbour = %id.short(), ?addresses, "box seen");
            room.changed();
        }
        if known == Known::Paired {
            room.heard_of(&id);
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
