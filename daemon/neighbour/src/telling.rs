//! Tells neighbours what they may ask for, and listens to what they tell: the driver of [`crate::filter`] and
//! [`crate::gathering`].
//!
//! A session begins with a whole filter. From then on changes are told when they have waited for others long enough, but no
//! two within [`FILTER_INTERVAL`]; when nothing changes nothing is sent.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kith_model::limits::{
    FILTER_INTERVAL, FILTER_REFUSED_PAUSE, FILTERS_BURST, NEIGHBOUR_REQUEST_TIMEOUT, SHELF_LOOK_PAUSE,
};
use kith_model::trust::Role;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{sleep, timeout};

use crate::bucket::Bucket;
use crate::claim::Subject;
use crate::config::Sharing;
use crate::filter::{self, BadFilter, Heard, Hearing, Told};
use crate::frames::{self, FrameError, FrameReader};
use crate::gathering::{Elsewhere, Gathering, News};
use crate::room::Room;
use crate::session::Session;
use crate::shelf::ShelfNews;
use crate::wire::{self, Filter, Message, Reason};

/// The filter of a neighbour, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterView {
    /// Names in it.
    pub names: usize,
    /// Bytes that it took on the wire, with its changes.
    pub bytes: u64,
    /// How long nothing has changed in it.
    pub age: Duration,
}

/// What a neighbour's filter says about something that is looked for. The better comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Opinion {
    /// It may well be held.
    MayHold,
    /// There is no filter, or it may lag behind.
    Unknown,
    /// It is not held.
    Lacks,
}

/// What was heard in a session.
pub(crate) struct Ear {
    heard: Option<Heard>,
    bytes: u64,
    heard_at: Instant,
    /// Whether there may be news that is not told yet, for [`FILTER_INTERVAL`]: nothing is held back before the first
    /// change.
    is_changing: bool,
    taken: Bucket,
}

impl Ear {
    pub(crate) fn new(now: Instant) -> Self {
        let taken = Bucket::new(1, FILTERS_BURST, now);
        Self { heard: None, bytes: 0, heard_at: now, is_changing: false, taken }
    }

    /// What the filter says of something with these names.
    pub(crate) fn opinion(&self, subjects: &[Subject]) -> Opinion {
        match &self.heard {
            None => Opinion::Unknown,
            Some(heard) if heard.may_hold(subjects) => Opinion::MayHold,
            Some(_) => Opinion::Lacks,
        }
    }

    /// Whether the filter says so, and can be believed.
    pub(crate) fn surely_holds(&self, subjects: &[Subject]) -> bool {
        self.heard.as_ref().is_some_and(|heard| heard.is_sparse() && heard.may_hold(subjects))
    }

    /// Whether the sender may know of more than it could say yet.
    pub(crate) fn may_lag(&self, now: Instant) -> bool {
        self.is_changing && now.saturating_duration_since(self.heard_at) < FILTER_INTERVAL
    }

    pub(crate) fn view(&self) -> Option<FilterView> {
        let heard = self.heard.as_ref()?;
        Some(FilterView { names: heard.names(), bytes: self.bytes, age: self.heard_at.elapsed() })
    }

    /// Takes a filter in; when it cannot, it says what to answer.
    fn hear(
        &mut self,
        secret: &[u8; 32],
        filter: &Filter,
        bytes: &[u8],
    ) -> Result<Option<Message>, BadFilter> {
        let before = self.heard.take();
        self.is_changing = before.is_some() || filter.number > 0;
        self.heard_at = Instant::now();
        match Heard::hear(before, secret, filter, bytes)? {
            Hearing::Lost => Ok(Some(Reason::NotHere.message())),
            Hearing::Heard(heard) => {
                let so_far = if filter.number == 0 { 0 } else { self.bytes };
                self.bytes = so_far.saturating_add(filter::wire_bytes(filter));
                self.heard = Some(heard);
                Ok(None)
            }
        }
    }
}

/// Why a filter that came was neither taken in nor refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HearError {
    /// The sender's fault.
    #[error(transparent)]
    Bad(#[from] BadFilter),
    /// The rest did not come.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Not in time.
    #[error("the filter did not come in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
}

/// Reads the raw bytes behind a filter's frame, and takes it in without a word, or says what to answer. What cannot be
/// taken in leaves no filter: its sender is asked directly then.
pub(crate) async fn hear(
    room: &Room,
    session: &Session,
    reader: &mut FrameReader,
    filter: &Filter,
) -> Result<Option<Message>, HearError> {
    let may_come = !filter::is_too_large(filter) && session.ear().taken.take(Instant::now());
    let (true, Some((_, secret))) = (may_come, room.registry.paired(&session.key)) else {
        session.ear().heard = None;
        return Ok(Some(Reason::Busy.message()));
    };
    let count = (filter.added.bytes + filter.removed.bytes) as usize;
    let bytes = timeout(NEIGHBOUR_REQUEST_TIMEOUT, reader.bytes(count)).await??;
    session.tally.filters_received.fetch_add(1, Relaxed);
    session.tally.filter_received_bytes.fetch_add(filter::wire_bytes(filter), Relaxed);
    let answer = session.ear().hear(&secret, filter, &bytes)?;
    room.changes.send_modify(|count| *count = count.wrapping_add(1));
    Ok(answer)
}

