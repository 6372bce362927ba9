//! Claims: what a box signs about an object, and how two boxes name a thing without saying it.
//!
//! Pure. A claim is bound to what was asked: the asker puts its own question into the bytes that it verifies, so an
//! answer to another question, under another tag or of another length has no signature here.

use kith_fetch::crowd::MemberId;
use kith_model::key::Target;
use kith_model::ladder::Digest;
use kith_model::object::ObjectId;
use kith_model::representation::StrongValidator;
use kith_model::time::UnixMillis;
use kith_model::verify::Leaf;

use crate::identity::{Identity, NodeId, NodeKey};
use crate::wire::RendezvousId;

/// What an object is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// "These bytes have this digest": anybody can check it.
    Digest(Digest),
    /// "I fetched this URL from its origin, and it was this with that validator."
    Fetched(Target, StrongValidator),
}

impl Statement {
    /// The statement as bytes, each part with its length before it, so that no two statements look alike.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Statement::Digest(digest) => {
                bytes.push(1);
                push(&mut bytes, digest.algorithm().as_str().as_bytes());
                push(&mut bytes, digest.bytes());
            }
            Statement::Fetched(target, validator) => {
                bytes.push(2);
                push(&mut bytes, target.as_str().as_bytes());
                push(&mut bytes, &validator.to_bytes());
            }
        }
        bytes
    }

    /// What a lookup hashes: the statement and the length that belongs to it.
    pub fn subject(&self, length: u64) -> Subject {
        let mut bytes = self.to_bytes();
        bytes.extend_from_slice(&length.to_be_bytes());
        Subject(blake3::derive_key("kith 2026 lookup subject v1", &bytes))
    }

    /// For people: hosts only, as URLs are nobody's business in a list of neighbours.
    pub fn summary(&self) -> String {
        match self {
            Statement::Digest(digest) => format!(
                "an object with {} {}",
                digest.algorithm().as_str(),
                data_encoding::HEXLOWER.encode(digest.bytes())
            ),
            Statement::Fetched(target, _) => format!("a file of {}", target.host()),
        }
    }
}

/// The hash of a thing looked for, before it is keyed for one neighbour and one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject([u8; 32]);

impl Subject {
    /// The hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From a hash that was kept.
    pub(crate) fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

impl Subject {
    /// The number of a box among those that fetch the thing: nobody chooses it, and all compute the same.
    pub fn member(self, id: &NodeId) -> MemberId {
        let named = [&self.0[..], id.as_bytes()].concat();
        let hash = blake3::derive_key("kith 2026 crowd member v1", &named);
        MemberId(hash[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// "My origin sent me this unit of what the statement names."
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// What is fetched.
    pub statement: &'a Statement,
    /// Length of the whole in bytes.
    pub length: u64,
    /// Number of the unit, from 0.
    pub number: u64,
    /// Its chaining value in the object's tree.
    pub value: Leaf,
}

impl Unit<'_> {
    /// What is signed: a tag that nothing else in the program uses, the claimant, and the unit.
    pub fn signed_bytes(&self, claimant: &NodeKey) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, b"kith 2026 unit v1");
        push(&mut bytes, claimant.as_bytes());
        push(&mut bytes, &self.statement.to_bytes());
        bytes.extend_from_slice(&self.length.to_be_bytes());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.value.0);
        bytes
    }
}

/// Makes the names under which one pair of boxes speaks of things on one day.
#[derive(Clone)]
pub struct Rendezvous {
    key: [u8; 32],
    day: u32,
}

impl Rendezvous {
    /// From the pair's secret.
    pub fn new(secret: &[u8; 32], day: u32) -> Self {
        Self { key: blake3::derive_key("kith 2026 lookup v1", secret), day }
    }

    /// The day that the names are made for.
    pub fn day(&self) -> u32 {
        self.day
    }

    /// The name.
    pub fn id(&self, subject: Subject) -> RendezvousId {
        let mut input = [0; 36];
        input[..32].copy_from_slice(&subject.0);
        input[32..].copy_from_slice(&self.day.to_be_bytes());
        RendezvousId(*blake3::keyed_hash(&self.key, &input).as_bytes())
    }
}

/// Days since 1970.
pub fn day_of(now: UnixMillis) -> u32 {
    u32::try_from(now.seconds() / 86_400).unwrap_or(u32::MAX)
}

