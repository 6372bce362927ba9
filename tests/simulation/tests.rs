//! Small neighbourhoods: what must hold, each with its seed.

use crate::options::Options;
use crate::street::{Asking, Copies, Report, Setting, run, run_central};
use crate::trace::Trace;

/// Some boxes with small shelves, for two weeks.
fn small(boxes: usize) -> Options {
    let mut options = Options::of(boxes);
    options.habits.days = 14.0;
    options.habits.titles = 600 * boxes;
    options.shelf_objects = 60.0;
    options.setting.seed = 7;
    options.sized()
}

fn with(options: &Options, change: impl Fn(&mut Setting)) -> Report {
    let mut setting = options.setting.clone();
    change(&mut setting);
    run(&Trace::new(&options.habits, setting.seed), &setting)
}

fn kith(options: &Options) -> Report {
    with(options, |_| {})
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let options = small(3);
    let (one, other) = (kith(&options), kith(&options));
    assert!(one.requests > 500, "{one:?}");
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
    let another = with(&options, |setting| setting.seed = 8);
    assert_ne!(one.uplink_bytes, another.uplink_bytes);
}

#[test]
fn eight_boxes_are_almost_as_good_as_one_cache_of_the_summed_size() {
    let options = small(8);
    let trace = Trace::new(&options.habits, options.setting.seed);
    let (kith, central) = (kith(&options), run_central(&trace, &options.setting));
    let alone = with(&options, |setting| setting.asking = Asking::Nobody);
    let (ours, theirs) = (kith.shared_hit_ratio(), central.shared_hit_ratio());
    println!("{ours:.3} of {theirs:.3}, alone {:.3}", alone.shared_hit_ratio());
    assert!(ours > theirs - 0.02, "{ours:.3} of {theirs:.3}");
    assert!(ours > alone.shared_hit_ratio() + 0.1);
}

#[test]
fn filters_take_far_fewer_messages_than_asking_everybody_and_lose_little() {
    let options = small(16);
    let kith = kith(&options);
    let everybody = with(&options, |setting| setting.asking = Asking::Everybody);
    let fewer = everybody.messages_a_request() / kith.messages_a_request();
    println!("{fewer:.1}x, {:.3} of {:.3}", kith.shared_hit_ratio(), everybody.shared_hit_ratio());
    // 12.7 with this seed. The 25 that are wanted need more boxes and more traffic (README).
    assert!(fewer > 10.0, "{fewer:.1}");
    assert!(kith.shared_hit_ratio() > everybody.shared_hit_ratio() - 0.01);
}

#[test]
fn what_no_site_tells_a_digest_of_is_given_only_by_who_fetched_it_there() {
    let mut options = small(8);
    let with_digests = kith(&options);
    options.habits.digests = 0.0;
    let without = kith(&options);
    println!("{:.3} of {:.3}", without.shared_hit_ratio(), with_digests.shared_hit_ratio());
    assert!(without.near_hits > 0);
    assert!(without.filter_bytes < with_digests.filter_bytes, "second copies are not told of");
    // The copy that may be given is the first one, which is dearer, so nothing is lost.
    assert!(without.shared_hit_ratio() > with_digests.shared_hit_ratio() - 0.01);
}

#[test]
fn counting_copies_leaves_room_for_more_objects() {
    let options = small(8);
    let counted = kith(&options);
    let ignored = with(&options, |setting| setting.copies = Copies::Ignored);
    let figures = [counted.copies_an_object(), ignored.copies_an_object()];
    println!("{figures:?} {:.3} {:.3}", counted.shared_hit_ratio(), ignored.shared_hit_ratio());
    assert!(figures[0] < figures[1], "{figures:?}");
    assert!(counted.uplink_bytes < ignored.uplink_bytes);
}

#[test]
fn liars_and_slow_boxes_make_no_download_slower_and_are_banned() {
    let options = small(8);
    let report = with(&options, |setting| (setting.liars, setting.slow) = (0.2, 0.2));
    assert!(report.strikes > 0, "somebody was caught");
    assert!(report.strikes <= 3 * 8 * 7, "and then not asked any more");
    println!("{:.3}", report.slowdown_p95());
    assert!(report.slowdown_p95() <= 1.05, "{}", report.slowdown_p95());
}

#[test]
fn boxes_that_come_and_go_find_each_other_again() {
    let mut options = small(8);
    options.habits.away = 0.2;
    let report = kith(&options);
    assert!(report.near_hits > report.requests / 20, "{report:?}");
}
