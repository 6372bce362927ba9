//! Bytes over QUIC with the crate that boxes use, and with nothing of theirs: the yardstick of the bench `lan`.
//!
//! `raw-quic serve ADDRESS CERTIFICATE BYTES [SETTING...]` writes its certificate to a file, says `listening`, and
//! gives so many bytes to whoever connects. `raw-quic fetch ADDRESS CERTIFICATE [SETTING...]` takes them, prints the
//! seconds it took, and waits until its input ends, so that somebody can look at what it cost.
//!
//! Settings: `mtu=9000` for the largest UDP payload that is tried, `gso=off`, `acks=10` for one acknowledgement in
//! so many packets, `cipher=chacha20` or `cipher=aes256` instead of AES-128.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{AckFrequencyConfig, ClientConfig, Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig};
use quinn::{ServerConfig, TransportConfig, VarInt};
use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::version::TLS13;
use socket2::{Domain, Protocol, Socket, Type};

/// More than the bandwidth-delay product of any LAN.
const WINDOW_BYTES: u32 = 16 << 20;

/// As boxes ask the kernel for.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

const NAME: &str = "raw";

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", address, certificate, bytes, settings @ ..] => {
            serve(address.parse()?, certificate.as_ref(), bytes.parse()?, &Settings::of(settings)?).await
        }
        ["fetch", address, certificate, settings @ ..] => {
            fetch(address.parse()?, certificate.as_ref(), &Settings::of(settings)?).await
        }
        _ => bail!(
            "usage: raw-quic serve ADDRESS CERTIFICATE BYTES [SETTING...] | fetch ADDRESS CERTIFICATE [SETTING...]"
        ),
    }
}

struct Settings {
    payload_bytes: u16,
    offload: bool,
    acknowledge_each: Option<u32>,
    suite: CipherSuite,
}

impl Settings {
    fn of(words: &[&str]) -> Result<Self> {
        let mut settings = Self {
            payload_bytes: 1472,
            offload: true,
            acknowledge_each: None,
            suite: CipherSuite::TLS13_AES_128_GCM_SHA256,
        };
        for word in words {
            match word.split_once('=').context("a setting is NAME=VALUE")? {
                // Below the link's by IPv4's header and UDP's.
                ("mtu", bytes) => settings.payload_bytes = bytes.parse::<u16>()?.saturating_sub(28),
                ("gso", value) => settings.offload = value == "on",
                ("acks", packets) => settings.acknowledge_each = Some(packets.parse()?),
                ("cipher", "chacha20") => settings.suite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
                ("cipher", "aes256") => settings.suite = CipherSuite::TLS13_AES_256_GCM_SHA384,
                _ => bail!("{word} is no setting"),
            }
        }
        Ok(settings)
    }

    fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = rustls::crypto::ring::default_provider();
        // The first packets of QUIC are always AES-128 (RFC 9001 section 5.2).
        let wanted = |suite| suite == self.suite || suite == CipherSuite::TLS13_AES_128_GCM_SHA256;
        provider.cipher_suites.retain(|suite| wanted(suite.suite()));
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != self.suite);
        Arc::new(provider)
    }

    fn transport(&self) -> Arc<TransportConfig> {
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(self.payload_bytes);
        let mut transport = TransportConfig::default();
        transport
            .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
            .receive_window(VarInt::from_u32(WINDOW_BYTES))
            .send_window(WINDOW_BYTES.into())
            .enable_segmentation_offload(self.offload)
            .mtu_discovery_config(Some(mtu));
        if let Some(packets) = self.acknowledge_each {
            let mut frequency = AckFrequencyConfig::default();
            frequency.ack_eliciting_threshold(VarInt::from_u32(packets));
            transport.ack_frequency_config(Some(frequency));
        }
        Arc::new(transport)
    }

    fn endpoint(&self, address: SocketAddr, server: Option<ServerConfig>) -> Result<Endpoint> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(self.payload_bytes)?;
        Ok(Endpoint::new(config, server, socket.into(), Arc::new(quinn::TokioRuntime))?)
    }
}

async fn serve(address: SocketAddr, certificate: &Path, bytes: u64, settings: &Settings) -> Result<()> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    std::fs::write(certificate, made.cert.der())?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let tls = rustls::ServerConfig::builder_with_provider(settings.provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(settings.transport());
    let endpoint = settings.endpoint(address, Some(config))?;
    println!("listening");
    while let Some(incoming) = endpoint.accept().await {
        give(incoming.await?, bytes).await?;
    }
    Ok(())
}

async fn give(connection: Connection, bytes: u64) -> Result<()> {
    let block = bytes::Bytes::from(vec![0x5a; 1 << 20]);
    let mut stream = connection.open_uni().await?;
    let mut left = usize::try_from(bytes)?;
    while left > 0 {
        let part = block.slice(..block.len().min(left));
        left -= part.len();
        stream.write_chunk(part).await?;
    }
    stream.finish()?;
    connection.closed().await;
    Ok(())
}

async fn fetch(address: SocketAddr, certificate: &Path, settings: &Settings) -> Result<()> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(std::fs::read(certificate)?))?;
    let tls = rustls::ClientConfig::builder_with_provider(settings.provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(settings.transport());
    let endpoint = settings.endpoint(SocketAddr::from(([0, 0, 0, 0], 0)), None)?;
    let begun = Instant::now();
    let connection = endpoint.connect_with(config, address, NAME)?.await?;
    let mut stream = connection.accept_uni().await?;
    let mut taken = 0;
    while let Some(chunk) = stream.read_chunk(1 << 20, true).await? {
        taken += chunk.bytes.len();
    }
    ensure!(taken > 0, "nothing came");
    println!("{}", begun.elapsed().as_secs_f64());
    connection.close(VarInt::from_u32(0), b"");
    endpoint.wait_idle().await;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
