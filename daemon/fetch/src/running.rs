//! What is under way: jobs that can be joined, and questions to origins whose answer may become one.
//!
//! Owns the tables of both, and which job answers which wish. Knows nothing of how a question is asked, nor of how a
//! job comes to its bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use kith_model::freshness::{self, CacheControl, Directive};
use kith_model::key::Target;
use kith_model::limits::ENDED_JOBS_MAX;
use kith_model::range::groups_of;
use kith_model::representation::{Head, Representation};
use kith_store::{Body, Draft};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ask::AskError;
use crate::audience::{Audience, Verdict};
use crate::fetcher::unix_now;
use crate::wish::{Company, Wish};

/// A running job, for people.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Host of the URL.
    pub host: String,
    /// The URL.
    pub url: String,
    /// Length of the object, when known.
    pub length: Option<u64>,
    /// Bytes that came from the origin in this job.
    pub origin: u64,
    /// Bytes that came from neighbours in this job.
    pub neighbour: u64,
    /// Bytes that came from mirrors in this job.
    pub mirror: u64,
    /// Who reads it now.
    pub readers: usize,
}

/// What others need to join a job.
pub(crate) struct Shared {
    pub(crate) draft: Draft,
    pub(crate) body: Body,
    pub(crate) audience: Arc<Audience>,
    /// Cancelled when the job is over and what came of it is on the shelf.
    pub(crate) filed: CancellationToken,
    /// What it brings was made doubtful while it came.
    pub(crate) outdated: AtomicBool,
}

/// What came of a question, for those who wait for it.
#[derive(Clone)]
pub(crate) enum Outcome {
    Pending,
    Job(Arc<Shared>),
    Renewed(Box<Representation>),
    /// Not for others.
    Alone,
    Failed(Arc<AskError>),
}

/// Whose turn it is to ask for a target.
pub(crate) enum Turn {
    /// Ours; the others are told by this.
    Ours(watch::Sender<Outcome>),
    /// Somebody asks already.
    Waiting(watch::Receiver<Outcome>),
}

/// Everything that is under way.
#[derive(Default)]
pub(crate) struct Running(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    jobs: HashMap<Target, Vec<Arc<Shared>>>,
    questions: HashMap<Target, watch::Receiver<Outcome>>,
    /// The latest first.
    ended: VecDeque<JobView>,
}

impl Running {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody asks for a target, and others may wait for the answer.
    pub(crate) fn is_asked(&self, target: &Target) -> bool {
        self.tables().questions.contains_key(target)
    }

    /// Begins a question that others may wait for, or finds the one to wait for.
    pub(crate) fn ask(&self, target: &Target) -> Turn {
        let mut tables = self.tables();
        if let Some(outcome) = tables.questions.get(target) {
            return Turn::Waiting(outcome.clone());
        }
        let (outcome, others) = watch::channel(Outcome::Pending);
        tables.questions.insert(target.clone(), others);
        Turn::Ours(outcome)
    }

    /// Nobody can wait for this question any more; a later one for the same target stays.
    pub(crate) fn answered(&self, target: &Target, question: &watch::Sender<Outcome>) {
        let mut tables = self.tables();
        let is_it = |outcome: &watch::Receiver<Outcome>| outcome.same_channel(&question.subscribe());
        if tables.questions.get(target).is_some_and(is_it) {
            tables.questions.remove(target);
        }
    }

    /// A job that answers the wish. With something stored the wish is to have it confirmed: a job that began earlier
    /// cannot. What is all here already is as good as stored, so that its freshness counts.
    pub(crate) fn joinable(&self, wish: &Wish) -> Option<Arc<Shared>> {
        let tables = self.tables();
        let answers = |job: &&Arc<Shared>| {
            let head = &job.draft.head;
            let is_later = wish.stored.as_ref().is_none_or(|mine| mine.head.received_at < head.received_at);
            let is_shared = wish.company == Company::Shared && wish.stored.is_none();
            let is_under_way = is_shared && !job.is_whole();
            let is_reusable = || is_later && freshness::is_reusable(unix_now(), &wish.headers, head);
            job.suits(&wish.headers) && (is_under_way || is_reusable())
        };
        tables.jobs.get(&wish.target)?.iter().find(answers).cloned()
    }

