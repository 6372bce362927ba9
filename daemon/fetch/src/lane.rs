//! Moves the runs of one lane into the store, and reports to the job.
//!
//! A write is never interrupted, so that what the store holds and what the job knows of cannot differ; only waiting
//! for a source is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use futures_util::future::BoxFuture;
use kith_model::range::GroupSpan;
use kith_model::verify::{Provenance, Run};
use kith_store::{Visibility, WriteError, Writer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::audience::Audience;
use crate::past_shelf::Rest;
use crate::plan::{Ending, LaneId};
use crate::source::{Lane, SourceError, SourceKind};

/// What a lane tells its job.
pub(crate) enum Report {
    Delivered {
        lane: LaneId,
        span: GroupSpan,
        bytes: u64,
        kind: SourceKind,
        proven: bool,
    },
    Ended {
        lane: LaneId,
        ending: Ending,
    },
    /// What came is not what the tree or its piece hash says; the end of the lane is told besides.
    Mismatched(SourceKind),
    Changed,
    /// With what the origin's lane still brings.
    Unwritable(WriteError, Option<Box<Rest>>),
}

/// How a lane comes to be.
pub(crate) enum Opening {
    Open(Box<dyn Lane>),
    Ask(BoxFuture<'static, Result<Box<dyn Lane>, SourceError>>),
}

/// Moves the runs of one lane into the store.
pub(crate) struct LaneWorker {
    pub(crate) lane: LaneId,
    pub(crate) kind: SourceKind,
    pub(crate) end: Arc<AtomicU64>,
    pub(crate) stop: CancellationToken,
    pub(crate) writer: Arc<Writer>,
    pub(crate) audience: Arc<Audience>,
    pub(crate) held_back: Arc<AtomicBool>,
    pub(crate) reports: mpsc::Sender<Report>,
}

/// Why a lane is over before its span is.
enum Broken {
    Source(SourceError),
    Store(WriteError, Option<Box<Rest>>),
}

impl LaneWorker {
    pub(crate) async fn run(self, opening: Opening) {
        let outcome = self.pump(opening).await;
        let report = match outcome {
            Ok(()) => Report::Ended { lane: self.lane, ending: Ending::Done },
            Err(Broken::Store(error, rest)) => Report::Unwritable(error, rest),
            Err(Broken::Source(SourceError::Changed)) if self.kind == SourceKind::Origin => Report::Changed,
            Err(Broken::Source(error)) => {
                debug!(
                    source = self.kind.as_str(),
                    lane = self.lane.0,
                    error = &error as &dyn std::error::Error,
                    "lane broke"
                );
                if matches!(error, SourceError::Mismatch) {
                    let _ = self.reports.send(Report::Mismatched(self.kind)).await;
                }
                Report::Ended { lane: self.lane, ending: ending(&error) }
            }
        };
        // The job may be gone already.
        let _ = self.reports.send(report).await;
    }

    async fn pump(&self, opening: Opening) -> Result<(), Broken> {
        let mut lane = match opening {
            Opening::Open(lane) => lane,
            Opening::Ask(asking) => tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                lane = asking => lane.map_err(Broken::Source)?,
            },
        };
        let mut next = self.next_of(&mut lane).await.map_err(Broken::Source)?;
        while let Some(run) = next {
            let end = self.end.load(Relaxed);
            let (first, came) = (run.first(), run.bytes().clone());
            let Some(run) = run.narrowed(GroupSpan::clamped(0, end)) else { return Ok(()) };
            let (span, bytes) = (run.span(), run.bytes().len() as u64);
            let proven = matches!(run.provenance(), Provenance::Tree(_));
            let held = proven && self.held_back.load(Relaxed);
            let visibility = if held { Visibility::Held } else { Visibility::Now };
            if self.kind != SourceKind::Origin {
                self.audience.expect_from(self.kind, run.provenance(), span, &self.writer.held());
            }
            // While one run is written the next one arrives.
            let writing = self.writer.write(run, visibility);
            if span.end() >= end {
                if let Err(error) = writing.await {
                    return Err(self.unwritable(error, Rest::new(first, [came].into(), Some(lane))));
                }
                self.report(span, bytes, proven).await;
                return Ok(());
            }
            let (written, following) = tokio::join!(writing, self.next_of(&mut lane));
            if let Err(error) = written {
                let following = following.map_err(Broken::Source)?;
                let lane = following.is_some().then_some(lane);
                let came = [came].into_iter().chain(following.map(|run| run.bytes().clone())).collect();
                return Err(self.unwritable(error, Rest::new(first, came, lane)));
            }
            if held && !self.held_back.load(Relaxed) {
                self.writer.release().await;
            }
            self.report(span, bytes, proven).await;
            next = following.map_err(Broken::Source)?;
        }
        Ok(())
    }

    fn unwritable(&self, error: WriteError, rest: Rest) -> Broken {
        Broken::Store(error, (self.kind == SourceKind::Origin).then(|| Box::new(rest)))
    }

    /// The next run, unless the lane is told to stop. A write is never interrupted: what the store holds and what
    /// the job knows of must not differ.
    async fn next_of(&self, lane: &mut Box<dyn Lane>) -> Result<Option<Run>, SourceError> {
        tokio::select! {
            () = self.stop.cancelled() => Ok(None),
            next = lane.next() => next,
        }
    }

    async fn report(&self, span: GroupSpan, bytes: u64, proven: bool) {
        let report = Report::Delivered { lane: self.lane, span, bytes, kind: self.kind, proven };
        let _ = self.reports.send(report).await;
    }
}

fn ending(error: &SourceError) -> Ending {
    match error {
        SourceError::Busy => Ending::Busy,
        SourceError::BrokeOff(_) => Ending::Failed,
        SourceError::Changed | SourceError::NotHeld | SourceError::Mismatch | SourceError::Nonsense(_) => {
            Ending::Useless
        }
    }
}
