//! The studies: each a table, as `README.md` shows it.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kith_model::limits::FILTER_MINOR_TIMES;
use kith_neighbour::gathering::Gathering;

use crate::numbers::{as_f64, ratio, whole};
use crate::options::Options;
use crate::plot::{Curve, Plot};
use crate::rivals::{Hours, Lru, S3Fifo, TinyLfu};
use crate::shelf::{Cache, Shelf};
use crate::street::{Asking, Copies, Report, Setting, run, run_central};
use crate::trace::Trace;

fn header(columns: &[&str]) {
    println!("| {} |", columns.join(" | "));
    println!("|{}", "---|".repeat(columns.len()));
}

fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A neighbourhood in full, beside the same requests at one cache and with asking everybody.
pub(crate) fn one(options: &Options) {
    let trace = Trace::new(&options.habits, options.setting.seed);
    let started = Instant::now();
    let kith = run(&trace, &options.setting);
    let central = run_central(&trace, &options.setting);
    let asking = Setting { asking: Asking::Everybody, ..options.setting.clone() };
    let everybody = run(&trace, &asking);
    let alone = run(&trace, &Setting { asking: Asking::Nobody, ..options.setting.clone() });
    println!(
        "{} boxes, {} requests, {} titles; all shelves together {} of them\n",
        options.habits.boxes,
        trace.requests.len(),
        options.habits.titles,
        percent(options.room())
    );
    header(&["", "Kith", "one cache", "asking everybody", "each alone"]);
    let all = [&kith, &central, &everybody, &alone];
    let line = |name: &str, figure: &dyn Fn(&Report) -> String| {
        let mut cells = vec![name.to_owned()];
        cells.extend(all.iter().map(|report| figure(report)));
        row(&cells);
    };
    line("hit ratio, what may be shared", &|report| percent(report.shared_hit_ratio()));
    line("hit ratio, all requests", &|report| percent(report.hit_ratio()));
    line("hit ratio, bytes", &|report| percent(report.byte_hit_ratio()));
    line("hits on the own shelf", &|report| percent(ratio(report.local_hits, report.requests)));
    line("copies over the uplink", &|report| format!("{:.3}", report.uplink_copies()));
    line("messages a request", &|report| format!("{:.3}", report.messages_a_request()));
    line("questions, filters", &|report| format!("{}, {}", report.questions, report.filters));
    line("filter bytes a request", &|report| format!("{:.0}", ratio(report.filter_bytes, report.requests)));
    line("asked in vain", &|report| report.false_hits.to_string());
    line("copies an object", &|report| format!("{:.2}", report.copies_an_object()));
    line("bytes written a byte served", &|report| format!("{:.3}", report.written()));
    line("fairness", &|report| format!("{:.2}", report.fairness()));
    line("slowest 5 % of shared downloads", &|report| format!("{:.2}", report.slowdown_p95()));
    eprintln!("{:.1} s", started.elapsed().as_secs_f64());
}

/// Which rule of eviction: one cache, several sizes.
pub(crate) fn policies(options: &Options) {
    let trace = Trace::new(&options.habits, options.setting.seed);
    header(&["room", "rule", "hit ratio", "hit ratio, bytes", "bytes written a byte served"]);
    for share in [0.02, 0.05, 0.1, 0.2] {
        let titles = as_f64(options.habits.titles as u64) * options.habits.mean_bytes();
        let bytes_max = whole(titles * share);
        let caches: [(&str, Box<dyn Cache>); 5] = [
            ("LRU", Box::new(Lru::new(bytes_max))),
            ("hours (before)", Box::new(Hours::new(bytes_max))),
            ("S3-FIFO", Box::new(S3Fifo::new(bytes_max))),
            ("W-TinyLFU", Box::new(TinyLfu::new(bytes_max))),
            ("Kith", Box::new(Shelf::new(bytes_max))),
        ];
        for (name, mut cache) in caches {
            let (hits, bytes, written) = replay(&trace, cache.as_mut());
            row(&[percent(share), name.to_owned(), percent(hits), percent(bytes), format!("{written:.3}")]);
        }
    }
}

/// Hit ratio, that of bytes, and bytes written for each served, in the second half.
fn replay(trace: &Trace, cache: &mut dyn Cache) -> (f64, f64, f64) {
    let (mut count, mut hits, mut bytes, mut hit_bytes) = (0, 0, 0, 0);
    for request in &trace.requests {
        let ware = &trace.wares[request.ware];
        let hour = 490_000 + u32::try_from(request.at_ms / 3_600_000).expect("some years at most");
        let hit = cache.uses(&ware.id, hour);
        if !hit {
            cache.keeps(ware.id, ware.length, hour);
        }
        if request.at_ms >= trace.end_ms / 2 {
            count += 1;
            bytes += ware.length;
            hits += u64::from(hit);
            hit_bytes += u64::from(hit) * ware.length;
        }
    }
    (ratio(hits, count), ratio(hit_bytes, bytes), 1.0 - ratio(hit_bytes, bytes))
}

