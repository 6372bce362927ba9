//! Boxes of the same owner that fetch the same at the same time: telling them of our fetches, hearing of theirs, and
//! units that go from one to the other.
//!
//! Who asks is told, on its own stream, for as long as the fetch lasts; who was asked asks back. So it does not matter who
//! began first. Given away is only what our own origin sent us, signed unit by unit. Who fetches what is the hearth's.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, SelectAll};
use kith_fetch::crowd::{Blocks, MemberId, Told, UNIT};
use kith_fetch::share::{Gathering, Share, Word};
use kith_fetch::source::{Abilities, Fault, Lane, Source, SourceError, SourceKind, Wanted};
use kith_model::freshness::is_outdated;
use kith_model::limits::{
    CROWD_FETCHES_MAX, CROWD_REPORT_BLOCKS_MAX, CROWD_REPORT_PAUSE, CROWD_REPORT_SPANS_MAX,
    CROWD_STEP_TIMEOUT, PAIRED_MAX,
};
use kith_model::range::{ChunkGroup, GroupSpan, groups_of};
use kith_model::representation::Representation;
use kith_model::trust::Role;
use kith_model::verify::{self, Leaf, Run};
use quinn::{SendStream, WriteError};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::claim::{self, Rendezvous, Statement, Subject, Unit};
use crate::clock;
use crate::config::Sharing;
use crate::frames::{self, FrameError, FrameReader};
use crate::peers::Evidence;
use crate::room::Room;
use crate::session::Session;
use crate::source::nonsense;
use crate::wire::crowd::{Gather, Part, Progress, Take};
use crate::wire::{Message, Reason, Span, speaks};

/// Bytes of a unit that are waited for at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Fetches of this box that others may have a part of.
#[derive(Default)]
pub(crate) struct Fetches(Mutex<Vec<Arc<Fetch>>>);

struct Fetch {
    statement: Statement,
    subject: Subject,
    share: Weak<Share>,
    /// Who has asked.
    guests: mpsc::Sender<Arc<Session>>,
}

impl Fetches {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Fetch>>> {
        let mut fetches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fetches.retain(|fetch| fetch.share.strong_count() > 0);
        fetches
    }

    /// Whether there was room.
    fn open(&self, fetch: Fetch) -> bool {
        let mut fetches = self.lock();
        let has_room = fetches.len() < CROWD_FETCHES_MAX;
        if has_room {
            fetches.push(Arc::new(fetch));
        }
        has_room
    }

    /// Nothing more of a file is given away: its origin took it back.
    pub(crate) fn forget(&self, subject: Subject) {
        self.lock().retain(|fetch| fetch.subject != subject);
    }

    /// What is fetched, each with its length.
    pub(crate) fn statements(&self) -> Vec<(Statement, u64)> {
        let fetches = self.lock();
        let length = |fetch: &Fetch| fetch.share.upgrade().map(|share| share.length());
        fetches.iter().filter_map(|fetch| Some((fetch.statement.clone(), length(fetch)?))).collect()
    }

    /// The latest fetch of that name.
    fn find(
        &self,
        rendezvous: &Rendezvous,
        named: impl Fn(&Rendezvous, Subject) -> bool,
    ) -> Option<(Arc<Fetch>, Arc<Share>)> {
        let fetch = self.lock().iter().rev().find(|fetch| named(rendezvous, fetch.subject)).cloned()?;
        let share = fetch.share.upgrade()?;
        Some((fetch, share))
    }
}

/// The pair's secret, when the box at the other end is one of the owner's.
fn secret(room: &Room, session: &Session) -> Option<[u8; 32]> {
    let (role, secret) = room.registry.paired(&session.key)?;
    (role == Role::Mine && room.config.share == Sharing::On).then_some(secret)
}

/// Tells a box of our fetch until it ends, or says that there is none.
pub(crate) async fn tell(
    room: &Arc<Room>,
    session: &Arc<Session>,
    send: &mut SendStream,
    gather: &Gather,
) -> Result<(), WriteError> {
    session.tally.gathers_received.fetch_add(1, Relaxed);
    let may_ask = session.lookups.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
    if !may_ask {
        return frames::send(send, &Reason::Busy.message()).await;
    }
    let found = secret(room, session).and_then(|secret| {
        let rendezvous = Rendezvous::new(&secret, gather.day);
        room.fetches.find(&rendezvous, |rendezvous, subject| rendezvous.id(subject) == gather.id)
    });
    let Some((fetch, share)) = found else { return frames::send(send, &Reason::NotHere.message()).await };
    // When it is full, so many have asked already that one more changes nothing.
    let _ = fetch.guests.try_send(Arc::clone(session));
    let mut told = share.told();
    drop((fetch, share));
    let mut sent = Told::default();
    loop {
        let now = told.borrow_and_update().clone();
        for report in reports(&sent, &now) {
            frames::send(send, &Message::Progress(report)).await?;
            session.tally.reports_sent.fetch_add(1, Relaxed);
        }
        sent = now;
        tokio::time::sleep(CROWD_REPORT_PAUSE).await;
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return Ok(()) },
            _ = send.stopped() => return Ok(()),
        }
    }
}

