//! Neighbours as the hearth sees them: somebody to ask, and lanes of verified groups.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, FuturesUnordered};
use futures_util::{FutureExt, StreamExt};
use kith_fetch::source::{
    Abilities, Claimant, Fault, Found, Lane, Source, SourceError, SourceKind, Truth, Wanted,
};
use kith_model::limits::{
    FIND_AT_ONCE_MAX, FIND_HURRY, FIND_MORE_AFTER, FIND_TIMEOUT, NEIGHBOUR_REQUEST_TIMEOUT,
    SMALL_NEIGHBOURHOOD_MAX,
};
use kith_model::object::ObjectId;
use kith_model::range::GroupSpan;
use kith_model::sharing::Audience;
use kith_model::time::UnixMillis;
use kith_model::trust::Role;
use kith_model::verify::{self, Run};
use tokio::time::{sleep, sleep_until, timeout};

use crate::claim::{self, Claim, Rendezvous, Statement, Subject};
use crate::clients;
use crate::clock;
use crate::frames::{self, FrameError, FrameReader};
use crate::peers::Evidence;
use crate::room::Room;
use crate::session::Session;
use crate::telling::Opinion;
use crate::wire::{Bye, Find, Get, Have, Message, Reason, Slice};

/// Lanes that one neighbour is asked for at once. One fills a link; a second one is for a reader further on.
const LANES_MAX: usize = 4;

/// What is looked for, by all its names.
struct Sought {
    /// The farthest who may be asked.
    audience: Audience,
    length: u64,
    statements: Vec<Statement>,
    subjects: Vec<Subject>,
}

impl Sought {
    fn new(wanted: Wanted) -> Self {
        let digest = wanted.digest.map(Statement::Digest);
        let fetched = Statement::Fetched(wanted.target, wanted.validator);
        let statements: Vec<Statement> = digest.into_iter().chain([fetched]).collect();
        let subjects = statements.iter().map(|statement| statement.subject(wanted.length)).collect();
        Self { audience: wanted.audience, length: wanted.length, statements, subjects }
    }
}

/// Asks those whose filter says that they may hold it, and those who told none: the most useful first, and no more than
/// make enough to go by: one box of ours, or two of other households. For each [`FIND_MORE_AFTER`] that the search goes on
/// from then, another source is looked for among those whose filter hits, up to three. Who may not have it is not asked.
pub(crate) fn find(room: Arc<Room>, wanted: Wanted) -> BoxStream<'static, Found> {
    if wanted.length < room.config.object_bytes_min {
        return stream::empty().boxed();
    }
    let search = Search::new(room, Arc::new(Sought::new(wanted)));
    stream::unfold(search, |mut search| async move { Some((search.next().await?, search)) }).boxed()
}

/// What claims weigh that are enough to go by.
const WEIGHT_ENOUGH: usize = 2;

fn weight(role: Role) -> usize {
    if role == Role::Mine { WEIGHT_ENOUGH } else { 1 }
}

/// A question on its way: what the box's claim would weigh, and its claim.
type Asked = BoxFuture<'static, (usize, Option<Found>)>;

/// Asks one box after another.
struct Search {
    room: Arc<Room>,
    sought: Arc<Sought>,
    /// Who is not asked yet, the most promising first.
    waiting: VecDeque<Candidate>,
    asked: FuturesUnordered<Asked>,
    /// What the claims of those who are asked would weigh, as far as they are not late.
    expected: usize,
    /// What the claims weigh that came, and their count.
    weight: usize,
    found: usize,
    more_at: Instant,
}

impl Search {
    fn new(room: Arc<Room>, sought: Arc<Sought>) -> Self {
        let waiting = worth_asking(&room, &sought).into();
        let more_at = Instant::now();
        let asked = FuturesUnordered::new();
        Self { room, sought, waiting, asked, expected: 0, weight: 0, found: 0, more_at }
    }

