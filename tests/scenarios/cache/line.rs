//! Reads one line of the table and plays it. How a line is written stands in `cache.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use kith_tests::client::Request;
use kith_tests::head::Head;
use kith_tests::kith::Kith;
use kith_tests::script::{End, Line, Scripted};

/// What it shows, answers, requests, what is expected.
pub(crate) struct Case(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
);

/// By which form clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Proxy,
    Prefix,
}

/// Where cases are played.
pub(crate) struct Stage<'a> {
    pub(crate) kith: &'a Kith,
    pub(crate) origin: &'a Scripted,
    pub(crate) door: Door,
}

/// What a client got.
struct Got {
    head: Head,
    body: String,
    /// What the origin was asked for it.
    asked: Vec<Head>,
}

/// In the background it is asked within moments.
const LATER: Duration = Duration::from_secs(10);

impl Case {
    pub(crate) fn is_for(&self, door: Door) -> bool {
        match door {
            Door::Proxy => !self.0.starts_with("prefix:"),
            Door::Prefix => !self.0.starts_with("proxy:"),
        }
    }
}

impl Stage<'_> {
    pub(crate) fn play(&self, case: &Case) -> Result<()> {
        static PLAYED: AtomicUsize = AtomicUsize::new(0);
        let Case(_, answers, requests, expected) = case;
        let path = format!("/{:?}/{}", self.door, PLAYED.fetch_add(1, Ordering::Relaxed));
        let answers: Vec<Line> = answers
            .split(" || ")
            .enumerate()
            .map(|(index, text)| answer(text, &path, index))
            .collect::<Result<_>>()?;
        self.origin.tell(&path, answers.clone());
        self.origin.tell(&format!("{path}/x"), answers.clone());
        let requests: Vec<_> = requests.split(" || ").collect();
        let expected: Vec<_> = expected.split(" || ").collect();
        ensure!(requests.len() == expected.len(), "{} requests, {} answers", requests.len(), expected.len());
        for (number, (request, expected)) in requests.into_iter().zip(expected).enumerate() {
            let got = self.ask(request, &path)?;
            self.judge(&got, expected, &answers, &path).with_context(|| {
                let asked: Vec<_> = got.asked.iter().map(|head| (&head.first, &head.fields)).collect();
                format!("request {}: {:?} {:?}, origin asked {asked:?}", number + 1, got.head, got.body)
            })?;
        }
        Ok(())
    }

    fn ask(&self, text: &str, path: &str) -> Result<Got> {
        let mut parts = text.split(" | ");
        let mut words = parts.next().unwrap_or_default().split(' ');
        let method = words.next().filter(|method| !method.is_empty()).unwrap_or("GET");
        let url = format!("http://{}{path}{}", self.origin.address(), words.next().unwrap_or_default());
        let request = match self.door {
            Door::Proxy => Request::by_proxy(self.kith, &url),
            Door::Prefix => Request::by_prefix(self.kith, &url),
        };
        let mut request = request.method(method);
        for field in parts {
            let (name, value) = field.split_once(": ").with_context(|| format!("no field: {field}"))?;
            request = request.field(name, &filled(value, path));
        }
        let before = self.origin.asked(path).len();
        let answer = request.send()?;
        let head = answer.head.clone();
        let body = answer.text()?;
        Ok(Got { head, body, asked: self.origin.asked(path).split_off(before) })
    }

    fn judge(&self, got: &Got, expected: &str, answers: &[Line], path: &str) -> Result<()> {
        let mut words = expected.split(' ');
        let source = words.next().unwrap_or_default();
        let marks: Vec<_> = words.collect();
        let told = marks.iter().find_map(|mark| mark.strip_prefix('='));
        let told: Option<u16> = told.map(str::parse).transpose()?;
        let origin = self.origin.asked(path).len();
        let given = came_from(got, source, answers, origin)?;
        if let Some(given) = given {
            ensure!(
                got.head.status() == told.or(given.status).unwrap_or(200),
                "status {}",
                got.head.status()
            );
            let whole = told.is_none_or(|told| told == given.status.unwrap_or(200));
            if whole && !marks.contains(&"empty") && !marks.contains(&"part") {
                ensure!(got.body.as_bytes() == given.body, "other content");
            }
        } else if let Some(told) = told {
            ensure!(got.head.status() == told, "status {}", got.head.status());
        }
        for mark in marks {
            self.mark(got, mark, path).with_context(|| mark.to_owned())?;
        }
        Ok(())
    }

    fn mark(&self, got: &Got, mark: &str, path: &str) -> Result<()> {
        let field = |rest: &str| -> (String, String) {
            let (name, value) = rest.split_once(':').unwrap_or((rest, ""));
            (name.to_owned(), value.to_owned())
        };
        let asked = |name: &str| got.asked.first().and_then(|head| head.field(name)).map(str::to_owned);
        if let Some(count) = mark.strip_prefix("later:") {
            ensure!(self.origin.was_asked(path, count.parse()?, LATER), "asked too seldom");
        } else if let Some(seconds) = mark.strip_prefix("age>=") {
            let age: u64 = got.head.field("age").context("no age")?.parse()?;
            // A slow machine may take its time; a wrong sum is off by more.
            let seconds: u64 = seconds.parse()?;
            ensure!((seconds..seconds + 60).contains(&age), "age {age}");
        } else if let Some(rest) = mark.strip_prefix('+') {
            let (name, value) = field(rest);
            let value = value.replace('~', " ");
            ensure!(got.head.field(&name) == Some(&value), "{:?}", got.head.field(&name));
        } else if let Some(rest) = mark.strip_prefix('~') {
            let (name, value) = field(rest);
            let known = got.head.field(&name).map(|known| known.replace(' ', ""));
            ensure!(known.as_ref().is_some_and(|known| known.contains(&value)), "{known:?}");
        } else if let Some(rest) = mark.strip_prefix('?') {
            let (name, value) = field(rest);
            ensure!(asked(&name).is_some_and(|known| known.contains(&value)), "{:?}", asked(&name));
        } else if let Some(name) = mark.strip_prefix('!') {
            ensure!(asked(name).is_none(), "{:?}", asked(name));
        } else if let Some(name) = mark.strip_prefix('-') {
            ensure!(got.head.field(name).is_none(), "{:?}", got.head.field(name));
        } else {
            ensure!(mark.starts_with('=') || matches!(mark, "empty" | "part"), "what is that?");
        }
        Ok(())
    }
}

