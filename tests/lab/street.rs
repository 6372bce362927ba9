//! A street that gets its power back: thirty boxes start at once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kith_tests::lab::Street;

/// Two cores for thirty boxes, and for other tests; the promise itself is 10 s, and `bench -- idle` measures it.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn thirty_boxes_that_start_at_once_find_each_other() -> Result<()> {
    let street = Street::of(30)?;
    let began = Instant::now();
    street.wait_seen(LIMIT)?;
    println!("all 30 see all others {:.1?} after the last had started", began.elapsed());
    let name = |number: usize| street.boxes[number].name().to_owned();
    for (number, kith) in street.boxes.iter().enumerate() {
        let views = kith.neighbours()?;
        ensure!(views.len() == 29, "{} sees {}", name(number), views.len());
        let is_other = views.iter().all(|view| view["name"] != *name(number));
        ensure!(is_other, "{} sees itself", name(number));
    }
    Ok(())
}
