//! A street of boxes: who has what, who told whom, who asks whom, and what it costs.
//!
//! Real are the shelf's policy, the filters with their salts and changes, the verdict on sharing, and the plan of each
//! download that has more than one source. Simulated are the clock, the
//! links, the clients and the order of questions (`daemon/neighbour/src/source.rs`, which speaks QUIC). Not there: the
//! split of one origin among boxes that want the same at the same moment; a second box that asks while the first one is
//! still fetching counts as a miss here.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::mem;
use std::rc::Rc;

use kith_model::limits::{FIND_AT_ONCE_MAX, STRIKES_MAX};
use kith_model::object::ObjectId;
use kith_model::range::{GROUP_BYTES, groups_of};
use kith_model::shelf::Copy;
use kith_neighbour::filter::{self, Heard, Hearing, Told};

use crate::carry::{Carried, Road, carry};
use crate::numbers::{as_f64, ratio, whole};
use crate::shelf::{Cache as _, Shelf};
use crate::trace::{Trace, Ware};

/// How a box finds out who has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// As Kith does.
    Filters,
    /// Each question goes to all: what filters are compared with.
    Everybody,
    /// There is nobody to ask.
    Nobody,
}

/// Whether the last copy is dearer than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copies {
    Counted,
    Ignored,
}

/// What the boxes and links are like.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) asking: Asking,
    pub(crate) copies: Copies,
    /// Boxes that one is connected to at most: those nearest to it on the ring.
    pub(crate) neighbours_max: usize,
    /// Seconds that changes are gathered before neighbours are told; the rule of the neighbour room when not given.
    pub(crate) gather_s: Option<f64>,
    pub(crate) shelf_bytes: u64,
    pub(crate) uplink_mb_s: f64,
    pub(crate) lan_mb_s: f64,
    /// Share of the boxes with a link of a megabyte a second and a half.
    pub(crate) slow: f64,
    /// Share of the boxes that tell of what they have not, and send wrong bytes.
    pub(crate) liars: f64,
    pub(crate) seed: u64,
}

/// What a run came to. Counts are of the second half of the time, when shelves are full, unless said otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) local_hits: u64,
    pub(crate) near_hits: u64,
    /// The same of what may be shared.
    pub(crate) shared_requests: u64,
    pub(crate) shared_hits: u64,
    pub(crate) bytes: u64,
    pub(crate) local_bytes: u64,
    pub(crate) uplink_bytes: u64,
    /// Uplink over the whole time, and bytes of all that was asked for in it, each title once.
    pub(crate) uplink_ever_bytes: u64,
    pub(crate) distinct_ever_bytes: u64,
    /// Questions, filters and the answers to them.
    pub(crate) messages: u64,
    pub(crate) questions: u64,
    pub(crate) filters: u64,
    pub(crate) filter_bytes: u64,
    pub(crate) false_hits: u64,
    pub(crate) written_bytes: u64,
    /// At the end: objects on all shelves, different ones.
    pub(crate) copies: u64,
    pub(crate) objects: u64,
    /// Bytes that each box gave its neighbours.
    pub(crate) given_bytes: Vec<u64>,
    /// Times of downloads with neighbours, each as a part of what the origin alone takes.
    pub(crate) slowdowns: Vec<f64>,
    pub(crate) strikes: u64,
}

impl Report {
    pub(crate) fn hit_ratio(&self) -> f64 {
        ratio(self.local_hits + self.near_hits, self.requests)
    }

    pub(crate) fn shared_hit_ratio(&self) -> f64 {
        ratio(self.shared_hits, self.shared_requests)
    }

    /// Share of the bytes that did not come over the uplink.
    pub(crate) fn byte_hit_ratio(&self) -> f64 {
        1.0 - ratio(self.uplink_bytes, self.bytes)
    }

    pub(crate) fn messages_a_request(&self) -> f64 {
        ratio(self.messages, self.requests)
    }

    /// Copies that came over the uplink of all that was ever wanted.
    pub(crate) fn uplink_copies(&self) -> f64 {
        ratio(self.uplink_ever_bytes, self.distinct_ever_bytes)
    }

    pub(crate) fn copies_an_object(&self) -> f64 {
        ratio(self.copies, self.objects)
    }

    /// Bytes written for each byte that a client was given.
    pub(crate) fn written(&self) -> f64 {
        ratio(self.written_bytes, self.bytes)
    }

