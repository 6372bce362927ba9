//! Writes one arriving object.

use std::sync::Arc;

use kith_model::ladder::{Contradiction, Ladder, Rung, Teller};
use kith_model::limits;
use kith_model::object::ObjectId;
use kith_model::range::GroupSet;
use kith_model::representation::{ObjectInfo, Representation};
use kith_model::shelf::Copy;
use kith_model::verify::Run;
use tokio::sync::oneshot;

use crate::arriving::{Arriving, NotWhole, Whole};
use crate::body::Body;
use crate::cellar::Cellar;
use crate::draft::{Draft, Finish, Finished, Visibility};
use crate::error::{FinishError, WriteError};
use crate::inbox::Entry;
use crate::keeper::{NewBytes, NewObject, Order};
use crate::opened::Opened;
use crate::progress::Complete;
use crate::record::Record;

/// The one writer of an unfinished object. Dropping it keeps the part for [`Store::resume`](crate::Store::resume)
/// when it has a strong validator and a length, and deletes it otherwise.
#[derive(Debug)]
pub struct Writer {
    arriving: Arc<Arriving>,
}

impl Writer {
    pub(crate) fn new(arriving: Arc<Arriving>) -> Self {
        Self { arriving }
    }

    /// What it was begun with.
    pub fn draft(&self) -> Draft {
        (*self.arriving.draft).clone()
    }

    /// The bytes as they become readable.
    pub fn body(&self) -> Body {
        Body::arriving(Arc::clone(&self.arriving))
    }

    /// Which groups are held, readable or not.
    pub fn held(&self) -> GroupSet {
        self.arriving.progress().held.clone()
    }

    /// Takes groups in any order. Groups that are held already are skipped: the first one stays. Only what the origin
    /// sends takes the place of groups that it did not vouch for and that nobody could read yet.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop a write that has begun.
    pub async fn write(&self, run: Run, visibility: Visibility) -> Result<(), WriteError> {
        self.admit(&run).await?;
        if self.arriving.stays_in_memory(&run) {
            return self.arriving.write_memory(&run, visibility);
        }
        match self.write_files(run.clone(), visibility).await {
            Err(WriteError::NoSpace) => {
                let bytes = run.bytes().len() as u64;
                self.arriving.cellar.make_room(bytes).await.map_err(|_| WriteError::NoSpace)?;
                self.write_files(run, visibility).await
            }
            outcome => outcome,
        }
    }

    /// Whether so many bytes may come, by the bounds of one object and of the shelf.
    async fn admit(&self, run: &Run) -> Result<(), WriteError> {
        let cellar = &self.arriving.cellar;
        let bytes_max = cellar.config.object_bytes_max;
        let len = run.bytes().len() as u64;
        if run.first().offset().saturating_add(len) > bytes_max {
            return Err(WriteError::TooLarge { bytes_max });
        }
        // What a draft with a length will take was set aside when it was begun.
        let fresh = if self.arriving.draft.length.is_some() { 0 } else { len };
        if cellar.is_room_due(len, fresh) {
            cellar.make_room(fresh).await.map_err(|_| WriteError::NoSpace)?;
        }
        Ok(())
    }

    async fn write_files(&self, run: Run, visibility: Visibility) -> Result<(), WriteError> {
        let (reply, written) = oneshot::channel();
        if let Some(outlet) = self.arriving.inbox.put(Entry { run, visibility, reply }).await? {
            let worker = Arc::clone(&self.arriving);
            let work = move || outlet.for_each(|entry| worker.write_files(entry));
            // It ends with what waits, and the tracker waits for it.
            drop(self.arriving.cellar.tracker.spawn_blocking(work));
        }
        written.await.unwrap_or(Err(WriteError::Ended))
    }

    /// The digests that were told of the whole, in the draft and since.
    pub fn told(&self) -> Ladder {
        self.arriving.told()
    }

