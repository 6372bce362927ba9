//! A box is killed again and again while it downloads, evicts and is read by its neighbour. Afterwards everything that
//! it lists is what its name says, and everything that was promised to stay is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_tests::MIB;
use kith_tests::body::{Body, Dice};
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::lab::House;
use kith_tests::origin::Origin;
use kith_tests::patience::until_true;
use kith_tests::resource::Resource;

const ROUNDS: u64 = 50;

/// More than the shelf holds, so that something has to go all the time.
const FILES: u64 = 14;

/// The killed box's shelf.
const SHELF: &str = "\"96MiB\"";

/// Objects below this are pinned: with three files of 27 MiB on their way, larger ones left no room for any of them.
const PINNED_BYTES_MAX: u64 = 6 * MIB;

#[test]
fn after_fifty_kills_all_that_is_listed_is_right_and_all_that_was_pinned_is_there() -> Result<()> {
    let files = Files::of(FILES);
    let mut house = House::paired(files.script())?;
    shrink(&mut house)?;
    let mut dice = Dice::seeded(0x5eed);
    let mut pinned = Vec::new();

    for round in 0..ROUNDS {
        if round % 5 == 0 {
            // A box that lives for a third of a second is seldom found by its neighbour.
            house.wait_connected()?;
        }
        let moment = dice.below(40 * MIB);
        load_until(&house, &files, &mut dice, moment).with_context(|| format!("round {round}"))?;
        // One every ten rounds, or later: a slow machine has nothing whole yet in some of them.
        if pinned.len() as u64 <= round / 10 {
            pinned.extend(pin_one(&house.a, &pinned)?);
        }
        house.a.kill()?;
        house.a.start().with_context(|| format!("after the kill of round {round}"))?;
    }

    let given = house.b.neighbour("a")?.context("b sees a")?["received_bytes"].as_u64();
    assert!(given > Some(0), "the neighbour read while the box was killed");
    let listed = listed(&house.a)?;
    for id in &pinned {
        assert!(listed.contains_key(id), "{id} was pinned and is gone");
    }
    assert!(pinned.len() >= 2, "{} pinned", pinned.len());
    for (id, length) in &listed {
        let received = Request::own(&house.a, &format!("/b3/{id}")).from(&house.client.place).fetch()?;
        assert_eq!((received.bytes, received.sha256), (*length, files.sha256(id)?), "{id}");
    }
    house.a.terminate()?;
    check_files(&house.a.data())
}

/// A small shelf for the box that will be killed: its settings are read again at each start.
fn shrink(house: &mut House) -> Result<()> {
    let config = house.a.config();
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("{text}\n[store]\nsize = {SHELF}\nreserve = \"1MiB\"\n"))?;
    house.a.restart()
}

/// Clients fetch through both boxes until those of the first one have so many bytes.
fn load_until(house: &House, files: &Files, dice: &mut Dice, bytes: u64) -> Result<()> {
    // What the second box holds it would not ask for again.
    house.b.cli(["purge", &kith_tests::lab::ORIGIN.to_string()])?;
    let progress = Progress::default();
    let mut choices: Vec<Vec<u64>> = Vec::new();
    for _ in 0..4 {
        choices.push((0..20).map(|_| dice.below(files.0.len() as u64)).collect());
    }
    let (through_b, through_a) = choices.split_last().context("four lists")?;
    std::thread::scope(|scope| {
        for choice in through_a {
            let progress = &progress;
            scope.spawn(move || client(house, &house.a, files, choice, progress, Counts::Yes));
        }
        let progress = &progress;
        scope.spawn(move || client(house, &house.b, files, through_b, progress, Counts::No));
        let reached = until_true("clients make progress", Duration::from_secs(60), || {
            progress.bytes.load(Ordering::SeqCst) >= bytes || progress.wrong.load(Ordering::SeqCst)
        });
        // The box is killed with the transfers under way: the clients notice by themselves.
        progress.over.store(true, Ordering::SeqCst);
        reached
    })?;
    ensure!(!progress.wrong.load(Ordering::SeqCst), "a whole answer had wrong bytes");
    Ok(())
}

