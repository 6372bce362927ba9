//! Rows of the index that were read lately, decoded: what is asked for again is not looked up, hashed and parsed again.
//!
//! A hit of a small object asks three times for one row, and popular rows are asked for again and again. Every commit
//! empties all of it: what is here is what the index says, or it is not here. Knows nothing of the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kith_model::key::Target;
use kith_model::limits;
use kith_model::object::ObjectId;
use kith_model::representation::{ObjectInfo, Representation};

use crate::record::Record;

/// An object's row, decoded.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) info: Arc<ObjectInfo>,
    pub(crate) representations: Vec<Representation>,
    /// The body itself when it is smaller than one group.
    pub(crate) inline: Option<Bytes>,
}

impl From<Record> for Row {
    fn from(record: Record) -> Self {
        let Record { info, representations, inline } = record;
        Self { info: Arc::new(info), representations, inline: inline.map(Bytes::from) }
    }
}

/// A state of the index. What was read from it is kept only while the index is in that state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(u64);

#[derive(Debug, Default)]
pub(crate) struct Recent {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    /// How often everything was forgotten.
    state: u64,
    bytes: usize,
    answers: HashMap<Target, Arc<[Representation]>>,
    objects: HashMap<ObjectId, Arc<Row>>,
}

impl Recent {
    /// To be asked before the index is read.
    pub(crate) fn state(&self) -> State {
        State(self.rows().state)
    }

    /// What a target answers; nothing when it was not read lately.
    pub(crate) fn answers(&self, target: &Target) -> Option<Arc<[Representation]>> {
        self.rows().answers.get(target).cloned()
    }

    /// An object's row; nothing when it was not read lately.
    pub(crate) fn row(&self, id: &ObjectId) -> Option<Arc<Row>> {
        self.rows().objects.get(id).cloned()
    }

    /// Keeps what was read since `state`. `bytes` is what it takes, roughly.
    pub(crate) fn keep_answers(
        &self,
        state: State,
        target: &Target,
        answers: &Arc<[Representation]>,
        bytes: usize,
    ) {
        if let Some(mut rows) = self.with_room(state, bytes) {
            rows.answers.insert(target.clone(), Arc::clone(answers));
        }
    }

    /// Keeps a row that was read since `state`. `bytes` is what it takes, roughly.
    pub(crate) fn keep_row(&self, state: State, row: &Arc<Row>, bytes: usize) {
        if let Some(mut rows) = self.with_room(state, bytes) {
            rows.objects.insert(row.info.id, Arc::clone(row));
        }
    }

    /// To be called after the index changed, before anybody is told.
    pub(crate) fn forget_all(&self) {
        let mut rows = self.rows();
        *rows = Rows { state: rows.state.wrapping_add(1), ..Rows::default() };
    }

    /// The rows, when they are still of that state and `bytes` more may be kept.
    fn with_room(&self, state: State, bytes: usize) -> Option<MutexGuard<'_, Rows>> {
        let mut rows = self.rows();
        if State(rows.state) != state || bytes > limits::RECENT_ROW_BYTES_MAX {
            return None;
        }
        let full = rows.answers.len() + rows.objects.len() >= limits::RECENT_ROWS_MAX;
        if full || rows.bytes + bytes > limits::RECENT_BYTES_MAX {
            // Which of them will be asked for again shows soon enough.
            *rows = Rows { state: rows.state, ..Rows::default() };
        }
        rows.bytes += bytes;
        Some(rows)
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use kith_model::ladder::Ladder;
    use kith_model::time::UnixMillis;

    use super::*;

    fn row(body: &[u8]) -> Arc<Row> {
        let info = ObjectInfo {
            id: ObjectId::of(body),
            length: body.len() as u64,
            ladder: Ladder::default(),
            stored_at: UnixMillis(0),
            pinned: false,
        };
        Arc::new(Row { info: Arc::new(info), representations: Vec::new(), inline: None })
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let (recent, row) = (Recent::default(), row(b"a"));
        let before = recent.state();
        recent.forget_all();
        recent.keep_row(before, &row, 1);
        assert!(recent.row(&row.info.id).is_none(), "read from an index that is no more");
        recent.keep_row(recent.state(), &row, 1);
        assert!(recent.row(&row.info.id).is_some());
        recent.forget_all();
        assert!(recent.row(&row.info.id).is_none());
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let recent = Recent::default();
        for number in 0..10 * limits::RECENT_ROWS_MAX {
            let row = row(&number.to_le_bytes());
            recent.keep_row(recent.state(), &row, limits::RECENT_BYTES_MAX / 50);
            let rows = recent.rows();
            assert!(rows.bytes <= limits::RECENT_BYTES_MAX && rows.objects.len() <= limits::RECENT_ROWS_MAX);
            assert!(rows.objects.contains_key(&row.info.id), "the latest is there");
        }
        let huge = row(b"huge");
        recent.keep_row(recent.state(), &huge, limits::RECENT_ROW_BYTES_MAX + 1);
        assert!(recent.row(&huge.info.id).is_none(), "one must not put all others out");
    }
}
