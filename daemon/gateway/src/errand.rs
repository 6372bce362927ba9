//! The walk of one request for a URL: look it up, decide, fetch or serve, respond.
//!
//! Owns the story of one request: what is stored, what was decided, what came of asking. Knows no socket and not how
//! bytes come: that is the fetcher's.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, Response, StatusCode};
use kith_fetch::ask::{Answer, AskError, Redirects, Verb};
use kith_fetch::wish::{Arriving, ByteWish, Collapsed, Company, FetchError, Fetched, Passing, Wish};
use kith_model::freshness::{self, Asked, Decision, State, Trouble};
use kith_model::key::Target;
use kith_model::limits::{ABSENT_PATIENCE, TOUCH_BYTES_MIN};
use kith_model::range::ByteRange;
use kith_model::representation::{Head, Representation};
use kith_model::time::UnixMillis;
use tracing::{debug, info};

use crate::answer::{Answered, Answerer, Touch, refusal, resolved};
use crate::body::Body;
use crate::conditions::Verdict;
use crate::counters::Outcome;
use crate::refusal::Refusal;
use crate::request::{Demand, Door};
use crate::respond::{self, CacheStatus, Forwarded};

/// One request for a URL.
pub(crate) struct Errand<'a> {
    gateway: &'a Answerer,
    demand: Demand,
    target: Target,
    door: Door,
    now: UnixMillis,
}

impl<'a> Errand<'a> {
    pub(crate) fn new(gateway: &'a Answerer, demand: Demand, target: Target, door: Door) -> Self {
        Self { gateway, demand, target, door, now: now() }
    }

    /// # Cancel safety
    /// Dropping the future takes the wish back; fetches that others joined go on.
    pub(crate) async fn run(self) -> Answered {
        let mut stored = self.stored();
        let mut decision = self.decide(&stored);
        // What came whole a moment ago and is not on the shelf yet counts as if it were.
        let served = match decision {
            Decision::Serve { index, .. } => Some(&stored[index].head),
            _ => None,
        };
        if self.gateway.fetcher.filing(&self.target, &self.demand.headers, served).await {
            stored = self.stored();
            decision = self.decide(&stored);
        }
        match decision {
            Decision::Serve { index, age, state } => {
                let lifetime = freshness::lifetime(&stored[index].head);
                let status = match state {
                    State::Fresh => CacheStatus::Hit(lifetime.saturating_sub(age)),
                    State::Tolerated | State::Revalidating => {
                        CacheStatus::Stale(age.saturating_sub(lifetime))
                    }
                };
                match self.serve(stored[index].clone(), status).await? {
                    Some(response) => {
                        self.follow_up(&stored[index], state);
                        Ok((response, Outcome::Hit))
                    }
                    None => self.fetch(None, Forwarded::UriMiss, &[]).await,
                }
            }
            Decision::Revalidate { index, lack } => self.revalidate(&stored, index, lack.into()).await,
            Decision::Fetch { lack } => self.fetch(None, lack.into(), &stored).await,
            Decision::PassThrough { .. } => self.fetch(None, Forwarded::Bypass, &stored).await,
            Decision::OnlyIfCached504 => Err(Refusal::OnlyIfCached),
        }
    }

    /// Asks the origin about a stored response; not for longer than a moment when it was away of late: the question goes
    /// on, and finds it back.
    async fn revalidate(&self, stored: &[Representation], index: usize, forwarded: Forwarded) -> Answered {
        let ask = || self.fetch(Some(stored[index].clone()), forwarded, stored);
        if !self.gateway.fetcher.is_away(&self.target) {
            return ask().await;
        }
        if let Ok(answered) = tokio::time::timeout(ABSENT_PATIENCE, ask()).await {
            return answered;
        }
        match self.offline(stored, Trouble::Unreachable).await? {
            Some(stale) => Ok((stale, Outcome::Stale)),
            None => ask().await,
        }
    }

