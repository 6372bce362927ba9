//! Why a URL is or is not stored, fresh, shared, and where its bytes came from: the decision trail of `kith explain`.
//!
//! Decides nothing: it asks the same pure functions that the doors ask, and tells their answers with their reasons. For
//! the owner only, since it tells what this household fetched.

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use http::{HeaderMap, Method, header};
use kith_fetch::fetcher::Fetcher;
use kith_fetch::running::JobView;
use kith_model::freshness::{self, Asked, Decision, State};
use kith_model::key::{Scheme, Target};
use kith_model::ladder::{Ladder, Rung, Strength, Teller};
use kith_model::representation::{Representation, Standing};
use kith_model::sharing::{self, Audience, Credentials, Publisher, Subject};
use kith_model::time::UnixMillis;
use kith_store::{IndexError, Store};
use serde::Serialize;

use crate::views::{self, Detail};

/// `GET /api/v1/explain?url=`.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    url: String,
    key: Key,
    /// What a plain request for it would be answered with now.
    decision: &'static str,
    /// One a variant.
    stored: Vec<Variant>,
    /// What may be told from the URL alone; only while nothing is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    sharing: Option<Vec<Verdict>>,
    /// Being fetched now, then the latest that ended.
    jobs: Vec<views::Job>,
    /// What the latest questions to the origin came to, the latest last.
    events: Vec<Event>,
}

/// What it is filed under: never less than this.
#[derive(Debug, Serialize)]
struct Key {
    scheme: &'static str,
    host: String,
    port: u16,
    path: String,
    query: Option<String>,
}

#[derive(Debug, Serialize)]
struct Variant {
    object: String,
    length: u64,
    status: u16,
    /// The request fields that chose this variant.
    selected_by: Vec<(String, String)>,
    /// `first-hand`, or `claimed` when a paired box's word is all there is.
    standing: &'static str,
    pinned: bool,
    stored_at_ms: u64,
    confirmed_at_ms: u64,
    age_s: u64,
    lifetime_s: u64,
    fresh: bool,
    may_be_served_stale: bool,
    etag: Option<String>,
    last_modified: Option<String>,
    cache_control: Option<String>,
    /// What the digests that the publisher told prove: `strong`, `joint`, `weak` or `none`.
    anchor: &'static str,
    digests: Vec<Digest>,
    sharing: Vec<Verdict>,
}

#[derive(Debug, Serialize)]
struct Digest {
    algorithm: &'static str,
    value: String,
    said_by: &'static str,
    said_at_ms: u64,
}

#[derive(Debug, Serialize)]
struct Verdict {
    with: &'static str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Event {
    at_ms: u64,
    what: String,
}

pub(crate) fn explain(store: &Store, fetcher: &Fetcher, target: &Target) -> Result<Explanation, IndexError> {
    let now = now();
    let representations = store.representations(target)?;
    let stored = representations
        .iter()
        .map(|representation| stored(store, representation, now))
        .collect::<Result<Vec<_>, _>>()?;
    let events = fetcher.journal().of(target).into_iter();
    Ok(Explanation {
        url: target.to_string(),
        key: key(target),
        decision: decision(now, &representations),
        sharing: stored.is_empty().then(|| of_url(target)),
        stored,
        jobs: jobs(fetcher, target),
        events: events.map(|entry| Event { at_ms: entry.at.0, what: entry.event.to_string() }).collect(),
    })
}

fn key(target: &Target) -> Key {
    Key {
        scheme: target.scheme().as_str(),
        host: target.host().to_owned(),
        port: target.port(),
        path: target.path().to_owned(),
        query: target.query().map(str::to_owned),
    }
}

fn decision(now: UnixMillis, stored: &[Representation]) -> &'static str {
    let asked = Asked { method: &Method::GET, headers: &HeaderMap::new() };
    match freshness::decide(now, &asked, stored) {
        Decision::Serve { state: State::Fresh, .. } => "serve what is stored, which is fresh",
        Decision::Serve { .. } => "serve what is stored, which is stale",
        Decision::Revalidate { .. } => "ask the origin whether what is stored still holds",
        _ if stored.is_empty() => "fetch it: nothing is stored",
        _ => "fetch it: what is stored does not suit a plain request, or cannot be confirmed",
    }
}

