//! The pairing window: a code is shown, and somebody waits for how it ends.
//!
//! Knows when a window is open and for how long; what is done with the code is [`crate::pair`]'s.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kith_model::limits::PAIRING_TIMEOUT;
use kith_model::time::UnixMillis;
use kith_model::trust::Role;
use ring::rand::SystemRandom;
use tokio::sync::oneshot;

use crate::clock;
use crate::identity::NodeId;
use crate::pairing::desk::{Code, LockedOut, WindowNumber};
use crate::room::Room;

/// How a pairing window ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairingOutcome {
    /// With a new neighbour.
    Paired(NodeId),
    /// A wrong code was tried; this one is dead.
    WrongCode,
    /// Nobody came in time, or another window was opened.
    Closed,
    /// The other box broke off, or our disk did.
    Failed(String),
}

/// An open pairing window.
pub struct PairingWindow {
    /// Eight digits, to be shown to the owner and to nobody else.
    pub code: String,
    /// When it closes.
    pub expires_at: UnixMillis,
    /// How long that is.
    pub open_for: Duration,
    /// How it ends. Dropping it closes the window.
    pub outcome: BoxFuture<'static, PairingOutcome>,
}

impl PairingWindow {
    /// Opens one and shows a code; a window that was open closes.
    pub(crate) fn open(room: &Arc<Room>, role: Role) -> Result<Self, LockedOut> {
        let now = clock::now();
        // The system's random numbers fail at boot or never; a lock-out says "later" as well.
        let code = Code::draw(&SystemRandom::new()).ok_or(LockedOut { until: now })?;
        let digits = code.digits().to_owned();
        let (told, outcome) = oneshot::channel();
        let (number, expires_at) = {
            let mut pairing = room.pairing();
            let (number, expires_at) = pairing.desk.open(code, role, now)?;
            if let Some((_, before)) = pairing.waiting.replace((number, told)) {
                let _ = before.send(PairingOutcome::Closed);
            }
            (number, expires_at)
        };
        let open_for = expires_at.since(now);
        let guard = WindowGuard { room: Arc::clone(room), number };
        let outcome = Box::pin(outcome_of(guard, outcome, open_for));
        Ok(Self { code: digits, expires_at, open_for, outcome })
    }
}

/// Closes its window when nobody waits for it any more.
struct WindowGuard {
    room: Arc<Room>,
    number: WindowNumber,
}

impl Drop for WindowGuard {
    fn drop(&mut self) {
        self.room.pairing().ended(self.number, PairingOutcome::Closed);
    }
}

async fn outcome_of(
    guard: WindowGuard,
    mut outcome: oneshot::Receiver<PairingOutcome>,
    open_for: Duration,
) -> PairingOutcome {
    tokio::select! {
        outcome = &mut outcome => return outcome.unwrap_or(PairingOutcome::Closed),
        () = tokio::time::sleep(open_for) => {}
    }
    let is_being_tried = guard.room.pairing().desk.is_being_tried(guard.number);
    if is_being_tried && let Ok(Ok(outcome)) = tokio::time::timeout(PAIRING_TIMEOUT, outcome).await {
        return outcome;
    }
    PairingOutcome::Closed
}
