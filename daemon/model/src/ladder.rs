//! The hash ladder: every digest that is known of an object, how strong it is, and who said it.

use crate::key::Scheme;
use crate::time::UnixMillis;

/// A hash function that names objects outside of Kith.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// 16 bytes; broken, counts only beside others.
    Md5,
    /// 20 bytes; broken, counts only beside others.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 64 bytes.
    Sha512,
}

impl Algorithm {
    /// Length of a digest in bytes.
    pub fn digest_len(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }

    /// The name in the IANA registry of HTTP digest algorithms (RFC 9530 section 7.2).
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Md5 => "md5",
            Algorithm::Sha1 => "sha",
            Algorithm::Sha256 => "sha-256",
            Algorithm::Sha512 => "sha-512",
        }
    }
}

/// A digest of a whole object. The length always fits the algorithm.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl Digest {
    /// Nothing when the length is not the algorithm's.
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == algorithm.digest_len()).then(|| Self { algorithm, bytes: bytes.to_vec() })
    }

    /// Which hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest itself.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Who said that a digest belongs to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// We computed it over bytes we hold: our own fact for good.
    Ourselves,
    /// The origin, in a field of its answer, on a channel of this scheme.
    Origin(Scheme),
    /// It stands in the URL that the client asked for.
    Url,
}

/// One rung: a digest with its provenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The digest.
    pub digest: Digest,
    /// Who said it.
    pub teller: Teller,
    /// When.
    pub said_at: UnixMillis,
}

/// How far a set of digests can be trusted to name one sequence of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Nothing that binds.
    None,
    /// Broken functions, alone: they notice accidents, not attackers.
    Weak,
    /// Sha-1, md5 and the length together: no joint collision with equal length is known.
    Joint,
    /// Sha-256 or sha-512.
    Strong,
}

/// The digests known of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder {
    rungs: Vec<Rung>,
}

/// Two tellers of equal standing name different digests of the same algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two different {} digests were given", .algorithm.as_str())]
pub struct Contradiction {
    /// Of which hash function.
    pub algorithm: Algorithm,
}

impl Ladder {
    /// Adds a rung. The same digest told again changes nothing; a different one of the same algorithm is refused.
    pub fn add(&mut self, rung: Rung) -> Result<(), Contradiction> {
        let algorithm = rung.digest.algorithm();
        match self.digest(algorithm) {
            Some(known) if *known == rung.digest => Ok(()),
            Some(_) => Err(Contradiction { algorithm }),
            None => {
                self.rungs.push(rung);
                Ok(())
            }
        }
    }

    /// The digest of one algorithm.
    pub fn digest(&self, algorithm: Algorithm) -> Option<&Digest> {
        self.rungs.iter().map(|rung| &rung.digest).find(|digest| digest.algorithm() == algorithm)
    }

    /// All of it, in the order told.
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }

    /// How strong an anchor the origin gave: only what came over an authenticated channel counts.
    pub fn anchor(&self) -> Strength {
        self.strength(|rung| matches!(rung.teller, Teller::Origin(Scheme::Https) | Teller::Url))
    }

    /// How strong a digest the origin told of the whole, on whatever channel: what a fetch can be checked against. Over
    /// plain http it is as good as the bytes themselves would be.
    pub fn told(&self) -> Strength {
        self.strength(|rung| matches!(rung.teller, Teller::Origin(_) | Teller::Url))
    }

    fn strength(&self, counts: impl Fn(&Rung) -> bool) -> Strength {
        let has =
            |algorithm| self.rungs.iter().any(|rung| rung.digest.algorithm() == algorithm && counts(rung));
        if has(Algorithm::Sha256) || has(Algorithm::Sha512) {
            Strength::Strong
        } else if has(Algorithm::Sha1) && has(Algorithm::Md5) {
            Strength::Joint
        } else if has(Algorithm::Sha1) || has(Algorithm::Md5) {
            Strength::Weak
        } else {
            Strength::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(algorithm: Algorithm, fill: u8, teller: Teller) -> Rung {
        let digest = Digest::new(algorithm, &vec![fill; algorithm.digest_len()]).expect("right length");
        Rung { digest, teller, said_at: UnixMillis(0) }
    }

    #[test]
    fn only_authenticated_tellers_anchor() {
        let cases: [(&[(Algorithm, Teller)], Strength); 5] = [
            (&[(Algorithm::Sha256, Teller::Origin(Scheme::Http))], Strength::None),
            (&[(Algorithm::Sha256, Teller::Origin(Scheme::Https))], Strength::Strong),
            (&[(Algorithm::Sha256, Teller::Url)], Strength::Strong),
            (&[(Algorithm::Md5, Teller::Origin(Scheme::Https))], Strength::Weak),
            (
                &[
                    (Algorithm::Md5, Teller::Origin(Scheme::Https)),
                    (Algorithm::Sha1, Teller::Origin(Scheme::Https)),
                ],
                Strength::Joint,
            ),
        ];
        for (rungs, expected) in cases {
            let mut ladder = Ladder::default();
            for (algorithm, teller) in rungs {
                ladder.add(rung(*algorithm, 1, *teller)).expect("no contradiction");
            }
            assert_eq!(ladder.anchor(), expected, "{rungs:?}");
            assert!(ladder.told() >= ladder.anchor(), "{rungs:?}");
        }
    }

    #[test]
    fn a_contradiction_is_refused_and_a_repetition_is_not() {
        let mut ladder = Ladder::default();
        ladder.add(rung(Algorithm::Sha256, 1, Teller::Ourselves)).expect("first");
        ladder.add(rung(Algorithm::Sha256, 1, Teller::Url)).expect("same again");
        assert_eq!(
            ladder.add(rung(Algorithm::Sha256, 2, Teller::Url)),
            Err(Contradiction { algorithm: Algorithm::Sha256 })
        );
        assert_eq!(ladder.rungs().len(), 1);
        assert!(Digest::new(Algorithm::Md5, &[0; 15]).is_none());
    }
}
