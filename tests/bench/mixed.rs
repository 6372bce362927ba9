//! One file from the origin, two mirrors and a neighbour at once: as in [`crate::multi`], but in the lab, where there is a
//! box next door. aria2 knows no neighbours; it has the three others, and is held to what those could deliver.

use std::time::Instant;

use anyhow::Result;
use kith_tests::body::Body;
use kith_tests::lab::{House, ORIGIN};
use kith_tests::metrics::Metrics;
use kith_tests::origin::{Origin, Script};
use kith_tests::resource::Resource;
use kith_tests::tool;

use crate::figures::{Table, figure};
use crate::multi::{MB, Run, aria2, described, is_picked, length_of, metalink, rate, sum};

const MEGABYTES: u64 = 200;

/// In MB/s.
const ORIGIN_SPEED: f64 = 5.0;
const MIRROR_SPEEDS: [f64; 2] = [2.0, 10.0];

/// The same file for Kith that knows nothing of the sources, and another one when it used them before.
const FILES: [&str; 2] = ["f", "g"];

struct Row {
    name: &'static str,
    /// Of the neighbour, in MB/s.
    speed: u32,
    /// What could be delivered together, in MB/s.
    together: f64,
    wanted: f64,
}

const ROWS: [Row; 2] = [
    Row { name: "neighbour 4 MB/s: all share", speed: 4, together: 21.0, wanted: 0.93 },
    // One that is as fast as the origin spares everybody else's uplink.
    Row { name: "neighbour 8 MB/s: it alone", speed: 8, together: 8.0, wanted: 0.93 },
];

/// Prints a row for each speed of the neighbour. Needs root, as the lab does.
pub(crate) fn measure() -> Result<()> {
    let rows: Vec<&Row> = ROWS.iter().filter(|row| is_picked(row.name)).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let columns = [
        "and a neighbour",
        "wanted",
        "kith",
        "twice",
        "origin",
        "mirrors",
        "neighbour",
        "again",
        "twice",
        "aria2 without",
        "twice",
    ];
    let table = Table::titled("origin 5, mirrors 2 and 10 MB/s, 200 MB (shortest time / time)", &columns);
    for row in rows {
        let street = Street::of(row)?;
        let (cold, shares) = street.by_kith(0)?;
        let (again, _) = street.by_kith(1)?;
        let others = street.by_aria2()?;
        let mut cells = vec![row.name.to_owned(), format!("{:.2}", row.wanted)];
        cells.extend(cold.cells());
        cells.extend(shares.map(|share| format!("{:.1} %", share * 100.0)));
        cells.extend(again.cells());
        cells.extend(others.cells());
        table.row(&cells);
    }
    Ok(())
}

/// A box that knows nothing beside one that holds the files; they have an origin and two mirrors.
struct Street<'a> {
    row: &'a Row,
    bodies: [Body; 2],
    mirrors: [Origin; 2],
    house: House,
}

impl<'a> Street<'a> {
    fn of(row: &'a Row) -> Result<Self> {
        let bodies = [2000, 2001].map(|seed| Body::seeded(seed, length_of(MEGABYTES)));
        let speed = format!("\"{}Mbit/s\"", row.speed * 8);
        let places = [1, 2].map(|number| format!("203.0.113.{}", ORIGIN.octets()[3] + number));
        let script = FILES.iter().zip(&bodies).fold(Origin::empty(), |script, (name, body)| {
            let mirrors = places.clone().map(|place| format!("http://{place}:8000/{name}"));
            described(script, name, Resource::of(body.clone()), &mirrors)
        });
        let house = House::paired_as(script, |setup| setup.set("neighbours.upload_rate", &speed))?;
        let mirror = |place: &str| -> Result<Origin> {
            house.lab.ip("origin", &format!("addr add {place}/32 dev lo"))?;
            let address = format!("{place}:8000").parse()?;
            Ok(serving(&bodies).at(&house.lab.origin().0, address).start()?)
        };
        let mirrors = [mirror(&places[0])?, mirror(&places[1])?];
        for name in FILES {
            house.fill_a(name)?;
        }
        house.origin.set_rate(Some(rate(ORIGIN_SPEED)));
        for (mirror, speed) in mirrors.iter().zip(MIRROR_SPEEDS) {
            mirror.set_rate(Some(rate(speed)));
        }
        Ok(Self { row, bodies, mirrors, house })
    }

    /// By the box that holds nothing, for a client of its own; and which share came from the origin, from mirrors, from
    /// next door.
    fn by_kith(&self, file: usize) -> Result<(Run, [f64; 3])> {
        let Self { house, row, .. } = self;
        let (name, body) = (FILES[file], &self.bodies[file]);
        let length = figure(body.length());
        let (sent, before) = (self.sent()?, house.b.metrics()?);
        let request = house.request(&house.b, name);
        let began = Instant::now();
        let is_right = request.send()?.brings(body)?;
        let seconds = began.elapsed().as_secs_f64();
        house.b.wait_stored(before.count("kith_store_objects") + 1)?;
        let after = house.b.metrics()?;
        let share = |source| figure(after.served(source) - before.served(source)) / length;
        let run = Run {
            efficiency: length / (row.together * MB) / seconds,
            twice: figure(self.sent()? - sent) / length - 1.0,
            is_right,
        };
        Ok((run, ["origin", "mirror", "neighbour"].map(share)))
    }

    fn by_aria2(&self) -> Result<Run> {
        let (name, body) = (FILES[0], &self.bodies[0]);
        let length = figure(body.length());
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("f.meta4");
        let urls = [&self.house.origin, &self.mirrors[0], &self.mirrors[1]].map(|origin| origin.url(name));
        std::fs::write(&path, metalink(body, &urls))?;
        let mut aria2 = aria2(&self.house.b_spot.place, folder.path());
        aria2.arg("-M").arg(path);
        let sent = self.sent()?;
        let began = Instant::now();
        let is_through = tool::run(&mut aria2)?.code == 0;
        let seconds = began.elapsed().as_secs_f64();
        let others: f64 = MIRROR_SPEEDS.iter().sum();
        Ok(Run {
            efficiency: length / ((ORIGIN_SPEED + others) * MB) / seconds,
            twice: figure(self.sent()? - sent) / length - 1.0,
            is_right: is_through && body.sha256() == sum(&folder.path().join("f"))?,
        })
    }

    /// Bytes that the files' sources sent so far, the box next door among them.
    fn sent(&self) -> Result<u64> {
        let metrics: Metrics = self.house.a.metrics()?;
        let near = metrics.count("kith_neighbour_bytes_total{direction=\"out\"}");
        let websites = [&self.house.origin, &self.mirrors[0], &self.mirrors[1]];
        let far: u64 = websites.iter().flat_map(|origin| FILES.map(|name| origin.sent_for(name))).sum();
        Ok(near + far)
    }
}

fn serving(bodies: &[Body]) -> Script {
    let files = FILES.iter().zip(bodies);
    files.fold(Origin::empty(), |script, (name, body)| script.and(name, Resource::of(body.clone())))
}
