//! What each neighbour did since the start, over all its connections. Counts only; the strikes that have consequences
//! are in [`crate::peers`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::identity::NodeId;
use crate::withdrawn::Allowance;

/// Counts of one neighbour.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) received_bytes: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) groups_verified: AtomicU64,
    pub(crate) verify_failures: AtomicU64,
    pub(crate) strikes: AtomicU64,
    pub(crate) slow: AtomicU64,
    pub(crate) asked: AtomicU64,
    pub(crate) spared: AtomicU64,
    pub(crate) false_hits: AtomicU64,
    pub(crate) filter_received_bytes: AtomicU64,
    pub(crate) filter_sent_bytes: AtomicU64,
    pub(crate) filters_received: AtomicU64,
    pub(crate) filters_sent: AtomicU64,
    pub(crate) gathers_received: AtomicU64,
    pub(crate) gathers_sent: AtomicU64,
    pub(crate) reports_received: AtomicU64,
    pub(crate) reports_sent: AtomicU64,
    pub(crate) takes_received: AtomicU64,
    pub(crate) takes_sent: AtomicU64,
    /// Withdrawals of it that were heard within the hour.
    pub(crate) withdrawals: Mutex<Allowance>,
}

impl Tally {
    /// Notes verified groups. Good work makes up for slowness, in time.
    pub(crate) fn verified(&self, groups: u64, bytes: u64) {
        self.groups_verified.fetch_add(groups, Relaxed);
        self.received_bytes.fetch_add(bytes, Relaxed);
        let _ = self.slow.fetch_update(Relaxed, Relaxed, |slow| slow.checked_sub(1));
    }

    /// Notes that it kept somebody waiting: it is asked after the others for the next megabytes it delivers.
    pub(crate) fn stalled(&self) {
        const SLOW_STEP: u64 = 64;
        const SLOW_MAX: u64 = 8 * SLOW_STEP;
        let _ = self.slow.fetch_update(Relaxed, Relaxed, |slow| Some((slow + SLOW_STEP).min(SLOW_MAX)));
    }

    /// Whom to ask first: the smaller the sooner.
    pub(crate) fn rank(&self) -> (u64, std::cmp::Reverse<u64>) {
        (self.slow.load(Relaxed).div_ceil(64), std::cmp::Reverse(self.groups_verified.load(Relaxed)))
    }
}

/// What all neighbours together did since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Object bytes they gave us, verified.
    pub received_bytes: u64,
    /// Object bytes we gave them.
    pub sent_bytes: u64,
    /// Groups of theirs that were verified.
    pub groups_verified: u64,
    /// Slices of theirs that did not match their object.
    pub verify_failures: u64,
    /// Strikes dealt out, quarantines included.
    pub strikes: u64,
    /// Questions whether something is held.
    pub asked: u64,
    /// Questions that were not asked since a filter says no.
    pub spared: u64,
    /// Questions that a filter led to and that were answered with no.
    pub false_hits: u64,
    /// Bytes of filters that came.
    pub filter_received_bytes: u64,
    /// Bytes of filters that were sent.
    pub filter_sent_bytes: u64,
    /// Filters and changes of filters that came.
    pub filters_received: u64,
    /// Filters and changes of filters that were sent.
    pub filters_sent: u64,
    /// Questions of theirs about a fetch of ours.
    pub gathers_received: u64,
    /// Questions of ours about a fetch of theirs.
    pub gathers_sent: u64,
    /// Reports of theirs how far a fetch is.
    pub reports_received: u64,
    /// Reports of ours how far a fetch is.
    pub reports_sent: u64,
    /// Units of a fetch that they asked for.
    pub takes_received: u64,
    /// Units of a fetch that we asked for.
    pub takes_sent: u64,
    /// Sessions with boxes of role "mine" now.
    pub sessions_mine: u64,
    /// Sessions with boxes of role "neighbour" now.
    pub sessions_neighbour: u64,
}

/// The counts of all neighbours.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    by_id: Mutex<HashMap<NodeId, Arc<Tally>>>,
    /// Of boxes that were unpaired since.
    gone: Tally,
}

impl Tallies {
    /// The counts of one neighbour. Only asked for paired boxes, so the map stays as small as their list.
    pub(crate) fn of(&self, id: NodeId) -> Arc<Tally> {
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(by_id.entry(id).or_default())
    }

    /// Keeps the sums of a box that is no longer paired.
    pub(crate) fn retire(&self, id: &NodeId) {
        let tally = self.by_id.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        let Some(tally) = tally else { return };
        for (sum, part) in self.gone.counts().into_iter().zip(tally.counts()) {
            sum.fetch_add(part.load(Relaxed), Relaxed);
        }
    }

    /// The sums, without the sessions.
    pub(crate) fn totals(&self) -> Totals {
        let by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sums = [0; COUNTS];
        for tally in by_id.values().map(Arc::as_ref).chain([&self.gone]) {
            for (sum, part) in sums.iter_mut().zip(tally.counts()) {
                *sum += part.load(Relaxed);
            }
        }
        let [received_bytes, sent_bytes, groups_verified, verify_failures, strikes, rest @ ..] = sums;
        let [asked, spared, false_hits, rest @ ..] = rest;
        let [filter_received_bytes, filter_sent_bytes, filters_received, filters_sent, rest @ ..] = rest;
        let [gathers_received, gathers_sent, reports_received, reports_sent, takes_received, takes_sent] =
            rest;
        Totals {
            received_bytes,
            sent_bytes,
            groups_verified,
            verify_failures,
            strikes,
            asked,
            spared,
            false_hits,
            filter_received_bytes,
            filter_sent_bytes,
            filters_received,
            filters_sent,
            gathers_received,
            gathers_sent,
            reports_received,
            reports_sent,
            takes_received,
            takes_sent,
            ..Totals::default()
        }
    }
}

/// Counts that are summed up.
const COUNTS: usize = 18;

impl Tally {
    fn counts(&self) -> [&AtomicU64; COUNTS] {
        [
            &self.received_bytes,
            &self.sent_bytes,
            &self.groups_verified,
            &self.verify_failures,
            &self.strikes,
            &self.asked,
            &self.spared,
            &self.false_hits,
            &self.filter_received_bytes,
            &self.filter_sent_bytes,
            &self.filters_received,
            &self.filters_sent,
            &self.gathers_received,
            &self.gathers_sent,
            &self.reports_received,
            &self.reports_sent,
            &self.takes_received,
            &self.takes_sent,
        ]
    }
}
