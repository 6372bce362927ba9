//! One question to the origin, from the wish to what came of it.
//!
//! Knows which part to ask for: what a resumed fetch lacks, the window around a small range, or the whole. Knows what
//! an answer can become: a renewed representation, a job, or a body that passes through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, StatusCode};
use kith_model::freshness::{self, Reach};
use kith_model::key::{CacheKey, Variant};
use kith_model::ladder::Strength;
use kith_model::limits::MIRROR_OBJECT_BYTES_MIN;
use kith_model::range::{ByteRange, GROUP_BYTES, GroupSpan};
use kith_model::representation::{Head, Representation};
use kith_store::{CreateError, Draft, Writer};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::ask::{Answer, AskError, Part, Question, Verb};
use crate::assemble;
use crate::audience::Audience;
use crate::drafted::Drafted;
use crate::fetcher::{Fetcher, group_floor, unix_now};
use crate::job::{Beginning, Job, span_of};
use crate::journal::Event;
use crate::plan::PIECE;
use crate::running::{Outcome, Shared};
use crate::wish::{Arriving, ByteWish, Company, FetchError, Fetched, Passing, Wish};

/// Bytes around a small range that are fetched with it.
const WINDOW_BYTES: u64 = PIECE * GROUP_BYTES;

/// A confirmation is noted at most this often when what is noted stays fresh that long anyway.
const NOTED_EVERY: Duration = Duration::from_secs(60);

/// Statuses by which an origin takes a file back (DESIGN: withdrawal).
const WITHDRAWALS: [StatusCode; 4] = [
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::GONE,
    StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
];

pub(crate) struct Asking<'a> {
    pub(crate) fetcher: &'a Fetcher,
    pub(crate) wish: Wish,
}