    /// Jain's index of the bytes that the boxes gave to neighbours; their shelves are of one size. 1 is all alike.
    pub(crate) fn fairness(&self) -> f64 {
        let given = self.given_bytes.iter().map(|bytes| as_f64(*bytes));
        let (sum, squares) = given.fold((0.0, 0.0), |(sum, all), one| (sum + one, all + one * one));
        if squares > 0.0 { sum * sum / (squares * as_f64(self.given_bytes.len() as u64)) } else { 1.0 }
    }

    /// 95 of 100 downloads took at most so many times as long as from the origin alone.
    pub(crate) fn slowdown_p95(&self) -> f64 {
        let mut all = self.slowdowns.clone();
        all.sort_by(f64::total_cmp);
        all.get(all.len() * 95 / 100).copied().unwrap_or(1.0)
    }
}

/// Runs a trace.
pub(crate) fn run(trace: &Trace, setting: &Setting) -> Report {
    Street::new(trace, setting).run()
}

/// The same trace at one cache of the summed size, with all uplinks together.
pub(crate) fn run_central(trace: &Trace, setting: &Setting) -> Report {
    let houses = trace.absences.len();
    let mut central = trace.clone();
    central.requests.iter_mut().for_each(|request| request.house = 0);
    central.absences = vec![Vec::new()];
    let setting = Setting {
        asking: Asking::Nobody,
        shelf_bytes: setting.shelf_bytes * houses as u64,
        ..setting.clone()
    };
    run(&central, &setting)
}

/// Hours since 1970 at which every run begins.
const FIRST_HOUR: u32 = 490_000;
const HOUR_MS: u64 = 3_600_000;
/// What a commit of the index writes (limits, `INDEX_BATCH_MAX`), and a sidecar.
const COMMIT_BYTES: u64 = 41 * 1024;
const SIDECAR_BYTES: u64 = 4096;
/// Names that a liar tells.
const LIES: usize = 2000;

struct House {
    shelf: Shelf,
    arriving: HashSet<ObjectId>,
    peers: Vec<Peer>,
    is_up: bool,
    is_liar: bool,
    lan_mb_s: f64,
    is_tell_due: bool,
    told_ms: u64,
}

/// What a box has to do with another one.
struct Peer {
    house: usize,
    /// Where this box is among the other's peers.
    back: usize,
    told: Option<Told>,
    heard: Option<Heard>,
    heard_ms: u64,
    strikes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrived { house: usize, ware: usize, is_near: bool },
    Tell { house: usize },
    Leaves { house: usize },
    Returns { house: usize },
}

/// Downloads that go alike: of so many groups, from roads of such rates, each of which lies or not.
type Alike = (u64, Vec<(u64, bool)>);

struct Street<'a> {
    trace: &'a Trace,
    setting: &'a Setting,
    houses: Vec<House>,
    by_id: HashMap<ObjectId, usize>,
    due: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    number: u64,
    now_ms: u64,
    ever: HashSet<usize>,
    planned: HashMap<Alike, Rc<Carried>>,
    report: Report,
}

impl<'a> Street<'a> {
    fn new(trace: &'a Trace, setting: &'a Setting) -> Self {
        let count = trace.absences.len();
        let is_among = |house: usize, share: f64, of: u64| {
            // Every so-manieth box, so that a small share of a small street is not nobody.
            share > 0.0 && (house as u64 * 7 + of).is_multiple_of(whole((1.0 / share).round().max(1.0)))
        };
        let houses = (0..count)
            .map(|house| House {
                shelf: Shelf::new(setting.shelf_bytes),
                arriving: HashSet::new(),
                peers: Vec::new(),
                is_up: true,
                is_liar: is_among(house, setting.liars, 3),
                lan_mb_s: if is_among(house, setting.slow, 5) { 1.5 } else { setting.lan_mb_s },
                is_tell_due: false,
                told_ms: 0,
            })
            .collect();
        let by_id = trace.wares.iter().enumerate().map(|(at, ware)| (ware.id, at)).collect();
        let report = Report { given_bytes: vec![0; count], ..Report::default() };
        let mut street = Self {
            trace,
            setting,
            houses,
            by_id,
            due: BinaryHeap::new(),
            number: 0,
            now_ms: 0,
            ever: HashSet::new(),
            planned: HashMap::new(),
            report,
        };
        if setting.asking != Asking::Nobody {
            street.meet();
        }
        for (house, absences) in trace.absences.iter().enumerate() {
            for (from, to) in absences {
                street.later(*from, Happening::Leaves { house });
                street.later(*to, Happening::Returns { house });
            }
        }
        street
    }

