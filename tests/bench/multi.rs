//! One file from several sources at once, beside aria2 on the same sources: how close to the shortest time in which they
//! could deliver, and how much is sent twice.
//!
//! `KITH_BENCH_ROWS` picks rows whose name has that word, `KITH_BENCH_SHARE` shortens every file to one part in so many.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kith_tests::body::Body;
use kith_tests::kith::Kith;
use kith_tests::origin::Origin;
use kith_tests::resource::Resource;
use kith_tests::tool;
use tempfile::TempDir;

use crate::figures::{Table, figure};

const MB: f64 = 1e6;

/// Length of the pieces whose hashes a metalink tells.
const PIECE_BYTES: u64 = 256 * 1024;

/// When something happens to a source, as a share of the shortest time.
const HAPPENS_AT: f64 = 0.4;

/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// What happens to the fastest mirror.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    Nothing,
    /// It sends nothing more and closes nothing.
    FallsSilent,
    /// It is gone.
    Dies,
    /// It serves another file of the same length.
    Lies,
}

/// What the origin tells besides where the file is.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    /// A metalink with the hashes of all pieces.
    Pieces,
    /// The digest of the whole.
    Digest,
}

struct Row {
    name: &'static str,
    megabytes: u64,
    /// In MB/s: the origin's, then its mirrors', the fastest last.
    speeds: [f64; 3],
    trouble: Trouble,
    told: Told,
    wanted: f64,
}

const fn row(name: &'static str, megabytes: u64, speeds: [f64; 3], wanted: f64) -> Row {
    Row { name, megabytes, speeds, trouble: Trouble::Nothing, told: Told::Pieces, wanted }
}

const ROWS: [Row; 11] = [
    row("2, 5, 10 MB/s, 200 MB", 200, [5.0, 2.0, 10.0], 0.97),
    row("the same, slow origin", 200, [2.0, 5.0, 10.0], 0.97),
    Row { told: Told::Digest, ..row("the same, no pieces", 200, [5.0, 2.0, 10.0], 0.97) },
    row("2, 5, 10 MB/s, 20 MB", 20, [5.0, 2.0, 10.0], 0.92),
    Row { trouble: Trouble::FallsSilent, ..row("fastest falls silent", 200, [5.0, 2.0, 10.0], 0.93) },
    Row { trouble: Trouble::Dies, ..row("fastest dies", 200, [5.0, 2.0, 10.0], 0.97) },
    row("0.1, 5, 10 MB/s: slow tail", 200, [5.0, 0.1, 10.0], 0.95),
    Row { trouble: Trouble::Lies, ..row("fastest lies", 200, [5.0, 2.0, 10.0], 0.93) },
    Row {
        trouble: Trouble::Lies,
        told: Told::Digest,
        ..row("it lies, no pieces", 200, [5.0, 2.0, 10.0], 0.93)
    },
    row("40, 100, 200 MB/s, 1 GiB", 1074, [100.0, 40.0, 200.0], 0.90),
    Row { told: Told::Digest, ..row("the same fast, no pieces", 1074, [100.0, 40.0, 200.0], 0.90) },
];

/// What one way came to.
struct Run {
    /// Of the shortest time.
    efficiency: f64,
    /// Of the file, sent once too often.
    twice: f64,
    is_right: bool,
}

