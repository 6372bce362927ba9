//! Tells neighbours what origins took back, and hears it from them: the driver of [`crate::withdrawn`].
//!
//! What another box says deletes nothing: what is stored here is not shared any more, and not used either, before its
//! origin was asked. So a box that lies costs a question to the origin.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use kith_model::freshness::{is_outdated, outdated};
use kith_model::limits::{FILTER_REFUSED_PAUSE, NEIGHBOUR_REQUEST_TIMEOUT};
use kith_model::representation::Representation;
use kith_model::time::UnixMillis;
use kith_model::trust::Role;
use kith_store::IndexError;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::claim::{self, Rendezvous, Statement, Subject, withdrawal_bytes};
use crate::config::Sharing;
use crate::frames::{self, FrameError, FrameReader};
use crate::room::Room;
use crate::session::Session;
use crate::shelf::fetched;
use crate::wire::{self, Heard, Message, Reason, RendezvousId, Withdraw, Withdrawn};
use crate::withdrawn::{Entry, FILE_NAME, Log};
use crate::{clock, private_file};

/// The log, its file, and a call for those who tell of it.
pub(crate) struct Withdrawals {
    path: PathBuf,
    log: Mutex<Log>,
    end: watch::Sender<u64>,
    /// One writer of the file at a time; who waits writes the newest state.
    saving: Mutex<()>,
}

impl Withdrawals {
    /// Reads the log. A damaged one begins anew: it only spares others a stale file. Blocks.
    pub(crate) fn new(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE_NAME);
        let stored = private_file::read(&path).ok().flatten();
        let log = stored.as_deref().and_then(Log::from_bytes).unwrap_or_default();
        Self { path, end: watch::Sender::new(log.end()), log: Mutex::new(log), saving: Mutex::default() }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks.
    fn save(&self) {
        let _turn = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = self.log().to_bytes();
        if let Err(error) = private_file::replace(&self.path, &bytes) {
            tracing::warn!(%error, "what origins took back could not be noted");
        }
    }
}

/// Notes that the origin took something back, when neighbours may know of it.
pub(crate) fn note(room: &Arc<Room>, stored: Representation) {
    if let Some(statement) = fetched(&stored) {
        room.fetches.forget(statement.subject(stored.length));
    }
    if room.config.share == Sharing::Off {
        return;
    }
    let noting = Arc::clone(room);
    let work = async move {
        let room = Arc::clone(&noting);
        noting.blocking(move || note_now(&room, &stored)).await;
    };
    room.tracker.spawn(work.boxed());
}

fn note_now(room: &Room, stored: &Representation) -> Option<()> {
    let reach = room.shelf.reach(stored).ok()??;
    let statement = fetched(stored)?;
    let now = clock::now();
    let signed = withdrawal_bytes(&statement, stored.length, &room.identity.key(), now);
    let entry = Entry::new(statement.subject(stored.length), reach, now, room.identity.sign(&signed));
    let end = {
        let mut log = room.withdrawals.log();
        log.push(entry, now);
        log.end()
    };
    room.withdrawals.save();
    room.withdrawals.end.send_replace(end);
    Some(())
}

/// Tells the other box of a session what it has not heard yet, for as long as the session lives.
pub(crate) async fn tell(room: Arc<Room>, session: Arc<Session>) {
    if session.speaks & wire::speaks::WITHDRAWALS == 0 || room.config.share == Sharing::Off {
        return;
    }
    let mut end = room.withdrawals.end.subscribe();
    loop {
        end.mark_unchanged();
        let Some((role, secret)) = room.registry.paired(&session.key) else { return };
        let (entries, next) = room.withdrawals.log().pending(&session.id, role.audience(), clock::now());
        let rendezvous = Rendezvous::new(&secret, claim::day_of(clock::now()));
        if !entries.is_empty() {
            match say(&session, &rendezvous, &entries).await {
                Ok(true) => {}
                Ok(false) => {
                    tokio::time::sleep(FILTER_REFUSED_PAUSE).await;
                    continue;
                }
                Err(error) => {
                    tracing::debug!(neighbour = %session.id.short(), %error, "withdrawals were not heard");
                    return;
                }
            }
            let told = Arc::clone(&room);
            let id = session.id;
            let noted = room.blocking(move || {
                let is_paired = |id: &_| told.registry.read().find(id).is_some();
                told.withdrawals.log().told(&id, next, is_paired);
                told.withdrawals.save();
            });
            noted.await;
        }
        if next >= *end.borrow() && end.changed().await.is_err() {
            return;
        }
    }
}

