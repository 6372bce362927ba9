//! The policy over an order in memory: tables for what it says, and chance for what always holds.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1024 * 1024;
const NOBODY: &dyn Fn(&ObjectId) -> u32 = &|_| 0;

fn id(number: u32) -> ObjectId {
    ObjectId::of(&number.to_be_bytes())
}

/// An order in memory, and what may not go.
#[derive(Default)]
struct Standing {
    held: BTreeMap<ObjectId, (u64, Stay)>,
    fast: BTreeSet<ObjectId>,
}

impl Standing {
    fn bytes(&self) -> u64 {
        self.held.values().map(|(length, _)| length).sum()
    }
}

impl Order for Standing {
    type Error = Infallible;

    fn lowest(&mut self, count_max: usize) -> Result<Vec<Candidate>, Infallible> {
        let loose = self.held.iter().filter(|(id, _)| !self.fast.contains(id));
        let mut all: Vec<_> =
            loose.map(|(id, (length, stay))| Candidate { id: *id, length: *length, stay: *stay }).collect();
        all.sort_by_key(|candidate| (candidate.stay.worth, candidate.id));
        all.truncate(count_max);
        Ok(all)
    }

    fn put(&mut self, id: &ObjectId, stay: Stay) -> Result<(), Infallible> {
        self.held.get_mut(id).expect("it is there").1 = stay;
        Ok(())
    }

    fn remove(&mut self, id: &ObjectId) -> Result<u64, Infallible> {
        assert!(!self.fast.contains(id), "it may not go");
        Ok(self.held.remove(id).expect("it is there").0)
    }
}

/// A shelf of so many MiB, always full to the last byte.
struct Shelf {
    policy: Policy,
    order: Standing,
    bytes_max: u64,
    hour: u32,
    /// Which copy all that arrives is.
    copy: Copy,
}

impl Shelf {
    fn of(mebibytes: u64) -> Self {
        let (policy, order) = (Policy::default(), Standing::default());
        Self { policy, order, bytes_max: mebibytes * MIB, hour: 490_000, copy: Copy::First }
    }

    fn put_with(&mut self, number: u32, length: u64, copies: &dyn Fn(&ObjectId) -> u32) {
        let taken = (self.order.bytes() + length).saturating_sub(self.bytes_max);
        let Ok(_) = self.policy.make_room(&mut self.order, taken, self.hour, copies);
        let stay = self.policy.arrived(&id(number), length, self.copy, self.hour);
        self.order.held.insert(id(number), (length, stay));
    }

    fn put(&mut self, number: u32) {
        self.put_with(number, MIB, NOBODY);
    }

    fn uses(&mut self, number: u32) {
        let (length, stay) = self.order.held[&id(number)];
        let stay = self.policy.used(stay, length, self.hour, 1);
        let Ok(()) = self.order.put(&id(number), stay);
    }

    fn has(&self, number: u32) -> bool {
        self.order.held.contains_key(&id(number))
    }
}

#[test]
fn what_was_used_least_lately_goes_first() {
    let mut shelf = Shelf::of(4);
    for number in 0..4 {
        shelf.put(number);
        shelf.hour += 1;
    }
    shelf.uses(0);
    (4..6).for_each(|number| shelf.put(number));
    let held: Vec<bool> = (0..6).map(|number| shelf.has(number)).collect();
    assert_eq!(held, [true, false, false, true, true, true]);
}

#[test]
fn a_scan_passes_below_what_is_used_again() {
    let mut shelf = Shelf::of(10);
    shelf.put(0);
    shelf.uses(0);
    (1..30).for_each(|number| shelf.put(number));
    assert!(shelf.has(0), "two turns of the shelf");
    (30..100).for_each(|number| shelf.put(number));
    assert!(!shelf.has(0), "but not for ever");
}