/// Prints a row for each case: Kith that knows nothing of the sources, Kith that used them before, aria2.
pub(crate) fn measure() -> Result<()> {
    let columns = ["sources", "wanted", "kith", "twice", "again", "twice", "aria2", "twice"];
    let table = Table::titled("several sources (shortest time / time)", &columns);
    let only = std::env::var("KITH_BENCH_ROWS").unwrap_or_default();
    let share: u64 = std::env::var("KITH_BENCH_SHARE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for (row, seed) in ROWS.iter().zip(1000..).filter(|(row, _)| row.name.contains(&only)) {
        let length = row.megabytes * 1_000_000 / share.max(1);
        let kith = Kith::start_one("box")?;
        // The second run has another file: the first one lies on the shelf.
        let (first, second) = (Body::seeded(seed, length), Body::seeded(seed + 500, length));
        let cold = Sources::of(row, &first)?.by_kith(&kith)?;
        let again = match row.trouble {
            // A mirror that lied is left alone from then on: what it could bring is not to be had.
            Trouble::Lies => None,
            _ => Some(Sources::of(row, &second)?.by_kith(&kith)?),
        };
        let aria2 = Sources::of(row, &first)?.by_aria2()?;
        let mut cells = vec![row.name.to_owned(), format!("{:.2}", row.wanted)];
        for run in [Some(cold), again, Some(aria2)] {
            cells.extend(run.map_or([String::new(), String::new()], |run| run.cells()));
        }
        table.row(&cells);
    }
    Ok(())
}

impl Run {
    fn cells(&self) -> [String; 2] {
        let efficiency = if self.is_right { format!("{:.3}", self.efficiency) } else { "wrong".to_owned() };
        [efficiency, format!("{:.2} %", self.twice * 100.0)]
    }
}

/// An origin and its mirrors, not used yet.
struct Sources<'a> {
    row: &'a Row,
    body: &'a Body,
    origin: Origin,
    mirrors: Vec<Origin>,
    metalink: String,
}

impl<'a> Sources<'a> {
    fn of(row: &'a Row, body: &'a Body) -> Result<Self> {
        let [_, slow, fast] = row.speeds;
        let lie = Body::seeded(7, body.length());
        let served = if row.trouble == Trouble::Lies { &lie } else { body };
        let mirrors = vec![source(2, slow, body)?, source(3, fast, served)?];
        let metalink = metalink(row, body, &mirrors);
        let resource = Resource::of(body.clone());
        let (resource, about) = match row.told {
            Told::Pieces => {
                let link = "<f.meta4>; rel=describedby; type=\"application/metalink4+xml\"";
                (resource.field("Link", link), Body::of(metalink.clone().into_bytes()))
            }
            Told::Digest => {
                let links: Vec<String> =
                    mirrors.iter().map(|mirror| format!("<{}>; rel=duplicate", mirror.url("f"))).collect();
                (resource.with_digest().field("Link", &links.join(", ")), Body::of(*b"none"))
            }
        };
        let script = Origin::empty().and("f", resource).and("f.meta4", Resource::of(about));
        let origin = script.slow(rate(row.speeds[0])).start()?;
        Ok(Self { row, body, origin, mirrors, metalink })
    }

