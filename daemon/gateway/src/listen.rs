//! The listeners: who may connect, how many at once, and each connection's life.
//!
//! A place is taken before a connection is accepted, so a flood waits in the kernel's queue. Knows no request; what a
//! connection asks is for [`crate::answer`].

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use kith_model::limits::{
    ACCEPT_PAUSE, CLIENT_BUFFER_BYTES, CLIENT_IDLE_TIMEOUT, CLIENT_UNSENT_BYTES_MAX, REFUSALS_MAX,
    REQUEST_HEADERS_COUNT_MAX,
};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, debug_span, warn};

use crate::answer::Answerer;
use crate::body::Body;
use crate::connection::{Connection, Linger, Switch};
use crate::outlet::{self, FileQueue, Outlet};
use crate::refusal::Refusal;
use crate::relay::{self, Errand, Relayer};
use crate::tunnel::Doorstep;
use crate::{request, respond, upload};

/// What all listeners share.
pub(crate) struct Doorway {
    pub(crate) answerer: Answerer,
    pub(crate) relayer: Relayer,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) crowd: Crowd,
    pub(crate) refusals: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    /// Connections finish what they are at.
    pub(crate) drain: CancellationToken,
    /// Connections end.
    pub(crate) cut: CancellationToken,
}

impl Doorway {
    pub(crate) fn refusals() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(REFUSALS_MAX))
    }

    /// Accepts until the box stops.
    pub(crate) async fn listen(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, peer, place) = tokio::select! {
                () = self.drain.cancelled() => return,
                accepted = self.accept(&listener) => accepted,
            };
            self.welcome(stream, peer, place);
        }
    }

    async fn accept(&self, listener: &TcpListener) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("invariant: never closed");
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return (stream, peer, place),
                // The client went away again.
                Err(error) if is_passing(&error) => {}
                // Out of file descriptors or memory: somebody has to close something first.
                Err(error) => {
                    warn!(%error, "no further connection can be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn welcome(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let Ok(local) = stream.local_addr() else { return };
        if !self.answerer.house.admits(peer, local) {
            return self.turn_away(stream, peer, &Refusal::Client);
        }
        let Some(seat) = self.crowd.enter(peer.ip().to_canonical()) else {
            return self.turn_away(stream, peer, &Refusal::Crowd);
        };
        self.answerer.counters.count_connection();
        prepare(&stream);
        let span = debug_span!("conn", peer = %peer.ip().to_canonical());
        let doorway = Arc::clone(self);
        self.tasks.spawn(
            async move {
                let _held = (place, seat);
                doorway.serve(stream, local).await;
            }
            .instrument(span)
            .boxed(),
        );
    }

    /// One answer that needs no request. Politely while only few are being refused.
    fn turn_away(&self, mut stream: TcpStream, peer: SocketAddr, refusal: &Refusal) {
        debug!(peer = %peer.ip().to_canonical(), %refusal, "turned away");
        self.answerer.counters.count(crate::counters::Outcome::Refused);
        let answer = refusal.to_bytes();
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else {
            // A fresh socket has room for so little; if not, there is nobody to be polite to.
            let _ = stream.try_write(&answer);
            return;
        };
        self.tasks.spawn(
            async move {
                let _permit = permit;
                let mut linger = Linger::default();
                if stream.write_all(&answer).await.is_ok() {
                    let _ = std::future::poll_fn(|cx| linger.poll(cx, &mut stream)).await;
                }
            }
            .boxed(),
        );
    }

    /// Serves one connection to its end.
    ///
    /// # Cancel safety
    /// Dropping the future cuts the connection.
    async fn serve(&self, stream: TcpStream, local: SocketAddr) {
        let files = FileQueue::default();
        let queue = &files;
        let (switch, doorstep) = (Switch::default(), Doorstep::default());
        let (switching, waiting) = (&switch, &doorstep);
        let service = service_fn(|request: Request<Incoming>| async move {
            let response = self.respond(request, local, switching, waiting).await;
            Ok::<_, Infallible>(response.map(|body| body.with_files(queue)))
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(CLIENT_IDLE_TIMEOUT)
            .max_buf_size(CLIENT_BUFFER_BYTES)
            .max_headers(REQUEST_HEADERS_COUNT_MAX + 1)
            .serve_connection(Connection::new(Outlet::new(stream, files.clone()), switch.clone()), service)
            .with_upgrades();
        let ended = tokio::select! {
            ended = &mut connection => Some(ended),
            () = self.cut.cancelled() => None,
            () = self.drain.cancelled() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                tokio::select! {
                    ended = &mut connection => Some(ended),
                    () = self.cut.cancelled() => None,
                }
            }
        };
        if let Some(Ok(())) = ended {
            drop(connection);
            if let Some(tunnel) = doorstep.take() {
                tunnel.run(&self.drain, &self.cut).await;
            }
            return;
        }
        if let Some(Err(error)) = ended {
            debug!(%error, "the connection ended early");
        }
        let Some(parts) = connection.into_parts() else { return };
        let (stream, by_reset) = parts.io.into_broken();
        if by_reset {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Answers one request, by way of the store or past it.
    async fn respond(
        &self,
        mut request: Request<Incoming>,
        local: SocketAddr,
        switch: &Switch,
        doorstep: &Doorstep,
    ) -> Response<Body> {
        let near = hyper::upgrade::on(&mut request);
        let (parts, content) = request.into_parts();
        let (has_content, may_switch) = (!content.is_end_stream(), relay::may_switch(&parts));
        let (content, fate) = upload::reading(content);
        let mut response = if relay::is_relayed(&parts, has_content) {
            let tongue = request::tongue(&parts.headers);
            let errand = Errand { parts, content, fate: fate.clone(), near, local };
            let answered = self.relayer.answer(&self.answerer, errand, switch, doorstep).await;
            self.answerer.told(answered, tongue)
        } else {
            // What the store answers reads no content: it is thrown away with the connection.
            drop(content);
            self.answerer.answer(parts, local).await
        };
        if may_switch && !doorstep.is_taken() {
            switch.decline();
        }
        if has_content && !fate.is_over() {
            response = respond::closing(response);
        }
        response
    }
}

/// Errors of `accept` that are about one connection only (accept(2)).
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted | K::TimedOut
    )
}

fn prepare(stream: &TcpStream) {
    // Makes things better, and is not needed.
    let _ = stream.set_nodelay(true);
    outlet::bound_unsent(stream, CLIENT_UNSENT_BYTES_MAX);
}

/// Counts connections by address.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    per_address_max: usize,
    /// Programs on the box itself share one address.
    loopback_max: usize,
    seats: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Crowd {
    pub(crate) fn new(total_max: usize, per_address_max: usize) -> Self {
        Self { per_address_max, loopback_max: (total_max / 2).max(per_address_max), seats: Arc::default() }
    }

    fn enter(&self, address: IpAddr) -> Option<Seat> {
        let most = if address.is_loopback() { self.loopback_max } else { self.per_address_max };
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = seats.entry(address).or_default();
        if *taken >= most {
            return None;
        }
        *taken += 1;
        Some(Seat { address, seats: Arc::clone(&self.seats) })
    }
}

/// One connection of an address.
struct Seat {
    address: IpAddr,
    seats: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = seats.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.address);
            }
        }
    }
}

/// Waits for all tasks, at most so long; then cuts what is left.
pub(crate) async fn drain(
    tasks: &TaskTracker,
    drain: &CancellationToken,
    cut: &CancellationToken,
    grace: Duration,
) {
    drain.cancel();
    tasks.close();
    if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
        cut.cancel();
        tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places_and_gives_back_those_it_took() {
        let crowd = Crowd::new(8, 2);
        let address: IpAddr = "192.168.1.7".parse().expect("an address");
        let seats: Vec<_> = (0..3).map(|_| crowd.enter(address)).collect();
        assert_eq!(seats.iter().flatten().count(), 2);
        assert!(crowd.enter("192.168.1.8".parse().expect("an address")).is_some());
        drop(seats);
        assert!(crowd.enter(address).is_some());
        let own: Vec<_> = (0..9).filter_map(|_| crowd.enter("127.0.0.1".parse().expect("own"))).collect();
        assert_eq!(own.len(), 4);
        drop(own);
        assert!(crowd.seats.lock().expect("not poisoned").is_empty());
    }
}
