//! Which other boxes of the owner hold what lies on the shelf here, and where programs of the household may have it from
//! them: for download tools that take one file from several places at once.
//!
//! Remembered is what a box said under its claim of an object that turned out to be that one: for minutes, and of a
//! bounded number of objects. Nothing is decided by it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kith_model::limits::{HOLDERS_AGE, HOLDERS_MAX, HOLDERS_NONE_AGE, HOLDERS_OBJECTS_MAX};
use kith_model::object::ObjectId;
use tokio::time::Instant;

/// Who holds what, the latest last.
#[derive(Debug, Default)]
pub(crate) struct Holders(Mutex<VecDeque<Entry>>);

#[derive(Debug)]
struct Entry {
    object: ObjectId,
    asked_at: Instant,
    doors: Vec<SocketAddr>,
}

impl Holders {
    /// Notes who holds an object, in the place of what was known.
    pub(crate) fn note(&self, object: ObjectId, told: Vec<SocketAddr>) {
        let mut doors = Vec::new();
        for door in told {
            if doors.len() < HOLDERS_MAX && !doors.contains(&door) {
                doors.push(door);
            }
        }
        let mut all = self.lock();
        all.retain(|entry| entry.object != object);
        if all.len() >= HOLDERS_OBJECTS_MAX {
            all.pop_front();
        }
        all.push_back(Entry { object, asked_at: Instant::now(), doors });
    }

    /// Where it may be had.
    pub(crate) fn doors(&self, object: &ObjectId) -> Vec<SocketAddr> {
        let all = self.lock();
        let entry = all.iter().find(|entry| entry.object == *object && entry.is_young());
        entry.map(|entry| entry.doors.clone()).unwrap_or_default()
    }

    /// Whether it is time to ask who holds it. Who hears yes is the one to ask.
    pub(crate) fn is_due(&self, object: ObjectId) -> bool {
        if self.lock().iter().any(|entry| entry.object == object && entry.is_young()) {
            return false;
        }
        self.note(object, Vec::new());
        true
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_young(&self) -> bool {
        let age_max = if self.doors.is_empty() { HOLDERS_NONE_AGE } else { HOLDERS_AGE };
        self.asked_at.elapsed() < age_max
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn door(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 168, 1, 2], port))
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_it_is_known_for_minutes_and_asked_once_in_them() {
        let (holders, object) = (Holders::default(), ObjectId::of(b"a"));
        assert!(holders.is_due(object) && !holders.is_due(object));
        tokio::time::advance(HOLDERS_NONE_AGE).await;
        assert!(holders.is_due(object) && !holders.is_due(object), "that nobody had it is soon over");
        assert_eq!(holders.doors(&object), []);
        holders.note(object, vec![door(2), door(1), door(2)]);
        assert_eq!(holders.doors(&object), [door(2), door(1)]);
        assert!(!holders.is_due(object));
        tokio::time::advance(HOLDERS_AGE).await;
        assert_eq!(holders.doors(&object), []);
        assert!(holders.is_due(object));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_remembered() {
        let holders = Holders::default();
        let object = |number: usize| ObjectId::of(&number.to_le_bytes());
        let many = (0..100).map(door).collect();
        for number in 0..=HOLDERS_OBJECTS_MAX {
            tokio::time::advance(Duration::from_millis(1)).await;
            holders.note(object(number), vec![door(1)]);
        }
        assert_eq!(holders.lock().len(), HOLDERS_OBJECTS_MAX);
        assert_eq!(holders.doors(&object(0)), [], "the oldest had to go");
        holders.note(object(1), many);
        assert_eq!(holders.doors(&object(1)).len(), HOLDERS_MAX);
    }
}
