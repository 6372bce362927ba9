//! What the tasks of this room share, and the few things that several of them do.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::FutureExt;
use kith_store::Store;
use quinn::Endpoint;
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clients::Clients;
use crate::clock;
use crate::config::Config;
use crate::crowd::Fetches;
use crate::identity::{Identity, NodeId};
use crate::membership::Membership;
use crate::pairing::desk::{Desk, WindowNumber};
use crate::peers::{Evidence, Standing};
use crate::registry::Registry;
use crate::roster::{Known, Roster};
use crate::session::{Session, Sessions};
use crate::shelf::Shelf;
use crate::tally::Tallies;
use crate::tls::{Admits, Door};
use crate::uploads::{Rates, Uploads};
use crate::window::PairingOutcome;
use crate::wire::{self, Bye, Hello};
use crate::withdrawals::Withdrawals;

/// The room.
pub(crate) struct Room {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    /// The key before, while some box knows us by it.
    pub(crate) old_identity: Option<Identity>,
    pub(crate) registry: Registry,
    pub(crate) store: Store,
    pub(crate) shelf: Shelf,
    pub(crate) endpoint: Endpoint,
    pub(crate) sessions: Sessions,
    pub(crate) tallies: Tallies,
    pub(crate) fetches: Fetches,
    /// The door for clients, once the roof has told it.
    pub(crate) clients: OnceLock<Arc<dyn Clients>>,
    /// Drawn when the process started.
    pub(crate) instance: u64,
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) tracker: TaskTracker,
    pub(crate) stopping: CancellationToken,
    /// Somebody was seen, paired or lost: look whom to dial.
    pub(crate) wake: Notify,
    /// Grows when whoever is missing is worth a try at once.
    pub(crate) nudges: AtomicU64,
    /// Grows whenever the list of neighbours would show something else than counts.
    pub(crate) changes: watch::Sender<u64>,
    /// Whether this box belongs to a group.
    pub(crate) membership: Membership,
    /// What origins took back, for the others.
    pub(crate) withdrawals: Withdrawals,
    /// The shelf's generation, for those who tell neighbours of it.
    pub(crate) news: watch::Sender<u64>,
    roster: Mutex<Roster>,
    /// Where the boxes are that the configuration names.
    named: Mutex<Vec<SocketAddr>>,
    pairing: Mutex<Pairing>,
}

/// The pairing window and who waits for it.
#[derive(Default)]
pub(crate) struct Pairing {
    pub(crate) desk: Desk,
    pub(crate) waiting: Option<(WindowNumber, oneshot::Sender<PairingOutcome>)>,
}

impl Pairing {
    /// Tells who waits for a window how it ended.
    pub(crate) fn ended(&mut self, window: WindowNumber, outcome: PairingOutcome) {
        self.desk.close(window);
        if self.waiting.as_ref().is_some_and(|(number, _)| *number == window)
            && let Some((_, waiting)) = self.waiting.take()
        {
            // Nobody waits any more: the window was given up.
            let _ = waiting.send(outcome);
        }
    }
}

/// What the room is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) old_identity: Option<Identity>,
    pub(crate) registry: Registry,
    pub(crate) store: Store,
    pub(crate) endpoint: Endpoint,
    pub(crate) instance: u64,
}

impl Room {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { config, identity, old_identity, registry, store, endpoint, instance } = parts;
        // What the owner says holds for all alike.
        let others = u32::try_from(config.limits.upload_bytes_per_second).unwrap_or(u32::MAX);
        let others = Some(others).filter(|_| config.upload_bytes_per_second.is_none());
        Arc::new(Self {
            shelf: Shelf::new(store.clone(), config.object_bytes_min),
            sessions: Sessions::new(identity.id(), config.limits.neighbours_max),
            tallies: Tallies::default(),
            fetches: Fetches::default(),
            clients: OnceLock::new(),
            uploads: Uploads::new(Rates { all: config.upload_bytes_per_second, others }),
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
            wake: Notify::new(),
            nudges: AtomicU64::new(0),
            changes: watch::Sender::new(0),
            membership: Membership::open(&config.data_dir),
            withdrawals: Withdrawals::new(&config.data_dir),
            news: watch::Sender::new(0),
            roster: Mutex::new(Roster::new(&config.limits)),
            named: Mutex::default(),
            pairing: Mutex::default(),
            config,
            identity,
            old_identity,
            registry,
            store,
            endpoint,
            instance,
        })
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn named(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pairing(&self) -> MutexGuard<'_, Pairing> {
        self.pairing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells who watches that the list of neighbours has changed, and the dialler to look again.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
        self.wake.notify_one();
    }

