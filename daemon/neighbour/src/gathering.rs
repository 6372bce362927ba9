//! How long changes of the shelf are gathered before neighbours are told of them.
//!
//! Pure. A few boxes are told at once. What it costs to tell grows with their count, and what is lost by waiting does not;
//! so the more there are, the longer changes wait for company, and what matters little waits longest. The numbers are
//! chosen by simulation (`tests/simulation/README.md`), which runs this code.

use std::time::Duration;

use kith_model::limits::{
    FILTER_GATHER_MAX, FILTER_GATHER_STEP, FILTER_MINOR_TIMES, FILTER_PROMPT_BYTES, FILTER_PROMPT_MAX,
};

/// What has changed on a shelf. What neighbours should learn sooner is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    /// Something went, or a box of the same owner has told of what came: it is found there meanwhile.
    Minor,
    /// Something came that neighbours would fetch from its origin again.
    File,
    /// Something came that is dear to fetch again.
    LargeFile,
}

impl News {
    /// Of a file of `length` bytes that came. Whether it is `elsewhere` neighbours have told.
    pub fn of(length: u64, elsewhere: Elsewhere) -> Self {
        match elsewhere {
            Elsewhere::Told => Self::Minor,
            Elsewhere::Unknown if length < FILTER_PROMPT_BYTES => Self::File,
            Elsewhere::Unknown => Self::LargeFile,
        }
    }
}

/// Whether a file is on another box of the same owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// One has told of it.
    Told,
    /// None has.
    Unknown,
}

/// How long each kind of news waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathering {
    /// [`News::File`].
    pub file: Duration,
    /// [`News::Minor`].
    pub minor: Duration,
}

impl Gathering {
    /// With so many neighbours.
    pub fn among(neighbours: usize) -> Self {
        let beyond = u32::try_from(neighbours.saturating_sub(FILTER_PROMPT_MAX)).unwrap_or(u32::MAX);
        let file = FILTER_GATHER_STEP.saturating_mul(beyond).min(FILTER_GATHER_MAX);
        Self { file, minor: file * FILTER_MINOR_TIMES }
    }

    /// How long news waits.
    pub fn pause(&self, news: News) -> Duration {
        match news {
            News::Minor => self.minor,
            News::File => self.file,
            News::LargeFile => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn minutes(neighbours: usize, news: News) -> u64 {
        Gathering::among(neighbours).pause(news).as_secs() / 60
    }

    #[test]
    fn a_few_are_told_at_once_and_nobody_waits_for_a_file_longer_than_an_hour() {
        let waits = [1, 7, 8, 15, 29, 63, 1000].map(|neighbours| minutes(neighbours, News::File));
        assert_eq!(waits, [0, 0, 1, 10, 27, 60, 60]);
        assert_eq!(Gathering::among(7).minor, Duration::ZERO);
        assert_eq!(minutes(29, News::Minor), 220);
        assert!(Gathering::among(usize::MAX).minor <= 8 * 60 * MINUTE);
    }

    #[test]
    fn what_is_dear_to_fetch_again_is_told_at_once() {
        let told = |length, elsewhere| minutes(29, News::of(length, elsewhere));
        assert_eq!(told(FILTER_PROMPT_BYTES, Elsewhere::Unknown), 0);
        assert_eq!(told(FILTER_PROMPT_BYTES - 1, Elsewhere::Unknown), 27);
        assert_eq!(told(FILTER_PROMPT_BYTES, Elsewhere::Told), 220, "nobody fetches it again");
    }
}
