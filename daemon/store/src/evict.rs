//! What an object is worth: how long after its last use it stays on the shelf, by how often it was used.

use crate::tables::Access;

/// Hours of further stay for each doubling of the count of uses. A scan that touches everything once moves nothing
/// that was used twice within a day.
const HOURS_PER_DOUBLING: u32 = 24;
/// Most hours of further stay: a week.
const STAY_HOURS_MAX: u32 = 7 * 24;
/// After this many hours without use half of the count is forgotten.
const FORGET_AFTER_HOURS: u32 = 7 * 24;

/// The access of an object that has just arrived.
pub(crate) fn first_access(hour: u32) -> Access {
    Access { worth_until_hour: hour, last_hour: hour, count: 1 }
}

/// The access after `count` further uses in the hours up to `hour`.
pub(crate) fn accessed(before: Access, hour: u32, count: u32) -> Access {
    let idle_hours = hour.saturating_sub(before.last_hour);
    let halvings = (idle_hours / FORGET_AFTER_HOURS).min(31);
    let count = (before.count >> halvings).saturating_add(count).max(1);
    let stay_hours = (count.ilog2() * HOURS_PER_DOUBLING).min(STAY_HOURS_MAX);
    Access { worth_until_hour: hour.saturating_add(stay_hours), last_hour: hour, count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_again_outlives_what_was_used_once() {
        let once_later = first_access(1020);
        let twice = accessed(first_access(1000), 1000, 1);
        assert!(twice.worth_until_hour > once_later.worth_until_hour);
        let often = accessed(twice, 1000, 1000);
        assert_eq!(often.worth_until_hour, 1000 + STAY_HOURS_MAX);
    }

    #[test]
    fn old_fame_fades() {
        let famous = accessed(first_access(0), 0, 255);
        let faded = accessed(famous, 4 * FORGET_AFTER_HOURS, 1);
        assert_eq!(faded.count, 256 / 16 + 1);
        assert_eq!(accessed(famous, u32::MAX, u32::MAX).worth_until_hour, u32::MAX);
    }
}
