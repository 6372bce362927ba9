//! The handle of the room: joins wishes to running jobs, or asks the origin for them.
//!
//! Requests for one target are collapsed: the first one asks, the others wait for the head of its answer and join
//! the job, unless the answer is not theirs to share (not storable, another variant).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use http::HeaderMap;
use kith_model::key::Target;
use kith_model::ladder::Digest;
use kith_model::limits::CROWD_FETCHES_MAX;
use kith_model::object::ObjectId;
use kith_model::range::{ByteRange, GROUP_BYTES};
use kith_model::representation::{Head, ObjectInfo, Representation};
use kith_model::time::UnixMillis;
use kith_store::Store;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::absence::Absences;
use crate::ask::{Origin, Verb};
use crate::asking::Asking;
use crate::counters::Counters;
use crate::holders::Holders;
use crate::journal::Journal;
use crate::reader::{Extent, Reader};
use crate::running::{JobView, Outcome, Running, Shared, Turn};
use crate::source::Finder;
use crate::speeds::Speeds;
use crate::wish::{Arriving, ByteWish, Collapsed, Company, FetchError, Fetched, Wish};

/// Touches on their way at once: a burst of small hits must not become a burst of connections to one site.
const TOUCHES_MAX: usize = 32;

/// Longest wait for something that is all here to be filed: a disk takes milliseconds, one in trouble must not hold
/// up what the origin can answer.
const FILING_LIMIT: Duration = Duration::from_secs(1);

/// How the room behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Objects below this many bytes ask no neighbour: the answer would come too late to help.
    pub neighbour_bytes_min: u64,
}

/// Fetches objects; clones are handles to the same one.
#[derive(Clone)]
pub struct Fetcher {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) origin: Arc<dyn Origin>,
    pub(crate) finders: Vec<Arc<dyn Finder>>,
    pub(crate) config: Config,
    pub(crate) counters: Arc<Counters>,
    pub(crate) journal: Journal,
    pub(crate) absences: Absences,
    /// Which neighbours hold what lies on the shelf.
    pub(crate) holders: Arc<Holders>,
    pub(crate) speeds: Arc<Speeds>,
    /// Jobs that can be joined, and questions whose answer may become one.
    pub(crate) running: Running,
    pub(crate) tasks: TaskTracker,
    /// Places for touches on their way.
    pub(crate) touches: Arc<Semaphore>,
    /// Places for fetches that are through and of which others may still have a part.
    pub(crate) lingering: Semaphore,
    pub(crate) stop: CancellationToken,
}