    fn by_kith(self, kith: &Kith) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let url = format!("http://{}/{}", kith.clients(), self.origin.url("f"));
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-o"]).arg(folder.path().join("f")).arg(url);
        let before = kith.metrics()?.count("kith_store_objects");
        let run = self.time(curl, &folder)?;
        kith.wait_stored(before + 1)?;
        Ok(run)
    }

    fn by_aria2(self) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let mut aria2 = Command::new("aria2c");
        aria2.args(["--no-conf", "--quiet", "-s3", "-x1", "-k1M", "--file-allocation=none", "-d"]);
        aria2.arg(folder.path()).args(["-o", "f"]);
        match self.row.told {
            Told::Pieces => {
                let path = folder.path().join("f.meta4");
                let place = format!("<url>{}</url></file>", self.origin.url("f"));
                std::fs::write(&path, self.metalink.replace("</file>", &place))?;
                aria2.arg("-M").arg(path);
            }
            Told::Digest => {
                aria2.arg(self.origin.url("f")).args(self.mirrors.iter().map(|mirror| mirror.url("f")));
            }
        }
        self.time(aria2, &folder)
    }

    /// Runs a program that makes the file, while the trouble happens.
    fn time(self, mut program: Command, folder: &TempDir) -> Result<Run> {
        let mut mirrors = self.mirrors;
        let mut fast = mirrors.pop().context("there are two")?;
        let (ideal, happens_at) = ideal(self.row, self.body.length());
        let sent_then = rate_of(figure(rate(self.row.speeds[2])) * happens_at);
        let trouble = self.row.trouble;
        let began = Instant::now();
        let (said, took) = std::thread::scope(|scope| {
            let happening = scope.spawn(|| -> Result<()> {
                if matches!(trouble, Trouble::FallsSilent | Trouble::Dies) {
                    fast.wait_sent(sent_then, PATIENCE)?;
                }
                match trouble {
                    Trouble::FallsSilent => fast.fall_silent(),
                    Trouble::Dies => fast.stop(),
                    Trouble::Nothing | Trouble::Lies => {}
                }
                Ok(())
            });
            let said = tool::run(&mut program);
            let took = began.elapsed();
            happening.join().expect("it does not panic").map(|()| (said, took))
        })?;
        let said = said?;
        let is_right = said.code == 0 && self.body.sha256() == sum(&folder.path().join("f"))?;
        let sent = self.origin.sent_for("f") + fast.sent() + mirrors[0].sent();
        Ok(Run {
            efficiency: ideal / took.as_secs_f64(),
            twice: figure(sent) / figure(self.body.length()) - 1.0,
            is_right,
        })
    }
}

/// A mirror at `127.0.0.number`: to aria2 sources of one host are one.
fn source(number: u8, speed: f64, body: &Body) -> Result<Origin> {
    let address = std::net::SocketAddr::from(([127, 0, 0, number], 0));
    let script = Origin::serving("f", body).at(&kith_tests::place::Place::Here, address);
    Ok(script.slow(rate(speed)).start()?)
}

/// The shortest time in seconds, and after how many of them something happens.
fn ideal(row: &Row, length: u64) -> (f64, f64) {
    let [origin, slow, fast] = row.speeds.map(|speed| speed * MB);
    let all = figure(length) / (origin + slow + fast);
    let happens_at = all * HAPPENS_AT;
    let seconds = match row.trouble {
        Trouble::Nothing => all,
        Trouble::FallsSilent | Trouble::Dies => all + happens_at_cost(all, happens_at, fast, origin + slow),
        Trouble::Lies => figure(length) / (origin + slow),
    };
    (seconds, happens_at)
}

/// How much longer the rest takes without the fastest source.
fn happens_at_cost(all: f64, happens_at: f64, fast: f64, others: f64) -> f64 {
    (all - happens_at) * fast / others
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
fn rate_of(bytes: f64) -> u64 {
    bytes as u64
}

fn rate(speed: f64) -> u64 {
    rate_of(speed * MB)
}

fn metalink(row: &Row, body: &Body, mirrors: &[Origin]) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\"?><metalink xmlns=\"urn:ietf:params:xml:ns:metalink\"><file name=\"f\">\
         <size>{}</size><hash type=\"sha-256\">{}</hash>",
        body.length(),
        body.sha256()
    );
    if row.told == Told::Pieces {
        text.extend(["<pieces length=\"", &PIECE_BYTES.to_string(), "\" type=\"sha-256\">"]);
        let mut start = 0;
        while start < body.length() {
            let end = (start + PIECE_BYTES).min(body.length());
            text.extend(["<hash>", &body.sha256_of(start..end), "</hash>"]);
            start = end;
        }
        text += "</pieces>";
    }
    for mirror in mirrors {
        text.extend(["<url>", &mirror.url("f"), "</url>"]);
    }
    text + "</file></metalink>"
}

fn sum(path: &Path) -> Result<String> {
    if !path.exists() {
        return Ok(String::new());
    }
    let said = tool::succeed(Command::new("sha256sum").arg(path))?.out;
    let sum = said.split_whitespace().next().context("a sum")?;
    ensure!(sum.len() == 64, "{said}");
    Ok(sum.to_owned())
}
