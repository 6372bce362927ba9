//! The readable bytes of one object, complete or still arriving.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kith_model::limits;
use kith_model::object::ObjectId;
use kith_model::range::{ByteRange, GroupSpan, groups_of};
use kith_model::representation::ObjectInfo;
use kith_model::time::UnixMillis;
use kith_model::verify;
use rustix::io::ReadWriteFlags;

use crate::arriving::Arriving;
use crate::buffers::Buffer;
use crate::cellar::Cellar;
use crate::error::{Gone, ReadError};
use crate::keeper::Order;
use crate::opened::Opened;
use crate::progress::{Complete, End, Progress};

/// Readable bytes of a complete or arriving object. Goes on working when the object is finished, evicted or purged.
pub struct Body {
    cellar: Arc<Cellar>,
    bytes: Source,
    /// The epoch in which groups were read that may still be taken back.
    believed: Mutex<Option<u64>>,
}

#[derive(Clone)]
pub(crate) enum Source {
    Inline(Arc<ObjectInfo>, Bytes),
    Opened(Arc<Opened>),
    Arriving(Arc<Arriving>),
}

impl Clone for Body {
    fn clone(&self) -> Self {
        let believed = *self.believed();
        Self { cellar: Arc::clone(&self.cellar), bytes: self.bytes.clone(), believed: Mutex::new(believed) }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("id", &self.id()).field("length", &self.length()).finish_non_exhaustive()
    }
}

impl Body {
    pub(crate) fn inline(cellar: Arc<Cellar>, info: Arc<ObjectInfo>, bytes: Bytes) -> Self {
        Self { cellar, bytes: Source::Inline(info, bytes), believed: Mutex::default() }
    }

    pub(crate) fn opened(cellar: Arc<Cellar>, opened: Arc<Opened>) -> Self {
        Self { cellar, bytes: Source::Opened(opened), believed: Mutex::default() }
    }

    pub(crate) fn arriving(arriving: Arc<Arriving>) -> Self {
        let cellar = Arc::clone(&arriving.cellar);
        Self { cellar, bytes: Source::Arriving(arriving), believed: Mutex::default() }
    }

    /// Length in bytes; unknown while an object of unknown length arrives.
    pub fn length(&self) -> Option<u64> {
        match &self.bytes {
            Source::Inline(info, _) => Some(info.length),
            Source::Opened(opened) => Some(opened.info.length),
            Source::Arriving(arriving) => arriving.progress().length,
        }
    }

    /// The object, once it is complete.
    pub fn id(&self) -> Option<ObjectId> {
        match &self.bytes {
            Source::Inline(info, _) => Some(info.id),
            Source::Opened(opened) => Some(opened.info.id),
            Source::Arriving(arriving) => match &arriving.progress().end {
                Some(End::Complete(complete)) => Some(complete.info.id),
                _ => None,
            },
        }
    }

    /// How many groups follow one another readably from `group` on.
    pub fn visible_from(&self, group: u64) -> u64 {
        match &self.bytes {
            Source::Inline(info, _) => groups_of(info.length).saturating_sub(group),
            Source::Opened(opened) => groups_of(opened.info.length).saturating_sub(group),
            Source::Arriving(arriving) => arriving.progress().visible.run_from(group),
        }
    }

