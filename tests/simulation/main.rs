//! Many boxes in virtual time: what the shelf's policy, the filters and the plan come to in a neighbourhood.
//!
//! `README.md` has the commands, the tables and what they say. Everything comes from a seed; small runs are the tests of
//! this program.

mod carry;
mod chance;
mod numbers;
mod options;
mod plot;
mod rivals;
mod shelf;
mod street;
mod studies;
#[cfg(test)]
mod tests;
mod trace;

use anyhow::{Result, bail};

use crate::options::Options;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let study = words.next().unwrap_or_else(|| "one".to_owned());
    let options = Options::parse(words)?;
    if cfg!(debug_assertions) {
        eprintln!("not built with --release: this takes long");
    }
    match study.as_str() {
        "one" => studies::one(&options),
        "policies" => studies::policies(&options),
        "gathering" => studies::gathering(&options),
        "trouble" => studies::trouble(&options),
        "curve" => studies::curve(&options)?,
        _ => bail!("there is no study {study:?}; there are one, policies, gathering, trouble, curve"),
    }
    Ok(())
}