#[test]
fn what_comes_back_soon_counts_as_used_before() {
    let mut shelf = Shelf::of(4);
    (0..8).for_each(|number| shelf.put(number));
    assert!(!shelf.has(0));
    shelf.put(0);
    assert_eq!(shelf.order.held[&id(0)].1.uses, 2);
    (20..23).for_each(|number| shelf.put(number));
    assert!(shelf.has(0) && !shelf.has(7), "it has moved ahead of what is younger");
    // Weeks later nobody remembers.
    shelf.hour += 2 * FORGET_AFTER_HOURS;
    shelf.put(1);
    assert_eq!(shelf.order.held[&id(1)].1.uses, 1);
}

#[test]
fn the_last_copy_is_dearer_than_the_fifth() {
    let mut shelf = Shelf::of(10);
    shelf.copy = Copy::Second;
    let elsewhere = |other: &ObjectId| if (0..5).any(|number| id(number) == *other) { 0 } else { 4 };
    (0..10).for_each(|number| shelf.put_with(number, MIB, &elsewhere));
    shelf.hour += 1;
    (10..15).for_each(|number| shelf.put_with(number, MIB, &elsewhere));
    assert!((0..5).all(|number| shelf.has(number)), "the older ones, which nobody else has");
    assert!((5..10).all(|number| !shelf.has(number)));
}

/// A filter that hits by chance, or that of a liar, costs no first copy.
#[test]
fn a_first_copy_asks_nobody_and_outstays_second_ones() {
    let mut shelf = Shelf::of(4);
    (0..8).for_each(|number| shelf.put_with(number, MIB, &|_| panic!("nobody is asked")));
    let mut shelf = Shelf::of(4);
    (0..3).for_each(|number| shelf.put(number));
    shelf.copy = Copy::Second;
    (3..8).for_each(|number| shelf.put_with(number, MIB, &|_| 9));
    assert!((0..3).all(|number| shelf.has(number)) && shelf.has(7));
}

/// From then on it is a first one.
#[test]
fn a_copy_that_is_left_alone_has_its_weight() {
    let mut shelf = Shelf::of(4);
    shelf.copy = Copy::Second;
    (0..4).for_each(|number| shelf.put(number));
    shelf.put_with(4, 2 * MIB, &|other| u32::from(*other == id(1)));
    assert!(!shelf.has(1));
    let alone: Vec<Stay> =
        (0..4).filter_map(|number| shelf.order.held.get(&id(number))).map(|(_, stay)| *stay).collect();
    assert_eq!(alone.len(), 2);
    assert!(alone.iter().all(|stay| stay.copy == Copy::First));
}

#[test]
fn second_copies_go_in_the_order_of_their_last_use() {
    let mut shelf = Shelf::of(4);
    shelf.copy = Copy::Second;
    let copies = |_: &ObjectId| 1;
    for number in 0..4 {
        shelf.put_with(number, MIB, &copies);
        shelf.hour += 1;
    }
    shelf.uses(0);
    shelf.hour += 1;
    (4..6).for_each(|number| shelf.put_with(number, MIB, &copies));
    let held: Vec<bool> = (0..6).map(|number| shelf.has(number)).collect();
    assert_eq!(held, [true, false, false, true, true, true]);
}

#[test]
fn small_objects_weigh_more_a_byte_within_bounds() {
    assert_eq!(weight(1, 0), weight(1, 1));
    assert_eq!(weight(1, 1), USE_HOURS * 8);
    assert_eq!(weight(1, MISS_BYTES), USE_HOURS * 2);
    assert_eq!(weight(1, u64::MAX), USE_HOURS);
    assert_eq!(weight(u32::MAX, 1), weight(USES_COUNTED_MAX, 1));
}

/// The order of an older program, whose numbers are hours within a week ahead: these go first, in their order.
#[test]
fn what_an_older_program_left_goes_first() {
    let mut shelf = Shelf::of(6);
    for number in 0..4 {
        let worth = shelf.hour - 100 + number;
        let stay = Stay { worth, last_hour: worth, uses: 1, copy: Copy::Second };
        shelf.order.held.insert(id(number), (MIB, stay));
    }
    (4..8).for_each(|number| shelf.put(number));
    let held: Vec<bool> = (0..8).map(|number| shelf.has(number)).collect();
    assert_eq!(held, [false, false, true, true, true, true, true, true]);
}

