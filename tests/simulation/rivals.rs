//! Other rules of eviction, to choose by: each as its paper has it, made to count bytes.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use kith_model::object::ObjectId;

use crate::shelf::Cache;

/// What was used least lately goes.
#[derive(Default)]
pub(crate) struct Lru {
    bytes_max: u64,
    bytes: u64,
    turn: u64,
    order: BTreeSet<(u64, ObjectId)>,
    held: HashMap<ObjectId, (u64, u64)>,
}

impl Lru {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    fn touch(&mut self, id: ObjectId, length: u64) {
        self.turn += 1;
        if let Some((before, _)) = self.held.insert(id, (self.turn, length)) {
            self.order.remove(&(before, id));
        } else {
            self.bytes += length;
        }
        self.order.insert((self.turn, id));
    }

    fn lowest(&self) -> Option<(ObjectId, u64)> {
        self.order.first().map(|(_, id)| (*id, self.held[id].1))
    }

    fn drop_lowest(&mut self) -> Option<(ObjectId, u64)> {
        let (_, id) = self.order.pop_first()?;
        let (_, length) = self.held.remove(&id)?;
        self.bytes -= length;
        Some((id, length))
    }
}

impl Cache for Lru {
    fn uses(&mut self, id: &ObjectId, _hour: u32) -> bool {
        let Some((_, length)) = self.held.get(id).copied() else { return false };
        self.touch(*id, length);
        true
    }

    fn keeps(&mut self, id: ObjectId, length: u64, _hour: u32) {
        if length <= self.bytes_max / 4 {
            self.touch(id, length);
            while self.bytes > self.bytes_max {
                self.drop_lowest();
            }
        }
    }
}

/// What the store did before: the hour of the last use, and a day more for each doubling of the uses.
#[derive(Default)]
pub(crate) struct Hours {
    bytes_max: u64,
    bytes: u64,
    order: BTreeSet<(u32, ObjectId)>,
    held: HashMap<ObjectId, (u32, u32, u64)>,
}

impl Hours {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    fn put(&mut self, id: ObjectId, uses: u32, length: u64, hour: u32) {
        let worth = hour + (uses.max(1).ilog2() * 24).min(168);
        if let Some((before, ..)) = self.held.insert(id, (worth, uses, length)) {
            self.order.remove(&(before, id));
        } else {
            self.bytes += length;
        }
        self.order.insert((worth, id));
    }
}

impl Cache for Hours {
    fn uses(&mut self, id: &ObjectId, hour: u32) -> bool {
        let Some((_, uses, length)) = self.held.get(id).copied() else { return false };
        self.put(*id, uses + 1, length, hour);
        true
    }

    fn keeps(&mut self, id: ObjectId, length: u64, hour: u32) {
        if length <= self.bytes_max / 4 {
            self.put(id, 1, length, hour);
            while self.bytes > self.bytes_max {
                let (_, id) = self.order.pop_first().expect("there are bytes");
                self.bytes -= self.held.remove(&id).expect("it is in the order").2;
            }
        }
    }
}

/// S3-FIFO (Yang et al., SOSP 2023): a small queue for what is new, a main one, and a ghost of the main one's length.
#[derive(Default)]
pub(crate) struct S3Fifo {
    bytes_max: u64,
    small: VecDeque<ObjectId>,
    small_bytes: u64,
    main: VecDeque<ObjectId>,
    main_bytes: u64,
    ghost: VecDeque<ObjectId>,
    is_ghost: HashSet<ObjectId>,
    /// Length and uses, at most three.
    held: HashMap<ObjectId, (u64, u8)>,
}

impl S3Fifo {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    fn evict(&mut self) {
        if self.small_bytes >= self.bytes_max / 10 || self.main.is_empty() {
            self.evict_small();
        } else {
            self.evict_main();
        }
    }