    /// Discovery has heard of a paired box: it is tried at once, or asked whether it is still at the other end.
    pub(crate) fn heard_of(self: &Arc<Self>, id: &NodeId) {
        match self.sessions.find(id) {
            Some(session) => self.doubt(&session),
            None => self.nudge(),
        }
    }

    /// The network, or this machine, is not what it was: every session may be dead, and every box back.
    pub(crate) fn doubt_all(self: &Arc<Self>) {
        for session in self.sessions.all() {
            self.doubt(&session);
        }
        self.nudge();
    }

    fn nudge(&self) {
        self.nudges.fetch_add(1, Relaxed);
        self.wake.notify_one();
    }

    /// Ends a session whose other end is gone, long before it would time out.
    pub(crate) fn doubt(self: &Arc<Self>, session: &Arc<Session>) {
        if session.is_doubted.swap(true, Relaxed) {
            return;
        }
        let (stopping, session) = (self.stopping.clone(), Arc::clone(session));
        self.tracker.spawn(
            async move {
                let answers = tokio::select! {
                    () = stopping.cancelled() => return,
                    answers = session.answers() => answers,
                };
                if !answers {
                    tracing::debug!(neighbour = %session.id.short(), "a neighbour does not answer any more");
                    session.close(Bye::Stopping);
                }
                session.is_doubted.store(false, Relaxed);
            }
            .boxed(),
        );
    }

    /// Whether a paired box has no session.
    pub(crate) fn is_missing_somebody(&self) -> bool {
        self.registry.read().iter().any(|(id, _)| self.sessions.find(id).is_none())
    }

    /// What we say first.
    pub(crate) fn hello(&self) -> Hello {
        Hello {
            version: wire::VERSION,
            name: self.config.name.clone(),
            instance: self.instance,
            speaks: Some(
                wire::speaks::FILTERS | wire::speaks::WITHDRAWALS | wire::speaks::CROWDS | wire::speaks::KEYS,
            ),
        }
    }

    pub(crate) fn known(&self, id: &NodeId) -> Known {
        if self.registry.read().find(id).is_some() { Known::Paired } else { Known::Stranger }
    }

    pub(crate) fn admits(self: &Arc<Self>) -> Admits {
        let registry = self.registry.clone();
        Arc::new(move |key| registry.admits(key))
    }

    pub(crate) fn door(&self) -> Door {
        let is_open = self.pairing().desk.is_open(clock::now()) || self.membership.role().is_some();
        if is_open { Door::Pairing } else { Door::Shut }
    }

    /// Counts a bad group or nonsense against a box; the third ends its session.
    pub(crate) fn strike(self: &Arc<Self>, session: &Session, why: &'static str) {
        session.tally.strikes.fetch_add(1, Relaxed);
        let standing = self.registry.change(|peers| peers.strike(&session.id, why, clock::now()));
        tracing::warn!(neighbour = %session.id.short(), why, ?standing, "a neighbour gets a strike");
        if matches!(standing, Some(Standing::Banned(_))) {
            self.sessions.end(&session.id, Bye::Banned);
            session.close(Bye::Banned);
        }
        self.changed();
        self.save_soon();
    }

    /// Puts a box away for a signed lie.
    pub(crate) fn quarantine(self: &Arc<Self>, session: &Session, evidence: Evidence) {
        session.tally.strikes.fetch_add(1, Relaxed);
        tracing::warn!(neighbour = %session.id.short(), lie = %evidence.summary, "a neighbour signed a lie");
        self.registry.change(|peers| peers.quarantine(&session.id, evidence));
        self.sessions.end(&session.id, Bye::Banned);
        session.close(Bye::Banned);
        self.changed();
        self.save_soon();
    }

    /// Works on a thread that may block; nothing when the work panicked. Boxed: what the runtime does with a task is
    /// compiled anew for every type of one, and the program has to fit a router.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, done) = oneshot::channel();
        let task: Box<dyn FnOnce() + Send> = Box::new(move || {
            // Who asked may be gone.
            let _ = reply.send(work());
        });
        self.tracker.spawn_blocking(task);
        done.await.ok()
    }

    /// Writes the list of neighbours down behind the caller's back; the room's end waits for it.
    pub(crate) fn save_soon(self: &Arc<Self>) {
        let room = Arc::clone(self);
        self.tracker.spawn(
            async move {
                if let Err(error) = room.registry.save().await {
                    tracing::error!(%error, "the list of neighbours could not be written");
                }
            }
            .boxed(),
        );
    }
}