fn stored(store: &Store, representation: &Representation, now: UnixMillis) -> Result<Variant, IndexError> {
    let info = store.object(&representation.object)?;
    let head = &representation.head;
    let (age, lifetime) = (freshness::age(now, head), freshness::lifetime(head));
    let field = |name: header::HeaderName| {
        let value = head.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let verdict = |audience| match &info {
        Some(info) => sharing::may_leave(representation, info, audience).map_err(|reason| reason.to_string()),
        None => Err("its object is gone".to_owned()),
    };
    let empty = Ladder::default();
    let ladder = info.as_ref().map_or(&empty, |info| &info.ladder);
    Ok(Variant {
        object: representation.object.to_string(),
        length: representation.length,
        status: head.status.as_u16(),
        selected_by: representation
            .selecting
            .iter()
            .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
            .collect(),
        standing: match representation.standing {
            Standing::FirstHand => "first-hand",
            Standing::Claimed => "claimed",
            Standing::Household => "household only",
        },
        pinned: info.as_ref().is_some_and(|info| info.pinned),
        stored_at_ms: info.as_ref().map_or(0, |info| info.stored_at.0),
        confirmed_at_ms: head.received_at.0,
        age_s: age.as_secs(),
        lifetime_s: lifetime.as_secs(),
        fresh: lifetime > age,
        may_be_served_stale: freshness::may_serve_stale(now, head),
        etag: field(header::ETAG),
        last_modified: field(header::LAST_MODIFIED),
        cache_control: field(header::CACHE_CONTROL),
        anchor: match ladder.anchor() {
            Strength::Strong => "strong",
            Strength::Joint => "joint",
            Strength::Weak => "weak",
            Strength::None => "none",
        },
        digests: ladder.rungs().iter().map(digest).collect(),
        sharing: verdicts(verdict),
    })
}

fn digest(rung: &Rung) -> Digest {
    Digest {
        algorithm: rung.digest.algorithm().as_str(),
        value: HEXLOWER.encode(rung.digest.bytes()),
        said_by: match rung.teller {
            Teller::Ourselves => "this box, which computed it",
            Teller::Origin(Scheme::Https) => "the origin, over https",
            Teller::Origin(Scheme::Http) => "the origin, over http",
            Teller::Url => "the URL",
        },
        said_at_ms: rung.said_at.0,
    }
}

/// What could be shared if the answer said nothing against it and were large.
fn of_url(target: &Target) -> Vec<Verdict> {
    let mut response = HeaderMap::new();
    response.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream"));
    let subject = Subject {
        target,
        credentials: Credentials::None,
        response: &response,
        length: u64::MAX,
        ladder: &Ladder::default(),
        publisher: Publisher::Silent,
    };
    verdicts(|audience| sharing::may_share(&subject, audience).map_err(|reason| reason.to_string()))
}

fn verdicts(judge: impl Fn(Audience) -> Result<(), String>) -> Vec<Verdict> {
    [
        (Audience::Household, "household"),
        (Audience::Mine, "mine"),
        (Audience::Neighbour, "neighbour"),
        (Audience::World, "world"),
    ]
    .map(|(audience, with)| {
        let reason = judge(audience).err();
        Verdict { with, allowed: reason.is_none(), reason }
    })
    .into()
}

fn jobs(fetcher: &Fetcher, target: &Target) -> Vec<views::Job> {
    let url = target.to_string();
    let of_it = |jobs: Vec<JobView>| jobs.into_iter().filter(|job| job.url == url).collect::<Vec<_>>();
    let running = of_it(fetcher.jobs()).into_iter();
    running.chain(of_it(fetcher.ended())).map(|job| views::job(job, Detail::Full)).collect()
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
