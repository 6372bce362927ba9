//! Flat digests, computed along the frontier of an arriving object.

use kith_model::ladder::{Algorithm, Digest, Ladder};
use md5::{Digest as _, Md5};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};

/// The digests of bytes `0..at`.
#[derive(Clone)]
pub(crate) struct Running {
    hashers: Vec<Hasher>,
    at: u64,
}

/// One of them.
#[derive(Clone)]
enum Hasher {
    /// Ring has all but md5.
    Ring(Algorithm, Context),
    Md5(Md5),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        let function = match algorithm {
            Algorithm::Md5 => return Self::Md5(Md5::new()),
            Algorithm::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => &SHA256,
            Algorithm::Sha512 => &SHA512,
        };
        Self::Ring(algorithm, Context::new(function))
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Ring(_, context) => context.update(bytes),
            Self::Md5(hasher) => hasher.update(bytes),
        }
    }

    fn digest(&self) -> Option<Digest> {
        match self {
            Self::Ring(algorithm, context) => Digest::new(*algorithm, context.clone().finish().as_ref()),
            Self::Md5(hasher) => Digest::new(Algorithm::Md5, &hasher.clone().finalize()),
        }
    }
}

impl Running {
    /// Sha-256, and every algorithm that `told` names.
    pub(crate) fn new(told: &Ladder) -> Self {
        let wanted =
            |algorithm: &Algorithm| *algorithm == Algorithm::Sha256 || told.digest(*algorithm).is_some();
        let all = [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512];
        Self { hashers: all.into_iter().filter(wanted).map(Hasher::new).collect(), at: 0 }
    }

    /// Count of bytes hashed.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Hashes the bytes that follow.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for hasher in &mut self.hashers {
            hasher.update(bytes);
        }
        self.at += bytes.len() as u64;
    }

    /// The digests so far.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.hashers.iter().filter_map(Hasher::digest).collect()
    }
}
