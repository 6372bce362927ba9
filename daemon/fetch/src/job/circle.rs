//! The job among boxes of the same owner that fetch the same at the same time: what they tell, what is taken from
//! them, what is told to them. Who fetches what is [`crate::crowd`]'s.
//!
//! Told as ready is only what came from our origin and from nobody else: what others gave is never passed on. What they
//! give is shown to readers at once, as everything that boxes of the same owner sign. When the whole is not what the
//! origin said, all of it is dropped, the origin sends it again, and every unit is compared with what was signed.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kith_model::range::{GroupSet, GroupSpan, groups_of};
use kith_model::verify;
use litemap::LiteMap;
use tokio::time::Instant;
use tracing::debug;

use super::Job;
use crate::crowd::{Crowd, MemberId, Take, Taken, UNIT, View};
use crate::lane::Opening;
use crate::plan::{Ending, LaneId, SourceId};
use crate::share::{Gathering, Share, Word};
use crate::source::{Fault, Source, SourceKind};

/// Lanes of takes have numbers that the plan never comes to.
const TAKE_LANES: u64 = 1 << 63;

/// Units that other boxes were asked for, and who; what was not given was not signed either.
pub(super) type Given = Vec<(GroupSpan, Arc<dyn Source>)>;

/// Those who fetch the same, and what goes to and fro.
pub(super) struct Circle {
    crowd: Crowd,
    share: Arc<Share>,
    words: BoxStream<'static, Word>,
    members: LiteMap<MemberId, Arc<dyn Source>>,
    takes: LiteMap<LaneId, Take>,
    opened: u64,
    /// What the origin sent us.
    origin: SourceId,
    from_origin: GroupSet,
    received: u64,
    given: Given,
}

impl Circle {
    /// What is `held` came from the origin before: of an earlier fetch that broke off nothing else is kept.
    pub(super) fn new(share: Arc<Share>, gathering: Gathering, origin: SourceId, held: GroupSet) -> Self {
        let units = held.spans().iter().flat_map(|span| units_in(*span, share.length()));
        let ready: Vec<GroupSpan> = units.filter(|unit| held.contains_all(*unit)).collect();
        share.tell(|told| {
            for unit in &ready {
                told.ready.insert(*unit);
            }
            !ready.is_empty()
        });
        Self {
            crowd: Crowd::new(gathering.us, groups_of(share.length())),
            share,
            words: gathering.words.fuse().boxed(),
            members: LiteMap::new(),
            takes: LiteMap::new(),
            opened: 0,
            origin,
            from_origin: held,
            received: 0,
            given: Given::new(),
        }
    }

    /// The next thing that somebody says; nothing when nobody can.
    pub(super) async fn next_word(circle: &mut Option<Box<Circle>>) -> Option<Word> {
        circle.as_mut()?.words.next().await
    }

    fn tell(&self, fetches: bool) {
        let (working, received) = (self.crowd.working(), self.received);
        self.share.tell(|told| {
            let is_news = told.working != working || told.received != received || told.fetches != fetches;
            told.working = working.to_vec();
            (told.received, told.fetches) = (received, fetches);
            is_news
        });
    }
}

/// The units that a span touches, of an object of so many bytes.
fn units_in(span: GroupSpan, length: u64) -> impl Iterator<Item = GroupSpan> {
    let whole = GroupSpan::whole(length);
    let units = span.start() / UNIT..span.end().div_ceil(UNIT);
    units.map(move |unit| GroupSpan::clamped(unit * UNIT, (unit + 1) * UNIT).intersection(whole))
}

/// Whether a lane brings a unit of another box.
pub(super) fn is_take(lane: LaneId) -> bool {
    lane.0 >= TAKE_LANES
}

impl Job {
    pub(super) fn hear(&mut self, word: Word) {
        let now = self.now();
        let Some(circle) = &mut self.circle else { return };
        match word {
            Word::Told { member, source, told } => {
                if circle.members.insert(member, Arc::clone(&source)).is_none() {
                    debug!(host = %self.host, source = source.label(), "another box fetches it too");
                }
                circle.crowd.told(member, told, now);
            }
            Word::Left(member) => {
                circle.members.remove(&member);
                circle.crowd.left(member);
            }
        }
    }

