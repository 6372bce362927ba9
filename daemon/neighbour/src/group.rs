//! A group: boxes that pair by themselves as they all know the same six words. For a school, where eight digits for
//! each two boxes would be too many.
//!
//! Pure: the words, what is derived from them, and the content of `group.cbor`. The words are drawn, never chosen: 96
//! bits need no slow hash against guessing, and a PAKE gives each connection one guess. They are not kept.

use kith_model::limits::PAIRED_MAX;
use kith_model::trust::Role;
use minicbor::{Decode, Encode};
use ring::rand::{SecureRandom, SystemRandom};

use crate::identity::{CONSONANTS, NodeId, VOWELS, proquint};
use crate::pairing::desk::Code;
use crate::wire::pairing::{role_code, role_of};

/// Name of the file in the data folder.
pub const FILE_NAME: &str = "group.cbor";

const FORMAT_VERSION: u32 = 1;

const WORDS: usize = 6;

/// Six words of five letters.
#[derive(Clone, PartialEq, Eq)]
pub struct Words(String);

impl Words {
    /// Draws new ones; nothing without random numbers.
    pub fn draw(random: &SystemRandom) -> Option<Self> {
        let mut bytes = [0; 2 * WORDS];
        random.fill(&mut bytes).ok()?;
        let words = bytes.chunks_exact(2).map(|pair| proquint(u16::from_be_bytes([pair[0], pair[1]])));
        Some(Self(words.collect::<Vec<_>>().join("-")))
    }

    /// As typed: blanks and dashes are alike, and so are small letters and capitals. Nothing when these are not words of
    /// ours, as when somebody made some up.
    pub fn parse(typed: &str) -> Option<Self> {
        let lower = typed.to_ascii_lowercase();
        let words: Vec<&str> = lower.split([' ', '-', '\t']).filter(|word| !word.is_empty()).collect();
        (words.len() == WORDS && words.iter().all(|word| is_proquint(word))).then(|| Self(words.join("-")))
    }

    /// To be shown to the owner and to nobody else.
    pub fn text(&self) -> &str {
        &self.0
    }
}

fn is_proquint(word: &str) -> bool {
    const LETTERS: [&[u8]; 5] = [CONSONANTS, VOWELS, CONSONANTS, VOWELS, CONSONANTS];
    word.len() == LETTERS.len() && word.bytes().zip(LETTERS).all(|(letter, ours)| ours.contains(&letter))
}

/// That this box belongs to a group.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Group {
    #[n(0)]
    version: u32,
    #[cbor(n(1), with = "minicbor::bytes")]
    secret: [u8; 32],
    #[n(2)]
    role: u32,
    /// Boxes that the owner has unpaired: they know the words, and stay out.
    #[n(3)]
    left_out: Vec<Id>,
}

#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
struct Id(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]);

impl Group {
    /// Of those who know the words. The others are at most `role` for us.
    pub fn new(words: &Words, role: Role) -> Self {
        let secret = blake3::derive_key("kith 2026 group v1", words.0.as_bytes());
        Self { version: FORMAT_VERSION, secret, role: role_code(role), left_out: Vec::new() }
    }

    /// Reads the file's content; nothing when it is not ours.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let group: Self = minicbor::decode(bytes).ok()?;
        let is_ours = group.version == FORMAT_VERSION
            && role_of(group.role).is_some()
            && group.left_out.len() <= PAIRED_MAX;
        is_ours.then_some(group)
    }

    /// The file's content.
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("invariant: writing to a Vec does not fail")
    }

    /// What its members prove to each other that they know.
    pub fn code(&self) -> Code {
        Code::of_group(&self.secret)
    }

    /// What the others are to us, at most.
    pub fn role(&self) -> Role {
        role_of(self.role).unwrap_or(Role::Neighbour)
    }

    /// Whether a box may come in by the words.
    pub fn admits(&self, id: &NodeId) -> bool {
        !self.left_out.contains(&Id(*id.as_bytes()))
    }

    /// A box was unpaired by the owner: the words help it no more.
    pub fn leave_out(&mut self, id: &NodeId) {
        if self.admits(id) {
            self.left_out.truncate(PAIRED_MAX - 1);
            self.left_out.insert(0, Id(*id.as_bytes()));
        }
    }

    /// The owner has paired a box by hand that was left out.
    pub fn let_in(&mut self, id: &NodeId) {
        self.left_out.retain(|out| out.0 != *id.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words() -> Words {
        Words::parse("lusab babad gutih tugad mudof sakat").expect("six words")
    }

    #[test]
    fn words_are_read_however_they_are_typed_and_none_that_were_made_up() {
        assert!(Words::parse(" LUSAB-babad gutih--tugad mudof sakat ") == Some(words()));
        for typed in ["", "lusab", "lusab babad gutih tugad mudof", "my dog is called rex always"] {
            assert!(Words::parse(typed).is_none(), "{typed}");
        }
        assert!(Words::parse("lusab babad gutih tugad mudof sakat babad").is_none());
        let drawn = Words::draw(&SystemRandom::new()).expect("random");
        assert!(Words::parse(drawn.text()) == Some(drawn.clone()));
        assert!(Words::draw(&SystemRandom::new()) != Some(drawn));
    }

    #[test]
    fn the_same_words_make_the_same_code_and_other_words_another() {
        let of = |words| Group::new(&words, Role::Mine).code();
        assert!(of(words()) == of(words()));
        let others = Words::parse("lusab babad gutih tugad mudof sakab").expect("six words");
        assert!(of(words()) != of(others));
    }

    #[test]
    fn who_was_unpaired_stays_out_until_paired_by_hand() {
        let mut group = Group::new(&words(), Role::Neighbour);
        let id = |number: u64| NodeId::from_bytes(*blake3::hash(&number.to_be_bytes()).as_bytes());
        group.leave_out(&id(1));
        group.leave_out(&id(1));
        assert!(!group.admits(&id(1)) && group.admits(&id(2)));
        let read = Group::from_bytes(&group.to_bytes()).expect("ours");
        assert!(read == group && read.role() == Role::Neighbour);
        group.let_in(&id(1));
        assert!(group.admits(&id(1)));
        (0..2 * PAIRED_MAX as u64).for_each(|number| group.leave_out(&id(number)));
        assert!(Group::from_bytes(&group.to_bytes()).is_some(), "bounded");
    }

    proptest! {
        #[test]
        fn no_file_content_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Group::from_bytes(&bytes);
        }
    }
}
