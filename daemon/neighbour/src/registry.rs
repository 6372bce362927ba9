//! The one place where paired boxes are looked up and changed: [`crate::peers`] behind a lock, with its file.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use kith_model::trust::Role;

use crate::clock;
use crate::identity::NodeKey;
use crate::peers::{FILE_NAME, Peers, PeersError};
use crate::private_file;

/// Why the list of neighbours cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The disk.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Not ours, or damaged. It is not replaced: it says who is trusted.
    #[error("{}: {source}: put it back from a backup, or delete it and pair again", .path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: PeersError,
    },
}

/// The list, shared.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    peers: RwLock<Peers>,
    /// One writer of the file at a time; who waits writes the newest state.
    saving: tokio::sync::Mutex<()>,
}

impl Registry {
    /// Reads the list. Blocks.
    pub(crate) fn open(dir: &std::path::Path) -> Result<Self, RegistryError> {
        let path = dir.join(FILE_NAME);
        let stored =
            private_file::read(&path).map_err(|source| RegistryError::Io { path: path.clone(), source })?;
        let peers = match stored {
            Some(bytes) => Peers::from_bytes(&bytes)
                .map_err(|source| RegistryError::Content { path: path.clone(), source })?,
            None => Peers::default(),
        };
        Ok(Self {
            inner: Arc::new(Inner { path, peers: RwLock::new(peers), saving: tokio::sync::Mutex::default() }),
        })
    }

    /// Looks.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Peers> {
        self.inner.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the list in memory. It counts from now on; [`Self::save`] makes it last.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Peers) -> T) -> T {
        change(&mut self.inner.peers.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes the list down.
    ///
    /// # Cancel safety
    /// Dropping the future may or may not stop it.
    pub(crate) async fn save(&self) -> std::io::Result<()> {
        let _turn = self.inner.saving.lock().await;
        let bytes = self.read().to_bytes();
        let path = self.inner.path.clone();
        let written = tokio::task::spawn_blocking(move || private_file::replace(&path, &bytes)).await;
        written.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }

    /// Whether a key may come in now.
    pub(crate) fn admits(&self, key: &NodeKey) -> bool {
        self.read().admits(key, clock::now())
    }

    /// What a box that may come in now is to us, and the secret shared with it.
    pub(crate) fn paired(&self, key: &NodeKey) -> Option<(Role, [u8; 32])> {
        let peers = self.read();
        let peer = peers.find(&key.id()).filter(|_| peers.admits(key, clock::now()))?;
        Some((peer.role(), *peer.secret()))
    }
}
