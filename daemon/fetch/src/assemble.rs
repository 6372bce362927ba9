//! From raw bytes that arrive in order to [`Run`]s of whole groups.
//!
//! The [`Assembler`] is the pure part: bytes in, runs out. It owns the rule that only an object's last group may be
//! short, and that a stream which carries less than it declared, or more, is an error and never a shorter object.
//! [`lane`] drives it from a [`ByteStream`]. Knows nothing of who sends: the bytes come from the origin under the
//! validator that the fetch is bound to, so that is the provenance of every run.
//!
//! What trickles is handed out group by group; what floods is handed out in runs of [`RUN_GROUPS_MAX`] groups. In
//! between, a run waits up to [`RUN_PAUSE`] after the one before it for more to come.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use kith_model::range::{ChunkGroup, GROUP_BYTES};
use kith_model::verify::Run;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::gathering::{Gathering, RUN_BYTES_MAX};
use crate::source::{ByteStream, Lane, SourceError};

/// Most groups in one run: 256 KiB.
pub const RUN_GROUPS_MAX: u64 = RUN_BYTES_MAX as u64 / GROUP_BYTES;

/// Runs that are not full come no closer together than this. A fast stream fills them meanwhile, a slow one has
/// nothing to hand out that early, and nobody notices so short a wait.
pub const RUN_PAUSE: Duration = Duration::from_millis(8);

/// What a stream did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It ended before the end it had declared. May be tried again.
    #[error("the stream ended at byte {at} of {end}")]
    Short {
        /// Where it ended.
        at: u64,
        /// Where it should have.
        end: u64,
    },
    /// It went on past the end it had declared, or past what can be counted. The sender's fault.
    #[error("the stream goes on past its end")]
    Long,
}

impl From<Misfit> for SourceError {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::Short { .. } => SourceError::BrokeOff(misfit.into()),
            Misfit::Long => SourceError::Nonsense(misfit.into()),
        }
    }
}

/// Cuts a stream of bytes into runs.
#[derive(Debug)]
pub struct Assembler {
    /// First group not handed out yet.
    next: ChunkGroup,
    /// Offset of the first byte not received yet.
    received: u64,
    /// One past the last byte of the stream; without it, the stream's own end is the object's end.
    end: Option<u64>,
    /// What came and was not handed out, from its beginning.
    gathering: Gathering,
    /// What came behind that and found no room there, in order.
    pieces: VecDeque<Bytes>,
    /// Count of bytes in `gathering` and `pieces`.
    held: u64,
}

impl Assembler {
    /// For a stream that starts at the first byte of `first` and ends before byte `end` of the object.
    ///
    /// When `end` is not at a group's edge it must be the end of the object.
    pub fn new(first: ChunkGroup, end: Option<u64>) -> Self {
        let received = first.offset();
        Self { next: first, received, end, gathering: Gathering::default(), pieces: VecDeque::new(), held: 0 }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: Bytes) -> Result<(), Misfit> {
        let received = self.received.checked_add(bytes.len() as u64).ok_or(Misfit::Long)?;
        if self.end.is_some_and(|end| received > end) {
            return Err(Misfit::Long);
        }
        self.held += bytes.len() as u64;
        self.received = received;
        self.pieces.push_back(bytes);
        self.gather();
        Ok(())
    }

    /// Whole groups that are held, at most [`RUN_GROUPS_MAX`]; also the short last one once the declared end is
    /// there.
    pub fn take(&mut self) -> Option<Run> {
        let count = if self.is_complete() { self.held } else { self.held - self.held % GROUP_BYTES };
        self.cut(count.min(RUN_BYTES_MAX as u64))
    }

    /// Whether a run of full size can be taken.
    pub fn is_full(&self) -> bool {
        self.held >= RUN_BYTES_MAX as u64
    }

    /// Whether a whole group can be taken.
    fn has_group(&self) -> bool {
        self.held >= GROUP_BYTES
    }

    /// Whether everything up to the declared end was received.
    pub fn is_complete(&self) -> bool {
        self.end == Some(self.received)
    }

    /// The stream is over: from now on `take` also gives the short last group. An error when the declared end was
    /// not reached.
    pub fn finish(&mut self) -> Result<(), Misfit> {
        match self.end {
            Some(end) if self.received < end => Err(Misfit::Short { at: self.received, end }),
            _ => {
                self.end = Some(self.received);
                Ok(())
            }
        }
    }

    fn cut(&mut self, count: u64) -> Option<Run> {
        if count == 0 {
            return None;
        }
        let run = Run::from_origin(self.next, self.gathering.cut(usize::try_from(count).ok()?));
        self.gather();
        self.next = ChunkGroup(run.span().end());
        self.held -= count;
        Some(run)
    }