    async fn next(&mut self) -> Option<Found> {
        loop {
            while self.weight + self.expected < WEIGHT_ENOUGH && self.asked.len() < FIND_AT_ONCE_MAX {
                let Some(candidate) = self.waiting.pop_front() else { break };
                self.ask(candidate);
            }
            if self.asked.is_empty() {
                self.waiting.retain(|candidate| candidate.opinion == Opinion::MayHold);
                if self.waiting.is_empty() || self.found >= FIND_AT_ONCE_MAX {
                    return None;
                }
                sleep_until(self.more_at.into()).await;
                let candidate = self.waiting.pop_front()?;
                self.ask(candidate);
            }
            let is_in_hurry = !self.waiting.is_empty() && self.asked.len() < FIND_AT_ONCE_MAX;
            tokio::select! {
                Some((weight, found)) = self.asked.next() => {
                    self.expected = self.expected.saturating_sub(weight);
                    if let Some(found) = found {
                        self.weight += weight;
                        self.found += 1;
                        self.more_at = Instant::now() + FIND_MORE_AFTER;
                        return Some(found);
                    }
                }
                // Who is silent for so long is not counted on.
                () = sleep(FIND_HURRY), if is_in_hurry => self.expected = 0,
                else => return None,
            }
        }
    }

    fn ask(&mut self, candidate: Candidate) {
        let (room, sought) = (Arc::clone(&self.room), Arc::clone(&self.sought));
        let weight = weight(candidate.role);
        self.expected += weight;
        let asking = async move { (weight, ask(room, candidate.session, candidate.opinion, sought).await) };
        self.asked.push(asking.boxed());
    }
}

/// A box that may be asked.
struct Candidate {
    opinion: Opinion,
    role: Role,
    session: Arc<Session>,
}

/// Whom to ask, the most promising first.
fn worth_asking(room: &Room, sought: &Sought) -> Vec<Candidate> {
    let sessions: Vec<(Role, Arc<Session>)> = room
        .sessions
        .all()
        .into_iter()
        .filter_map(|session| Some((room.registry.paired(&session.key)?.0, session)))
        .filter(|(role, _)| role.audience() <= sought.audience)
        .collect();
    let is_small = sessions.len() < SMALL_NEIGHBOURHOOD_MAX;
    let now = Instant::now();
    let candidate = |(role, session): (Role, Arc<Session>)| {
        let ear = session.ear();
        let mut opinion = ear.opinion(&sought.subjects);
        // A few boxes of one owner lose nothing while a filter lags behind, at the price of a few questions.
        if opinion == Opinion::Lacks && is_small && ear.may_lag(now) && role == Role::Mine {
            opinion = Opinion::Unknown;
        }
        drop(ear);
        if opinion == Opinion::Lacks {
            session.tally.spared.fetch_add(1, Relaxed);
        }
        Candidate { opinion, role, session }
    };
    let mut all: Vec<Candidate> = sessions.into_iter().map(candidate).collect();
    all.retain(|one| one.opinion != Opinion::Lacks);
    all.sort_unstable_by_key(|one| (one.opinion, one.session.tally.rank(), one.session.connection.rtt()));
    all
}

/// Asks one box, for at most [`FIND_TIMEOUT`].
async fn ask(room: Arc<Room>, session: Arc<Session>, opinion: Opinion, sought: Arc<Sought>) -> Option<Found> {
    let (_, secret) = room.registry.paired(&session.key)?;
    let rendezvous = Rendezvous::new(&secret, claim::day_of(clock::now()));
    let ids = sought.subjects.iter().map(|subject| rendezvous.id(*subject)).collect();
    let find = Find { day: rendezvous.day(), ids };
    session.tally.asked.fetch_add(1, Relaxed);
    let answer = match timeout(FIND_TIMEOUT, question(&session, &Message::Find(find))).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(FrameError::Bad(_))) => {
            nonsense(&room, &session);
            return None;
        }
        Ok(Err(_)) => return None,
        Err(_) => {
            session.tally.stalled();
            return None;
        }
    };
    match answer {
        Some(Message::Have(have)) => claimed(&room, &session, &secret, &sought, &have),
        Some(Message::No(no)) => {
            if opinion == Opinion::MayHold && no.reason() == Reason::NotHere {
                session.tally.false_hits.fetch_add(1, Relaxed);
            }
            None
        }
        None => None,
        Some(_) => {
            nonsense(&room, &session);
            None
        }
    }
}

