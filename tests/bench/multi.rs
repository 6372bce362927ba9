//! One file from several sources at once, beside aria2 on the same sources: how close to the shortest time in which they
//! could deliver, and how much is sent twice. With a neighbour among them: in [`crate::mixed`].
//!
//! `KITH_BENCH_ROWS` picks rows whose name has that word, `KITH_BENCH_SHARE` shortens every file to one part in so many.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kith_tests::body::Body;
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::origin::{Origin, Script};
use kith_tests::place::Place;
use kith_tests::resource::Resource;
use kith_tests::tool;

use crate::figures::{Table, figure};

pub(crate) const MB: f64 = 1e6;

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
pub(crate) struct Run {
    /// Of the shortest time.
    pub(crate) efficiency: f64,
    /// Of the file, sent once too often.
    pub(crate) twice: f64,
    pub(crate) is_right: bool,
}

/// Prints a row for each case: Kith that knows nothing of the sources, Kith that used them before, aria2.
pub(crate) fn measure() -> Result<()> {
    let columns = ["sources", "wanted", "kith", "twice", "again", "twice", "aria2", "twice"];
    let table = Table::titled("several sources (shortest time / time)", &columns);
    for (row, seed) in ROWS.iter().zip(1000..).filter(|(row, _)| is_picked(row.name)) {
        let length = length_of(row.megabytes);
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
    crate::mixed::measure()
}

/// Whether a row was asked for.
pub(crate) fn is_picked(name: &str) -> bool {
    std::env::var("KITH_BENCH_ROWS").map_or(true, |word| name.contains(&word))
}

/// In bytes, as short as was asked for.
pub(crate) fn length_of(megabytes: u64) -> u64 {
    let share: u64 = std::env::var("KITH_BENCH_SHARE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    megabytes * 1_000_000 / share.max(1)
}

impl Run {
    pub(crate) fn cells(&self) -> [String; 2] {
        let efficiency = if self.is_right { format!("{:.3}", self.efficiency) } else { "wrong".to_owned() };
        [efficiency, format!("{:.2} %", self.twice * 100.0)]
    }
}

/// An origin and its mirrors, not used yet.
struct Sources<'a> {
    row: &'a Row,
    body: &'a Body,
    origin: Origin,
    slow: Origin,
    fast: Origin,
}

impl<'a> Sources<'a> {
    fn of(row: &'a Row, body: &'a Body) -> Result<Self> {
        let lie = Body::seeded(7, body.length());
        let served = if row.trouble == Trouble::Lies { &lie } else { body };
        let [_, slow, fast] = row.speeds;
        let (slow, fast) = (source(2, slow, body)?, source(3, fast, served)?);
        let mirrors = [slow.url("f"), fast.url("f")];
        let resource = Resource::of(body.clone());
        let script = match row.told {
            Told::Pieces => described(Origin::empty(), "f", resource, &mirrors),
            Told::Digest => {
                let links = mirrors.map(|mirror| format!("<{mirror}>; rel=duplicate"));
                Origin::empty().and("f", resource.with_digest().field("Link", &links.join(", ")))
            }
        };
        let origin = script.slow(rate(row.speeds[0])).start()?;
        Ok(Self { row, body, origin, slow, fast })
    }

    fn by_kith(mut self, kith: &Kith) -> Result<Run> {
        let before = kith.metrics()?.count("kith_store_objects");
        let request = Request::by_prefix(kith, &self.origin.url("f"));
        let body = self.body;
        let (took, is_right) = self.time(|| Ok(request.send()?.brings(body)?))?;
        kith.wait_stored(before + 1)?;
        Ok(self.run(took, is_right))
    }

    fn by_aria2(mut self) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("f");
        let urls = [self.origin.url("f"), self.slow.url("f"), self.fast.url("f")];
        let mut aria2 = match self.row.told {
            Told::Pieces => {
                let path = folder.path().join("f.meta4");
                std::fs::write(&path, metalink(self.body, &urls))?;
                let mut aria2 = aria2(&Place::Here, folder.path());
                aria2.arg("-M").arg(path);
                aria2
            }
            Told::Digest => {
                let mut aria2 = aria2(&Place::Here, folder.path());
                aria2.args(urls);
                aria2
            }
        };
        let (took, is_through) = self.time(|| Ok(tool::run(&mut aria2)?.code == 0))?;
        let is_right = is_through && self.body.sha256() == sum(&file)?;
        Ok(self.run(took, is_right))
    }

    /// How long a fetch takes while the trouble happens, and what it says itself.
    fn time(&mut self, fetch: impl FnOnce() -> Result<bool>) -> Result<(f64, bool)> {
        let (_, happens_at) = ideal(self.row, self.body.length());
        let sent_then = rate_of(figure(rate(self.row.speeds[2])) * happens_at);
        let (trouble, fast) = (self.row.trouble, &mut self.fast);
        std::thread::scope(|scope| {
            let began = Instant::now();
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
            let is_right = fetch();
            let took = began.elapsed().as_secs_f64();
            happening.join().expect("it does not panic")?;
            Ok((took, is_right?))
        })
    }

    fn run(&self, took: f64, is_right: bool) -> Run {
        let length = self.body.length();
        let sent = self.origin.sent_for("f") + self.slow.sent() + self.fast.sent();
        Run {
            efficiency: ideal(self.row, length).0 / took,
            twice: figure(sent) / figure(length) - 1.0,
            is_right,
        }
    }
}