    fn evict_small(&mut self) {
        let Some(id) = self.small.pop_front() else { return };
        let (length, uses) = self.held[&id];
        self.small_bytes -= length;
        if uses > 1 {
            self.main.push_back(id);
            self.main_bytes += length;
            self.held.insert(id, (length, 0));
            return;
        }
        self.held.remove(&id);
        self.ghost.push_back(id);
        self.is_ghost.insert(id);
        while self.ghost.len() > self.main.len().max(100) {
            let old = self.ghost.pop_front().expect("not empty");
            self.is_ghost.remove(&old);
        }
    }

    fn evict_main(&mut self) {
        let Some(id) = self.main.pop_front() else { return };
        let (length, uses) = self.held[&id];
        if uses > 0 {
            self.held.insert(id, (length, uses - 1));
            self.main.push_back(id);
        } else {
            self.held.remove(&id);
            self.main_bytes -= length;
        }
    }
}

impl Cache for S3Fifo {
    fn uses(&mut self, id: &ObjectId, _hour: u32) -> bool {
        let Some((_, uses)) = self.held.get_mut(id) else { return false };
        *uses = (*uses + 1).min(3);
        true
    }

    fn keeps(&mut self, id: ObjectId, length: u64, _hour: u32) {
        if length > self.bytes_max / 10 || self.held.contains_key(&id) {
            return;
        }
        while self.small_bytes + self.main_bytes + length > self.bytes_max {
            self.evict();
        }
        self.held.insert(id, (length, 0));
        if self.is_ghost.remove(&id) {
            self.ghost.retain(|ghost| *ghost != id);
            self.main.push_back(id);
            self.main_bytes += length;
        } else {
            self.small.push_back(id);
            self.small_bytes += length;
        }
    }
}

/// W-TinyLFU for sizes (Einziger et al. 2021, aggregated victims): what leaves a window of a hundredth is kept when it
/// was asked for more often than all together that would have to go. Here with exact counts, which are halved.
pub(crate) struct TinyLfu {
    window: Lru,
    main: Lru,
    counts: HashMap<ObjectId, u32>,
    seen: usize,
}

impl TinyLfu {
    pub(crate) fn new(bytes_max: u64) -> Self {
        // A hundredth is less than one of our objects on a small shelf.
        let window = Lru::new(bytes_max / 20);
        Self { window, main: Lru::new(bytes_max - bytes_max / 20), counts: HashMap::new(), seen: 0 }
    }

    fn count(&mut self, id: ObjectId) {
        *self.counts.entry(id).or_default() += 1;
        self.seen += 1;
        if self.seen > 10 * (self.main.held.len() + 1000) {
            self.seen /= 2;
            self.counts.values_mut().for_each(|count| *count /= 2);
            self.counts.retain(|_, count| *count > 0);
        }
    }

    fn of(&self, id: &ObjectId) -> u32 {
        self.counts.get(id).copied().unwrap_or(0)
    }

    fn admit(&mut self, id: ObjectId, length: u64) {
        let mut victims = Vec::new();
        let (mut freed, mut worth) = (0, 0);
        for (_, victim) in &self.main.order {
            if self.main.bytes + length <= self.main.bytes_max + freed {
                break;
            }
            freed += self.main.held[victim].1;
            worth += self.of(victim);
            victims.push(*victim);
        }
        if self.of(&id) >= worth {
            for _ in &victims {
                self.main.drop_lowest();
            }
            self.main.touch(id, length);
        } else if let Some((victim, length)) = self.main.lowest() {
            self.main.touch(victim, length);
        }
    }
}

impl Cache for TinyLfu {
    fn uses(&mut self, id: &ObjectId, hour: u32) -> bool {
        self.count(*id);
        self.window.uses(id, hour) || self.main.uses(id, hour)
    }

    fn keeps(&mut self, id: ObjectId, length: u64, _hour: u32) {
        if length > self.main.bytes_max / 4 {
            return;
        }
        self.window.touch(id, length);
        while self.window.bytes > self.window.bytes_max {
            let (id, length) = self.window.drop_lowest().expect("there are bytes");
            self.admit(id, length);
        }
    }
}
