//! Who asks for what, when: a trace like those of real caches, from a few numbers and a seed.
//!
//! Popularity is Zipf's: the title of rank r is asked for r^-alpha times as often as the first one (Breslau et al. 1999
//! measured 0.64 to 0.83 for the web). A share of the requests follows a taste of the box's own, in which other titles are
//! popular. Titles are replaced: each rank gets a new one after `life_days`, each at its own hour, so that there are
//! releases. Sizes are log-normal. Boxes are asked in bursts (an upgrade, an evening): sessions come as a Poisson
//! process, the count of their files is geometric. Boxes come and go.

use std::collections::HashMap;

use http::{HeaderMap, HeaderValue};
use kith_model::key::Target;
use kith_model::ladder::Ladder;
use kith_model::limits::NEIGHBOUR_OBJECT_BYTES_MIN;
use kith_model::object::ObjectId;
use kith_model::representation::StrongValidator;
use kith_model::sharing::{self, Audience, Credentials, Publisher, may_share};
use kith_neighbour::claim::{Statement, Subject};

use crate::chance::Chance;
use crate::numbers::{as_f64, whole};

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub(crate) boxes: usize,
    pub(crate) days: f64,
    /// Files a box is asked for in a day.
    pub(crate) files_a_day: f64,
    /// Files in one session, on average, and seconds between two.
    pub(crate) burst: f64,
    pub(crate) gap_s: f64,
    /// Titles that there are at a time.
    pub(crate) titles: usize,
    /// Zipf's exponent.
    pub(crate) alpha: f64,
    /// Share of the requests that follow the box's own taste.
    pub(crate) locality: f64,
    /// Days after which a rank has a new title.
    pub(crate) life_days: f64,
    /// Half of the titles are smaller; MiB.
    pub(crate) median_mib: f64,
    /// Standard deviation of the logarithm of the size.
    pub(crate) sigma: f64,
    /// Share of the titles that sharing forbids: their URLs carry a token.
    pub(crate) private: f64,
    /// Share of the titles whose site tells a digest.
    pub(crate) digests: f64,
    /// Share of the time in which a box is off, and how many hours it is off at a time on average.
    pub(crate) away: f64,
    pub(crate) away_hours: f64,
}

impl Habits {
    /// A neighbourhood of so many boxes.
    pub(crate) fn of(boxes: usize) -> Self {
        Self {
            boxes,
            days: 28.0,
            files_a_day: 60.0,
            burst: 12.0,
            gap_s: 5.0,
            titles: 4000 + 200 * boxes,
            alpha: 0.8,
            locality: 0.2,
            life_days: 60.0,
            median_mib: 20.0,
            sigma: 1.3,
            private: 0.05,
            digests: 1.0,
            away: 0.0,
            away_hours: 8.0,
        }
    }

    /// Bytes of a title on average: that of the log-normal distribution.
    pub(crate) fn mean_bytes(&self) -> f64 {
        self.median_mib * f64::from(1u32 << 20) * (self.sigma * self.sigma / 2.0).exp()
    }
}

/// A title.
#[derive(Clone, Debug)]
pub(crate) struct Ware {
    pub(crate) id: ObjectId,
    pub(crate) length: u64,
    /// What it is looked for as.
    pub(crate) subject: Subject,
    /// Whether `kith_model::sharing` lets it go to boxes of the same owner, and it is worth a question.
    pub(crate) is_shared: bool,
    /// Whether its site tells a digest: what came from neighbours may be claimed then.
    pub(crate) is_digest_told: bool,
}

/// A client asks its box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) at_ms: u64,
    pub(crate) house: usize,
    pub(crate) ware: usize,
}

/// All that happens from outside.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) wares: Vec<Ware>,
    /// In the order of time.
    pub(crate) requests: Vec<Request>,
    /// Of each box: when it goes and when it comes back.
    pub(crate) absences: Vec<Vec<(u64, u64)>>,
    pub(crate) end_ms: u64,
}

pub(crate) const DAY_MS: f64 = 86_400_000.0;

