//! How long bytes of the owner's boxes wait for a check that makes them beyond doubt.
//!
//! Where the origin told a strong digest, they are held back from readers until that check, as long as it is at most
//! [`HOLD_BACK_MAX`] away: a lie then costs the client nothing but those seconds. Past that, and where there is nothing to
//! check against, signed claims are good enough to stream when boxes say so that may be believed ([`super::claims`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use kith_model::range::groups_of;
use tokio::time::Instant;
use tracing::debug;

use super::Job;
use crate::source::SourceKind;

/// Longest wait for a check that makes a neighbour's bytes beyond doubt. Longer, and a household is better served by
/// the signed word of its own box.
const HOLD_BACK_MAX: Duration = Duration::from_secs(6);

/// Before this the rate of a neighbour is not known well enough to judge how far away the check is.
const HOLD_BACK_MIN: Duration = Duration::from_millis(500);

/// Whether bytes of neighbours are shown to readers as they come.
pub(super) struct HoldBack {
    pub(super) held: Arc<AtomicBool>,
    since: Option<Instant>,
}

impl HoldBack {
    pub(super) fn new(held: bool) -> Self {
        Self { held: Arc::new(AtomicBool::new(held)), since: None }
    }

    /// When they are shown at the latest.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.since.map(|since| since + HOLD_BACK_MAX)
    }

    fn is_shown(&self) -> bool {
        !self.held.load(Relaxed)
    }
}

impl Job {
    /// Holds a neighbour's bytes back only while the check of the whole is near.
    pub(super) async fn judge_hold_back(&mut self, kind: SourceKind) {
        if kind != SourceKind::Neighbour || self.hold_back.is_shown() {
            return;
        }
        let since = *self.hold_back.since.get_or_insert_with(Instant::now);
        if since.elapsed() < HOLD_BACK_MIN {
            return;
        }
        let rate: f64 = self.claims.streaming().filter_map(|id| self.plan.proven_rate(id)).sum();
        let missing =
            self.length.map_or(0, |length| groups_of(length).saturating_sub(self.plan.held().len()));
        let patience = HOLD_BACK_MAX.saturating_sub(since.elapsed());
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let needed = missing as f64 / rate.max(1.0);
        if needed > patience.as_secs_f64() {
            self.show().await;
        }
    }

    pub(super) async fn show_late(&mut self) {
        if self.hold_back.since.is_some_and(|since| since.elapsed() >= HOLD_BACK_MAX) {
            self.show().await;
        }
    }

    async fn show(&mut self) {
        self.hold_back.since = None;
        if self.hold_back.held.swap(false, Relaxed) {
            debug!(host = %self.host, "streaming under a signed claim");
            self.writer.release().await;
        }
    }
}
