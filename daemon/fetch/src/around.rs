//! Questions to neighbours: who holds what is being fetched, and who else holds what is on the shelf.
//!
//! Decides what may be asked about at all; how it is asked is the finders'. What must not be shared is not looked up
//! either.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use kith_model::key::Target;
use kith_model::ladder::{Algorithm, Ladder};
use kith_model::limits::{CROWD_LINGER, CROWD_OBJECT_BYTES_MAX, CROWD_OBJECT_BYTES_MIN};
use kith_model::object::ObjectId;
use kith_model::representation::{Head, Representation, Standing, StrongValidator};
use kith_model::sharing::{self, Audience};
use kith_store::{Body, Draft};

use crate::fetcher::Fetcher;
use crate::share::{Gathering, Share};
use crate::source::{Found, Wanted};

impl Fetcher {
    /// Neighbours that claim to hold what the draft is about.
    pub(crate) fn find(&self, draft: &Draft) -> BoxStream<'static, Found> {
        match self.wanted(draft) {
            Some(wanted) => self.ask_around(&wanted),
            None => stream::empty().boxed(),
        }
    }

    /// Makes a fetch known to the owner's other boxes, and listens to those that fetch the same.
    pub(crate) fn gather(&self, draft: &Draft, body: Body) -> Option<(Arc<Share>, Gathering)> {
        let wanted = self.wanted(draft)?;
        if !(CROWD_OBJECT_BYTES_MIN..=CROWD_OBJECT_BYTES_MAX).contains(&wanted.length) {
            return None;
        }
        let share = Arc::new(Share::new(body, wanted.length));
        let gathering = self.inner.finders.iter().find_map(|finder| finder.gather(&wanted, &share))?;
        Some((share, gathering))
    }

    /// Goes on giving to boxes that began later what this one fetched, for a while.
    pub(crate) async fn linger(&self, share: Arc<Share>) {
        let Ok(_place) = self.inner.lingering.try_acquire() else { return };
        tokio::select! {
            () = self.inner.stop.cancelled() => {}
            () = tokio::time::sleep(CROWD_LINGER) => {}
        }
        drop(share);
    }

    fn wanted(&self, draft: &Draft) -> Option<Wanted> {
        let (length, validator) = (draft.length?, draft.validator.clone()?);
        let target = &draft.key.target;
        let audience = self.farthest(target, &draft.head, &draft.ladder, length)?;
        let digest = draft.ladder.digest(Algorithm::Sha256).cloned();
        Some(Wanted { target: target.clone(), validator, length, digest, audience })
    }

    fn ask_around(&self, wanted: &Wanted) -> BoxStream<'static, Found> {
        stream::select_all(self.inner.finders.iter().map(|finder| finder.find(wanted.clone()))).boxed()
    }

    /// Lets the neighbours know that an origin took something back. What of it they may know is for them to judge.
    pub(crate) fn tell_withdrawn(&self, stored: &Representation) {
        self.inner.finders.iter().for_each(|finder| finder.withdrawn(stored));
    }

    /// How far a question for it may go: what must not be shared is not looked up either.
    fn farthest(&self, target: &Target, head: &Head, ladder: &Ladder, length: u64) -> Option<Audience> {
        let subject = sharing::Subject {
            target,
            // A wish with credentials is answered alone and never comes here.
            credentials: sharing::Credentials::None,
            response: &head.headers,
            length,
            ladder,
            publisher: sharing::Publisher::Silent,
        };
        let is_worth_it =
            head.status == http::StatusCode::OK && length >= self.inner.config.neighbour_bytes_min;
        [Audience::Neighbour, Audience::Mine]
            .into_iter()
            .find(|audience| is_worth_it && sharing::may_share(&subject, *audience).is_ok())
    }

    /// Where programs of the household may have a stored object besides here, as far as other boxes said so.
    pub fn doors(&self, object: &ObjectId) -> Vec<SocketAddr> {
        self.inner.holders.doors(object)
    }

    /// Asks in the background which neighbours hold what is served from the shelf, so that [`Self::doors`] can tell the
    /// next client; once in a while, and only of what is large enough to be fetched from several places at once.
    pub fn look_around(&self, stored: &Representation) {
        let (inner, object) = (&self.inner, stored.object);
        let is_worth_it = stored.length >= inner.config.neighbour_bytes_min && !inner.finders.is_empty();
        if !is_worth_it || stored.standing == Standing::Household || !inner.holders.is_due(object) {
            return;
        }
        let (Some(wanted), Ok(place)) =
            (self.wanted_again(stored), Arc::clone(&inner.touches).try_acquire_owned())
        else {
            return;
        };
        let (fetcher, stop) = (self.clone(), inner.stop.clone());
        inner.tasks.spawn(
            async move {
                let claims = fetcher.ask_around(&wanted).filter_map(|found| {
                    let door = found.source.door().filter(|_| found.object == object);
                    std::future::ready(door)
                });
                tokio::select! {
                    () = stop.cancelled() => {}
                    doors = claims.collect() => fetcher.inner.holders.note(object, doors),
                }
                drop(place);
            }
            .boxed(),
        );
    }

    fn wanted_again(&self, stored: &Representation) -> Option<Wanted> {
        let info = self.object(&stored.object).ok()??;
        let target = &stored.key.target;
        self.farthest(target, &stored.head, &info.ladder, stored.length)?;
        let validator = StrongValidator::of(&stored.head.headers)?;
        let digest = info.ladder.digest(Algorithm::Sha256).cloned();
        // Only boxes of the same owner tell where their clients connect.
        let audience = Audience::Mine;
        Some(Wanted { target: target.clone(), validator, length: stored.length, digest, audience })
    }
}
