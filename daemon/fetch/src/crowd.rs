//! Who of several boxes that fetch the same at the same time asks the origin for which part: a pure machine, fed with
//! what the boxes tell each other and the time.
//!
//! The object is cut into blocks ([`Blocks`]): 4 MiB, and 1 MiB near the end, so that nobody waits long for the last
//! one. Every box computes by itself, from the same numbers, who should fetch a block (rendezvous hashing: the highest
//! weight), and takes from the others what they fetched, in units of [`UNIT`] groups. The rules for what a box asks the
//! origin for, in the order they are tried:
//!
//! 1. It goes on with a block that it has begun, unless another box works on it too and is faster, or as fast and of
//!    the higher weight.
//! 2. The block that its reader waits for: at once when it is its own; when it is another's who has not begun it,
//!    later the lower its own weight; when it was begun by a box that is much slower, soon.
//! 3. Its own blocks, in the order in which they are wanted.
//! 4. When none is left: a block that nobody has begun, of the box that has most of them left.
//! 5. When there is none: a block that was begun by a box that will take much longer than it would itself.
//!
//! A box without progress for [`STALL`], or that has left, owns nothing and has begun nothing. A box that wants a part
//! only owns nothing either, but may begin what it wants.
//!
//! Knows no clock, no connection, no bytes; whether what came is right is not its business.

use std::collections::BTreeSet;
use std::time::Duration;

use kith_model::limits::CROWD_MEMBERS_MAX;
use kith_model::range::{GroupSet, GroupSpan};
use litemap::LiteMap;

pub use self::blocks::{BLOCK, Blocks, UNIT};
use self::member::{Member, Pace};

mod blocks;
mod member;

/// A box that told of no progress for so long is not counted on.
pub const STALL: Duration = Duration::from_secs(2);

/// How often the machine looks around when nothing happens.
const LOOK: Duration = Duration::from_millis(100);

/// How much longer a reader waits for a block that nobody has begun, for each box that should rather begin it.
const TURN: Duration = Duration::from_millis(250);

/// How long a reader waits for a box that is much slower than the own uplink.
const PATIENCE: Duration = Duration::from_millis(500);

/// Blocks that one box works on at once.
const WORKING_MAX: usize = 4;

/// Seconds of work that must lie ahead: the next request is on its way before the one before it is through.
const AHEAD_S: f64 = 0.25;

/// Units on their way to us at once: 4 MiB of memory.
const TAKES_MAX: usize = 4;

/// The same from one box.
const TAKES_EACH_MAX: usize = 2;

/// By so much one box must be faster than another to be called faster.
const FASTER: f64 = 1.5;

/// A box, told by a number that is the hash of it and of the object: its weights are made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// What a box tells the others of its fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Whole units that came from the origin and from nobody else.
    pub ready: GroupSet,
    /// Numbers of the blocks that it is fetching from the origin.
    pub working: Vec<u64>,
    /// Groups that came from the origin so far.
    pub received: u64,
    /// Whether it fetches the whole, so that blocks can be its own.
    pub fetches: bool,
}

/// What the own job knows.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Groups that are here.
    pub held: &'a GroupSet,
    /// What is wanted, the most urgent first; each begins where a reader stands.
    pub wanted: &'a [GroupSpan],
    /// Groups that came from the origin so far.
    pub received: u64,
    /// Whether the whole is wanted.
    pub whole: bool,
}

/// Something that shall be taken from another box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Take {
    /// From whom.
    pub member: MemberId,
    /// One unit.
    pub unit: GroupSpan,
}

/// How that went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is here.
    Here,
    /// It did not come; may be tried again.
    Failed,
    /// The box has too much to do; may be tried again later.
    Busy,
    /// The box is of no use any more.
    Useless,
}

/// A reader that waits for a block.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    block: u64,
    /// Since when nobody else brings what it waits for.
    since: Duration,
    /// Whether we have begun the block though it is another's. Then its patience is over for the next one too.
    is_begun: bool,
}

