//! Flat digests, computed along the frontier of an arriving object.

use kith_model::ladder::{Algorithm, Digest, Ladder};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};

/// The digests of bytes `0..at`.
#[derive(Clone)]
pub(crate) struct Running {
    contexts: Vec<(Algorithm, Context)>,
    at: u64,
}

impl Running {
    /// Sha-256, and every algorithm that `told` names and that we can compute.
    pub(crate) fn new(told: &Ladder) -> Self {
        let wanted = |algorithm| algorithm == Algorithm::Sha256 || told.digest(algorithm).is_some();
        let all = [
            (Algorithm::Sha1, &SHA1_FOR_LEGACY_USE_ONLY),
            (Algorithm::Sha256, &SHA256),
            (Algorithm::Sha512, &SHA512),
        ];
        let contexts = all
            .into_iter()
            .filter(|(algorithm, _)| wanted(*algorithm))
            .map(|(algorithm, function)| (algorithm, Context::new(function)))
            .collect();
        Self { contexts, at: 0 }
    }

    /// Count of bytes hashed.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Hashes the bytes that follow.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for (_, context) in &mut self.contexts {
            context.update(bytes);
        }
        self.at += bytes.len() as u64;
    }

    /// The digests so far.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        let finish = |(algorithm, context): &(Algorithm, Context)| {
            Digest::new(*algorithm, context.clone().finish().as_ref())
        };
        self.contexts.iter().filter_map(finish).collect()
    }
}

/// Whether we compute this digest of every object whose origin tells it.
pub(crate) fn can_check(algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::Sha1 | Algorithm::Sha256 | Algorithm::Sha512 => true,
        Algorithm::Md5 => false,
    }
}
