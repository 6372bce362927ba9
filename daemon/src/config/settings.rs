//! The settings of the box as checked, typed data, with their defaults.
//!
//! How the keys are spelt is `keys`' affair; what a room makes of them is the wiring's.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::units::{ByteSize, Rate};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Shown to neighbours; empty means the host's name.
    pub name: String,
    /// Where everything is kept; absent means the place that suits how the box was started.
    pub data_dir: Option<PathBuf>,
    /// How much of the machine may be used.
    pub profile: Profile,
    /// The port for clients.
    pub clients: Clients,
    /// The port for the admin page.
    pub admin: Admin,
    /// The shelf.
    pub store: Store,
    /// Websites.
    pub origins: Origins,
    /// Other boxes on the LAN.
    pub neighbours: Neighbours,
    /// The public DHT and swarms.
    pub world: World,
    /// What is written down.
    pub privacy: Privacy,
    /// What is counted for others.
    pub metrics: Metrics,
    /// How the box stops.
    pub shutdown: Shutdown,
}

/// A limit that the box finds out by itself unless the owner says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Auto<T> {
    /// By profile and machine.
    #[default]
    Auto,
    /// As set.
    Set(T),
}

impl<T> Auto<T> {
    /// The value set, or what the machine suggests.
    pub fn unwrap_or_else(self, suggested: impl FnOnce() -> T) -> T {
        match self {
            Auto::Auto => suggested(),
            Auto::Set(value) => value,
        }
    }
}

/// Classes of machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Profile {
    /// By the machine's memory.
    #[default]
    Auto,
    /// 256 MB and less.
    Router,
    /// A Raspberry Pi and the like.
    Board,
    /// Bigger still.
    Server,
}

/// `[clients]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Where clients are served.
    pub listen: Vec<SocketAddr>,
    /// Who is served.
    pub allow: Vec<Allow>,
    /// On which interfaces; empty means all.
    pub interfaces: Vec<String>,
    /// Further names the box answers to, in lower case.
    pub hosts: Vec<String>,
    /// CONNECT tunnels.
    pub connect: bool,
    /// Where apt looks for a proxy by itself.
    pub apt_listen: Vec<SocketAddr>,
    /// Whether clients find the box by mDNS.
    pub announce: bool,
}

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allow {
    /// Private and link-local sources on the box's own links, and the box itself.
    Lan,
    /// Sources inside of this network.
    Network(IpNet),
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where the page and the API are served.
    pub listen: Vec<SocketAddr>,
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Store {
    /// Most bytes kept.
    pub size: Auto<ByteSize>,
    /// Free space left to others.
    pub reserve: Auto<ByteSize>,
    /// Most bytes written to flash a day.
    pub write_budget_per_day: Auto<ByteSize>,
}

/// `[origins]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins {
    /// Private networks whose origins may be fetched.
    pub allow_private: Vec<IpNet>,
    /// Most connections to one host at once.
    pub max_connections_per_host: u32,
    /// When a hit still lets the origin count.
    pub touch: Touch,
    /// Who resolves names.
    pub resolver: Resolver,
    /// PEM files of further roots.
    pub extra_ca_files: Vec<PathBuf>,
}

/// When a hit still lets the origin count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Touch {
    /// With every download.
    #[default]
    Downloads,
    /// Once a day.
    Daily,
    /// Only when RFC 9111 asks for it.
    Rfc9111,
}

/// Who resolves names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Resolver {
    /// The system.
    #[default]
    System,
    /// The server at this address.
    Server(SocketAddr),
}

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort(pub String);

/// `[neighbours]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbours {
    /// Whether the room is there at all.
    pub enabled: bool,
    /// Where QUIC is served.
    pub listen: SocketAddr,
    /// On which interfaces; empty means all of the LAN.
    pub interfaces: Vec<String>,
    /// Boxes where mDNS does not reach, `static` in the file.
    pub fixed: Vec<HostPort>,
    /// Whether neighbours get anything from us.
    pub share: bool,
    /// How fast they get it.
    pub upload_rate: Auto<Rate>,
    /// The smallest object that is asked for.
    pub min_object: ByteSize,
}

/// `[world]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// The public DHT.
    pub dht: Dht,
    /// Where `BitTorrent` and the DHT are served.
    pub listen: SocketAddr,
    /// First nodes to ask.
    pub bootstrap: Vec<Bootstrap>,
    /// What is shared.
    pub share: WorldShare,
    /// Hosts whose files may be shared.
    pub hosts: Vec<String>,
    /// How fast.
    pub upload_rate: Auto<Rate>,
    /// Most flows at once.
    pub flows_max: u32,
    /// Whether the router is asked for a port.
    pub port_mapping: bool,
    /// Whether private addresses may be peers.
    pub allow_private_peers: bool,
}

/// When the public DHT is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Dht {
    /// When something needs it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// A first node of the DHT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// The usual public routers.
    Auto,
    /// This one.
    Node(SocketAddr),
}

/// What the world gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WorldShare {
    /// Nothing.
    Off,
    /// What its publisher offers itself.
    #[default]
    Publisher,
    /// Also what comes from the hosts in the list.
    Hosts,
}

/// `[privacy]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Privacy {
    /// Whole URLs in logs, not only hosts.
    pub log_urls: bool,
}

/// `[metrics]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// `GET /metrics`.
    pub prometheus: bool,
}

/// `[shutdown]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long downloads may go on after the order to stop, in seconds.
    pub grace_s: u32,
}

fn everywhere(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: String::new(),
            data_dir: None,
            profile: Profile::Auto,
            clients: Clients {
                listen: vec![everywhere(8480)],
                allow: vec![Allow::Lan],
                interfaces: Vec::new(),
                hosts: Vec::new(),
                connect: false,
                apt_listen: Vec::new(),
                announce: true,
            },
            admin: Admin { listen: vec![everywhere(8481)] },
            store: Store::default(),
            origins: Origins {
                allow_private: Vec::new(),
                max_connections_per_host: 4,
                touch: Touch::Downloads,
                resolver: Resolver::System,
                extra_ca_files: Vec::new(),
            },
            neighbours: Neighbours {
                enabled: true,
                listen: everywhere(8482),
                interfaces: Vec::new(),
                fixed: Vec::new(),
                share: true,
                upload_rate: Auto::Auto,
                min_object: ByteSize(4 << 20),
            },
            world: World {
                dht: Dht::Auto,
                listen: everywhere(8483),
                bootstrap: vec![Bootstrap::Auto],
                share: WorldShare::Publisher,
                hosts: Vec::new(),
                upload_rate: Auto::Auto,
                flows_max: 256,
                port_mapping: false,
                allow_private_peers: false,
            },
            privacy: Privacy::default(),
            metrics: Metrics { prometheus: true },
            shutdown: Shutdown { grace_s: 20 },
        }
    }
}
