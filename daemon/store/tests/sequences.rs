//! Any sequence of writes, releases and retractions is held, seen and stored as a plain model says.

mod common;

use common::*;
use kith_model::object::ObjectId;
use kith_model::range::{ByteRange, GROUP_BYTES, GroupSet, GroupSpan, groups_of};
use kith_store::{Body, Finish, FinishError, ReadError, Store, Visibility, Writer};
use proptest::prelude::*;

const URL: &str = "https://example.com/a";
const GROUPS: u64 = 9;
const GROUPS_LEN: usize = 9;

#[derive(Clone, Copy, Debug)]
enum Step {
    Write {
        start: u64,
        len: u64,
        sender: Sender,
        visibility: Visibility,
    },
    Release,
    Retract,
    /// The writer is dropped and the part resumed.
    Pause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Origin,
    Neighbour,
    Liar,
}

/// What the model knows of a held group.
#[derive(Clone, Copy, Debug)]
struct Group {
    sender: Sender,
    visible: bool,
}

#[derive(Default)]
struct Model {
    groups: [Option<Group>; GROUPS_LEN],
}

impl Model {
    fn write(&mut self, group: usize, sender: Sender, visibility: Visibility) {
        let visible = visibility == Visibility::Now;
        match &mut self.groups[group] {
            // The origin replaces what was held back and not its own; everything else that is held stays.
            Some(held) if sender == Sender::Origin && !held.visible && held.sender != Sender::Origin => {
                *held = Group { sender, visible };
            }
            Some(held) => held.visible |= visible,
            empty => *empty = Some(Group { sender, visible }),
        }
    }

    fn step(&mut self, step: Step, groups: u64) {
        match step {
            Step::Write { start, len, sender, visibility } => {
                for group in start..(start + len).min(groups) {
                    self.write(usize_of(group), sender, visibility);
                }
            }
            Step::Release => self.groups.iter_mut().flatten().for_each(|group| group.visible = true),
            Step::Retract => self.keep_origin(|group| group.visible),
            Step::Pause => self.keep_origin(|_| true),
        }
    }

    fn keep_origin(&mut self, visible: impl Fn(&Group) -> bool) {
        for slot in &mut self.groups {
            *slot = slot
                .filter(|group| group.sender == Sender::Origin)
                .map(|group| Group { visible: visible(&group), ..group });
        }
    }

    fn set(&self, counts: impl Fn(&Group) -> bool) -> GroupSet {
        let mut set = GroupSet::new();
        for (at, group) in (0..).zip(&self.groups) {
            if group.is_some_and(|group| counts(&group)) {
                set.insert(GroupSpan::clamped(at, at + 1));
            }
        }
        set
    }
}

fn step() -> impl Strategy<Value = Step> {
    let sender = prop_oneof![Just(Sender::Origin), Just(Sender::Neighbour), Just(Sender::Liar)];
    let visibility = prop_oneof![Just(Visibility::Now), Just(Visibility::Held)];
    let write = (0..GROUPS, 1..GROUPS, sender, visibility)
        .prop_map(|(start, len, sender, visibility)| Step::Write { start, len, sender, visibility });
    prop_oneof![8 => write, 1 => Just(Step::Release), 1 => Just(Step::Retract), 1 => Just(Step::Pause)]
}

async fn act(store: &Store, writer: Writer, step: Step, right: &[u8], wrong: &[u8]) -> Option<Writer> {
    match step {
        Step::Write { start, len, sender, visibility } => {
            let span = GroupSpan::clamped(start, start + len);
            let span = span.intersection(GroupSpan::whole(right.len() as u64));
            if !span.is_empty() {
                let run = match sender {
                    Sender::Origin => from_origin(right, span),
                    Sender::Neighbour => from_neighbour(right, span),
                    Sender::Liar => from_neighbour(wrong, span),
                };
                writer.write(run, visibility).await.expect("written");
            }
        }
        Step::Release => writer.release().await,
        Step::Retract => {
            let left = writer.retract().await;
            assert_eq!(left, writer.held());
        }
        Step::Pause => {
            drop(writer);
            return store.resume(&key(URL)).await.expect("the disk works");
        }
    }
    Some(writer)
}

