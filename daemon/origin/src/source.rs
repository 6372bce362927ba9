//! Further lanes to a version that an origin has just named: ranges bound to its validator, on connections of their
//! own.
//!
//! Knows nothing of jobs and plans. The rule it keeps: a lane delivers bytes of the very version it was made for, or
//! an error; whatever could be of another version is [`SourceError::Changed`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::header::{ACCEPT_RANGES, ETAG, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};
use kith_fetch::ask::{AskError, Part, Redirects, Verb};
use kith_fetch::assemble::lane;
use kith_fetch::source::{Abilities, ByteStream, Fault, Lane, Lead, Source, SourceError, SourceKind};
use kith_model::key::Target;
use kith_model::range::{ByteRange, ChunkGroup, GroupSpan};
use kith_model::representation::{Head, StrongValidator};
use kith_model::time::UnixMillis;
use kith_model::verify::Run;
use tracing::debug;

use crate::client::{Place, Way};
use crate::content::Content;
use crate::ladder::Told;
use crate::leads::{self, Subject};
use crate::request;
use crate::strict::Framing;
use crate::web::{Arrival, Journey, Shared};

/// Delivers ranges of one version of one representation.
pub(crate) struct WebSource(Arc<Version>);

/// The version, and where it is to be had.
struct Version {
    shared: Arc<Shared>,
    /// What was asked for at first, and the fields it was asked with.
    asked: Target,
    headers: HeaderMap,
    /// Who gave the answer; another than `asked` after redirects.
    answered: Target,
    validator: StrongValidator,
    length: u64,
    /// What it told of the whole besides.
    told: Told,
    said_at: UnixMillis,
    /// Cleared when the origin turns out to ignore ranges.
    ranges: AtomicBool,
    /// As many copies as there are lanes, and one.
    lanes: Arc<()>,
}

/// Whether `headers` can be those of the version that `validator` names. A part must repeat an entity tag (RFC 9110
/// section 15.3.7); a date it may leave out when it was bound by `If-Range`.
pub(crate) fn is_same(validator: &StrongValidator, headers: &HeaderMap) -> bool {
    match validator {
        StrongValidator::ETag(tag) => headers.get(ETAG) == Some(tag),
        StrongValidator::LastModified(date) => {
            headers.get(LAST_MODIFIED).is_none_or(|modified| modified == date)
        }
    }
}

impl WebSource {
    /// The source of further lanes after an answer; nothing when it does not say which version it is, or how long.
    pub(crate) fn further(
        shared: &Arc<Shared>,
        asked: &Target,
        mut headers: HeaderMap,
        answered: &Target,
        head: &Head,
        framing: Framing,
        told: Told,
    ) -> Option<Arc<dyn Source>> {
        if !matches!(head.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) || !framing.delimited {
            return None;
        }
        let (validator, length) = (StrongValidator::of(&head.headers)?, framing.length?);
        request::without_conditions(&mut headers);
        // Silence is not a no (RFC 9110 section 14.3): then the first try shows it.
        let says_no = head.headers.get(ACCEPT_RANGES).is_some_and(|units| units == "none");
        Some(Arc::new(Self(Arc::new(Version {
            shared: shared.clone(),
            asked: asked.clone(),
            headers,
            answered: answered.clone(),
            validator,
            length,
            told,
            said_at: head.received_at,
            ranges: AtomicBool::new(head.status == StatusCode::PARTIAL_CONTENT || !says_no),
            lanes: Arc::new(()),
        }))))
    }
}

impl Version {
    /// The first lane is always to be had, so that a download can go on; further ones only while the host is not
    /// busy with as many exchanges as the owner allows.
    fn place(&self) -> Option<Place> {
        let client = self.shared.client();
        // this version's own copy, and the one of the lane that asks
        let is_first = Arc::strong_count(&self.lanes) <= 2;
        if is_first {
            return Some(client.place(&self.answered));
        }
        client.spare_place(&self.answered, self.shared.connections_per_host_max())
    }

    async fn start(&self, span: GroupSpan, place: Place) -> Result<Box<dyn Lane>, SourceError> {
        let range = span.bytes(self.length);
        let first = ChunkGroup(span.start());
        if range.is_empty() {
            return Ok(lane(stream::empty().boxed(), first, Some(range.end())));
        }
        let arrival = self.request(range, place).await?;
        let status = arrival.exchange.status;
        debug!(host = arrival.target.host(), ?range, %status, "origin answered for a lane");
        let body = match status {
            StatusCode::PARTIAL_CONTENT => self.part(arrival)?,
            StatusCode::OK => self.whole(arrival, range)?,
            StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(SourceError::Changed);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => return Err(SourceError::Busy),
            status if is_gone(status) => return Err(SourceError::NotHeld),
            _ => return Err(SourceError::BrokeOff(Unfit(status).into())),
        };
        Ok(lane(body, first, Some(range.end())))
    }

