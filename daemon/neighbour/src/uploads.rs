//! Who is sent what next: places for transfers, turns between them, and the rates of all uploads.
//!
//! The household comes first: while a box of the same owner waits for its turn, no other has one. Among equals it is
//! the turn of who was sent least, in bytes, since both have something to be sent; how many transfers each has does not
//! matter. Places are given out so that nobody takes the last ones: a box has no more of them than are left.
//!
//! What own clients get takes another way and waits for nothing here; the rate for other households leaves them theirs.
//!
//! [`Turns`] decides and is told the time; [`Uploads`] lets transfers wait.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kith_model::limits::UPLOADS_MAX;
use kith_model::trust::Role;
use tokio::sync::Notify;

use crate::bucket::Bucket;
use crate::identity::NodeId;

/// Bytes a second; nothing means as fast as they take it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// To all boxes together.
    pub(crate) all: Option<u32>,
    /// To boxes of other households together.
    pub(crate) others: Option<u32>,
}

/// A box that has transfers, or had more than its share of late.
#[derive(Debug)]
struct Guest {
    id: NodeId,
    class: Class,
    places: usize,
    /// Where it is in the order of turns of its class.
    served: u64,
}

/// Which boxes go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Household,
    Others,
}

impl Class {
    fn of(role: Role) -> Self {
        if role == Role::Mine { Class::Household } else { Class::Others }
    }
}

/// A transfer that waits for its turn.
#[derive(Debug)]
struct Waiting {
    ticket: u64,
    id: NodeId,
    bytes: u32,
}

/// Whether it is somebody's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It is.
    Now,
    /// It will be, unless somebody comes who goes first.
    After(Duration),
    /// Others go first.
    Later,
}

/// Who has a place, and whose turn it is.
#[derive(Debug)]
struct Turns {
    all: Option<Bucket>,
    others: Option<Bucket>,
    guests: Vec<Guest>,
    waiting: Vec<Waiting>,
    /// Where whoever had the last turn of a class was in its order: who comes anew begins there.
    clocks: [u64; 2],
    tickets: u64,
}

impl Turns {
    fn new(rates: Rates, now: Instant) -> Self {
        // A quarter of a second at once: enough to keep the line busy, too little to fill its queue.
        let bucket = |rate| Bucket::new(rate, rate / 4, now);
        Self {
            all: rates.all.map(bucket),
            others: rates.others.map(bucket),
            guests: Vec::new(),
            waiting: Vec::new(),
            clocks: [0; 2],
            tickets: 0,
        }
    }

    fn guest(&mut self, id: &NodeId) -> Option<&mut Guest> {
        self.guests.iter_mut().find(|guest| guest.id == *id)
    }

    /// Gives a box a place for one more transfer, if there is one for it.
    fn admit(&mut self, id: NodeId, role: Role) -> bool {
        let class = Class::of(role);
        let free = UPLOADS_MAX.saturating_sub(self.guests.iter().map(|guest| guest.places).sum::<usize>());
        let served = self.clocks[class as usize];
        let Some(guest) = self.guest(&id) else {
            if free > 0 {
                self.guests.push(Guest { id, class, places: 1, served });
            }
            return free > 0;
        };
        let has_place = guest.places < free;
        guest.places += usize::from(has_place);
        has_place
    }

    /// Who was served before its turn is remembered until the others have had theirs.
    fn leave(&mut self, id: &NodeId) {
        if let Some(guest) = self.guest(id) {
            guest.places -= 1;
        }
        let clocks = self.clocks;
        self.guests.retain(|guest| guest.places > 0 || guest.served > clocks[guest.class as usize]);
    }

    /// Says that a box with a place is to be sent so much.
    fn ask(&mut self, id: NodeId, bytes: u32) -> u64 {
        self.tickets += 1;
        self.waiting.push(Waiting { ticket: self.tickets, id, bytes });
        self.tickets
    }

    fn give_up(&mut self, ticket: u64) {
        self.waiting.retain(|one| one.ticket != ticket);
    }

    /// Whether it is this one's turn; it does not wait any more then.
    fn turn(&mut self, ticket: u64, now: Instant) -> Turn {
        let order = |one: &Waiting| {
            let guest = self.guests.iter().find(|guest| guest.id == one.id)?;
            Some((guest.class, guest.served.max(self.clocks[guest.class as usize]), one.ticket))
        };
        let first = self.waiting.iter().filter_map(|one| Some((order(one)?, one.id, one.bytes))).min();
        let Some(((class, at, first), id, bytes)) = first.filter(|((.., first), ..)| *first == ticket) else {
            return Turn::Later;
        };
        let pause = self.buckets(class).map(|bucket| bucket.debt(now)).max().unwrap_or_default();
        if !pause.is_zero() {
            return Turn::After(pause);
        }
        self.buckets(class).for_each(|bucket| bucket.borrow(bytes));
        self.clocks[class as usize] = at;
        if let Some(guest) = self.guest(&id) {
            guest.served = at + u64::from(bytes);
        }
        self.give_up(first);
        Turn::Now
    }

    /// What a class is bounded by.
    fn buckets(&mut self, class: Class) -> impl Iterator<Item = &mut Bucket> {
        self.all.iter_mut().chain(self.others.iter_mut().filter(move |_| class == Class::Others))
    }
}

/// All transfers to neighbours.
#[derive(Debug)]
pub(crate) struct Uploads {
    turns: Mutex<Turns>,
    /// Somebody had a turn or does not wait any more.
    moved: Notify,
}

/// A place of a box; given up on drop.
#[derive(Debug)]
pub(crate) struct Place {
    uploads: Arc<Uploads>,
    id: NodeId,
}

impl Uploads {
    pub(crate) fn new(rates: Rates) -> Arc<Self> {
        let turns = Turns::new(rates, now());
        Arc::new(Self { turns: Mutex::new(turns), moved: Notify::new() })
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more transfer to a box, if there is one for it.
    pub(crate) fn admit(self: &Arc<Self>, id: NodeId, role: Role) -> Option<Place> {
        self.turns().admit(id, role).then(|| Place { uploads: Arc::clone(self), id })
    }
}

impl Place {
    /// Waits until it is the turn of so many bytes.
    ///
    /// # Cancel safety
    /// Dropping the future gives the turn up.
    pub(crate) async fn turn(&self, bytes: u32) {
        let ticket = self.uploads.turns().ask(self.id, bytes);
        let _waiting = Queued { uploads: &self.uploads, ticket };
        loop {
            let mut moved = pin!(self.uploads.moved.notified());
            moved.as_mut().enable();
            let turn = self.uploads.turns().turn(ticket, now());
            match turn {
                Turn::Now => return,
                Turn::After(pause) => tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = moved => {}
                },
                Turn::Later => moved.await,
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.uploads.turns().leave(&self.id);
    }
}

/// Waits, until it is dropped.
struct Queued<'a> {
    uploads: &'a Uploads,
    ticket: u64,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.uploads.turns().give_up(self.ticket);
        self.uploads.moved.notify_waiters();
    }
}

/// The clock that sleeping goes by.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
