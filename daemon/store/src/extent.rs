//! Bytes of a finished object as a place in its file, for who can have the kernel send them.
//!
//! Copying a download through this process costs more than all else that is done for it; `sendfile(2)` sends the page
//! cache itself. Given out only are bytes that were read and found right within the last day (DESIGN section 10: the
//! first read is checked, later ones may take the fast path) and that seem to be in the page cache, so that the sender
//! does not wait for the disk. A finished file is never written again, and stays whole for who has it open when it
//! leaves the shelf.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use kith_model::range::{ByteRange, GroupSpan};
use rustix::io::ReadWriteFlags;

use crate::body::{Body, Source};
use crate::opened::Opened;

/// One byte is looked at in each so many: the kernel reads ahead, and forgets, in pieces of about this size.
const PROBE_BYTES: u64 = 64 * 1024;

/// A place in the file of a finished object.
#[derive(Clone, Debug)]
pub struct FileExtent {
    opened: Arc<Opened>,
    range: ByteRange,
}

impl FileExtent {
    /// Which bytes of the file.
    pub fn range(&self) -> ByteRange {
        self.range
    }

    /// The same without its first `count` bytes.
    pub fn skip(&mut self, count: u64) {
        let start = self.range.start().saturating_add(count).min(self.range.end());
        self.range = ByteRange::new(start, self.range.end()).unwrap_or(self.range);
    }
}

impl AsFd for FileExtent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.opened.data.as_fd()
    }
}

impl Body {
    /// Where the bytes of `range` stand, when they may be sent as they are; nothing when they have to be
    /// [read](Self::read): the object is not finished or has no file, they were not checked of late, or the disk would
    /// have to be waited for.
    pub fn extent(&self, range: ByteRange) -> Option<FileExtent> {
        let Source::Opened(opened) = self.source() else { return None };
        let inside = !range.is_empty() && range.end() <= opened.info.length;
        if !inside || !opened.is_checked(GroupSpan::covering(range), self.now()) || !is_cached(opened, range)
        {
            return None;
        }
        Some(FileExtent { opened: Arc::clone(opened), range })
    }
}

fn is_cached(opened: &Opened, range: ByteRange) -> bool {
    let probes = (range.start()..range.end()).step_by(usize::try_from(PROBE_BYTES).unwrap_or(usize::MAX));
    probes.chain([range.end() - 1]).all(|offset| {
        let mut byte = [0];
        let into = &mut [IoSliceMut::new(&mut byte)];
        rustix::io::preadv2(&opened.data, into, offset, ReadWriteFlags::NOWAIT).is_ok_and(|read| read == 1)
    })
}
