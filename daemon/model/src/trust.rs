//! Who may deliver which bytes, and when a client may see them: the table of roles against what the origin published.
//!
//! Claims are counted by box and per object: bytes are proven to belong to the object that was claimed, whoever sends
//! them, so trust belongs to the object and not to the sender. Knows no claim and no box, only how many say the same.

use crate::key::{Scheme, Target};
use crate::ladder::{Ladder, Strength};
use crate::sharing::Audience;

/// What a paired box is to us, from the nearest to the farthest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A box of the same household.
    Mine,
    /// A box of another household.
    Neighbour,
}

/// Text that names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is \"mine\" or \"neighbour\"")]
pub struct UnknownRole;

impl Role {
    /// From the command line or a page.
    pub fn parse(text: &str) -> Result<Self, UnknownRole> {
        match text {
            "mine" => Ok(Role::Mine),
            "neighbour" => Ok(Role::Neighbour),
            _ => Err(UnknownRole),
        }
    }

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Mine => "mine",
            Role::Neighbour => "neighbour",
        }
    }

    /// Whom such a box belongs to, for what it may be told and asked.
    pub fn audience(self) -> Audience {
        match self {
            Role::Mine => Audience::Mine,
            Role::Neighbour => Audience::Neighbour,
        }
    }
}

/// What the origin published of an object that its bytes can be tied to, from the most to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Hashes of its pieces: bytes are checked as they come.
    Pieces,
    /// A digest of the whole: it is checked at the end.
    Digest,
    /// A strong validator and the length, over an authenticated channel.
    Validators,
    /// The same over plain http: anybody on the way may have said it.
    Hearsay,
}

impl Published {
    /// What a ladder anchors of what `target` answers.
    pub fn of(ladder: &Ladder, target: &Target) -> Self {
        match (ladder.anchor(), target.scheme()) {
            (Strength::Strong | Strength::Joint, _) => Published::Digest,
            (_, Scheme::Https) => Published::Validators,
            (_, Scheme::Http) => Published::Hearsay,
        }
    }
}

/// How many boxes claim the same object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claimants {
    /// Of the same household.
    pub mine: usize,
    /// Of others.
    pub neighbours: usize,
}

impl Claimants {
    /// Counts one more.
    pub fn count(&mut self, role: Role) {
        match role {
            Role::Mine => self.mine += 1,
            Role::Neighbour => self.neighbours += 1,
        }
    }
}

/// What may be done with the bytes of a claimed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Clients see them as they come.
    Stream,
    /// They fill what the origin has not sent yet, and clients see them when the whole was checked.
    HoldBack,
    /// They are not asked for.
    Never,
}

/// The table. Where boxes contradict each other nobody is to be believed: that is the caller's to see.
pub fn delivery(published: Published, claimants: Claimants) -> Delivery {
    match (published, claimants.mine, claimants.neighbours) {
        (_, 0, 0) | (Published::Validators, 0, 1) | (Published::Hearsay, 0, _) => Delivery::Never,
        // A box of ours fetched it as we would have: over plain http we would be no safer.
        (Published::Pieces, _, _) | (_, 1.., _) | (Published::Digest | Published::Validators, 0, 2..) => {
            Delivery::Stream
        }
        (Published::Digest, 0, 1) => Delivery::HoldBack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::{Algorithm, Digest, Rung, Teller};
    use crate::time::UnixMillis;

    #[test]
    fn the_table_of_roles_against_what_was_published() {
        use Delivery::{HoldBack, Never, Stream};
        let mine = Claimants { mine: 1, neighbours: 0 };
        let both = Claimants { mine: 1, neighbours: 1 };
        let one = Claimants { mine: 0, neighbours: 1 };
        let two = Claimants { mine: 0, neighbours: 2 };
        for (published, expected) in [
            (Published::Pieces, [Stream, Stream, Stream, Stream]),
            (Published::Digest, [Stream, Stream, HoldBack, Stream]),
            (Published::Validators, [Stream, Stream, Never, Stream]),
            (Published::Hearsay, [Stream, Stream, Never, Never]),
        ] {
            let found = [mine, both, one, two].map(|claimants| delivery(published, claimants));
            assert_eq!(found, expected, "{published:?}");
            assert_eq!(delivery(published, Claimants::default()), Never);
        }
    }

    #[test]
    fn only_what_was_told_over_an_authenticated_channel_is_an_anchor() {
        let check = |url: &str, rungs: &[(Algorithm, Teller)], expected| {
            let mut ladder = Ladder::default();
            for (algorithm, teller) in rungs {
                let digest = Digest::new(*algorithm, &vec![1; algorithm.digest_len()]).expect("right length");
                ladder.add(Rung { digest, teller: *teller, said_at: UnixMillis(0) }).expect("one of a kind");
            }
            let target = Target::parse(url).expect(url);
            assert_eq!(Published::of(&ladder, &target), expected, "{url} {rungs:?}");
        };
        let (http, https) = ("http://example.org/a", "https://example.org/a");
        let (by_http, by_https) = (Teller::Origin(Scheme::Http), Teller::Origin(Scheme::Https));
        check(http, &[], Published::Hearsay);
        check(https, &[], Published::Validators);
        check(http, &[(Algorithm::Sha256, by_http)], Published::Hearsay);
        check(https, &[(Algorithm::Sha256, by_http)], Published::Validators);
        check(https, &[(Algorithm::Sha256, Teller::Ourselves)], Published::Validators);
        check(https, &[(Algorithm::Sha256, by_https)], Published::Digest);
        check(http, &[(Algorithm::Sha512, Teller::Url)], Published::Digest);
        check(https, &[(Algorithm::Sha1, by_https)], Published::Validators);
        check(https, &[(Algorithm::Sha1, by_https), (Algorithm::Md5, by_https)], Published::Digest);
    }

    #[test]
    fn roles_are_written_as_they_are_read() {
        for role in [Role::Mine, Role::Neighbour] {
            assert_eq!(Role::parse(role.as_str()), Ok(role));
        }
        assert_eq!(Role::parse("Mine"), Err(UnknownRole));
    }
}