/// What has to be said so that who knows `sent` knows `now`.
fn reports(sent: &Told, now: &Told) -> Vec<Progress> {
    let news = now.ready.spans().iter().flat_map(|span| sent.ready.missing_in(*span));
    let news: Vec<Span> = news.map(|span| Span(span.start() / UNIT, span.end().div_ceil(UNIT))).collect();
    let mut chunks: Vec<Vec<Span>> = news.chunks(CROWD_REPORT_SPANS_MAX).map(<[_]>::to_vec).collect();
    if chunks.is_empty() {
        chunks.push(Vec::new());
    }
    let working: Vec<u64> = now.working.iter().copied().take(CROWD_REPORT_BLOCKS_MAX).collect();
    let report =
        |ready| Progress { ready, working: working.clone(), received: now.received, fetches: now.fetches };
    chunks.into_iter().map(report).collect()
}

/// Gives a unit away, signed, or says why not.
pub(crate) async fn give(
    room: &Arc<Room>,
    session: &Session,
    send: &mut SendStream,
    take: &Take,
) -> Result<(), WriteError> {
    session.tally.takes_received.fetch_add(1, Relaxed);
    let Some(secret) = secret(room, session) else {
        return frames::send(send, &Reason::NotHere.message()).await;
    };
    let Some(place) = room.uploads.admit(session.id, Role::Mine) else {
        return frames::send(send, &Reason::Busy.message()).await;
    };
    let rendezvous = Rendezvous::new(&secret, take.day);
    let found = room.fetches.find(&rendezvous, |rendezvous, subject| rendezvous.id(subject) == take.id);
    let given = match found {
        Some((fetch, share)) if is_kept(room, &fetch.statement, &share).await => {
            read(room, &fetch.statement, &share, take.unit).await
        }
        _ => None,
    };
    let Some((part, bytes)) = given else { return frames::send(send, &Reason::NotHere.message()).await };
    place.turn(part.bytes).await;
    let count = u64::from(part.bytes);
    frames::send(send, &Message::Part(part)).await?;
    send.write_chunk(bytes).await?;
    session.tally.sent_bytes.fetch_add(count, Relaxed);
    Ok(())
}

/// Whether what came of a fetch that is through is still on the shelf, and nobody says that its origin took it back.
async fn is_kept(room: &Room, statement: &Statement, share: &Share) -> bool {
    let (Some(object), Statement::Fetched(target, _)) = (share.object(), statement) else { return true };
    let (store, target) = (room.store.clone(), target.clone());
    let is_it = move |one: &Representation| one.object == object && !is_outdated(&one.head);
    let looking =
        room.blocking(move || store.representations(&target).is_ok_and(|all| all.iter().any(is_it)));
    looking.await.unwrap_or(false)
}

async fn read(room: &Room, statement: &Statement, share: &Share, unit: u64) -> Option<(Part, bytes::Bytes)> {
    let span = span_of(unit, share.length());
    let bytes = share.read(span).await?;
    let value = verify::leaf(span.start(), &bytes);
    let signed = Unit { statement, length: share.length(), number: unit, value };
    let signature = room.identity.sign(&signed.signed_bytes(&room.identity.key()));
    Some((Part { bytes: u32::try_from(bytes.len()).ok()?, signature }, bytes))
}

fn span_of(unit: u64, length: u64) -> GroupSpan {
    let start = unit.saturating_mul(UNIT);
    GroupSpan::clamped(start, start.saturating_add(UNIT)).intersection(GroupSpan::whole(length))
}

/// Makes a fetch known, and listens to who fetches the same.
pub(crate) fn gather(room: &Arc<Room>, wanted: &Wanted, share: &Arc<Share>) -> Option<Gathering> {
    if room.config.share == Sharing::Off {
        return None;
    }
    let statement = Statement::Fetched(wanted.target.clone(), wanted.validator.clone());
    let subject = statement.subject(wanted.length);
    let (sender, guests) = mpsc::channel(PAIRED_MAX);
    let fetch = Fetch { statement: statement.clone(), subject, share: Arc::downgrade(share), guests: sender };
    if !room.fetches.open(fetch) {
        return None;
    }
    let mut listening = Listening {
        room: Arc::clone(room),
        statement: Arc::new(statement),
        subject,
        length: wanted.length,
        guests,
        heard: SelectAll::new(),
        members: HashMap::new(),
    };
    room.sessions.all().into_iter().for_each(|session| listening.follow(session));
    let us = subject.member(&room.identity.id());
    let words = stream::unfold(listening, |mut listening| async move {
        let word = listening.next().await?;
        Some((word, listening))
    });
    Some(Gathering { us, words: words.boxed() })
}

