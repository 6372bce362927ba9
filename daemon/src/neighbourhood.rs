//! The neighbours' room as the admin room sees it: the one place where the two meet.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kith_admin::house::{Join, NeighbourTotals, NeighbourView, Neighbourhood, PairingError, Window};

/// A box without neighbours: `neighbours.enabled = false`.
pub(crate) struct NoNeighbourhood;

impl Neighbourhood for NoNeighbourhood {
    fn views(&self) -> Vec<NeighbourView> {
        Vec::new()
    }

    fn totals(&self) -> NeighbourTotals {
        NeighbourTotals::default()
    }

    fn open_pairing(&self) -> BoxFuture<'_, Result<Window, PairingError>> {
        async { Err(PairingError::Off) }.boxed()
    }

    fn join(&self, _join: Join) -> BoxFuture<'_, Result<NeighbourView, PairingError>> {
        async { Err(PairingError::Off) }.boxed()
    }

    fn unpair<'a>(&'a self, _neighbour: &'a str) -> BoxFuture<'a, Result<NeighbourView, PairingError>> {
        async { Err(PairingError::Off) }.boxed()
    }
}
