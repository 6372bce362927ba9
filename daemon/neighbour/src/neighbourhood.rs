//! The handle of the room: what the rest of the house can ask of the neighbours.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::stream::BoxStream;
use kith_fetch::share::{Gathering, Share};
use kith_fetch::source::{Finder, Found, Wanted};
use kith_model::representation::Representation;
use kith_model::trust::Role;
use kith_store::Store;
use quinn::VarInt;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;

use crate::clients::Clients;
use crate::config::Config;
use crate::endpoint::{self, SetupError};
use crate::group::Group;
use crate::identity::{Identity, NodeId};
use crate::pair::{Invitation, JoinError};
use crate::pairing::desk::{Code, LockedOut};
use crate::peers::Peer;
use crate::registry::{Registry, RegistryError};
use crate::room::{Parts, Room};
use crate::roster::{Known, Seen};
use crate::rotation::RotateError;
use crate::tally::Totals;
use crate::tls::Door;
use crate::view::{FindError, View, is_prefix_of, one_of, parse_address};
use crate::window::PairingWindow;
use crate::wire::Bye;
use crate::{
    clock, connect, copies, crowd, dial, discovery, membership, name, named, pair, rotation, source, telling,
    withdrawals,
};

/// Why the room does not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The list of neighbours cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The socket, or the key.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The system's source of random numbers.
    #[error("no random numbers")]
    Random,
}

/// Why a box could not be unpaired.
#[derive(Debug, thiserror::Error)]
pub enum UnpairError {
    /// No such box.
    #[error(transparent)]
    Find(#[from] FindError),
    /// It is shut out now, but would be back after a restart.
    #[error("the list of neighbours could not be written: {0}")]
    Disk(#[from] std::io::Error),
}

/// The neighbours' room. Clones are handles to the same one.
#[derive(Clone)]
pub struct Neighbourhood {
    room: Arc<Room>,
}

impl Neighbourhood {
    /// The name in mDNS that goes with the addresses of the box of this identity.
    pub fn host(identity: &Identity) -> String {
        discovery::host(&identity.id())
    }

    /// Reads the list of neighbours, binds the socket, announces this box and begins to dial. Reads files: call it
    /// before the runtime is busy, but within it.
    pub fn start(mut config: Config, identity: Identity, store: Store) -> Result<Self, StartError> {
        config.name = name::cleaned(&config.name);
        let registry = Registry::open(&config.data_dir)?;
        let admitting = registry.clone();
        let nobody_waits = endpoint::server_config(
            &identity,
            Arc::new(move |key| admitting.admits(key)),
            Door::Shut,
            &config.limits,
        )?;
        let endpoint = endpoint::bind(&identity, config.listen, &config.limits, nobody_waits)?;
        let mut instance = [0; 8];
        SystemRandom::new().fill(&mut instance).map_err(|_| StartError::Random)?;
        let instance = u64::from_be_bytes(instance);
        let old_identity = rotation::old_key(&config.data_dir, &registry.read());
        let room = Room::new(Parts { config, identity, old_identity, registry, store, endpoint, instance });
        let counting = Arc::downgrade(&room);
        room.store.count_copies(Box::new(move |object| {
            counting.upgrade().map_or(0, |room| copies::count(&room, object))
        }));
        room.tracker.spawn(connect::accept(Arc::clone(&room)).boxed());
        room.tracker.spawn(membership::run(Arc::clone(&room)).boxed());
        room.tracker.spawn(dial::run(Arc::clone(&room)).boxed());
        room.tracker.spawn(named::run(Arc::clone(&room)).boxed());
        room.tracker.spawn(discovery::run(Arc::clone(&room)).boxed());
        room.tracker.spawn(telling::watch(Arc::clone(&room)).boxed());
        Ok(Self { room })
    }

    /// This box's name.
    pub fn id(&self) -> NodeId {
        self.room.identity.id()
    }

    /// Where QUIC listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.room.endpoint.local_addr()
    }

    /// Tells the owner's other boxes from now on where clients may connect. The first word counts.
    pub fn tell_clients(&self, clients: Arc<dyn Clients>) {
        let _ = self.room.clients.set(clients);
    }

    /// All boxes that are paired or seen, the paired ones first.
    pub fn list(&self) -> Vec<View> {
        let now = clock::now();
        let room = &self.room;
        let paired: Vec<Peer> = room.registry.read().iter().map(|(_, peer)| peer.clone()).collect();
        let seen: Vec<(NodeId, Seen)> = room.roster().iter().map(|(id, seen)| (*id, seen.clone())).collect();
        let is_paired = |id: &NodeId| paired.iter().any(|peer| peer.key().id() == *id);
        let strangers =
            seen.iter().filter(|(id, _)| !is_paired(id)).map(|(id, seen)| View::stranger(*id, seen));
        paired.iter().map(|peer| View::paired(room, peer, now)).chain(strangers).collect()
    }

    /// A number that grows whenever [`Self::list`] would show something else than other counts.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.room.changes.subscribe()
    }

    /// What all neighbours together did since the start.
    pub fn totals(&self) -> Totals {
        let sessions = self.room.sessions.all();
        let peers = self.room.registry.read();
        let of = |role| {
            let is_of = |id| peers.find(id).is_some_and(|peer| peer.role() == role);
            sessions.iter().filter(|session| is_of(&session.id)).count() as u64
        };
        Totals {
            sessions_mine: of(Role::Mine),
            sessions_neighbour: of(Role::Neighbour),
            ..self.room.tallies.totals()
        }
    }

