//! The walk of one request for a URL: look it up, decide, fetch or serve, respond.
//!
//! Owns the story of one request: what is stored, what was decided, what came of asking. Knows no socket and not how
//! bytes come: that is the fetcher's.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method, Response, StatusCode};
use kith_fetch::ask::{Answer, AskError, Verb};
use kith_fetch::wish::{Arriving, ByteWish, Company, FetchError, Fetched, Passing, Wish};
use kith_model::freshness::{self, Asked, Decision};
use kith_model::key::Target;
use kith_model::limits::TOUCH_BYTES_MIN;
use kith_model::range::ByteRange;
use kith_model::representation::Representation;
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
        // What the index cannot tell counts as not stored: the origin is there.
        let stored = self.gateway.fetcher.representations(&self.target).unwrap_or_else(|error| {
            debug!(%error, "the index could not be read");
            std::sync::Arc::default()
        });
        let method = method(self.demand.verb);
        let asked = Asked { method: &method, headers: &self.demand.headers };
        match freshness::decide(self.now, &asked, &stored) {
            Decision::Serve { index, stale, .. } => {
                let served = self.serve(stored[index].clone(), CacheStatus::Hit { stale }).await?;
                match served {
                    Some(response) => {
                        self.touch(&stored[index]);
                        Ok((response, Outcome::Hit))
                    }
                    None => self.fetch(None, Forwarded::UriMiss, &[]).await,
                }
            }
            Decision::Revalidate { index, .. } => {
                self.fetch(Some(stored[index].clone()), Forwarded::Stale, &stored).await
            }
            Decision::Fetch if stored.is_empty() => self.fetch(None, Forwarded::UriMiss, &stored).await,
            Decision::Fetch => self.fetch(None, Forwarded::VaryMiss, &stored).await,
            Decision::PassThrough { .. } => self.fetch(None, Forwarded::Bypass, &stored).await,
            Decision::OnlyIfCached504 => Err(Refusal::OnlyIfCached),
        }
    }

    /// Answers with a stored representation; nothing when its object is gone or cannot be read.
    async fn serve(
        &self,
        stored: Representation,
        status: CacheStatus,
    ) -> Result<Option<Response<Body>>, Refusal> {
        let age = freshness::age(self.now, &stored.head);
        if let Some(response) = self.judged(&stored.head.headers, status)? {
            return Ok(Some(response));
        }
        let part = resolved(&self.demand, &stored.head.headers, stored.length)?;
        let mut headers = respond::site_fields(stored.head.headers, self.door, status, Some(age));
        if let Ok(Some(info)) = self.gateway.fetcher.object(&stored.object) {
            respond::tell_digest(&mut headers, &info.ladder);
        }
        let served =
            self.gateway.stored_content(headers, &stored.object, part, stored.length, self.demand.verb).await;
        Ok(served.unwrap_or_else(|error| {
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
            Ok(Fetched::Arriving(arriving)) => self.arriving(arriving, forwarded).await,
            Ok(Fetched::Passed(answer, why)) => {
                if let Some(stale) = self.stale_instead_of(answer.head.status, all_stored).await? {
                    return Ok((stale, Outcome::Stale));
                }
                self.passed(answer, why, forwarded)
            }
            Err(FetchError::Ask(error)) if is_offline(&error) => {
                if let Some(stale) = self.offline(all_stored).await? {
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
            range,
            stored,
            redirects: self.demand.redirects,
            company: self.demand.company,
        }
    }

    async fn confirmed(&self, renewed: Representation, forwarded: Forwarded) -> Answered {
        match self.serve(renewed, CacheStatus::Confirmed).await? {
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
        let collapsed = arriving.collapsed;
        let status = CacheStatus::Stored { forwarded, collapsed };
        let outcome = if collapsed { Outcome::Collapsed } else { Outcome::Miss };
        if let Some(response) = self.judged(&arriving.head.headers, status)? {
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
        let headers = respond::site_fields(arriving.head.headers, self.door, status, age);
        let body = Body::reading(arriving.reader, &self.gateway.shares);
        let response = respond::content(headers, arriving.range, arriving.length, self.demand.verb, body);
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
        if status.is_success() && self.demand.conditions.judge(&answer.head.headers) == Verdict::NotModified {
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
        let response = respond::content(fields(answer.head.headers), part, Some(length), verb, body);
        Ok((response, Outcome::Passed))
    }

    async fn offline(&self, stored: &[Representation]) -> Result<Option<Response<Body>>, Refusal> {
        let method = method(self.demand.verb);
        let asked = Asked { method: &method, headers: &self.demand.headers };
        match freshness::fallback(self.now, &asked, stored) {
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
        let trouble = [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        if trouble.contains(&status) { self.offline(stored).await } else { Ok(None) }
    }

    fn judged(&self, fields: &HeaderMap, status: CacheStatus) -> Result<Option<Response<Body>>, Refusal> {
        match self.demand.conditions.judge(fields) {
            Verdict::Proceed => Ok(None),
            Verdict::Failed => Err(Refusal::Precondition),
            Verdict::NotModified => {
                let headers = respond::site_fields(fields.clone(), self.door, status, None);
                Ok(Some(respond::not_modified(headers)))
            }
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

/// Whether the origin could not be reached, as opposed to having said something.
fn is_offline(error: &AskError) -> bool {
    matches!(error, AskError::Dns(_) | AskError::Connect(..) | AskError::Timeout(_))
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
