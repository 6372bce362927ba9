//! The page that a visitor from another website gets instead of what its link asked for. Nothing has been fetched or
//! looked up yet; following the link on it is the visitor's own act.

use super::{About, filled};

/// `place` is the path and query that were asked for.
pub(super) fn link(about: &About, place: &str) -> String {
    let shown = place.strip_prefix('/').unwrap_or(place);
    filled(include_str!("link.html"), &[("name", &about.name), ("place", place), ("shown", shown)])
}
