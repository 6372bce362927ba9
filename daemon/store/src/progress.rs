//! What is held of an arriving object, what of it may be read, and what it adds to the store's sums.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use kith_model::range::{GROUP_BYTES, GroupSet, GroupSpan};
use kith_model::representation::ObjectInfo;
use kith_model::shelf::Copy;
use kith_model::verify::{Provenance, Run};

use crate::cellar::{Cellar, Sums};
use crate::draft::Visibility;
use crate::edge::Edge;
use crate::error::WriteError;

/// What is held, as of now.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) held: GroupSet,
    /// The held groups that the origin vouched for.
    pub(crate) origin: GroupSet,
    pub(crate) visible: GroupSet,
    /// The held groups that nobody vouches for before the whole is checked; never visible.
    doubtful: GroupSet,
    /// The length, once somebody told it.
    pub(crate) length: Option<u64>,
    /// Where the bytes end as far as a short group shows it.
    pub(crate) tail: Option<u64>,
    /// The only group of a small object, instead of files.
    pub(crate) memory: Option<Bytes>,
    /// What was written last, for who reads right behind.
    pub(crate) edge: Edge,
    /// Grows when groups are taken back.
    pub(crate) epoch: u64,
    pub(crate) end: Option<End>,
    /// What this part adds to the sums.
    held_bytes: u64,
    outstanding_bytes: u64,
    /// Somebody finishes it: it is not to be let go meanwhile.
    finishing: bool,
    /// Its writer was dropped meanwhile.
    abandoned: bool,
}

/// Whether the writer may let go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It has let go of an object that was still arriving.
    Left,
    /// It had ended before.
    Ended,
    /// Whoever finishes it lets go later.
    Later,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It is stored.
    Complete(Arc<Complete>),
    /// It will not be.
    Gone,
}

/// A stored object as the readers of the arriving one see it.
#[derive(Debug)]
pub(crate) struct Complete {
    pub(crate) info: ObjectInfo,
    pub(crate) outboard: Option<File>,
}

impl Progress {
    /// Begins with groups that are held already, all from the origin.
    pub(crate) fn new(cellar: &Cellar, length: Option<u64>, held: GroupSet) -> Self {
        let held_bytes = length.map_or(0, |length| bytes_of(&held, length));
        let outstanding_bytes = length.unwrap_or(0).saturating_sub(held_bytes);
        let mut sums = cellar.sums();
        sums.partial_bytes += held_bytes;
        sums.outstanding_bytes += outstanding_bytes;
        drop(sums);
        Self {
            origin: held.clone(),
            visible: held.clone(),
            held,
            length,
            edge: Edge::new(Arc::clone(&cellar.edge)),
            held_bytes,
            outstanding_bytes,
            ..Self::default()
        }
    }

    /// Which copy it is: a second one unless the origin sent at least half of it.
    pub(crate) fn copy(&self) -> Copy {
        if self.origin.len() * 2 >= self.held.len() { Copy::First } else { Copy::Second }
    }

    pub(crate) fn check_open(&self) -> Result<(), WriteError> {
        if self.end.is_some() { Err(WriteError::Ended) } else { Ok(()) }
    }

    /// Whether a run ends where it may: at a group's edge or at the object's end.
    pub(crate) fn check_fit(&self, run: &Run) -> Result<(), WriteError> {
        let end = run.first().offset().saturating_add(run.bytes().len() as u64);
        let short = !(run.bytes().len() as u64).is_multiple_of(GROUP_BYTES);
        let fits = match self.length.or(self.tail) {
            Some(length) => end <= length && (!short || end == length),
            None => !short || self.held.spans().last().is_none_or(|last| last.end() <= run.span().end()),
        };
        if fits { Ok(()) } else { Err(WriteError::Misfit) }
    }