    /// Takes digests that were told after the draft was made: they are checked like its own. None is taken when one
    /// contradicts what was told before.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn learn(&self, news: Ladder) -> Result<(), Contradiction> {
        on_disk(&self.arriving, move |arriving| arriving.learn(&news)).await.unwrap_or(Ok(()))
    }

    /// Makes all held-back groups readable but those that nobody vouches for.
    ///
    /// # Cancel safety
    /// Does not wait.
    #[allow(clippy::unused_async, reason = "async as all that changes what readers see")]
    pub async fn release(&self) {
        self.arriving.release();
    }

    /// Makes all groups readable, whoever sent them: the whole was found right.
    ///
    /// # Cancel safety
    /// Does not wait.
    #[allow(clippy::unused_async, reason = "async as all that changes what readers see")]
    pub async fn approve(&self) {
        self.arriving.approve();
    }

    /// Drops every group that nobody vouches for, which nobody could read, and returns what is still held.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn drop_doubtful(&self) -> GroupSet {
        on_disk(&self.arriving, Arriving::drop_doubtful).await.unwrap_or_default()
    }

    /// Drops every group that the origin did not vouch for and returns what is still held. Readers that have read
    /// any of it find the object gone; others go on.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn retract(&self) -> GroupSet {
        on_disk(&self.arriving, Arriving::retract).await.unwrap_or_default()
    }

    /// Checks the whole, makes it durable and files it.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn finish(&self, finish: Finish) -> Result<Finished, FinishError> {
        let bytes_max = self.arriving.cellar.config.object_bytes_max;
        if finish.length > bytes_max {
            return Err(WriteError::TooLarge { bytes_max }.into());
        }
        // Before anything waits: from here on dropping the writer does not stop it.
        self.arriving.progress().begin_finish()?;
        let arriving = Arc::clone(&self.arriving);
        let finished = self.arriving.cellar.tracker.spawn(async move { run_finish(&arriving, finish).await });
        finished.await.unwrap_or(Err(FinishError::Write(WriteError::Ended)))
    }

    /// Checks the whole as [`Self::finish`] does, and leaves it as it is: readers may be told that it is right before
    /// the disk has it for good.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn check(&self, finish: Finish) -> Result<(), FinishError> {
        let checked = on_disk(&self.arriving, move |arriving| {
            let whole = whole_of(arriving, finish)?;
            record_of(arriving, finish, &whole).map(|_| ())
        });
        checked.await.unwrap_or(Err(FinishError::Write(WriteError::Ended)))
    }

    /// Throws the part away.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn discard(&self) {
        on_disk(&self.arriving, Arriving::discard).await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.arriving.park() {
            return;
        }
        // To delete a big file takes the disk a while.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                let arriving = Arc::clone(&self.arriving);
                self.arriving.cellar.tracker.spawn_blocking_on(move || arriving.clear(), &runtime);
            }
            Err(_) => self.arriving.clear(),
        }
    }
}

/// Finishes, however long the writer lives.
async fn run_finish(arriving: &Arc<Arriving>, finish: Finish) -> Result<Finished, FinishError> {
    let outcome = file(arriving, finish).await;
    let abandoned = arriving.progress().end_finish();
    if abandoned && outcome.is_err() && arriving.park() {
        on_disk(arriving, Arriving::clear).await;
    }
    outcome
}

async fn file(arriving: &Arc<Arriving>, finish: Finish) -> Result<Finished, FinishError> {
    let prepared = on_disk(arriving, move |arriving| prepare(arriving, finish, Look::Shelf)).await;
    let (object, mut complete) = prepared.ok_or(WriteError::Ended)??;
    // From here on its bytes are counted with the shelf's: counted twice they would drive others off it.
    arriving.leave_sums();
    let mut filed = order(arriving, object).await;
    if let Err(WriteError::NotHeld) = filed {
        // It was on the shelf when looked for, and has left it since.
        let prepared = on_disk(arriving, move |arriving| prepare(arriving, finish, Look::Nowhere)).await;
        let object;
        (object, complete) = prepared.ok_or(WriteError::Ended)??;
        filed = order(arriving, object).await;
    }
    // Readers go on also when it could not be filed: the bytes are right, and were synced.
    let info = filed.as_ref().map_or_else(|_| complete.info.clone(), Clone::clone);
    arriving.complete(Complete { info, ..complete });
    // Whatever was not renamed into place is not needed any more.
    on_disk(arriving, Arriving::clear).await;
    Ok(Finished { info: filed? })
}

