//! Boxes that discovery has seen: a bounded list that a flood of names can neither grow nor empty of friends.
//!
//! Pure. What stands here is a hint; only TLS proves who is where.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use kith_model::limits::{Limits, NEIGHBOUR_ADDRESSES_MAX};
use kith_model::time::UnixMillis;

use crate::identity::NodeId;

/// Announcements kept of one box: its own, and what is left of a name that it had before.
const ANNOUNCEMENTS_MAX: usize = 4;

/// How long a stranger has to be on the list before newer ones go first: a flood's names don't last.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// A box that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The name it announces, cleaned.
    pub name: String,
    /// Where it says that it is, the newest announcement first. Never empty.
    pub addresses: Vec<SocketAddr>,
    /// When it was seen last.
    pub seen_at: UnixMillis,
}

/// What was heard of a box: all of one announcement as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Announced<'a> {
    /// The announcement's own name in DNS; two of the same name are never valid at once.
    pub full_name: &'a str,
    /// The box's name, cleaned.
    pub name: &'a str,
    /// Where it can be reached from here.
    pub addresses: &'a [SocketAddr],
}

/// Whether a sighting changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// A new box, or a known one elsewhere.
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

/// One box with what it has announced.
#[derive(Debug)]
struct Entry {
    id: NodeId,
    seen: Seen,
    known: Known,
    /// Full names and their addresses, the newest first.
    announcements: Vec<(String, Vec<SocketAddr>)>,
    first_seen_at: UnixMillis,
    /// In which run of discovery it was heard last.
    run: u32,
}

impl Entry {
    fn set(&mut self, full_name: &str, addresses: Vec<SocketAddr>) {
        self.announcements.retain(|(known, _)| known != full_name);
        if !addresses.is_empty() {
            self.announcements.insert(0, (full_name.to_owned(), addresses));
            self.announcements.truncate(ANNOUNCEMENTS_MAX);
        }
        let mut all: Vec<SocketAddr> = Vec::new();
        for address in self.announcements.iter().flat_map(|(_, addresses)| addresses) {
            if !all.contains(address) {
                all.push(*address);
            }
        }
        all.truncate(NEIGHBOUR_ADDRESSES_MAX);
        self.seen.addresses = all;
    }

    fn is_at(&self, ip: IpAddr) -> bool {
        self.seen.addresses.iter().any(|address| address.ip() == ip)
    }
}

/// The list.
#[derive(Debug)]
pub struct Roster {
    /// At most a few dozen: looked through, not indexed.
    boxes: Vec<Entry>,
    boxes_max: usize,
    per_address_max: usize,
    run: u32,
    overflowed: bool,
}

impl Roster {
    /// Nobody was seen yet.
    pub fn new(limits: &Limits) -> Self {
        Self {
            boxes: Vec::new(),
            boxes_max: limits.roster_max,
            per_address_max: limits.roster_per_address_max,
            run: 0,
            overflowed: false,
        }
    }

    /// Notes what `id` announces. Addresses that it announced before under the same name and does not any more are
    /// forgotten. When the list is full a stranger goes: one that this run of discovery has not heard, else one that
    /// came just now, else the one seen longest ago.
    pub fn see(&mut self, id: NodeId, heard: Announced<'_>, known: Known, now: UnixMillis) -> Sighting {
        let addresses = self.with_room(&id, heard.addresses, known);
        // The name may have been another box's before.
        let mut was_elsewhere = false;
        for other in self.boxes.iter_mut().filter(|entry| entry.id != id) {
            was_elsewhere |= other.announcements.iter().any(|(known, _)| known == heard.full_name);
            other.set(heard.full_name, Vec::new());
        }
        let changed = self.note_announced(id, heard, addresses, known, now);
        let before = self.boxes.len();
        self.boxes.retain(|entry| !entry.seen.addresses.is_empty());
        match changed {
            Sighting::Known if was_elsewhere || self.boxes.len() < before => Sighting::News,
            changed => changed,
        }
    }

    fn note_announced(
        &mut self,
        id: NodeId,
        heard: Announced<'_>,
        addresses: Vec<SocketAddr>,
        known: Known,
        now: UnixMillis,
    ) -> Sighting {
        let run = self.run;
        if let Some(entry) = self.boxes.iter_mut().find(|entry| entry.id == id) {
            (entry.known, entry.run, entry.seen.seen_at) = (known, run, now);
            heard.name.clone_into(&mut entry.seen.name);
            let before = entry.seen.addresses.clone();
            entry.set(heard.full_name, addresses);
            let is_same = entry.seen.addresses.len() == before.len()
                && entry.seen.addresses.iter().all(|address| before.contains(address));
            return if is_same { Sighting::Known } else { Sighting::News };
        }
        if addresses.is_empty() || (self.boxes.len() >= self.boxes_max && !self.drop_a_stranger(now)) {
            self.overflowed |= !heard.addresses.is_empty();
            return Sighting::Refused;
        }
        let seen = Seen { name: heard.name.to_owned(), addresses: Vec::new(), seen_at: now };
        let mut entry = Entry { id, seen, known, announcements: Vec::new(), first_seen_at: now, run };
        entry.set(heard.full_name, addresses);
        self.boxes.push(entry);
        Sighting::News
    }