    /// Connects each box with those nearest to it.
    fn meet(&mut self) {
        let count = self.houses.len();
        let reach = (self.setting.neighbours_max / 2).min(count / 2);
        for house in 0..count {
            for step in 1..=reach {
                let other = (house + step) % count;
                let known = self.houses[house].peers.iter().any(|peer| peer.house == other);
                if other == house || known {
                    continue;
                }
                let (back, here) = (self.houses[other].peers.len(), self.houses[house].peers.len());
                let peer =
                    |house, back| Peer { house, back, told: None, heard: None, heard_ms: 0, strikes: 0 };
                self.houses[house].peers.push(peer(other, back));
                self.houses[other].peers.push(peer(house, here));
            }
        }
        if self.setting.asking == Asking::Filters {
            (0..count).for_each(|house| self.tell(house));
        }
    }

    fn later(&mut self, at_ms: u64, what: Happening) {
        self.number += 1;
        self.due.push(Reverse((at_ms, self.number, what)));
    }

    fn run(mut self) -> Report {
        for request in &self.trace.requests {
            self.pass(request.at_ms);
            self.ask(request.house, request.ware);
        }
        self.pass(self.trace.end_ms);
        let mut copies: HashSet<&ObjectId> = HashSet::new();
        for house in &self.houses {
            let is_shared = |id: &&ObjectId| self.trace.wares[self.by_id[*id]].is_shared;
            self.report.copies += house.shelf.ids().filter(is_shared).count() as u64;
            copies.extend(house.shelf.ids().filter(is_shared));
        }
        self.report.objects = copies.len() as u64;
        self.report
    }

    /// Lets happen what is due until then.
    fn pass(&mut self, until_ms: u64) {
        while let Some(Reverse((at_ms, _, what))) = self.due.peek().copied()
            && at_ms <= until_ms
        {
            self.due.pop();
            self.now_ms = at_ms;
            match what {
                Happening::Arrived { house, ware, is_near } => self.arrived(house, ware, is_near),
                Happening::Tell { house } => self.tell(house),
                Happening::Leaves { house } => self.leaves(house),
                Happening::Returns { house } => self.returns(house),
            }
        }
        self.now_ms = until_ms;
    }

    fn hour(&self) -> u32 {
        FIRST_HOUR + u32::try_from(self.now_ms / HOUR_MS).expect("some years at most")
    }

    fn is_counted(&self) -> bool {
        self.now_ms >= self.trace.end_ms / 2
    }

    fn ask(&mut self, house: usize, at: usize) {
        let ware = &self.trace.wares[at];
        let hour = self.hour();
        if self.ever.insert(at) {
            self.report.distinct_ever_bytes += ware.length;
        }
        let counted = u64::from(self.is_counted());
        self.report.requests += counted;
        self.report.bytes += counted * ware.length;
        self.report.shared_requests += counted * u64::from(ware.is_shared);
        let here = &mut self.houses[house];
        if here.arriving.contains(&ware.id) || here.shelf.uses(&ware.id, hour) {
            self.report.local_hits += counted;
            self.report.local_bytes += counted * ware.length;
            self.report.shared_hits += counted * u64::from(ware.is_shared);
            return;
        }
        self.fetch(house, at, ware);
    }

    fn fetch(&mut self, house: usize, at: usize, ware: &Ware) {
        let found = if ware.is_shared { self.find(house, ware) } else { Vec::new() };
        let mut roads = vec![Road::origin(self.setting.uplink_mb_s)];
        for peer in &found {
            let other = &self.houses[self.houses[house].peers[*peer].house];
            let road = Road::neighbour(other.lan_mb_s.min(self.houses[house].lan_mb_s));
            roads.push(Road { lies: other.is_liar, ..road });
        }
        let groups = groups_of(ware.length);
        let carried = self.carried(&roads, groups);
        let counted = u64::from(self.is_counted());
        let uplink_bytes = (carried.groups[0] * GROUP_BYTES).min(ware.length);
        self.report.uplink_ever_bytes += uplink_bytes;
        self.report.uplink_bytes += counted * uplink_bytes;
        if !found.is_empty() && counted > 0 {
            let alone = self.carried(&roads[..1], groups).seconds;
            self.report.slowdowns.push(carried.seconds / alone);
        }
        for (index, peer) in found.iter().enumerate() {
            let peer = &mut self.houses[house].peers[*peer];
            if carried.liars[index + 1] {
                peer.strikes += 1;
                self.report.strikes += 1;
            } else {
                self.report.given_bytes[peer.house] += counted * carried.groups[index + 1] * GROUP_BYTES;
            }
        }
        let is_near = carried.groups[0] * 2 < groups;
        self.report.near_hits += counted * u64::from(is_near);
        self.report.shared_hits += counted * u64::from(is_near && ware.is_shared);
        self.houses[house].arriving.insert(ware.id);
        let done_ms = self.now_ms + whole(carried.seconds * 1000.0) + 1;
        self.later(done_ms, Happening::Arrived { house, ware: at, is_near });
    }

