//! Sizes as people write them. Powers of 1024, whatever the spelling: `128k`, `128K`, `128KiB`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes that is read and shown with a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes(pub u64);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size; write for example 4096, 128k or 10GiB")]
pub struct ParseBytesError(String);

const UNITS: [&str; 7] = ["", "k", "m", "g", "t", "p", "e"];

impl FromStr for Bytes {
    type Err = ParseBytesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseBytesError(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = trimmed.split_at(digits.unwrap_or(trimmed.len()));
        let unit = unit.trim().to_ascii_lowercase();
        let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
        let power = UNITS.iter().position(|known| *known == unit).ok_or_else(bad)?;
        let factor = 1u64 << (10 * power);
        let whole = match number.split_once('.') {
            None => number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)),
            Some(_) => fraction(number, factor),
        };
        whole.map(Bytes).ok_or_else(bad)
    }
}

/// `1.5` of `factor`; below 2^53, where a float is exact enough for what people write with a point.
fn fraction(number: &str, factor: u64) -> Option<u64> {
    let bytes = number.parse::<f64>().ok()? * factor as f64;
    // Compared with the bounds of the target just before.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (0.0..9e15).contains(&bytes).then_some(bytes as u64)
}

impl fmt::Display for Bytes {
    /// At most one decimal: `128 KiB`, `1.5 GiB`, `0 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let power = (1..UNITS.len()).rev().find(|power| self.0 >> (10 * power) > 0).unwrap_or(0);
        if power == 0 {
            return f.pad(&format!("{} B", self.0));
        }
        let unit = UNITS[power].to_ascii_uppercase();
        let shown = self.0 as f64 / (1u64 << (10 * power)) as f64;
        let text = format!("{shown:.1}");
        let text = text.strip_suffix(".0").unwrap_or(&text);
        f.pad(&format!("{text} {unit}iB"))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        #[track_caller]
        fn check(text: &str, expected: u64) {
            assert_eq!(text.parse(), Ok(Bytes(expected)), "{text}");
        }
        check("0", 0);
        check("4096", 4096);
        check("128k", 128 << 10);
        check("128 KiB", 128 << 10);
        check("128KB", 128 << 10);
        check("1.5G", 3 << 29);
        check("10GiB", 10 << 30);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "k", "-1", "1x", "1kk", "16E", "1.2.3k", "1e9"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_a_unit() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (128 << 10, "128 KiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), expected);
        }
    }
}
