//! Boxes that discovery has seen: a bounded list that a flood of names can neither grow nor empty of friends.
//!
//! Pure. What stands here is a hint; only TLS proves who is where.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use kith_model::limits::{Limits, NEIGHBOUR_ADDRESSES_MAX};
use kith_model::time::UnixMillis;

use crate::identity::NodeId;

/// A box that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The name it announces, cleaned.
    pub name: String,
    /// Where it says that it is, the newest first. Never empty.
    pub addresses: Vec<SocketAddr>,
    /// When it was seen last.
    pub seen_at: UnixMillis,
}

/// Whether a sighting changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// A new box, or a new address of a known one.
    News,
    /// Nothing new.
    Known,
    /// No room for it.
    Refused,
}

/// Whether a box is paired: such ones always find room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is paired.
    Paired,
    /// It is not.
    Stranger,
}

/// The list.
#[derive(Debug)]
pub struct Roster {
    boxes: BTreeMap<NodeId, (Seen, Known)>,
    boxes_max: usize,
    per_address_max: usize,
}

impl Roster {
    /// Nobody was seen yet.
    pub fn new(limits: &Limits) -> Self {
        Self {
            boxes: BTreeMap::new(),
            boxes_max: limits.roster_max,
            per_address_max: limits.roster_per_address_max,
        }
    }

    /// Notes that `id` was announced at `address`. When the list is full the stranger seen longest ago goes.
    pub fn see(
        &mut self,
        id: NodeId,
        name: &str,
        address: SocketAddr,
        known: Known,
        now: UnixMillis,
    ) -> Sighting {
        if let Some((seen, kept)) = self.boxes.get_mut(&id) {
            *kept = known;
            seen.seen_at = now;
            name.clone_into(&mut seen.name);
            if seen.addresses.contains(&address) {
                return Sighting::Known;
            }
            if known == Known::Stranger && count_at(&self.boxes, address.ip()) >= self.per_address_max {
                return Sighting::Refused;
            }
            if let Some((seen, _)) = self.boxes.get_mut(&id) {
                seen.addresses.insert(0, address);
                seen.addresses.truncate(NEIGHBOUR_ADDRESSES_MAX);
            }
            return Sighting::News;
        }
        if known == Known::Stranger && count_at(&self.boxes, address.ip()) >= self.per_address_max {
            return Sighting::Refused;
        }
        if self.boxes.len() >= self.boxes_max && !self.drop_oldest_stranger() {
            return Sighting::Refused;
        }
        let seen = Seen { name: name.to_owned(), addresses: vec![address], seen_at: now };
        self.boxes.insert(id, (seen, known));
        Sighting::News
    }

    fn drop_oldest_stranger(&mut self) -> bool {
        let strangers = self.boxes.iter().filter(|(_, (_, known))| *known == Known::Stranger);
        let oldest = strangers.min_by_key(|(_, (seen, _))| seen.seen_at).map(|(id, _)| *id);
        oldest.is_some_and(|id| self.boxes.remove(&id).is_some())
    }

    /// Notes that a box said goodbye, or was not heard of for long.
    pub fn forget(&mut self, id: &NodeId) {
        self.boxes.remove(id);
    }

    /// Notes who is paired.
    pub fn note(&mut self, id: &NodeId, now_known: Known) {
        if let Some((_, known)) = self.boxes.get_mut(id) {
            *known = now_known;
        }
    }

    /// One box.
    pub fn find(&self, id: &NodeId) -> Option<&Seen> {
        self.boxes.get(id).map(|(seen, _)| seen)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Seen)> {
        self.boxes.iter().map(|(id, (seen, _))| (id, seen))
    }
}

fn count_at(boxes: &BTreeMap<NodeId, (Seen, Known)>, ip: IpAddr) -> usize {
    boxes.values().filter(|(seen, _)| seen.addresses.iter().any(|address| address.ip() == ip)).count()
}

#[cfg(test)]
mod tests {
    use kith_model::limits::Profile;
    use proptest::prelude::*;

    use super::*;

    fn id(number: u16) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    fn address(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], port))
    }

    #[test]
    fn a_flood_of_strangers_leaves_room_for_a_friend() {
        let limits = Profile::Router.limits();
        let mut roster = Roster::new(&limits);
        for number in 0..40_000u16 {
            let host = u8::try_from(number % 250).expect("small");
            roster.see(id(number), "x", address(host, 1), Known::Stranger, UnixMillis(number.into()));
        }
        assert_eq!(roster.iter().count(), limits.roster_max);
        let friend = id(50_000);
        assert_eq!(roster.see(friend, "f", address(7, 2), Known::Paired, UnixMillis(0)), Sighting::News);
        for number in 0..1000u16 {
            let host = u8::try_from(number % 250).expect("small");
            roster.see(id(number), "x", address(host, 1), Known::Stranger, UnixMillis(90_000));
        }
        assert!(roster.find(&friend).is_some());
    }

    #[test]
    fn one_address_cannot_be_many_strangers() {
        let limits = Profile::Router.limits();
        let mut roster = Roster::new(&limits);
        let kept = (0..100u16)
            .filter(|number| {
                roster.see(id(*number), "x", address(1, *number), Known::Stranger, UnixMillis(0))
                    == Sighting::News
            })
            .count();
        assert_eq!(kept, limits.roster_per_address_max);
        assert_eq!(roster.see(id(500), "f", address(1, 1), Known::Paired, UnixMillis(0)), Sighting::News);
    }

    proptest! {
        #[test]
        fn the_list_keeps_its_bounds_and_repeats_nothing(
            steps in prop::collection::vec((0u16..200, 0u8..12, 1u16..4, any::<bool>(), any::<bool>()), 0..400)
        ) {
            let limits = Profile::Router.limits();
            let mut roster = Roster::new(&limits);
            for (at, (number, host, port, paired, goes)) in steps.into_iter().enumerate() {
                let known = if paired && number < 8 { Known::Paired } else { Known::Stranger };
                if goes && at % 5 == 0 {
                    roster.forget(&id(number));
                } else {
                    roster.see(id(number), "x", address(host, port), known, UnixMillis(at as u64));
                    let again = roster.see(id(number), "x", address(host, port), known, UnixMillis(at as u64));
                    prop_assert_ne!(again, Sighting::News);
                }
                prop_assert!(roster.iter().count() <= limits.roster_max);
                for (_, seen) in roster.iter() {
                    prop_assert!((1..=NEIGHBOUR_ADDRESSES_MAX).contains(&seen.addresses.len()));
                }
            }
        }
    }
}