    /// A download, planned once for each size and set of roads: others like it go alike.
    fn carried(&mut self, roads: &[Road], groups: u64) -> Rc<Carried> {
        let alike = roads.iter().map(|road| (road.rate.to_bits(), road.lies)).collect();
        let seed = self.setting.seed;
        Rc::clone(
            self.planned
                .entry((groups, alike))
                .or_insert_with(|| Rc::new(carry(roads, groups, seed ^ groups))),
        )
    }

    /// Who has it, by the rules of the room: those whose filter hits, three at a time, until one of ours has it.
    fn find(&mut self, house: usize, ware: &Ware) -> Vec<usize> {
        let here = &self.houses[house];
        let is_there = |peer: &Peer| self.houses[peer.house].is_up && peer.strikes < STRIKES_MAX;
        let all = here.peers.iter().enumerate().filter(|(_, peer)| is_there(peer));
        let asked: Vec<usize> = match self.setting.asking {
            Asking::Nobody => Vec::new(),
            Asking::Everybody => all.map(|(at, _)| at).collect(),
            Asking::Filters => {
                let may_hold =
                    |peer: &Peer| peer.heard.as_ref().is_none_or(|heard| heard.may_hold(&[ware.subject]));
                all.filter(|(_, peer)| may_hold(peer)).map(|(at, _)| at).collect()
            }
        };
        let at_once = if self.setting.asking == Asking::Everybody { usize::MAX } else { FIND_AT_ONCE_MAX };
        let mut found = Vec::new();
        let (mut questions, mut false_hits) = (0, 0);
        for wave in asked.chunks(at_once.min(asked.len().max(1))) {
            for at in wave {
                let other = &self.houses[here.peers[*at].house];
                questions += 1;
                if other.is_liar || other.shelf.has(&ware.id) {
                    found.push(*at);
                } else {
                    false_hits += 1;
                }
            }
            if !found.is_empty() {
                break;
            }
        }
        // A neighbour reads what it gives: that is a use too.
        let hour = self.hour();
        let givers: Vec<usize> = found.iter().map(|at| self.houses[house].peers[*at].house).collect();
        for giver in givers {
            self.houses[giver].shelf.uses(&ware.id, hour);
        }
        if self.is_counted() {
            self.report.questions += questions;
            self.report.messages += 2 * questions;
            self.report.false_hits += false_hits;
        }
        // More than three sources of one object are no help.
        found.truncate(FIND_AT_ONCE_MAX);
        found
    }

    fn arrived(&mut self, house: usize, at: usize, is_near: bool) {
        let ware = &self.trace.wares[at];
        let hour = self.hour();
        let mut shelf = mem::take(&mut self.houses[house].shelf);
        let clearings = shelf.clearings;
        let is_second = is_near && self.setting.copies == Copies::Counted;
        let copy = if is_second { Copy::Second } else { Copy::First };
        let changed = shelf.put(ware.id, ware.length, hour, copy, &|id| self.copies(house, id));
        let cleared = shelf.clearings - clearings;
        self.houses[house].shelf = shelf;
        self.houses[house].arriving.remove(&ware.id);
        if self.is_counted() {
            let object = ware.length + ware.length / 256 + COMMIT_BYTES + SIDECAR_BYTES;
            self.report.written_bytes += object + cleared * COMMIT_BYTES;
        }
        let is_news = changed && (ware.is_shared || cleared > 0);
        if is_news && self.setting.asking == Asking::Filters && !self.houses[house].is_tell_due {
            self.houses[house].is_tell_due = true;
            let neighbours = self.houses[house].peers.len();
            let gather = self
                .setting
                .gather_s
                .map_or_else(|| filter::gather(neighbours), std::time::Duration::from_secs_f64);
            let gather_ms = u64::try_from(gather.as_millis()).expect("hours at most");
            let pause_ms = self.houses[house].told_ms + 10_000;
            self.later(pause_ms.max(self.now_ms + gather_ms), Happening::Tell { house });
        }
    }