    fn decide(&self, stored: &[Representation]) -> Decision {
        let method = method(self.demand.verb);
        freshness::decide(self.now, &Asked { method: &method, headers: &self.demand.headers }, stored)
    }

    fn stored(&self) -> Arc<[Representation]> {
        // What the index cannot tell counts as not stored: the origin is there.
        let stored = self.gateway.fetcher.representations(&self.target).unwrap_or_else(|error| {
            debug!(%error, "the index could not be read");
            Arc::default()
        });
        // Where redirects are followed, one that another client was handed is no answer.
        let follows = self.demand.redirects == Redirects::Follow;
        if follows && stored.iter().any(|one| one.head.status.is_redirection()) {
            return stored.iter().filter(|one| !one.head.status.is_redirection()).cloned().collect();
        }
        stored
    }

    /// Answers with a stored representation; nothing when its object is gone or cannot be read.
    async fn serve(
        &self,
        stored: Representation,
        status: CacheStatus,
    ) -> Result<Option<Response<Body>>, Refusal> {
        let age = freshness::age(self.now, &stored.head);
        if let Some(response) = self.judged(&stored.head, status)? {
            return Ok(Some(response));
        }
        let code = stored.head.status;
        let whole = if code == StatusCode::OK {
            resolved(&self.demand, &stored.head.headers, stored.length)?
        } else {
            // RFC 9110 section 14.2: a range is one of a successful answer.
            None
        };
        let mut headers = respond::site_fields(stored.head.headers, self.door, status, Some(age));
        if let Ok(Some(info)) = self.gateway.fetcher.object(&stored.object) {
            respond::tell_digest(&mut headers, &info.ladder);
        }
        let content = self.gateway.stored_content(
            headers,
            code,
            &stored.object,
            whole,
            stored.length,
            self.demand.verb,
        );
        Ok(content.await.unwrap_or_else(|error| {
            info!(host = self.target.host(), %error, "a stored object is fetched anew");
            None
        }))
    }

    async fn fetch(
        &self,
        stored: Option<Representation>,
        forwarded: Forwarded,
        all_stored: &[Representation],
    ) -> Answered {
        match self.gateway.fetcher.fetch(self.wish(stored.clone(), self.demand.range)).await {
            Ok(Fetched::Renewed(renewed)) => self.confirmed(renewed, forwarded).await,
            Ok(Fetched::Arriving(arriving)) => {
                if let Some(stale) = self.stale_instead_of(arriving.head.status, all_stored).await? {
                    return Ok((stale, Outcome::Stale));
                }
                self.arriving(arriving, forwarded).await
            }
            Ok(Fetched::Passed(answer, why)) => {
                if let Some(stale) = self.stale_instead_of(answer.head.status, all_stored).await? {
                    return Ok((stale, Outcome::Stale));
                }
                self.passed(answer, why, forwarded)
            }
            Err(FetchError::Ask(error)) if is_trouble(&error) => {
                if let Some(stale) = self.offline(all_stored, Trouble::Unreachable).await? {
                    info!(host = self.target.host(), %error, "served stale");
                    return Ok((stale, Outcome::Stale));
                }
                Err(Refusal::Origin(error))
            }
            Err(error) => Err(refusal(error)),
        }
    }

    fn wish(&self, stored: Option<Representation>, range: Option<ByteWish>) -> Wish {
        Wish {
            target: self.target.clone(),
            verb: self.demand.verb,
            headers: self.demand.headers.clone(),
            conditions: self.demand.conditions.for_origin(),
            range,
            stored,
            redirects: self.demand.redirects,
            company: self.demand.company,
        }
    }

    async fn confirmed(&self, renewed: Representation, forwarded: Forwarded) -> Answered {
        self.look_around(&renewed);
        match self.serve(renewed, CacheStatus::Confirmed(forwarded)).await? {
            Some(response) => Ok((response, Outcome::Confirmed)),
            // It went away in between: once more, with nothing stored.
            None => match self.gateway.fetcher.fetch(self.wish(None, self.demand.range)).await {
                Ok(Fetched::Arriving(arriving)) => self.arriving(arriving, forwarded).await,
                Ok(Fetched::Passed(answer, why)) => self.passed(answer, why, forwarded),
                Ok(Fetched::Renewed(_)) => Err(Refusal::Shelf),
                Err(error) => Err(refusal(error)),
            },
        }
    }