impl Asking<'_> {
    pub(crate) async fn run(self) -> (Result<Fetched, FetchError>, Outcome) {
        let absences = &self.fetcher.inner.absences;
        if let Some(error) = absences.just_now(&self.wish.target) {
            return failed(error);
        }
        let unfinished = self.unfinished();
        let question = self.question(unfinished.as_ref());
        self.fetcher.inner.counters.asked.add(1);
        match self.fetcher.inner.origin.ask(question).await {
            Ok(answer) if self.is_about_another(&answer) => {
                let wish = Wish { stored: None, conditions: HeaderMap::new(), ..self.wish };
                Box::pin(Asking { fetcher: self.fetcher, wish }.run()).await
            }
            Ok(answer) => {
                absences.clear(&self.wish.target);
                self.settle(answer, unfinished).await
            }
            Err(error) => {
                self.note(Event::Unanswered(error.to_string()));
                let error = Arc::new(error);
                absences.note(&self.wish.target, &error);
                failed(error)
            }
        }
    }

    /// A 304 by the tag of a version that was not asked about (RFC 9111 section 4.3.4): the whole is needed.
    fn is_about_another(&self, answer: &Answer) -> bool {
        let confirms = |stored: &Representation| freshness::confirms(&stored.head, &answer.head);
        answer.head.status == StatusCode::NOT_MODIFIED
            && self.wish.stored.as_ref().is_some_and(|stored| !confirms(stored))
    }

    /// RFC 9111 section 4.3.3: what is stored outlives the trouble of its origin, which may come with a lifetime.
    fn is_spared(&self, answer: &Answer) -> bool {
        let stored = || self.fetcher.inner.store.representations(&self.wish.target).unwrap_or_default();
        answer.head.status.is_server_error() && stored().iter().any(|one| one.head.status.is_success())
    }

    fn note(&self, event: Event) {
        if self.wish.company == Company::Shared {
            self.fetcher.inner.journal.note(unix_now(), &self.wish.target, event);
        }
    }

    /// The part that an earlier fetch left.
    fn unfinished(&self) -> Option<kith_store::Part> {
        if self.wish.stored.is_some() || self.wish.company == Company::Alone {
            return None;
        }
        // The answer's `Vary` is not known yet. Most have none, and most of the others name Accept-Encoding.
        let mut by_encoding = HeaderMap::new();
        by_encoding.insert(http::header::VARY, http::HeaderValue::from_static("accept-encoding"));
        let by_encoding = freshness::selecting(&by_encoding, &self.wish.headers).map(|(_, variant)| variant);
        [Some(Variant::ONLY), by_encoding].into_iter().flatten().find_map(|variant| {
            let key = CacheKey { target: self.wish.target.clone(), variant };
            self.fetcher.inner.store.unfinished(&key)
        })
    }

    fn question(&self, unfinished: Option<&kith_store::Part>) -> Question {
        let mut headers = self.wish.headers.clone();
        let conditions = match &self.wish.stored {
            Some(stored) => freshness::conditional(stored),
            None if unfinished.is_none() && self.wish.range.is_none() => self.wish.conditions.clone(),
            None => HeaderMap::new(),
        };
        headers.extend(conditions);
        let part = match unfinished {
            _ if self.wish.stored.is_some() || self.wish.verb == Verb::Head => None,
            Some(part) => self.rest_of(part),
            None => self.window(),
        };
        Question {
            target: self.wish.target.clone(),
            verb: self.wish.verb,
            headers,
            part,
            redirects: self.wish.redirects,
        }
    }

    /// What a resumed fetch asks for: from the first group that is wanted and not here.
    fn rest_of(&self, part: &kith_store::Part) -> Option<Part> {
        let length = part.draft.length?;
        let wanted = self.wish.range.map_or(Some(ByteRange::whole(length)), |wish| wish.resolve(length))?;
        let span = GroupSpan::covering(wanted);
        let gap = part.held.missing_in(span).next();
        // All of it is here: the origin is asked all the same, for the least there is.
        let start = gap.map_or(span.end().saturating_sub(1), GroupSpan::start) * GROUP_BYTES;
        let open = gap.is_some() && wanted.end() == length;
        let end = (!open).then(|| round_up(wanted.end()).min(length));
        Some(Part { start, end, of: part.draft.validator.clone() })
    }

    /// What is asked for around a range of an object that nothing is known of.
    fn window(&self) -> Option<Part> {
        match self.wish.range? {
            ByteWish::From(0) | ByteWish::Last(_) => None,
            ByteWish::From(start) => Some(Part { start: group_floor(start), end: None, of: None }),
            ByteWish::FromTo(start, end) => {
                let start = start / WINDOW_BYTES * WINDOW_BYTES;
                Some(Part { start, end: Some(round_up(end)), of: None })
            }
        }
    }

    async fn settle(
        self,
        answer: Answer,
        unfinished: Option<kith_store::Part>,
    ) -> (Result<Fetched, FetchError>, Outcome) {
        if let Some(stored) = &self.wish.stored
            && let Some(settled) = self.compare(stored, &answer.head).await
        {
            return settled;
        }
        if answer.head.status == StatusCode::RANGE_NOT_SATISFIABLE
            && let Some(length) = answer.length
        {
            return (Err(FetchError::Unsatisfiable { length }), Outcome::Alone);
        }
        if self.wish.verb == Verb::Head || self.is_spared(&answer) {
            return passed(answer, Passing::NotStorable);
        }
        let drafted = match Drafted::of(&answer, &self.wish) {
            Ok(drafted) => drafted,
            Err(why) => {
                debug!(host = self.wish.target.host(), %why, "not stored");
                self.note(Event::Passed(answer.head.status, why));
                self.superseded(&answer.head).await;
                return passed(answer, Passing::NotStorable);
            }
        };
        match self.writer(&drafted.draft, unfinished).await {
            Ok(writer) => self.start(writer, drafted, answer),
            Err(error) => {
                warn!(host = self.wish.target.host(), %error, "the shelf cannot take the object: it passes through");
                self.note(Event::Passed(answer.head.status, format!("the shelf cannot take it: {error}")));
                passed(answer, Passing::Storage)
            }
        }
    }

    /// What an answer says of the stored response that was asked about; nothing when it is an answer of its own.
    async fn compare(
        &self,
        stored: &Representation,
        answer: &Head,
    ) -> Option<(Result<Fetched, FetchError>, Outcome)> {
        if answer.status == StatusCode::NOT_MODIFIED {
            return Some(self.renewed(stored, answer).await);
        }
        // RFC 9111 section 4.3.5.
        if self.wish.verb == Verb::Head && answer.status == StatusCode::OK {
            if freshness::described_by(stored, answer) {
                return Some(self.renewed(stored, answer).await);
            }
            self.file(freshness::outdated(stored)).await;
        }
        // What one person is forbidden may be anybody else's.
        let is_personal = self.wish.company == Company::Alone && answer.status == StatusCode::FORBIDDEN;
        if WITHDRAWALS.contains(&answer.status) && !is_personal {
            self.note(Event::Withdrawn(answer.status));
            // What a client with credentials is refused says nothing about what others get.
            if self.wish.company == Company::Shared {
                self.fetcher.tell_withdrawn(stored);
            }
            self.withdrawn(stored).await;
        }
        None
    }

    /// A newer answer that may not be kept takes the place of the older one all the same.
    async fn superseded(&self, answer: &Head) {
        let is_newer = (self.wish.verb, self.wish.company) == (Verb::Get, Company::Shared);
        let Some((_, variant)) = freshness::selecting(&answer.headers, &self.wish.headers)
            .filter(|_| is_newer && answer.status.is_success())
        else {
            return;
        };
        let key = CacheKey { target: self.wish.target.clone(), variant };
        let stored = self.fetcher.inner.store.representations(&self.wish.target).unwrap_or_default();
        if stored.iter().any(|one| one.key == key) {
            self.fetcher.forget(&key).await;
        }
    }

    async fn renewed(
        &self,
        stored: &Representation,
        confirmed: &Head,
    ) -> (Result<Fetched, FetchError>, Outcome) {
        // The asker gets all that the origin said; what is kept is what others may get.
        let told = freshness::renewed(&stored.head, confirmed);
        let mut renewed = Representation { head: freshness::kept(told.clone()), ..stored.clone() };
        let for_asker = Representation { head: told, ..stored.clone() };
        self.note(Event::Confirmed);
        // A confirmation may take the permission to store back (RFC 9111 section 4.3.4): this client is the last.
        if freshness::keepable(&for_asker.head).is_err() {
            self.withdrawn(stored).await;
            return (Ok(Fetched::Renewed(for_asker)), Outcome::Alone);
        }
        // It may have been stored for other selecting fields; from now on it stands for these too (section 4.3.4).
        if let Some((selecting, variant)) = freshness::selecting(&renewed.head.headers, &self.wish.headers) {
            renewed.selecting = selecting;
            renewed.key.variant = variant;
        }
        // What was noted a moment ago is not written again: it costs flash and changes nothing that a client sees.
        let is_news = renewed.head.received_at.since(stored.head.received_at) >= NOTED_EVERY
            || renewed.key != stored.key
            || freshness::is_news(&stored.head, &renewed.head);
        if is_news || freshness::lifetime(&stored.head) <= NOTED_EVERY {
            self.file(renewed.clone()).await;
        }
        (Ok(Fetched::Renewed(for_asker)), Outcome::Renewed(Box::new(renewed)))
    }

    /// What was confirmed is served also when the shelf cannot note that it was.
    async fn file(&self, representation: Representation) {
        if let Err(error) = self.fetcher.inner.store.refresh(representation).await {
            debug!(%error, "a confirmation could not be noted");
        }
    }

    async fn withdrawn(&self, stored: &Representation) {
        tracing::info!(host = self.wish.target.host(), "the origin took a file back");
        if let Err(error) = self.fetcher.inner.store.forget(&stored.key).await {
            warn!(%error, "a file that the origin took back could not be dropped");
        }
    }

    /// Goes on with the part that is here when it is one of the same version, or begins anew.
    async fn writer(
        &self,
        draft: &Draft,
        unfinished: Option<kith_store::Part>,
    ) -> Result<Writer, CreateError> {
        let same = |part: &kith_store::Part| {
            part.draft.key == draft.key
                && part.draft.length == draft.length
                && part.draft.validator.is_some()
                && part.draft.validator == draft.validator
        };
        if unfinished.as_ref().is_some_and(same)
            && let Some(writer) = self.fetcher.inner.store.resume(&draft.key).await?
        {
            return Ok(writer);
        }
        self.fetcher.inner.store.create(draft.clone()).await
    }

    fn start(
        self,
        writer: Writer,
        drafted: Drafted,
        answer: Answer,
    ) -> (Result<Fetched, FetchError>, Outcome) {
        let draft = writer.draft();
        let told = draft.ladder.told() > Strength::None;
        let held = writer.held();
        let partial = !held.is_empty();
        let audience = Arc::new(Audience::new(held, told));
        let shared = Arc::new(Shared {
            draft: draft.clone(),
            body: writer.body(),
            audience: Arc::clone(&audience),
            filed: CancellationToken::new(),
            outdated: AtomicBool::new(false),
        });
        // The asker sits down before the job looks who is there.
        let seated = self.fetcher.seat(&shared, self.wish.range);
        let arriving = seated.map(|seated| Arriving { head: drafted.head, partial, ..seated });
        let end = answer.end.or(draft.length);
        let first = assemble::lane(answer.body, kith_model::range::ChunkGroup::holding(answer.start), end);
        // Mirrors and descriptions are asked only for what is worth it, and nobody is told of what is one person's.
        let worth_it = draft.length.is_some_and(|length| length >= MIRROR_OBJECT_BYTES_MIN);
        let leads = match (&answer.source, drafted.reach) {
            (Some(source), Reach::Anyone) if worth_it && self.wish.company == Company::Shared => {
                source.leads()
            }
            _ => stream::empty().boxed(),
        };
        // Who cannot be asked for a part has to send all of it.
        let has_ranges = answer.source.as_ref().is_some_and(|source| source.abilities().ranges);
        let gathering = match drafted.reach {
            Reach::Anyone if has_ranges => self.fetcher.gather(&draft, writer.body()),
            _ => None,
        };
        let job = Job::begin(Beginning {
            writer,
            audience,
            counters: Arc::clone(&self.fetcher.inner.counters),
            holders: Arc::clone(&self.fetcher.inner.holders),
            origin: answer.source,
            first,
            first_span: span_of(answer.start, end),
            found: match drafted.reach {
                Reach::Anyone => self.fetcher.find(&draft),
                Reach::Household => stream::empty().boxed(),
            },
            reach: drafted.reach,
            leads,
            gathering,
            host: self.wish.target.host().to_owned(),
            speeds: Arc::clone(&self.fetcher.inner.speeds),
            seed: unix_now().0,
        });
        self.fetcher.inner.running.publish(&shared);
        let (fetcher, stop, ended) =
            (self.fetcher.clone(), self.fetcher.inner.stop.clone(), Arc::clone(&shared));
        let company = self.wish.company;
        self.fetcher.inner.tasks.spawn(
            async move {
                let (event, bequest) = job.run(stop).await;
                if company == Company::Shared {
                    fetcher.inner.journal.note(unix_now(), &ended.draft.key.target, event);
                }
                if ended.outdated.load(Relaxed) {
                    // An unsafe request has changed what it stood for (RFC 9111 section 4.4).
                    fetcher.forget(&ended.draft.key).await;
                }
                let is_good = !ended.outdated.load(Relaxed);
                fetcher.inner.running.withdraw(&ended);
                // Nothing is kept open for it but its file.
                drop(ended);
                if let Some(share) = bequest.filter(|_| is_good) {
                    fetcher.linger(share).await;
                }
            }
            .boxed(),
        );
        let outcome = if company == Company::Alone { Outcome::Alone } else { Outcome::Job(shared) };
        (arriving.map(Fetched::Arriving), outcome)
    }
}