impl Fetcher {
    /// Wires the room. Asks the finders, in parallel, for every object that is large enough.
    pub fn new(store: Store, origin: Arc<dyn Origin>, finders: Vec<Arc<dyn Finder>>, config: Config) -> Self {
        let inner = Inner {
            store,
            origin,
            finders,
            config,
            counters: Arc::default(),
            journal: Journal::default(),
            absences: Absences::default(),
            holders: Arc::default(),
            speeds: Arc::default(),
            running: Running::default(),
            tasks: TaskTracker::new(),
            touches: Arc::new(Semaphore::new(TOUCHES_MAX)),
            lingering: Semaphore::new(CROWD_FETCHES_MAX / 2),
            stop: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// All representations stored for a target, one a variant.
    pub fn representations(&self, target: &Target) -> Result<Arc<[Representation]>, FetchError> {
        self.inner.store.representations(target).map_err(shelf)
    }

    /// Takes all representations of a target off the shelf: an unsafe request may have changed what it stands for
    /// (RFC 9111 section 4.4; [`kith_model::freshness::invalidated`] says which targets). Who asks from now on joins no fetch that
    /// began before.
    ///
    /// # Cancel safety
    /// Dropping the future may leave some of them.
    pub async fn invalidate(&self, target: &Target) {
        let jobs = self.inner.running.outdate(target);
        for job in jobs.iter().filter(|job| job.is_whole()) {
            // Else it would be filed a moment after it was forgotten.
            let _ = tokio::time::timeout(FILING_LIMIT, job.filed.cancelled()).await;
        }
        let stored = self.inner.store.representations(target).unwrap_or_default();
        for representation in stored.iter() {
            if let Err(error) = self.inner.store.forget(&representation.key).await {
                warn!(host = target.host(), %error, "an outdated representation could not be dropped");
            }
        }
    }

    /// What is known of a stored object.
    pub fn object(&self, id: &ObjectId) -> Result<Option<Arc<ObjectInfo>>, FetchError> {
        self.inner.store.object(id).map_err(shelf)
    }

    /// The stored object of a digest.
    pub fn object_by_digest(&self, digest: &Digest) -> Result<Option<Arc<ObjectInfo>>, FetchError> {
        self.inner.store.object_by_digest(digest).map_err(shelf)
    }

    /// Reads a range of a stored object; nothing when it is gone.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn open(&self, id: &ObjectId, range: ByteRange) -> Result<Option<Reader>, FetchError> {
        let body = self.inner.store.open_object(id).await.map_err(shelf)?;
        Ok(body.map(|body| Reader::stored(body, range, Arc::clone(&self.inner.counters))))
    }

    /// Asks the origin at once, or joins whoever asks it already.
    ///
    /// # Cancel safety
    /// Dropping the future takes the wish back; a fetch that others joined goes on.
    pub async fn fetch(&self, wish: Wish) -> Result<Fetched, FetchError> {
        if let Some(job) = self.inner.running.joinable(&wish) {
            return self.join(&job, wish.range);
        }
        if wish.company == Company::Alone || wish.verb == Verb::Head {
            return self.ask_alone(wish).await;
        }
        // A 304 to its conditions could be nobody else's.
        if !wish.conditions.is_empty() && !self.inner.running.is_asked(&wish.target) {
            return self.ask_alone(wish).await;
        }
        match self.inner.running.ask(&wish.target) {
            Turn::Ours(outcome) => {
                self.spawn_question(wish, Some(outcome)).await.unwrap_or(Err(FetchError::Stopping))
            }
            Turn::Waiting(outcome) => self.follow(outcome, wish).await,
        }
    }

    async fn follow(&self, mut outcome: watch::Receiver<Outcome>, wish: Wish) -> Result<Fetched, FetchError> {
        let outcome = match outcome.wait_for(|outcome| !matches!(outcome, Outcome::Pending)).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => return Err(FetchError::Stopping),
        };
        match outcome {
            Outcome::Job(job) if job.suits(&wish.headers) => self.join(&job, wish.range),
            Outcome::Renewed(stored) if wish.stored.as_ref().is_some_and(|mine| mine.key == stored.key) => {
                Ok(Fetched::Renewed(*stored))
            }
            Outcome::Failed(error) => Err(FetchError::Ask(error)),
            _ => self.ask_alone(wish).await,
        }
    }

    /// The question is a task of its own: who asked first may leave, others wait for it.
    fn spawn_question(
        &self,
        wish: Wish,
        others: Option<watch::Sender<Outcome>>,
    ) -> oneshot::Receiver<Result<Fetched, FetchError>> {
        let (answer, asker) = oneshot::channel();
        let (fetcher, stop) = (self.clone(), self.inner.stop.clone());
        self.inner.tasks.spawn(
            async move {
                let target = wish.target.clone();
                let asking = Asking { fetcher: &fetcher, wish };
                let (fetched, outcome) = tokio::select! {
                    () = stop.cancelled() => (Err(FetchError::Stopping), Outcome::Alone),
                    asked = asking.run() => asked,
                };
                if let Some(others) = others {
                    fetcher.inner.running.answered(&target, &others);
                    others.send_replace(outcome);
                }
                // Who asked may be gone.
                let _ = answer.send(fetched);
            }
            .boxed(),
        );
        asker
    }

    async fn ask_alone(&self, wish: Wish) -> Result<Fetched, FetchError> {
        self.spawn_question(wish, None).await.unwrap_or(Err(FetchError::Stopping))
    }