async fn question(session: &Session, message: &Message) -> Result<Option<Message>, FrameError> {
    let (mut send, receive) = session.connection.open_bi().await.map_err(quinn::ReadError::from)?;
    // A write that fails shows when the answer is read.
    let _ = frames::send(&mut send, message).await;
    let _ = send.finish();
    FrameReader::new(receive).frame().await
}

/// Checks a claim against what was asked. One that does not fit is nonsense, whatever it says.
fn claimed(
    room: &Arc<Room>,
    session: &Arc<Session>,
    secret: &[u8; 32],
    sought: &Sought,
    have: &Have,
) -> Option<Found> {
    let statement = usize::try_from(have.answers).ok().and_then(|answers| sought.statements.get(answers));
    let claim = statement.map(|statement| Claim {
        statement: statement.clone(),
        object: ObjectId::from_bytes(have.object),
        length: have.length,
        known_at: UnixMillis(have.known_at_ms),
    });
    let Some(claim) = claim
        .filter(|claim| claim.length == sought.length && claim.is_signed_by(&session.key, &have.signature))
    else {
        room.strike(session, "a claim that is not signed or not about what was asked");
        return None;
    };
    // The owner may have unpaired it while it spoke.
    let (role, _) = room.registry.paired(&session.key).filter(|(_, paired)| paired == secret)?;
    let lineage = room.registry.read().find(&session.id)?.lineage();
    let source = Neighbour {
        label: session.id.short(),
        secret: *secret,
        room: Arc::clone(room),
        session: Arc::clone(session),
        claim,
        signature: have.signature,
        door: clients::door(room, session, have.clients),
    };
    let claimant = Claimant { node: *lineage.as_bytes(), role };
    Some(Found { object: source.claim.object, claimant, source: Arc::new(source) })
}

pub(crate) fn nonsense(room: &Arc<Room>, session: &Session) {
    room.strike(session, "an answer that makes no sense");
    session.close(Bye::Malformed);
}

/// A neighbour that claims to hold one object.
struct Neighbour {
    label: String,
    /// Of the pairing that it spoke under.
    secret: [u8; 32],
    room: Arc<Room>,
    session: Arc<Session>,
    claim: Claim,
    signature: [u8; 64],
    /// Where clients connect to it.
    door: Option<SocketAddr>,
}

impl Source for Neighbour {
    fn kind(&self) -> SourceKind {
        SourceKind::Neighbour
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn abilities(&self) -> Abilities {
        Abilities { ranges: true, lanes_max: LANES_MAX, grain: 1 }
    }

    fn door(&self) -> Option<SocketAddr> {
        self.door
    }

    fn open(&self, span: GroupSpan) -> BoxFuture<'static, Result<Box<dyn Lane>, SourceError>> {
        let (object, length) = (self.claim.object, self.claim.length);
        let span = span.intersection(GroupSpan::whole(length));
        let (room, session) = (Arc::clone(&self.room), Arc::clone(&self.session));
        Box::pin(async move {
            if span.is_empty() {
                return Err(SourceError::NotHeld);
            }
            let mut lane =
                Slices { room, session, object, length, span, at: span.start(), head: None, reader: None };
            match timeout(NEIGHBOUR_REQUEST_TIMEOUT, lane.open()).await {
                Ok(opened) => opened.map(|()| Box::new(lane) as Box<dyn Lane>),
                Err(elapsed) => Err(SourceError::BrokeOff(elapsed.into())),
            }
        })
    }

    fn vouches(&self) -> bool {
        self.room.registry.read().believes(&self.secret)
    }

    fn blame(&self, fault: Fault) {
        match fault {
            Fault::TooSlow => self.session.tally.stalled(),
            // It gives no units.
            Fault::Unit { .. } => {}
            Fault::FalseClaim(truth) => self.room.quarantine(&self.session, self.evidence(truth)),
        }
    }
}

impl Neighbour {
    fn evidence(&self, truth: Truth) -> Evidence {
        let Claim { statement, object, length, known_at } = &self.claim;
        let truth = match truth {
            Truth::Object(object) => format!("what the site sent is object {object}"),
            Truth::Digest(algorithm) => {
                format!("that object does not have the {} digest that the site gave", algorithm.as_str())
            }
            Truth::Piece(at) => {
                format!("the piece at byte {at} of that object does not have the hash that the site gave")
            }
            Truth::Parts => "what the site sent is no part of that object".to_owned(),
        };
        Evidence {
            found_at_ms: clock::now().0,
            summary: format!("it signed that {} is object {object} of {length} bytes", statement.summary()),
            claim: self.claim.signed_bytes(&self.session.key),
            signature: self.signature.to_vec(),
            truth,
            known_at_ms: known_at.0,
        }
    }
}

