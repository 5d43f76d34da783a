//! Lengths of time: `500ms`, `10s`, `15m`, `12h`, `30d`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{split_number, text_value};
use crate::types::Malformed;

/// A length of time: a whole number and a unit, `ms`, `s`, `m`, `h` or `d`. At most 36500 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HumanDuration(Duration);

/// Units and their milliseconds, the longest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// A hundred years: far above every use, far below where adding it to an instant overflows.
const MAX_MILLIS: u64 = 36_500 * 86_400_000;

impl HumanDuration {
    pub const fn millis(n: u64) -> Self {
        Self(Duration::from_millis(n))
    }
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }
    pub const fn minutes(n: u64) -> Self {
        Self::secs(n * 60)
    }
    pub const fn hours(n: u64) -> Self {
        Self::secs(n * 3600)
    }
    pub const fn days(n: u64) -> Self {
        Self::secs(n * 86_400)
    }
    /// The span itself.
    pub const fn get(self) -> Duration {
        self.0
    }
}

text_value!(HumanDuration, "duration");

impl FromStr for HumanDuration {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (count, unit) = split_number(text).ok_or(NOT_A_DURATION)?;
        let (_, millis) = UNITS
            .into_iter()
            .find(|(name, _)| *name == unit)
            .ok_or(NOT_A_DURATION)?;
        match count.checked_mul(millis) {
            Some(span) if span <= MAX_MILLIS => Ok(Self(Duration::from_millis(span))),
            Some(_) | None => Err(Malformed("is longer than 36500d")),
        }
    }
}

const NOT_A_DURATION: Malformed =
    Malformed("is not a duration: write a whole number and ms, s, m, h or d");

impl fmt::Display for HumanDuration {
    /// In the longest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.0.as_millis();
        match UNITS
            .into_iter()
            .find(|(_, millis)| span > 0 && span.is_multiple_of(u128::from(*millis)))
        {
            Some((unit, millis)) => write!(f, "{}{unit}", span / u128::from(millis)),
            None => f.write_str("0s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_and_prints_the_longest_unit_that_divides() {
        for (text, millis, printed) in [
            ("0s", 0, "0s"),
            ("0d", 0, "0s"),
            ("1ms", 1, "1ms"),
            ("1500ms", 1500, "1500ms"),
            ("2000ms", 2000, "2s"),
            ("90s", 90_000, "90s"),
            ("60s", 60_000, "1m"),
            ("007m", 420_000, "7m"),
            ("24h", 86_400_000, "1d"),
            ("36500d", 36_500 * 86_400_000, "36500d"),
        ] {
            let read: HumanDuration = text.parse().unwrap();
            assert_eq!(read.get(), Duration::from_millis(millis), "{text}");
            assert_eq!(read.to_string(), printed, "{text}");
            assert_eq!(printed.parse(), Ok(read), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused_without_a_panic() {
        for text in [
            "",
            "s",
            "10",
            "10 s",
            " 10s",
            "10s ",
            "-1s",
            "+1s",
            "1.5s",
            "10S",
            "10sec",
            "1m30s",
            "١s",
            "99999999999999999999s",
        ] {
            assert_eq!(
                text.parse::<HumanDuration>(),
                Err(NOT_A_DURATION),
                "{text:?}"
            );
        }
        for text in ["36501d", "18446744073709551615d", "18446744073709551615ms"] {
            assert_eq!(
                text.parse::<HumanDuration>(),
                Err(Malformed("is longer than 36500d")),
                "{text:?}"
            );
        }
    }
}
