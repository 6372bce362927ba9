//! How fast sources were in earlier downloads, so that the next one need not find out from nothing.
//!
//! Kept in memory only, for an hour, by kind and name of the source: a host, or a neighbour's short node id. Bounded; a
//! full memory forgets the oldest. An estimate is where a plan begins, what a source shows soon counts for more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kith_model::limits::{SPEEDS_KEPT, SPEEDS_MAX};
use tokio::time::Instant;

use crate::plan::Estimate;
use crate::source::{Source, SourceKind};

type Name = (SourceKind, String);

/// Estimates by source.
#[derive(Debug, Default)]
pub(crate) struct Speeds(Mutex<HashMap<Name, (Instant, Estimate)>>);

impl Speeds {
    /// What was noted of a source within the last hour.
    pub(crate) fn recall(&self, source: &dyn Source) -> Option<Estimate> {
        let (at, estimate) = *self.all().get(&name_of(source))?;
        (at.elapsed() < SPEEDS_KEPT).then_some(estimate)
    }

    /// Notes what a source has shown.
    pub(crate) fn note(&self, source: &dyn Source, estimate: Estimate) {
        let (mut all, name) = (self.all(), name_of(source));
        if all.len() >= SPEEDS_MAX && !all.contains_key(&name) {
            let oldest = all.iter().min_by_key(|(_, (at, _))| *at).map(|(name, _)| name.clone());
            oldest.and_then(|name| all.remove(&name));
        }
        all.insert(name, (Instant::now(), estimate));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Name, (Instant, Estimate)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(source: &dyn Source) -> Name {
    (source.kind(), source.label().to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::BoxFuture;
    use kith_model::range::GroupSpan;

    use super::*;
    use crate::source::{Abilities, Fault, Lane, SourceError};

    struct Named(SourceKind, String);

    impl Source for Named {
        fn kind(&self) -> SourceKind {
            self.0
        }

        fn label(&self) -> &str {
            &self.1
        }

        fn abilities(&self) -> Abilities {
            Abilities { ranges: true, lanes_max: 1, grain: 1 }
        }

        fn open(&self, _span: GroupSpan) -> BoxFuture<'static, Result<Box<dyn Lane>, SourceError>> {
            Box::pin(async { Err(SourceError::NotHeld) })
        }

        fn blame(&self, _fault: Fault) {}
    }

    fn named(number: usize) -> Named {
        Named(SourceKind::Mirror, format!("m{number}.example"))
    }

    const FAST: Estimate = Estimate { rate: 100.0, first_byte: Duration::from_millis(3) };

    #[tokio::test(start_paused = true)]
    async fn a_speed_is_known_again_for_an_hour_and_only_of_that_source() {
        let speeds = Speeds::default();
        speeds.note(&named(1), FAST);
        assert_eq!(speeds.recall(&named(1)), Some(FAST));
        assert_eq!(speeds.recall(&named(2)), None);
        assert_eq!(speeds.recall(&Named(SourceKind::Origin, "m1.example".into())), None);
        tokio::time::advance(SPEEDS_KEPT).await;
        assert_eq!(speeds.recall(&named(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_is_forgotten_when_there_are_too_many() {
        let speeds = Speeds::default();
        for number in 0..=SPEEDS_MAX {
            tokio::time::advance(Duration::from_millis(1)).await;
            speeds.note(&named(number), FAST);
        }
        assert_eq!(speeds.all().len(), SPEEDS_MAX);
        assert_eq!(speeds.recall(&named(0)), None);
        assert_eq!(speeds.recall(&named(SPEEDS_MAX)), Some(FAST));
    }
}