/// Hears everybody who fetches the same.
struct Listening {
    room: Arc<Room>,
    statement: Arc<Statement>,
    subject: Subject,
    length: u64,
    guests: mpsc::Receiver<Arc<Session>>,
    heard: SelectAll<BoxStream<'static, Word>>,
    /// Who is listened to; and who has asked meanwhile, since it may have begun after it said that it fetches nothing.
    members: HashMap<MemberId, Option<Arc<Session>>>,
}

impl Listening {
    async fn next(&mut self) -> Option<Word> {
        loop {
            tokio::select! {
                Some(word) = self.heard.next() => {
                    if let Word::Left(member) = &word
                        && let Some(Some(session)) = self.members.remove(member)
                    {
                        self.follow(session);
                    }
                    return Some(word);
                }
                Some(session) = self.guests.recv() => self.follow(session),
                else => return None,
            }
        }
    }

    fn follow(&mut self, session: Arc<Session>) {
        let Some(secret) = secret(&self.room, &session).filter(|_| session.speaks & speaks::CROWDS != 0)
        else {
            return;
        };
        let member = self.subject.member(&session.id);
        if let Some(again) = self.members.get_mut(&member) {
            *again = Some(session);
            return;
        }
        self.members.insert(member, None);
        let fellow = Fellow {
            member,
            label: session.id.short(),
            room: Arc::clone(&self.room),
            session,
            secret,
            statement: Arc::clone(&self.statement),
            subject: self.subject,
            length: self.length,
            signed: Arc::default(),
        };
        let following =
            Following { source: Arc::new(fellow.clone()), fellow, reader: None, told: Told::default() };
        let words = stream::unfold(Some(following), |following| async move {
            let mut following = following?;
            let member = following.fellow.member;
            Some(match following.hear().await {
                Some(told) => {
                    let source = Arc::clone(&following.source);
                    (Word::Told { member, source, told }, Some(following))
                }
                None => (Word::Left(member), None),
            })
        });
        self.heard.push(words.boxed());
    }
}

/// Hears one box.
struct Following {
    fellow: Fellow,
    source: Arc<dyn Source>,
    reader: Option<FrameReader>,
    told: Told,
}

impl Following {
    /// What it tells next, with all that it told before; nothing when it fetches no such thing, or not any more.
    async fn hear(&mut self) -> Option<Told> {
        if self.reader.is_none() {
            let (day, id) = self.fellow.name();
            self.fellow.session.tally.gathers_sent.fetch_add(1, Relaxed);
            self.reader = self.fellow.ask(&Message::Gather(Gather { day, id })).await.ok();
        }
        let frame = self.reader.as_mut()?.frame().await;
        let is_right = match frame {
            Ok(Some(Message::Progress(progress))) => self.note(&progress),
            Ok(Some(Message::No(_)) | None) | Err(FrameError::Read(_) | FrameError::Early) => return None,
            Ok(Some(_)) | Err(FrameError::Bad(_)) => false,
        };
        if !is_right {
            nonsense(&self.fellow.room, &self.fellow.session);
        }
        is_right.then(|| self.told.clone())
    }

    /// Whether it can be so.
    fn note(&mut self, progress: &Progress) -> bool {
        self.fellow.session.tally.reports_received.fetch_add(1, Relaxed);
        let groups = groups_of(self.fellow.length);
        let (units, blocks) = (groups.div_ceil(UNIT), Blocks::of(groups).count());
        for span in &progress.ready {
            self.told.ready.insert(GroupSpan::clamped(span.0 * UNIT, (span.1 * UNIT).min(groups)));
        }
        self.told.working.clone_from(&progress.working);
        (self.told.received, self.told.fetches) = (progress.received, progress.fetches);
        progress.ready.iter().all(|span| span.1 <= units)
            && progress.working.iter().all(|block| *block < blocks)
    }
}

/// A box that fetches the same.
#[derive(Clone)]
struct Fellow {
    member: MemberId,
    label: String,
    room: Arc<Room>,
    session: Arc<Session>,
    /// Of the pairing that it spoke under.
    secret: [u8; 32],
    statement: Arc<Statement>,
    subject: Subject,
    length: u64,
    /// What it signed, unit by unit.
    signed: Arc<Mutex<Signed>>,
}

/// Chaining value and signature of each unit.
type Signed = BTreeMap<u64, (Leaf, [u8; 64])>;

impl Fellow {
    /// What we call the fetch between the two of us.
    fn name(&self) -> (u32, crate::wire::RendezvousId) {
        let rendezvous = Rendezvous::new(&self.secret, claim::day_of(clock::now()));
        (rendezvous.day(), rendezvous.id(self.subject))
    }