    /// Waits until `group` is readable, or until the length is known and `group` lies behind it.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn changed(&self, group: u64) -> Result<(), Gone> {
        let Source::Arriving(arriving) = &self.bytes else { return Ok(()) };
        let mut wake = arriving.subscribe();
        loop {
            wake.borrow_and_update();
            if let Some(outcome) = self.outcome(arriving, group) {
                return outcome;
            }
            if wake.changed().await.is_err() {
                return Err(Gone);
            }
        }
    }

    /// What is known of `group` by now: readable or behind the end, never to come, or nothing yet.
    fn outcome(&self, arriving: &Arriving, group: u64) -> Option<Result<(), Gone>> {
        let progress = arriving.progress();
        if matches!(progress.end, Some(End::Gone)) || self.is_deceived(progress.epoch) {
            return Some(Err(Gone));
        }
        let behind_end = progress.length.is_some_and(|length| group >= groups_of(length));
        (behind_end || progress.visible.contains(group)).then_some(Ok(()))
    }

    /// Reads at most 1 MiB, all of it visible.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn read(&self, range: ByteRange) -> Result<Bytes, ReadError> {
        if range.len() > limits::READ_BYTES_MAX {
            return Err(ReadError::Missing);
        }
        match &self.bytes {
            Source::Inline(_, bytes) => slice(bytes, range),
            Source::Opened(opened) => self.read_opened(opened, range).await,
            Source::Arriving(arriving) => self.read_arriving(arriving, range).await,
        }
    }

    /// Reads the first part of `range`: all of it, or at least its first group when that much is at hand without
    /// asking the disk. What is at hand may hang on a larger piece of memory, but on none above `memory_max` bytes.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn read_front(&self, range: ByteRange, memory_max: u64) -> Result<Bytes, ReadError> {
        if let Source::Arriving(arriving) = &self.bytes
            && let Some(bytes) = self.read_edge(arriving, range, memory_max)
        {
            return Ok(bytes);
        }
        self.read(range).await
    }

    fn read_edge(&self, arriving: &Arriving, range: ByteRange, memory_max: u64) -> Option<Bytes> {
        let progress = arriving.progress();
        let bytes = progress.edge.from(range.start(), range.len(), memory_max)?;
        let part = ByteRange::new(range.start(), range.start() + bytes.len() as u64)?;
        self.admit(&progress, part).ok().map(|_| bytes)
    }

    /// Whether `range` may be read now. The epoch to read it in, when its bytes may still be taken back.
    fn admit(&self, progress: &Progress, range: ByteRange) -> Result<Option<u64>, ReadError> {
        let span = GroupSpan::covering(range);
        let gone = matches!(progress.end, Some(End::Gone)) || self.is_deceived(progress.epoch);
        let outside = progress.known_end().is_some_and(|end| range.end() > end);
        if gone || outside || !progress.visible.contains_all(span) {
            return Err(ReadError::Missing);
        }
        let is_certain = range.is_empty() || progress.end.is_some() || progress.origin.contains_all(span);
        let epoch = (!is_certain).then_some(progress.epoch);
        if let Some(epoch) = epoch {
            self.believed().get_or_insert(epoch);
        }
        Ok(epoch)
    }

    async fn read_opened(&self, opened: &Arc<Opened>, range: ByteRange) -> Result<Bytes, ReadError> {
        if range.end() > opened.info.length {
            return Err(ReadError::Missing);
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let span = GroupSpan::covering(range);
        let mut buffer = buffer_for(range)?;
        if opened.is_checked(span, self.now()) {
            if read_if_cached(&opened.data, buffer.bytes_mut(), range.start()) {
                return Ok(buffer.freeze());
            }
            let opened = Arc::clone(opened);
            return self.blocking(move || read_all(&opened.data, buffer, range.start())).await;
        }
        drop(buffer);
        // Groups that were not checked yet are read whole.
        let whole = span.bytes(opened.info.length);
        let mut buffer = buffer_for(whole)?;
        let reading = Arc::clone(opened);
        let outcome = self
            .blocking(move || {
                reading.data.read_exact_at(buffer.bytes_mut(), whole.start())?;
                if let Err(group) = reading.check(span.start(), buffer.as_ref())? {
                    return Err(ReadError::Rotten { group });
                }
                reading.note_checked(span);
                Ok(buffer.freeze())
            })
            .await;
        match outcome {
            Ok(bytes) => slice(&bytes, shifted(range, whole.start())),
            Err(error) => Err(self.report(opened.info.id, error)),
        }
    }

    async fn read_arriving(&self, arriving: &Arc<Arriving>, range: ByteRange) -> Result<Bytes, ReadError> {
        let epoch = {
            let progress = arriving.progress();
            let epoch = self.admit(&progress, range)?;
            if range.is_empty() {
                return Ok(Bytes::new());
            }
            if let Some(memory) = &progress.memory {
                return slice(memory, range);
            }
            epoch
        };
        let data = Arc::clone(arriving.data().ok_or(ReadError::Missing)?);
        let mut buffer = buffer_for(range)?;
        let bytes = if read_if_cached(&data, buffer.bytes_mut(), range.start()) {
            buffer.freeze()
        } else {
            self.blocking(move || read_all(&data, buffer, range.start())).await?
        };
        // Meanwhile the groups may have been taken back and written over.
        match epoch {
            Some(epoch) if arriving.progress().epoch != epoch => Err(ReadError::Missing),
            _ => Ok(bytes),
        }
    }

    /// At most 64 groups of a complete object with the part of the tree that proves them.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn encode(&self, span: GroupSpan) -> Result<Bytes, ReadError> {
        let length = self.length().ok_or(ReadError::Missing)?;
        let inside = span.intersection(GroupSpan::whole(length)) == span;
        if span.is_empty() || !inside || span.len() > limits::ENCODE_GROUPS_MAX {
            return Err(ReadError::Missing);
        }
        let (id, slice) = match &self.bytes {
            Source::Inline(info, bytes) => {
                let slice = verify::encode(info.id, info.length, span, &[][..], &bytes[..]);
                (info.id, slice.map_err(ReadError::from))
            }
            Source::Opened(opened) => {
                let reading = Arc::clone(opened);
                let work = move || {
                    let Opened { info, data, outboard, .. } = &*reading;
                    encode_files(info, outboard.as_ref(), data, span)
                };
                (opened.info.id, self.blocking(work).await)
            }
            Source::Arriving(arriving) => {
                let complete = complete(arriving).ok_or(ReadError::Missing)?;
                let id = complete.info.id;
                (id, self.encode_complete(arriving, complete, span).await)
            }
        };
        slice.map_err(|error| match error {
            ReadError::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.report(id, ReadError::Rotten { group: span.start() })
            }
            error => self.report(id, error),
        })
    }

    async fn encode_complete(
        &self,
        arriving: &Arc<Arriving>,
        complete: Arc<Complete>,
        span: GroupSpan,
    ) -> Result<Bytes, ReadError> {
        let memory = arriving.progress().memory.clone();
        if let Some(memory) = memory {
            let ObjectInfo { id, length, .. } = complete.info;
            return Ok(verify::encode(id, length, span, &[][..], &memory[..])?);
        }
        let data = Arc::clone(arriving.data().ok_or(ReadError::Missing)?);
        if complete.outboard.is_some() || groups_of(complete.info.length) < 2 {
            return self
                .blocking(move || encode_files(&complete.info, complete.outboard.as_ref(), &data, span))
                .await;
        }
        // It was on the shelf already, so this part never got an outboard of its own.
        let paths = Arc::clone(&self.cellar);
        self.blocking(move || {
            let opened = Opened::open(&paths.paths, complete.info.clone())?;
            encode_files(&opened.info, opened.outboard.as_ref(), &opened.data, span)
        })
        .await
    }

    pub(crate) fn source(&self) -> &Source {
        &self.bytes
    }

    pub(crate) fn now(&self) -> UnixMillis {
        self.cellar.clock.now()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        self.cellar.blocking(work).await.unwrap_or(Err(ReadError::Missing))
    }

    /// Takes an object off the shelf whose bytes are not what was stored.
    fn report(&self, id: ObjectId, error: ReadError) -> ReadError {
        if let ReadError::Rotten { .. } = error {
            self.cellar.opened().forget(&id);
            // When the queue is full the next reader finds the same.
            let _ = self.cellar.orders.try_send(Order::Lost(id));
        }
        error
    }

    /// Whether what was read here of an arriving object was taken back since: whoever was given it has wrong bytes.
    pub fn is_misled(&self) -> bool {
        match &self.bytes {
            Source::Arriving(arriving) => self.is_deceived(arriving.progress().epoch),
            Source::Inline(..) | Source::Opened(_) => false,
        }
    }

    fn believed(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.believed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this reader has read what was taken back since.
    fn is_deceived(&self, epoch: u64) -> bool {
        self.believed().is_some_and(|believed| believed != epoch)
    }
}

