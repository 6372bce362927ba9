//! Five boxes of one household whose people all start the same cold download at once: the origin sends about one copy, and
//! it comes as fast as all uplinks together carry it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::client::{Received, Request};
use kith_tests::kith::Kith;
use kith_tests::lab::{Lab, Spot};
use kith_tests::origin::Origin;
use kith_tests::pairing::pair;
use kith_tests::patience::until_true;

const LENGTH: u64 = 200 * MIB;

/// Of each uplink.
const UPLINK_MBIT: u32 = 20;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// For boxes that start while tests keep the machine busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Boxes that are all pairs of each other, and nothing on their shelves.
struct Household {
    boxes: Vec<Kith>,
    origin: Origin,
    client: Spot,
    lab: Lab,
}

impl Household {
    fn with(body: &Body) -> Result<Self> {
        let mut lab = Lab::new()?;
        let spots = NAMES.map(|name| lab.plug_box(name));
        let client = lab.plug_client()?;
        let (place, address) = lab.origin();
        let origin = Origin::serving("a.iso", body).at(&place, address).start()?;
        let mut boxes = Vec::new();
        for (name, spot) in NAMES.iter().zip(spots) {
            boxes.push(Lab::setup(name, &spot?).start()?);
        }
        for (at, one) in boxes.iter().enumerate() {
            for other in &boxes[at + 1..] {
                until_true("the boxes see each other", PATIENCE, || {
                    [(one, other), (other, one)]
                        .iter()
                        .all(|(one, other)| one.neighbour(other.name()).is_ok_and(|found| found.is_some()))
                })?;
                pair(one, other)?;
            }
        }
        let household = Self { boxes, origin, client, lab };
        household.wait_connected()?;
        household.lab.shape_uplinks(UPLINK_MBIT)?;
        Ok(household)
    }

    fn wait_connected(&self) -> Result<()> {
        until_true("all boxes hold connections", PATIENCE, || {
            self.boxes.iter().all(|one| {
                let others = NAMES.iter().filter(|name| **name != one.name());
                others.into_iter().all(|other| {
                    let found = one.neighbour(other).ok().flatten();
                    found.is_some_and(|view| view["state"] == "connected")
                })
            })
        })
    }

    /// A request of a client through each box.
    fn requests(&self) -> Vec<Request> {
        let url = self.origin.url("a.iso");
        self.boxes.iter().map(|kith| Request::by_prefix(kith, &url).from(&self.client.place)).collect()
    }

    fn copies(&self) -> f64 {
        ratio(self.origin.sent(), LENGTH)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}

/// One copy over all uplinks.
fn ideal(boxes: u32) -> Duration {
    Duration::from_millis(LENGTH * 8 / (u64::from(boxes * UPLINK_MBIT) * 1000))
}

/// All at once, each in a thread; `meanwhile` runs beside them.
fn fetch_all(
    requests: &[Request],
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<Vec<std::io::Result<Received>>> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = requests.iter().map(|request| scope.spawn(|| request.fetch())).collect();
        meanwhile()?;
        clients.into_iter().map(|client| client.join().ok().context("a client panicked")).collect()
    })
}

fn check(received: &Received, body: &Body) {
    assert!(received.whole, "{} bytes", received.bytes);
    assert_eq!(received.sha256, body.sha256());
}

#[test]
fn five_boxes_that_want_the_same_at_once_fetch_one_copy() -> Result<()> {
    let body = Body::seeded(91, LENGTH);
    let household = Household::with(&body)?;

    let received = fetch_all(&household.requests(), || Ok(()))?;

    let mut slowest = Duration::ZERO;
    for received in received {
        let received = received?;
        check(&received, &body);
        slowest = slowest.max(received.took);
    }
    let copies = household.copies();
    eprintln!("{copies:.3} copies, the slowest took {slowest:?}, ideal {:?}", ideal(5));
    assert!(copies <= 1.05, "{copies:.3} copies");
    assert!(slowest <= ideal(5).mul_f64(1.3), "{slowest:?}, ideal {:?}", ideal(5));
    Ok(())
}

#[test]
fn boxes_that_begin_one_after_the_other_and_one_that_wants_the_end_first_share_a_copy_too() -> Result<()> {
    let body = Body::seeded(93, LENGTH);
    let household = Household::with(&body)?;
    let requests = household.requests();
    let tail = household.requests().swap_remove(1).range("-8388608");

    let received: Result<Vec<(Option<Received>, Received)>> = std::thread::scope(|scope| {
        let mut clients = Vec::new();
        for (before, request) in (0..).zip(&requests) {
            household.origin.wait_sent(before * LENGTH / 20, Duration::from_secs(60))?;
            let tail = (before == 1).then_some(&tail);
            clients.push(
                scope.spawn(move || anyhow::Ok((tail.map(Request::fetch).transpose()?, request.fetch()?))),
            );
        }
        clients.into_iter().map(|client| client.join().ok().context("a client panicked")?).collect()
    });

    for (tail, received) in received? {
        check(&received, &body);
        assert!(tail.is_none_or(|tail| tail.whole && tail.bytes == 8 * MIB));
    }
    let copies = household.copies();
    eprintln!("{copies:.3} copies");
    assert!(copies <= 1.10, "{copies:.3} copies");
    Ok(())
}

#[test]
fn one_box_that_dies_and_one_that_trickles_cost_the_others_little() -> Result<()> {
    let body = Body::seeded(92, LENGTH);
    let mut household = Household::with(&body)?;
    let requests = household.requests();
    let begun = Instant::now();

    let Household { boxes, origin, lab, .. } = &mut household;
    let received = fetch_all(&requests, || {
        origin.wait_sent(LENGTH / 3, Duration::from_secs(60))?;
        lab.choke_uplink("d")?;
        boxes[4].kill()
    })?;

    let took = begun.elapsed();
    let copies = household.copies();
    eprintln!("{copies:.3} copies in {took:?}, ideal {:?}", ideal(5));
    let mut received = received.into_iter();
    for received in received.by_ref().take(4) {
        check(&received?, &body);
    }
    assert!(!received.next().context("five clients")?.is_ok_and(|received| received.whole));
    assert!(copies <= 1.15, "{copies:.3} copies");
    Ok(())
}