/// Slices as they come, each proven before it is handed on.
struct Slices {
    room: Arc<Room>,
    session: Arc<Session>,
    object: ObjectId,
    length: u64,
    span: GroupSpan,
    /// The group that has to come next.
    at: u64,
    /// The frame of the slice whose bytes are on their way.
    head: Option<Slice>,
    /// Gone once something was wrong.
    reader: Option<FrameReader>,
}

impl Slices {
    /// Asks, and waits for the first slice to begin.
    async fn open(&mut self) -> Result<(), SourceError> {
        let broke_off = |error: quinn::ConnectionError| SourceError::BrokeOff(error.into());
        let (mut send, receive) = self.session.connection.open_bi().await.map_err(broke_off)?;
        let get = Get { object: *self.object.as_bytes(), spans: vec![self.span.into()] };
        frames::send(&mut send, &Message::Get(get))
            .await
            .map_err(|error| SourceError::BrokeOff(error.into()))?;
        let _ = send.finish();
        self.reader = Some(FrameReader::new(receive));
        self.read_head().await
    }

    /// Reads the next slice's frame, when it is not there yet.
    async fn read_head(&mut self) -> Result<(), SourceError> {
        let Some(reader) = &mut self.reader else { return Err(ended()) };
        if self.head.is_some() {
            return Ok(());
        }
        match reader.frame().await {
            Ok(Some(Message::Slice(slice))) if self.fits(slice) => {
                self.head = Some(slice);
                Ok(())
            }
            Ok(Some(Message::No(no))) => Err(match no.reason() {
                Reason::Busy => SourceError::Busy,
                _ => SourceError::NotHeld,
            }),
            Ok(None) => Err(ended()),
            Ok(Some(_)) => Err(self.nonsense("a frame out of place".into())),
            Err(FrameError::Bad(error)) => Err(self.nonsense(error.into())),
            Err(error) => Err(SourceError::BrokeOff(error.into())),
        }
    }

    fn fits(&self, slice: Slice) -> bool {
        let span = GroupSpan::from(slice.span);
        span.start() == self.at
            && span.end() <= self.span.end()
            && u64::from(slice.bytes) <= verify::slice_len_max(self.length, span)
    }

    async fn read(&mut self) -> Result<Option<Run>, SourceError> {
        if self.at >= self.span.end() {
            return Ok(None);
        }
        self.read_head().await?;
        let (Some(head), Some(reader)) = (self.head, &mut self.reader) else { return Err(ended()) };
        let count = usize::try_from(head.bytes).unwrap_or(usize::MAX);
        let bytes = reader.bytes(count).await.map_err(|error| SourceError::BrokeOff(error.into()))?;
        self.head = None;
        self.verify(head.span.into(), &bytes).map(Some)
    }

    fn verify(&mut self, span: GroupSpan, bytes: &Bytes) -> Result<Run, SourceError> {
        match verify::decode(self.object, self.length, span, bytes) {
            Ok(run) => {
                self.session.tally.verified(span.len(), run.bytes().len() as u64);
                self.at = span.end();
                Ok(run)
            }
            Err(error) => {
                tracing::debug!(neighbour = %self.session.id.short(), %error, "bad slice");
                self.reader = None;
                self.session.tally.verify_failures.fetch_add(1, Relaxed);
                self.room.strike(&self.session, "bytes that do not match their object");
                Err(SourceError::Mismatch)
            }
        }
    }

    fn nonsense(&mut self, what: Box<dyn std::error::Error + Send + Sync>) -> SourceError {
        self.reader = None;
        nonsense(&self.room, &self.session);
        SourceError::Nonsense(what)
    }
}

fn ended() -> SourceError {
    SourceError::BrokeOff("the lane has ended".into())
}

impl Lane for Slices {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Run>, SourceError>> {
        Box::pin(self.read())
    }
}
