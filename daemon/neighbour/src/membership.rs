//! This box's place in a group: keeps [`crate::group`] with its file, and pairs with the other members that are seen.
//!
//! Whether a stranger belongs to the group shows only when it is asked: nothing is announced. The box with the lower node
//! id asks at once and the other a little later, so that a box which comes into the group after another one asks those
//! that asked it too early.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kith_model::limits::{GROUP_COURTESY, GROUP_RETRY, NEIGHBOUR_IDLE_TIMEOUT};
use kith_model::trust::Role;
use tokio::time::Instant;

use crate::group::{FILE_NAME, Group};
use crate::identity::NodeId;
use crate::pair::{self, Invitation, JoinError};
use crate::private_file;
use crate::room::Room;

/// The group, if this box is in one.
pub(crate) struct Membership {
    path: PathBuf,
    group: Mutex<Option<Group>>,
    /// Counts groups: who was asked as of one is asked again as of the next.
    number: AtomicU64,
    /// Whom we are about to pair with.
    asking: Mutex<Option<NodeId>>,
}

impl Membership {
    /// Reads the file. A damaged one is none: those that are paired stay so. Blocks.
    pub(crate) fn open(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE_NAME);
        let stored = private_file::read(&path).ok().flatten();
        let group = stored.as_deref().map(Group::from_bytes);
        if matches!(group, Some(None)) {
            tracing::warn!("{FILE_NAME} is damaged: this box is in no group until it joins again");
        }
        Self { path, group: Mutex::new(group.flatten()), number: AtomicU64::new(0), asking: Mutex::default() }
    }

    fn group(&self) -> MutexGuard<'_, Option<Group>> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the others are to us at most; nothing when this box is in no group.
    pub(crate) fn role(&self) -> Option<Role> {
        self.group().as_ref().map(Group::role)
    }

    /// What a box by that name may pair with us by.
    pub(crate) fn invitation(&self, id: &NodeId) -> Option<Invitation> {
        let group = self.group();
        let group = group.as_ref().filter(|group| group.admits(id))?;
        Some(Invitation { code: group.code(), role: group.role(), is_of_group: true })
    }

    /// Whether that box has to wait as we are asking it at the same time. Both see it alike: the lower id goes first.
    pub(crate) fn goes_first(&self, us: NodeId, them: NodeId) -> bool {
        us < them && *self.asking.lock().unwrap_or_else(PoisonError::into_inner) == Some(them)
    }

    /// Another group, or none. Blocks.
    pub(crate) fn replace(&self, group: Option<Group>) -> io::Result<()> {
        let mut kept = self.group();
        match &group {
            Some(group) => private_file::replace(&self.path, &group.to_bytes())?,
            None => private_file::remove(&self.path)?,
        }
        *kept = group;
        self.number.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Notes something about a box. Blocks.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Group)) {
        let mut kept = self.group();
        let Some(group) = kept.as_mut() else { return };
        change(group);
        if let Err(error) = private_file::replace(&self.path, &group.to_bytes()) {
            tracing::error!(%error, "{FILE_NAME} could not be written");
        }
    }
}

/// Pairs with members until the room stops.
pub(crate) async fn run(room: Arc<Room>) {
    let mut due: HashMap<NodeId, Instant> = HashMap::new();
    let mut changes = room.changes.subscribe();
    let mut number = 0;
    loop {
        changes.mark_unchanged();
        let current = room.membership.number.load(Relaxed);
        if std::mem::replace(&mut number, current) != current {
            due.clear();
        }
        let strangers = strangers(&room);
        // As many as the roster holds.
        due.retain(|id, _| strangers.iter().any(|(stranger, _)| stranger == id));
        for (id, addresses) in strangers {
            let now = Instant::now();
            let courtesy = if room.identity.id() < id { std::time::Duration::ZERO } else { GROUP_COURTESY };
            let at = due.entry(id).or_insert(now + courtesy);
            if *at <= now && !room.stopping.is_cancelled() {
                *at = now + GROUP_RETRY;
                ask(&room, id, &addresses).await;
            }
        }
        let next = due.values().min().copied().unwrap_or_else(|| Instant::now() + GROUP_RETRY);
        tokio::select! {
            () = room.stopping.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// Boxes that are seen and might be members; none when this box is in no group.
fn strangers(room: &Room) -> Vec<(NodeId, Vec<SocketAddr>)> {
    if room.membership.role().is_none() {
        return Vec::new();
    }
    let seen: Vec<(NodeId, Vec<SocketAddr>)> =
        room.roster().iter().map(|(id, seen)| (*id, seen.addresses.clone())).collect();
    let peers = room.registry.read();
    seen.into_iter().filter(|(id, _)| peers.find(id).is_none()).collect()
}

async fn ask(room: &Arc<Room>, id: NodeId, addresses: &[SocketAddr]) {
    let Some(invitation) = room.membership.invitation(&id) else { return };
    let asking = |whom| *room.membership.asking.lock().unwrap_or_else(PoisonError::into_inner) = whom;
    asking(Some(id));
    for address in addresses {
        let joined =
            tokio::time::timeout(NEIGHBOUR_IDLE_TIMEOUT, pair::join(room, *address, &invitation)).await;
        match joined {
            Ok(Err(JoinError::Unreachable(_))) | Err(_) => {}
            Ok(Ok(_)) => break,
            Ok(Err(error)) => {
                tracing::debug!(stranger = %id.short(), %error, "not of our group");
                break;
            }
        }
    }
    asking(None);
}