    /// Waits until what is all here of a target is on the shelf, for a moment at most; says whether there was such.
    /// `served` is what is on the shelf and would be served: only what is newer counts then. Otherwise what the request
    /// may use as it is does not: it is joined.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn filing(&self, target: &Target, request: &HeaderMap, served: Option<&Head>) -> bool {
        let Some(job) = self.inner.running.whole(target, request, served) else { return false };
        tokio::time::timeout(FILING_LIMIT, job.filed.cancelled()).await.is_ok()
    }

    /// Asks the origin in the background whether what is served meanwhile still holds (RFC 5861 section 3), unless
    /// somebody asks it already.
    pub fn refresh(&self, wish: &Wish) {
        // Nobody waits for the answer: what comes of it is on the shelf for the next one.
        if self.inner.running.joinable(wish).is_none()
            && let Turn::Ours(outcome) = self.inner.running.ask(&wish.target)
        {
            drop(self.spawn_question(wish.clone(), Some(outcome)));
        }
    }

    fn join(&self, job: &Arc<Shared>, wish: Option<ByteWish>) -> Result<Fetched, FetchError> {
        let collapsed = if job.is_whole() { Collapsed::Whole } else { Collapsed::Joined };
        let arriving = self.seat(job, wish)?;
        Ok(Fetched::Arriving(Arriving { collapsed, ..arriving }))
    }

    /// A place in a job's audience.
    pub(crate) fn seat(&self, job: &Shared, wish: Option<ByteWish>) -> Result<Arriving, FetchError> {
        let length = job.draft.length.or(job.body.length()).or(job.audience.length());
        // RFC 9110 section 14.2: a range is one of a successful answer.
        let wish = wish.filter(|_| job.draft.head.status == http::StatusCode::OK);
        let range = match (wish, length) {
            (Some(wish), Some(length)) => {
                Some(wish.resolve(length).ok_or(FetchError::Unsatisfiable { length })?)
            }
            // Without a length a range cannot be told: the whole is an answer too (RFC 9110 section 14.2).
            _ => None,
        };
        let (start, end) = range.map_or((0, length), |range| (range.start(), Some(range.end())));
        let counters = Arc::clone(&self.inner.counters);
        let whole = start == 0 && end == length;
        let extent = if whole { Extent::Whole } else { Extent::Part };
        let reader = Reader::arriving(job.body.clone(), start, end, counters, &job.audience, extent);
        Ok(Arriving {
            head: job.draft.head.clone(),
            length,
            range,
            collapsed: Collapsed::Own,
            partial: false,
            delivered: job.audience.bytes_by_source(),
            reader,
        })
    }

    /// What is being fetched now.
    pub fn jobs(&self) -> Vec<JobView> {
        self.inner.running.jobs()
    }

    /// The latest jobs that ended, the latest first: for those who ask after the fact where the bytes came from.
    pub fn ended(&self) -> Vec<JobView> {
        self.inner.running.ended()
    }

    /// Whether nobody answered at the origin of `target` within the last minute, nor has since.
    pub fn is_away(&self, target: &Target) -> bool {
        self.inner.absences.is_suspected(target)
    }

    /// What became of the latest questions to origins.
    pub fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    /// What was counted since start.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.inner.counters
    }

    /// Ends all jobs; their parts are kept.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

/// The moment, for heads and records.
pub(crate) fn unix_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(crate) fn shelf(error: impl std::error::Error + Send + Sync + 'static) -> FetchError {
    FetchError::Shelf(Box::new(error))
}

/// A head whose status and length are those of the whole.
pub(crate) fn as_whole(head: &Head, length: Option<u64>) -> Head {
    let mut whole = head.clone();
    if whole.status == http::StatusCode::PARTIAL_CONTENT {
        whole.status = http::StatusCode::OK;
    }
    whole.headers.remove(http::header::CONTENT_RANGE);
    whole.headers.remove(http::header::TRANSFER_ENCODING);
    match length {
        Some(length) => whole.headers.insert(http::header::CONTENT_LENGTH, length.into()),
        None => whole.headers.remove(http::header::CONTENT_LENGTH),
    };
    whole
}

/// The byte at the edge of the group below.
pub(crate) fn group_floor(offset: u64) -> u64 {
    offset / GROUP_BYTES * GROUP_BYTES
}
