//! Other websites that are said to have the same bytes, as sources of the same download.
//!
//! A mirror is a stranger that the origin named: it is asked without anything of the client's, dialled past the same
//! address guard, and must say the length that the origin said. What it sends is vouched for by nobody, or by the
//! origin's piece hashes when it matches them. Its own validator, pinned at its first answer, keeps two versions of
//! the mirror's apart.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use futures_util::stream::StreamExt;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};
use kith_fetch::ask::{AskError, Part, Redirects, Verb};
use kith_fetch::assemble;
use kith_fetch::pieces::{self, Pieces};
use kith_fetch::source::{Abilities, ByteStream, Fault, Lane, Source, SourceError, SourceKind};
use kith_model::key::Target;
use kith_model::range::{ByteRange, ChunkGroup, GROUP_BYTES, GroupSpan};
use kith_model::representation::StrongValidator;
use kith_model::verify::Run;
use tracing::{debug, info};

use crate::client::Way;
use crate::request;
use crate::source::{is_same, up_to};
use crate::web::{Arrival, Journey, Shared};

/// Delivers ranges of a file that is said to be the one that is wanted.
pub(crate) struct MirrorSource(Arc<Mirror>);

struct Mirror {
    shared: Arc<Shared>,
    target: Target,
    /// What the origin said.
    length: u64,
    pieces: Option<Arc<Pieces>>,
    /// Its own, of its first answer.
    validator: Mutex<Option<StrongValidator>>,
}

impl MirrorSource {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        target: Target,
        length: u64,
        pieces: Option<Arc<Pieces>>,
    ) -> Self {
        Self(Arc::new(Mirror { shared: shared.clone(), target, length, pieces, validator: Mutex::default() }))
    }
}

impl Source for MirrorSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Mirror
    }

    fn label(&self) -> &str {
        self.0.target.host()
    }

    fn abilities(&self) -> Abilities {
        let grain = self.0.pieces.as_ref().map_or(1, |pieces| pieces.length() / GROUP_BYTES);
        // One that works, and one that is asked for while it ends.
        Abilities { ranges: true, lanes_max: 2, grain }
    }

    fn open(&self, span: GroupSpan) -> BoxFuture<'static, Result<Box<dyn Lane>, SourceError>> {
        let mirror = self.0.clone();
        Box::pin(async move { mirror.start(span).await })
    }

    fn blame(&self, fault: Fault) {
        match fault {
            Fault::FalseClaim(_) => self.0.strike(),
            Fault::TooSlow => debug!(host = self.label(), "a mirror keeps readers waiting"),
            // It gives no units.
            Fault::Unit { .. } => {}
        }
    }
}

impl Mirror {
    async fn start(self: Arc<Self>, span: GroupSpan) -> Result<Box<dyn Lane>, SourceError> {
        let range = match &self.pieces {
            Some(pieces) => pieces.around(span, self.length).ok_or(SourceError::NotHeld)?,
            None => span.bytes(self.length),
        };
        let body = self.body(range).await?;
        let first = ChunkGroup(range.start() / GROUP_BYTES);
        let lane = assemble::lane(body, first, Some(range.end()));
        Ok(match self.pieces.clone() {
            Some(pieces) => pieces::checked(lane, Arc::new(MirrorSource(self)), pieces, (range, span)),
            None => Box::new(UnprovenLane(lane)),
        })
    }

    async fn body(&self, range: ByteRange) -> Result<ByteStream, SourceError> {
        let pinned = self.validator.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let part = Part { start: range.start(), end: Some(range.end()), of: pinned.clone() };
        let journey = Journey {
            target: &self.target,
            verb: Verb::Get,
            headers: request::outgoing(&HeaderMap::new(), self.shared.signature()),
            part: Some(&part),
            redirects: Redirects::Follow,
            way: Way::Own,
        };
        // Nobody asked it to serve our house: however many downloads name it, it sees no more of us than an origin.
        let most = self.shared.connections_per_host_max();
        let place = self.shared.client().spare_place(&self.target, most).ok_or(SourceError::Busy)?;
        let Arrival { exchange, .. } = self.shared.travel(journey, place).await.map_err(unreachable)?;
        debug!(host = self.target.host(), ?range, status = %exchange.status, "mirror answered");
        let coded = exchange.headers.contains_key(CONTENT_ENCODING);
        let is_other = pinned.is_some_and(|version| !is_same(&version, &exchange.headers));
        let length = exchange.framing.length;
        match exchange.status {
            StatusCode::PARTIAL_CONTENT | StatusCode::OK
                if coded || is_other || length != Some(self.length) =>
            {
                Err(SourceError::NotHeld)
            }
            StatusCode::PARTIAL_CONTENT => {
                self.pin(&exchange.headers);
                Ok(exchange.content.boxed())
            }
            // It knows no ranges.
            StatusCode::OK if range.start() > 0 => Err(SourceError::NotHeld),
            StatusCode::OK => Ok(up_to(exchange.content, range.end())),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Err(SourceError::Busy),
            _ => Err(SourceError::NotHeld),
        }
    }

    fn pin(&self, headers: &HeaderMap) {
        let mut validator = self.validator.lock().unwrap_or_else(PoisonError::into_inner);
        if validator.is_none() {
            *validator = StrongValidator::of(headers);
        }
    }

    fn strike(&self) {
        info!(host = self.target.host(), "a mirror sent wrong bytes; it is not asked for some hours");
        self.shared.strikes().strike(&self.target);
    }
}

/// A place that may not be dialled stays so; others may come back.
fn unreachable(error: AskError) -> SourceError {
    match error {
        AskError::Denied(_) | AskError::Redirects(_) | AskError::Loop => SourceError::NotHeld,
        AskError::Nonsense(..) => SourceError::Nonsense(error.into()),
        error => SourceError::BrokeOff(error.into()),
    }
}

/// Runs that nobody vouches for.
struct UnprovenLane(Box<dyn Lane>);

impl Lane for UnprovenLane {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Run>, SourceError>> {
        Box::pin(async move { Ok(self.0.next().await?.map(Run::disowned)) })
    }
}