    /// Copies what came to the rest of its run. The piece it came in goes back to who reads from the network before
    /// the next one is read, which then needs no fresh memory.
    fn gather(&mut self) {
        while let Some(piece) = self.pieces.front_mut() {
            self.gathering.fill(piece);
            if piece.has_remaining() {
                break;
            }
            self.pieces.pop_front();
        }
    }
}

/// A lane over a stream that starts at the first byte of `first` and, when that is known, ends before byte `end`.
///
/// `end` lies at a group's edge or is the end of the object; without it the object ends where the stream ends
/// cleanly. Groups that came before an error are handed out before the error is.
pub fn lane(stream: ByteStream, first: ChunkGroup, end: Option<u64>) -> Box<dyn Lane> {
    let assembler = Assembler::new(first, end);
    Box::new(StreamLane { stream: Some(stream), assembler, error: None, pace: Pace::default() })
}

struct StreamLane {
    /// Dropped as soon as nothing more is wanted from it.
    stream: Option<ByteStream>,
    assembler: Assembler,
    /// What ended the stream, told once the groups before it are handed out.
    error: Option<SourceError>,
    pace: Pace,
}

/// Keeps runs that are not full apart.
#[derive(Default)]
struct Pace {
    /// When the last run was handed out.
    last: Option<Instant>,
    /// Set while the next one waits.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Ready when a run that is not full may be handed out.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(last) = self.last else { return Poll::Ready(()) };
        let alarm = match &mut self.alarm {
            Some(alarm) => alarm,
            None if last.elapsed() >= RUN_PAUSE => return Poll::Ready(()),
            None => self.alarm.insert(Box::pin(sleep_until(last + RUN_PAUSE))),
        };
        alarm.as_mut().poll(context)
    }

    fn handed_out(&mut self) {
        self.last = Some(Instant::now());
        self.alarm = None;
    }
}

impl Lane for StreamLane {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Run>, SourceError>> {
        Box::pin(std::future::poll_fn(|context| self.poll_next(context)))
    }
}

