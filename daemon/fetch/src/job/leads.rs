//! What the origin's answer pointed to: further digests, and mirrors.
//!
//! A mirror is a stranger. Without piece hashes, what it sends is readable for nobody until the whole is checked, so it
//! is used only where the origin told a digest that names the bytes, and only while everybody reads the whole: a part has
//! no digest to wait for. It has to show a group that the origin has sent before anything else ([`crate::sampled`]). When the check fails, what mirrors sent is dropped and they are blamed; the origin sends it
//! again, and the download takes as long as from the origin alone.

use std::collections::VecDeque;
use std::sync::Arc;

use kith_model::ladder::Strength;
use kith_model::limits::{MIRRORS_AT_ONCE_MAX, MIRRORS_MAX};
use kith_store::FinishError;
use litemap::LiteMap;
use tracing::{debug, warn};

use super::Job;
use crate::plan::{Facts, Place, SourceId};
use crate::sampled::{Sample, Sampled};
use crate::source::{Fault, Lead, Proof, Source, Truth};

/// The mirrors of a job.
#[derive(Default)]
pub(super) struct Mirrors {
    /// Those that have not been needed yet, or cannot be used yet.
    waiting: VecDeque<(Arc<dyn Source>, Proof)>,
    /// Those that were put to use, also when they are of none any more.
    used: LiteMap<SourceId, Proof>,
    /// The first group that the origin sends.
    origin_began: u64,
    /// Whether one has delivered since [`Job::spare_part_readers`] looked.
    pub(super) delivered: bool,
}

impl Mirrors {
    pub(super) fn new(origin_began: u64) -> Self {
        Self { origin_began, ..Self::default() }
    }
}

impl Job {
    pub(super) async fn follow(&mut self, lead: Lead) {
        match lead {
            Lead::Digests(ladder) => match self.writer.learn(ladder).await {
                Ok(()) => {
                    self.audience.check_the_tail();
                    // A digest makes more of a claim.
                    self.weigh();
                }
                Err(error) => debug!(host = %self.host, %error, "what was told later is of another version"),
            },
            Lead::Pieces(pieces) => {
                self.claims.pieces = Some(pieces);
                self.weigh();
            }
            Lead::Mirror { source, proof } if self.mirrors.waiting.len() < MIRRORS_MAX => {
                self.mirrors.waiting.push_back((source, proof));
            }
            Lead::Mirror { .. } => {}
            Lead::Torrent(_) => debug!(host = %self.host, "there is a torrent of it"),
        }
        self.admit_mirrors();
    }

    /// Puts mirrors to use, in the order told, as many as may be at once.
    pub(super) fn admit_mirrors(&mut self) {
        let is_named = self.writer.told().told() >= Strength::Joint;
        let is_usable = |proof: Proof| match proof {
            Proof::Pieces => true,
            Proof::Whole => is_named && !self.audience.has_part_reader() && !self.claims.is_holding_back(),
        };
        let mut in_use = self.mirrors.used.keys().filter(|id| !self.plan.is_useless(**id)).count();
        while in_use < MIRRORS_AT_ONCE_MAX {
            let Some(at) = self.mirrors.waiting.iter().position(|(_, proof)| is_usable(*proof)) else {
                break;
            };
            let Some((source, proof)) = self.mirrors.waiting.remove(at) else { break };
            let source = self.held_to_a_sample(source, proof);
            let facts = Facts { is_shown: proof == Proof::Pieces, ..self.facts(Place::Mirror, &*source) };
            let id = self.plan.source_added(facts);
            debug!(host = %self.host, mirror = source.label(), ?proof, "a mirror is said to hold it");
            self.sources.insert(id, source);
            self.mirrors.used.insert(id, proof);
            in_use += 1;
        }
    }

    fn held_to_a_sample(&self, source: Arc<dyn Source>, proof: Proof) -> Arc<dyn Source> {
        match (proof, self.length) {
            (Proof::Whole, Some(length)) => {
                let body = Arc::new(self.writer.body());
                let audience = Arc::clone(&self.audience);
                let sample = Sample { body, audience, first: self.mirrors.origin_began, length };
                Arc::new(Sampled::new(source, sample))
            }
            _ => source,
        }
    }

    /// Takes what cannot be shown yet out of the way of who waits for a part of it.
    pub(super) async fn spare_part_readers(&mut self) {
        if !self.audience.has_part_reader() {
            return;
        }
        for id in self.flat_mirrors() {
            self.plan.source_removed(id);
        }
        if self.claims.is_holding_back() {
            self.weigh();
        }
        // What is on its way arrives after its lane was told to end: it is dropped then.
        if std::mem::take(&mut self.mirrors.delivered) {
            self.drop_doubtful().await;
        }
    }

    /// The whole is not what was told, and mirrors had a part in it: what they sent is dropped. Whether that was so.
    pub(super) async fn refute_mirrors(&mut self, error: &FinishError) -> bool {
        let flat = self.flat_mirrors();
        let liars: Vec<SourceId> =
            flat.iter().copied().filter(|id| self.plan.proven_rate(*id).is_some()).collect();
        if liars.is_empty() {
            return false;
        }
        warn!(host = %self.host, %error, "what a mirror sent is wrong; it is thrown away");
        let truth = match error {
            FinishError::DigestMismatch { algorithm } => Truth::Digest(*algorithm),
            _ => Truth::Parts,
        };
        for id in liars {
            self.counters.mismatched_mirror.add(1);
            if let Some(source) = self.sources.get(&id) {
                source.blame(Fault::FalseClaim(truth));
            }
        }
        for id in flat {
            self.plan.source_removed(id);
            self.sources.remove(&id);
            self.mirrors.used.remove(&id);
        }
        // One lie costs no more than the origin alone would have taken; a second one would.
        self.mirrors.waiting.retain(|(_, proof)| *proof == Proof::Pieces);
        self.drop_doubtful().await;
        true
    }

    /// Uses no mirror any more.
    pub(super) fn give_mirrors_up(&mut self) {
        self.mirrors.waiting.clear();
        for (id, _) in std::mem::take(&mut self.mirrors.used) {
            self.plan.source_removed(id);
            self.sources.remove(&id);
        }
    }

    /// Whether bytes of a mirror wait for the check of the whole, or may come.
    pub(super) fn has_flat_mirrors(&self) -> bool {
        self.flat_mirrors().into_iter().any(|id| !self.plan.is_useless(id))
    }

    fn flat_mirrors(&self) -> Vec<SourceId> {
        let used = self.mirrors.used.iter();
        used.filter(|(_, proof)| **proof == Proof::Whole).map(|(id, _)| *id).collect()
    }

    async fn drop_doubtful(&mut self) {
        let held = self.writer.drop_doubtful().await;
        self.audience.dropped(&held);
        self.plan.lost(held);
    }
}
