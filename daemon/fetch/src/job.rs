//! One object being fetched: the driver of its [`Plan`].
//!
//! The job owns the writer, the sources and a task for each lane; the plan says what to do, lanes do it and report.
//! It goes on while somebody reads and [`LINGER`] longer; to the end when more than half is here. Whatever ends it,
//! the part that came is kept by the store.
//!
//! Bytes of a neighbour are checked against the object it claims, group by group, before they come here. Whether that
//! object is the right one is decided when the whole is here: the leaves fold to the claimed root, and the digests
//! that the origin told are met. When not, what came from neighbours is thrown away and the origin goes on.
//! The check is in [`verdict`]; what may be shown before it in [`hold_back`], whose claims are believed in [`claims`],
//! what mirrors sent in [`leads`], what boxes gave that fetch the same in [`circle`].

mod circle;
mod claims;
mod hold_back;
mod leads;
mod verdict;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kith_model::freshness::Reach;
use kith_model::key::Target;
use kith_model::ladder::Strength;
use kith_model::object::ObjectId;
use kith_model::range::{GROUP_BYTES, GroupSpan, groups_of};
use kith_model::representation::StrongValidator;
use kith_store::Writer;
use litemap::LiteMap;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::audience::{Audience, Verdict};
use crate::counters::Counters;
use crate::holders::Holders;
use crate::journal::Event;
use crate::lane::{LaneWorker, Opening, Report};
use crate::past_shelf::Rest;
use crate::plan::{ACTIONS_MAX, Action, Demand, Ending, Facts, LaneId, Place, Plan, SourceId};
use crate::share::{Gathering, Share};
use crate::source::{Fault, Found, Lane, Lead, Source, SourceKind};
use crate::speeds::Speeds;

/// How long a job goes on after its last reader left: a player that seeks or a client that retries comes back
/// within seconds.
pub(crate) const LINGER: Duration = Duration::from_secs(10);

/// Reports of lanes that wait for the job; each lane waits when it is full.
const REPORTS_MAX: usize = 64;

/// What a job begins with.
pub(crate) struct Beginning {
    pub(crate) writer: Writer,
    pub(crate) audience: Arc<Audience>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) holders: Arc<Holders>,
    /// The origin, and the body of its first answer.
    pub(crate) origin: Option<Arc<dyn Source>>,
    pub(crate) first: Box<dyn Lane>,
    pub(crate) first_span: GroupSpan,
    /// Neighbours as they are found.
    pub(crate) found: BoxStream<'static, Found>,
    /// Who may be given what is stored.
    pub(crate) reach: Reach,
    /// What the origin's answer pointed to.
    pub(crate) leads: BoxStream<'static, Lead>,
    /// What others may have of it, and those who fetch it too.
    pub(crate) gathering: Option<(Arc<Share>, Gathering)>,
    pub(crate) host: String,
    pub(crate) speeds: Arc<Speeds>,
    pub(crate) seed: u64,
}

struct LaneHandle {
    end: Arc<AtomicU64>,
    stop: CancellationToken,
}

/// Why a job stops.
enum Stop {
    Stored(ObjectId),
    Abandoned,
    Failed(String),
}

pub(crate) struct Job {
    // what it works on
    plan: Plan,
    writer: Arc<Writer>,
    length: Option<u64>,
    // who delivers
    sources: LiteMap<SourceId, Arc<dyn Source>>,
    claims: claims::Claims,
    lanes: LiteMap<LaneId, LaneHandle>,
    tasks: JoinSet<()>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    found: BoxStream<'static, Found>,
    leads: BoxStream<'static, Lead>,
    mirrors: leads::Mirrors,
    circle: Option<Box<circle::Circle>>,
    /// Units of others that are to be compared with the origin's.
    suspects: circle::Given,
    // who waits
    audience: Arc<Audience>,
    ghosts: Vec<Demand>,
    alone_since: Option<Instant>,
    hold_back: hold_back::HoldBack,
    // the frame
    reach: Reach,
    counters: Arc<Counters>,
    holders: Arc<Holders>,
    began: Instant,
    target: Target,
    /// Whether the fetch is bound to an entity tag, and not to a date.
    is_tagged: bool,
    host: String,
    speeds: Arc<Speeds>,
}

