//! Who gets through TLS: raw Ed25519 keys both ways (RFC 7250), compared as a whole, and nobody else.
//!
//! `kith/1` admits only keys that the owner has paired. `kith-pair/1` admits any key, is offered only while a
//! pairing code is shown, and leads to nothing but the pairing exchange. The rule is applied inside the handshake, so
//! none of our parsers sees a byte from a stranger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::ring::ALL_KX_GROUPS;
use rustls::crypto::ring::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::{
    CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
};

use crate::identity::{Identity, NodeKey};

/// Paired boxes.
pub const ALPN: &[u8] = b"kith/1";

/// Pairing.
pub const ALPN_PAIR: &[u8] = b"kith-pair/1";

/// What both ends call the server; never sent and never looked at.
pub const SERVER_NAME: &str = "kith";

/// Whether a key is paired and in good standing.
pub type Admits = Arc<dyn Fn(&NodeKey) -> bool + Send + Sync>;

/// Which protocols are offered to whoever dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Only paired boxes.
    Shut,
    /// A pairing code is shown: strangers may try it.
    Pairing,
}

/// Whom one dials.
#[derive(Clone)]
pub enum Expected {
    /// Exactly this box.
    Key(NodeKey),
    /// Any box that is admitted.
    Paired(Admits),
    /// Whoever is there; only for pairing, where the code decides.
    Anyone,
}

impl Expected {
    fn accepts(&self, key: &NodeKey) -> bool {
        match self {
            Expected::Key(expected) => expected == key,
            Expected::Paired(admits) => admits(key),
            Expected::Anyone => true,
        }
    }
}

/// The configuration for one incoming connection: the rule depends on what that one asks for, so each gets its own.
pub fn server_config(identity: &Identity, admits: Admits, door: Door) -> Result<rustls::ServerConfig, Error> {
    let wants_pairing = Arc::new(AtomicBool::new(false));
    let verifier = Verifier(Rule::Incoming { admits, wants_pairing: Arc::clone(&wants_pairing) });
    let resolver = Resolver { certified: certified(identity)?, wants_pairing };
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = match door {
        Door::Shut => vec![ALPN.to_vec()],
        Door::Pairing => vec![ALPN.to_vec(), ALPN_PAIR.to_vec()],
    };
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The configuration for one dialled connection.
pub fn client_config(
    identity: &Identity,
    expected: Expected,
    protocol: &[u8],
) -> Result<rustls::ClientConfig, Error> {
    let verifier = Verifier(Rule::Dialled(expected));
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified(identity)?)));
    config.alpn_protocols = vec![protocol.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The key that a connection's other end has proven, once the handshake is complete.
pub fn peer_key(connection: &quinn::Connection) -> Option<NodeKey> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    NodeKey::from_spki(identity.first()?)
}

/// The protocol that a connection was made for.
pub fn protocol(connection: &quinn::Connection) -> Option<Vec<u8>> {
    let data = connection.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
    data.protocol
}

fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, Error> {
    let key = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(identity.pkcs8()))?;
    let spki = CertificateDer::from(identity.key().spki().to_vec());
    Ok(Arc::new(CertifiedKey::new(vec![spki], key)))
}

/// Of the cryptography of `ring` only what two boxes need: its `default_provider` would bring the reading of all kinds of
/// private keys. `ChaCha20` is first where there are no AES instructions: there it is twice as fast. AES-128 stays among
/// the suites, as QUIC's first packets need it (RFC 9001 section 5.2).
fn provider() -> CryptoProvider {
    let mut cipher_suites =
        vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    if !has_aes() {
        cipher_suites.rotate_right(1);
    }
    CryptoProvider {
        cipher_suites,
        kx_groups: ALL_KX_GROUPS.to_vec(),
        signature_verification_algorithms: ED25519_ONLY,
        secure_random: &Basis,
        key_provider: &Basis,
    }
}

const ED25519_ONLY: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::ring::ED25519],
    mapping: &[(SignatureScheme::ED25519, &[webpki::ring::ED25519])],
};

/// Chance from the system; no private key in a form that would have to be read.
#[derive(Debug)]
struct Basis;

impl SecureRandom for Basis {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        use ring::rand::SecureRandom as _;

        ring::rand::SystemRandom::new().fill(bytes).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for Basis {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("a box has no key but its identity".to_owned()))
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

/// ARM before version 8 and MIPS have none, and the rest cannot be asked safely.
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

/// Notes what the client asks for before its key is looked at. Who asks for `kith/1`, alone or among others, is held
/// to its rule: that is what rustls would choose.
#[derive(Debug)]
struct Resolver {
    certified: Arc<CertifiedKey>,
    wants_pairing: Arc<AtomicBool>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let only_pairing =
            hello.alpn().is_some_and(|mut offered| offered.all(|protocol| protocol == ALPN_PAIR));
        self.wants_pairing.store(only_pairing, Ordering::Relaxed);
        Some(Arc::clone(&self.certified))
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

enum Rule {
    Incoming { admits: Admits, wants_pairing: Arc<AtomicBool> },
    Dialled(Expected),
}

struct Verifier(Rule);

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl Verifier {
    /// rustls checks the signature, nobody but us the key.
    fn verify_key(&self, shown: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        if !more.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        let key =
            NodeKey::from_spki(shown).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let is_welcome = match &self.0 {
            Rule::Incoming { admits, wants_pairing } => wants_pairing.load(Ordering::Relaxed) || admits(&key),
            Rule::Dialled(expected) => expected.accepts(&key),
        };
        if is_welcome {
            Ok(())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }
}

fn verify_signature(
    message: &[u8],
    key: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
    verify_tls13_signature_with_raw_key(message, &spki, signature, &ED25519_ONLY)
}

/// TLS 1.2 is not spoken; rustls wants the method all the same.
fn no_tls12() -> Error {
    Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify_key(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify_key(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
