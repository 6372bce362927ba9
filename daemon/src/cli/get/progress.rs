//! What the user sees of a download: a bar on a terminal, JSON lines for programs, nothing else.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::bar::{Bar, State};
use crate::cli::control::Control;
use crate::cli::human::Bytes;
use crate::cli::say;

/// How often JSON lines and the sources are renewed.
const TICK: Duration = Duration::from_millis(500);

/// Between two looks at a job that is about to end.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long the box is waited for after the last byte.
const FILED_WITHIN: Duration = Duration::from_secs(5);

/// Bytes by source, as the box counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources(pub(super) Vec<(String, u64)>);

impl Sources {
    /// From `{"origin": 1, "neighbour": 2}`.
    pub(super) fn read(value: &Value) -> Self {
        let counts = value.as_object().into_iter().flatten();
        Self(counts.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect())
    }

    /// For a line of text.
    pub(super) fn text(&self) -> String {
        let named = |(name, bytes): &(String, u64)| format!("{name} {}", Bytes(*bytes));
        self.0.iter().filter(|(_, bytes)| *bytes > 0).map(named).collect::<Vec<_>>().join(", ")
    }

    /// For a line of JSON.
    pub(super) fn json(&self) -> Value {
        let mut counts = serde_json::Map::new();
        counts.extend(self.0.iter().map(|(name, bytes)| (name.clone(), Value::from(*bytes))));
        Value::Object(counts)
    }
}

/// Tells about one download.
pub(super) struct Progress {
    bar: Bar,
    length: Option<u64>,
    json: bool,
    begun: Instant,
    bytes_before: u64,
    told_at: Instant,
    sources: Sources,
    // what the bar says of them
    message: String,
}

impl Progress {
    /// A bar that hides itself when standard error is no terminal, or JSON lines.
    pub(super) fn new(json: bool) -> Self {
        let bar = if json { Bar::hidden() } else { Bar::new() };
        let now = Instant::now();
        Self {
            bar,
            length: None,
            json,
            begun: now,
            bytes_before: 0,
            told_at: now,
            sources: Sources::default(),
            message: String::new(),
        }
    }

    /// A part was there already.
    pub(super) fn resumed(&mut self, bytes: u64) {
        self.bytes_before = bytes;
        self.bar.resume(bytes);
    }

    /// How long it will be.
    pub(super) fn length(&mut self, length: Option<u64>) {
        self.length = length.or(self.length);
    }

    /// How far it is; asks the box for the sources now and then.
    pub(super) async fn advance(&mut self, bytes: u64, watch: Option<&Watch<'_>>) {
        self.bar.draw(State { bytes, length: self.length, message: &self.message });
        if self.told_at.elapsed() < TICK {
            return;
        }
        self.told_at = Instant::now();
        if let Some(watch) = watch {
            self.look(watch).await;
        }
        if self.json {
            let rate = self.rate(bytes);
            let line = json!({"type": "progress", "bytes": bytes, "length": self.length, "rate": rate,
                "sources": self.sources.json()});
            say!("{line}");
        }
    }

    /// Asks the box where the bytes come from.
    pub(super) async fn look(&mut self, watch: &Watch<'_>) {
        if let Some(sources) = watch.sources().await {
            self.message = sources.text();
            self.sources = sources;
        }
    }

    /// Waits until the box has filed what it delivered: then it knows its digest and where it came from.
    pub(super) async fn settle(&mut self, watch: &Watch<'_>) {
        let filed = async {
            while watch.is_running().await {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        // A slow disk may take longer; the download itself is complete.
        let _ = tokio::time::timeout(FILED_WITHIN, filed).await;
        self.look(watch).await;
    }

    /// What the last look saw.
    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Bytes a second of this run.
    pub(super) fn rate(&self, bytes: u64) -> u64 {
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        bytes.saturating_sub(self.bytes_before).saturating_mul(1000) / millis
    }

    /// Seconds of this run.
    pub(super) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.bar.clear();
    }
}

/// Looks at the box's job for a URL.
pub(super) struct Watch<'a> {
    /// The box.
    pub(super) control: &'a Control,
    /// The URL in its canonical form.
    pub(super) url: String,
}

impl Watch<'_> {
    async fn is_running(&self) -> bool {
        let Ok(answer) = self.control.get("/api/v1/jobs").await else { return false };
        answer["jobs"].as_array().into_iter().flatten().any(|job| self.is_about(job))
    }

    fn is_about(&self, job: &Value) -> bool {
        job.get("url").and_then(Value::as_str) == Some(&self.url)
    }

    /// Of the running job, or of the one that ended last.
    async fn sources(&self) -> Option<Sources> {
        let answer = self.control.get("/api/v1/jobs").await.ok()?;
        let all = ["jobs", "ended"].into_iter().filter_map(|list| answer.get(list)?.as_array());
        all.flatten().find(|job| self.is_about(job))?.get("sources").map(Sources::read)
    }
}
