//! Sizes and rates as people write them.

use std::fmt;
use std::str::FromStr;

/// A count of bytes, written as `512`, `"4MiB"` or `"20 GB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A rate in bytes a second, written as `"40Mbit/s"` or `"2MiB/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// In bits a second; `bit/s` stands last since the others end with it.
const RATES_BITS: [(&str, u64); 4] =
    [("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000), ("bit/s", 1)];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        measure(text, &SIZES)
            .or_else(|| text.trim().parse().ok())
            .map(ByteSize)
            .ok_or_else(|| format!("{text:?} is no size like \"20GiB\", \"500MB\" or a number of bytes"))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bits = measure(text, &RATES_BITS).map(|bits| bits / 8);
        let bytes = || text.trim().strip_suffix("/s").and_then(|size| measure(size, &SIZES));
        bits.or_else(bytes)
            .map(Rate)
            .ok_or_else(|| format!("{text:?} is no rate like \"40Mbit/s\" or \"2MiB/s\""))
    }
}

/// Digits and a unit, upper or lower case, with or without a blank between.
fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(digits_end);
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()))?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

impl fmt::Display for ByteSize {
    /// The largest binary unit that says it exactly, so that what is shown reads back the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        match SIZES[..4].iter().find(exact) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0.saturating_mul(8);
        if bits >= 1_000_000 && bits.is_multiple_of(1_000_000) {
            write!(f, "{}Mbit/s", bits / 1_000_000)
        } else {
            write!(f, "{}B/s", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("4MiB", Some(4 << 20)),
            ("20 GB", Some(20_000_000_000)),
            ("1tib", Some(1 << 40)),
            ("7B", Some(7)),
            ("", None),
            ("GiB", None),
            ("-1", None),
            ("1.5GiB", None),
            ("1G", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(text.parse::<ByteSize>().ok(), expected.map(ByteSize), "{text}");
        }
    }

    #[test]
    fn rates_read_as_people_write_them() {
        for (text, expected) in [
            ("40Mbit/s", Some(5_000_000)),
            ("8kbit/s", Some(1000)),
            ("80 bit/s", Some(10)),
            ("2MiB/s", Some(2 << 20)),
            ("40", None),
            ("40Mbit", None),
            ("/s", None),
        ] {
            assert_eq!(text.parse::<Rate>().ok(), expected.map(Rate), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_the_same() {
        for bytes in [0, 1, 1000, 1024, 4 << 20, (4 << 20) + 1, 20 << 30, 1 << 41] {
            let size = ByteSize(bytes);
            assert_eq!(size.to_string().parse(), Ok(size));
            let rate = Rate(bytes);
            assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }
}