impl Job {
    pub(crate) fn begin(beginning: Beginning) -> Self {
        let Beginning {
            writer,
            audience,
            counters,
            holders,
            origin,
            first,
            first_span,
            found,
            reach,
            leads,
            gathering,
            host,
            speeds,
            seed,
        } = beginning;
        let draft = writer.draft();
        let held_before = writer.held();
        let mut plan = Plan::new(draft.length.map(groups_of), held_before.clone(), seed);
        plan.readers(audience.demands());
        let held = draft.ladder.told() == Strength::Strong;
        let mut job = Self {
            plan,
            writer: Arc::new(writer),
            length: draft.length,
            sources: LiteMap::new(),
            claims: claims::Claims::default(),
            lanes: LiteMap::new(),
            tasks: JoinSet::new(),
            reports: mpsc::channel(REPORTS_MAX),
            found,
            leads: leads.fuse().boxed(),
            mirrors: leads::Mirrors::new(first_span.start()),
            circle: None,
            suspects: circle::Given::new(),
            audience,
            ghosts: Vec::new(),
            alone_since: None,
            hold_back: hold_back::HoldBack::new(held),
            reach,
            counters,
            holders,
            began: Instant::now(),
            target: draft.key.target,
            is_tagged: matches!(draft.validator, Some(StrongValidator::ETag(_))),
            host,
            speeds,
        };
        // Whoever asked first may leave before the job looks; what was wanted is known all the same.
        job.ghosts = job.audience.demands();
        let source = job.begin_lane(origin, first, first_span);
        job.circle = gathering
            .map(|(share, gathering)| Box::new(circle::Circle::new(share, gathering, source, held_before)));
        job
    }

    fn begin_lane(
        &mut self,
        origin: Option<Arc<dyn Source>>,
        first: Box<dyn Lane>,
        span: GroupSpan,
    ) -> SourceId {
        let facts = match &origin {
            Some(origin) => self.facts(Place::Far, &**origin),
            None => Facts { ranges: false, ..Facts::of(Place::Far) },
        };
        let source = self.plan.source_added(facts);
        let lane = self.plan.lane_given(source, span, self.now());
        if let Some(origin) = origin {
            self.sources.insert(source, origin);
        }
        self.spawn_lane(lane, SourceKind::Origin, Opening::Open(first), span);
        source
    }

    /// What the plan has to know of a source.
    fn facts(&self, place: Place, source: &dyn Source) -> Facts {
        let abilities = source.abilities();
        Facts {
            ranges: abilities.ranges,
            lanes_max: abilities.lanes_max.max(1),
            grain: abilities.grain.max(1),
            earlier: self.speeds.recall(source),
            ..Facts::of(place)
        }
    }

