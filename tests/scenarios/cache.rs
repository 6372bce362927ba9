//! RFC 9111 and its companions as a table: what an origin answers, what clients ask, how often the origin is asked and
//! what the clients get. One line a case, one file a section, every case by the proxy and by the prefix.
//!
//! # How to read a line
//! Four columns: what it shows; the origin's answers in order; the requests in order; what is expected of each.
//! Several of a kind are separated by ` || `, fields by ` | `.
//! - An answer begins with its status when that is not 200; `close` says nothing and closes. `:chunked` and `:close`
//!   say how the content ends, `:body=text` what it is, `:no-date` leaves the date out. `{-60}` and `{+60}` are dates
//!   so many seconds from now, `{path}` is the path of the case.
//! - A request begins with its method when that is not GET, and `/x` after it asks for another path beneath.
//! - Expected is first where it came from: `asked` (the origin, asked plainly), `checked` (the origin was asked whether
//!   the stored one holds; after its 304 that is what comes), `hit` (the store alone), `stale` (the store, though the
//!   origin was asked in vain), `none` (nobody). `hit#1` is the first answer's content. Then, in any order: `=404` the
//!   status; `+name:value` and `-name` fields of the answer; `~name:text` a field that has the text in it; `?name:text`
//!   and `!name` the same of what the origin was asked; `age>=5`; `later:2` the origin will have
//!   been asked twice; `empty` and `part` the content is not all of it. `~` in a value is a space.
//! - A line whose name begins with `proxy:` or `prefix:` is for that form alone.

mod cache {
    pub(crate) mod credentials;
    pub(crate) mod directives;
    pub(crate) mod expires;
    pub(crate) mod fields;
    pub(crate) mod freshness;
    pub(crate) mod head;
    pub(crate) mod invalidation;
    pub(crate) mod line;
    pub(crate) mod partial;
    pub(crate) mod requests;
    pub(crate) mod selection;
    pub(crate) mod stale;
    pub(crate) mod statuses;
    pub(crate) mod storing;
    pub(crate) mod targeted;
    pub(crate) mod validation;
}

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use cache::line::{Case, Door, Stage};
use kith_tests::kith::Kith;
use kith_tests::script::Scripted;

/// Cases that run at once: each waits for the box most of its time.
const AT_ONCE: usize = 6;

const TABLES: [(&str, &[Case]); 15] = [
    ("storing", cache::storing::CASES),
    ("statuses", cache::statuses::CASES),
    ("fields", cache::fields::CASES),
    ("partial", cache::partial::CASES),
    ("credentials", cache::credentials::CASES),
    ("selection", cache::selection::CASES),
    ("freshness", cache::freshness::CASES),
    ("expires", cache::expires::CASES),
    ("stale", cache::stale::CASES),
    ("validation", cache::validation::CASES),
    ("invalidation", cache::invalidation::CASES),
    ("head", cache::head::CASES),
    ("requests", cache::requests::CASES),
    ("directives", cache::directives::CASES),
    ("targeted", cache::targeted::CASES),
];

#[test]
fn every_case_of_the_table_is_answered_as_it_says_by_proxy_and_by_prefix() -> Result<()> {
    let (origin, kith) = (Scripted::start()?, Kith::start_one("box")?);
    let cases: Vec<_> = TABLES
        .iter()
        .flat_map(|(table, cases)| cases.iter().map(move |case| (*table, case)))
        .flat_map(|(table, case)| [(table, case, Door::Proxy), (table, case, Door::Prefix)])
        .filter(|(_, case, door)| case.is_for(*door))
        .collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));

    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((table, case, door)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let stage = Stage { kith: &kith, origin: &origin, door: *door };
                    if let Err(error) = stage.play(case) {
                        let line = format!("{table}: {} by {door:?}: {error:#}", case.0);
                        wrong.lock().expect("nobody panics").push(line);
                    }
                }
            });
        }
    });

    let wrong = wrong.into_inner().expect("nobody panics");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    let lines: usize = TABLES.iter().map(|(_, cases)| cases.len()).sum();
    assert!(lines >= 150, "only {lines} cases");
    Ok(())
}