    async fn arriving(&self, mut arriving: Arriving, forwarded: Forwarded) -> Answered {
        let collapsed = arriving.collapsed == Collapsed::Joined;
        let forwarded = if arriving.partial { Forwarded::Partial } else { forwarded };
        let (status, delivered) = (arriving.head.status, arriving.delivered);
        let stored = CacheStatus::Stored { forwarded, status, collapsed, delivered };
        let age = freshness::age(self.now, &arriving.head);
        let left = freshness::lifetime(&arriving.head).saturating_sub(age);
        let (status, outcome) = match arriving.collapsed {
            Collapsed::Own => (stored, Outcome::Miss),
            Collapsed::Joined => (stored, Outcome::Collapsed),
            Collapsed::Whole => (CacheStatus::Hit(left), Outcome::Hit),
        };
        if let Some(response) = self.judged(&arriving.head, status)? {
            return Ok((response, outcome));
        }
        if arriving.range.is_some() && !self.demand.conditions.range_applies(&arriving.head.headers) {
            match self.gateway.fetcher.fetch(self.wish(None, None)).await {
                Ok(Fetched::Arriving(whole)) => arriving = whole,
                Ok(Fetched::Passed(answer, why)) => return self.passed(answer, why, forwarded),
                Ok(Fetched::Renewed(renewed)) => return Box::pin(self.confirmed(renewed, forwarded)).await,
                Err(error) => return Err(refusal(error)),
            }
        }
        let age = freshness::age(self.now, &arriving.head);
        let age = (age.as_secs() > 0).then_some(age);
        let code = arriving.head.status;
        let headers = respond::site_fields(arriving.head.headers, self.door, status, age);
        let body = Body::reading(arriving.reader, &self.gateway.shares);
        let part = arriving.range.filter(|_| code == StatusCode::OK);
        let response = respond::content(headers, code, part, arriving.length, self.demand.verb, body);
        Ok((response, outcome))
    }

    /// The origin's answer as it is; of more bytes than were asked for, those that were.
    fn passed(&self, answer: Answer, why: Passing, forwarded: Forwarded) -> Answered {
        let status = answer.head.status;
        let cache_status = match why {
            Passing::Storage => CacheStatus::Storage,
            Passing::NotStorable => CacheStatus::Passed { forwarded, status },
        };
        let (door, verb) = (self.door, self.demand.verb);
        let fields = |headers| respond::site_fields(headers, door, cache_status, None);
        let is_known =
            status.is_success() && self.demand.conditions.judge(&answer.head.headers) == Verdict::NotModified;
        if is_known || status == StatusCode::NOT_MODIFIED {
            return Ok((respond::not_modified(fields(answer.head.headers)), Outcome::Passed));
        }
        let carried =
            || answer.length.or(answer.end).map(|end| answer.end.unwrap_or(end).saturating_sub(answer.start));
        // The answer to a HEAD carries nothing and tells the length all the same.
        let sent = if verb == Verb::Head { answer.length } else { carried() };
        if status != StatusCode::PARTIAL_CONTENT {
            let body = Body::passing(answer.body, 0, sent);
            return Ok((
                respond::passed(status, fields(answer.head.headers), sent, verb, body),
                Outcome::Passed,
            ));
        }
        let Some(length) = answer.length else {
            return Err(Refusal::Origin(nonsense(&self.target, "a part of an unknown whole")));
        };
        // Only what we asked for can have come, and that is what the client asked for, or a window around it.
        let end = answer.end.unwrap_or(length);
        let wanted = self.demand.range.map_or(Some(ByteRange::whole(length)), |range| range.resolve(length));
        let wanted = wanted.ok_or(Refusal::Range { length })?;
        if wanted.start() < answer.start || wanted.end() > end {
            return Err(Refusal::Origin(nonsense(&self.target, "another part than was asked for")));
        }
        let body = Body::passing(answer.body, wanted.start() - answer.start, Some(wanted.len()));
        let part = self.demand.range.is_some().then_some(wanted);
        let fields = fields(answer.head.headers);
        let response = respond::content(fields, StatusCode::OK, part, Some(length), verb, body);
        Ok((response, Outcome::Passed))
    }