impl Fetcher {
    async fn forget(&self, key: &CacheKey) {
        if let Err(error) = self.inner.store.forget(key).await {
            warn!(%error, "an outdated representation could not be dropped");
        }
    }

    /// Lets the origin count a download that is served from the shelf: a conditional GET in the background. A 304
    /// renews what is stored, another version is left for the next client to fetch, and a withdrawal (403, 404, 410,
    /// 451) takes it off the shelf.
    pub fn touch(&self, stored: Representation, headers: HeaderMap) {
        let Ok(place) = Arc::clone(&self.inner.touches).try_acquire_owned() else {
            debug!(host = stored.key.target.host(), "too many touches are on their way; one is left out");
            return;
        };
        let (fetcher, stop) = (self.clone(), self.inner.stop.clone());
        self.inner.tasks.spawn(
            async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = fetcher.touch_now(stored, headers) => {}
                }
                drop(place);
            }
            .boxed(),
        );
    }

    async fn touch_now(&self, stored: Representation, headers: HeaderMap) {
        let wish = Wish {
            target: stored.key.target.clone(),
            verb: Verb::Get,
            headers,
            conditions: HeaderMap::new(),
            range: None,
            stored: Some(stored.clone()),
            redirects: crate::ask::Redirects::Follow,
            company: Company::Alone,
        };
        let asking = Asking { fetcher: self, wish };
        let question = asking.question(None);
        self.inner.counters.asked.add(1);
        let answer = self.inner.origin.ask(question).await;
        if answer.is_ok() {
            self.inner.absences.clear(&stored.key.target);
        }
        match answer {
            Ok(answer) if answer.head.status == StatusCode::NOT_MODIFIED => {
                let _ = asking.renewed(&stored, &answer.head).await;
            }
            Ok(answer) if WITHDRAWALS.contains(&answer.head.status) => {
                let event = Event::Withdrawn(answer.head.status);
                self.inner.journal.note(unix_now(), &stored.key.target, event);
                self.tell_withdrawn(&stored);
                asking.withdrawn(&stored).await;
            }
            Ok(answer) => debug!(host = stored.key.target.host(), status = %answer.head.status, "touched"),
            Err(error) => debug!(host = stored.key.target.host(), %error, "the origin could not be touched"),
        }
    }
}

fn round_up(offset: u64) -> u64 {
    offset.checked_next_multiple_of(WINDOW_BYTES).unwrap_or(offset)
}

fn passed(answer: Answer, why: Passing) -> (Result<Fetched, FetchError>, Outcome) {
    (Ok(Fetched::Passed(answer, why)), Outcome::Alone)
}

fn failed(error: Arc<AskError>) -> (Result<Fetched, FetchError>, Outcome) {
    (Err(FetchError::Ask(Arc::clone(&error))), Outcome::Failed(error))
}