async fn order(arriving: &Arriving, object: NewObject) -> Result<ObjectInfo, WriteError> {
    arriving.cellar.order(|reply| Order::File(Box::new(object), reply)).await
}

/// Works on the object on a thread that may block. Nothing when the work panicked.
async fn on_disk<T: Send + 'static>(
    arriving: &Arc<Arriving>,
    work: impl FnOnce(&Arriving) -> T + Send + 'static,
) -> Option<T> {
    let worker = Arc::clone(arriving);
    arriving.cellar.blocking(move || work(&worker)).await
}

/// Where to look for the object before its bytes are made durable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It may be on the shelf already: then there is nothing to sync.
    Shelf,
    /// It is not there.
    Nowhere,
}

/// Checks the whole and makes its bytes durable. Blocks.
fn prepare(arriving: &Arriving, finish: Finish, look: Look) -> Result<(NewObject, Complete), FinishError> {
    let whole = whole_of(arriving, finish)?;
    let record = record_of(arriving, finish, &whole)?;
    let info = record.info.clone();
    if record.inline.is_some() {
        let object = NewObject { record, bytes: NewBytes::Inline, copy: Copy::First };
        return Ok((object, Complete { info, outboard: None }));
    }
    let held = look == Look::Shelf && is_on_shelf(&arriving.cellar, &whole.id)?;
    let bytes = if held {
        NewBytes::Held
    } else {
        if let Err(error) = arriving.sync(whole.id, finish.length) {
            // What a failed sync leaves on the disk is unknown: nobody may take it for stored.
            arriving.discard();
            return Err(WriteError::from(error).into());
        }
        NewBytes::Files(arriving.files().clone())
    };
    let outboard = arriving.open_outboard();
    let copy = arriving.progress().copy();
    Ok((NewObject { record, bytes, copy }, Complete { info, outboard }))
}

/// Folds what is held and compares it with what it must be. Blocks.
fn whole_of(arriving: &Arriving, finish: Finish) -> Result<Whole, FinishError> {
    let whole = arriving.fold(finish.length).map_err(|error| match error {
        NotWhole::Incomplete => FinishError::Incomplete,
        NotWhole::Disk(error) => WriteError::from(error).into(),
    })?;
    match finish.expected {
        Some(expected) if expected != whole.id => Err(FinishError::WrongRoot { found: whole.id }),
        _ => Ok(whole),
    }
}

/// Whether an object is stored, with files that can be opened.
fn is_on_shelf(cellar: &Cellar, id: &ObjectId) -> Result<bool, WriteError> {
    let known = cellar.index.object(id)?;
    Ok(known.is_some_and(|info| Opened::open(&cellar.paths, info).is_ok()))
}

/// Compares with the digests that were told, and makes the record.
fn record_of(arriving: &Arriving, finish: Finish, whole: &Whole) -> Result<Record, FinishError> {
    let draft = &arriving.draft;
    let mut ladder = Ladder::default();
    for rung in arriving.told().rungs().iter().take(limits::RECORD_RUNGS_MAX - 1) {
        let computed = whole.digests.iter().find(|digest| digest.algorithm() == rung.digest.algorithm());
        if computed.is_some_and(|computed| *computed != rung.digest) {
            return Err(FinishError::DigestMismatch { algorithm: rung.digest.algorithm() });
        }
        // A ladder has no two rungs of one algorithm.
        let _ = ladder.add(rung.clone());
    }
    for digest in &whole.digests {
        let rung = Rung { digest: digest.clone(), teller: Teller::Ourselves, said_at: finish.now };
        let _ = ladder.add(rung);
    }
    let info =
        ObjectInfo { id: whole.id, length: finish.length, ladder, stored_at: finish.now, pinned: false };
    let representation = finish.representation.then(|| Representation {
        key: draft.key.clone(),
        selecting: draft.selecting.clone(),
        head: draft.head.clone(),
        object: whole.id,
        length: finish.length,
        standing: finish.standing,
    });
    Ok(Record { info, representations: representation.into_iter().collect(), inline: whole.inline.clone() })
}
