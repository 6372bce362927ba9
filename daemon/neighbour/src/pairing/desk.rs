//! When a code counts: one window at a time, one guess a code, a pause after a wrong one, five wrong ones an hour.

use std::collections::VecDeque;

use kith_model::limits::{PAIRING_DELAY, PAIRING_FAILURE_WINDOW, PAIRING_FAILURES_MAX, PAIRING_WINDOW};
use kith_model::time::UnixMillis;
use kith_model::trust::Role;
use ring::rand::{SecureRandom, SystemRandom};

/// Eight digits, or a group's secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

impl Code {
    /// Drawn evenly from all hundred million.
    pub fn draw(random: &SystemRandom) -> Option<Self> {
        const CODES: u32 = 100_000_000;
        // The largest multiple below 2^32: what is above it would make small codes likelier.
        const EVEN: u32 = u32::MAX / CODES * CODES;
        for _ in 0..64 {
            let mut bytes = [0; 4];
            random.fill(&mut bytes).ok()?;
            let drawn = u32::from_be_bytes(bytes);
            if drawn < EVEN {
                return Some(Self(format!("{:08}", drawn % CODES)));
            }
        }
        None
    }

    /// As typed: spaces and dashes do not count.
    pub fn parse(typed: &str) -> Option<Self> {
        let digits: String = typed.chars().filter(|character| !matches!(character, ' ' | '-')).collect();
        (digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_digit())).then_some(Self(digits))
    }

    /// What all members of a group know.
    pub fn of_group(secret: &[u8; 32]) -> Self {
        Self(data_encoding::HEXLOWER.encode(secret))
    }

    /// The digits.
    pub fn digits(&self) -> &str {
        &self.0
    }
}

/// Tells windows apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowNumber(u64);

/// Five wrong codes within the hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many wrong codes were tried; pairing is locked for an hour")]
pub struct LockedOut {
    /// When the oldest of them no longer counts.
    pub until: UnixMillis,
}

/// Why a guess is not even looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoGuess {
    /// No code is shown, or it was guessed at already.
    NotOpen,
    /// See [`LockedOut`].
    LockedOut,
}

/// The one guess that a code has.
pub struct Guess {
    /// The code to compare with, by PAKE.
    pub code: Code,
    /// What the owner of the window lets the other box be.
    pub role: Role,
    /// Which window it was taken from.
    pub window: WindowNumber,
    /// Do not answer before this.
    pub answer_at: UnixMillis,
}

struct Window {
    number: WindowNumber,
    /// Gone once it was guessed at.
    code: Option<Code>,
    role: Role,
    closes_at: UnixMillis,
}

/// Keeps the window and counts failures. The count lives as long as the process: a restart needs the owner, or costs
/// an attacker more than an hour's wait.
#[derive(Default)]
pub struct Desk {
    window: Option<Window>,
    opened: u64,
    failures: VecDeque<UnixMillis>,
}

impl Desk {
    /// Shows `code` from now on; a window that was open closes.
    pub fn open(
        &mut self,
        code: Code,
        role: Role,
        now: UnixMillis,
    ) -> Result<(WindowNumber, UnixMillis), LockedOut> {
        if let Some(until) = self.locked_until(now) {
            return Err(LockedOut { until });
        }
        self.opened += 1;
        let number = WindowNumber(self.opened);
        let closes_at = now.after(PAIRING_WINDOW);
        self.window = Some(Window { number, code: Some(code), role, closes_at });
        Ok((number, closes_at))
    }

    /// Whether strangers may try now: a code is shown and was not guessed at.
    pub fn is_open(&self, now: UnixMillis) -> bool {
        self.locked_until(now).is_none()
            && self.window.as_ref().is_some_and(|window| window.code.is_some() && now < window.closes_at)
    }

    /// Whether the code was guessed at and the exchange goes on.
    pub fn is_being_tried(&self, number: WindowNumber) -> bool {
        self.window.as_ref().is_some_and(|window| window.number == number && window.code.is_none())
    }

