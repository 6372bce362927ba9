//! The frames of a pairing, kinds 16 to 18, and roles as they stand in frames and files.

use kith_model::limits;
use kith_model::trust::Role;
use minicbor::{Decode, Encode};

/// SPAKE2 over Ed25519: a byte for the side, and a point.
const PAKE_BYTES: usize = 33;

/// Begins a pairing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PairStart {
    /// [`super::VERSION`].
    #[n(0)]
    pub version: u32,
    /// The joining box's name, for people.
    #[n(1)]
    pub name: String,
    /// What the joining box's owner takes the other for: 1 mine, 2 neighbour.
    #[n(2)]
    pub role: u32,
    /// SPAKE2, side A: 33 bytes.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub pake: Vec<u8>,
    /// Whether the code is that of a group, and not one that is shown.
    #[n(4)]
    pub group: Option<bool>,
}

/// Answers a pairing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PairAnswer {
    /// The opening box's name, for people.
    #[n(0)]
    pub name: String,
    /// SPAKE2, side B: 33 bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub pake: Vec<u8>,
    /// What both take each other for: the farther of what their owners said. Absent from a box that knows `mine` only.
    #[n(2)]
    pub role: Option<u32>,
}

/// A role as it stands in frames and files.
pub fn role_code(role: Role) -> u32 {
    match role {
        Role::Mine => 1,
        Role::Neighbour => 2,
    }
}

/// The inverse of [`role_code`].
pub fn role_of(code: u32) -> Option<Role> {
    [Role::Mine, Role::Neighbour].into_iter().find(|role| role_code(*role) == code)
}

/// Proves a pairing: first by the joining box, then by the opening one, then once more as "stored".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PairConfirm {
    /// A keyed hash; see `PROTOCOL.md`.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub proof: [u8; 32],
}

impl PairStart {
    pub(super) fn is_within_bounds(&self) -> bool {
        is_name(&self.name) && self.pake.len() == PAKE_BYTES
    }
}

impl PairAnswer {
    pub(super) fn is_within_bounds(&self) -> bool {
        is_name(&self.name) && self.pake.len() == PAKE_BYTES
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= limits::NAME_BYTES_MAX
}
