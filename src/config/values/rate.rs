//! So many in such a time: `30/1m`.

use std::{fmt, num::NonZeroU32, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{HumanDuration, text_value};
use crate::types::Malformed;

/// So many in such a time, as a burst that refills evenly: `30/1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    pub count: NonZeroU32,
    /// Never zero when it was read from text.
    pub per: HumanDuration,
}

impl Rate {
    /// For defaults, which are written in the code.
    ///
    /// # Panics
    /// When `count` is zero; only constants are passed.
    pub const fn per_minute(count: u32) -> Self {
        Self::per(count, HumanDuration::minutes(1))
    }

    /// For defaults, which are written in the code.
    ///
    /// # Panics
    /// When `count` is zero; only constants are passed.
    pub const fn per(count: u32, per: HumanDuration) -> Self {
        Self {
            count: NonZeroU32::new(count).expect("a default rate is not zero"),
            per,
        }
    }
}

text_value!(Rate, "rate");

impl FromStr for Rate {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (count, per) = text.split_once('/').ok_or(NOT_A_RATE)?;
        if !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NOT_A_RATE);
        }
        let count = count.parse().map_err(|_| NOT_A_RATE)?;
        let per: HumanDuration = per.parse().map_err(|_| NOT_A_RATE)?;
        if per.get().is_zero() {
            Err(NOT_A_RATE)
        } else {
            Ok(Self { count, per })
        }
    }
}

const NOT_A_RATE: Malformed =
    Malformed("is not a rate: write COUNT/TIME, both above zero, such as 30/1m");

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_what_it_prints() {
        let rate: Rate = "30/60s".parse().unwrap();
        assert_eq!(rate, Rate::per_minute(30));
        assert_eq!(rate.to_string(), "30/1m");
    }

    #[test]
    fn what_is_not_a_rate_is_refused() {
        for text in [
            "",
            "/",
            "30",
            "30/",
            "/1m",
            "0/1m",
            "30/0s",
            "30/1",
            "30 / 1m",
            "-1/1m",
            "+1/1m",
            "4294967296/1m",
            "30/1m/1m",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(NOT_A_RATE), "{text:?}");
        }
    }
}