    async fn ask(&self, message: &Message) -> Result<FrameReader, SourceError> {
        let broke_off = |error: quinn::ConnectionError| SourceError::BrokeOff(error.into());
        let (mut send, receive) = self.session.connection.open_bi().await.map_err(broke_off)?;
        frames::send(&mut send, message).await.map_err(|error| SourceError::BrokeOff(error.into()))?;
        let _ = send.finish();
        Ok(FrameReader::new(receive))
    }

    fn unit(&self, number: u64, value: Leaf) -> Vec<u8> {
        let unit = Unit { statement: &self.statement, length: self.length, number, value };
        unit.signed_bytes(&self.session.key)
    }

    async fn take(&self, span: GroupSpan) -> Result<Box<dyn Lane>, SourceError> {
        let unit = span.start() / UNIT;
        let (day, id) = self.name();
        self.session.tally.takes_sent.fetch_add(1, Relaxed);
        let mut reader = self.in_time(self.ask(&Message::Take(Take { day, id, unit }))).await??;
        let len = span.bytes(self.length).len();
        let part = match self.in_time(reader.frame()).await? {
            Ok(Some(Message::Part(part))) if u64::from(part.bytes) == len => part,
            Ok(Some(Message::No(no))) if no.reason() == Reason::Busy => return Err(SourceError::Busy),
            Ok(Some(Message::No(_)) | None) => return Err(SourceError::NotHeld),
            Ok(Some(_)) | Err(FrameError::Bad(_)) => {
                nonsense(&self.room, &self.session);
                return Err(SourceError::Mismatch);
            }
            Err(error) => return Err(SourceError::BrokeOff(error.into())),
        };
        let len_usize = usize::try_from(len).unwrap_or(usize::MAX);
        let mut bytes = BytesMut::with_capacity(len_usize);
        while bytes.len() < len_usize {
            let count = PIECE_BYTES.min(len_usize - bytes.len());
            let piece = self.in_time(reader.bytes(count)).await?;
            bytes.extend_from_slice(&piece.map_err(|error| SourceError::BrokeOff(error.into()))?);
        }
        let run = Run::of_signed_unit(ChunkGroup(span.start()), bytes.freeze());
        let value = run.subtree();
        if !self.session.key.has_signed(&self.unit(unit, value), &part.signature) {
            self.session.tally.verify_failures.fetch_add(1, Relaxed);
            self.room.strike(&self.session, "a unit that is not signed");
            return Err(SourceError::Mismatch);
        }
        self.signed().insert(unit, (value, part.signature));
        self.session.tally.verified(span.len(), len);
        Ok(Box::new(Once(Some(run))))
    }

    /// Waits for a next step no longer than a step may take, however many there are.
    async fn in_time<T>(&self, step: impl Future<Output = T>) -> Result<T, SourceError> {
        timeout(CROWD_STEP_TIMEOUT, step).await.map_err(|elapsed| {
            self.session.tally.stalled();
            SourceError::BrokeOff(elapsed.into())
        })
    }

    fn signed(&self) -> MutexGuard<'_, Signed> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts it away when it signed for other bytes than those.
    fn judge(&self, unit: GroupSpan, truth: Leaf) {
        let number = unit.start() / UNIT;
        let Some((value, signature)) = self.signed().get(&number).copied() else { return };
        if value == truth {
            return;
        }
        let summary =
            format!("it signed that unit {number} of {} was sent by its site", self.statement.summary());
        let evidence = Evidence {
            found_at_ms: clock::now().0,
            summary,
            claim: self.unit(number, value),
            signature: signature.to_vec(),
            truth: "the site sends other bytes".to_owned(),
            known_at_ms: clock::now().0,
        };
        self.room.quarantine(&self.session, evidence);
    }
}

impl Source for Fellow {
    fn kind(&self) -> SourceKind {
        SourceKind::Neighbour
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn abilities(&self) -> Abilities {
        Abilities { ranges: true, lanes_max: 1, grain: 1 }
    }

    fn open(&self, span: GroupSpan) -> BoxFuture<'static, Result<Box<dyn Lane>, SourceError>> {
        let fellow = self.clone();
        Box::pin(async move { fellow.take(span).await })
    }

    fn vouches(&self) -> bool {
        self.room.registry.read().believes(&self.secret)
    }

    fn blame(&self, fault: Fault) {
        match fault {
            Fault::TooSlow => self.session.tally.stalled(),
            Fault::Unit { unit, truth } => self.judge(unit, truth),
            // It claims no object.
            Fault::FalseClaim(_) => {}
        }
    }
}

/// One run.
struct Once(Option<Run>);

impl Lane for Once {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Run>, SourceError>> {
        Box::pin(std::future::ready(Ok(self.0.take())))
    }
}
