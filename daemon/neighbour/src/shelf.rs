//! What neighbours can be answered about: names of the shareable part of the store, kept up as it changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use kith_model::ladder::{Algorithm, Digest, Rung, Teller};
use kith_model::limits::{LOOKUPS_KEPT_MAX, SHAREABLE_MAX};
use kith_model::object::ObjectId;
use kith_model::representation::{ObjectInfo, Representation, Standing, StrongValidator};
use kith_model::sharing::{Audience, may_leave};
use kith_model::time::UnixMillis;
use kith_store::{IndexError, Store};

use crate::claim::{Claim, Rendezvous, Statement, Subject};
use crate::wire::RendezvousId;

/// The shareable part of the store. Clones are handles to the same one.
#[derive(Clone)]
pub(crate) struct Shelf {
    store: Store,
    object_bytes_min: u64,
    listed: Arc<Mutex<Listed>>,
}

/// Shareable objects and what they may be looked for as.
pub(crate) type Shareable = BTreeMap<ObjectId, Vec<Name>>;

/// What an object may be looked for as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Its hash.
    pub(crate) subject: Subject,
    /// The farthest audience that may know of it.
    reach: Audience,
    mention: Mention,
}

/// Whether a name stands in filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mention {
    /// It does.
    Told,
    /// It does not: nobody is likely to ask for it, and each name takes its bits.
    Answered,
    /// It does not, and nobody is answered either: others gave us some of it. That its origin took it back counts.
    Withdrawable,
}

impl Name {
    /// Whether it stands in the filters for an audience.
    pub(crate) fn is_told_to(&self, audience: Audience) -> bool {
        self.mention == Mention::Told && self.reach >= audience
    }
}

#[derive(Default)]
struct Listed {
    /// The store's count of changes that this is of; nothing before the first look.
    seen: Option<u64>,
    /// Grows when the list changes.
    generation: u64,
    objects: Arc<Shareable>,
    news: ShelfNews,
}

/// How the list has changed since this was asked for last.
#[derive(Default)]
pub(crate) struct ShelfNews {
    /// Files under new names that are told, each with its length; the first [`NEWS_KEPT_MAX`].
    pub(crate) arrived: Vec<(u64, Vec<Subject>)>,
    /// Whether more may have arrived than that.
    pub(crate) is_more: bool,
    /// Whether anything has changed.
    pub(crate) is_any: bool,
}

/// Arrivals that are looked at one by one: more than come between two looks.
const NEWS_KEPT_MAX: usize = 256;

/// What a find led to.
pub(crate) struct Answer {
    /// The claim, to be signed.
    pub(crate) claim: Claim,
    /// Which of the ids it answers.
    pub(crate) answers: usize,
}

impl Shelf {
    pub(crate) fn new(store: Store, object_bytes_min: u64) -> Self {
        Self { store, object_bytes_min, listed: Arc::default() }
    }

    /// The list, up to the store's state. Blocks: reads what has changed in the index, or all of it the first time.
    pub(crate) fn objects(&self) -> Result<Arc<Shareable>, IndexError> {
        self.refresh().map(|(_, objects)| objects)
    }

    /// What an object stands in filters as, when the list was looked at last. Reads nothing.
    pub(crate) fn subjects(&self, id: &ObjectId) -> Vec<Subject> {
        let listed = Arc::clone(&self.listed.lock().unwrap_or_else(PoisonError::into_inner).objects);
        let names = listed.get(id).map_or(&[][..], Vec::as_slice);
        names.iter().filter(|name| name.mention == Mention::Told).map(|name| name.subject).collect()
    }