    /// A job that has all of a target and is not filed yet. `served` is what is on the shelf and would be served: only
    /// what is newer counts then. Otherwise what the request may use as it is does not: it is joined.
    pub(crate) fn whole(
        &self,
        target: &Target,
        request: &HeaderMap,
        served: Option<&Head>,
    ) -> Option<Arc<Shared>> {
        let tables = self.tables();
        let counts = |job: &&Arc<Shared>| {
            let head = &job.draft.head;
            // Who wants nothing but what is stored joins nothing.
            let only_stored = || CacheControl::of_request(request).has(Directive::OnlyIfCached);
            let is_joined =
                || job.suits(request) && freshness::is_reusable(unix_now(), request, head) && !only_stored();
            job.is_whole()
                && match served {
                    Some(served) => job.suits(request) && served.received_at < head.received_at,
                    None => !is_joined(),
                }
        };
        tables.jobs.get(target)?.iter().find(counts).cloned()
    }

    /// Makes doubtful what is under way of a target, and returns it: who asks from now on joins none of it.
    pub(crate) fn outdate(&self, target: &Target) -> Vec<Arc<Shared>> {
        let jobs = {
            let mut tables = self.tables();
            tables.questions.remove(target);
            tables.jobs.remove(target).unwrap_or_default()
        };
        for job in &jobs {
            job.outdated.store(true, Relaxed);
        }
        jobs
    }

    /// Lets others join a job until it ends.
    pub(crate) fn publish(&self, job: &Arc<Shared>) {
        let target = job.draft.key.target.clone();
        self.tables().jobs.entry(target).or_default().push(Arc::clone(job));
    }

    /// The job is over.
    pub(crate) fn withdraw(&self, job: &Arc<Shared>) {
        let mut tables = self.tables();
        let target = &job.draft.key.target;
        job.filed.cancel();
        if let Some(jobs) = tables.jobs.get_mut(target) {
            jobs.retain(|other| !Arc::ptr_eq(other, job));
            if jobs.is_empty() {
                tables.jobs.remove(target);
            }
            tables.ended.truncate(ENDED_JOBS_MAX - 1);
            tables.ended.push_front(job.view());
        }
    }

    /// All jobs.
    pub(crate) fn jobs(&self) -> Vec<JobView> {
        self.tables().jobs.values().flatten().map(|job| job.view()).collect()
    }

    /// The latest jobs that ended, the latest first.
    pub(crate) fn ended(&self) -> Vec<JobView> {
        self.tables().ended.iter().cloned().collect()
    }
}

impl Shared {
    /// Whether a request with these fields would be answered with this representation (RFC 9111 section 4.1).
    pub(crate) fn suits(&self, headers: &HeaderMap) -> bool {
        matches!(self.audience.verdict(), Verdict::Open | Verdict::Right)
            && freshness::selecting(&self.draft.head.headers, headers)
                .is_some_and(|(_, variant)| variant == self.draft.key.variant)
    }

    /// Whether all of it is readable.
    pub(crate) fn is_whole(&self) -> bool {
        let length = self.draft.length.or(self.audience.length());
        length.is_some_and(|length| self.body.visible_from(0) >= groups_of(length))
    }

    fn view(&self) -> JobView {
        let bytes = self.audience.bytes_by_source();
        JobView {
            host: self.draft.key.target.host().to_owned(),
            url: self.draft.key.target.to_string(),
            length: self.draft.length,
            origin: bytes.origin,
            neighbour: bytes.neighbour,
            mirror: bytes.mirror,
            readers: self.audience.demands().len(),
        }
    }
}
