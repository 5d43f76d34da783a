//! Numbers of bytes: `4096`, `16KiB`, `4MiB`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{split_number, text_value};
use crate::types::Malformed;

/// A number of bytes: a whole number, alone or with `KiB` or `MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(usize);

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl ByteSize {
    pub const fn kib(n: usize) -> Self {
        Self(n * KIB)
    }
    pub const fn mib(n: usize) -> Self {
        Self(n * MIB)
    }
    /// The number of bytes.
    pub const fn get(self) -> usize {
        self.0
    }
}

text_value!(ByteSize, "byte-size");

impl FromStr for ByteSize {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (count, unit) = split_number(text).ok_or(NOT_A_SIZE)?;
        let unit = match unit {
            "" => 1,
            "KiB" => KIB,
            "MiB" => MIB,
            _ => return Err(NOT_A_SIZE),
        };
        let bytes = usize::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(unit));
        bytes
            .map(Self)
            .ok_or(Malformed("is more than this machine can address"))
    }
}

const NOT_A_SIZE: Malformed =
    Malformed("is not a size: write a whole number of bytes, alone or with KiB or MiB");

impl fmt::Display for ByteSize {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            n if n.is_multiple_of(MIB) => write!(f, "{}MiB", n / MIB),
            n if n.is_multiple_of(KIB) => write!(f, "{}KiB", n / KIB),
            n => write!(f, "{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_and_prints_the_largest_unit_that_divides() {
        for (text, bytes, printed) in [
            ("0", 0, "0"),
            ("0MiB", 0, "0"),
            ("1000", 1000, "1000"),
            ("1024", 1024, "1KiB"),
            ("16KiB", 16_384, "16KiB"),
            ("2048KiB", 2_097_152, "2MiB"),
        ] {
            let read: ByteSize = text.parse().unwrap();
            assert_eq!(
                (read.get(), read.to_string().as_str()),
                (bytes, printed),
                "{text}"
            );
            assert_eq!(printed.parse(), Ok(read), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused_without_a_panic() {
        for text in [
            "",
            "KiB",
            "16 KiB",
            "16kib",
            "16KB",
            "16k",
            "-1",
            "1.5MiB",
            "99999999999999999999",
        ] {
            assert_eq!(text.parse::<ByteSize>(), Err(NOT_A_SIZE), "{text:?}");
        }
        assert!("18446744073709551615MiB".parse::<ByteSize>().is_err());
    }
}
