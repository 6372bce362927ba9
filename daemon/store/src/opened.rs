//! Finished objects that are open for reading, and which of their groups were checked.
//!
//! The first read of a group since it was opened, and again after a day, is checked against the outboard; what the
//! page cache gave right once, it gives right again.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_model::limits;
use kith_model::object::ObjectId;
use kith_model::range::{GROUP_BYTES, GroupSet, GroupSpan, groups_of};
use kith_model::representation::ObjectInfo;
use kith_model::time::UnixMillis;
use kith_model::verify::{self, Leaf};

use crate::files::{Kind, Paths};

/// How long a group that was checked counts as right.
const CHECK_EVERY: Duration = Duration::from_hours(24);

/// A finished object with its files.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) info: Arc<ObjectInfo>,
    pub(crate) data: File,
    /// Not there for an object of one group: it has no parents.
    pub(crate) outboard: Option<File>,
    checked: Mutex<Checked>,
}

/// Which groups were found right, and since when.
#[derive(Debug, Default)]
struct Checked {
    since: UnixMillis,
    groups: GroupSet,
}

impl Opened {
    /// Opens the files of an object. `InvalidData` when they do not have the right lengths.
    pub(crate) fn open(paths: &Paths, info: impl Into<Arc<ObjectInfo>>) -> io::Result<Self> {
        let info = info.into();
        let data = File::open(paths.object(&info.id, Kind::Data))?;
        let outboard_len = verify::outboard_len(info.length);
        let outboard = match outboard_len {
            0 => None,
            _ => Some(File::open(paths.object(&info.id, Kind::Outboard))?),
        };
        let right_outboard = match &outboard {
            Some(outboard) => outboard.metadata()?.len() == outboard_len,
            None => true,
        };
        if data.metadata()?.len() != info.length || !right_outboard {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        Ok(Self { info, data, outboard, checked: Mutex::default() })
    }

    /// Whether all of `span` was found right within the last day.
    pub(crate) fn is_checked(&self, span: GroupSpan, now: UnixMillis) -> bool {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(checked.since) >= CHECK_EVERY {
            *checked = Checked { since: now, groups: GroupSet::new() };
        }
        checked.groups.contains_all(span)
    }

    pub(crate) fn note_checked(&self, span: GroupSpan) {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).groups.insert(span);
    }

    /// Checks whole groups, `bytes`, that begin with group `first`. The first wrong one is the error.
    pub(crate) fn check(&self, first: u64, bytes: &[u8]) -> io::Result<Result<(), u64>> {
        let group_len = usize::try_from(GROUP_BYTES).map_err(io::Error::other)?;
        for (group, bytes) in (first..).zip(bytes.chunks(group_len)) {
            let right = match &self.outboard {
                None => ObjectId::of(bytes) == self.info.id,
                Some(outboard) => {
                    stored_leaf(outboard, groups_of(self.info.length), group)? == verify::leaf(group, bytes)
                }
            };
            if !right {
                return Ok(Err(group));
            }
        }
        Ok(Ok(()))
    }
}

fn stored_leaf(outboard: &File, groups: u64, group: u64) -> io::Result<Leaf> {
    let mut leaf = [0; 32];
    outboard.read_exact_at(&mut leaf, leaf_offset(groups, group))?;
    Ok(Leaf(leaf))
}

/// Where the leaf of `group` stands in the post-order outboard of an object of `groups` groups, two at least:
/// in its parent's pair. A subtree of n groups takes n - 1 pairs, its own root's pair last.
fn leaf_offset(groups: u64, group: u64) -> u64 {
    let (mut first_pair, mut first_group, mut count) = (0, 0, groups.max(2));
    loop {
        let left = 1 << (count - 1).ilog2();
        let pair = (first_pair + count - 2) * 64;
        if group < first_group + left {
            if left == 1 {
                return pair;
            }
            count = left;
        } else {
            if count - left == 1 {
                return pair + 32;
            }
            first_pair += left - 1;
            first_group += left;
            count -= left;
        }
    }
}

/// A bounded number of open objects, the one used longest ago goes first.
#[derive(Debug, Default)]
pub(crate) struct OpenObjects {
    all: HashMap<ObjectId, (Arc<Opened>, u64)>,
    uses: u64,
}

impl OpenObjects {
    pub(crate) fn find(&mut self, id: &ObjectId) -> Option<Arc<Opened>> {
        self.uses += 1;
        let (opened, used) = self.all.get_mut(id)?;
        *used = self.uses;
        Some(Arc::clone(opened))
    }

    pub(crate) fn keep(&mut self, opened: Arc<Opened>) {
        self.uses += 1;
        self.all.insert(opened.info.id, (opened, self.uses));
        if self.all.len() > limits::OPEN_OBJECTS_MAX {
            let oldest = self.all.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id);
            oldest.and_then(|id| self.all.remove(&id));
        }
    }

    /// Whether somebody is reading it: its bytes would not become free.
    pub(crate) fn is_read(&self, id: &ObjectId) -> bool {
        self.all.get(id).is_some_and(|(opened, _)| Arc::strong_count(opened) > 1)
    }

    pub(crate) fn forget(&mut self, id: &ObjectId) {
        self.all.remove(id);
    }

    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kith_model::ladder::Ladder;
    use kith_model::range::ChunkGroup;
    use kith_model::verify::Run;

    use super::*;

    #[test]
    fn what_was_found_right_counts_for_a_day() {
        let dir = tempfile::tempdir().expect("a folder");
        let paths = Paths::new(dir.path().to_owned());
        let body = vec![7; usize::try_from(GROUP_BYTES).expect("16 KiB")];
        let id = ObjectId::of(&body);
        std::fs::create_dir_all(paths.shard(id.as_bytes()[0])).expect("made");
        std::fs::write(paths.object(&id, Kind::Data), &body).expect("written");
        let info = ObjectInfo {
            id,
            length: GROUP_BYTES,
            ladder: Ladder::default(),
            stored_at: UnixMillis(0),
            pinned: false,
        };
        let opened = Opened::open(&paths, info).expect("there");
        let (now, span) = (UnixMillis(1_700_000_000_000), GroupSpan::clamped(0, 1));
        assert!(!opened.is_checked(span, now));
        opened.note_checked(span);
        assert!(opened.is_checked(span, now.after(Duration::from_hours(23))));
        assert!(!opened.is_checked(span, now.after(Duration::from_hours(24))));
    }

    #[test]
    fn every_leaf_stands_where_it_is_looked_for() {
        for groups in 2..70u64 {
            let bytes: Vec<u8> =
                (0..groups * GROUP_BYTES).map(|at| (at / 7 % 251).to_le_bytes()[0]).collect();
            let run = Run::from_origin(ChunkGroup(0), Bytes::from(bytes));
            let folded = verify::fold(run.leaves()).expect("two groups at least");
            for (group, leaf) in (0..).zip(run.leaves()) {
                let at = usize::try_from(leaf_offset(groups, group)).expect("small");
                assert_eq!(folded.outboard[at..at + 32], leaf.0, "group {group} of {groups}");
            }
        }
    }
}
