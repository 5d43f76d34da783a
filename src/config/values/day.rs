//! Days in UTC, as people write them.

use crate::types::{Malformed, Timestamp};

const SECONDS_OF_A_DAY: i64 = 86_400;

/// The first instant after the day `YYYY-MM-DD`.
pub fn end_of_day(text: &str) -> Result<Timestamp, Malformed> {
    const NO_DATE: Malformed = Malformed("is not a date: write YYYY-MM-DD");
    let parts: Vec<_> = text.split('-').collect();
    let ([year, month, day], true) = (
        parts.as_slice(),
        text.bytes().all(|b| b.is_ascii_digit() || b == b'-'),
    ) else {
        return Err(NO_DATE);
    };
    if (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return Err(NO_DATE);
    }
    let (Ok(year), Ok(month), Ok(day)) = (year.parse(), month.parse::<u8>(), day.parse()) else {
        return Err(NO_DATE);
    };
    let month = time::Month::try_from(month).map_err(|_| NO_DATE)?;
    let date = time::Date::from_calendar_date(year, month, day).map_err(|_| NO_DATE)?;
    let last_midnight = date.midnight().assume_utc().unix_timestamp();
    let seconds = u64::try_from(last_midnight + SECONDS_OF_A_DAY).map_err(|_| NO_DATE)?;
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
