//! Who else holds what this box may soon throw away.
//!
//! Neighbours have told by their filters what they may be asked for; who of all holders keeps an object longest is
//! reckoned by each box for itself ([`precedence`]). Nothing is asked and nothing is said. What is wrong with a filter
//! costs little: one in a hundred is taken for a copy that is none, and a filter so dense that it hits everything is not
//! believed. A box that lies can make others throw away what they would have thrown away a little later.

use kith_model::object::ObjectId;
use kith_model::shelf::{Copies, precedence};
use kith_model::trust::Role;

use crate::room::Room;

/// How many other boxes hold an object.
pub(crate) fn count(room: &Room, object: &ObjectId) -> Copies {
    let subjects = room.shelf.subjects(object);
    let mut copies = Copies::default();
    if subjects.is_empty() {
        return copies;
    }
    let ours = precedence(object, room.identity.id().as_bytes());
    let mut ahead_elsewhere = 0u32;
    for session in room.sessions.all() {
        let Some((role, _)) = room.registry.paired(&session.key) else { continue };
        if !session.ear().surely_holds(&subjects) {
            continue;
        }
        match role {
            _ if precedence(object, session.id.as_bytes()) < ours => copies.behind += 1,
            Role::Mine => copies.ahead += 1,
            Role::Neighbour => ahead_elsewhere += 1,
        }
    }
    // Of other households a download needs two claims (DESIGN section 5): the first copy there alone replaces none.
    copies.ahead += ahead_elsewhere.saturating_sub(1);
    copies
}
