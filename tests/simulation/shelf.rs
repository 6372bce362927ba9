//! One box's shelf: the policy of the store over an order in memory.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;

use kith_model::limits::{EVICT_ABOVE_PERCENT, EVICT_TO_PERCENT};
use kith_model::object::ObjectId;
use kith_model::shelf::{Candidate, Copy, Order, Policy, Stay};

/// A cache that is asked for something, and given it when it has it not.
pub(crate) trait Cache {
    /// Whether it has it; counts as a use.
    fn uses(&mut self, id: &ObjectId, hour: u32) -> bool;

    /// Takes it in.
    fn keeps(&mut self, id: ObjectId, length: u64, hour: u32);
}

/// The shelf.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    policy: Policy,
    order: Standing,
    bytes_max: u64,
    pub(crate) bytes: u64,
    /// Times that something had to go.
    pub(crate) clearings: u64,
}

#[derive(Debug, Default)]
struct Standing {
    places: BTreeSet<(u32, ObjectId)>,
    held: HashMap<ObjectId, (u64, Stay)>,
}

impl Order for Standing {
    type Error = Infallible;

    fn lowest(&mut self, count_max: usize) -> Result<Vec<Candidate>, Infallible> {
        let candidate = |(_, id): &(u32, ObjectId)| {
            let (length, stay) = self.held[id];
            Candidate { id: *id, length, stay }
        };
        Ok(self.places.iter().take(count_max).map(candidate).collect())
    }

    fn put(&mut self, id: &ObjectId, stay: Stay) -> Result<(), Infallible> {
        if let Some((_, before)) = self.held.get_mut(id) {
            self.places.remove(&(before.worth, *id));
            self.places.insert((stay.worth, *id));
            *before = stay;
        }
        Ok(())
    }

    fn remove(&mut self, id: &ObjectId) -> Result<u64, Infallible> {
        let Some((length, stay)) = self.held.remove(id) else { return Ok(0) };
        self.places.remove(&(stay.worth, *id));
        Ok(length)
    }
}

impl Shelf {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    pub(crate) fn has(&self, id: &ObjectId) -> bool {
        self.order.held.contains_key(id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &ObjectId> {
        self.order.held.keys()
    }

    /// Takes something in and makes room as the store does. Whether anything came or went.
    pub(crate) fn put(
        &mut self,
        id: ObjectId,
        length: u64,
        hour: u32,
        copy: Copy,
        copies: &dyn Fn(&ObjectId) -> u32,
    ) -> bool {
        // The largest object (LIMITS: a quarter to a half of the shelf).
        if self.has(&id) || length > self.bytes_max / 4 {
            return false;
        }
        let stay = self.policy.arrived(&id, length, copy, hour);
        self.order.held.insert(id, (length, stay));
        self.order.places.insert((stay.worth, id));
        self.bytes += length;
        if self.bytes > self.bytes_max / 100 * EVICT_ABOVE_PERCENT {
            let goal = self.bytes - self.bytes_max / 100 * EVICT_TO_PERCENT;
            let Ok((_, freed)) = self.policy.make_room(&mut self.order, goal, hour, copies);
            self.bytes -= freed;
            self.clearings += 1;
        }
        true
    }
}

impl Cache for Shelf {
    fn uses(&mut self, id: &ObjectId, hour: u32) -> bool {
        let Some((length, stay)) = self.order.held.get(id).copied() else { return false };
        let stay = self.policy.used(stay, length, hour, 1);
        let Ok(()) = self.order.put(id, stay);
        true
    }

    fn keeps(&mut self, id: ObjectId, length: u64, hour: u32) {
        self.put(id, length, hour, Copy::First, &|_| 0);
    }
}
