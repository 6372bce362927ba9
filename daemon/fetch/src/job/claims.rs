//! What boxes next door claim of the object, and what is therefore made of their bytes.
//!
//! The table is [`kith_model::trust`]'s; here is who claims what. One object is in use at a time, and its bytes are never
//! mixed with those of another claim. Where claims contradict each other nobody is asked for anything more: the origin's
//! bytes decide, and whoever signed what they refute is put away with the proof. A word counts as long as its box is
//! paired: what came under the word of boxes that were unpaired since is thrown away, unless a digest proves it.
//!
//! What has to be held back is asked for like a mirror's bytes: from the back, while the origin's flow from the front, and
//! nobody sees it before the whole was checked. So it can only ever help.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use kith_model::ladder::Strength;
use kith_model::limits::PAIRED_MAX;
use kith_model::object::ObjectId;
use kith_model::range::GroupSpan;
use kith_model::trust::{self, Claimants, Delivery, Published};
use kith_model::verify::Run;
use tracing::{debug, warn};

use super::Job;
use crate::pieces::{Checked, Pieces};
use crate::plan::{Facts, Place, SourceId};
use crate::source::{Abilities, Claimant, Fault, Found, Lane, Source, SourceError, SourceKind, Truth};

/// The claims of a job.
#[derive(Default)]
pub(super) struct Claims {
    /// One a box.
    all: Vec<Claim>,
    /// The object whose bytes were asked for next door: the only one, however the claims turn out.
    used: Option<ObjectId>,
    /// Hashes that bytes are held to as they come.
    pub(super) pieces: Option<Arc<Pieces>>,
    /// Somebody lies: all are judged, and none is used any more.
    over: bool,
}

struct Claim {
    object: ObjectId,
    claimant: Claimant,
    source: Arc<dyn Source>,
    /// Its place in the plan, when its bytes are used.
    seat: Option<(SourceId, Delivery)>,
}

impl Claims {
    /// The object whose bytes were asked for next door.
    pub(super) fn used(&self) -> Option<ObjectId> {
        self.used
    }

    /// Whether somebody's bytes are held back now.
    pub(super) fn is_holding_back(&self) -> bool {
        self.all.iter().any(|claim| matches!(claim.seat, Some((_, Delivery::HoldBack))))
    }

    /// Those whose bytes are streamed.
    pub(super) fn streaming(&self) -> impl Iterator<Item = SourceId> {
        let seats = self.all.iter().filter_map(|claim| claim.seat);
        seats.filter(|(_, delivery)| *delivery == Delivery::Stream).map(|(id, _)| id)
    }

    /// The one object that everybody says it is.
    fn agreed(&self) -> Option<ObjectId> {
        let first = self.all.first()?.object;
        self.all.iter().all(|claim| claim.object == first).then_some(first)
    }

    fn claimants_of(&self, object: ObjectId) -> Claimants {
        let mut claimants = Claimants::default();
        let same = self.all.iter().filter(|claim| claim.object == object);
        same.for_each(|claim| claimants.count(claim.claimant.role));
        claimants
    }
}

impl Job {
    /// Takes a claim.
    pub(super) async fn welcome(&mut self, found: Found) {
        let Found { object, claimant, source } = found;
        let all = &mut self.claims.all;
        if all.len() >= PAIRED_MAX || all.iter().any(|claim| claim.claimant.node == claimant.node) {
            return;
        }
        debug!(source = source.label(), %object, role = claimant.role.as_str(), "a neighbour claims to hold it");
        all.push(Claim { object, claimant, source, seat: None });
        match self.claims.agreed() {
            Some(_) => self.weigh(),
            None => self.dispute().await,
        }
    }

    /// Boxes contradict each other: nobody is asked for more, and the origin's bytes decide who signed a lie.
    async fn dispute(&mut self) {
        warn!(host = %self.host, "claims contradict each other");
        self.claims.over = true;
        self.weigh();
        let near = self.audience.neighbour_groups();
        let Some(first) = near.spans().first().map(|span| span.start()) else { return };
        // With a digest the check decides. What somebody has read is not taken back: that would cost him the download,
        // and the liar nothing.
        let is_checked = self.writer.told().told() == Strength::Strong;
        let is_read = self.audience.demands().iter().any(|demand| demand.cursor > first);
        let mut sources = self.sources.values();
        let may_resume = sources.any(|one| one.kind() == SourceKind::Origin && one.abilities().ranges);
        if !is_checked && !is_read && may_resume {
            self.close_lanes().await;
            self.retract().await;
        }
    }

    /// Brings who is asked into line with who claims what now.
    pub(super) fn weigh(&mut self) {
        if self.claims.all.is_empty() {
            return;
        }
        let all = std::mem::take(&mut self.claims.all).into_iter();
        let (kept, gone): (Vec<Claim>, Vec<Claim>) = all.partition(|claim| claim.source.vouches());
        self.claims.all = kept;
        for claim in gone {
            self.unseat(claim.seat);
        }
        let verdict = self.verdict();
        for at in 0..self.claims.all.len() {
            let claim = &self.claims.all[at];
            let (object, seat) = (claim.object, claim.seat);
            let delivery = verdict.filter(|(agreed, _)| *agreed == object).map(|(_, delivery)| delivery);
            if seat.map(|(_, delivery)| delivery) != delivery {
                self.unseat(seat);
                self.claims.all[at].seat = delivery.and_then(|delivery| self.seat(at, delivery));
            }
        }
    }