    /// Takes the guess that the code has. From here on the code is used, however the exchange ends.
    pub fn guess(&mut self, now: UnixMillis) -> Result<Guess, NoGuess> {
        if self.locked_until(now).is_some() {
            return Err(NoGuess::LockedOut);
        }
        let window = self.window.as_mut().filter(|window| now < window.closes_at).ok_or(NoGuess::NotOpen)?;
        let code = window.code.take().ok_or(NoGuess::NotOpen)?;
        let pause_until = self.failures.back().map_or(UnixMillis(0), |last| last.after(PAIRING_DELAY));
        Ok(Guess { code, role: window.role, window: window.number, answer_at: now.max(pause_until) })
    }

    /// Notes a wrong code, and anything else that cannot be told from one.
    pub fn failed(&mut self, window: WindowNumber, now: UnixMillis) {
        self.close(window);
        self.failures.push_back(now);
        while self.failures.len() > PAIRING_FAILURES_MAX {
            self.failures.pop_front();
        }
    }

    /// Closes a window; another one that was opened since stays.
    pub fn close(&mut self, number: WindowNumber) {
        if self.window.as_ref().is_some_and(|window| window.number == number) {
            self.window = None;
        }
    }

    fn locked_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        let oldest = self.failures.front().filter(|_| self.failures.len() >= PAIRING_FAILURES_MAX)?;
        let until = oldest.after(PAIRING_FAILURE_WINDOW);
        (now < until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> Code {
        Code::parse("12345678").expect("eight digits")
    }

    fn at(seconds: u64) -> UnixMillis {
        UnixMillis(seconds * 1000)
    }

    #[test]
    fn a_code_has_one_guess_and_two_minutes() {
        let mut desk = Desk::default();
        assert_eq!(desk.guess(at(0)).err(), Some(NoGuess::NotOpen));
        desk.open(code(), Role::Mine, at(0)).expect("open");
        assert!(desk.is_open(at(119)));
        assert!(!desk.is_open(at(120)));
        assert_eq!(desk.guess(at(120)).err(), Some(NoGuess::NotOpen));
        assert!(desk.guess(at(119)).is_ok());
        assert!(!desk.is_open(at(119)));
        assert_eq!(desk.guess(at(119)).err(), Some(NoGuess::NotOpen));
    }

    #[test]
    fn a_new_window_replaces_the_old_one_and_outlives_its_end() {
        let mut desk = Desk::default();
        let (old, _) = desk.open(code(), Role::Mine, at(0)).expect("open");
        let (new, _) = desk.open(code(), Role::Mine, at(1)).expect("open");
        desk.close(old);
        assert!(desk.is_open(at(2)));
        desk.close(new);
        assert!(!desk.is_open(at(2)));
    }

    #[test]
    fn a_wrong_code_costs_ten_seconds_and_five_cost_the_hour() {
        let mut desk = Desk::default();
        for round in 0..5 {
            let (window, _) = desk.open(code(), Role::Mine, at(round)).expect("open");
            let guess = desk.guess(at(round)).expect("a guess");
            let expected = if round == 0 { at(0) } else { at(round - 1 + 10) };
            assert_eq!(guess.answer_at, expected, "{round}");
            desk.failed(window, at(round));
            assert!(!desk.is_open(at(round)));
        }
        assert_eq!(desk.open(code(), Role::Mine, at(5)), Err(LockedOut { until: at(3600) }));
        assert_eq!(desk.guess(at(5)).err(), Some(NoGuess::LockedOut));
        desk.open(code(), Role::Mine, at(3600)).expect("the oldest no longer counts");
    }

    #[test]
    fn codes_are_eight_digits_however_they_are_typed() {
        for typed in ["12345678", " 1234 5678 ", "1234-5678"] {
            assert_eq!(Code::parse(typed).map(|code| code.digits().to_owned()).as_deref(), Some("12345678"));
        }
        for typed in ["", "1234567", "123456789", "1234567a", "１２３４５６７８"] {
            assert!(Code::parse(typed).is_none(), "{typed}");
        }
        let drawn = Code::draw(&SystemRandom::new()).expect("random");
        assert!(Code::parse(drawn.digits()).is_some());
    }
}