    /// Those of the addresses that are not taken by enough others, without repeats.
    fn with_room(&self, id: &NodeId, addresses: &[SocketAddr], known: Known) -> Vec<SocketAddr> {
        let is_crowded = |ip| {
            let others = self.boxes.iter().filter(|entry| entry.id != *id && entry.is_at(ip));
            known == Known::Stranger && others.count() >= self.per_address_max
        };
        let mut kept: Vec<SocketAddr> = Vec::new();
        for address in addresses.iter().take(4 * NEIGHBOUR_ADDRESSES_MAX) {
            if !kept.contains(address) && !is_crowded(address.ip()) {
                kept.push(*address);
            }
        }
        kept.truncate(NEIGHBOUR_ADDRESSES_MAX);
        kept
    }

    fn drop_a_stranger(&mut self, now: UnixMillis) -> bool {
        self.overflowed = true;
        let settled_ms = u64::try_from(SETTLED_AFTER.as_millis()).unwrap_or(u64::MAX);
        let is_settled = |entry: &Entry| now.0.saturating_sub(entry.first_seen_at.0) >= settled_ms;
        let strangers = self.boxes.iter().enumerate().filter(|(_, entry)| entry.known == Known::Stranger);
        let worth = |entry: &Entry| (entry.run == self.run, is_settled(entry), entry.seen.seen_at);
        let least = strangers.min_by_key(|(_, entry)| worth(entry)).map(|(at, _)| at);
        least.is_some_and(|at| {
            self.boxes.swap_remove(at);
            true
        })
    }

    /// Notes that an announcement was withdrawn, or was not heard for long. Whether that changed anything.
    pub fn forget(&mut self, full_name: &str) -> bool {
        let mut is_news = false;
        for entry in &mut self.boxes {
            if entry.announcements.iter().any(|(known, _)| known == full_name) {
                entry.set(full_name, Vec::new());
                is_news = true;
            }
        }
        self.boxes.retain(|entry| !entry.seen.addresses.is_empty());
        is_news
    }

    /// Notes that everybody is asked anew: from now on, who answers goes before who did earlier.
    pub fn begin_anew(&mut self) {
        self.run = self.run.wrapping_add(1);
        self.overflowed = false;
    }

    /// Forgets who has not answered since everybody was asked anew. Whether there was anybody.
    pub fn sweep(&mut self) -> bool {
        let before = self.boxes.len();
        self.boxes.retain(|entry| entry.run == self.run);
        self.boxes.len() < before
    }

    /// Whether somebody found no room, or took another's, since everybody was asked anew.
    pub fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Notes who is paired.
    pub fn note(&mut self, id: &NodeId, now_known: Known) {
        if let Some(entry) = self.boxes.iter_mut().find(|entry| entry.id == *id) {
            entry.known = now_known;
        }
    }

    /// One box.
    pub fn find(&self, id: &NodeId) -> Option<&Seen> {
        self.boxes.iter().find(|entry| entry.id == *id).map(|entry| &entry.seen)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Seen)> {
        self.boxes.iter().map(|entry| (&entry.id, &entry.seen))
    }
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

    fn see(roster: &mut Roster, number: u16, addresses: &[SocketAddr], known: Known, now: u64) -> Sighting {
        let full_name = number.to_string();
        let heard = Announced { full_name: &full_name, name: "x", addresses };
        roster.see(id(number), heard, known, UnixMillis(now))
    }

    /// One name each from one of 250 addresses.
    fn flood(roster: &mut Roster, numbers: std::ops::Range<u16>, now: u64) {
        for number in numbers {
            let at = address(u8::try_from(number % 250).expect("small"), 1);
            see(roster, number, &[at], Known::Stranger, now);
        }
    }

    #[test]
    fn a_flood_of_strangers_leaves_room_for_a_friend() {
        let limits = Profile::Router.limits();
        let mut roster = Roster::new(&limits);
        flood(&mut roster, 0..40_000, 0);
        assert_eq!(roster.iter().count(), limits.roster_max);
        assert!(roster.has_overflowed());
        assert_eq!(see(&mut roster, 50_000, &[address(7, 2)], Known::Paired, 0), Sighting::News);
        flood(&mut roster, 0..1000, 90_000);
        assert!(roster.find(&id(50_000)).is_some());
    }

