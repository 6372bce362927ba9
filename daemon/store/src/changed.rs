//! Which objects changed lately: who keeps a list of some of the shelf need not read all of it for each change.
//!
//! Pure. Bounded: who has missed more than is remembered looks through the shelf once.

use std::collections::VecDeque;

use kith_model::limits::CHANGES_KEPT_MAX;
use kith_model::object::ObjectId;

/// The latest changes, and how many there were.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    count: u64,
    latest: VecDeque<ObjectId>,
}

impl Changed {
    /// How many changes there were since the start.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn note(&mut self, id: ObjectId) {
        self.count += 1;
        if self.latest.len() >= CHANGES_KEPT_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back(id);
    }

    /// From now on nobody knows what has changed before.
    pub(crate) fn forget(&mut self) {
        self.count += 1;
        self.latest.clear();
    }

    /// What changed since there were `seen` changes, each once; nothing when that is not remembered.
    pub(crate) fn since(&self, seen: u64) -> Option<Vec<ObjectId>> {
        let missed = usize::try_from(self.count.checked_sub(seen)?).ok()?;
        let first = self.latest.len().checked_sub(missed)?;
        let mut ids: Vec<ObjectId> = self.latest.range(first..).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ObjectId {
        ObjectId::of(&number.to_be_bytes())
    }

    #[test]
    fn what_changed_is_told_once_and_only_as_far_back_as_is_remembered() {
        let mut changed = Changed::default();
        assert_eq!(changed.since(0), Some(vec![]));
        for number in [1, 2, 1] {
            changed.note(id(number));
        }
        let mut both = vec![id(1), id(2)];
        both.sort_unstable();
        assert_eq!(changed.since(0), Some(both));
        assert_eq!(changed.since(2), Some(vec![id(1)]));
        assert_eq!(changed.since(3), Some(vec![]));
        assert_eq!(changed.since(4), None, "nobody has seen more than there was");
        (0..CHANGES_KEPT_MAX).for_each(|number| changed.note(id(number)));
        assert_eq!(changed.since(3).map(|ids| ids.len()), Some(CHANGES_KEPT_MAX));
        assert_eq!(changed.since(2), None);
        changed.forget();
        assert_eq!(changed.since(changed.count() - 1), None);
        assert_eq!(changed.since(changed.count()), Some(vec![]));
    }
}