    /// How the list has changed since this was called last, up to the store's state. Blocks, as [`Self::objects`].
    pub(crate) fn news(&self) -> Result<ShelfNews, IndexError> {
        self.refresh()?;
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut listed.news))
    }

    fn refresh(&self) -> Result<(u64, Arc<Shareable>), IndexError> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked before the index is read: what changes meanwhile is looked at again next time.
        let (changed, now) = self.store.changed_since(listed.seen.unwrap_or(u64::MAX));
        if let Some(changed) = changed {
            for id in changed {
                let info = self.store.object(&id)?;
                let names = info.as_ref().map(|info| self.names(info)).transpose()?;
                listed.put(id, info.map_or(0, |info| info.length), names.unwrap_or_default());
            }
        } else {
            listed.objects = Arc::new(self.list()?);
            listed.generation += 1;
            (listed.news.is_any, listed.news.is_more) = (true, true);
        }
        listed.seen = Some(now);
        Ok((listed.generation, Arc::clone(&listed.objects)))
    }

    fn list(&self) -> Result<Shareable, IndexError> {
        const PAGE: usize = 256;
        let mut objects = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.store.objects(after, PAGE)?;
            after = page.last().map(|info| info.id);
            let is_last = page.len() < PAGE;
            for info in page {
                let names = self.names(&info)?;
                if !names.is_empty() {
                    objects.insert(info.id, names);
                }
            }
            if is_last || objects.len() >= SHAREABLE_MAX {
                return Ok(objects);
            }
        }
    }

    /// What an object may be looked for as.
    fn names(&self, info: &ObjectInfo) -> Result<Vec<Name>, IndexError> {
        let claims = self.claims(info, Audience::Mine)?;
        let of_others = self.store.representations_of(&info.id)?.into_iter();
        let of_others = of_others.filter(|one| one.standing == Standing::Claimed).filter_map(|one| {
            let subject = fetched(&one)?.subject(one.length);
            Some(Name { subject, reach: reach(&one, info)?, mention: Mention::Withdrawable })
        });
        let name = |claim: &(Claim, Audience)| {
            let (claim, reach) = claim;
            let mention = match &claim.statement {
                Statement::Fetched(..) => Mention::Told,
                Statement::Digest(digest) if is_told(info, digest) => Mention::Told,
                Statement::Digest(_) => Mention::Answered,
            };
            Name { subject: claim.statement.subject(claim.length), reach: *reach, mention }
        };
        Ok(claims.iter().map(name).chain(of_others).collect())
    }

    /// What we can sign about an object and may tell an audience, each with the farthest audience that may know it.
    fn claims(&self, info: &ObjectInfo, audience: Audience) -> Result<Vec<(Claim, Audience)>, IndexError> {
        if info.length < self.object_bytes_min {
            return Ok(Vec::new());
        }
        let representations = self.store.representations_of(&info.id)?;
        let shareable: Vec<(Representation, Audience)> = representations
            .into_iter()
            .filter(|one| one.standing == Standing::FirstHand)
            .filter_map(|one| reach(&one, info).map(|reach| (one, reach)))
            .filter(|(_, reach)| *reach >= audience)
            .collect();
        let mut claims = Vec::new();
        if let Some(widest) = shareable.iter().map(|(_, reach)| *reach).max() {
            claims.extend(strong_digests(info).map(|digest| {
                let statement = Statement::Digest(digest.clone());
                (claim(info, statement, info.stored_at), widest)
            }));
        }
        claims.extend(shareable.into_iter().filter_map(|(representation, reach)| {
            let statement = fetched(&representation)?;
            Some((claim(info, statement, representation.head.received_at), reach))
        }));
        Ok(claims)
    }

    /// Whether an object may be given to an audience now, and its length. Blocks.
    pub(crate) fn shareable(&self, object: &ObjectId, audience: Audience) -> Result<Option<u64>, IndexError> {
        let Some(info) = self.store.object(object)? else { return Ok(None) };
        if info.length < self.object_bytes_min {
            return Ok(None);
        }
        let representations = self.store.representations_of(object)?;
        let may = representations.iter().any(|one| may_leave(one, &info, audience).is_ok());
        Ok(may.then_some(info.length))
    }

    /// The farthest audience that may know of something that is stored; nothing when it stays in the household. Blocks.
    pub(crate) fn reach(&self, stored: &Representation) -> Result<Option<Audience>, IndexError> {
        let info = self.store.object(&stored.object)?.filter(|info| info.length >= self.object_bytes_min);
        Ok(info.and_then(|info| reach(stored, &info)))
    }

    /// What is stored of URLs that an audience may know of and whose names `wanted` knows: with what it says of the
    /// name. Blocks.
    pub(crate) fn named(
        &self,
        audience: Audience,
        rendezvous: &Rendezvous,
        wanted: impl Fn(&RendezvousId) -> Option<usize>,
    ) -> Result<Vec<(usize, Statement, Representation)>, IndexError> {
        let objects = self.objects()?;
        let mut found = Vec::new();
        for (id, names) in objects.iter() {
            let named = names.iter().filter(|name| name.reach >= audience);
            let named: Vec<(usize, Subject)> = named
                .filter_map(|name| Some((wanted(&rendezvous.id(name.subject))?, name.subject)))
                .collect();
            if named.is_empty() {
                continue;
            }
            for stored in self.store.representations_of(id)? {
                let Some(statement) = fetched(&stored) else { continue };
                let subject = statement.subject(stored.length);
                if let Some((at, _)) = named.iter().find(|(_, named)| *named == subject) {
                    found.push((*at, statement, stored));
                }
            }
        }
        Ok(found)
    }

    /// The first of the ids that names something shareable. `names` is what the session keeps between questions.
    /// Blocks.
    pub(crate) fn find(
        &self,
        audience: Audience,
        rendezvous: &Rendezvous,
        ids: &[RendezvousId],
        names: &mut Names,
    ) -> Result<Option<Answer>, IndexError> {
        let (generation, objects) = self.refresh()?;
        names.bring_up(audience, rendezvous, generation, &objects);
        for (answers, id) in ids.iter().enumerate() {
            let Some(object) = names.by_id.get(id) else { continue };
            // What is true now decides, not what the list said.
            let Some(info) = self.store.object(object)? else { continue };
            let claims = self.claims(&info, audience)?;
            let is_named =
                |claim: &(Claim, _)| rendezvous.id(claim.0.statement.subject(claim.0.length)) == *id;
            if let Some((claim, _)) = claims.into_iter().find(is_named) {
                return Ok(Some(Answer { claim, answers }));
            }
        }
        Ok(None)
    }
}