#[derive(Default)]
struct Progress {
    bytes: AtomicU64,
    over: AtomicBool,
    wrong: AtomicBool,
}

/// Whether a client's bytes count for the moment of the kill.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Yes,
    No,
}

/// Fetches one file after the other; a transfer may break off, but what ends whole is right.
fn client(house: &House, kith: &Kith, files: &Files, choices: &[u64], progress: &Progress, counts: Counts) {
    for choice in choices {
        let body = &files.0[usize::try_from(*choice).expect("a few files")];
        let Ok(mut answer) = house.request(kith, &Files::name(*choice)).send() else { return };
        let mut there = 0;
        while there < body.length() {
            let Ok(now) = answer.read_until((there + MIB / 4).min(body.length())) else { return };
            if counts == Counts::Yes {
                progress.bytes.fetch_add(now - there, Ordering::SeqCst);
            }
            if now == there || progress.over.load(Ordering::SeqCst) {
                return;
            }
            there = now;
        }
        let Ok(received) = answer.receive() else { return };
        if received.status() == 200 && received.whole && received.sha256 != body.sha256() {
            progress.wrong.store(true, Ordering::SeqCst);
        }
    }
}

/// Pins a small object that is not pinned yet; nothing when there is none.
fn pin_one(kith: &Kith, pinned: &[String]) -> Result<Option<String>> {
    let small = listed(kith)?.into_iter().filter(|(_, length)| *length < PINNED_BYTES_MAX);
    let Some(id) = small.map(|(id, _)| id).find(|id| !pinned.contains(id)) else { return Ok(None) };
    let said = kith.cli(["pin", &id])?;
    // It may have been evicted in between.
    Ok((said.code == 0).then_some(id))
}

/// All objects with their lengths.
fn listed(kith: &Kith) -> Result<BTreeMap<String, u64>> {
    let answer = kith.ask("/api/v1/objects")?;
    let objects = answer["objects"].as_array().context("a list of objects")?;
    Ok(objects
        .iter()
        .filter_map(|object| Some((object["id"].as_str()?.to_owned(), object["length"].as_u64()?)))
        .collect())
}

/// Every file of an object has the hash that is its name.
fn check_files(data: &Path) -> Result<()> {
    let mut checked = 0;
    for path in files_below(&store_of(data))? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(id) = name.strip_suffix(".data").filter(|id| id.len() == 64) else { continue };
        let found = Body::of(std::fs::read(&path)?).blake3();
        ensure!(found == id, "{} hashes to {found}", path.display());
        checked += 1;
    }
    ensure!(checked > 0, "no object was found below {}", data.display());
    Ok(())
}

/// The folder that holds `objects/`.
fn store_of(data: &Path) -> PathBuf {
    let inside = data.join("store");
    if inside.join("objects").exists() { inside } else { data.to_owned() }
}

fn files_below(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// What the origin serves: files of 1 to 27 MiB.
struct Files(Vec<Body>);

impl Files {
    fn of(count: u64) -> Self {
        Self(
            (0..count)
                .map(|number| Body::seeded(900 + number, MIB + number * 2 * MIB + number * 777))
                .collect(),
        )
    }

    fn name(number: u64) -> String {
        format!("file-{number}.bin")
    }

    fn script(&self) -> kith_tests::origin::Script {
        let numbered = (0..).zip(&self.0);
        numbered.fold(Origin::empty(), |script, (number, body)| {
            script.and(&Self::name(number), Resource::of(body.clone()))
        })
    }

    fn sha256(&self, id: &str) -> Result<String> {
        let body = self.0.iter().find(|body| body.blake3() == id);
        Ok(body.with_context(|| format!("{id} is none of the files"))?.sha256())
    }
}
