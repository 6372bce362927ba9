//! Connections that speak another protocol than HTTP: after a 101, or within a tunnel. Bytes both ways, looked at by
//! nobody.
//!
//! A tunnel belongs to its client's connection: the same task, the same place among all. Buffers are bounded, and so
//! is silence.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kith_fetch::relay::Duplex;
use kith_model::limits::{TUNNEL_BUFFER_BYTES, TUNNEL_DRAIN_TIMEOUT, TUNNEL_IDLE_TIMEOUT};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// A tunnel that begins when the answer that opens it is written.
pub(crate) struct Tunnel {
    /// The client's side.
    pub(crate) near: OnUpgrade,
    /// The other.
    pub(crate) far: Box<dyn Duplex>,
    /// Among all tunnels.
    pub(crate) place: OwnedSemaphorePermit,
}

/// Where a connection's tunnel waits until its answer is written.
#[derive(Clone, Default)]
pub(crate) struct Doorstep(Arc<Mutex<Option<Tunnel>>>);

impl Doorstep {
    pub(crate) fn put(&self, tunnel: Tunnel) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    /// Whether a tunnel waits here.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(crate) fn take(&self) -> Option<Tunnel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Tunnel {
    /// Moves bytes until both sides have ended, nothing moves for too long, or the box stops.
    ///
    /// # Cancel safety
    /// Dropping the future cuts the tunnel.
    pub(crate) async fn run(self, drain: &CancellationToken, cut: &CancellationToken) {
        let _place = self.place;
        let near = match self.near.await {
            Ok(near) => TokioIo::new(near),
            Err(error) => return debug!(%error, "a tunnel did not begin"),
        };
        pump(near, self.far, drain, cut).await;
    }
}

async fn pump(
    near: impl AsyncRead + AsyncWrite + Unpin,
    far: impl AsyncRead + AsyncWrite + Unpin,
    drain: &CancellationToken,
    cut: &CancellationToken,
) {
    let moved = Arc::<AtomicU64>::default();
    let mut near = Counted { stream: near, moved: Arc::clone(&moved) };
    let mut far = Counted { stream: far, moved: Arc::clone(&moved) };
    let both = copy_bidirectional_with_sizes(&mut near, &mut far, TUNNEL_BUFFER_BYTES, TUNNEL_BUFFER_BYTES);
    tokio::select! {
        ended = both => if let Err(error) = ended {
            debug!(%error, "a tunnel broke");
        },
        () = silence(&moved, drain) => debug!("a silent tunnel was closed"),
        () = cut.cancelled() => {}
    }
}

/// Ready when nothing has moved for [`TUNNEL_IDLE_TIMEOUT`], or for [`TUNNEL_DRAIN_TIMEOUT`] while the box stops.
async fn silence(moved: &AtomicU64, drain: &CancellationToken) {
    let mut last = moved.load(Relaxed);
    loop {
        let limit = if drain.is_cancelled() { TUNNEL_DRAIN_TIMEOUT } else { TUNNEL_IDLE_TIMEOUT };
        tokio::select! {
            () = tokio::time::sleep(limit) => {}
            () = drain.cancelled(), if !drain.is_cancelled() => continue,
        }
        let now = moved.load(Relaxed);
        if now == last {
            return;
        }
        last = now;
    }
}

/// Counts what is read.
struct Counted<S> {
    stream: S,
    moved: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = room.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, room))?;
        self.moved.fetch_add((room.filled().len() - before) as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    struct Pumped {
        client: DuplexStream,
        server: DuplexStream,
        drain: CancellationToken,
        cut: CancellationToken,
        pump: JoinHandle<()>,
    }

    fn pumped() -> Pumped {
        let ((client, near), (far, server)) = (duplex(64), duplex(64));
        let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
        let (draining, cutting) = (drain.clone(), cut.clone());
        let pump = tokio::spawn(async move { pump(near, far, &draining, &cutting).await });
        Pumped { client, server, drain, cut, pump }
    }

    async fn exchange(tunnel: &mut Pumped) {
        ping(&mut tunnel.client, &mut tunnel.server).await;
        ping(&mut tunnel.server, &mut tunnel.client).await;
    }

    async fn ping(from: &mut DuplexStream, to: &mut DuplexStream) {
        from.write_all(b"ping").await.expect("room");
        let mut read = [0; 4];
        to.read_exact(&mut read).await.expect("four bytes");
        assert_eq!(&read, b"ping");
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_move_both_ways_until_both_sides_end() {
        let mut tunnel = pumped();
        exchange(&mut tunnel).await;
        let Pumped { mut client, mut server, pump, .. } = tunnel;
        client.shutdown().await.expect("half");
        assert_eq!(server.read(&mut [0; 4]).await.expect("the end comes through"), 0);
        server.write_all(b"bye").await.expect("the other half is open");
        let mut rest = Vec::new();
        drop(server);
        client.read_to_end(&mut rest).await.expect("to the end");
        assert_eq!(rest, b"bye");
        pump.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_tunnel_is_closed_and_one_that_speaks_now_and_then_is_not() {
        let mut tunnel = pumped();
        for _ in 0..5 {
            tokio::time::sleep(TUNNEL_IDLE_TIMEOUT / 2).await;
            exchange(&mut tunnel).await;
        }
        let silent_since = Instant::now();
        tunnel.pump.await.expect("no panic");
        assert!(silent_since.elapsed() <= TUNNEL_IDLE_TIMEOUT * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopping_box_closes_silent_tunnels_soon_and_the_others_when_it_must() {
        let tunnel = pumped();
        tunnel.drain.cancel();
        let began = Instant::now();
        tunnel.pump.await.expect("no panic");
        assert!(began.elapsed() <= TUNNEL_DRAIN_TIMEOUT * 2);

        let mut busy = pumped();
        busy.drain.cancel();
        for _ in 0..20 {
            tokio::time::sleep(TUNNEL_DRAIN_TIMEOUT / 2).await;
            exchange(&mut busy).await;
        }
        busy.cut.cancel();
        tokio::time::timeout(Duration::from_millis(1), busy.pump).await.expect("at once").expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_stops_the_other_side_from_sending() {
        let Pumped { mut client, server, .. } = pumped();
        let flood = async {
            let mut sent = 0;
            while client.write_all(&[0; 64]).await.is_ok() {
                sent += 64;
                assert!(sent <= 4 * TUNNEL_BUFFER_BYTES, "{sent} bytes went into a tunnel that nobody reads");
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), flood).await.is_err());
        drop(server);
    }
}
