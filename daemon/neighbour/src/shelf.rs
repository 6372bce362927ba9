//! What neighbours can be answered about: names of the shareable part of the store, kept up as it changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use kith_model::ladder::{Algorithm, Digest};
use kith_model::limits::{LOOKUPS_KEPT_MAX, SHAREABLE_MAX};
use kith_model::object::ObjectId;
use kith_model::representation::{ObjectInfo, Representation, StrongValidator};
use kith_model::sharing::{Audience, may_leave};
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
type Shareable = BTreeMap<ObjectId, Vec<Subject>>;

#[derive(Default)]
struct Listed {
    /// The store's generation that this is of; nothing before the first look.
    generation: Option<u64>,
    objects: Arc<Shareable>,
}

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

    /// Brings the list up to the store's state and says which state that is. Blocks: reads the index.
    fn refresh(&self) -> Result<(u64, Arc<Shareable>), IndexError> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the listing: what changes while we list is listed again next time.
        let generation = *self.store.changes().borrow();
        if listed.generation != Some(generation) {
            listed.objects = Arc::new(self.list()?);
            listed.generation = Some(generation);
        }
        Ok((generation, Arc::clone(&listed.objects)))
    }

    fn list(&self) -> Result<Shareable, IndexError> {
        const PAGE: usize = 256;
        let mut objects = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.store.objects(after, PAGE)?;
            after = page.last().map(|info| info.id);
            let is_last = page.len() < PAGE;
            for info in page.into_iter().filter(|info| info.length >= self.object_bytes_min) {
                let claims = self.claims(&info)?;
                if !claims.is_empty() {
                    let subjects = claims.iter().map(|claim| claim.statement.subject(claim.length));
                    objects.insert(info.id, subjects.collect());
                }
            }
            if is_last || objects.len() >= SHAREABLE_MAX {
                return Ok(objects);
            }
        }
    }

    /// What we can sign about an object and may tell a box of the same owner.
    fn claims(&self, info: &ObjectInfo) -> Result<Vec<Claim>, IndexError> {
        let shareable: Vec<Representation> = self
            .store
            .representations_of(&info.id)?
            .into_iter()
            .filter(|representation| is_shareable(representation, info))
            .collect();
        let mut claims: Vec<Claim> = Vec::new();
        if !shareable.is_empty() {
            claims.extend(strong_digests(info).map(|digest| Claim {
                statement: Statement::Digest(digest.clone()),
                object: info.id,
                length: info.length,
                known_at: info.stored_at,
            }));
        }
        claims.extend(shareable.into_iter().filter_map(|representation| {
            let validator = StrongValidator::of(&representation.head.headers)?;
            Some(Claim {
                statement: Statement::Fetched(representation.key.target, validator),
                object: info.id,
                length: info.length,
                known_at: representation.head.received_at,
            })
        }));
        Ok(claims)
    }

    /// Whether an object may be given to a box of the same owner now, and its length. Blocks.
    pub(crate) fn shareable(&self, object: &ObjectId) -> Result<Option<u64>, IndexError> {
        let Some(info) = self.store.object(object)? else { return Ok(None) };
        if info.length < self.object_bytes_min {
            return Ok(None);
        }
        let representations = self.store.representations_of(object)?;
        let may = representations.iter().any(|one| may_leave(one, &info, Audience::Mine).is_ok());
        Ok(may.then_some(info.length))
    }

    /// The first of the ids that names something shareable. `names` is what the session keeps between questions.
    /// Blocks.
    pub(crate) fn find(
        &self,
        rendezvous: &Rendezvous,
        ids: &[RendezvousId],
        names: &mut Names,
    ) -> Result<Option<Answer>, IndexError> {
        let (generation, objects) = self.refresh()?;
        names.bring_up(rendezvous, generation, &objects);
        for (answers, id) in ids.iter().enumerate() {
            let Some(object) = names.by_id.get(id) else { continue };
            // What is true now decides, not what the list said.
            let Some(info) = self.store.object(object)? else { continue };
            let claims = self.claims(&info)?;
            let named =
                claims.into_iter().find(|claim| rendezvous.id(claim.statement.subject(claim.length)) == *id);
            if let Some(claim) = named {
                return Ok(Some(Answer { claim, answers }));
            }
        }
        Ok(None)
    }
}

/// Whether a box of the same owner may know of it.
fn is_shareable(representation: &Representation, info: &ObjectInfo) -> bool {
    may_leave(representation, info, Audience::Mine)
        .inspect_err(|reason| tracing::debug!(host = representation.key.target.host(), %reason, "not shared"))
        .is_ok()
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
    fn bring_up(&mut self, rendezvous: &Rendezvous, generation: u64, objects: &Shareable) {
        if self.made_for == Some((rendezvous.day(), generation)) {
            return;
        }
        let named = objects
            .iter()
            .flat_map(|(object, subjects)| subjects.iter().map(|subject| (rendezvous.id(*subject), *object)));
        self.by_id = named.take(LOOKUPS_KEPT_MAX).collect();
        self.made_for = Some((rendezvous.day(), generation));
    }
}
