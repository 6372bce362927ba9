//! Who this box is: an Ed25519 key that is never made anew behind its owner's back.
//!
//! Owns `identity.key` (PKCS#8, mode 0600), the names made from a public key, and signing. Knows nothing of who
//! is paired beyond whether anybody is.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::{peers, private_file, rotation};

/// Name of the key's file in the data folder.
pub const FILE_NAME: &str = "identity.key";

/// An Ed25519 public key: what a box is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKey([u8; 32]);

/// The BLAKE3 hash of a box's public key: what it is called by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; 32]);

/// The fixed front of an Ed25519 `SubjectPublicKeyInfo` (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl NodeKey {
    /// As stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As TLS shows it (RFC 7250).
    pub fn spki(&self) -> [u8; 44] {
        let mut spki = [0; 44];
        spki[..12].copy_from_slice(&SPKI_PREFIX);
        spki[12..].copy_from_slice(&self.0);
        spki
    }

    /// From what TLS shows; nothing when that is no Ed25519 key in its one encoding.
    pub fn from_spki(spki: &[u8]) -> Option<Self> {
        spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok().map(Self)
    }

    /// The name.
    pub fn id(&self) -> NodeId {
        NodeId(*blake3::hash(&self.0).as_bytes())
    }

    /// Whether `signature` over `message` is this key's.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", HEXLOWER.encode(&self.0))
    }
}

impl NodeId {
    /// As stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The first twelve digits: enough to tell the boxes of a street apart.
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..6])
    }

    /// Four words that people compare and say over the telephone: the first 64 bits as proquints
    /// (<https://arxiv.org/html/0901.4016>), which need no word list and read alike in every language.
    pub fn words(&self) -> String {
        let word = |pair: &[u8]| proquint(u16::from_be_bytes([pair[0], pair[1]]));
        self.0[..8].chunks_exact(2).map(word).collect::<Vec<_>>().join("-")
    }
}

/// Letters of a proquint.
pub(crate) const CONSONANTS: &[u8] = b"bdfghjklmnprstvz";
/// See [`CONSONANTS`].
pub(crate) const VOWELS: &[u8] = b"aiou";

/// Sixteen bits as consonant, vowel, consonant, vowel, consonant.
pub(crate) fn proquint(bits: u16) -> String {
    let consonant = |shift: u16| char::from(CONSONANTS[usize::from(bits >> shift & 15)]);
    let vowel = |shift: u16| char::from(VOWELS[usize::from(bits >> shift & 3)]);
    [consonant(12), vowel(10), consonant(6), vowel(4), consonant(0)].iter().collect()
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.short())
    }
}

/// Why this box does not know who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key is gone, but boxes are stored that know this one by it.
    #[error(
        "{} is missing, but this box is paired with others that know it by that key: put the key back from \
         a backup, or delete {} and pair again", .key.display(), .neighbours.display()
    )]
    Lost {
        /// Where the key should be.
        key: PathBuf,
        /// What says that there are neighbours.
        neighbours: PathBuf,
    },
    /// The file is there but no key.
    #[error("{} is damaged: put it back from a backup, or delete it and the neighbours' file and pair again", .0.display())]
    Damaged(PathBuf),
    /// The disk.
    #[error("{}: {source}", .path.display())]
    Io {
        /// What could not be read or written.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The system's source of random numbers.
    #[error("no random numbers")]
    Random,
}

/// The box's key pair.
pub struct Identity {
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
    key: NodeKey,
}

impl Identity {
    /// Reads the key from the data folder, takes the one that was prepared there, or makes one when there never was one.
    /// Blocks.
    pub fn open(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(FILE_NAME);
        rotation::take(dir).map_err(|source| IdentityError::Io { path: path.clone(), source })?;
        let io = |source| IdentityError::Io { path: path.clone(), source };
        if let Some(pkcs8) = private_file::read(&path).map_err(io)? {
            return Self::from_pkcs8(pkcs8).ok_or(IdentityError::Damaged(path));
        }
        let neighbours = dir.join(peers::FILE_NAME);
        if private_file::read(&neighbours).map_err(io)?.is_some_and(|stored| peers::mentions_any(&stored)) {
            return Err(IdentityError::Lost { key: path, neighbours });
        }
        let identity = Self::generate()?;
        private_file::replace(&path, &identity.pkcs8).map_err(io)?;
        Ok(identity)
    }

    /// A key that is kept nowhere.
    pub fn generate() -> Result<Self, IdentityError> {
        let pkcs8 =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| IdentityError::Random)?;
        Self::from_pkcs8(pkcs8.as_ref().to_vec()).ok_or(IdentityError::Random)
    }

    pub(crate) fn from_pkcs8(pkcs8: Vec<u8>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).ok()?;
        let key = NodeKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pair, pkcs8, key })
    }

    /// The public key.
    pub fn key(&self) -> NodeKey {
        self.key
    }

    /// The name made from it.
    pub fn id(&self) -> NodeId {
        self.key.id()
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message).as_ref().try_into().expect("invariant: RFC 8032 signatures have 64 bytes")
    }

    /// A secret of this box for one purpose; the same after every start.
    pub(crate) fn secret_for(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.pkcs8)
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.id()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = Identity::open(dir.path()).expect("made");
        let again = Identity::open(dir.path()).expect("read");
        assert_eq!(first.key(), again.key());
        let mode = std::fs::metadata(dir.path().join(FILE_NAME)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::write(dir.path().join(FILE_NAME), b"not a key").expect("written");
        assert!(matches!(Identity::open(dir.path()), Err(IdentityError::Damaged(_))));
        assert_eq!(std::fs::read(dir.path().join(FILE_NAME)).expect("kept"), b"not a key");
    }

    #[test]
    fn a_lost_key_is_not_made_anew_while_neighbours_know_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut peers = peers::Peers::default();
        peers.add(peers::Peer::test(1)).expect("room");
        std::fs::write(dir.path().join(peers::FILE_NAME), peers.to_bytes()).expect("written");
        let error = Identity::open(dir.path()).expect_err("refused");
        assert!(matches!(error, IdentityError::Lost { .. }));
        assert!(error.to_string().contains("pair again"), "says what to do: {error}");
        std::fs::write(dir.path().join(peers::FILE_NAME), b"damaged").expect("written");
        assert!(
            matches!(Identity::open(dir.path()), Err(IdentityError::Lost { .. })),
            "a damaged list may name some"
        );
        std::fs::write(dir.path().join(peers::FILE_NAME), peers::Peers::default().to_bytes())
            .expect("written");
        Identity::open(dir.path()).expect("an empty list names nobody");
    }

    #[test]
    fn names_come_from_the_key_alone() {
        let key = NodeKey::from_bytes([0; 32]);
        assert_eq!(NodeKey::from_spki(&key.spki()), Some(key));
        assert_eq!(NodeKey::from_spki(&key.spki()[..43]), None);
        assert_eq!(proquint(0x7f00), "lusab"); // 127.0.0.1 is lusab-babad in the proposal
        assert_eq!(proquint(0x0001), "babad");
        assert_eq!(NodeId::from_bytes([0x7f; 32]).words().split('-').count(), 4);
        assert_eq!(NodeId::parse(&key.id().to_string()), Some(key.id()));
        assert_eq!(NodeId::parse("00"), None);
    }

    #[test]
    fn signatures_bind_the_message() {
        let identity = Identity::generate().expect("random");
        let signature = identity.sign(b"a");
        assert!(identity.key().has_signed(b"a", &signature));
        assert!(!identity.key().has_signed(b"b", &signature));
    }
}