    async fn offline(
        &self,
        stored: &[Representation],
        trouble: Trouble,
    ) -> Result<Option<Response<Body>>, Refusal> {
        let method = method(self.demand.verb);
        let asked = Asked { method: &method, headers: &self.demand.headers };
        match freshness::fallback(self.now, &asked, stored, trouble) {
            Some(index) => self.serve(stored[index].clone(), CacheStatus::Offline).await,
            None => Ok(None),
        }
    }

    /// RFC 9111 section 4.3.3: a server in trouble may count as one that did not answer.
    async fn stale_instead_of(
        &self,
        status: StatusCode,
        stored: &[Representation],
    ) -> Result<Option<Response<Body>>, Refusal> {
        if status.is_server_error() {
            self.offline(stored, Trouble::Answered(status)).await
        } else {
            Ok(None)
        }
    }

    /// RFC 9110 section 13.2.1: preconditions are about successful answers.
    fn judged(&self, head: &Head, status: CacheStatus) -> Result<Option<Response<Body>>, Refusal> {
        if !head.status.is_success() {
            return Ok(None);
        }
        match self.demand.conditions.judge(&head.headers) {
            Verdict::Proceed => Ok(None),
            Verdict::Failed => Err(Refusal::Precondition),
            Verdict::NotModified => {
                let age = freshness::age(self.now, head);
                let headers = respond::site_fields(head.headers.clone(), self.door, status, Some(age));
                Ok(Some(respond::not_modified(headers)))
            }
        }
    }

    /// What a hit still lets the origin know.
    fn follow_up(&self, stored: &Representation, state: State) {
        self.look_around(stored);
        if state == State::Revalidating {
            self.gateway.fetcher.refresh(&Wish { verb: Verb::Get, ..self.wish(Some(stored.clone()), None) });
        } else {
            self.touch(stored);
        }
    }

    /// The next client can be told who else holds it.
    fn look_around(&self, stored: &Representation) {
        if self.demand.company == Company::Shared {
            self.gateway.fetcher.look_around(stored);
        }
    }

    /// Lets the origin count a download: one for each file, however many pieces it is read in.
    fn touch(&self, stored: &Representation) {
        let from_front = match self.demand.range {
            None => true,
            Some(ByteWish::From(start) | ByteWish::FromTo(start, _)) => start == 0,
            Some(ByteWish::Last(_)) => false,
        };
        let wanted = self.demand.verb == Verb::Get && from_front && stored.length >= TOUCH_BYTES_MIN;
        let due = match self.gateway.touch {
            Touch::Downloads => true,
            Touch::Daily => self.now.since(stored.head.received_at).as_secs() >= 24 * 60 * 60,
            Touch::Rfc9111 => false,
        };
        if wanted && due && self.demand.company == Company::Shared {
            self.gateway.fetcher.touch(stored.clone(), self.demand.headers.clone());
        }
    }
}

/// Whether the origin gave no answer that can be used, as opposed to us not asking it.
fn is_trouble(error: &AskError) -> bool {
    !matches!(error, AskError::Denied(_) | AskError::Redirects(_) | AskError::Loop)
}

fn nonsense(target: &Target, what: &'static str) -> std::sync::Arc<AskError> {
    std::sync::Arc::new(AskError::Nonsense(target.host().to_owned(), what))
}

/// As freshness takes it.
fn method(verb: Verb) -> Method {
    match verb {
        Verb::Get => Method::GET,
        Verb::Head => Method::HEAD,
    }
}

pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
