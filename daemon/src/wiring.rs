//! The rooms put together: each gets its plain configuration, the one below it, and nothing else.
//!
//! Owns the order of the start (ports, shelf, wells, hearth, doors) and of the end. Only here do rooms that may not
//! know each other meet.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use kith_admin::house::{self, Admin, Facts, Metrics, Parts};
use kith_admin::serve;
use kith_fetch::ask::Origin;
use kith_fetch::fetcher::{self, Fetcher};
use kith_fetch::source::Finder;
use kith_gateway::{Connect, Gateway, Touch};
use kith_model::limits::{Limits, Profile};
use kith_model::signature::Signature;
use kith_model::time::UnixMillis;
use kith_neighbour::announce::{Announcement, Announcer, Voice};
use kith_neighbour::config::{Discovery, Sharing};
use kith_neighbour::endpoint::SetupError;
use kith_neighbour::identity::Identity;
use kith_neighbour::links::Loopback;
use kith_neighbour::{Neighbourhood, StartError};
use kith_origin::resolve::Resolver;
use kith_origin::web::{self, Web};
use kith_store::{OpenError, Store};
use ring::rand::SecureRandom;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::control::SOCKET_FILE;
use crate::cli::exit::{Exit, Failure};
use crate::config::Loaded;
use crate::config::settings::{self, Settings};
use crate::config::units::ByteSize;
use crate::doors::{Counted, Reachable, SameGate};
use crate::neighbourhood::{Neighbours, NoNeighbours};
use crate::welcome::Welcome;
use crate::{announce, listen, machine};

/// Size of the shelf when the size of its disk is unknown.
const SHELF_BYTES_UNKNOWN: u64 = 1024 * 1024 * 1024;

/// RFC 6762 section 2.
const MDNS_PORT: u16 = 5353;

