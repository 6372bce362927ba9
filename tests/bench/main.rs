//! Kith beside its yardsticks: nginx, curl straight to the origin, plain TCP.
//!
//! Prints figures and their ratios and asserts nothing but the size of the router's build, which no machine changes: a
//! figure depends on the machine, a ratio of two things that were measured in turn in the same minutes far less. What
//! is measured, and how to read it, is in `README.md`.

mod figures;
mod first_byte;
mod heads;
mod hits;
mod idle;
mod lan;
mod load;
mod memory;
mod miss;
mod mixed;
mod multi;
mod never_slower;
mod nginx;
mod size;

use anyhow::{Result, bail};

/// A bench and its name.
type Bench = (&'static str, fn() -> Result<()>);

/// What can be asked for, in the order of `all`.
const BENCHES: [Bench; 10] = [
    ("size", size::measure),
    ("memory", memory::measure),
    ("heads", heads::measure),
    ("hits", hits::measure),
    ("miss", miss::measure),
    ("first-byte", first_byte::measure),
    ("lan", lan::measure),
    ("multi", multi::measure),
    ("never-slower", never_slower::measure),
    ("idle", idle::measure),
];

fn main() -> Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.is_empty() || words.iter().any(|word| word == "all") {
        words = BENCHES.iter().map(|(name, _)| (*name).to_owned()).collect();
    }
    if cfg!(debug_assertions) {
        eprintln!("not built with --release: these figures say nothing");
    }
    for word in &words {
        let Some((_, measure)) = BENCHES.iter().find(|(name, _)| name == word) else {
            bail!(
                "there is no bench {word:?}; there are {}, and `all` of them",
                BENCHES.map(|(name, _)| name).join(", ")
            );
        };
        measure()?;
    }
    Ok(())
}