/// How long changes are gathered before neighbours are told: the rule, the rule with parts of it undone, other times.
pub(crate) fn gathering(options: &Options) {
    let trace = Trace::new(&options.habits, options.setting.seed);
    let everybody = run(&trace, &Setting { asking: Asking::Everybody, ..options.setting.clone() });
    header(&[
        "gathered for",
        "what matters little",
        "hit ratio",
        "lost by waiting",
        "bytes",
        "messages a request",
        "fewer than asking everybody",
    ]);
    let try_out = |file: Duration, minor: Duration| {
        let setting = options.setting.clone();
        let report = run(&trace, &Setting { gather_file: Some(file), gather_minor: Some(minor), ..setting });
        let minutes = |time: Duration| format!("{:.0} min", time.as_secs_f64() / 60.0);
        row(&[
            minutes(file),
            minutes(minor),
            percent(report.shared_hit_ratio()),
            format!("{:.2} points", (everybody.shared_hit_ratio() - report.shared_hit_ratio()) * 100.0),
            format!("{:.2} points", (everybody.byte_hit_ratio() - report.byte_hit_ratio()) * 100.0),
            format!("{:.3}", report.messages_a_request()),
            format!("{:.1}x", everybody.messages_a_request() / report.messages_a_request()),
        ]);
    };
    let rule = Gathering::among(options.habits.boxes.min(options.setting.neighbours_max + 1) - 1);
    try_out(rule.file, rule.minor);
    for minutes in [0, 1, 5, 10, 20, 30, 60, 120, 240, 480] {
        let file = Duration::from_mins(minutes);
        try_out(file, file);
        try_out(file, file * FILTER_MINOR_TIMES);
    }
}

/// Boxes that come and go, lie, or are slow; and the rules without their parts.
pub(crate) fn trouble(options: &Options) {
    header(&[
        "",
        "hit ratio",
        "of bytes",
        "one cache",
        "copies over the uplink",
        "copies an object",
        "written",
        "fairness",
        "slowest 5 %",
        "strikes",
    ]);
    let with = |name: &str, change: &dyn Fn(&mut Options)| {
        let mut options = options.clone();
        change(&mut options);
        let trace = Trace::new(&options.habits, options.setting.seed);
        let report = run(&trace, &options.setting);
        let central = run_central(&trace, &options.setting);
        row(&[
            name.to_owned(),
            percent(report.shared_hit_ratio()),
            percent(report.byte_hit_ratio()),
            percent(central.shared_hit_ratio()),
            format!("{:.3}", report.uplink_copies()),
            format!("{:.2}", report.copies_an_object()),
            format!("{:.2}", report.written()),
            format!("{:.2}", report.fairness()),
            format!("{:.2}", report.slowdown_p95()),
            report.strikes.to_string(),
        ]);
    };
    with("nothing wrong", &|_| {});
    with("copies not counted", &|options| options.setting.copies = Copies::Ignored);
    with("boxes off a fifth of the time", &|options| options.habits.away = 0.2);
    with("each tenth box lies", &|options| options.setting.liars = 0.1);
    with("each fifth box slow", &|options| options.setting.slow = 0.2);
    with("all of these", &|options| {
        options.habits.away = 0.2;
        options.setting.liars = 0.1;
        options.setting.slow = 0.2;
    });
}

/// The curve over the count of boxes.
pub(crate) fn curve(options: &Options) -> Result<()> {
    header(&[
        "boxes",
        "requests",
        "hit ratio",
        "one cache",
        "asking everybody",
        "each alone",
        "messages a request",
        "fewer",
        "copies over the uplink",
        "copies an object",
        "written",
        "fairness",
        "slowest 5 %",
    ]);
    let mut curves =
        [Curve::new("one cache of the summed size"), Curve::new("Kith"), Curve::new("each box alone")];
    let sizes = [2, 4, 8, 16, 30, 64, 125, 250, 500, 1000];
    for boxes in sizes.into_iter().filter(|boxes| *boxes <= options.boxes_max) {
        let started = Instant::now();
        let options = options.with_boxes(boxes);
        let trace = Trace::new(&options.habits, options.setting.seed);
        let kith = run(&trace, &options.setting);
        let central = run_central(&trace, &options.setting);
        let everybody = run(&trace, &Setting { asking: Asking::Everybody, ..options.setting.clone() });
        let alone = run(&trace, &Setting { asking: Asking::Nobody, ..options.setting.clone() });
        for (curve, report) in curves.iter_mut().zip([&central, &kith, &alone]) {
            curve.points.push((as_f64(boxes as u64), report.shared_hit_ratio()));
        }
        row(&[
            boxes.to_string(),
            trace.requests.len().to_string(),
            percent(kith.shared_hit_ratio()),
            percent(central.shared_hit_ratio()),
            percent(everybody.shared_hit_ratio()),
            percent(alone.shared_hit_ratio()),
            format!("{:.2}", kith.messages_a_request()),
            format!("{:.1}x", everybody.messages_a_request() / kith.messages_a_request()),
            format!("{:.3}", kith.uplink_copies()),
            format!("{:.2}", kith.copies_an_object()),
            format!("{:.2}", kith.written()),
            format!("{:.2}", kith.fairness()),
            format!("{:.2}", kith.slowdown_p95()),
        ]);
        eprintln!("{boxes} boxes: {:.0} s", started.elapsed().as_secs_f64());
        // After each, so that a run that is stopped has what it came to.
        if let Some(path) = &options.plot {
            let plot = Plot { title: "Hits of what may be shared", across: "boxes", curves: &curves };
            fs::write(path, plot.svg()).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}
