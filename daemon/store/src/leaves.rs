//! The `.leaves` file of an unfinished part: one entry of 33 bytes a group.
//!
//! Byte 0 says who vouched for the group (0 not held, 1 the origin, 2 a tree, 3 a list of pieces, 4 nobody yet, 5 a box
//! of the same owner by its signature), the rest is its leaf. The file is not synced while it grows; after a crash an entry counts only when the group's bytes hash to its leaf.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use kith_model::range::{GroupSet, GroupSpan};
use kith_model::verify::{Leaf, Provenance};

/// Size of an entry in bytes.
pub(crate) const ENTRY_LEN: usize = 33;
const NOBODY: u8 = 0;
const ORIGIN: u8 = 1;
const TREE: u8 = 2;
const PIECES: u8 = 3;
const NOT_YET: u8 = 4;
const SIGNED: u8 = 5;

/// The entries of a run of groups, as they stand in the file.
pub(crate) fn encode(leaves: &[Leaf], provenance: Provenance) -> Vec<u8> {
    let tag = match provenance {
        Provenance::Origin => ORIGIN,
        Provenance::Tree(_) => TREE,
        Provenance::Pieces => PIECES,
        Provenance::Nobody => NOT_YET,
        Provenance::Signed => SIGNED,
    };
    let mut entries = Vec::with_capacity(leaves.len() * ENTRY_LEN);
    for leaf in leaves {
        entries.push(tag);
        entries.extend_from_slice(&leaf.0);
    }
    entries
}

/// Writes entries for the groups from `first` on.
pub(crate) fn write(file: &File, first: u64, entries: &[u8]) -> io::Result<()> {
    file.write_all_at(entries, offset(first))
}

/// Marks groups as not held.
pub(crate) fn clear(file: &File, span: GroupSpan) -> io::Result<()> {
    let mut at = span.start();
    let cleared = vec![NOBODY; 1024 * ENTRY_LEN];
    while at < span.end() {
        let count = (span.end() - at).min(1024);
        let len = usize::try_from(count).expect("invariant: at most 1024") * ENTRY_LEN;
        file.write_all_at(&cleared[..len], offset(at))?;
        at += count;
    }
    Ok(())
}

/// Calls back with the leaf of each of the first `groups` groups in order. Whether all of them are held; when one is
/// not, the calls up to it were for nothing.
pub(crate) fn for_each_held(
    file: &File,
    groups: u64,
    mut each: impl FnMut(Leaf) -> io::Result<()>,
) -> io::Result<bool> {
    let mut held = 0;
    for_each(file, groups, |_, entry| {
        if entry[0] == NOBODY {
            return Ok(());
        }
        held += 1;
        each(leaf_of(entry))
    })?;
    Ok(held == groups)
}

/// The groups that the file says came from the origin, among the first `groups`.
pub(crate) fn from_origin(file: &File, groups: u64) -> io::Result<GroupSet> {
    let mut set = GroupSet::new();
    for_each(file, groups, |group, entry| {
        if entry[0] == ORIGIN {
            set.insert(GroupSpan::clamped(group, group + 1));
        }
        Ok(())
    })?;
    Ok(set)
}

/// The leaf of one group.
pub(crate) fn read(file: &File, group: u64) -> io::Result<Leaf> {
    let mut entry = [0; ENTRY_LEN];
    file.read_exact_at(&mut entry, offset(group))?;
    Ok(leaf_of(&entry))
}

/// Calls back with each whole entry of the first `groups`; stops quietly where the file ends.
fn for_each(file: &File, groups: u64, mut each: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let groups = groups.min(file.metadata()?.len() / ENTRY_LEN as u64);
    let mut buffer = vec![0; 1024 * ENTRY_LEN];
    let mut group = 0;
    while group < groups {
        let count = (groups - group).min(1024);
        let len = usize::try_from(count).map_err(io::Error::other)? * ENTRY_LEN;
        file.read_exact_at(&mut buffer[..len], offset(group))?;
        for (entry, at) in buffer[..len].chunks_exact(ENTRY_LEN).zip(group..) {
            each(at, entry)?;
        }
        group += count;
    }
    Ok(())
}

fn leaf_of(entry: &[u8]) -> Leaf {
    let mut leaf = [0; 32];
    leaf.copy_from_slice(&entry[1..ENTRY_LEN]);
    Leaf(leaf)
}

fn offset(group: u64) -> u64 {
    group.saturating_mul(ENTRY_LEN as u64)
}