/// The answer that the client should have got, after checking who was asked how.
fn came_from<'a>(got: &Got, source: &str, answers: &'a [Line], asked: usize) -> Result<Option<&'a Line>> {
    let conditional = got
        .asked
        .iter()
        .any(|head| head.field("if-none-match").or(head.field("if-modified-since")).is_some());
    let nth = |index: usize| answers.get(index).or(answers.last()).context("no such answer");
    let kept = |upto: usize| {
        (0..upto).rev().map(nth).find(|line| {
            line.as_ref().is_ok_and(|line| line.status.is_some_and(|status| status != 304 && status < 500))
        })
    };
    let (source, number) = source.split_once('#').unwrap_or((source, ""));
    let numbered = number.parse::<usize>().ok().map(|number| nth(number - 1));
    let count = got.asked.len();
    match source {
        "hit" => ensure!(count == 0, "the origin was asked"),
        "none" => {
            ensure!(count == 0, "the origin was asked");
            return Ok(None);
        }
        "stale" => {}
        "asked" => ensure!(count == 1 && !conditional, "not asked plainly, or not once"),
        "checked" => ensure!(count == 1 && conditional, "not asked whether it holds, or not once"),
        other => bail!("{other}: what is that?"),
    }
    if let Some(numbered) = numbered {
        return numbered.map(Some);
    }
    match source {
        "hit" => kept(asked).transpose(),
        "stale" => kept(asked - count).transpose(),
        _ if nth(asked - 1)?.status == Some(304) => kept(asked - 1).transpose(),
        _ => nth(asked - 1).map(Some),
    }
}

fn answer(text: &str, path: &str, index: usize) -> Result<Line> {
    if text == "close" {
        return Ok(Line::default());
    }
    let mut line = Line { status: Some(200), ..Line::default() };
    line.body = format!("{path} #{}\n", index + 1).into_bytes();
    let mut dated = false;
    for part in text.split(" | ").filter(|part| !part.is_empty()) {
        if let Ok(status) = part.parse() {
            line.status = Some(status);
        } else if let Some(body) = part.strip_prefix(":body=") {
            line.body = body.as_bytes().to_vec();
        } else {
            match part {
                ":chunked" => line.end = End::Chunks,
                ":close" => line.end = End::Close,
                ":no-date" => dated = true,
                _ => {
                    let (name, value) = part.split_once(':').with_context(|| format!("no field: {part}"))?;
                    dated |= name.eq_ignore_ascii_case("date");
                    line.fields.push((name.to_owned(), filled(value.trim_start(), path)));
                }
            }
        }
    }
    if matches!(line.status, Some(204 | 304)) {
        line.body.clear();
    }
    if !dated {
        line.fields.push(("Date".to_owned(), httpdate::fmt_http_date(SystemTime::now())));
    }
    Ok(line)
}

/// With dates and the path in their places.
fn filled(value: &str, path: &str) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('{') {
        let (inner, behind) = after.split_once('}').unwrap_or((after, ""));
        out += before;
        let now = SystemTime::now();
        let moment = match inner.split_at_checked(1) {
            Some(("-", seconds)) => seconds.parse().ok().map(|seconds| now - Duration::from_secs(seconds)),
            Some(("+", seconds)) => seconds.parse().ok().map(|seconds| now + Duration::from_secs(seconds)),
            _ => None,
        };
        match moment {
            Some(moment) => out += &httpdate::fmt_http_date(moment),
            None => out += path,
        }
        rest = behind;
    }
    out + rest
}