    #[test]
    fn who_was_there_before_a_flood_is_there_after_it() {
        let mut roster = Roster::new(&Profile::Router.limits());
        see(&mut roster, 50_000, &[address(7, 2)], Known::Stranger, 0);
        flood(&mut roster, 0..40_000, 20_000);
        assert!(roster.find(&id(50_000)).is_some());
    }

    #[test]
    fn who_answers_after_a_flood_takes_the_place_of_who_does_not() {
        let mut roster = Roster::new(&Profile::Router.limits());
        flood(&mut roster, 0..1000, 0);
        roster.begin_anew();
        assert!(!roster.has_overflowed());
        // What is left of the flood has settled by now.
        assert_eq!(see(&mut roster, 50_000, &[address(7, 2)], Known::Stranger, 60_000), Sighting::News);
        assert!(roster.sweep());
        let left: Vec<NodeId> = roster.iter().map(|(id, _)| *id).collect();
        assert_eq!(left, [id(50_000)]);
        assert!(!roster.sweep());
    }

    #[test]
    fn one_address_cannot_be_many_strangers() {
        let limits = Profile::Router.limits();
        let mut roster = Roster::new(&limits);
        let kept = (0..100u16)
            .filter(|number| {
                see(&mut roster, *number, &[address(1, *number)], Known::Stranger, 0) == Sighting::News
            })
            .count();
        assert_eq!(kept, limits.roster_per_address_max);
        assert_eq!(see(&mut roster, 500, &[address(1, 1)], Known::Paired, 0), Sighting::News);
    }

    #[test]
    fn a_box_that_moves_is_no_more_where_it_was() {
        let mut roster = Roster::new(&Profile::Router.limits());
        see(&mut roster, 1, &[address(1, 1), address(2, 1)], Known::Stranger, 0);
        assert_eq!(see(&mut roster, 1, &[address(2, 1), address(1, 1)], Known::Stranger, 1), Sighting::Known);
        assert_eq!(see(&mut roster, 1, &[address(3, 1)], Known::Stranger, 2), Sighting::News);
        assert_eq!(roster.find(&id(1)).map(|seen| seen.addresses.clone()), Some(vec![address(3, 1)]));
        assert_eq!(see(&mut roster, 1, &[], Known::Stranger, 3), Sighting::News);
        assert!(roster.find(&id(1)).is_none());
    }

    /// Whoever announces under somebody's id can only add a hint to it.
    #[test]
    fn an_announcement_takes_nothing_from_another_one_of_the_same_id() {
        let mut roster = Roster::new(&Profile::Router.limits());
        let mut say = |full_name, addresses: &[SocketAddr]| {
            let heard = Announced { full_name, name: "x", addresses };
            roster.see(id(1), heard, Known::Paired, UnixMillis(0))
        };
        say("den", &[address(1, 1)]);
        say("liar", &[address(2, 1)]);
        say("liar", &[address(3, 1)]);
        let known = || vec![address(3, 1), address(1, 1)];
        assert_eq!(roster.find(&id(1)).map(|seen| seen.addresses.clone()), Some(known()));
        assert!(roster.forget("liar") && !roster.forget("liar"));
        assert_eq!(roster.find(&id(1)).map(|seen| seen.addresses.clone()), Some(vec![address(1, 1)]));
        assert!(roster.forget("den") && roster.find(&id(1)).is_none());
    }

    #[test]
    fn a_name_that_changes_hands_stands_for_one_box() {
        let mut roster = Roster::new(&Profile::Router.limits());
        for (number, host) in [(1, 1), (2, 2)] {
            let heard = Announced { full_name: "den", name: "den", addresses: &[address(host, 1)] };
            assert_eq!(roster.see(id(number), heard, Known::Stranger, UnixMillis(0)), Sighting::News);
        }
        let left: Vec<NodeId> = roster.iter().map(|(id, _)| *id).collect();
        assert_eq!(left, [id(2)]);
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
                let now = at as u64 * 1000;
                if goes && at % 5 == 0 {
                    roster.forget(&number.to_string());
                } else {
                    let addresses = [address(host, port), address(host / 2, port), address(host, port)];
                    // A box that had to go for it may have stood at one of its addresses.
                    see(&mut roster, number, &addresses, known, now);
                    see(&mut roster, number, &addresses, known, now);
                    let again = see(&mut roster, number, &addresses, known, now);
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
