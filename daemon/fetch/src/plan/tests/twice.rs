//! What a guess may cost.

use super::*;

/// 20 MB.
const SMALL: u64 = 1221;

/// 256 KiB: more than a hundredth of it.
const GRAIN: u64 = 16;

/// The last piece before the end.
const LAST: u64 = SMALL / GRAIN * GRAIN;

/// Between two pieces: 5 MB/s.
const PIECE_TIME: Duration = Duration::from_millis(52);

/// A download of which the origin has sent its part, and a mirror everything but its last whole piece; and when it sent
/// what it did.
fn nearly_through() -> (Plan, Duration) {
    let mut plan = Plan::new(Some(SMALL), GroupSet::new(), 1);
    plan.readers(all(SMALL));
    let mirror = Facts { lanes_max: 2, grain: GRAIN, ..Facts::of(Place::Mirror) };
    let origin = plan.source_added(Facts { lanes_max: 3, ..Facts::of(Place::Far) });
    let mirror = plan.source_added(mirror);
    let middle = LAST - 10 * GRAIN;
    let first = plan.lane_given(origin, GroupSpan::clamped(0, middle), Duration::ZERO);
    let second = plan.lane_given(mirror, GroupSpan::clamped(middle, SMALL), Duration::ZERO);
    let mut now = Duration::ZERO;
    for step in 0..9 {
        now += PIECE_TIME;
        let part = middle / 9;
        let end = if step == 8 { middle } else { (step + 1) * part };
        plan.delivered(first, GroupSpan::clamped(step * part, end), now);
        plan.delivered(second, GroupSpan::clamped(middle + step * GRAIN, middle + (step + 1) * GRAIN), now);
    }
    plan.lane_ended(first, Ending::Done, now);
    (plan, now)
}

/// Whether somebody is asked for what the mirror is sending, at some time until then.
fn is_asked_again(plan: &mut Plan, (from, until): (Duration, Duration)) -> bool {
    let begun = GroupSpan::clamped(LAST - GRAIN, LAST);
    let mut now = from;
    while now < until {
        while let Some(action) = plan.poll(now) {
            if matches!(action, Action::Open { span, .. } if !span.intersection(begun).is_empty()) {
                return true;
            }
        }
        now += STEP;
    }
    false
}

/// It came twice whenever a mirror paused for longer than it usually does: 1.25 % of the file each time.
#[test]
fn a_piece_that_is_more_than_a_hundredth_is_not_asked_of_two_when_its_source_only_pauses() {
    let (mut plan, now) = nearly_through();
    assert!(!is_asked_again(&mut plan, (now, now + Duration::from_millis(450))));
}

#[test]
fn a_piece_of_a_source_that_hangs_is_asked_of_another_all_the_same() {
    let (mut plan, now) = nearly_through();
    assert!(is_asked_again(&mut plan, (now, now + Duration::from_millis(700))));
}

#[test]
fn all_guesses_together_cost_a_hundredth() {
    let mut plan = Plan::new(Some(SMALL), GroupSet::new(), 1);
    let mut spent = 0.0;
    while plan.affords(1.0) {
        plan.pay(1.0);
        spent += 1.0;
        assert!(spent * 100.0 <= as_f64(SMALL), "{spent}");
    }
    assert!(spent > 10.0, "{spent}");
}
