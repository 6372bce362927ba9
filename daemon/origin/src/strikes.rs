//! Which hosts sent wrong bytes, for as long as that is held against them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use kith_model::key::Target;
use kith_model::limits::{MIRROR_STRIKE, MIRROR_STRIKES_MAX};
use tokio::time::Instant;

/// Hosts that lied, the latest first.
#[derive(Debug, Default)]
pub(crate) struct Strikes(Mutex<VecDeque<(String, Instant)>>);

impl Strikes {
    /// Holds a lie against the host of `target`.
    pub(crate) fn strike(&self, target: &Target) {
        let mut struck = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let host = target.authority();
        struck.retain(|(known, _)| *known != host);
        struck.truncate(MIRROR_STRIKES_MAX - 1);
        struck.push_front((host, Instant::now()));
    }

    /// Whether a lie is held against the host of `target`.
    pub(crate) fn is_struck(&self, target: &Target) -> bool {
        let mut struck = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        struck.retain(|(_, at)| at.elapsed() < MIRROR_STRIKE);
        let host = target.authority();
        struck.iter().any(|(known, _)| *known == host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(number: usize) -> Target {
        Target::parse(&format!("http://m{number}.example/a")).expect("a target")
    }

    #[tokio::test(start_paused = true)]
    async fn a_lie_is_held_against_its_host_for_hours_and_only_so_many_are() {
        let strikes = Strikes::default();
        strikes.strike(&target(0));
        assert!(strikes.is_struck(&target(0)) && !strikes.is_struck(&target(1)));
        tokio::time::advance(MIRROR_STRIKE).await;
        assert!(!strikes.is_struck(&target(0)));
        for number in 0..=MIRROR_STRIKES_MAX {
            strikes.strike(&target(number));
        }
        assert!(!strikes.is_struck(&target(0)) && strikes.is_struck(&target(MIRROR_STRIKES_MAX)));
    }
}