impl Listed {
    /// Notes what an object of this length may be looked for as; without a name it is not on the list.
    fn put(&mut self, id: ObjectId, length: u64, names: Vec<Name>) {
        let before = self.objects.get(&id).map_or(&[][..], Vec::as_slice);
        if before == names || before.is_empty() && self.objects.len() >= SHAREABLE_MAX {
            return;
        }
        let is_new = |name: &&Name| name.mention == Mention::Told && !before.contains(*name);
        let arrived: Vec<Subject> = names.iter().filter(is_new).map(|name| name.subject).collect();
        self.news.is_any = true;
        if !arrived.is_empty() {
            if self.news.arrived.len() < NEWS_KEPT_MAX {
                self.news.arrived.push((length, arrived));
            } else {
                self.news.is_more = true;
            }
        }
        let objects = Arc::make_mut(&mut self.objects);
        if names.is_empty() {
            objects.remove(&id);
        } else {
            objects.insert(id, names);
        }
        self.generation += 1;
    }
}

/// The farthest audience that may know of a representation, whoever gave us its bytes; nothing when it stays in the
/// household.
fn reach(representation: &Representation, info: &ObjectInfo) -> Option<Audience> {
    let first_hand;
    let ours = if representation.standing == Standing::Claimed {
        first_hand = Representation { standing: Standing::FirstHand, ..representation.clone() };
        &first_hand
    } else {
        representation
    };
    may_leave(ours, info, Audience::Mine)
        .inspect_err(|reason| tracing::debug!(host = ours.key.target.host(), %reason, "not shared"))
        .ok()?;
    let is_for_neighbours = may_leave(ours, info, Audience::Neighbour).is_ok();
    Some(if is_for_neighbours { Audience::Neighbour } else { Audience::Mine })
}

/// What a stored response is looked up as.
pub(crate) fn fetched(stored: &Representation) -> Option<Statement> {
    let validator = StrongValidator::of(&stored.head.headers)?;
    Some(Statement::Fetched(stored.key.target.clone(), validator))
}

fn claim(info: &ObjectInfo, statement: Statement, known_at: UnixMillis) -> Claim {
    Claim { statement, object: info.id, length: info.length, known_at }
}

/// Whether somebody may ask by a digest: only who is told it by a site does.
fn is_told(info: &ObjectInfo, digest: &Digest) -> bool {
    let is_it = |rung: &&Rung| rung.digest == *digest && rung.teller != Teller::Ourselves;
    digest.algorithm() == Algorithm::Sha256 && info.ladder.rungs().iter().any(|rung| is_it(&rung))
}

/// Digests that name one sequence of bytes.
fn strong_digests(info: &ObjectInfo) -> impl Iterator<Item = &Digest> {
    [Algorithm::Sha256, Algorithm::Sha512].into_iter().filter_map(|algorithm| info.ladder.digest(algorithm))
}

/// The names of the shelf for one neighbour on one day.
#[derive(Default)]
pub(crate) struct Names {
    made_for: Option<(u32, u64)>,
    by_id: HashMap<RendezvousId, ObjectId>,
}

impl Names {
    fn bring_up(
        &mut self,
        audience: Audience,
        rendezvous: &Rendezvous,
        generation: u64,
        objects: &Shareable,
    ) {
        if self.made_for == Some((rendezvous.day(), generation)) {
            return;
        }
        let named = objects
            .iter()
            .flat_map(|(object, names)| names.iter().map(move |name| (name, *object)))
            .filter(|(name, _)| name.reach >= audience && name.mention != Mention::Withdrawable)
            .map(|(name, object)| (rendezvous.id(name.subject), object));
        self.by_id = named.take(LOOKUPS_KEPT_MAX).collect();
        self.made_for = Some((rendezvous.day(), generation));
    }
}