    /// Shows a code for two minutes; a window that was open closes. Whoever joins becomes what both owners let it be: the
    /// farther of the two roles.
    pub fn open_pairing(&self, role: Role) -> Result<PairingWindow, LockedOut> {
        PairingWindow::open(&self.room, role)
    }

    /// Joins the box of that name, node id prefix, key words or address, which shows `code`.
    ///
    /// # Cancel safety
    /// Dropping the future uses up the code and may leave the other box paired alone.
    pub async fn join(&self, who: &str, code: &str, role: Role) -> Result<View, JoinError> {
        let code = Code::parse(code).ok_or(JoinError::BadCode)?;
        let id = self.join_at_any(&self.addresses_of(who)?, &code, role).await?;
        let joined = self.list().into_iter().find(|view| view.id == id);
        joined.ok_or_else(|| JoinError::Failed("the box was unpaired at once".into()))
    }

    /// A box may be announced at addresses that nobody reaches from here: only silence leads to the next one.
    async fn join_at_any(
        &self,
        addresses: &[SocketAddr],
        code: &Code,
        role: Role,
    ) -> Result<NodeId, JoinError> {
        let mut outcome = Err(FindError::NotFound.into());
        for address in addresses {
            let invitation = Invitation { code: code.clone(), role, is_of_group: false };
            outcome = pair::join(&self.room, *address, &invitation).await;
            if !matches!(outcome, Err(JoinError::Unreachable(_))) {
                break;
            }
        }
        outcome
    }

    /// Where a box may be, IPv4 first: a link-local address is the likeliest to be another interface's.
    fn addresses_of(&self, who: &str) -> Result<Vec<SocketAddr>, FindError> {
        if let Some(address) = parse_address(who) {
            return Ok(vec![address]);
        }
        let view = self.find(who, |_| true)?;
        let mut addresses: Vec<SocketAddr> = view.address.into_iter().collect();
        if let Some(seen) = self.room.roster().find(&view.id) {
            addresses.extend(&seen.addresses);
        }
        let (mut addresses, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv4);
        addresses.extend(other);
        addresses.dedup();
        Ok(addresses)
    }

    /// Forgets a box and ends its session at once.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the box stored on the disk; it is shut out until the next start in any case.
    pub async fn unpair(&self, who: &str) -> Result<View, UnpairError> {
        let by_address = parse_address(who);
        let view = match by_address {
            Some(address) => {
                let is_there = |view: &View| view.address.is_some_and(|at| at.ip() == address.ip());
                one_of(self.list().into_iter().filter(|view| view.role.is_some() && is_there(view)))?
            }
            None => self.find(who, |view| view.role.is_some())?,
        };
        self.room.registry.change(|peers| peers.remove(&view.id));
        self.room.sessions.end(&view.id, Bye::Unpaired);
        self.room.tallies.retire(&view.id);
        self.room.roster().note(&view.id, Known::Stranger);
        let (noting, id) = (Arc::clone(&self.room), view.id);
        self.room.blocking(move || noting.membership.note(|group| group.leave_out(&id))).await;
        self.room.changed();
        self.room.registry.save().await?;
        tracing::info!(neighbour = %view.id.short(), "unpaired");
        Ok(view)
    }

    /// Whether this box is in a group, and what the others are to it at most.
    pub fn group(&self) -> Option<Role> {
        self.room.membership.role()
    }

    /// Comes into the group of those who know the same words; nothing means into none. Boxes that are paired stay so.
    pub async fn set_group(&self, group: Option<Group>) -> std::io::Result<()> {
        let room = Arc::clone(&self.room);
        let replaced = self.room.blocking(move || room.membership.replace(group)).await;
        replaced.unwrap_or_else(|| Err(std::io::Error::other("it broke off")))?;
        self.room.changed();
        Ok(())
    }

    /// Makes the key that this box has from its next start on, and returns its node id. Paired boxes are told of it, by
    /// the key that they know.
    pub async fn rotate_key(&self) -> Result<NodeId, RotateError> {
        let room = Arc::clone(&self.room);
        let prepared =
            self.room.blocking(move || rotation::prepare(&room.config.data_dir, &room.registry.read()));
        prepared.await.unwrap_or_else(|| Err(std::io::Error::other("it broke off").into()))
    }

    fn find(&self, who: &str, counts: impl Fn(&View) -> bool) -> Result<View, FindError> {
        let who = who.trim();
        if is_prefix_of(who, self.id()) {
            return Err(FindError::Ourselves);
        }
        let views: Vec<View> = self.list().into_iter().filter(|view| counts(view)).collect();
        let is_named = |view: &View| {
            is_prefix_of(who, view.id) || view.key_words == who || view.name.eq_ignore_ascii_case(who)
        };
        one_of(views.into_iter().filter(is_named))
    }

    /// Says goodbye to everybody and closes the socket.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rest to the neighbours' time-outs.
    pub async fn shutdown(&self) {
        let room = &self.room;
        room.stopping.cancel();
        for session in room.sessions.all() {
            session.close(Bye::Stopping);
        }
        room.endpoint.close(VarInt::from_u32(Bye::Stopping.code().into()), b"");
        room.endpoint.wait_idle().await;
        room.tracker.close();
        room.tracker.wait().await;
    }
}

impl Finder for Neighbourhood {
    fn find(&self, wanted: Wanted) -> BoxStream<'static, Found> {
        source::find(Arc::clone(&self.room), wanted)
    }

    fn withdrawn(&self, stored: &Representation) {
        withdrawals::note(&self.room, stored.clone());
    }

    fn gather(&self, wanted: &Wanted, share: &Arc<Share>) -> Option<Gathering> {
        crowd::gather(&self.room, wanted, share)
    }
}
