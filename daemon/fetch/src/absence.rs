//! Origins that could not be reached a moment ago: asking again at once would only let the next client wait as long.
//!
//! Remembered is that nobody answered, for seconds, and nothing that was answered. Whoever answers again is forgotten
//! here at once. Bounded; a full memory forgets the oldest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kith_model::key::Target;
use kith_model::limits::{ABSENT_ORIGINS_MAX, ABSENT_QUIET, ABSENT_SUSPECTED};
use tokio::time::Instant;

use crate::ask::AskError;

/// Who could not be reached, by scheme, host and port.
#[derive(Debug, Default)]
pub(crate) struct Absences(Mutex<HashMap<String, (Instant, Arc<AskError>)>>);

impl Absences {
    /// Notes a failure when it says that nobody is there: at the target itself, and not where it redirects to.
    pub(crate) fn note(&self, target: &Target, error: &Arc<AskError>) {
        let (AskError::Dns(host) | AskError::Connect(host, _)) = &**error else { return };
        if host != target.host() {
            return;
        }
        let mut all = self.all();
        if all.len() >= ABSENT_ORIGINS_MAX && !all.contains_key(&origin_of(target)) {
            let oldest = all.iter().min_by_key(|(_, (at, _))| *at).map(|(origin, _)| origin.clone());
            oldest.and_then(|origin| all.remove(&origin));
        }
        all.insert(origin_of(target), (Instant::now(), Arc::clone(error)));
    }

    /// Somebody answered.
    pub(crate) fn clear(&self, target: &Target) {
        let mut all = self.all();
        if !all.is_empty() {
            all.remove(&origin_of(target));
        }
    }

    /// The failure of a moment ago, to be told again without asking.
    pub(crate) fn just_now(&self, target: &Target) -> Option<Arc<AskError>> {
        self.within(target, ABSENT_QUIET)
    }

    /// Whether nobody answered of late, so that a stored response is better served before the origin is asked.
    pub(crate) fn is_suspected(&self, target: &Target) -> bool {
        self.within(target, ABSENT_SUSPECTED).is_some()
    }

    fn within(&self, target: &Target, span: Duration) -> Option<Arc<AskError>> {
        let all = self.all();
        if all.is_empty() {
            return None;
        }
        let (at, error) = all.get(&origin_of(target))?;
        (at.elapsed() < span).then(|| Arc::clone(error))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, (Instant, Arc<AskError>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn origin_of(target: &Target) -> String {
    format!("{}://{}:{}", target.scheme().as_str(), target.host(), target.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).expect("a URL")
    }

    fn refused(host: &str) -> Arc<AskError> {
        Arc::new(AskError::Connect(host.into(), None))
    }

    #[tokio::test(start_paused = true)]
    async fn an_absence_is_told_again_for_seconds_and_suspected_for_a_minute() {
        let absences = Absences::default();
        absences.note(&target("http://example.org/a"), &refused("example.org"));
        let other_file = target("http://example.org/b");
        assert!(absences.just_now(&other_file).is_some());
        assert!(absences.just_now(&target("https://example.org/b")).is_none(), "another port");
        tokio::time::advance(ABSENT_QUIET).await;
        assert!(absences.just_now(&other_file).is_none());
        assert!(absences.is_suspected(&other_file));
        tokio::time::advance(ABSENT_SUSPECTED).await;
        assert!(!absences.is_suspected(&other_file));
    }

    #[tokio::test(start_paused = true)]
    async fn who_answered_badly_was_there_and_who_answers_is_back() {
        let absences = Absences::default();
        let url = target("http://example.org/");
        absences.note(&url, &Arc::new(AskError::Timeout("example.org".into())));
        absences.note(&url, &Arc::new(AskError::Nonsense("example.org".into(), "two lengths")));
        assert!(!absences.is_suspected(&url));
        absences.note(&url, &refused("mirror.example.org"));
        assert!(!absences.is_suspected(&url), "a redirect led elsewhere");
        absences.note(&url, &refused("example.org"));
        absences.clear(&url);
        assert!(!absences.is_suspected(&url));
        for host in 0..=ABSENT_ORIGINS_MAX {
            tokio::time::advance(Duration::from_millis(1)).await;
            let name = format!("h{host}.example");
            absences.note(&target(&format!("http://{name}/")), &refused(&name));
        }
        assert_eq!(absences.all().len(), ABSENT_ORIGINS_MAX);
        assert!(!absences.is_suspected(&target("http://h0.example/")));
    }
}
