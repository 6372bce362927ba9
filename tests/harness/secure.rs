//! TLS before a scripted origin: an authority of the test's own, and a front that proves a name and passes the bytes
//! on. It knows no HTTP: what is asked and answered is the origin's.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, crypto};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Who vouches for names in a test.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    home: TempDir,
}

impl Authority {
    /// A new one that nobody trusts yet.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let home = tempfile::Builder::new().prefix("kith-authority-").tempdir()?;
        std::fs::write(Self::file_in(home.path()), issuer.pem())?;
        Ok(Self { issuer, home })
    }

    /// Its certificate, for `origins.extra_ca_files`.
    pub fn file(&self) -> PathBuf {
        Self::file_in(self.home.path())
    }

    fn file_in(home: &Path) -> PathBuf {
        home.join("authority.pem")
    }

    /// Stands in front of an origin and proves that it is `name` (a host name or an address).
    pub fn front(&self, name: &str, origin: SocketAddr) -> Result<Front> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.into()], key)?;
        Front::start(TlsAcceptor::from(Arc::new(config)), origin)
    }
}

/// A running front. Stops when dropped.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Front {
    fn start(acceptor: TlsAcceptor, origin: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_io()
            .build()
            .context("a runtime for the TLS front")?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass_on(acceptor.clone(), stream, origin));
            }
        });
        Ok(Self { address, _runtime: runtime })
    }

    /// The URL of a file of the origin behind it.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.address)
    }
}

/// Ends when either side does; a handshake that fails is the other side's choice.
async fn pass_on(acceptor: TlsAcceptor, stream: TcpStream, origin: SocketAddr) {
    let Ok(mut client) = acceptor.accept(stream).await else { return };
    let Ok(mut origin) = TcpStream::connect(origin).await else { return };
    let _ = tokio::io::copy_bidirectional(&mut client, &mut origin).await;
}
