//! Connections to exactly the vetted address: resolve, judge every address, dial, shake hands.
//!
//! Sits under the HTTP library as its connector, so that there is no way to a socket but through the
//! [guard](crate::guard), for names and literal addresses alike. Knows no HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use kith_model::limits::ORIGIN_CONNECT_TIMEOUT;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use crate::guard::{Guard, Refusal};
use crate::resolve::{ResolveError, Resolver};

/// Head start of one address over the next (RFC 8305 section 5 recommends 250 ms).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("destination refused: {0}")]
    Denied(#[from] Refusal),
    #[error("name not resolved")]
    Dns(#[from] ResolveError),
    #[error("not connected")]
    Connect(#[source] io::Error),
    #[error("no secure connection: {0}")]
    Tls(String),
}

/// Plain connections.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) guard: Arc<Guard>,
    pub(crate) resolver: Resolver,
}

impl Dialer {
    /// Connects to a host, which may be a literal address with or without brackets.
    ///
    /// # Cancel safety
    /// Dropping the future gives up.
    pub(crate) async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let addresses = self.resolver.resolve(host, port).await?;
        self.guard.check_all(&addresses)?;
        let stream = race(interleaved(addresses)).await.map_err(DialError::Connect)?;
        // Requests are single small segments; waiting to fill one would cost a round trip.
        stream.set_nodelay(true).map_err(DialError::Connect)?;
        Ok(stream)
    }
}

/// A plain or secure connection, as the HTTP library takes it.
pub(crate) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            let default = if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { 443 } else { 80 };
            let stream = dialer.dial(uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(default));
            Ok(TokioIo::new(stream.await?))
        })
    }
}

/// Plain or secure connections, within [`ORIGIN_CONNECT_TIMEOUT`].
#[derive(Clone)]
pub(crate) struct Connector(pub(crate) HttpsConnector<Dialer>);

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connection = self.0.call(uri);
        Box::pin(async move {
            match timeout(ORIGIN_CONNECT_TIMEOUT, connection).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(match error.downcast::<DialError>() {
                    Ok(error) => *error,
                    // what is not from the dialer is from the handshake
                    Err(error) => DialError::Tls(innermost(error.as_ref())),
                }),
                Err(elapsed) => Err(DialError::Connect(elapsed.into())),
            }
        })
    }
}

/// What an error comes down to, without the layers that passed it on.
pub(crate) fn innermost(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The first family and the other by turns (RFC 8305 section 4), so that a broken one costs one delay only.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return order;
        }
        order.extend(pair.into_iter().flatten());
    }
}

/// Dials one address after the other, each when the one before has failed or kept us waiting; the first that
/// connects wins (RFC 8305 section 5).
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts: FuturesUnordered<_> = waiting.next().into_iter().map(TcpStream::connect).collect();
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    while !attempts.is_empty() {
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            },
            () = sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
        }
        attempts.extend(waiting.next().map(TcpStream::connect));
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns() {
        let address = |text: &str| SocketAddr::new(text.parse().expect(text), 443);
        let given = ["::1", "::2", "::3", "1.1.1.1"].map(address).to_vec();
        assert_eq!(interleaved(given), ["::1", "1.1.1.1", "::2", "::3"].map(address));
        assert!(interleaved(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next() {
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr();
        let addresses = vec![closed.expect("bound"), open.local_addr().expect("bound")];
        assert!(race(addresses).await.is_ok());
    }
}