/// Looks at the shelf when it has changed, while there is somebody to tell, and says when it is time to tell.
pub(crate) async fn watch(room: Arc<Room>) {
    let mut changes = room.store.changes();
    // Nothing waits to be told yet.
    let mut due: Option<Instant> = None;
    loop {
        let is_due = tokio::select! {
            () = room.stopping.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return } else { false },
            () = until(due), if due.is_some() => true,
        };
        if !is_due && !room.sessions.is_empty() {
            let shelf = room.shelf.clone();
            if let Some(Ok(news)) = room.blocking(move || shelf.news()).await
                && news.is_any
            {
                let told_at = Instant::now() + pause(&room, &news);
                due = Some(due.map_or(told_at, |due| due.min(told_at)));
            }
        }
        if due.is_some_and(|due| due <= Instant::now()) {
            due = None;
            room.news.send_modify(|count| *count = count.wrapping_add(1));
        }
        // A burst of small objects is looked at together.
        sleep(SHELF_LOOK_PAUSE).await;
    }
}

async fn until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}

/// How long what is new waits before neighbours are told.
fn pause(room: &Room, news: &ShelfNews) -> Duration {
    let sessions = room.sessions.all();
    let is_mine =
        |session: &Session| room.registry.paired(&session.key).is_some_and(|(role, _)| role == Role::Mine);
    let elsewhere = |subjects: &[Subject]| {
        let is_told = sessions.iter().any(|one| one.ear().surely_holds(subjects) && is_mine(one));
        if is_told { Elsewhere::Told } else { Elsewhere::Unknown }
    };
    let least = if news.is_more { News::File } else { News::Minor };
    let arrived = news.arrived.iter().map(|(length, subjects)| News::of(*length, elsewhere(subjects)));
    Gathering::among(sessions.len()).pause(arrived.fold(least, News::max))
}

/// How a neighbour answered a filter.
enum Reply {
    Heard,
    Lost,
    Refused,
}

/// Tells the other box of a session what it may ask for, for as long as the session lives.
pub(crate) async fn tell(room: Arc<Room>, session: Arc<Session>) {
    if session.speaks & wire::speaks::FILTERS == 0 {
        return;
    }
    let mut news = room.news.subscribe();
    let mut told = None;
    // Before the first filter there is nothing that a second one could follow too soon.
    let mut interval = Duration::ZERO;
    loop {
        news.mark_unchanged();
        let Some((now, message)) = prepare(&room, &session, told.take()).await else { return };
        told = Some(now);
        if let Some((filter, bytes)) = message {
            let pause = match say(&session, &filter, bytes).await {
                Ok(Reply::Heard) => std::mem::replace(&mut interval, FILTER_INTERVAL),
                Ok(Reply::Lost) => {
                    told = None;
                    FILTER_INTERVAL
                }
                Ok(Reply::Refused) => {
                    told = None;
                    FILTER_REFUSED_PAUSE
                }
                // The session is over, or its other end makes no sense: the next session begins anew.
                Err(error) => {
                    tracing::debug!(neighbour = %session.id.short(), %error, "a filter was not heard");
                    return;
                }
            };
            sleep(pause).await;
        }
        if told.is_some() && news.changed().await.is_err() {
            return;
        }
    }
}

/// A filter and the raw bytes behind it.
type Telling = (Filter, Bytes);

/// What there is to tell, after what was told before. Nothing when the box is no longer paired or the shelf cannot be
/// read.
async fn prepare(room: &Arc<Room>, session: &Session, told: Option<Told>) -> Option<(Told, Option<Telling>)> {
    let (role, secret) = room.registry.paired(&session.key)?;
    let audience = role.audience();
    let mut salt = [0; 16];
    SystemRandom::new().fill(&mut salt).ok()?;
    let (shelf, share, neighbours) = (room.shelf.clone(), room.config.share, room.sessions.all().len());
    let prepared = room.blocking(move || {
        let objects = shelf.objects()?;
        let names = objects.values().flatten();
        let subjects =
            names.filter(|name| share == Sharing::On && name.is_told_to(audience)).map(|name| &name.subject);
        if let Some(mut told) = told
            && let Ok(change) = told.change(subjects.clone())
        {
            return Ok((told, change));
        }
        let (told, filter, bytes) = Told::whole(&secret, salt, neighbours, subjects);
        Ok::<_, kith_store::IndexError>((told, Some((filter, bytes))))
    });
    let prepared = prepared.await?;
    prepared.inspect_err(|error| tracing::warn!(%error, "the shelf cannot be told of")).ok()
}

async fn say(session: &Session, filter: &Filter, bytes: Bytes) -> Result<Reply, FrameError> {
    let (mut send, receive) = session.connection.open_bi().await.map_err(quinn::ReadError::from)?;
    // A write that fails shows when the answer is read.
    let _ = frames::send(&mut send, &Message::Filter(filter.clone())).await;
    let _ = send.write_chunk(bytes).await;
    let _ = send.finish();
    session.tally.filters_sent.fetch_add(1, Relaxed);
    session.tally.filter_sent_bytes.fetch_add(filter::wire_bytes(filter), Relaxed);
    let mut reader = FrameReader::new(receive);
    let answer = timeout(2 * NEIGHBOUR_REQUEST_TIMEOUT, reader.frame()).await;
    // Only who has taken it in ends the stream without a word; what went wrong there resets it.
    match answer.unwrap_or(Err(FrameError::Early)) {
        Ok(None) => Ok(Reply::Heard),
        Ok(Some(Message::No(no))) if no.reason() == Reason::NotHere && filter.number > 0 => Ok(Reply::Lost),
        Ok(Some(_)) | Err(FrameError::Read(quinn::ReadError::Reset(_))) => Ok(Reply::Refused),
        Err(error) => Err(error),
    }
}