/// "This is that object of this length, and I know it first-hand."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it is said to be.
    pub statement: Statement,
    /// The object.
    pub object: ObjectId,
    /// Its length in bytes.
    pub length: u64,
    /// When the claimant came to know, by its own clock.
    pub known_at: UnixMillis,
}

impl Claim {
    /// What is signed: a tag that nothing else in the program uses, the claimant, and the claim.
    pub fn signed_bytes(&self, claimant: &NodeKey) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, b"kith 2026 claim v1");
        push(&mut bytes, claimant.as_bytes());
        push(&mut bytes, &self.statement.to_bytes());
        push(&mut bytes, self.object.as_bytes());
        bytes.extend_from_slice(&self.length.to_be_bytes());
        bytes.extend_from_slice(&self.known_at.0.to_be_bytes());
        bytes
    }

    /// Signs it.
    pub fn sign(&self, identity: &Identity) -> [u8; 64] {
        identity.sign(&self.signed_bytes(&identity.key()))
    }

    /// Whether `claimant` signed exactly this.
    pub fn is_signed_by(&self, claimant: &NodeKey, signature: &[u8; 64]) -> bool {
        claimant.has_signed(&self.signed_bytes(claimant), signature)
    }
}

/// What is signed to say that the origin took back what `statement` is of, at that moment by the claimant's clock.
pub fn withdrawal_bytes(statement: &Statement, length: u64, claimant: &NodeKey, at: UnixMillis) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, b"kith 2026 withdrawal v1");
    push(&mut bytes, claimant.as_bytes());
    push(&mut bytes, &statement.to_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&at.0.to_be_bytes());
    bytes
}

/// A part with its length (4 bytes, big-endian) before it.
fn push(bytes: &mut Vec<u8>, part: &[u8]) {
    let len = u32::try_from(part.len()).expect("invariant: URLs, tags and digests are far below 4 GiB");
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use kith_model::ladder::Algorithm;

    use super::*;

    fn fetched(url: &str, tag: &'static str) -> Statement {
        let validator = StrongValidator::ETag(HeaderValue::from_static(tag));
        Statement::Fetched(Target::parse(url).expect("url"), validator)
    }

    fn claim() -> Claim {
        Claim {
            statement: fetched("https://example.org/a.iso", "\"1\""),
            object: ObjectId::of(b"a"),
            length: 1,
            known_at: UnixMillis(5),
        }
    }

    #[test]
    fn a_signature_covers_every_part_and_the_claimant() {
        let identity = Identity::generate().expect("random");
        let claim = claim();
        let signature = claim.sign(&identity);
        assert!(claim.is_signed_by(&identity.key(), &signature));
        let digest = Digest::new(Algorithm::Sha256, &[1; 32]).expect("32 bytes");
        for other in [
            Claim { statement: fetched("https://example.org/b.iso", "\"1\""), ..claim.clone() },
            Claim { statement: fetched("https://example.org/a.iso", "\"2\""), ..claim.clone() },
            Claim { statement: Statement::Digest(digest), ..claim.clone() },
            Claim { object: ObjectId::of(b"b"), ..claim.clone() },
            Claim { length: 2, ..claim.clone() },
            Claim { known_at: UnixMillis(6), ..claim.clone() },
        ] {
            assert!(!other.is_signed_by(&identity.key(), &signature), "{other:?}");
        }
        let another = Identity::generate().expect("random");
        assert!(!claim.is_signed_by(&another.key(), &signature));
        assert!(!claim.is_signed_by(&identity.key(), &another.sign(&claim.signed_bytes(&identity.key()))));
        let untagged = &claim.signed_bytes(&identity.key())[22..];
        assert!(!claim.is_signed_by(&identity.key(), &identity.sign(untagged)), "the tag counts");
    }

    #[test]
    fn names_differ_by_pair_by_day_and_by_subject() {
        let statement = claim().statement;
        let names = [
            Rendezvous::new(&[1; 32], 1).id(statement.subject(1)),
            Rendezvous::new(&[2; 32], 1).id(statement.subject(1)),
            Rendezvous::new(&[1; 32], 2).id(statement.subject(1)),
            Rendezvous::new(&[1; 32], 1).id(statement.subject(2)),
            Rendezvous::new(&[1; 32], 1).id(fetched("https://example.org/a.iso", "\"2\"").subject(1)),
        ];
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert_eq!(Rendezvous::new(&[1; 32], 1).id(statement.subject(1)), names[0]);
    }
}
