//! Wiring.
use std::sync::Arc;

use kith_fetch::ask::Origin;

use crate::cli::exit::{Exit, Failure};
use crate::config::Loaded;

pub(crate) fn lone_origin(_loaded: &Loaded) -> Result<Arc<dyn Origin>, Failure> {
    Err(Failure::new(Exit::NoDaemon, "no"))
}
