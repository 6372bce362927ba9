//! The web as one origin to ask: questions in, final answers out, redirects followed on the way.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::StreamExt;
use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use ipnet::IpNet;
use kith_fetch::ask::{Answer, AskError, Hop, Origin, Part, Question, Redirects, Verb};
use kith_fetch::relay::{Duplex, Relay, Relayed, Reply};
use kith_model::key::Target;
use kith_model::limits::REDIRECTS_MAX;
use kith_model::representation::Head;
use kith_model::signature::Signature;
use tracing::debug;

use crate::client::{Call, Client, Exchange, Place, Way};
use crate::dial::Dialer;
use crate::guard::Guard;
use crate::ladder;
use crate::relay;
use crate::request;
use crate::resolve::Resolver;
use crate::source::WebSource;
use crate::strikes::Strikes;
use crate::tasks::Tasks;

pub use crate::client::RootsError;

/// What the owner decides about origins.
#[derive(Clone, Debug)]
pub struct Config {
    /// Networks of origins on the LAN that may be fetched from, against the address guard.
    pub allow_private: Vec<IpNet>,
    /// Exchanges with one host that a download may widen to on its own account. Questions of clients are never held
    /// back by it.
    pub connections_per_host_max: usize,
    /// Who resolves names.
    pub resolver: Resolver,
    /// Further roots of trust: the contents of PEM files.
    pub extra_roots: Vec<Vec<u8>>,
    /// What tells this box from others, to notice requests that come back.
    pub signature: Signature,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow_private: Vec::new(),
            connections_per_host_max: 4,
            resolver: Resolver::System,
            extra_roots: Vec::new(),
            signature: Signature::default(),
        }
    }
}

/// Asks websites. Cheap to clone.
#[derive(Clone)]
pub struct Web {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    client: Client,
    connections_per_host_max: usize,
    signature: Signature,
    tasks: Tasks,
    strikes: Strikes,
}

/// What is asked for, wherever it leads.
pub(crate) struct Journey<'a> {
    pub(crate) target: &'a Target,
    pub(crate) verb: Verb,
    /// Complete but for the range.
    pub(crate) headers: HeaderMap,
    pub(crate) part: Option<&'a Part>,
    pub(crate) redirects: Redirects,
    pub(crate) way: Way,
}

/// Where it led.
pub(crate) struct Arrival {
    pub(crate) hops: Vec<Hop>,
    pub(crate) target: Target,
    pub(crate) exchange: Exchange,
}

impl Web {
    /// Sets up the pools; connects to nothing yet.
    pub fn new(config: Config) -> Result<Self, RootsError> {
        let tasks = Tasks::default();
        let guard = Arc::new(Guard::new(config.allow_private));
        let dialer = Dialer { guard, resolver: config.resolver };
        let most = config.connections_per_host_max.max(1);
        let client = Client::new(&dialer, &config.extra_roots, most, tasks.clone())?;
        let shared = Shared {
            client,
            connections_per_host_max: most,
            signature: config.signature,
            tasks,
            strikes: Strikes::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Closes all connections and waits until they are gone. Answers that are still read end with an error, and
    /// nothing can be asked any more.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the closing to itself.
    pub async fn close(&self) {
        self.shared.tasks.stop().await;
    }
}

impl Relay for Web {
    fn relay(&self, request: Relayed) -> BoxFuture<'static, Result<Reply, AskError>> {
        let shared = self.shared.clone();
        Box::pin(async move { relay::relay(&shared, request).await })
    }

    fn tunnel(&self, host: String, port: u16) -> BoxFuture<'static, Result<Box<dyn Duplex>, AskError>> {
        let shared = self.shared.clone();
        Box::pin(async move { relay::tunnel(&shared, host, port).await })
    }
}

impl Origin for Web {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Answer, AskError>> {
        let shared = self.shared.clone();
        Box::pin(async move { answer(shared, question).await })
    }
}

async fn answer(shared: Arc<Shared>, question: Question) -> Result<Answer, AskError> {
    if shared.signature.is_on(&question.headers) {
        return Err(AskError::Loop);
    }
    let headers = request::outgoing(&question.headers, &shared.signature);
    let place = shared.client.place(&question.target);
    let journey = Journey {
        target: &question.target,
        verb: question.verb,
        headers: headers.clone(),
        part: question.part.as_ref(),
        redirects: question.redirects,
        way: Way::Shared,
    };
    let Arrival { hops, target, exchange } = shared.travel(journey, place).await?;
    let Exchange { status, headers: fields, framing, requested_at, received_at, content } = exchange;
    debug!(host = target.host(), %status, hops = hops.len(), "origin answered");
    let head = Head { status, headers: fields, requested_at, received_at };
    let bound = question.part.and_then(|part| part.of);
    if status == StatusCode::PARTIAL_CONTENT
        && bound.is_some_and(|version| !crate::source::is_same(&version, &head.headers))
    {
        return Err(AskError::Nonsense(target.authority(), "a part of another version than was asked for"));
    }
    let told = ladder::read(&hops, &target, &head, framing.length);
    let ladder = told.ladder.clone();
    let source = (question.verb == Verb::Get)
        .then(|| WebSource::further(&shared, &question.target, headers, &target, &head, framing, told));
    let source = source.flatten();
    Ok(Answer {
        ladder,
        hops,
        target,
        head,
        start: framing.start,
        end: framing.end,
        length: framing.length,
        delimited: framing.delimited,
        body: content.boxed(),
        source,
    })
}

impl Shared {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn signature(&self) -> &Signature {
        &self.signature
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(crate) fn strikes(&self) -> &Strikes {
        &self.strikes
    }

    pub(crate) fn connections_per_host_max(&self) -> usize {
        self.connections_per_host_max
    }

    /// Goes where the redirects lead; each hop is resolved and vetted like the first, as it is an exchange like the
    /// first.
    ///
    /// # Cancel safety
    /// Dropping the future drops the exchange that is going on.
    pub(crate) async fn travel(&self, journey: Journey<'_>, place: Place) -> Result<Arrival, AskError> {
        let Journey { target: first, verb, mut headers, part, redirects, way } = journey;
        let mut target = first.clone();
        let mut place = Some(place);
        let mut hops = Vec::new();
        let mut seen = HashSet::from([target.clone()]);
        loop {
            let at = place.take().unwrap_or_else(|| self.client.place(&target));
            let call = Call { target: &target, verb, headers: &headers, part, way };
            let exchange = self.client.exchange(call, at).await?;
            let next = match redirects {
                Redirects::Follow => redirect(&target, &exchange)?,
                Redirects::HandBack => None,
            };
            let Some(next) = next else { return Ok(Arrival { hops, target, exchange }) };
            if hops.len() == REDIRECTS_MAX || !seen.insert(next.clone()) {
                return Err(AskError::Redirects(first.authority()));
            }
            request::leave_secrets_behind(&mut headers, &target, &next);
            hops.push(Hop { target, status: exchange.status, headers: exchange.headers });
            target = next;
        }
    }
}

/// Where an answer sends us, when it is a redirect (RFC 9110 section 15.4). One without a `Location` is an answer
/// like any other; one to something that cannot be fetched is nonsense.
fn redirect(target: &Target, exchange: &Exchange) -> Result<Option<Target>, AskError> {
    let is_redirect = matches!(
        exchange.status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let Some(location) = exchange.headers.get(LOCATION).filter(|_| is_redirect) else { return Ok(None) };
    let next = location.to_str().ok().and_then(|location| target.join(location).ok());
    next.map(Some)
        .ok_or_else(|| AskError::Nonsense(target.authority(), "a redirect to what cannot be fetched"))
}