impl StreamLane {
    /// Fills up while the stream has something ready, so that a fast stream gives large runs and a slow one no delay.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Run>, SourceError>> {
        let mut pending = false;
        while !self.assembler.is_full() && !pending {
            let Some(stream) = self.stream.as_mut() else { break };
            match Pin::new(stream).poll_next(context) {
                Poll::Ready(item) => self.accept(item),
                Poll::Pending => pending = true,
            }
        }
        let more_may_come = pending && !self.assembler.is_complete();
        if more_may_come && self.assembler.has_group() {
            ready!(self.pace.poll(context));
        }
        if let Some(run) = self.assembler.take() {
            self.pace.handed_out();
            return Poll::Ready(Ok(Some(run)));
        }
        match self.error.take() {
            Some(error) => Poll::Ready(Err(error)),
            // Everything that was declared is handed out: the stream's own end is not worth waiting for.
            None if !more_may_come => Poll::Ready(Ok(None)),
            None => Poll::Pending,
        }
    }

    fn accept(&mut self, item: Option<Result<Bytes, SourceError>>) {
        let outcome = match item {
            Some(Ok(bytes)) => self.assembler.push(bytes).map_err(SourceError::from),
            Some(Err(error)) => Err(error),
            None => {
                self.stream = None;
                self.assembler.finish().map_err(SourceError::from)
            }
        };
        if let Err(error) = outcome {
            self.stream = None;
            self.error = Some(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};
    use kith_model::range::GroupSpan;
    use proptest::prelude::*;

    use super::*;

    fn sample(length: usize) -> Bytes {
        (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
    }

    fn group() -> usize {
        usize::try_from(GROUP_BYTES).expect("small")
    }

    /// A lane over pieces that are all there at once.
    fn ready(pieces: Vec<Result<Bytes, SourceError>>, first: u64, end: Option<u64>) -> Box<dyn Lane> {
        lane(stream::iter(pieces).boxed(), ChunkGroup(first), end)
    }

    fn drain(lane: &mut dyn Lane) -> (Vec<Run>, Result<(), SourceError>) {
        let mut runs = Vec::new();
        loop {
            match lane.next().now_or_never().expect("nothing to wait for") {
                Ok(Some(run)) => runs.push(run),
                Ok(None) => return (runs, Ok(())),
                Err(error) => return (runs, Err(error)),
            }
        }
    }

    fn joined(runs: &[Run]) -> Vec<u8> {
        runs.iter().flat_map(|run| run.bytes().to_vec()).collect()
    }

    proptest! {
        #[test]
        fn any_cutting_of_a_stream_gives_the_same_groups(
            length in 0usize..700_000,
            first in 0u64..5,
            cuts in prop::collection::vec(1usize..90_000, 1..40),
            told in any::<bool>(),
        ) {
            let data = sample(length);
            let mut rest = data.clone();
            let mut pieces = Vec::new();
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let cut = cuts.next().expect("cycles").min(rest.len());
                pieces.push(Ok(rest.split_to(cut)));
            }
            let start = ChunkGroup(first).offset();
            let end = told.then_some(start + length as u64);
            let (runs, outcome) = drain(ready(pieces, first, end).as_mut());
            prop_assert!(outcome.is_ok());
            prop_assert_eq!(joined(&runs), data);
            let mut next = first;
            for run in &runs {
                prop_assert_eq!(run.first().0, next);
                prop_assert!(run.span().len() <= RUN_GROUPS_MAX);
                next = run.span().end();
            }
            for run in runs.iter().rev().skip(1) {
                prop_assert_eq!(run.bytes().len() as u64 % GROUP_BYTES, 0);
            }
        }
    }

    /// A lane over pieces that are sent one by one.
    fn fed(
        first: u64,
        end: Option<u64>,
    ) -> (tokio::sync::mpsc::UnboundedSender<Result<Bytes, SourceError>>, Box<dyn Lane>) {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let stream = stream::poll_fn(move |context| receiver.poll_recv(context)).boxed();
        (sender, lane(stream, ChunkGroup(first), end))
    }

    #[test]
    fn a_trickle_is_handed_out_group_by_group_and_not_waited_for() {
        let (sender, mut lane) = fed(2, Some(5 * GROUP_BYTES));
        assert!(lane.next().now_or_never().is_none());
        sender.send(Ok(sample(group() - 1))).expect("open");
        assert!(lane.next().now_or_never().is_none());
        sender.send(Ok(sample(2))).expect("open");
        let run = lane.next().now_or_never().expect("a group is there").expect("no error").expect("a run");
        assert_eq!(run.span(), GroupSpan::clamped(2, 3));
        assert!(lane.next().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_right_after_a_run_waits_a_moment_for_more() {
        let (sender, mut lane) = fed(0, Some(9 * GROUP_BYTES));
        let send = |groups: usize| sender.send(Ok(sample(groups * group()))).expect("open");
        send(1);
        let began = Instant::now();
        assert_eq!(next_groups(lane.as_mut()).await, 1);
        send(2);
        assert!(lane.next().now_or_never().is_none());
        send(1);
        assert_eq!(next_groups(lane.as_mut()).await, 3);
        assert_eq!(began.elapsed(), RUN_PAUSE);
        send(1);
        tokio::time::advance(RUN_PAUSE).await;
        assert_eq!(next_groups(lane.as_mut()).await, 1);
        send(4);
        assert_eq!(next_groups(lane.as_mut()).await, 4);
        assert_eq!(began.elapsed(), 2 * RUN_PAUSE, "the end of the stream is not kept waiting");
    }

    async fn next_groups(lane: &mut dyn Lane) -> u64 {
        lane.next().await.expect("no error").expect("a run").span().len()
    }

    #[test]
    fn the_declared_end_is_not_waited_for_twice() {
        let (sender, mut lane) = fed(0, Some(10));
        sender.send(Ok(sample(10))).expect("open");
        let (runs, outcome) = drain(lane.as_mut());
        assert!(outcome.is_ok());
        assert_eq!(joined(&runs), sample(10));
    }

    #[test]
    fn an_early_end_is_an_error_and_never_a_shorter_object() {
        let (runs, outcome) =
            drain(ready(vec![Ok(sample(2 * group() + 5))], 0, Some(3 * GROUP_BYTES)).as_mut());
        assert_eq!(joined(&runs), sample(2 * group() + 5)[..2 * group()]);
        assert!(matches!(outcome, Err(SourceError::BrokeOff(_))), "{outcome:?}");
    }

    #[test]
    fn an_error_of_the_stream_comes_after_the_groups_before_it() {
        let pieces = vec![Ok(sample(group() + 1)), Err(SourceError::Busy)];
        let (runs, outcome) = drain(ready(pieces, 0, None).as_mut());
        assert_eq!(joined(&runs), sample(group() + 1)[..group()]);
        assert!(matches!(outcome, Err(SourceError::Busy)), "{outcome:?}");
    }

    #[test]
    fn bytes_past_the_declared_end_are_the_senders_fault() {
        let (runs, outcome) = drain(ready(vec![Ok(sample(11))], 0, Some(10)).as_mut());
        assert!(runs.is_empty());
        assert!(matches!(outcome, Err(SourceError::Nonsense(_))), "{outcome:?}");
    }

    #[test]
    fn an_empty_object_has_no_runs() {
        for end in [None, Some(0)] {
            let (runs, outcome) = drain(ready(vec![], 0, end).as_mut());
            assert!(runs.is_empty() && outcome.is_ok());
        }
    }
}
