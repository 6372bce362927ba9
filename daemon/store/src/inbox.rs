//! Runs of one arriving object on their way to the disk, and the one blocking thread at a time that takes them there.
//!
//! The thread takes run after run as long as some wait, and tells the writer of each as soon as it can be read: the
//! digests are brought up to date behind that. A busy object so needs no hand-over between threads for each run.
//! Knows nothing of what is done with a run.

use std::sync::{Arc, Mutex, PoisonError};

use kith_model::limits;
use kith_model::verify::Run;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::draft::Visibility;
use crate::error::WriteError;

/// One run, and who waits for it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) run: Run,
    pub(crate) visibility: Visibility,
    pub(crate) reply: oneshot::Sender<Result<(), WriteError>>,
}

/// What waits to be written.
#[derive(Debug)]
pub(crate) struct Inbox {
    sender: mpsc::Sender<Entry>,
    /// The other end while no thread takes from it.
    idle: Mutex<Option<mpsc::Receiver<Entry>>>,
}

/// The other end, for the thread that was begun.
#[derive(Debug)]
pub(crate) struct Outlet {
    inbox: Arc<Inbox>,
    /// Given back when nothing waits.
    receiver: Option<mpsc::Receiver<Entry>>,
}

impl Inbox {
    pub(crate) fn new() -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(limits::WRITES_WAITING_MAX);
        Arc::new(Self { sender, idle: Mutex::new(Some(receiver)) })
    }

    /// Puts a run in line. Whoever gets an [`Outlet`] has to begin a thread that empties it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the run out. What was put in line is written.
    pub(crate) async fn put(self: &Arc<Self>, entry: Entry) -> Result<Option<Outlet>, WriteError> {
        self.sender.send(entry).await.map_err(|_| WriteError::Ended)?;
        let receiver = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(receiver.map(|receiver| Outlet { inbox: Arc::clone(self), receiver: Some(receiver) }))
    }
}

impl Iterator for Outlet {
    type Item = Entry;

    /// The next run in line; nothing when none waits: then whoever puts the next one gets the outlet.
    fn next(&mut self) -> Option<Entry> {
        let receiver = self.receiver.as_mut()?;
        if let Ok(entry) = receiver.try_recv() {
            return Some(entry);
        }
        // Whoever puts one in line looks here afterwards: it is found now, or they find the receiver.
        let mut idle = self.inbox.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match receiver.try_recv() {
            Ok(entry) => Some(entry),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                *idle = self.receiver.take();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kith_model::range::ChunkGroup;

    use super::*;

    fn entry(group: u64) -> (Entry, oneshot::Receiver<Result<(), WriteError>>) {
        let (reply, written) = oneshot::channel();
        let run = Run::from_origin(ChunkGroup(group), Bytes::from_static(b"bytes"));
        (Entry { run, visibility: Visibility::Now, reply }, written)
    }

    #[tokio::test]
    async fn one_thread_at_a_time_takes_all_that_waits() {
        let inbox = Inbox::new();
        for round in 0..3 {
            let mut outlet = inbox.put(entry(round).0).await.expect("open").expect("nobody takes yet");
            for group in [10, 11] {
                assert!(inbox.put(entry(group).0).await.expect("open").is_none(), "somebody takes already");
            }
            let taken: Vec<u64> = outlet.by_ref().map(|entry| entry.run.first().0).collect();
            assert_eq!(taken, [round, 10, 11]);
            assert!(outlet.next().is_none(), "it was given back");
        }
    }

    #[tokio::test]
    async fn a_writer_whose_thread_died_is_told_so() {
        let inbox = Inbox::new();
        let (first, written) = entry(0);
        drop(inbox.put(first).await.expect("open"));
        assert!(written.await.is_err());
        assert!(matches!(inbox.put(entry(1).0).await, Err(WriteError::Ended)));
    }
}
