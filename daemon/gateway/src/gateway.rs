//! The handle of the room.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use kith_fetch::fetcher::Fetcher;
use kith_fetch::relay::Relay;
use kith_model::signature::Signature;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{Answerer, Touch};
use crate::body::LargePieces;
use crate::counters::Counters;
use crate::house::{Allow, House};
use crate::listen::{self, Crowd, Doorway};
use crate::pages::About;
use crate::relay::Relayer;

/// How the room behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The box's name: part of the names we answer to, and on the page.
    pub name: String,
    /// Shown to clients.
    pub version: String,
    /// Shown to clients.
    pub node_id: String,
    /// Further names we answer to.
    pub hosts: Vec<String>,
    /// Who may connect.
    pub allow: Vec<Allow>,
    /// Interfaces that clients may come by; all when empty.
    pub interfaces: Vec<String>,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections of one address at once. The box's own programs may take half of all.
    pub connections_per_address_max: usize,
    /// When a hit still lets the origin count a download.
    pub touch: Touch,
    /// Ports among those listened on where apt looks for a proxy by itself.
    pub apt_ports: Vec<u16>,
    /// Whether `CONNECT` opens tunnels. Off by default: browsers lift their guard of the local network for what comes
    /// through one.
    pub connect: Connect,
    /// By what requests are known that come back.
    pub signature: Signature,
}

/// Whether `CONNECT` opens tunnels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connect {
    /// To port 443 of public addresses.
    On,
    /// 405.
    #[default]
    Off,
}

/// The running room.
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    counters: Arc<Counters>,
    tasks: TaskTracker,
    drain: CancellationToken,
    cut: CancellationToken,
}

impl Gateway {
    /// Accepts clients on listeners that are bound already. Must be called within a runtime.
    ///
    /// `relay` takes the requests that pass by the store.
    pub fn start(
        config: Config,
        listeners: Vec<TcpListener>,
        fetcher: Fetcher,
        relay: Arc<dyn Relay>,
    ) -> io::Result<Self> {
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let ports = addresses.iter().map(SocketAddr::port).collect();
        let counters = Arc::<Counters>::default();
        let Config {
            name,
            version,
            node_id,
            hosts,
            allow,
            interfaces,
            touch,
            apt_ports,
            connect,
            signature,
            ..
        } = config;
        let house =
            House::new(&name, &hosts, ports, allow, interfaces).listening(&addresses).signing(signature);
        let about = About { name, version, node_id, apt_ports };
        let (tasks, drain, cut) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let doorway = Arc::new(Doorway {
            answerer: Answerer {
                house,
                about,
                touch,
                fetcher,
                shares: LargePieces::default(),
                counters: Arc::clone(&counters),
            },
            relayer: Relayer::new(relay, connect),
            places: Arc::new(Semaphore::new(config.connections_max)),
            crowd: Crowd::new(config.connections_max, config.connections_per_address_max),
            refusals: Doorway::refusals(),
            tasks: tasks.clone(),
            drain: drain.clone(),
            cut: cut.clone(),
        });
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tasks.spawn(Arc::clone(&doorway).listen(listener).boxed());
        }
        Ok(Self { addresses, counters, tasks, drain, cut })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What was counted since start.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Accepts nobody any more, lets running answers finish within `grace`, then cuts them.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the drain going on without its end.
    pub async fn shutdown(&self, grace: Duration) {
        listen::drain(&self.tasks, &self.drain, &self.cut, grace).await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.drain.cancel();
        self.cut.cancel();
    }
}
