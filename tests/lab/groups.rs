//! Boxes that pair by themselves, as those of a school do, and a box that changes its key: by the command line, found
//! by mDNS.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_tests::kith::Kith;
use kith_tests::lab::Lab;
use kith_tests::pairing;
use kith_tests::patience::until_true;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

fn is_connected(kith: &Kith, name: &str, role: &str) -> bool {
    let view = kith.neighbour(name).ok().flatten();
    view.is_some_and(|view| view["role"] == role && view["state"] == "connected")
}

fn told(kith: &Kith, words: &[&str]) -> Result<Value> {
    let said = kith.cli(words.iter().copied())?;
    ensure!(said.code == 0, "kith {words:?}: {said:?}");
    Ok(serde_json::from_str(&said.out)?)
}

#[test]
fn boxes_that_know_the_same_six_words_pair_and_others_do_not() -> Result<()> {
    let mut lab = Lab::new()?;
    let start = |lab: &mut Lab, name: &str| -> Result<Kith> {
        let spot = lab.plug_box(name)?;
        Lab::setup(name, &spot).start()
    };
    let (a, b, c) = (start(&mut lab, "a")?, start(&mut lab, "b")?, start(&mut lab, "c")?);
    let stranger = start(&mut lab, "stranger")?;
    let founded = told(&a, &["group", "new", "--json"])?;
    let words = founded["words"].as_str().context("words")?.to_owned();
    ensure!(words.split('-').count() == 6, "{words}");
    let made_up = b.cli(["group", "join", "our school is the best one"])?;
    ensure!(made_up.code != 0 && made_up.err.contains("kith group new"), "it says what to do: {made_up:?}");

    // One types dashes, the other blanks.
    ensure!(told(&b, &["group", "join", &words, "--json"])?["role"] == "mine");
    let spelt: Vec<&str> = words.split('-').collect();
    told(&c, &[&["group", "join"], &spelt[..], &["--json"]].concat())?;

    for (one, others) in [(&a, ["b", "c"]), (&b, ["a", "c"]), (&c, ["a", "b"])] {
        for other in others {
            until_true("all members are paired", PATIENCE, || is_connected(one, other, "mine"))?;
        }
    }
    until_true("the stranger sees them", PATIENCE, || stranger.neighbour("a").is_ok_and(|a| a.is_some()))?;
    for name in ["a", "b", "c"] {
        let view = stranger.neighbour(name)?;
        ensure!(view.as_ref().is_none_or(|view| view["role"] == "none"), "{view:?}");
    }
    ensure!(told(&a, &["group", "leave", "--json"])?["role"].is_null());
    ensure!(is_connected(&a, "b", "mine"), "who is paired stays so");
    Ok(())
}

#[test]
fn a_box_changes_its_key_and_stays_the_same_neighbour() -> Result<()> {
    let mut lab = Lab::new()?;
    let (a_spot, b_spot) = (lab.plug_box("a")?, lab.plug_box("b")?);
    let mut a = Lab::setup("a", &a_spot).start()?;
    let b = Lab::setup("b", &b_spot).start()?;
    until_true("they see each other", PATIENCE, || {
        b.neighbour("a").is_ok_and(|found| found.is_some())
            && a.neighbour("b").is_ok_and(|found| found.is_some())
    })?;
    pairing::pair(&a, &b)?;
    until_true("they are connected", PATIENCE, || is_connected(&b, "a", "mine"))?;
    let before = b.neighbour("a")?.context("paired")?["node_id"].clone();

    let next = told(&a, &["rotate-key", "--json"])?["node_id"].clone();
    ensure!(next != before);
    let again = told(&a, &["rotate-key", "--json"])?;
    ensure!(again["node_id"] == next, "asking twice makes one key");
    ensure!(b.neighbour("a")?.context("paired")?["node_id"] == before, "not before it starts again");
    a.restart()?;

    until_true("b knows the new key", PATIENCE, || {
        let view = b.neighbour("a").ok().flatten();
        view.is_some_and(|view| {
            view["node_id"] == next && view["role"] == "mine" && view["state"] == "connected"
        })
    })?;
    until_true("a is connected too", PATIENCE, || is_connected(&a, "b", "mine"))?;
    let names = std::fs::read_dir(a.data())?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<_> = names.collect::<Result<_>>()?;
    ensure!(!names.iter().any(|name| name == "identity.old"), "the old key is gone: {names:?}");
    Ok(())
}
