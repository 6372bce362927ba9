//! The bar of a download: one line of a terminal, written anew again and again.
//!
//! What it says is worked out by `line` and `Pace`, which know neither the terminal nor the clock.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

use crate::cli::human::{Bytes, Span};

/// Between two lines: what changes faster nobody reads.
const REDRAW: Duration = Duration::from_millis(100);

/// What a terminal is taken to be that does not say.
const COLUMNS: usize = 80;

/// A bar below this says nothing.
const BAR_COLUMNS_MIN: usize = 10;

/// How long ago what the rate is made of may be: longer, and it lags; shorter, and it jumps.
const PACE_MS: u64 = 5000;

/// How far a download is.
#[derive(Clone, Copy)]
pub(super) struct State<'a> {
    /// Of the object, with what was there before.
    pub(super) bytes: u64,
    /// Of the object, where it is known.
    pub(super) length: Option<u64>,
    /// Behind the figures.
    pub(super) message: &'a str,
}

/// The line on the terminal, or nothing at all.
pub(super) struct Bar {
    is_shown: bool,
    drawn_at: Instant,
    pace: Pace,
}

impl Bar {
    /// Shown when standard error is a terminal.
    pub(super) fn new() -> Self {
        Self { is_shown: stderr().is_terminal(), ..Self::hidden() }
    }

    /// Never shown.
    pub(super) fn hidden() -> Self {
        Self { is_shown: false, drawn_at: Instant::now(), pace: Pace::default() }
    }

    /// Takes what was there before for no part of the rate.
    pub(super) fn resume(&mut self, bytes: u64) {
        self.pace = Pace { bytes, ..Pace::default() };
        self.drawn_at = Instant::now();
    }

    /// Shows it, unless it was just shown.
    pub(super) fn draw(&mut self, state: State<'_>) {
        let passed = self.drawn_at.elapsed();
        if !self.is_shown || passed < REDRAW {
            return;
        }
        self.drawn_at = Instant::now();
        self.pace.observe(state.bytes, passed);
        // A terminal that went away is no fault of the download.
        let _ = write!(stderr(), "\r{}\x1b[K", line(state, self.pace.rate(), columns()));
    }

    /// Takes it away.
    pub(super) fn clear(&self) {
        if self.is_shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(stderr());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}

/// The line, shorter than the terminal is wide: a full one would wrap.
fn line(state: State<'_>, rate: u64, columns: usize) -> String {
    let State { bytes, length, message } = state;
    let width = columns.saturating_sub(1);
    let Some(length) = length else {
        return cut(&format!("{} {}/s  {message}", Bytes(bytes), Bytes(rate)), width);
    };
    let left = match length.saturating_sub(bytes).checked_div(rate) {
        Some(seconds) => format!("{:#}", Span(Duration::from_secs(seconds))),
        None => "-".to_owned(),
    };
    let figures = format!("{}/{} {}/s {left} left  {message}", Bytes(bytes), Bytes(length), Bytes(rate));
    let room = width.saturating_sub(figures.len() + 1);
    if room < BAR_COLUMNS_MIN {
        return cut(&figures, width);
    }
    let share = u128::from(bytes.min(length)) * room as u128 / u128::from(length.max(1));
    let done = usize::try_from(share).unwrap_or(room);
    let head = if done < room { ">" } else { "" };
    format!("{}{head:<rest$} {figures}", "=".repeat(done), rest = room - done)
}

fn cut(text: &str, columns: usize) -> String {
    text.chars().take(columns).collect::<String>().trim_end().to_owned()
}

/// Bytes a second, of late.
#[derive(Default)]
struct Pace {
    /// At the last look.
    bytes: u64,
    /// Bytes a second, drawn towards zero by the time before the first look.
    weighed: u64,
    /// How much of `weighed` is seen, in millionths; the rest is that zero.
    seen: u64,
}

const MILLION: u64 = 1_000_000;

impl Pace {
    /// So many bytes are there, so long after the last look. Old looks lose their weight by and by.
    fn observe(&mut self, bytes: u64, passed: Duration) {
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).clamp(1, 1000 * PACE_MS);
        let come = bytes.saturating_sub(std::mem::replace(&mut self.bytes, bytes));
        let mixed = |old: u64, new: u64| old.saturating_mul(PACE_MS).saturating_add(new) / (PACE_MS + passed);
        self.weighed = mixed(self.weighed, come.saturating_mul(1000));
        self.seen = mixed(self.seen, MILLION * passed);
    }

    fn rate(&self) -> u64 {
        self.weighed.saturating_mul(MILLION) / self.seen.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(bytes: u64, length: Option<u64>) -> State<'static> {
        State { bytes, length, message: "origin 1 B" }
    }

    #[test]
    fn the_line_tells_rate_time_left_and_sources_and_fits() {
        assert_eq!(
            line(state(1 << 20, Some(4 << 20)), 1 << 20, 80),
            "=======>                       1.00 MiB/4.00 MiB 1.00 MiB/s 3s left  origin 1 B"
        );
        for columns in [0, 5, 40, 60, 80, 200] {
            for length in [None, Some(0), Some(1000), Some(u64::MAX)] {
                let line = line(state(1000, length), 7, columns);
                assert!(line.len() < columns.max(1), "{columns}: {line}");
            }
        }
        assert!(!line(state(1000, Some(1000)), 7, 80).contains('>'), "a full bar has no head");
        assert!(line(state(0, Some(1000)), 0, 80).contains(" - left"));
        assert_eq!(line(state(1000, None), 7, 80), "1000 B 7 B/s  origin 1 B");
    }

    #[test]
    fn a_steady_rate_is_told_from_the_first_look_on() {
        let mut pace = Pace { bytes: 500, ..Pace::default() };
        for look in 1..100 {
            pace.observe(500 + look * 1_000_000, Duration::from_millis(100));
            assert!(pace.rate().abs_diff(10_000_000) < 100_000, "{look}: {}", pace.rate());
        }
    }

    #[test]
    fn a_rate_that_changes_is_followed_within_half_a_minute() {
        let mut pace = Pace::default();
        pace.observe(100_000_000, Duration::from_secs(10));
        let before = pace.rate();
        for look in 1..=300 {
            pace.observe(100_000_000 + look * 100_000, Duration::from_millis(100));
        }
        assert!(before > 9_000_000 && pace.rate() < 1_100_000, "{before}, {}", pace.rate());
        pace.observe(0, Duration::from_millis(100));
        pace.observe(u64::MAX, Duration::from_secs(u64::MAX));
    }
}
