//! Who is sent what first when more want something than the owner lets out.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use common::*;
use kith_fetch::source::Found;
use kith_model::range::GroupSpan;
use kith_model::trust::Role;
use kith_neighbour::identity::Identity;
use kith_neighbour::{Neighbourhood, View};
use tokio::task::JoinSet;

const LENGTH: u64 = 16 * MIB;

const OCTETS: [(&str, &str); 1] = [("content-type", "application/octet-stream")];

/// A box that lets out so many bytes a second.
fn capped(name: &str, bytes_per_second: u32) -> Home {
    let dir = tempfile::tempdir().expect("a folder");
    let identity = Identity::open(dir.path()).expect("a key");
    let store = store(dir.path());
    let mut config = config(name, dir.path(), Vec::new());
    config.upload_bytes_per_second = Some(bytes_per_second);
    let neighbours = Neighbourhood::start(config, identity, store.clone()).expect("the room opens");
    Home { dir, store, neighbours }
}

async fn join(guest: &Home, home: &Home, role: Role) {
    let window = home.neighbours.open_pairing(Role::Mine).expect("open");
    guest.neighbours.join(&home.address().to_string(), &window.code, role).await.expect("paired");
    window.outcome.await;
    let is_connected = |view: &View| view.connected && view.id == guest.neighbours.id();
    home.sees(|views| views.iter().any(is_connected)).await;
}

async fn found(guest: &Home) -> Found {
    guest.is_told(1).await;
    let mut found = guest.find(wanted(URL, LENGTH)).await;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// Takes the whole again and again over so many lanes, and counts.
fn take_all_the_time(found: &Arc<Found>, lanes: usize) -> (JoinSet<()>, Arc<AtomicU64>) {
    let (mut tasks, count) = (JoinSet::new(), Arc::<AtomicU64>::default());
    for _ in 0..lanes {
        let (found, count) = (Arc::clone(found), Arc::clone(&count));
        tasks.spawn(async move {
            loop {
                let mut lane = found.source.open(GroupSpan::whole(LENGTH)).await.expect("open");
                while let Some(run) = lane.next().await.expect("delivered") {
                    count.fetch_add(run.bytes().len() as u64, Relaxed);
                }
            }
        });
    }
    (tasks, count)
}

async fn until(count: &AtomicU64, least: u64) {
    let waiting = async {
        while count.load(Relaxed) < least {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_of_the_household_is_sent_its_file_before_other_households_go_on() {
    let den = capped("den", 16 << 20);
    let (attic, next_door) = (Home::start("attic"), Home::start("next-door"));
    join(&attic, &den, Role::Mine).await;
    join(&next_door, &den, Role::Neighbour).await;
    den.put(URL, &sample(LENGTH), &OCTETS).await;
    let (ours, theirs) = (found(&attic).await, Arc::new(found(&next_door).await));
    let (_tasks, taken) = take_all_the_time(&theirs, 4);
    until(&taken, 2 * MIB).await;

    let before = taken.load(Relaxed);
    assert_eq!(drain(&ours, LENGTH).await.expect("delivered").len() as u64, LENGTH);
    let meanwhile = taken.load(Relaxed) - before;
    // What was on its way, and a turn now and then while the next slice of ours is read.
    assert!(meanwhile <= LENGTH / 4, "{meanwhile} bytes went next door meanwhile");
    until(&taken, before + meanwhile + 2 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_households_are_sent_the_same_however_much_each_asks_for() {
    let den = capped("den", 16 << 20);
    let (left, right) = (Home::start("left"), Home::start("right"));
    join(&left, &den, Role::Neighbour).await;
    join(&right, &den, Role::Neighbour).await;
    den.put(URL, &sample(LENGTH), &OCTETS).await;
    let (one, two) = (Arc::new(found(&left).await), Arc::new(found(&right).await));
    let (_many, to_left) = take_all_the_time(&one, 5);
    let (_few, to_right) = take_all_the_time(&two, 1);
    until(&to_left, MIB).await;
    until(&to_right, MIB).await;
    let before = (to_left.load(Relaxed), to_right.load(Relaxed));
    until(&to_right, before.1 + 12 * MIB).await;
    let (left, right) = (to_left.load(Relaxed) - before.0, to_right.load(Relaxed) - before.1);
    assert!(left <= right * 3 / 2, "{left} to who asks for five times as much as who got {right}");
}
