//! Amounts as people read them.

use std::fmt;
use std::time::Duration;

/// Bytes, such as `1.50 GiB`.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thousands = self.0.checked_ilog2().unwrap_or(0) / 10;
        let Some(unit) = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].get((thousands as usize).wrapping_sub(1))
        else {
            return write!(f, "{} B", self.0);
        };
        let one = 1_u128 << (10 * thousands);
        let hundredths = (u128::from(self.0) * 100 + one / 2) / one;
        write!(f, "{}.{:02} {unit}B", hundredths / 100, hundredths % 100)
    }
}

/// A time, in the largest unit of which it has about two: `90 seconds`, `3 hours`. The alternate form is short: `90s`.
pub(super) struct Span(pub(super) Duration);

const UNITS: [(u64, &str); 5] =
    [(7 * 86_400, "week"), (86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let unit = UNITS.into_iter().find(|(unit, _)| seconds >= unit + unit / 2);
        let (unit, name) = unit.unwrap_or((1, "second"));
        let times = (seconds + unit / 2) / unit;
        if f.alternate() {
            return write!(f, "{times}{}", &name[..1]);
        }
        write!(f, "{times} {name}{}", if times == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit_in_which_they_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_536, "1.50 KiB"),
            (1_048_575, "1024.00 KiB"),
            (5_000_000, "4.77 MiB"),
            (1 << 40, "1.00 TiB"),
            (u64::MAX, "16.00 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn times_have_a_unit_of_which_there_are_some() {
        for (seconds, text, short) in [
            (0, "0 seconds", "0s"),
            (1, "1 second", "1s"),
            (89, "89 seconds", "89s"),
            (90, "2 minutes", "2m"),
            (3600, "60 minutes", "60m"),
            (5400, "2 hours", "2h"),
            (3 * 86_400, "3 days", "3d"),
            (21 * 86_400, "3 weeks", "3w"),
        ] {
            let span = Span(Duration::from_secs(seconds));
            assert_eq!((format!("{span}"), format!("{span:#}")), (text.to_owned(), short.to_owned()));
        }
    }
}