/// Whether they were heard.
async fn say(session: &Session, rendezvous: &Rendezvous, entries: &[Entry]) -> Result<bool, FrameError> {
    let files = entries.iter().map(|entry| Withdrawn {
        id: rendezvous.id(entry.subject()),
        at_ms: entry.at_ms,
        signature: entry.signature,
    });
    let withdraw = Message::Withdraw(Withdraw { day: rendezvous.day(), files: files.collect() });
    let (mut send, receive) = session.connection.open_bi().await.map_err(quinn::ReadError::from)?;
    // A write that fails shows when the answer is read.
    let _ = frames::send(&mut send, &withdraw).await;
    let _ = send.finish();
    let mut reader = FrameReader::new(receive);
    let answer = timeout(2 * NEIGHBOUR_REQUEST_TIMEOUT, reader.frame()).await;
    let answer = answer.unwrap_or(Err(FrameError::Early))?;
    Ok(matches!(answer, Some(Message::Heard(heard)) if heard.number as usize == entries.len()))
}

/// Takes withdrawals in, and says what to answer; nothing when the box is no longer paired or our shelf fails. What is
/// held of them is not shared any more once this returns.
pub(crate) async fn hear(room: &Arc<Room>, session: &Arc<Session>, withdraw: Withdraw) -> Option<Message> {
    let (role, secret) = room.registry.paired(&session.key)?;
    let count = withdraw.files.len();
    let may = {
        let mut allowance = session.tally.withdrawals.lock().unwrap_or_else(PoisonError::into_inner);
        allowance.take(count, clock::now())
    };
    if !may {
        return Some(Reason::Busy.message());
    }
    // What is fetched together with boxes of the same owner is nobody else's business.
    let fetches = if role == Role::Mine { room.fetches.statements() } else { Vec::new() };
    let (shelf, key) = (room.shelf.clone(), session.key);
    let found = room.blocking(move || {
        let rendezvous = Rendezvous::new(&secret, withdraw.day);
        let file_of = |id: &RendezvousId| withdraw.files.iter().position(|file| file.id == *id);
        let is_signed = |at: usize, statement: &Statement, length: u64| {
            let file = &withdraw.files[at];
            let signed = withdrawal_bytes(statement, length, &key, UnixMillis(file.at_ms));
            key.has_signed(&signed, &file.signature)
        };
        let ended = fetches.iter().filter_map(|(statement, length)| {
            let subject = statement.subject(*length);
            let at = file_of(&rendezvous.id(subject))?;
            is_signed(at, statement, *length).then_some(subject)
        });
        let ended: Vec<Subject> = ended.collect();
        let named = shelf.named(role.audience(), &rendezvous, file_of)?;
        let is_right = |(at, statement, stored): &(usize, Statement, Representation)| {
            is_signed(*at, statement, stored.length)
        };
        let (signed, unsigned): (Vec<_>, Vec<_>) = named.into_iter().partition(is_right);
        Ok::<_, IndexError>((ended, signed, unsigned))
    });
    let (ended, signed, unsigned) =
        found.await?.inspect_err(|error| tracing::warn!(%error, "the shelf cannot be read")).ok()?;
    for subject in ended {
        room.fetches.forget(subject);
    }
    if !unsigned.is_empty() {
        room.strike(session, "a withdrawal that is not signed");
    }
    for (_, _, stored) in signed.into_iter().filter(|(_, _, stored)| !is_outdated(&stored.head)) {
        tracing::info!(host = stored.key.target.host(), neighbour = %session.id.short(), "said to be withdrawn: its origin is asked next");
        if let Err(error) = room.store.refresh(outdated(&stored)).await {
            tracing::warn!(%error, "a withdrawal could not be noted");
            return None;
        }
    }
    Some(Message::Heard(Heard { number: u32::try_from(count).unwrap_or(u32::MAX) }))
}