    /// Asks who answered first; when that was a place for a while only, such as a signed one, asks again from the
    /// beginning, once.
    async fn request(&self, range: ByteRange, place: Place) -> Result<Arrival, SourceError> {
        let answered = self.travel(&self.answered, range, place).await;
        match &answered {
            Ok(arrival) if is_gone(arrival.exchange.status) && self.answered != self.asked => {
                let place = self.shared.client().place(&self.asked);
                self.travel(&self.asked, range, place).await
            }
            _ => answered,
        }
    }

    async fn travel(&self, target: &Target, range: ByteRange, place: Place) -> Result<Arrival, SourceError> {
        let mut headers = self.headers.clone();
        request::leave_secrets_behind(&mut headers, &self.asked, target);
        let part = Part { start: range.start(), end: Some(range.end()), of: Some(self.validator.clone()) };
        // An origin that ignores ranges is not asked for any.
        let part = self.ranges.load(Ordering::Relaxed).then_some(&part);
        let journey =
            Journey { target, verb: Verb::Get, headers, part, redirects: Redirects::Follow, way: Way::Own };
        self.shared.travel(journey, place).await.map_err(|error| match error {
            AskError::Nonsense(..) => SourceError::Nonsense(error.into()),
            error => SourceError::BrokeOff(error.into()),
        })
    }

    /// A 206: the strict check has seen that it is the part that was asked for.
    fn part(&self, arrival: Arrival) -> Result<ByteStream, SourceError> {
        let exchange = arrival.exchange;
        let of_same_length = exchange.framing.length.is_none_or(|length| length == self.length);
        if !of_same_length || !is_same(&self.validator, &exchange.headers) {
            return Err(SourceError::Changed);
        }
        Ok(exchange.content.boxed())
    }

    /// A 200: another version, or an origin that ignores ranges.
    fn whole(&self, arrival: Arrival, range: ByteRange) -> Result<ByteStream, SourceError> {
        let exchange = arrival.exchange;
        let of_same_length = exchange.framing.length == Some(self.length);
        if !of_same_length || StrongValidator::of(&exchange.headers).as_ref() != Some(&self.validator) {
            return Err(SourceError::Changed);
        }
        self.ranges.store(false, Ordering::Relaxed);
        if range.start() > 0 {
            return Err(SourceError::Busy);
        }
        Ok(up_to(exchange.content, range.end()))
    }
}

impl Source for WebSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Origin
    }

    fn label(&self) -> &str {
        self.0.asked.host()
    }

    fn abilities(&self) -> Abilities {
        // the answer that the source came with is read beside its lanes
        let lanes_max = self.0.shared.connections_per_host_max().saturating_sub(1).max(1);
        Abilities { ranges: self.0.ranges.load(Ordering::Relaxed), lanes_max, grain: 1 }
    }

    fn open(&self, span: GroupSpan) -> BoxFuture<'static, Result<Box<dyn Lane>, SourceError>> {
        let version = self.0.clone();
        Box::pin(async move {
            let held = version.lanes.clone();
            let place = version.place().ok_or(SourceError::Busy)?;
            let lane = version.start(span, place).await?;
            Ok(Box::new(HeldLane { lane, _held: held }) as Box<dyn Lane>)
        })
    }

    fn blame(&self, fault: Fault) {
        debug!(host = self.0.asked.host(), ?fault, "the job blames the origin");
    }

    fn leads(&self) -> BoxStream<'static, Lead> {
        let version = &self.0;
        leads::stream(
            version.shared.clone(),
            Subject {
                asked: version.asked.clone(),
                answered: version.answered.clone(),
                length: version.length,
                told: version.told.clone(),
                said_at: version.said_at,
            },
        )
    }
}

/// A lane that counts among its source's.
struct HeldLane {
    lane: Box<dyn Lane>,
    _held: Arc<()>,
}

impl Lane for HeldLane {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Run>, SourceError>> {
        self.lane.next()
    }
}

/// An answer that is no part of the file and says nothing about its version.
#[derive(Debug, thiserror::Error)]
#[error("the origin answered {0}")]
struct Unfit(StatusCode);

fn is_gone(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::GONE
            | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS
    )
}

/// The first `count` bytes; what follows is cut off with the exchange.
pub(crate) fn up_to(content: Content, count: u64) -> ByteStream {
    let state = (content, count);
    stream::unfold(state, |(mut content, left)| async move {
        if left == 0 {
            return None;
        }
        let item = content.next().await?;
        let item = item.map(|mut bytes| {
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            bytes
        });
        let left = left - item.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Some((item, (content, left)))
    })
    .boxed()
}