    /// Whose bytes may be used, and how; nothing when nobody's may.
    fn verdict(&self) -> Option<(ObjectId, Delivery)> {
        let object = self.claims.agreed().filter(|_| !self.claims.over)?;
        // What came of one object is not mixed with another.
        if self.claims.used.is_some_and(|used| used != object) {
            return None;
        }
        let delivery = trust::delivery(self.published(), self.claims.claimants_of(object));
        // A part has no digest to wait for; and when the check fails, it must be clear whose bytes were wrong.
        let may_hold_back = || !self.audience.has_part_reader() && !self.has_flat_mirrors();
        match delivery {
            Delivery::Never => None,
            Delivery::HoldBack if !may_hold_back() => None,
            delivery => Some((object, delivery)),
        }
    }

    fn published(&self) -> Published {
        match &self.claims.pieces {
            Some(_) => Published::Pieces,
            None => Published::of(&self.writer.told(), &self.target),
        }
    }

    fn seat(&mut self, at: usize, delivery: Delivery) -> Option<(SourceId, Delivery)> {
        let claim = &self.claims.all[at];
        let source = Arc::clone(&claim.source);
        let (place, source): (Place, Arc<dyn Source>) = match (delivery, &self.claims.pieces, self.length) {
            (Delivery::Stream, Some(pieces), Some(length)) => {
                (Place::Near, Arc::new(Checked { source, pieces: Arc::clone(pieces), length }))
            }
            (Delivery::Stream, ..) => (Place::Near, source),
            (Delivery::HoldBack, ..) => (Place::Mirror, Arc::new(HeldBack(source))),
            (Delivery::Never, ..) => return None,
        };
        let facts = Facts { is_shown: delivery == Delivery::Stream, ..self.facts(place, &*source) };
        let id = self.plan.source_added(facts);
        debug!(source = source.label(), object = %claim.object, ?delivery, "a neighbour is asked");
        self.claims.used = Some(claim.object);
        self.sources.insert(id, source);
        self.audience.check_the_tail();
        Some((id, delivery))
    }

    fn unseat(&mut self, seat: Option<(SourceId, Delivery)>) {
        if let Some((id, _)) = seat {
            self.plan.source_removed(id);
            self.sources.remove(&id);
        }
    }

    /// Whether what came from next door still has somebody's word, where no digest proves it.
    pub(super) fn is_vouched(&self) -> bool {
        let is_believed =
            |object| trust::delivery(self.published(), self.claims.claimants_of(object)) != Delivery::Never;
        self.writer.told().told() == Strength::Strong
            || self.audience.neighbour_groups().is_empty()
            || (self.is_circle_faithful() && self.claims.used.map_or(self.has_given(), is_believed))
    }

    /// Throws away what came from next door, whoever was right, and goes on without. No lane may be open: what it wrote
    /// meanwhile would be taken for the origin's.
    pub(super) async fn retract(&mut self) {
        self.claims.over = true;
        self.weigh();
        self.found = futures_util::stream::empty().boxed();
        self.leave_circle();
        self.give_mirrors_up();
        let held = self.writer.retract().await;
        self.audience.retracted();
        self.plan.lost(held);
    }

    /// What came from next door is not what was claimed: all who claimed it are put away, and it is thrown away.
    pub(super) async fn refute_claims(&mut self, truth: Truth) {
        let lie = self.claims.used;
        self.put_away(truth, |object| Some(object) == lie);
        self.retract().await;
    }

    /// What the object is became known from the origin's own bytes, or by its digest.
    pub(super) fn judge(&mut self, truth: ObjectId) {
        self.put_away(Truth::Object(truth), |object| object != truth);
    }

    /// Remembers who claimed to hold what this object turned out to be.
    pub(super) fn note_holders(&self, object: ObjectId) {
        let right = self.claims.all.iter().filter(|claim| claim.object == object);
        let doors: Vec<_> = right.filter_map(|claim| claim.source.door()).collect();
        if !doors.is_empty() {
            self.holders.note(object, doors);
        }
    }

    fn put_away(&mut self, truth: Truth, is_false: impl Fn(ObjectId) -> bool) {
        let (liars, others): (Vec<Claim>, Vec<Claim>) =
            std::mem::take(&mut self.claims.all).into_iter().partition(|claim| is_false(claim.object));
        self.claims.all = others;
        if !liars.is_empty() {
            self.counters.false_claims.add(1);
        }
        for liar in liars {
            warn!(host = %self.host, source = liar.source.label(), ?truth, "a claim was false");
            liar.source.blame(Fault::FalseClaim(truth));
            self.unseat(liar.seat);
        }
    }
}

/// A source whose bytes nobody may see before the whole was checked.
struct HeldBack(Arc<dyn Source>);

impl Source for HeldBack {
    fn kind(&self) -> SourceKind {
        self.0.kind()
    }

    fn label(&self) -> &str {
        self.0.label()
    }

    fn abilities(&self) -> Abilities {
        self.0.abilities()
    }

    fn open(&self, span: GroupSpan) -> BoxFuture<'static, Result<Box<dyn Lane>, SourceError>> {
        let opening = self.0.open(span);
        Box::pin(async move { Ok(Box::new(HeldBackLane(opening.await?)) as Box<dyn Lane>) })
    }

    fn blame(&self, fault: Fault) {
        self.0.blame(fault);
    }

    fn vouches(&self) -> bool {
        self.0.vouches()
    }
}

struct HeldBackLane(Box<dyn Lane>);

impl Lane for HeldBackLane {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Run>, SourceError>> {
        Box::pin(async move { Ok(self.0.next().await?.map(Run::disowned)) })
    }
}