/// The boxes that fetch one object, as one of them sees it.
#[derive(Debug)]
pub struct Crowd {
    us: MemberId,
    blocks: Blocks,
    pace: Pace,
    members: LiteMap<MemberId, Member>,
    /// Boxes that were of no use.
    out: BTreeSet<MemberId>,
    working: Vec<u64>,
    /// First group of each unit that is on its way.
    takes: LiteMap<u64, MemberId>,
    /// What a reader waits for.
    waiting: Option<Waiting>,
    look_at: Duration,
}

impl Crowd {
    /// A crowd of one, for an object of `groups` groups.
    pub fn new(us: MemberId, groups: u64) -> Self {
        Self {
            us,
            blocks: Blocks::of(groups),
            pace: Pace::default(),
            members: LiteMap::new(),
            out: BTreeSet::new(),
            working: Vec::new(),
            takes: LiteMap::new(),
            waiting: None,
            look_at: Duration::ZERO,
        }
    }

    /// Another box tells of its fetch, for the first time or again: all it has told so far is in it.
    pub fn told(&mut self, id: MemberId, told: Told, now: Duration) {
        let is_new = !self.members.contains_key(&id);
        if id == self.us || self.out.contains(&id) || (is_new && self.members.len() >= CROWD_MEMBERS_MAX) {
            return;
        }
        self.members.entry(id).or_insert_with(|| Member::new(told.received, now)).hear(told, now);
        self.look_at = now;
    }

    /// A box left, or is not heard any more.
    pub fn left(&mut self, id: MemberId) {
        self.members.remove(&id);
        self.look_at = Duration::ZERO;
    }

    /// A take is over.
    pub fn take_ended(&mut self, take: Take, taken: Taken, now: Duration) {
        self.takes.remove(&take.unit.start());
        let Some(member) = self.members.get_mut(&take.member) else { return };
        member.take_ended(taken, now);
        if member.is_useless() {
            self.members.remove(&take.member);
            self.out.insert(take.member);
        }
        self.look_at = now;
    }