async fn check(steps: &[Step], length: u64) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (right, wrong) = (sample(1, length), sample(2, length));
    let groups = groups_of(length);
    let mut writer = store.create(draft(URL, Some(length))).await.expect("a place");
    let mut model = Model::default();
    for step in steps {
        model.step(*step, groups);
        writer = if let Some(writer) = act(&store, writer, *step, &right, &wrong).await {
            writer
        } else {
            assert!(model.set(|_| true).is_empty() || length < GROUP_BYTES, "a part was lost");
            model = Model::default();
            store.create(draft(URL, Some(length))).await.expect("a place")
        };
        assert_eq!(writer.held(), model.set(|_| true), "{step:?}");
        assert_sees(&writer, &model, &right, &wrong).await;
    }
    let held: u64 = writer.held().spans().iter().map(|span| span.bytes(length).len()).sum();
    assert_eq!(store.usage().partial_bytes, held);
    finish_rightly(&store, writer, &right).await;
}

/// A new reader sees exactly the visible groups, with the bytes of whoever the model says sent them.
async fn assert_sees(writer: &Writer, model: &Model, right: &[u8], wrong: &[u8]) {
    let (body, visible) = (writer.body(), model.set(|group| group.visible));
    let length = right.len() as u64;
    for group in 0..groups_of(length) {
        assert_eq!(body.visible_from(group), visible.run_from(group));
        let range = GroupSpan::clamped(group, group + 1).bytes(length);
        assert_same_front(&body, range).await;
        let read = body.read(range).await;
        match model.groups[usize_of(group)].filter(|group| group.visible) {
            None => assert!(matches!(read, Err(ReadError::Missing))),
            Some(group) => {
                let bytes = if group.sender == Sender::Liar { wrong } else { right };
                assert!(read.is_ok_and(|read| read == bytes[usize_of(range.start())..usize_of(range.end())]));
            }
        }
    }
}

/// What is still in memory is what stands in the file, and is as visible.
async fn assert_same_front(body: &Body, first: ByteRange) {
    let group = first.start() / GROUP_BYTES;
    let visible = GroupSpan::clamped(group, group + body.visible_from(group).max(1));
    let range = visible.bytes(body.length().expect("told"));
    match (body.read_front(range, u64::MAX).await, body.read(range).await) {
        (Ok(front), Ok(all)) => {
            assert!(front.len() as u64 >= first.len());
            assert_eq!(front, all[..front.len()]);
        }
        (front, all) => assert!(front.is_err() && all.is_err()),
    }
}

/// Whatever was held before: what is stored in the end is what the origin sent.
async fn finish_rightly(store: &Store, writer: Writer, right: &[u8]) {
    let length = right.len() as u64;
    let expected = Some(ObjectId::of(right));
    for round in 0..2 {
        for missing in writer.held().missing_in(GroupSpan::whole(length)) {
            writer.write(from_origin(right, missing), Visibility::Now).await.expect("written");
        }
        match writer.finish(Finish { expected, ..finish(length) }).await {
            Ok(finished) => {
                assert_eq!(Some(finished.info.id), expected);
                break;
            }
            Err(FinishError::WrongRoot { .. }) => {
                assert_eq!(round, 0, "only lies make a wrong root, and they were retracted");
                writer.retract().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let body = store.open_object(&ObjectId::of(right)).await.expect("index").expect("stored");
    assert!(read(&body).await == right);
    let whole = ByteRange::whole(length);
    assert!(writer.body().read(whole).await.is_ok_and(|bytes| bytes == right));
    assert_eq!(store.usage().partial_bytes, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_is_held_and_seen_as_the_model_says(
        steps in prop::collection::vec(step(), 0..16),
        length in prop_oneof![1..GROUP_BYTES, Just(GROUP_BYTES), GROUP_BYTES + 1..=GROUPS * GROUP_BYTES],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(check(&steps, length));
    }
}
