//! The handshake: SPAKE2 on the code, tied to the TLS channel it runs in, then a proof of the key each way.
//!
//! States of the joining box: [`Joining`] -> [`JoinerProving`] -> [`Secret`]; of the opening box:
//! [`OpenerProving`] -> [`Secret`]. Each holds what that step needs and is consumed by it. SPAKE2 alone could
//! be relayed by somebody who holds a TLS channel to each side (its own documentation says so), so both public keys
//! are its identities, and what TLS exports for this channel and all messages go into the key.

use spake2::{Ed25519Group, Identity as Side, Password, Spake2};

use crate::identity::NodeKey;
use crate::pairing::desk::Code;

/// The label for `export_keying_material` (RFC 9846 section 7.5, formerly RFC 8446).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-kith-pair-1";

/// The TLS channel that the exchange runs in, as this end sees it.
#[derive(Clone)]
pub struct Channel {
    /// The box where the code is typed in.
    pub joiner: NodeKey,
    /// The box that shows the code.
    pub opener: NodeKey,
    /// Exported from TLS: differs between two channels, also when one box relays between them.
    pub exporter: [u8; 32],
}

/// A message that is no point, or a proof that does not fit: a wrong code, or somebody in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the code does not fit, or somebody stands between the boxes")]
pub struct Mismatch;

/// What both boxes keep.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

/// A keyed hash that shows knowledge of the key.
pub type Proof = [u8; 32];

struct Keys {
    joiner_proof: [u8; 32],
    opener_proof: [u8; 32],
    stored_proof: [u8; 32],
    secret: [u8; 32],
}

impl Keys {
    fn new(channel: &Channel, joiner_message: &[u8], opener_message: &[u8], shared: &[u8]) -> Self {
        let mut transcript = Vec::new();
        let parts: [&[u8]; 6] = [
            shared,
            &channel.exporter,
            &channel.joiner.spki(),
            &channel.opener.spki(),
            joiner_message,
            opener_message,
        ];
        for part in parts {
            transcript.extend_from_slice(&(part.len() as u64).to_be_bytes());
            transcript.extend_from_slice(part);
        }
        let derived = |context: &str| blake3::derive_key(context, &transcript);
        Self {
            joiner_proof: derived("kith 2026 pairing v1 joiner proof"),
            opener_proof: derived("kith 2026 pairing v1 opener proof"),
            stored_proof: derived("kith 2026 pairing v1 stored"),
            secret: derived("kith 2026 pairing v1 pair secret"),
        }
    }
}

/// Compares in constant time.
fn check(shown: &Proof, expected: &[u8; 32]) -> Result<(), Mismatch> {
    let same = blake3::Hash::from_bytes(*shown) == blake3::Hash::from_bytes(*expected);
    if same { Ok(()) } else { Err(Mismatch) }
}

fn sides(channel: &Channel) -> (Side, Side) {
    (Side::new(&channel.joiner.spki()), Side::new(&channel.opener.spki()))
}

/// The joining box has sent its first message.
pub struct Joining {
    spake: Spake2<Ed25519Group>,
    channel: Channel,
    message: Vec<u8>,
}

impl Joining {
    /// Starts; the bytes go to the opening box.
    pub fn start(code: &Code, channel: Channel) -> (Self, Vec<u8>) {
        let (joiner, opener) = sides(&channel);
        let (spake, message) = Spake2::start_a(&Password::new(code.digits()), &joiner, &opener);
        (Self { spake, channel, message: message.clone() }, message)
    }

    /// Takes the opening box's message; the proof goes to it.
    pub fn answered(self, message: &[u8]) -> Result<(JoinerProving, Proof), Mismatch> {
        let shared = self.spake.finish(message).map_err(|_| Mismatch)?;
        let keys = Keys::new(&self.channel, &self.message, message, &shared);
        let proof = keys.joiner_proof;
        Ok((JoinerProving { keys }, proof))
    }
}

/// The joining box has proven itself and waits for the other's proof.
pub struct JoinerProving {
    keys: Keys,
}

