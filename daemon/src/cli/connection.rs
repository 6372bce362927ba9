//! Connections of the commands to the box: HTTP/1.1 over whatever leads there.

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// The control socket or the client port: one kind, so that what speaks over it is compiled once.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Takes requests.
pub(super) type Sender = http1::SendRequest<Full<Bytes>>;

/// Has to be driven until the last answer is there.
pub(super) type Connection = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// Begins to speak.
pub(super) async fn open(stream: impl Stream + 'static) -> hyper::Result<(Sender, Connection)> {
    let stream: Box<dyn Stream> = Box::new(stream);
    http1::handshake(TokioIo::new(stream)).await
}