    /// Whether anybody else is there.
    pub fn is_alone(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether somebody may still bring what we lack.
    pub fn is_helpful(&self, held: &GroupSet, now: Duration) -> bool {
        let lacks = |span: &GroupSpan| held.missing_in(*span).next().is_some();
        self.members.values().any(|member| {
            (member.told.fetches && member.is_live(now)) || member.told.ready.spans().iter().any(lacks)
        })
    }

    /// The blocks that we fetch from the origin.
    pub fn working(&self) -> &[u64] {
        &self.working
    }

    /// Makes up its mind what to ask the origin for. To be called before [`Self::confines`] and when
    /// [`Self::next_look`] has come.
    pub fn look(&mut self, view: &View<'_>, now: Duration) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK;
        self.pace.measure(view.received, !self.working.is_empty(), now);
        let elsewhere = self.elsewhere(view);
        self.drop_blocks(&elsewhere, now);
        self.follow_reader(view, &elsewhere, now);
        let ahead = self.pace.rate().map_or(0.0, |rate| rate * AHEAD_S).max(as_f64(UNIT));
        while self.working.len() < WORKING_MAX && self.left_to_do(&elsewhere) < ahead {
            let Some(block) = self.choose(view, &elsewhere, now) else { break };
            self.working.push(block);
        }
    }

    /// When to look again though nothing happened.
    pub fn next_look(&self) -> Duration {
        self.look_at
    }

    /// Nothing is asked of the origin for now: somebody holds the whole.
    pub fn rest(&mut self) {
        self.working.clear();
        self.look_at = Duration::ZERO;
    }

    /// What the origin may be asked for.
    pub fn confines(&self) -> GroupSet {
        let mut confines = GroupSet::new();
        self.working.iter().for_each(|block| confines.insert(self.blocks.span_of(*block)));
        self.ready().for_each(|span| confines.remove(span));
        confines
    }

    /// What others have. Who failed to give last, or is busy all the time, is not counted on before it gives again.
    fn ready(&self) -> impl Iterator<Item = GroupSpan> {
        let reliable = self.members.values().filter(|member| member.is_reliable());
        reliable.flat_map(|member| member.told.ready.spans()).copied()
    }

    /// The next unit to take from another box, the most urgent first; it counts as asked for once it is returned.
    pub fn next_take(&mut self, view: &View<'_>, now: Duration) -> Option<Take> {
        if self.takes.len() >= TAKES_MAX {
            return None;
        }
        let able = |member: &Member| member.taking < TAKES_EACH_MAX && member.rests_until <= now;
        let (id, start) = view.wanted.iter().find_map(|wanted| {
            let givers = self.members.iter().filter(|(_, member)| able(member));
            givers
                .filter_map(|(id, member)| Some((*id, self.first_of(member, view, *wanted)?)))
                .min_by_key(|(id, start)| (*start, self.members.get(id).map_or(0, |member| member.taking)))
        })?;
        self.takes.insert(start, id);
        if let Some(member) = self.members.get_mut(&id) {
            member.taking += 1;
        }
        Some(Take {
            member: id,
            unit: GroupSpan::clamped(start, (start + UNIT).min(self.blocks.whole.end())),
        })
    }

    /// The first unit in `wanted` that a box could give now.
    fn first_of(&self, member: &Member, view: &View<'_>, wanted: GroupSpan) -> Option<u64> {
        let ready = member.told.ready.within(wanted);
        let missing = ready.spans().iter().flat_map(|span| view.held.missing_in(*span));
        let units = missing.flat_map(|gap| gap.start() / UNIT..gap.end().div_ceil(UNIT));
        units.map(|unit| unit * UNIT).find(|start| !self.takes.contains_key(start))
    }

    /// What is here or can be taken from others.
    fn elsewhere(&self, view: &View<'_>) -> GroupSet {
        let mut elsewhere = view.held.clone();
        self.ready().for_each(|span| elsewhere.insert(span));
        elsewhere
    }

    // rule 1
    fn drop_blocks(&mut self, elsewhere: &GroupSet, now: Duration) {
        let mut working = std::mem::take(&mut self.working);
        working.retain(|block| {
            elsewhere.missing_in(self.blocks.span_of(*block)).next().is_some()
                && !self.must_yield(*block, now)
        });
        self.working = working;
    }

    fn must_yield(&self, block: u64, now: Duration) -> bool {
        self.members.iter().any(|(id, member)| {
            member.has_begun(block, now)
                && match (self.pace.rate(), member.pace.rate()) {
                    (Some(ours), Some(theirs)) if theirs > ours * FASTER => true,
                    (Some(ours), Some(theirs)) if ours > theirs * FASTER => false,
                    _ => weight(*id, block) > weight(self.us, block),
                }
        })
    }

    // rule 2
    fn follow_reader(&mut self, view: &View<'_>, elsewhere: &GroupSet, now: Duration) {
        let cursors = view.wanted.iter().filter(|span| !span.is_empty()).map(|span| span.start());
        let awaited = cursors
            .filter(|cursor| !elsewhere.contains(*cursor))
            .map(|cursor| self.blocks.holding(cursor))
            .next();
        let before = self.waiting.take();
        let Some(block) = awaited else { return };
        let since = before.filter(|before| before.block == block || before.is_begun);
        let since = since.map_or(now, |before| before.since);
        let is_begun = self.working.contains(&block);
        let waiting =
            Waiting { block, since, is_begun: is_begun && before.is_some_and(|before| before.is_begun) };
        self.waiting = Some(waiting);
        if is_begun {
            return;
        }
        let patience = match self.worker_rate(block, now) {
            None if view.whole => TURN * self.rank(block, now),
            None => Duration::ZERO,
            Some(theirs) if self.pace.rate().is_some_and(|ours| ours > theirs * 2.0 * FASTER) => PATIENCE,
            Some(_) => return,
        };
        if now.saturating_sub(since) >= patience {
            if self.working.len() >= WORKING_MAX {
                self.working.pop();
            }
            self.working.insert(0, block);
            self.waiting = Some(Waiting { is_begun: true, ..waiting });
        }
    }

    /// How fast the box is that has begun a block: the fastest when there are several, endlessly when that is not known.
    fn worker_rate(&self, block: u64, now: Duration) -> Option<f64> {
        let workers = self.members.values().filter(|member| member.has_begun(block, now));
        workers.map(|member| member.pace.rate().unwrap_or(f64::INFINITY)).reduce(f64::max)
    }

    /// How many others should rather begin a block.
    fn rank(&self, block: u64, now: Duration) -> u32 {
        let ours = weight(self.us, block);
        let before = self.owners(now).filter(|id| weight(*id, block) > ours).count();
        u32::try_from(before).unwrap_or(u32::MAX)
    }

    /// Other boxes that blocks may belong to.
    fn owners(&self, now: Duration) -> impl Iterator<Item = MemberId> {
        let owners =
            self.members.iter().filter(move |(_, member)| member.told.fetches && member.is_live(now));
        owners.map(|(id, _)| *id)
    }

    /// Whose a block is.
    fn owner(&self, block: u64, now: Duration) -> MemberId {
        let all = self.owners(now).chain([self.us]);
        all.max_by_key(|id| weight(*id, block)).unwrap_or(self.us)
    }

    // rules 3 to 5
    fn choose(&self, view: &View<'_>, elsewhere: &GroupSet, now: Duration) -> Option<u64> {
        let mut unbegun: LiteMap<MemberId, Vec<u64>> = LiteMap::new();
        let mut begun = Vec::new();
        for block in self.candidates(view, elsewhere) {
            if self.members.values().any(|member| member.has_begun(block, now)) {
                begun.push(block);
                continue;
            }
            // What is half here is best ended by who has begun it; and who had to help its reader once goes on.
            let is_helping = self.waiting.is_some_and(|waiting| waiting.is_begun);
            let is_ours =
                !view.whole || is_helping || view.held.within(self.blocks.span_of(block)).len() >= UNIT;
            let owner = if is_ours { self.us } else { self.owner(block, now) };
            if owner == self.us {
                return Some(block);
            }
            let theirs = unbegun.entry(owner).or_default();
            if theirs.last() != Some(&block) {
                theirs.push(block);
            }
        }
        let most = unbegun.into_iter().map(|(_, blocks)| blocks).max_by_key(Vec::len);
        match most {
            // Its owner takes the first one next.
            Some(blocks) if blocks.len() > 1 => {
                blocks[1..].iter().copied().max_by_key(|block| weight(self.us, *block))
            }
            Some(blocks) => blocks.first().copied(),
            None => begun.into_iter().find(|block| self.is_too_slow(*block, elsewhere, now)),
        }
    }

    /// Blocks that are wanted, not here, not to be had and not in work, in the order in which they are wanted.
    fn candidates<'a>(
        &'a self,
        view: &'a View<'_>,
        elsewhere: &'a GroupSet,
    ) -> impl Iterator<Item = u64> + 'a {
        let wanted = view.wanted.iter().map(|span| span.intersection(self.blocks.whole));
        wanted
            .flat_map(|span| elsewhere.missing_in(span))
            .flat_map(|gap| self.blocks.holding(gap.start())..=self.blocks.holding(gap.end() - 1))
            .filter(|block| !self.working.contains(block))
    }

    /// Whether who has begun a block would take much longer for it than we.
    fn is_too_slow(&self, block: u64, elsewhere: &GroupSet, now: Duration) -> bool {
        let Some(ours) = self.pace.rate().filter(|rate| *rate > 0.0) else { return false };
        let missing = |block: u64| -> u64 {
            elsewhere.missing_in(self.blocks.span_of(block)).map(GroupSpan::len).sum()
        };
        let patience = as_f64(missing(block)) / ours * 2.0 + STALL.as_secs_f64();
        let workers = self.members.values().filter(|member| member.has_begun(block, now));
        workers.into_iter().all(|member| {
            let work: u64 = member.told.working.iter().map(|block| missing(*block)).sum();
            member.pace.rate().is_some_and(|theirs| as_f64(work) > patience * theirs)
        })
    }

    /// Groups that our blocks still lack.
    fn left_to_do(&self, elsewhere: &GroupSet) -> f64 {
        let lacking = self.working.iter().flat_map(|block| elsewhere.missing_in(self.blocks.span_of(*block)));
        as_f64(lacking.map(GroupSpan::len).sum())
    }
}

/// How much a block belongs to a box: the finisher of `SplitMix64` over both.
fn weight(member: MemberId, block: u64) -> u64 {
    let mut mixed = member.0 ^ block.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate; counts of groups stay far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
