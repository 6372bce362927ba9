//! The one QUIC endpoint of the process: its socket, its bounds, its configurations. Knows nothing of frames.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kith_model::limits::{self, Limits, NEIGHBOUR_IDLE_TIMEOUT, NEIGHBOUR_KEEP_ALIVE};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig,
    VarInt,
};
use ring::hmac;
use socket2::{Domain, Protocol, Socket, Type};

use crate::identity::Identity;
use crate::tls::{self, Admits, Door, Expected};

/// Why a configuration cannot be made. Ours: the same key worked when it was read.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// From rustls.
    #[error("TLS setup: {0}")]
    Tls(#[from] rustls::Error),
    /// From quinn.
    #[error("QUIC setup: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The socket.
    #[error("socket {0}: {1}")]
    Socket(SocketAddr, #[source] io::Error),
}

/// Binds the endpoint. Incoming connections have to be accepted with a [`server_config`] of their own.
pub fn bind(
    identity: &Identity,
    listen: SocketAddr,
    limits: &Limits,
    first: ServerConfig,
) -> Result<Endpoint, SetupError> {
    let (socket, bound) = socket(listen).map_err(|error| SetupError::Socket(listen, error))?;
    // The same after every start: a neighbour that still talks to the box from before hears at once that it is gone
    // (RFC 9000 section 10.3).
    let reset_key = identity.secret_for("kith 2026 stateless reset v1");
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset_key)));
    // The receive buffer is this times 64 segments times 32 messages: 3 MB at an Ethernet's size.
    let _ = config.max_udp_payload_size(1472);
    let mut server = first;
    server
        .max_incoming(limits.incoming_max)
        .incoming_buffer_size(limits.incoming_bytes_max)
        .incoming_buffer_size_total(limits.incoming_bytes_total_max);
    Endpoint::new(config, Some(server), socket, Arc::new(quinn::TokioRuntime))
        .map_err(|error| SetupError::Socket(bound, error))
}

/// A socket with large buffers, for both families when the address is `[::]`. A box without IPv6 gets `0.0.0.0`.
fn socket(listen: SocketAddr) -> io::Result<(std::net::UdpSocket, SocketAddr)> {
    match open(listen) {
        Err(_) if listen.ip() == std::net::Ipv6Addr::UNSPECIFIED => {
            let v4 = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, listen.port()));
            open(v4).map(|socket| (socket, v4))
        }
        opened => opened.map(|socket| (socket, listen)),
    }
}

fn open(listen: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    if listen.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The kernel may give less; that costs speed only.
    let _ = socket.set_recv_buffer_size(limits::UDP_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(limits::UDP_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    Ok(socket.into())
}

/// For one incoming connection.
pub fn server_config(
    identity: &Identity,
    admits: Admits,
    door: Door,
    limits: &Limits,
) -> Result<ServerConfig, SetupError> {
    let crypto = QuicServerConfig::try_from(tls::server_config(identity, admits, door)?)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport(limits));
    Ok(config)
}

/// For one dialled connection.
pub fn client_config(
    identity: &Identity,
    expected: Expected,
    protocol: &[u8],
    limits: &Limits,
) -> Result<ClientConfig, SetupError> {
    let crypto = QuicClientConfig::try_from(tls::client_config(identity, expected, protocol)?)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(limits));
    Ok(config)
}

fn transport(limits: &Limits) -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(limits::UDP_MTU_MAX);
    let idle_ms = u32::try_from(NEIGHBOUR_IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams_max))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(limits.stream_window_bytes))
        .receive_window(VarInt::from_u32(limits.connection_window_bytes))
        .send_window(u64::from(limits.connection_window_bytes))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_ms))))
        .keep_alive_interval(Some(NEIGHBOUR_KEEP_ALIVE))
        // A LAN's; quinn's 333 ms would make the first lost packet of a handshake cost a second.
        .initial_rtt(Duration::from_millis(50))
        .mtu_discovery_config(Some(mtu));
    Arc::new(transport)
}