    /// Settles who fetches what, and asks the others for what they have.
    pub(super) fn swap(&mut self) {
        let now = self.now();
        let Some(circle) = &mut self.circle else { return };
        let wanted = self.plan.wanted();
        let whole = !self.audience.has_part_reader();
        let fetches = whole && !self.plan.is_useless(circle.origin);
        let mut takes = Vec::new();
        // Who holds all of it gives more than who fetches it.
        let confines = if circle.crowd.is_alone() || self.plan.has_proven_neighbour() {
            circle.crowd.rest();
            None
        } else {
            let view = View { held: self.plan.held(), wanted: &wanted, received: circle.received, whole };
            if fetches || !whole {
                circle.crowd.look(&view, now);
            } else {
                circle.crowd.rest();
            }
            takes.extend(std::iter::from_fn(|| circle.crowd.next_take(&view, now)));
            Some(circle.crowd.confines())
        };
        circle.tell(fetches);
        self.plan.confine(confines);
        for take in takes {
            self.take(take);
        }
    }

    fn take(&mut self, take: Take) {
        let now = self.now();
        let Some(circle) = &mut self.circle else { return };
        let Some(source) = circle.members.get(&take.member) else {
            circle.crowd.take_ended(take, Taken::Useless, now);
            return;
        };
        circle.opened += 1;
        let lane = LaneId(TAKE_LANES + circle.opened);
        circle.takes.insert(lane, take);
        // Before it comes: when it was the last, nobody waits for the end of its lane.
        circle.given.push((take.unit, Arc::clone(source)));
        let opening = Opening::Ask(source.open(take.unit));
        self.audience.check_the_tail();
        self.spawn_lane(lane, SourceKind::Neighbour, opening, take.unit);
    }

    /// A lane is over; nothing happens when it was none of these.
    pub(super) fn take_ended(&mut self, lane: LaneId, ending: Ending) {
        let now = self.now();
        let Some(circle) = &mut self.circle else { return };
        let Some(take) = circle.takes.remove(&lane) else { return };
        let taken = match ending {
            Ending::Done if self.plan.held().contains_all(take.unit) => Taken::Here,
            Ending::Busy => Taken::Busy,
            Ending::Done | Ending::Failed => Taken::Failed,
            Ending::Useless => Taken::Useless,
        };
        circle.crowd.take_ended(take, taken, now);
    }

    /// The origin sent groups; units that are whole now can be given to others.
    pub(super) fn note_first_hand(&mut self, span: GroupSpan) {
        let Some(circle) = &mut self.circle else { return };
        circle.received += span.len();
        circle.from_origin.insert(span);
        for unit in units_in(span, circle.share.length()) {
            // What was noted of others was noted before they could write.
            let is_ours = circle.from_origin.contains_all(unit)
                && !self.audience.is_mirrored()
                && self.audience.neighbour_groups().within(unit).is_empty();
            if is_ours {
                circle.share.tell(|told| {
                    told.ready.insert(unit);
                    true
                });
            }
        }
    }

    /// Whether something may have come from others that fetch it too.
    pub(super) fn has_given(&self) -> bool {
        self.circle.as_ref().is_some_and(|circle| !circle.given.is_empty())
    }

    /// Whether everybody who gave something is still one of the owner's boxes.
    pub(super) fn is_circle_faithful(&self) -> bool {
        self.circle.as_ref().is_none_or(|circle| circle.given.iter().all(|(_, source)| source.vouches()))
    }

    /// Whether others may still bring what nobody else can.
    pub(super) fn is_helped(&self) -> bool {
        let helps = |circle: &Circle| {
            !circle.takes.is_empty() || circle.crowd.is_helpful(self.plan.held(), self.now())
        };
        self.circle.as_ref().is_some_and(|circle| helps(circle))
    }

    pub(super) fn next_look(&self) -> Option<Instant> {
        let circle = self.circle.as_ref().filter(|circle| !circle.crowd.is_alone())?;
        Some(self.began + circle.crowd.next_look())
    }

    /// What others gave is dropped: from now on the job is on its own, and remembers who gave what.
    pub(super) fn leave_circle(&mut self) {
        if let Some(circle) = self.circle.take() {
            self.suspects = circle.given;
            self.plan.confine(None);
        }
    }

    /// The whole was found right after it was found wrong: whoever signed for other bytes is told apart.
    pub(super) async fn judge_units(&mut self) {
        let body = self.writer.body();
        let Some(length) = self.length else { return };
        for (unit, source) in std::mem::take(&mut self.suspects) {
            if let Ok(bytes) = body.read(unit.bytes(length)).await {
                source.blame(Fault::Unit { unit, truth: verify::leaf(unit.start(), &bytes) });
            }
        }
    }

    /// What others may still have once this job is through; nothing when nobody came.
    pub(super) fn bequest(&mut self) -> Option<Arc<Share>> {
        let circle = self.circle.take()?;
        let is_alone = circle.crowd.is_alone() && circle.given.is_empty();
        circle.share.tell(|told| {
            told.working.clear();
            told.fetches = false;
            true
        });
        (!is_alone).then_some(circle.share)
    }
}