impl Trace {
    pub(crate) fn new(habits: &Habits, seed: u64) -> Self {
        let end_ms = whole(habits.days * DAY_MS);
        let zipf = Zipf::new(habits.titles, habits.alpha);
        let absences: Vec<_> = (0..habits.boxes).map(|house| absences(habits, end_ms, seed, house)).collect();
        let mut wares = Wares { habits, seed, all: Vec::new(), by_title: HashMap::new() };
        let mut requests = Vec::new();
        for (house, absences) in absences.iter().enumerate() {
            let mut chance = Chance::new(seed, 1000 + house as u64);
            let mut at = chance.wait(DAY_MS * habits.burst / habits.files_a_day);
            while at < habits.days * DAY_MS {
                let mut file_at = at;
                loop {
                    let ware = wares.find(draw(habits, &zipf, &mut chance, house, file_at));
                    let at_ms = whole(file_at);
                    let is_off = absences.iter().any(|(from, to)| (*from..*to).contains(&at_ms));
                    if !is_off && at_ms < end_ms {
                        requests.push(Request { at_ms, house, ware });
                    }
                    file_at += chance.wait(habits.gap_s * 1000.0);
                    if chance.share() < 1.0 / habits.burst {
                        break;
                    }
                }
                at += chance.wait(DAY_MS * habits.burst / habits.files_a_day);
            }
        }
        requests.sort_unstable();
        Self { wares: wares.all, requests, absences, end_ms }
    }
}

fn absences(habits: &Habits, end_ms: u64, seed: u64, house: usize) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    if habits.away <= 0.0 {
        return found;
    }
    let mut chance = Chance::new(seed, 5_000_000 + house as u64);
    let off_ms = habits.away_hours * 3_600_000.0;
    let on_ms = off_ms * (1.0 - habits.away) / habits.away;
    let mut at = chance.wait(on_ms);
    while whole(at) < end_ms {
        let back = at + chance.wait(off_ms);
        found.push((whole(at), whole(back)));
        at = back + chance.wait(on_ms);
    }
    found
}

/// A title's number: which rank it has, and how many there had that rank before it.
fn draw(habits: &Habits, zipf: &Zipf, chance: &mut Chance, house: usize, at: f64) -> u64 {
    let rank = zipf.rank(chance.share());
    let place = if chance.share() < habits.locality {
        // The same titles in an order of the box's own.
        (rank + 1).wrapping_mul(0x9e37_79b1).wrapping_add(house * 7919) % habits.titles
    } else {
        rank
    };
    let phase = Chance::new(place as u64, 77).share();
    let generation = whole(at / DAY_MS / habits.life_days + phase);
    place as u64 + generation * habits.titles as u64
}

struct Wares<'a> {
    habits: &'a Habits,
    seed: u64,
    all: Vec<Ware>,
    by_title: HashMap<u64, usize>,
}

impl Wares<'_> {
    fn find(&mut self, title: u64) -> usize {
        if let Some(known) = self.by_title.get(&title) {
            return *known;
        }
        self.all.push(ware(self.habits, self.seed, title));
        self.by_title.insert(title, self.all.len() - 1);
        self.all.len() - 1
    }
}

fn ware(habits: &Habits, seed: u64, title: u64) -> Ware {
    let mut chance = Chance::new(seed ^ title.rotate_left(32), 3);
    let mib = habits.median_mib * (habits.sigma * chance.normal()).exp();
    let length = whole(mib.clamp(0.01, 2048.0) * f64::from(1u32 << 20));
    let token = if chance.share() < habits.private { "?token=0123456789" } else { "" };
    let target = Target::parse(&format!("https://files.example.org/{title}.bin{token}")).expect("a URL");
    let mut response = HeaderMap::new();
    response.insert("content-type", HeaderValue::from_static("application/octet-stream"));
    response.insert("etag", HeaderValue::from_static("\"v1\""));
    let subject = sharing::Subject {
        target: &target,
        credentials: Credentials::None,
        response: &response,
        length,
        ladder: &Ladder::default(),
        publisher: Publisher::Silent,
    };
    let may_leave = may_share(&subject, Audience::Mine).is_ok();
    let validator = StrongValidator::of(&response).expect("a strong tag");
    Ware {
        id: ObjectId::of(&title.to_be_bytes()),
        length,
        subject: Statement::Fetched(target, validator).subject(length),
        is_shared: may_leave && length >= NEIGHBOUR_OBJECT_BYTES_MIN,
        is_digest_told: chance.share() < habits.digests,
    }
}

/// Ranks by Zipf's law.
struct Zipf {
    /// Share of the requests for this rank and all before it.
    up_to: Vec<f64>,
}

impl Zipf {
    fn new(titles: usize, alpha: f64) -> Self {
        let mut sum = 0.0;
        let mut up_to: Vec<f64> = (1..=titles as u64)
            .map(|rank| {
                sum += as_f64(rank).powf(-alpha);
                sum
            })
            .collect();
        for share in &mut up_to {
            *share /= sum;
        }
        Self { up_to }
    }

    fn rank(&self, share: f64) -> usize {
        self.up_to.partition_point(|up_to| *up_to < share).min(self.up_to.len() - 1)
    }
}
