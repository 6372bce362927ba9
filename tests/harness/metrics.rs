//! Prometheus text as numbers.

use std::collections::BTreeMap;

/// What a box counted.
#[derive(Clone, Debug, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Takes the text apart; lines that are no sample are skipped.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        Self(
            samples
                .filter_map(|line| line.rsplit_once(' '))
                .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
                .collect(),
        )
    }

    /// A sample by its full name, labels included as written; 0 when it is not there.
    pub fn value(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// A count of whole things.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counters are whole and positive"
    )]
    pub fn count(&self, name: &str) -> u64 {
        self.value(name) as u64
    }

    /// Bytes given to clients that came from there.
    pub fn served(&self, source: &str) -> u64 {
        self.count(&format!("kith_bytes_served_total{{source=\"{source}\"}}"))
    }

    /// Whether there is such a sample.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
