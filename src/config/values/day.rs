//! Days in UTC, as people write them.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::types::{Malformed, Timestamp};

const SECONDS_OF_A_DAY: i64 = 86_400;

/// The first instant after the day `YYYY-MM-DD`.
pub fn end_of_day(text: &str) -> Result<Timestamp, Malformed> {
    const NO_DATE: Malformed = Malformed("is not a date: write YYYY-MM-DD");
    let midnight = OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339)
        .map_err(|_| NO_DATE)?
        .unix_timestamp();
    let seconds = u64::try_from(midnight + SECONDS_OF_A_DAY).map_err(|_| NO_DATE)?;
    Ok(Timestamp::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_in_utc() {
        assert_eq!(end_of_day("1970-01-01"), Ok(Timestamp::from_secs(86_400)));
        assert_eq!(
            end_of_day("2027-06-30").unwrap().rfc3339(),
            "2027-07-01T00:00:00Z"
        );
        for text in [
            "",
            "2027",
            "2027-6-30",
            "2027-02-29",
            "2027-13-01",
            "+027-01-01",
            "2027-01-01T00:00:00Z",
            "1969-12-01",
        ] {
            assert!(end_of_day(text).is_err(), "{text:?}");
        }
    }
}
