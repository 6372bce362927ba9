//! The lanes of a plan: which source delivers which span, how far it is, and what the driver has to be told of it.
//!
//! Knows nothing of why a lane is opened, cut or closed.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use kith_model::range::GroupSpan;
use litemap::LiteMap;

use super::STALL;
use super::terms::{Action, LaneId, SourceId};

/// One lane.
#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) source: SourceId,
    pub(super) next: u64,
    pub(super) end: u64,
    /// Where this lane's piece was laid ahead of another lane on purpose.
    pub(super) trial: bool,
    pub(super) progress_at: Duration,
    /// Whether anything came over it.
    pub(super) delivered: bool,
    pub(super) stalled: bool,
    /// One past the last group that was asked for.
    pub(super) asked_end: u64,
    /// Silence after which it is not counted on.
    patience: Duration,
}

impl LaneState {
    /// Takes note of what it delivered; returns when it delivered before, and whether it did.
    pub(super) fn deliver(&mut self, span: GroupSpan, now: Duration) -> (Duration, bool) {
        let before = (self.progress_at, self.delivered);
        self.next = self.next.max(span.end());
        self.progress_at = now;
        self.delivered = true;
        self.stalled = false;
        before
    }

    /// What it has not delivered yet.
    pub(super) fn rest(&self) -> GroupSpan {
        GroupSpan::clamped(self.next, self.end)
    }

    /// Whether what it has not delivered can be counted on.
    pub(super) fn is_relied_on(&self) -> bool {
        !self.stalled && !self.trial
    }
}

/// All open lanes, and the actions that are not done yet.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    open: LiteMap<LaneId, LaneState>,
    opened: u64,
    pending: VecDeque<Action>,
    /// Sources whose pieces come slowly because they are large.
    patient: BTreeSet<SourceId>,
}

impl Lanes {
    /// Lanes of this source may be silent for longer: what they deliver is shown only piece by piece.
    pub(super) fn be_patient_with(&mut self, source: SourceId) {
        self.patient.insert(source);
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn get(&self, id: LaneId) -> Option<&LaneState> {
        self.open.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: LaneId) -> Option<&mut LaneState> {
        self.open.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: LaneId) -> Option<LaneState> {
        self.open.remove(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LaneId, &LaneState)> {
        self.open.iter().map(|(id, lane)| (*id, lane))
    }

    pub(super) fn of(&self, source: SourceId) -> impl Iterator<Item = (LaneId, &LaneState)> {
        self.iter().filter(move |(_, lane)| lane.source == source)
    }

    /// The next thing to tell the driver.
    pub(super) fn take_action(&mut self) -> Option<Action> {
        self.pending.pop_front()
    }

    /// All lanes were ended from outside.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.pending.clear();
    }

    /// Takes note of a lane that is open already.
    pub(super) fn given(&mut self, source: SourceId, span: GroupSpan, now: Duration) -> LaneId {
        self.add(source, span, now, false)
    }

    /// Opens a lane that is counted on.
    pub(super) fn open(&mut self, source: SourceId, span: GroupSpan, now: Duration) {
        let lane = self.add(source, span, now, false);
        self.pending.push_back(Action::Open { lane, source, span });
    }

    /// Opens a lane that is not counted on: what it is to deliver stays another one's.
    pub(super) fn open_trial(&mut self, source: SourceId, span: GroupSpan, now: Duration) {
        let lane = self.add(source, span, now, true);
        self.pending.push_back(Action::Open { lane, source, span });
    }

    fn add(&mut self, source: SourceId, span: GroupSpan, now: Duration, trial: bool) -> LaneId {
        let id = LaneId(self.opened);
        self.opened += 1;
        let state = LaneState {
            source,
            next: span.start(),
            end: span.end(),
            trial,
            progress_at: now,
            delivered: false,
            stalled: false,
            asked_end: span.end(),
            patience: if self.patient.contains(&source) { 2 * STALL } else { STALL },
        };
        self.open.insert(id, state);
        id
    }

    /// Moves a lane's end down.
    pub(super) fn cut(&mut self, id: LaneId, end: u64) {
        let Some(lane) = self.open.get_mut(&id) else { return };
        if end <= lane.next {
            self.close(id);
            return;
        }
        lane.end = lane.end.min(end);
        self.pending.push_back(Action::Cut { lane: id, end });
    }

    pub(super) fn close(&mut self, id: LaneId) {
        self.open.remove(&id);
        self.pending.push_back(Action::Close { lane: id });
    }

    /// Closes those that fit.
    pub(super) fn close_all(&mut self, fits: impl Fn(&LaneState) -> bool) {
        let ids: Vec<LaneId> = self.iter().filter(|(_, lane)| fits(lane)).map(|(id, _)| id).collect();
        for id in ids {
            self.close(id);
        }
    }

    /// Marks one that has not delivered for too long; returns whose it is.
    pub(super) fn mark_stalled(&mut self, now: Duration) -> Option<SourceId> {
        let stalled = self
            .open
            .iter_mut()
            .map(|(_, lane)| lane)
            .find(|lane| !lane.stalled && now.saturating_sub(lane.progress_at) >= lane.patience)?;
        stalled.stalled = true;
        Some(stalled.source)
    }

    /// When each lane would be marked.
    pub(super) fn stalls(&self) -> impl Iterator<Item = Duration> {
        self.open.values().filter(|lane| !lane.stalled).map(|lane| lane.progress_at + lane.patience)
    }

    /// The lane that is counted on with the most before it.
    pub(super) fn longest(&self, eligible: impl Fn(&LaneState) -> bool) -> Option<(LaneId, &LaneState)> {
        self.iter()
            .filter(|(_, lane)| lane.is_relied_on() && eligible(lane))
            .max_by_key(|(_, lane)| lane.rest().len())
    }
}
