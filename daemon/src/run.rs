//! `kith run`.
use crate::cli::exit::{Exit, Failure};
use crate::config::Loaded;

pub(crate) fn run(_loaded: &Loaded, _filter: String) -> Result<Exit, Failure> {
    Ok(Exit::Ok)
}
