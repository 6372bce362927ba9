//! The pairing window as the owner sees it: opened by one request, awaited by another.
//!
//! States: none -> open -> ended; opening again replaces what was there. The window is open exactly as long as its
//! outcome is awaited here.

use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::house::{NeighbourView, Outcome, Window};

/// What a freshly opened window says.
#[derive(Debug, Serialize)]
pub(crate) struct Opened {
    pub(crate) code: String,
    pub(crate) expires_s: u64,
    /// What the other box calls this one.
    pub(crate) name: String,
}

/// How a window ended.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    neighbour: Option<Box<NeighbourView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Paired(neighbour) => Ended { state: "paired", neighbour: Some(neighbour), reason: None },
            Outcome::Refused(reason) => Ended { state: "refused", neighbour: None, reason: Some(reason) },
            Outcome::Closed => Ended { state: "closed", neighbour: None, reason: None },
        }
    }
}

/// The window.
#[derive(Default)]
pub(crate) struct Pairing {
    current: Mutex<Option<Current>>,
    tasks: TaskTracker,
}

struct Current {
    outcome: watch::Receiver<Option<Outcome>>,
    close: CancellationToken,
}

impl Drop for Current {
    fn drop(&mut self) {
        self.close.cancel();
    }
}

impl Pairing {
    /// Takes a window over; one that was open closes.
    pub(crate) fn open(&self, window: Window, name: &str) -> Opened {
        let (tell, outcome) = watch::channel(None);
        let close = CancellationToken::new();
        let closed = close.clone();
        let future = window.outcome;
        self.tasks.spawn(
            async move {
                let outcome = tokio::select! {
                    outcome = future => outcome,
                    () = closed.cancelled() => Outcome::Closed,
                };
                tell.send_replace(Some(outcome));
            }
            .boxed(),
        );
        *self.lock() = Some(Current { outcome, close });
        Opened { code: window.code, expires_s: window.open_for.as_secs(), name: name.to_owned() }
    }

    /// Waits until the window ends; without one it is closed already.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn ended(&self) -> Ended {
        let Some(mut outcome) = self.lock().as_ref().map(|current| current.outcome.clone()) else {
            return Outcome::Closed.into();
        };
        let ended = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        ended.unwrap_or(Outcome::Closed).into()
    }

    /// Closes the window.
    pub(crate) fn close(&self) {
        if let Some(current) = self.lock().as_ref() {
            current.close.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Current>> {
        // A panic elsewhere cannot leave a pointer half-written.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    fn window() -> (oneshot::Sender<Outcome>, Window) {
        let (tell, outcome) = oneshot::channel();
        let outcome = outcome.map(|outcome| outcome.unwrap_or(Outcome::Closed)).boxed();
        (tell, Window { code: "12345678".into(), open_for: Duration::from_mins(2), outcome })
    }

    #[tokio::test]
    async fn whoever_waits_hears_how_it_ended() {
        let pairing = Pairing::default();
        assert_eq!(pairing.ended().await.state, "closed");
        let (tell, window) = window();
        let opened = pairing.open(window, "attic");
        assert_eq!((opened.code.as_str(), opened.expires_s), ("12345678", 120));
        tell.send(Outcome::Refused("the code was wrong".into())).expect("awaited");
        assert_eq!(pairing.ended().await.state, "refused");
        assert_eq!(pairing.ended().await.state, "refused", "also for the second who asks");
    }

    #[tokio::test]
    async fn closing_and_opening_again_end_a_window() {
        let pairing = Pairing::default();
        let (mut first, opened) = window();
        pairing.open(opened, "attic");
        let (mut second, opened) = window();
        pairing.open(opened, "attic");
        first.closed().await;
        pairing.close();
        second.closed().await;
        assert_eq!(pairing.ended().await.state, "closed");
    }
}
