//! Everything is here: whether it is what the origin and the claims say, and what becomes of it.
//!
//! Who is to blame for what is wrong is found out in [`super::claims`], [`super::leads`] and [`super::circle`].

use kith_model::freshness::Reach;
use kith_model::ladder::Strength;
use kith_model::representation::Standing;
use kith_store::{Finish, FinishError};
use tracing::{info, warn};

use super::{Job, Stop};
use crate::audience::Verdict;
use crate::counters::BySource;
use crate::fetcher::unix_now;
use crate::source::{SourceKind, Truth};

impl Job {
    /// Everything is here: check it and store it. Nothing when there is more to fetch after all.
    pub(super) async fn conclude(&mut self) -> Option<Stop> {
        self.close_lanes().await;
        let length = self.length?;
        self.weigh();
        if !self.is_vouched() {
            warn!(host = %self.host, "the boxes that claimed it are not paired any more; what came is thrown away");
            self.retract().await;
            return None;
        }
        let near = self.audience.neighbour_groups();
        let checked = self.writer.told().told() == Strength::Strong;
        let expected = if near.is_empty() { None } else { self.claims.used() };
        let first_hand = near.is_empty() || checked;
        let standing = match self.reach {
            Reach::Household => Standing::Household,
            Reach::Anyone if first_hand => Standing::FirstHand,
            Reach::Anyone => Standing::Claimed,
        };
        let finish = Finish { length, expected, standing, representation: true, now: unix_now() };
        if let Err(error) = self.writer.check(finish).await {
            return self.refute(&error).await;
        }
        // The bytes are right: readers need not wait for the disk.
        self.writer.approve().await;
        self.audience.decide(Verdict::Right);
        // Two honest answers may have one date and length.
        let is_proof = checked || (first_hand && self.is_tagged);
        if is_proof {
            self.judge_units().await;
        }
        match self.writer.finish(finish).await {
            Ok(finished) => {
                let BySource { origin, neighbour, mirror } = self.audience.bytes_by_source();
                info!(host = %self.host, object = %finished.info.id, length, origin, neighbour, mirror, "stored");
                if is_proof {
                    self.judge(finished.info.id);
                }
                self.note_holders(finished.info.id);
                Some(Stop::Stored(finished.info.id))
            }
            Err(error) => {
                warn!(host = %self.host, %error, "not stored");
                Some(Stop::Failed(error.to_string()))
            }
        }
    }

    /// The whole is not what was claimed or told. What came from next door is thrown away; the origin goes on.
    async fn refute(&mut self, error: &FinishError) -> Option<Stop> {
        if matches!(error, FinishError::Write(_)) {
            warn!(host = %self.host, %error, "the shelf cannot be read; the object is thrown away");
            self.pass(None);
            self.writer.discard().await;
            return Some(Stop::Failed(error.to_string()));
        }
        if self.refute_mirrors(error).await {
            return None;
        }
        let lies = self.audience.neighbour_groups();
        let from_others = !lies.is_empty() || self.audience.is_mirrored();
        if !from_others {
            warn!(host = %self.host, %error, "the object is not what the origin said; it is thrown away");
            self.note_mismatch(SourceKind::Origin);
            self.writer.discard().await;
            return Some(Stop::Failed(error.to_string()));
        }
        warn!(host = %self.host, %error, "a claim was false; what came under it is thrown away");
        if self.has_given() {
            // Whose bytes are wrong shows when the origin has sent them again.
            self.retract().await;
            return None;
        }
        let truth = match error {
            FinishError::DigestMismatch { algorithm } => Truth::Digest(*algorithm),
            _ => Truth::Parts,
        };
        if lies.is_empty() {
            self.retract().await;
        } else {
            self.refute_claims(truth).await;
        }
        None
    }
}