    /// Whether exactly the bytes `0..length` are held.
    pub(crate) fn is_whole(&self, length: u64) -> bool {
        let groups_end = self.held.spans().last().map_or(0, |last| last.end());
        // With a length told, only groups that fit it were taken.
        let end = self.length.or(self.tail).unwrap_or(groups_end.saturating_mul(GROUP_BYTES));
        end == length && self.held.contains_all(GroupSpan::whole(length))
    }

    /// The parts of a run that are to be written. Groups that are to be written over are not held from now on: a
    /// write that fails half-way leaves nothing that looks whole.
    pub(crate) fn missing(&mut self, cellar: &Cellar, run: &Run) -> Vec<GroupSpan> {
        if run.provenance() == Provenance::Origin {
            // What the origin sends takes the place of what nobody has seen yet and it did not vouch for.
            let held = self.held.within(run.span());
            let doubtful: Vec<u64> = held
                .spans()
                .iter()
                .flat_map(|span| span.start()..span.end())
                .filter(|group| self.may_replace(*group, run))
                .collect();
            for group in doubtful {
                self.held.remove(GroupSpan::clamped(group, group + 1));
            }
            self.recount(cellar);
        }
        self.held.missing_in(run.span()).collect()
    }

    pub(crate) fn may_replace(&self, group: u64, run: &Run) -> bool {
        run.provenance() == Provenance::Origin
            && !self.visible.contains(group)
            && !self.origin.contains(group)
    }

    /// Counts groups as held.
    pub(crate) fn note(&mut self, cellar: &Cellar, run: &Run, span: GroupSpan) {
        self.held.insert(span);
        match run.provenance() {
            Provenance::Origin => self.origin.insert(span),
            Provenance::Tree(_) | Provenance::Pieces | Provenance::Signed | Provenance::Nobody => {}
        }
        match run.provenance() {
            Provenance::Nobody => self.doubtful.insert(span),
            _ => self.doubtful.remove(span),
        }
        let len = run.bytes().len() as u64;
        if !len.is_multiple_of(GROUP_BYTES) {
            self.tail = Some(run.first().offset() + len);
        }
        if self.memory.is_none() {
            self.edge.keep(run);
            cellar.sums().written_bytes += len;
        }
        self.recount(cellar);
    }

    /// Brings the store's sums up to date with what is held.
    fn recount(&mut self, cellar: &Cellar) {
        let end = self.length.or(self.tail).unwrap_or(u64::MAX);
        let held_bytes = bytes_of(&self.held, end);
        let outstanding_bytes = self.length.map_or(0, |length| length.saturating_sub(held_bytes));
        let mut sums = cellar.sums();
        self.leave(&mut sums);
        sums.partial_bytes += held_bytes;
        sums.outstanding_bytes += outstanding_bytes;
        (self.held_bytes, self.outstanding_bytes) = (held_bytes, outstanding_bytes);
    }

    pub(crate) fn show(&mut self, span: GroupSpan, visibility: Visibility) {
        if visibility == Visibility::Now {
            for part in self.held.within(span).spans() {
                self.visible.insert(*part);
            }
            self.hide_doubtful();
        }
    }

    /// Makes readable what somebody vouches for.
    pub(crate) fn release(&mut self) {
        self.visible = self.held.clone();
        self.hide_doubtful();
    }

    /// The whole was checked: nothing is doubtful any more.
    pub(crate) fn approve(&mut self) {
        self.doubtful = GroupSet::new();
        self.visible = self.held.clone();
    }

    fn hide_doubtful(&mut self) {
        for span in self.doubtful.spans() {
            self.visible.remove(*span);
        }
    }

    fn retract(&mut self, cellar: &Cellar) {
        self.epoch += 1;
        self.doubtful = GroupSet::new();
        self.held = self.origin.clone();
        let seen: Vec<GroupSpan> = self.visible.spans().to_vec();
        self.visible = GroupSet::new();
        for span in seen {
            self.held.within(span).spans().iter().for_each(|part| self.visible.insert(*part));
        }
        self.forget_what_left(cellar);
    }

