//! Who else holds what this box may soon throw away: what neighbours have told by their filters. Nothing is asked.
//!
//! Only second copies are looked for, so what is wrong costs little: of what a filter hits by chance a copy is thrown away
//! that nobody else has, which came from next door a while ago and was not asked for since. A filter so dense that it hits
//! everything is not believed.

use kith_model::object::ObjectId;
use kith_model::trust::Role;

use crate::room::Room;

/// How many other boxes hold an object, as far as it can be had from them again.
pub(crate) fn count(room: &Room, object: &ObjectId) -> u32 {
    let subjects = room.shelf.subjects(object);
    if subjects.is_empty() {
        return 0;
    }
    let (mut mine, mut others) = (0, 0u32);
    for session in room.sessions.all() {
        if !session.ear().surely_holds(&subjects) {
            continue;
        }
        match room.registry.paired(&session.key) {
            Some((Role::Mine, _)) => mine += 1,
            Some((Role::Neighbour, _)) => others += 1,
            None => {}
        }
    }
    // Of other households a download needs two claims (DESIGN section 5): one copy there alone replaces none.
    mine + others.saturating_sub(1)
}