/// How long neighbours are waited for when the box stops.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// A running box.
pub(crate) struct House {
    welcome: String,
    store: Store,
    web: Web,
    fetcher: Fetcher,
    neighbours: Option<Neighbourhood>,
    announcer: Option<Announcer>,
    gateway: Gateway,
    admin: Admin,
    /// The admin room's.
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl House {
    /// Starts everything. What fails is undone by dropping it.
    ///
    /// # Cancel safety
    /// Dropping the future stops the start; the shelf is left as after a crash.
    pub(crate) async fn open(loaded: &Loaded) -> Result<House, Failure> {
        let settings = &loaded.settings;
        let profile = profile(settings.profile);
        let limits = profile.limits();
        // The last of the configuration that can be wrong, so before anything is bound.
        let signature = Signature::new(random_token()?);
        let web = open_web(settings, signature.clone())?;
        prepare(loaded.data_dir())?;
        let mut clients = listen::tcp("clients.listen", &settings.clients.listen)?;
        let apt = listen::tcp("clients.apt_listen", &settings.clients.apt_listen)?;
        let admin_ports = listen::tcp("admin.listen", &settings.admin.listen)?;
        let store = open_store(loaded, &limits).await?;
        let control = listen::control(&loaded.data_dir().join(SOCKET_FILE))?;
        let config = fetcher::Config { neighbour_bytes_min: settings.neighbours.min_object.0 };
        let doors = doors(settings, &addresses(&clients));
        let (neighbours, host) = open_neighbours(loaded, &limits, &store, doors.clone())?;
        let announcer = if neighbours.is_none() { announcer(settings, &host, &doors) } else { None };
        let finders = neighbours.iter().map(|room| Arc::new(room.clone()) as Arc<dyn Finder>).collect();
        let fetcher = Fetcher::new(store.clone(), Arc::new(web.clone()), finders, config);
        let id = neighbours.as_ref().map(Neighbourhood::id);
        let facts = Facts {
            name: box_name(settings),
            node_id: id.map(|id| id.to_string()).unwrap_or_default(),
            key_words: id.map(|id| id.words()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION"),
            profile: profile.as_str(),
            started: Instant::now(),
            clients: addresses(&clients),
            apt: addresses(&apt),
            admin: addresses(&admin_ports),
            neighbours: neighbours.iter().filter_map(|room| room.address().ok()).collect(),
            metrics: if settings.metrics.prometheus { Metrics::Shown } else { Metrics::Hidden },
        };
        let welcome = Welcome { facts: &facts, data_dir: loaded.data_dir() }.to_string();
        let door = gateway_config(settings, &facts, &limits, host, signature);
        clients.extend(apt);
        let gate = gate(&door, &facts);
        if let Some(neighbours) = &neighbours {
            let house = house_of(&door, Vec::new());
            neighbours.tell_clients(Arc::new(Reachable { house, listening: facts.clients.clone() }));
        }
        let gateway = Gateway::start(door, clients, fetcher.clone(), Arc::new(web.clone()))
            .map_err(|error| Failure::new(Exit::General, format!("clients.listen: {error}")))?;
        let admin = Admin::new(Parts {
            facts,
            store: store.clone(),
            fetcher: fetcher.clone(),
            neighbourhood: neighbourhood(neighbours.clone()),
            clients: Arc::new(Counted(Arc::clone(gateway.counters()))),
            gate: Arc::new(gate),
        });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        open_admin(&admin, admin_ports, control, &tasks, &stop)?;
        Ok(House { welcome, store, web, fetcher, neighbours, announcer, gateway, admin, tasks, stop })
    }

    /// What the user is told at the start.
    pub(crate) fn welcome(&self) -> &str {
        &self.welcome
    }

    /// Stops in order; downloads may finish within `grace`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rest as a crash would: nothing that was stored is lost.
    pub(crate) async fn close(self, grace: Duration) {
        self.stop.cancel();
        self.admin.close();
        self.tasks.close();
        if let Some(announcer) = self.announcer {
            announcer.stop().await;
        }
        let commands = tokio::time::timeout(grace, self.tasks.wait());
        let ((), ended) = tokio::join!(self.gateway.shutdown(grace), commands);
        if ended.is_err() {
            tracing::info!(connections = self.tasks.len(), "commands did not end within the grace period");
        }
        self.fetcher.shutdown().await;
        if let Some(neighbours) = &self.neighbours {
            // A neighbour that has gone away does not answer the goodbye.
            let _ = tokio::time::timeout(GOODBYE_MAX, neighbours.shutdown()).await;
        }
        self.store.close().await;
        // Connections to origins close by themselves; nobody waits for what they still say.
        drop(self.web);
    }
}

/// Opens the doors of the admin room.
fn open_admin(
    admin: &Admin,
    ports: Vec<TcpListener>,
    control: UnixListener,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    for port in ports {
        let port = tokio::net::TcpListener::from_std(port)
            .map_err(|error| Failure::new(Exit::General, format!("admin.listen: {error}")))?;
        tasks.spawn(serve::port(admin.clone(), port, tasks.clone(), stop.clone()).boxed());
    }
    tasks.spawn(serve::control(admin.clone(), control, tasks.clone(), stop.clone()).boxed());
    Ok(())
}

/// The data directory, closed to others.
fn prepare(data_dir: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|error| {
        let message = format!("data_dir: {} cannot be made: {error}", data_dir.display());
        Failure::new(Exit::of_io(&error), message).fix("name another with --data-dir")
    })
}

fn box_name(settings: &Settings) -> String {
    if settings.name.is_empty() { machine::host_name() } else { settings.name.clone() }
}

fn profile(wanted: settings::Profile) -> Profile {
    match wanted {
        settings::Profile::Router => Profile::Router,
        settings::Profile::Board => Profile::Board,
        settings::Profile::Server => Profile::Server,
        // Of an unknown machine the least is asked.
        settings::Profile::Auto => machine::memory_bytes().map_or(Profile::Router, Profile::auto),
    }
}

async fn open_store(loaded: &Loaded, limits: &Limits) -> Result<Store, Failure> {
    let config = store_config(loaded, limits);
    tracing::debug!(?config, "opening the shelf");
    let opening = tokio::task::spawn_blocking(move || Store::open(config, now())).await;
    let opened = opening.map_err(|error| Failure::new(Exit::General, format!("the shelf: {error}")))?;
    opened.map_err(|error| {
        let failure = Failure::new(Exit::General, format!("the shelf: {}", with_causes(&error)));
        match error {
            OpenError::Busy(_) => failure.fix("another box runs there; stop it or use --data-dir"),
            _ => failure.fix("look at `kith doctor`"),
        }
    })
}

fn store_config(loaded: &Loaded, limits: &Limits) -> kith_store::Config {
    let settings = &loaded.settings.store;
    let total = machine::space(loaded.data_dir()).map(|space| space.total_bytes).ok();
    let percent_of = |bytes: u64, percent: u64| bytes / 100 * percent;
    let suggested = || total.map_or(SHELF_BYTES_UNKNOWN, |total| percent_of(total, limits.shelf_percent));
    let bytes_max = settings.size.unwrap_or_else(|| ByteSize(suggested())).0;
    let reserve = || percent_of(total.unwrap_or(0), limits.reserve_percent).max(limits.reserve_bytes_min);
    kith_store::Config {
        dir: loaded.data_dir().to_owned(),
        bytes_max,
        reserve_bytes: settings.reserve.unwrap_or_else(|| ByteSize(reserve())).0,
        object_bytes_max: percent_of(bytes_max, limits.object_percent_max),
        cache_bytes: limits.index_cache_bytes,
    }
}

fn open_web(settings: &Settings, signature: Signature) -> Result<Web, Failure> {
    let origins = &settings.origins;
    let bad_roots = |message: String| Failure::new(Exit::Usage, format!("origins.extra_ca_files: {message}"));
    let read =
        |file: &PathBuf| fs::read(file).map_err(|error| bad_roots(format!("{}: {error}", file.display())));
    let config = web::Config {
        allow_private: origins.allow_private.clone(),
        connections_per_host_max: usize::try_from(origins.max_connections_per_host).unwrap_or(1),
        resolver: match origins.resolver {
            settings::Resolver::System => Resolver::System,
            settings::Resolver::Server(address) => Resolver::Server(address),
        },
        extra_roots: origins.extra_ca_files.iter().map(read).collect::<Result<_, _>>()?,
        signature,
    };
    Web::new(config).map_err(|error| bad_roots(with_causes(&error)))
}

/// An origin for `kith get` without a box.
pub(crate) fn lone_origin(loaded: &Loaded) -> Result<Arc<dyn Origin>, Failure> {
    let signature = Signature::new(random_token()?);
    Ok(Arc::new(open_web(&loaded.settings, signature)?))
}

fn random_token() -> Result<String, Failure> {
    let mut bytes = [0; 8];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::new(Exit::General, "the system gives no random numbers"))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

/// What clients may find by mDNS.
fn doors(settings: &Settings, listening: &[SocketAddr]) -> Vec<Announcement> {
    let clients = &settings.clients;
    if !clients.announce {
        return Vec::new();
    }
    announce::doors(&box_name(settings), listening, &clients.interfaces)
}

/// Doors are announced by the neighbours' room; without that room, by this. A box that cannot announce serves all the
/// same.
fn announcer(settings: &Settings, host: &str, doors: &[Announcement]) -> Option<Announcer> {
    if doors.is_empty() {
        return None;
    }
    let interfaces = settings.clients.interfaces.clone();
    let voice = Voice { interfaces, loopback: Loopback::Ignored, port: MDNS_PORT };
    let started = Announcer::start(&voice, host, doors);
    started.inspect_err(|error| tracing::warn!(%error, "clients do not find this box by themselves")).ok()
}

/// The neighbours, when there are any, and the name in mDNS for this box's addresses.
fn open_neighbours(
    loaded: &Loaded,
    limits: &Limits,
    store: &Store,
    doors: Vec<Announcement>,
) -> Result<(Option<Neighbourhood>, String), Failure> {
    if !loaded.settings.neighbours.enabled {
        return Ok((None, announce::host(&box_name(&loaded.settings))));
    }
    let identity = Identity::open(loaded.data_dir())
        .map_err(|error| Failure::new(Exit::General, format!("identity: {}", with_causes(&error))))?;
    let host = Neighbourhood::host(&identity);
    let config = neighbour_config(loaded, limits, doors);
    let started = Neighbourhood::start(config, identity, store.clone());
    started.map(|room| (Some(room), host)).map_err(|error| match &error {
        StartError::Setup(SetupError::Socket(address, cause)) => {
            listen::taken("neighbours.listen", *address, cause)
        }
        _ => Failure::new(Exit::General, format!("neighbours: {}", with_causes(&error))),
    })
}

fn neighbour_config(
    loaded: &Loaded,
    limits: &Limits,
    announcements: Vec<Announcement>,
) -> kith_neighbour::config::Config {
    let settings = &loaded.settings.neighbours;
    // Who listens on loopback only means boxes on one host; else a name that resolves there is a trick.
    let local = settings.listen.ip().is_loopback();
    kith_neighbour::config::Config {
        name: box_name(&loaded.settings),
        data_dir: loaded.data_dir().to_owned(),
        listen: settings.listen,
        limits: *limits,
        share: if settings.share { Sharing::On } else { Sharing::Off },
        upload_bytes_per_second: match settings.upload_rate {
            settings::Auto::Auto => None,
            settings::Auto::Set(rate) => Some(u32::try_from(rate.0).unwrap_or(u32::MAX)),
        },
        object_bytes_min: settings.min_object.0,
        discovery: Discovery::Mdns(Voice {
            interfaces: settings.interfaces.clone(),
            loopback: if local { Loopback::Counts } else { Loopback::Ignored },
            port: MDNS_PORT,
        }),
        announcements,
        static_peers: settings.fixed.iter().map(|named| named.0.clone()).collect(),
    }
}

fn neighbourhood(room: Option<Neighbourhood>) -> Arc<dyn house::Neighbourhood> {
    match room {
        Some(room) => Arc::new(Neighbours(room)),
        None => Arc::new(NoNeighbours),
    }
}

fn gateway_config(
    settings: &Settings,
    facts: &Facts,
    limits: &Limits,
    announced: String,
    signature: Signature,
) -> kith_gateway::Config {
    let clients = &settings.clients;
    kith_gateway::Config {
        name: facts.name.clone(),
        version: facts.version.to_owned(),
        node_id: facts.node_id.clone(),
        hosts: clients.hosts.iter().cloned().chain([machine::host_name(), announced]).collect(),
        allow: clients.allow.iter().map(allow).collect(),
        interfaces: clients.interfaces.clone(),
        connections_max: limits.client_connections_max,
        connections_per_address_max: limits.client_connections_per_address_max,
        touch: match settings.origins.touch {
            settings::Touch::Downloads => Touch::Downloads,
            settings::Touch::Daily => Touch::Daily,
            settings::Touch::Rfc9111 => Touch::Rfc9111,
        },
        apt_ports: facts.apt.iter().map(SocketAddr::port).collect(),
        connect: if clients.connect { Connect::On } else { Connect::Off },
        signature,
    }
}

/// The same rules for the admin port.
fn gate(door: &kith_gateway::Config, facts: &Facts) -> SameGate {
    SameGate(house_of(door, facts.admin.iter().map(SocketAddr::port).collect()))
}

fn house_of(door: &kith_gateway::Config, ports: Vec<u16>) -> kith_gateway::House {
    let (allow, interfaces) = (door.allow.clone(), door.interfaces.clone());
    kith_gateway::House::new(&door.name, &door.hosts, ports, allow, interfaces)
}

fn allow(allow: &settings::Allow) -> kith_gateway::Allow {
    match allow {
        settings::Allow::Lan => kith_gateway::Allow::Lan,
        settings::Allow::Network(network) => kith_gateway::Allow::Net(*network),
    }
}

fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

/// An error and everything behind it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
