//! What became of the latest questions to origins, for an owner who asks afterwards why something is or is not on the
//! shelf.
//!
//! Kept in memory only, a bounded number, the latest last. Questions with a cookie or authorization are a person's own
//! and are not noted.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use kith_model::key::Target;
use kith_model::limits::JOURNAL_ENTRIES_MAX;
use kith_model::object::ObjectId;
use kith_model::time::UnixMillis;

/// What became of one question.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When.
    pub at: UnixMillis,
    /// What was asked for.
    pub target: Target,
    /// What came of it.
    pub event: Event,
}

/// Ends of a question, and of the fetch that it began.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Event {
    /// The whole was checked and filed.
    #[error("stored as {0}")]
    Stored(ObjectId),
    /// The origin confirmed what is stored.
    #[error("confirmed by the origin")]
    Confirmed,
    /// The answer passed through, for this reason.
    #[error("answered {0}, and passed through: {1}")]
    Passed(StatusCode, String),
    /// The origin takes the file back.
    #[error("withdrawn: the origin answered {0}")]
    Withdrawn(StatusCode),
    /// The origin could not be asked.
    #[error("not answered: {0}")]
    Unanswered(String),
    /// The fetch began and did not end well.
    #[error("not stored: {0}")]
    Failed(String),
}

/// The latest entries.
#[derive(Debug, Default)]
pub struct Journal(Mutex<VecDeque<Entry>>);

impl Journal {
    pub(crate) fn note(&self, at: UnixMillis, target: &Target, event: Event) {
        let mut entries = self.entries();
        if entries.len() == JOURNAL_ENTRIES_MAX {
            entries.pop_front();
        }
        entries.push_back(Entry { at, target: target.clone(), event });
    }

    /// What is known of a target, the latest last.
    pub fn of(&self, target: &Target) -> Vec<Entry> {
        self.entries().iter().filter(|entry| entry.target == *target).cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_found_by_their_target() {
        let journal = Journal::default();
        let target = |host: usize| Target::parse(&format!("http://h{host}.example/")).expect("a URL");
        for host in 0..=JOURNAL_ENTRIES_MAX {
            journal.note(UnixMillis(host as u64), &target(host), Event::Confirmed);
        }
        journal.note(UnixMillis(0), &target(5), Event::Withdrawn(StatusCode::GONE));
        let events =
            |host| journal.of(&target(host)).into_iter().map(|entry| entry.event).collect::<Vec<_>>();
        assert_eq!(events(0), [], "the oldest had to go");
        assert_eq!(events(1), []);
        assert_eq!(events(5), [Event::Confirmed, Event::Withdrawn(StatusCode::GONE)]);
        assert_eq!(journal.entries().len(), JOURNAL_ENTRIES_MAX);
    }
}