    /// How many others hold it: as the neighbour room counts (`daemon/neighbour/src/copies.rs`), all boxes of one owner.
    fn copies(&self, house: usize, id: &ObjectId) -> u32 {
        let ware = &self.trace.wares[self.by_id[id]];
        if self.setting.copies == Copies::Ignored || !ware.is_shared {
            return 0;
        }
        let holds = |peer: &&Peer| match self.setting.asking {
            Asking::Filters => peer.heard.as_ref().is_some_and(|heard| heard.may_hold(&[ware.subject])),
            Asking::Everybody => self.houses[peer.house].is_up && self.houses[peer.house].shelf.has(id),
            Asking::Nobody => false,
        };
        let peers = self.houses[house].peers.iter().filter(|peer| peer.strikes < STRIKES_MAX);
        u32::try_from(peers.filter(holds).count()).expect("few")
    }

    /// Tells all neighbours what has changed.
    fn tell(&mut self, house: usize) {
        let here = &mut self.houses[house];
        (here.is_tell_due, here.told_ms) = (false, self.now_ms);
        if !here.is_up {
            return;
        }
        let wares = &self.trace.wares;
        let subjects: Vec<_> = if here.is_liar {
            wares.iter().filter(|ware| ware.is_shared).take(LIES).map(|ware| ware.subject).collect()
        } else {
            let held = here.shelf.ids().map(|id| &wares[self.by_id[id]]);
            held.filter(|ware| ware.is_shared).map(|ware| ware.subject).collect()
        };
        for at in 0..self.houses[house].peers.len() {
            let other = self.houses[house].peers[at].house;
            if self.houses[other].is_up {
                self.tell_one(house, at, &subjects);
            }
        }
    }

    fn tell_one(&mut self, house: usize, at: usize, subjects: &[kith_neighbour::claim::Subject]) {
        let (other, back) = (self.houses[house].peers[at].house, self.houses[house].peers[at].back);
        let secret = pair_secret(house.min(other), house.max(other));
        let before = self.houses[house].peers[at].told.take();
        let changed = before.and_then(|mut told| {
            let change = told.change(subjects.iter()).ok()?;
            Some((told, change))
        });
        let (told, message) = changed.unwrap_or_else(|| {
            let mut salt = [0; 16];
            salt[..8].copy_from_slice(&self.now_ms.to_be_bytes());
            salt[8..].copy_from_slice(&(house as u64).to_be_bytes());
            let (told, filter, bytes) = Told::whole(&secret, salt, subjects.iter());
            (told, Some((filter, bytes)))
        });
        self.houses[house].peers[at].told = Some(told);
        let Some((filter, bytes)) = message else { return };
        let ear = &mut self.houses[other].peers[back];
        let heard = Heard::hear(ear.heard.take(), &secret, &filter, &bytes).expect("an honest code");
        let Hearing::Heard(heard) = heard else { panic!("changes follow each other") };
        ear.heard = Some(heard);
        ear.heard_ms = self.now_ms;
        if self.is_counted() {
            self.report.filters += 1;
            self.report.messages += 2;
            self.report.filter_bytes += filter::wire_bytes(&filter);
        }
    }

    fn leaves(&mut self, house: usize) {
        self.houses[house].is_up = false;
        for at in 0..self.houses[house].peers.len() {
            let (other, back) = (self.houses[house].peers[at].house, self.houses[house].peers[at].back);
            for peer in [(house, at), (other, back)] {
                let peer = &mut self.houses[peer.0].peers[peer.1];
                (peer.told, peer.heard) = (None, None);
            }
        }
    }

    /// A box that comes back is told everything, and tells everything.
    fn returns(&mut self, house: usize) {
        self.houses[house].is_up = true;
        if self.setting.asking != Asking::Filters {
            return;
        }
        self.tell(house);
        for at in 0..self.houses[house].peers.len() {
            let (other, back) = (self.houses[house].peers[at].house, self.houses[house].peers[at].back);
            if self.houses[other].is_up {
                let wares = &self.trace.wares;
                let held = self.houses[other].shelf.ids().map(|id| &wares[self.by_id[id]]);
                let subjects: Vec<_> = held.filter(|ware| ware.is_shared).map(|ware| ware.subject).collect();
                self.tell_one(other, back, &subjects);
            }
        }
    }
}

fn pair_secret(low: usize, high: usize) -> [u8; 32] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&low.to_be_bytes());
    bytes[8..].copy_from_slice(&high.to_be_bytes());
    *ObjectId::of(&bytes).as_bytes()
}