#[test]
fn no_number_overflows() {
    let stay = Stay { worth: u32::MAX, last_hour: 0, uses: u32::MAX, copy: Copy::First };
    let policy = Policy::new(u32::MAX);
    assert_eq!(policy.used(stay, 1, u32::MAX, u32::MAX).worth, u32::MAX);
    assert_eq!(stay.left_alone(1).worth, u32::MAX);
    assert!(policy.used(stay, 1, 0, u32::MAX).uses <= USES_MAX);
}

#[test]
fn ghosts_are_bounded() {
    let mut policy = Policy::default();
    let stay = Policy::found(MIB, 490_000);
    for number in 0..u32::try_from(2 * GHOSTS_MAX).expect("small") {
        policy.gone(id(number), stay, 490_000);
    }
    assert_eq!(policy.ghosts.latest.len(), GHOSTS_MAX);
    assert!(policy.ghosts.take(&id(0)).is_none(), "the oldest went");
}

/// What may happen to a shelf.
#[derive(Clone, Debug)]
enum Event {
    Put { number: u32, length: u64 },
    Use { number: u32 },
    Fasten { number: u32 },
    Release { number: u32 },
    Wait { hours: u32 },
}

fn event() -> impl Strategy<Value = Event> {
    let number = 0u32..40;
    prop_oneof![
        4 => (number.clone(), 0..3 * MIB).prop_map(|(number, length)| Event::Put { number, length }),
        4 => number.clone().prop_map(|number| Event::Use { number }),
        1 => number.clone().prop_map(|number| Event::Fasten { number }),
        1 => number.prop_map(|number| Event::Release { number }),
        1 => (0u32..400).prop_map(|hours| Event::Wait { hours }),
    ]
}

proptest! {
    /// [`Standing::remove`] asserts that nothing fast ever goes.
    #[test]
    fn what_is_pinned_or_read_stays_and_the_mark_is_kept_while_anything_may_go(
        events in prop::collection::vec(event(), 1..200),
        told in any::<u8>(),
    ) {
        let mut shelf = Shelf::of(12);
        let copies = |other: &ObjectId| u32::from(other.as_bytes()[0] & told & 3);
        for event in events {
            match event {
                Event::Put { number, length } if !shelf.has(number) => {
                    shelf.copy = if number % 2 == 0 { Copy::First } else { Copy::Second };
                    shelf.put_with(number, length, &copies);
                    let fast = shelf.order.fast.iter().filter_map(|id| shelf.order.held.get(id));
                    let fast: u64 = fast.map(|(length, _)| length).sum();
                    let bytes = shelf.order.bytes();
                    prop_assert!(bytes <= shelf.bytes_max || bytes == fast + length, "{bytes} with {fast} fast");
                }
                Event::Use { number } if shelf.has(number) => shelf.uses(number),
                Event::Fasten { number } if shelf.has(number) => {
                    shelf.order.fast.insert(id(number));
                }
                Event::Release { number } => {
                    shelf.order.fast.remove(&id(number));
                }
                Event::Wait { hours } => shelf.hour += hours,
                _ => {}
            }
        }
    }

    /// No more goes than has to: without the last one that went there would have been too little room.
    #[test]
    fn no_more_goes_than_has_to(lengths in prop::collection::vec(1..3 * MIB, 1..60), goal in 0..20 * MIB) {
        let mut shelf = Shelf::of(1000);
        for (number, length) in (0..).zip(&lengths) {
            shelf.put_with(number, *length, NOBODY);
        }
        let before = shelf.order.bytes();
        let Ok((count, freed)) = shelf.policy.make_room(&mut shelf.order, goal, shelf.hour, NOBODY);
        prop_assert_eq!(before - freed, shelf.order.bytes());
        prop_assert_eq!(lengths.len() as u64 - count, shelf.order.held.len() as u64);
        prop_assert!(freed >= goal.min(before));
        prop_assert!(freed < goal + 3 * MIB);
    }
}
