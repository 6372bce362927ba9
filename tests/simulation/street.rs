//! A street of boxes: who has what, who told whom, who asks whom, and what it costs.
//!
//! Real are the shelf's policy, the filters with their salts and changes, how long these are gathered, the verdict on
//! sharing, and the plan of each download that has more than one source. Simulated are the clock, the links, the clients
//! and the order of questions (`daemon/neighbour/src/source.rs`, which speaks QUIC). Not there: the split of one origin
//! among boxes that want the same at the same moment; a second box that asks while the first one is still fetching counts
//! as a miss here.

mod search;
mod telling;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use kith_model::limits::{FIND_AT_ONCE_MAX, FIND_MORE_AFTER, STRIKES_MAX};
use kith_model::object::ObjectId;
use kith_model::range::{GROUP_BYTES, groups_of};
use kith_model::shelf::Copy;
use kith_neighbour::filter::{Heard, Told};
use kith_neighbour::gathering::{Elsewhere, News};

use self::search::Search;
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
    /// How long changes are gathered before neighbours are told; the rule of the neighbour room where not given.
    pub(crate) gather_file: Option<Duration>,
    pub(crate) gather_minor: Option<Duration>,
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
    /// Questions, the answers to them, and filters.
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
    /// Held, but not under a name that it may claim: it came from neighbours, and its site tells no digest.
    nameless: HashSet<ObjectId>,
    tell_due_ms: Option<u64>,
    told_ms: u64,
}

impl House {
    /// Whether it gives it to others.
    fn gives(&self, id: &ObjectId) -> bool {
        self.shelf.has(id) && !self.nameless.contains(id)
    }
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

/// Where an object came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    /// All of it from its origin.
    Far,
    /// Half of it or less from neighbours.
    Mixed,
    /// More than half of it from neighbours.
    Near,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrived { house: usize, ware: usize, came: Came },
    Tell { house: usize },
    Leaves { house: usize },
    Returns { house: usize },
}

/// Downloads that go alike: of so many groups, from roads of such rates, each of which lies or not.
type Alike = (u64, Vec<(u64, bool, Duration)>);

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
                nameless: HashSet::new(),
                tell_due_ms: None,
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
                Happening::Arrived { house, ware, came } => self.arrived(house, ware, came),
                // Another time is due since then.
                Happening::Tell { house } if self.houses[house].tell_due_ms != Some(at_ms) => {}
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
        let groups = groups_of(ware.length);
        let mut search = if ware.is_shared { self.search(house, ware) } else { Search::default() };
        self.ask_on(house, ware, &mut search, 1);
        let roads = self.roads(house, &search.found);
        let mut carried = self.carried(&roads, groups);
        for count in 1..FIND_AT_ONCE_MAX {
            let later = FIND_MORE_AFTER * u32::try_from(count).expect("few");
            if search.found.len() < count
                || carried.seconds < later.as_secs_f64()
                || search.waiting.is_empty()
            {
                break;
            }
            self.ask_on(house, ware, &mut search, count + 1);
            carried = self.carried(&self.roads(house, &search.found), groups);
        }
        let found = self.close(house, ware, search);
        let counted = u64::from(self.is_counted());
        let uplink_bytes = (carried.groups[0] * GROUP_BYTES).min(ware.length);
        self.report.uplink_ever_bytes += uplink_bytes;
        self.report.uplink_bytes += counted * uplink_bytes;
        if !found.is_empty() && counted > 0 {
            let alone = self.carried(&self.roads(house, &[]), groups).seconds;
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
        let came = match (is_near, carried.groups[0] < groups) {
            (true, _) => Came::Near,
            (false, true) => Came::Mixed,
            (false, false) => Came::Far,
        };
        self.later(done_ms, Happening::Arrived { house, ware: at, came });
    }

    /// A download, planned once for each size and set of roads: others like it go alike.
    fn carried(&mut self, roads: &[Road], groups: u64) -> Rc<Carried> {
        let alike = roads.iter().map(|road| (road.rate.to_bits(), road.lies, road.appears)).collect();
        let seed = self.setting.seed;
        Rc::clone(
            self.planned
                .entry((groups, alike))
                .or_insert_with(|| Rc::new(carry(roads, groups, seed ^ groups))),
        )
    }

    /// The origin, and then those who were found, with the later ones from the time on when more are looked for.
    fn roads(&self, house: usize, found: &[usize]) -> Vec<Road> {
        let mut roads = vec![Road::origin(self.setting.uplink_mb_s)];
        // More than three sources of one object are no help.
        for (index, peer) in found.iter().take(FIND_AT_ONCE_MAX).enumerate() {
            let other = &self.houses[self.houses[house].peers[*peer].house];
            let road = Road::neighbour(other.lan_mb_s.min(self.houses[house].lan_mb_s));
            let later = match self.setting.asking {
                Asking::Filters => FIND_MORE_AFTER * u32::try_from(index).expect("few"),
                Asking::Everybody | Asking::Nobody => Duration::ZERO,
            };
            let appears = road.appears + later;
            roads.push(Road { lies: other.is_liar, appears, ..road });
        }
        roads
    }

    fn arrived(&mut self, house: usize, at: usize, came: Came) {
        let ware = &self.trace.wares[at];
        let hour = self.hour();
        let mut shelf = mem::take(&mut self.houses[house].shelf);
        let clearings = shelf.clearings;
        let is_second = came == Came::Near && self.setting.copies == Copies::Counted;
        let copy = if is_second { Copy::Second } else { Copy::First };
        let changed = shelf.put(ware.id, ware.length, hour, copy, &|id| self.copies(house, id));
        let cleared = shelf.clearings - clearings;
        self.houses[house].shelf = shelf;
        self.houses[house].arriving.remove(&ware.id);
        if self.is_counted() {
            let object = ware.length + ware.length / 256 + COMMIT_BYTES + SIDECAR_BYTES;
            self.report.written_bytes += object + cleared * COMMIT_BYTES;
        }
        let is_named = ware.is_shared && (came == Came::Far || ware.is_digest_told);
        if is_named {
            self.houses[house].nameless.remove(&ware.id);
        } else {
            self.houses[house].nameless.insert(ware.id);
        }
        if changed && (is_named || cleared > 0) && self.setting.asking == Asking::Filters {
            let is_told = is_named && self.copies(house, &ware.id) > 0;
            let elsewhere = if is_told { Elsewhere::Told } else { Elsewhere::Unknown };
            let news = if is_named { News::of(ware.length, elsewhere) } else { News::Minor };
            self.gather(house, news);
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
            Asking::Everybody => self.houses[peer.house].is_up && self.houses[peer.house].gives(id),
            Asking::Nobody => false,
        };
        let peers = self.houses[house].peers.iter().filter(|peer| peer.strikes < STRIKES_MAX);
        u32::try_from(peers.filter(holds).count()).expect("few")
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
                let subjects = self.told_subjects(other);
                self.tell_one(other, back, &subjects);
            }
        }
    }
}