fn complete(arriving: &Arriving) -> Option<Arc<Complete>> {
    match &arriving.progress().end {
        Some(End::Complete(complete)) => Some(Arc::clone(complete)),
        _ => None,
    }
}

fn encode_files(
    info: &ObjectInfo,
    outboard: Option<&File>,
    data: &File,
    span: GroupSpan,
) -> Result<Bytes, ReadError> {
    Ok(match outboard {
        Some(outboard) => verify::encode(info.id, info.length, span, outboard, data)?,
        None => verify::encode(info.id, info.length, span, &[][..], data)?,
    })
}

fn buffer_for(range: ByteRange) -> Result<Buffer, ReadError> {
    usize::try_from(range.len()).map(Buffer::of).map_err(|_| ReadError::Missing)
}

/// Reads when all of it is in the page cache; else the disk would hold up the runtime.
fn read_if_cached(file: &File, buffer: &mut [u8], offset: u64) -> bool {
    let len = buffer.len();
    let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT);
    read.is_ok_and(|read| read == len)
}

fn read_all(file: &File, mut buffer: Buffer, offset: u64) -> Result<Bytes, ReadError> {
    file.read_exact_at(buffer.bytes_mut(), offset)?;
    Ok(buffer.freeze())
}

/// The same bytes counted from `start`.
fn shifted(range: ByteRange, start: u64) -> ByteRange {
    ByteRange::new(range.start() - start, range.end() - start).unwrap_or(ByteRange::whole(0))
}

fn slice(bytes: &Bytes, range: ByteRange) -> Result<Bytes, ReadError> {
    let (Ok(start), Ok(end)) = (usize::try_from(range.start()), usize::try_from(range.end())) else {
        return Err(ReadError::Missing);
    };
    if end > bytes.len() { Err(ReadError::Missing) } else { Ok(bytes.slice(start..end)) }
}