    /// Runs until the object is stored, cannot be completed, or nobody wants it any more; says which, and what other
    /// boxes may still have of it.
    ///
    /// # Cancel safety
    /// Dropping the future ends the lanes; what is written stays.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> (Event, Option<Arc<Share>>) {
        let verdict = loop {
            let demands = self.demands();
            self.plan.readers(demands);
            self.spare_part_readers().await;
            self.swap();
            if self.plan.complete() {
                match self.conclude().await {
                    Some(stop) => break stop,
                    None => continue,
                }
            }
            self.act();
            if self.plan.exhausted() && !self.is_helped() {
                warn!(host = %self.host, "nobody can deliver the rest of the object");
                break Stop::Failed("nobody could deliver the rest of it".to_owned());
            }
            let wake = self.wake();
            tokio::select! {
                () = stop.cancelled() => break Stop::Abandoned,
                Some(report) = self.reports.1.recv() => {
                    if let Some(stop) = self.note(report).await {
                        break stop;
                    }
                }
                Some(found) = self.found.next() => self.welcome(found).await,
                Some(lead) = self.leads.next() => self.follow(lead).await,
                Some(word) = circle::Circle::next_word(&mut self.circle) => self.hear(word),
                () = self.audience.changed() => self.weigh(),
                Some(_) = self.tasks.join_next() => {}
                () = tokio::time::sleep_until(wake) => {
                    if self.give_up() {
                        break Stop::Abandoned;
                    }
                    self.show_late().await;
                }
            }
        };
        self.close_lanes().await;
        // What came stays readable until somebody has read as far, and goes on from there past the shelf.
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.audience.rest_taken() => {}
        }
        let bequest = if matches!(verdict, Stop::Stored(_)) { self.bequest() } else { None };
        self.end(&verdict);
        let event = match verdict {
            Stop::Stored(object) => Event::Stored(object),
            Stop::Abandoned => Event::Failed("nobody waited for it any more; what came is kept".to_owned()),
            Stop::Failed(why) => Event::Failed(why),
        };
        (event, bequest)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// What is to be fetched: what readers wait for, or what the last one waited for until the linger is over.
    fn demands(&mut self) -> Vec<Demand> {
        let demands = self.audience.demands();
        if demands.is_empty() {
            self.alone_since.get_or_insert_with(Instant::now);
            return self.ghosts.clone();
        }
        self.alone_since = None;
        self.ghosts.clone_from(&demands);
        demands
    }

    fn wake(&self) -> Instant {
        let plan = self.plan.next_wake(self.now()).map(|at| self.began + at);
        let linger = self.alone_since.map(|since| since + LINGER);
        [plan, linger, self.hold_back.ends_at(), self.next_look()]
            .into_iter()
            .flatten()
            .filter(|at| *at > Instant::now())
            .min()
            .unwrap_or_else(|| Instant::now() + LINGER)
    }

    /// Whether the linger is over and the rest is not worth it. More than half of it is: then it is fetched whole.
    fn give_up(&mut self) -> bool {
        if self.alone_since.is_none_or(|since| since.elapsed() < LINGER) {
            return false;
        }
        let more_than_half = self.length.is_some_and(|length| self.plan.held().len() * 2 > groups_of(length));
        self.plan.want_whole(more_than_half);
        self.ghosts.clear();
        !more_than_half
    }

    fn act(&mut self) {
        // What comes next may settle what the plan cannot.
        for _ in 0..ACTIONS_MAX {
            let Some(action) = self.plan.poll(self.now()) else { return };
            match action {
                Action::Open { lane, source, span } => match self.sources.get(&source) {
                    Some(source) => {
                        let opening = Opening::Ask(source.open(span));
                        self.spawn_lane(lane, source.kind(), opening, span);
                    }
                    None => self.plan.lane_ended(lane, Ending::Useless, self.now()),
                },
                Action::Cut { lane, end } => {
                    if let Some(lane) = self.lanes.get(&lane) {
                        lane.end.fetch_min(end, Relaxed);
                    }
                }
                Action::Close { lane } => {
                    if let Some(lane) = self.lanes.remove(&lane) {
                        lane.stop.cancel();
                    }
                }
                Action::Slow { source } => {
                    if let Some(source) = self.sources.get(&source) {
                        debug!(source = source.label(), "a source keeps readers waiting");
                        source.blame(Fault::TooSlow);
                    }
                }
            }
        }
    }

    fn spawn_lane(&mut self, lane: LaneId, kind: SourceKind, opening: Opening, span: GroupSpan) {
        debug!(host = %self.host, source = kind.as_str(), lane = lane.0, ?span, "lane");
        let handle = LaneHandle { end: Arc::new(AtomicU64::new(span.end())), stop: CancellationToken::new() };
        let worker = LaneWorker {
            lane,
            kind,
            end: Arc::clone(&handle.end),
            stop: handle.stop.clone(),
            writer: Arc::clone(&self.writer),
            audience: Arc::clone(&self.audience),
            held_back: Arc::clone(&self.hold_back.held),
            reports: self.reports.0.clone(),
        };
        self.lanes.insert(lane, handle);
        self.tasks.spawn(worker.run(opening).boxed());
    }

    async fn note(&mut self, report: Report) -> Option<Stop> {
        match report {
            Report::Delivered { lane, span, bytes, kind, proven } => {
                self.plan.delivered(lane, span, self.now());
                self.audience.delivered(kind, bytes);
                self.counters.fetched(kind).add(bytes);
                if proven {
                    self.counters.groups_proven.add(span.len());
                }
                let is_taken = circle::is_take(lane);
                let is_doubtful =
                    kind == SourceKind::Mirror || (kind == SourceKind::Neighbour && !proven && !is_taken);
                self.mirrors.delivered |= is_doubtful;
                // It may have been dropped before its report came: then it is still to be fetched.
                if is_doubtful && !self.writer.held().contains_all(span) {
                    self.plan.lost(self.writer.held());
                }
                if kind == SourceKind::Origin {
                    self.note_first_hand(span);
                }
                if !is_taken {
                    self.judge_hold_back(kind).await;
                }
                None
            }
            Report::Ended { lane, ending } => {
                self.lanes.remove(&lane);
                if self.length.is_none() && ending == Ending::Done {
                    self.length_told();
                }
                self.plan.lane_ended(lane, ending, self.now());
                self.learn_ranges();
                // It may have ended because its box was unpaired.
                self.weigh();
                self.take_ended(lane, ending);
                self.admit_mirrors();
                None
            }
            Report::Mismatched(kind) => {
                self.note_mismatch(kind);
                None
            }
            Report::Changed => {
                info!(host = %self.host, "the origin has changed the file; the fetch of the old one ends");
                Some(Stop::Failed("the origin changed the file meanwhile".to_owned()))
            }
            Report::Unwritable(error, rest) => {
                warn!(host = %self.host, %error, "the shelf cannot take the object: the rest passes through");
                self.pass(rest.map(|rest| *rest));
                Some(Stop::Failed(format!("the shelf cannot take it: {error}")))
            }
        }
    }

    /// The shelf has failed: readers get the rest past it.
    fn pass(&self, rest: Option<Rest>) {
        let is_able =
            |source: &&Arc<dyn Source>| source.kind() == SourceKind::Origin && source.abilities().ranges;
        self.audience.pass(rest, self.sources.values().find(is_able).cloned());
    }

    fn note_mismatch(&self, kind: SourceKind) {
        match kind {
            SourceKind::Origin => self.counters.mismatched_origin.add(1),
            SourceKind::Mirror => self.counters.mismatched_mirror.add(1),
            // Its own room counts it.
            SourceKind::Neighbour => {}
        }
    }

    /// A website may turn out to ignore ranges.
    fn learn_ranges(&mut self) {
        for (id, source) in &self.sources {
            if !source.abilities().ranges {
                self.plan.without_ranges(*id);
            }
        }
    }

    /// A body without a length ended properly: what is here is all of it.
    fn length_told(&mut self) {
        let length = self.audience.bytes_by_source().origin;
        self.length = Some(length);
        self.audience.length_told(length);
        self.plan.length_known(groups_of(length));
    }

    async fn close_lanes(&mut self) {
        self.plan.lanes_closed();
        for (_, lane) in std::mem::take(&mut self.lanes) {
            lane.stop.cancel();
        }
        // Lanes may be waiting to report while they are being stopped.
        while !self.tasks.is_empty() {
            tokio::select! {
                _ = self.tasks.join_next() => {}
                Some(report) = self.reports.1.recv() => self.note_late(&report),
            }
        }
        while let Ok(report) = self.reports.1.try_recv() {
            self.note_late(&report);
        }
    }

    fn note_late(&mut self, report: &Report) {
        match report {
            Report::Delivered { lane, span, bytes, kind, .. } => {
                self.plan.delivered(*lane, *span, self.now());
                self.audience.delivered(*kind, *bytes);
                self.counters.fetched(*kind).add(*bytes);
            }
            Report::Mismatched(kind) => self.note_mismatch(*kind),
            Report::Ended { .. } | Report::Changed | Report::Unwritable(..) => {}
        }
    }

    fn end(self, stop: &Stop) {
        for (id, source) in &self.sources {
            if let Some(estimate) = self.plan.estimate(*id) {
                self.speeds.note(&**source, estimate);
            }
        }
        let verdict = match stop {
            Stop::Stored(_) => Verdict::Right,
            Stop::Abandoned | Stop::Failed(_) => Verdict::Ended,
        };
        self.audience.decide(verdict);
    }
}

/// One past the last group of a stream that ends before byte `end`.
pub(crate) fn span_of(start: u64, end: Option<u64>) -> GroupSpan {
    GroupSpan::clamped(start / GROUP_BYTES, end.map_or(u64::MAX, |end| end.div_ceil(GROUP_BYTES)))
}