    fn forget_what_left(&mut self, cellar: &Cellar) {
        self.edge.clear();
        if self.held.is_empty() {
            self.memory = None;
        }
        let tail_held =
            self.tail.is_some_and(|tail| tail > 0 && self.held.contains((tail - 1) / GROUP_BYTES));
        if !tail_held {
            self.tail = None;
        }
        self.recount(cellar);
    }

    /// Its bytes do not count as a part's any more.
    pub(crate) fn leave_sums(&mut self, cellar: &Cellar) {
        self.leave(&mut cellar.sums());
    }

    fn leave(&mut self, sums: &mut Sums) {
        sums.partial_bytes = sums.partial_bytes.saturating_sub(std::mem::take(&mut self.held_bytes));
        let outstanding_bytes = std::mem::take(&mut self.outstanding_bytes);
        sums.outstanding_bytes = sums.outstanding_bytes.saturating_sub(outstanding_bytes);
    }

    /// Keeps the writer's end from taking effect while the object is finished.
    pub(crate) fn begin_finish(&mut self) -> Result<(), WriteError> {
        self.check_open()?;
        if std::mem::replace(&mut self.finishing, true) { Err(WriteError::Ended) } else { Ok(()) }
    }

    /// Whether the writer was dropped meanwhile.
    pub(crate) fn end_finish(&mut self) -> bool {
        self.finishing = false;
        self.abandoned
    }

    /// The writer lets go.
    pub(crate) fn leave_to_readers(&mut self, cellar: &Cellar) -> Leave {
        if self.end.is_some() {
            return Leave::Ended;
        }
        if self.finishing {
            self.abandoned = true;
            return Leave::Later;
        }
        self.end = Some(End::Gone);
        self.edge.clear();
        self.leave_sums(cellar);
        Leave::Left
    }

    /// The object will not be stored. Whether it was still arriving.
    pub(crate) fn give_up(&mut self, cellar: &Cellar) -> bool {
        if self.end.is_some() {
            return false;
        }
        self.end = Some(End::Gone);
        self.edge.clear();
        self.leave_sums(cellar);
        true
    }

    /// The object is whole and will not change.
    pub(crate) fn complete(&mut self, cellar: &Cellar, complete: Complete) {
        self.leave_sums(cellar);
        self.length = Some(complete.info.length);
        self.visible = GroupSet::of(GroupSpan::whole(complete.info.length));
        self.edge.clear();
        self.end = Some(End::Complete(Arc::new(complete)));
    }

    /// Drops what the origin did not vouch for and returns what is dropped.
    pub(crate) fn take_back(&mut self, cellar: &Cellar) -> GroupSet {
        let mut dropped = self.held.clone();
        for span in self.origin.spans() {
            dropped.remove(*span);
        }
        if !dropped.is_empty() {
            self.retract(cellar);
        }
        dropped
    }

    /// Drops what nobody vouches for and returns what is dropped. Nobody can have read it.
    pub(crate) fn drop_doubtful(&mut self, cellar: &Cellar) -> GroupSet {
        let dropped = std::mem::take(&mut self.doubtful);
        for span in dropped.spans() {
            self.held.remove(*span);
        }
        if !dropped.is_empty() {
            self.forget_what_left(cellar);
        }
        dropped
    }

    /// How many bytes from the front are held without a gap.
    pub(crate) fn frontier(&self) -> u64 {
        let end = self.held.run_from(0).saturating_mul(GROUP_BYTES);
        end.min(self.length.or(self.tail).unwrap_or(u64::MAX))
    }

    /// The end of the bytes that may be read, as far as it is known.
    pub(crate) fn known_end(&self) -> Option<u64> {
        self.length.or(self.tail)
    }
}

/// Bytes of these groups in an object of `length` bytes.
pub(crate) fn bytes_of(set: &GroupSet, length: u64) -> u64 {
    set.spans().iter().map(|span| span.bytes(length).len()).sum()
}
