//! From a host to addresses: by the system's resolver, or by one named server.
//!
//! A host that is an address in itself is not asked for. Nothing is remembered here, and nothing is judged: the
//! [guard](crate::guard) sees every address right before it is dialled.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use kith_model::limits::{ADDRESSES_MAX, DNS_TCP_BYTES_MAX, DNS_TRIES, DNS_TRY_TIMEOUT, DNS_UDP_BYTES_MAX};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::dns::{Kind, Query, Reply};

/// Who is asked for the addresses of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolver {
    /// What the operating system is set up to ask.
    #[default]
    System,
    /// A recursive DNS server, for split DNS and tests.
    Server(SocketAddr),
}

/// No address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name has none.
    #[error("no such name")]
    NotFound,
    /// The resolver did not say.
    #[error("the resolver does not answer")]
    Resolver(#[source] io::Error),
}

impl Resolver {
    /// The addresses of `host`, at least one and at most [`ADDRESSES_MAX`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the search; a question to the system's resolver runs on for nobody.
    pub async fn resolve(self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(literal, port)]);
        }
        let found = match self {
            Resolver::System => from_system(host, port).await?,
            Resolver::Server(server) => {
                from_server(server, host).await?.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
            }
        };
        if found.is_empty() { Err(ResolveError::NotFound) } else { Ok(found) }
    }
}

async fn from_system(host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => Ok(found.take(ADDRESSES_MAX).collect()),
        // getaddrinfo's own codes come without an errno; they all mean that there is nothing to dial
        Err(error) if error.raw_os_error().is_none() => Err(ResolveError::NotFound),
        Err(error) => Err(ResolveError::Resolver(error)),
    }
}

/// Both families, asked at once. One of them is enough: many resolvers fail on AAAA.
async fn from_server(server: SocketAddr, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let (v6, v4) = tokio::join!(ask(server, host, Kind::Aaaa), ask(server, host, Kind::A));
    match (v6, v4) {
        (Err(error), Err(_)) => Err(error),
        (v6, v4) => {
            let all = v6.unwrap_or_default().into_iter().chain(v4.unwrap_or_default());
            Ok(all.take(ADDRESSES_MAX).collect())
        }
    }
}

async fn ask(server: SocketAddr, host: &str, kind: Kind) -> Result<Vec<IpAddr>, ResolveError> {
    let query = Query::new(random_id()?, host, kind).ok_or(ResolveError::NotFound)?;
    let mut reply = by_udp(server, &query).await.map_err(ResolveError::Resolver)?;
    if reply == Reply::Truncated {
        reply = timeout(DNS_TRY_TIMEOUT, by_tcp(server, &query))
            .await
            .map_err(io::Error::from)
            .and_then(|reply| reply)
            .map_err(ResolveError::Resolver)?;
    }
    match reply {
        Reply::Addresses(addresses) => Ok(addresses),
        Reply::Truncated | Reply::Failed => {
            Err(ResolveError::Resolver(io::Error::other("the resolver failed")))
        }
    }
}

/// An id that cannot be guessed; with the random source port of a fresh, connected socket it keeps forgers out
/// (RFC 5452 section 9).
fn random_id() -> Result<u16, ResolveError> {
    let mut id = [0; 2];
    SystemRandom::new()
        .fill(&mut id)
        .map_err(|_| ResolveError::Resolver(io::Error::other("no randomness")))?;
    Ok(u16::from_be_bytes(id))
}

async fn by_udp(server: SocketAddr, query: &Query) -> io::Result<Reply> {
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    let size = u16::try_from(DNS_UDP_BYTES_MAX).unwrap_or(u16::MAX);
    for _ in 0..DNS_TRIES {
        socket.send(&query.encode(size)).await?;
        if let Ok(reply) = timeout(DNS_TRY_TIMEOUT, receive(&socket, query)).await {
            return reply;
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The first datagram that answers the question; others are not worth a word.
async fn receive(socket: &UdpSocket, query: &Query) -> io::Result<Reply> {
    let mut buffer = [0; DNS_UDP_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(reply) = query.decode(&buffer[..length]) {
            return Ok(reply);
        }
    }
}

async fn by_tcp(server: SocketAddr, query: &Query) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(server).await?;
    let message = query.encode(u16::try_from(DNS_TCP_BYTES_MAX).unwrap_or(u16::MAX));
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), &message[..]].concat()).await?;
    let length = usize::from(stream.read_u16().await?);
    if length > DNS_TCP_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    query.decode(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