impl JoinerProving {
    /// Takes the opening box's proof. Both are sure now; the second value tells the other that we have stored it.
    pub fn proven(self, proof: &Proof) -> Result<(Secret, Proof), Mismatch> {
        check(proof, &self.keys.opener_proof)?;
        Ok((Secret(self.keys.secret), self.keys.stored_proof))
    }
}

/// The opening box has answered and waits for the other's proof.
pub struct OpenerProving {
    keys: Keys,
}

impl OpenerProving {
    /// Takes the joining box's first message; the bytes go to it.
    pub fn answer(code: &Code, channel: &Channel, message: &[u8]) -> Result<(Self, Vec<u8>), Mismatch> {
        let (joiner, opener) = sides(channel);
        let (spake, answer) =
            Spake2::<Ed25519Group>::start_b(&Password::new(code.digits()), &joiner, &opener);
        let shared = spake.finish(message).map_err(|_| Mismatch)?;
        let keys = Keys::new(channel, message, &answer, &shared);
        Ok((Self { keys }, answer))
    }

    /// Takes the joining box's proof; ours goes to it.
    pub fn proven(self, proof: &Proof) -> Result<(OpenerProven, Proof), Mismatch> {
        check(proof, &self.keys.joiner_proof)?;
        let ours = self.keys.opener_proof;
        Ok((OpenerProven { keys: self.keys }, ours))
    }
}

/// The opening box has checked the code and waits to hear that the other has stored it.
pub struct OpenerProven {
    keys: Keys,
}

impl OpenerProven {
    /// Takes the joining box's last word.
    pub fn stored(self, proof: &Proof) -> Result<Secret, Mismatch> {
        check(proof, &self.keys.stored_proof)?;
        Ok(Secret(self.keys.secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(joiner: u8, opener: u8, exporter: u8) -> Channel {
        Channel {
            joiner: NodeKey::from_bytes([joiner; 32]),
            opener: NodeKey::from_bytes([opener; 32]),
            exporter: [exporter; 32],
        }
    }

    fn run(
        typed: &str,
        shown: &str,
        at_joiner: Channel,
        at_opener: &Channel,
    ) -> Result<(Secret, Secret), Mismatch> {
        let (joining, start) = Joining::start(&Code::parse(typed).expect("digits"), at_joiner);
        let (opener, answer) =
            OpenerProving::answer(&Code::parse(shown).expect("digits"), at_opener, &start)?;
        let (joiner, proof) = joining.answered(&answer)?;
        let (opener, proof) = opener.proven(&proof)?;
        let (secret, stored) = joiner.proven(&proof)?;
        Ok((secret, opener.stored(&stored)?))
    }

    #[test]
    fn the_right_code_gives_both_the_same_secret_each_time_another() {
        let run = || run("12345678", "12345678", channel(1, 2, 3), &channel(1, 2, 3)).expect("paired");
        let (ours, theirs) = run();
        assert!(ours == theirs);
        assert!(ours != run().0);
    }

    #[test]
    fn a_wrong_code_or_a_relay_fails_before_anything_is_kept() {
        assert!(run("12345679", "12345678", channel(1, 2, 3), &channel(1, 2, 3)).is_err());
        // A relay passes the messages on between two channels of its own: other keys, another exporter.
        assert!(run("12345678", "12345678", channel(1, 9, 3), &channel(9, 2, 4)).is_err());
        assert!(run("12345678", "12345678", channel(1, 2, 3), &channel(1, 2, 4)).is_err());
        assert!(run("12345678", "12345678", channel(1, 2, 3), &channel(2, 1, 3)).is_err());
    }

    #[test]
    fn the_opener_checks_first_and_nonsense_is_a_mismatch() {
        let code = Code::parse("12345678").expect("digits");
        let (joining, start) = Joining::start(&code, channel(1, 2, 3));
        assert!(OpenerProving::answer(&code, &channel(1, 2, 3), &[0x41; 33]).is_err() || start.len() == 33);
        assert!(OpenerProving::answer(&code, &channel(1, 2, 3), b"").is_err());
        assert!(joining.answered(&start).is_err(), "a reflected message is no answer");
        let (opener, _) = OpenerProving::answer(&code, &channel(1, 2, 3), &start).expect("answered");
        assert!(opener.proven(&[0; 32]).is_err());
    }
}