/// Adds a file with a metalink that tells the hashes of its pieces and further places.
pub(crate) fn described(script: Script, name: &str, file: Resource, mirrors: &[String]) -> Script {
    let about = Resource::of(Body::of(metalink(&file.body, mirrors).into_bytes()));
    let link = format!("<{name}.meta4>; rel=describedby; type=\"application/metalink4+xml\"");
    script.and(name, file.field("Link", &link)).and(&format!("{name}.meta4"), about)
}

/// aria2 that writes a file `f` in this folder, from three sources at once.
pub(crate) fn aria2(place: &Place, folder: &Path) -> Command {
    let mut aria2 = place.command("aria2c");
    aria2.args(["--no-conf", "--quiet", "-s3", "-x1", "-k1M", "--file-allocation=none", "-o", "f", "-d"]);
    aria2.arg(folder);
    aria2
}

/// A mirror at `127.0.0.number`: to aria2 sources of one host are one.
fn source(number: u8, speed: f64, body: &Body) -> Result<Origin> {
    let address = SocketAddr::from(([127, 0, 0, number], 0));
    let script = Origin::serving("f", body).at(&Place::Here, address);
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

/// Bytes a second of so many MB/s.
pub(crate) fn rate(speed: f64) -> u64 {
    rate_of(speed * MB)
}

/// What names these places for a file, with the hashes of its pieces.
pub(crate) fn metalink(body: &Body, places: &[String]) -> String {
    let length = body.length();
    let mut text = format!(
        "<?xml version=\"1.0\"?><metalink xmlns=\"urn:ietf:params:xml:ns:metalink\"><file name=\"f\">\
         <size>{length}</size><hash type=\"sha-256\">{}</hash><pieces length=\"{PIECE_BYTES}\" type=\"sha-256\">",
        body.sha256()
    );
    let mut start = 0;
    while start < length {
        let end = (start + PIECE_BYTES).min(length);
        text.extend(["<hash>", &body.sha256_of(start..end), "</hash>"]);
        start = end;
    }
    text += "</pieces>";
    for place in places {
        text.extend(["<url>", place, "</url>"]);
    }
    text + "</file></metalink>"
}

/// SHA-256 of a file; nothing of one that is not there.
pub(crate) fn sum(path: &Path) -> Result<String> {
    if !path.exists() {
        return Ok(String::new());
    }
    let said = tool::succeed(Command::new("sha256sum").arg(path))?.out;
    let sum = said.split_whitespace().next().context("a sum")?;
    ensure!(sum.len() == 64, "{said}");
    Ok(sum.to_owned())
}
