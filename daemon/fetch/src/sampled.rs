//! A mirror without piece hashes, which has to show one group first.
//!
//! What such a mirror sends can be checked only when the whole is here, and a lie costs as much time as it took to send.
//! Most that lie do so everywhere: they hold an older version, another file, or a page of excuses. So the first
//! thing it is asked for is a group that the origin has sent; it is used when it sends the same. One that lies only
//! elsewhere is found out at the end, as the job does with every mirror.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use kith_model::range::GroupSpan;
use kith_store::Body;
use tokio::time::timeout;

use crate::audience::Audience;
use crate::source::{Abilities, Fault, Lane, Source, SourceError, SourceKind, Truth};

/// Longest wait for the origin's first group. An origin that takes longer needs the mirror's help more than the mirror
/// needs watching.
const PATIENCE: Duration = Duration::from_millis(300);

/// How far back from the newest group of the origin one is looked for.
const LOOK_BACK: u64 = 64;

/// Holds a source to a sample of what the origin sends.
pub(crate) struct Sampled {
    source: Arc<dyn Source>,
    sample: Sample,
    has_passed: Arc<AtomicBool>,
}

/// Where the sample comes from.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) body: Arc<Body>,
    pub(crate) audience: Arc<Audience>,
    /// Where the origin began.
    pub(crate) first: u64,
    /// Of the object, in bytes.
    pub(crate) length: u64,
}

impl Sample {
    /// The newest group that the origin has sent in a row, and its bytes.
    async fn take(&self) -> Option<(GroupSpan, Bytes)> {
        timeout(PATIENCE, self.body.changed(self.first)).await.ok()?.ok()?;
        let end = self.first + self.body.visible_from(self.first);
        let near = self.audience.neighbour_groups();
        let start = self.first.max(end.saturating_sub(LOOK_BACK));
        let group = (start..end).rev().find(|group| !near.contains(*group))?;
        let span = GroupSpan::clamped(group, group + 1);
        let bytes = self.body.read(span.bytes(self.length)).await.ok()?;
        Some((span, bytes))
    }
}

impl Sampled {
    pub(crate) fn new(source: Arc<dyn Source>, sample: Sample) -> Self {
        Self { source, sample, has_passed: Arc::default() }
    }
}

impl Source for Sampled {
    fn kind(&self) -> SourceKind {
        self.source.kind()
    }

    fn label(&self) -> &str {
        self.source.label()
    }

    fn abilities(&self) -> Abilities {
        self.source.abilities()
    }

    fn open(&self, span: GroupSpan) -> BoxFuture<'static, Result<Box<dyn Lane>, SourceError>> {
        let (source, sample, has_passed) =
            (Arc::clone(&self.source), self.sample.clone(), Arc::clone(&self.has_passed));
        Box::pin(async move {
            if !has_passed.load(Relaxed)
                && let Some((group, expected)) = sample.take().await
            {
                compare(&*source, group, &expected).await?;
                has_passed.store(true, Relaxed);
            }
            source.open(span).await
        })
    }

    fn blame(&self, fault: Fault) {
        self.source.blame(fault);
    }

    fn vouches(&self) -> bool {
        self.source.vouches()
    }
}

async fn compare(source: &dyn Source, group: GroupSpan, expected: &Bytes) -> Result<(), SourceError> {
    let mut lane = source.open(group).await?;
    let mut rest = expected.clone();
    while let Some(run) = lane.next().await? {
        let shown = run.bytes();
        if !rest.starts_with(shown) {
            source.blame(Fault::FalseClaim(Truth::Parts));
            return Err(SourceError::Mismatch);
        }
        rest = rest.slice(shown.len()..);
    }
    if rest.is_empty() { Ok(()) } else { Err(SourceError::BrokeOff("it ended within a group".into())) }
}
