//! A client's socket that sends pieces of files by `sendfile(2)`, beneath the HTTP crate.
//!
//! The crate only knows bodies of bytes. So a body hands out, in place of a piece of a file, as many bytes of
//! [`blank`] memory, and puts the piece itself into the connection's [`FileQueue`]. The crate queues them behind the
//! head without looking at them (it copies nothing when the socket writes vectored), counts them, and brings them here
//! in their order; here they are known by their address, and the file's bytes are sent in their place.
//!
//! Should that ever stop to hold, no client may see blank bytes: while a piece waits, every write has to bring its
//! stand-in along, of exactly its length, or the connection ends with an error. Knows no HTTP.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use kith_fetch::reader::FileExtent;
use kith_model::limits::{
    CLIENT_QUICK_BYTES, CLIENT_QUICK_TIME, CLIENT_QUICK_UNSENT_BYTES_MAX, CLIENT_UNSENT_BYTES_MAX,
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Bytes sent from a file at once. They take no memory: it bounds what is looked for in the page cache beforehand.
pub(crate) const FILE_PIECE_BYTES: u64 = 1024 * 1024;

/// Pieces of files that wait to be sent on one connection: one, as the crate asks for the next when it is through.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileQueue(Arc<Mutex<VecDeque<FileExtent>>>);

impl FileQueue {
    /// Queues a piece of at most [`FILE_PIECE_BYTES`] and returns what stands in for it.
    pub(crate) fn push(&self, extent: FileExtent) -> Bytes {
        let len = usize::try_from(extent.range().len()).unwrap_or(usize::MAX).min(blank().len());
        self.waiting().push_back(extent);
        Bytes::from_static(&blank()[..len])
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<FileExtent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first(&self) -> Option<FileExtent> {
        self.waiting().front().cloned()
    }

    fn bytes(&self) -> u64 {
        self.waiting().iter().map(|extent| extent.range().len()).sum()
    }

    fn sent(&self, count: u64) {
        let mut waiting = self.waiting();
        if let Some(extent) = waiting.front_mut() {
            extent.skip(count);
            if extent.range().is_empty() {
                waiting.pop_front();
            }
        }
    }
}

/// Bounds what waits in the kernel for a client that does not take it.
pub(crate) fn bound_unsent(stream: &TcpStream, bytes_max: u32) {
    // Makes slow clients known sooner, and is not needed for anything else.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(bytes_max);
}

/// Memory that nobody writes to and nobody reads: as it is never touched, the kernel never gives it pages.
fn blank() -> &'static [u8] {
    static BLANK: OnceLock<Box<[u8]>> = OnceLock::new();
    BLANK.get_or_init(|| vec![0; usize::try_from(FILE_PIECE_BYTES).unwrap_or_default()].into_boxed_slice())
}

/// Whether a slice of bytes is a stand-in.
fn is_blank(slice: &[u8]) -> bool {
    blank().as_ptr_range().contains(&slice.as_ptr())
}

/// How quickly the client takes pieces of files, and how much may therefore wait for it in the kernel.
#[derive(Debug)]
struct Appetite {
    since: Instant,
    bytes: u64,
    quick: bool,
}

impl Appetite {
    fn new() -> Self {
        Self { since: Instant::now(), bytes: 0, quick: false }
    }

    /// So much was sent. Tells the new bound where it changes.
    fn took(&mut self, count: u64) -> Option<u32> {
        self.bytes += count;
        if self.bytes < CLIENT_QUICK_BYTES {
            return None;
        }
        let quick = self.since.elapsed() <= CLIENT_QUICK_TIME;
        let changed = quick != self.quick;
        *self = Self { quick, ..Self::new() };
        changed.then_some(if quick { CLIENT_QUICK_UNSENT_BYTES_MAX } else { CLIENT_UNSENT_BYTES_MAX })
    }
}

/// A socket, and the pieces of files that are to go out on it.
#[derive(Debug)]
pub(crate) struct Outlet {
    stream: TcpStream,
    files: FileQueue,
    appetite: Appetite,
}

impl Outlet {
    pub(crate) fn new(stream: TcpStream, files: FileQueue) -> Self {
        Self { stream, files, appetite: Appetite::new() }
    }

    fn sent(&mut self, count: u64) {
        self.files.sent(count);
        if let Some(bytes_max) = self.appetite.took(count) {
            bound_unsent(&self.stream, bytes_max);
        }
    }

    fn poll_send_file(&mut self, cx: &mut Context<'_>, extent: &FileExtent) -> Poll<io::Result<usize>> {
        let count = usize::try_from(extent.range().len()).unwrap_or(usize::MAX);
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            let mut offset = extent.range().start();
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                Ok(rustix::fs::sendfile(&self.stream, extent, Some(&mut offset), count)?)
            });
            match sent {
                // The file is shorter than it was when it was opened.
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(sent) => {
                    self.sent(sent as u64);
                    return Poll::Ready(Ok(sent));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Outlet {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(extent) = self.files.first() else {
            return if slices.iter().any(|slice| is_blank(slice)) {
                Poll::Ready(Err(lost_track()))
            } else {
                Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
            };
        };
        let stand_ins: u64 =
            slices.iter().filter(|slice| is_blank(slice)).map(|slice| slice.len() as u64).sum();
        if stand_ins != self.files.bytes() {
            return Poll::Ready(Err(lost_track()));
        }
        let plain = slices.iter().position(|slice| is_blank(slice)).unwrap_or_default();
        if slices[..plain].iter().any(|slice| !slice.is_empty()) {
            Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..plain])
        } else {
            self.poll_send_file(cx, &extent)
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The crate above did something else with the bodies than pass them on.
fn lost_track() -> io::Error {
    io::Error::other("a piece of a file and what stands in for it were parted")
}

impl AsyncRead for Outlet {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsFd for Outlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, StatusCode};
    use kith_model::key::{CacheKey, Target, Variant};
    use kith_model::ladder::Ladder;
    use kith_model::range::{ByteRange, ChunkGroup};
    use kith_model::representation::{Head, Standing};
    use kith_model::time::UnixMillis;
    use kith_model::verify::Run;
    use kith_store::{Config, Draft, Finish, Store, Visibility};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    /// A file of the shelf, found right, and where its bytes stand.
    async fn extent(dir: &std::path::Path, bytes: Vec<u8>) -> FileExtent {
        let config = Config {
            dir: dir.to_owned(),
            bytes_max: 1 << 30,
            reserve_bytes: 0,
            object_bytes_max: 1 << 29,
            cache_bytes: 1 << 20,
        };
        let store = Store::open(config, NOW).expect("a fresh store");
        let length = bytes.len() as u64;
        let draft = Draft {
            key: CacheKey {
                target: Target::parse("http://example.org/a").expect("a URL"),
                variant: Variant::ONLY,
            },
            selecting: Vec::new(),
            head: Head {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                requested_at: NOW,
                received_at: NOW,
            },
            validator: None,
            length: Some(length),
            ladder: Ladder::default(),
        };
        let writer = store.create(draft).await.expect("a place");
        let run = Run::from_origin(ChunkGroup(0), Bytes::from(bytes));
        writer.write(run, Visibility::Now).await.expect("written");
        let finish =
            Finish { length, expected: None, standing: Standing::FirstHand, representation: true, now: NOW };
        let info = writer.finish(finish).await.expect("stored").info;
        let body = store.open_object(&info.id).await.expect("index").expect("stored");
        body.read(ByteRange::whole(length)).await.expect("right");
        body.extent(ByteRange::whole(length)).expect("checked a moment ago")
    }

    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.expect("connected"), far.expect("accepted").0)
    }

    async fn write_all(outlet: &mut Outlet, pieces: &[Bytes]) -> io::Result<()> {
        let mut pieces: VecDeque<Bytes> = pieces.iter().cloned().collect();
        while !pieces.is_empty() {
            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut written =
                std::future::poll_fn(|cx| Pin::new(&mut *outlet).poll_write_vectored(cx, &slices)).await?;
            while let Some(piece) = pieces.front_mut() {
                let taken = written.min(piece.len());
                written -= taken;
                let _ = piece.split_to(taken);
                if !piece.is_empty() {
                    break;
                }
                pieces.pop_front();
            }
        }
        outlet.shutdown().await
    }

    #[tokio::test]
    async fn pieces_of_files_go_out_in_their_place_among_other_bytes() {
        let dir = tempfile::tempdir().expect("a folder");
        let content: Vec<u8> = (0..1_000_003_u32).map(|at| (at % 251).to_le_bytes()[0]).collect();
        let extent = extent(dir.path(), content.clone()).await;
        let (near, mut far) = sockets().await;
        let queue = FileQueue::default();
        let mut outlet = Outlet::new(near, queue.clone());
        let stand_in = queue.push(extent);
        let pieces = [Bytes::from_static(b"head"), stand_in, Bytes::from_static(b"next head")];
        let mut received = Vec::new();
        let (sent, read) = tokio::join!(write_all(&mut outlet, &pieces), far.read_to_end(&mut received));
        sent.expect("sent");
        read.expect("read");
        assert!(received == [&b"head"[..], &content[..], &b"next head"[..]].concat());
        assert!(queue.first().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn more_may_wait_for_a_client_that_stays_quick() {
        let mut appetite = Appetite::new();
        assert_eq!(appetite.took(CLIENT_QUICK_BYTES - 1), None);
        assert_eq!(appetite.took(1), Some(CLIENT_QUICK_UNSENT_BYTES_MAX));
        assert_eq!(appetite.took(CLIENT_QUICK_BYTES), None, "as before");
        tokio::time::advance(CLIENT_QUICK_TIME + Duration::from_millis(1)).await;
        assert_eq!(appetite.took(CLIENT_QUICK_BYTES), Some(CLIENT_UNSENT_BYTES_MAX));
    }

    #[tokio::test]
    async fn blank_bytes_never_go_out_for_those_of_a_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let extent = extent(dir.path(), vec![7; 100_000]).await;
        let (near, _far) = sockets().await;
        let queue = FileQueue::default();
        let mut outlet = Outlet::new(near, queue.clone());
        let stand_in = queue.push(extent);
        // Copied, cut short, doubled, left out.
        let copied = Bytes::copy_from_slice(&stand_in);
        for pieces in [
            vec![copied],
            vec![stand_in.slice(..99_999)],
            vec![stand_in.clone(), stand_in.clone()],
            vec![Bytes::from_static(b"head")],
        ] {
            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let written = outlet.write_vectored(&slices).await;
            assert!(written.is_err(), "{} pieces were taken", pieces.len());
        }
        queue.sent(100_000);
        assert!(outlet.write(&stand_in).await.is_err(), "a stand-in for nothing was taken");
        assert_eq!(outlet.write(b"plain").await.expect("written"), 5);
    }
}
