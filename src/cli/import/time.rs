//! Times and offsets, as databases print them.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A time in milliseconds: RFC 3339, what databases print (`2024-01-02 03:04:05.6+08`), a date, or
/// Unix seconds or milliseconds.
pub(super) fn parse_time(text: &str, utc_offset: i32) -> Result<u64, &'static str> {
    const MESSAGE: &str = "must be a time such as 2024-01-02T03:04:05Z, 2024-01-02 03:04:05, or Unix seconds or milliseconds";
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let number: u64 = text.parse().map_err(|_| MESSAGE)?;
        // Seconds have ten digits until the year 2286, milliseconds twelve or more since 1973.
        return if text.len() <= 11 {
            number.checked_mul(1000).ok_or(MESSAGE)
        } else {
            Ok(number)
        };
    }
    parse_date_time(text, utc_offset).ok_or(MESSAGE)
}

fn parse_date_time(text: &str, utc_offset: i32) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, offset) = match rest.strip_prefix(['T', ' ']) {
        None if rest.is_empty() => ("00:00", utc_offset),
        None => return None,
        Some(rest) => {
            let end = rest.find(['Z', 'z', '+', '-', ' ']).unwrap_or(rest.len());
            let (clock, zone) = rest.split_at(end);
            (clock, parse_zone(zone.trim(), utc_offset)?)
        }
    };
    // Seconds may be absent.
    let seconds = if clock.len() == 5 { ":00" } else { "" };
    let local = OffsetDateTime::parse(&format!("{date}T{clock}{seconds}Z"), &Rfc3339).ok()?;
    let millis = local.unix_timestamp_nanos() / 1_000_000 - i128::from(offset) * 1000;
    u64::try_from(millis).ok()
}

fn parse_zone(text: &str, default: i32) -> Option<i32> {
    match text {
        "" => Some(default),
        "Z" | "z" | "UTC" => Some(0),
        text => parse_offset(text).ok(),
    }
}

/// Seconds east of UTC: `+08:00`, `+08`, `-0330`.
pub(super) fn parse_offset(text: &str) -> Result<i32, String> {
    let read = || {
        let (sign, digits) = match text.split_at_checked(1)? {
            ("+", digits) => (1, digits),
            ("-", digits) => (-1, digits),
            _ => return None,
        };
        let digits = digits.replace(':', "");
        let number = |part: Option<&str>| part?.parse::<i32>().ok();
        let (hours, minutes) = match digits.len() {
            2 => (number(digits.get(..2))?, 0),
            4 => (number(digits.get(..2))?, number(digits.get(2..))?),
            _ => return None,
        };
        (digits.bytes().all(|b| b.is_ascii_digit()) && hours <= 14 && minutes < 60)
            .then_some(sign * (hours * 3600 + minutes * 60))
    };
    read().ok_or_else(|| "must be an offset from UTC such as +08:00".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_databases_print_them() {
        for (text, millis) in [
            ("2024-01-02T03:04:05Z", 1_704_164_645_000),
            ("2024-01-02 03:04:05", 1_704_135_845_000),
            ("2024-01-02 03:04", 1_704_135_840_000),
            ("2024-01-02 03:04:05.6", 1_704_135_845_600),
            ("2024-01-02 03:04:05.678901+00", 1_704_164_645_678),
            ("2024-01-02T03:04:05.678+0000", 1_704_164_645_678),
            ("2024-01-02 03:04:05 UTC", 1_704_164_645_000),
            ("2024-01-02", 1_704_124_800_000),
            ("1704164645", 1_704_164_645_000),
            ("1704164645678", 1_704_164_645_678),
        ] {
            assert_eq!(parse_time(text, 8 * 3600), Ok(millis), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2024-13-01",
            "2024-01-02 25:00:00",
            "2024-01-02T",
            "2024-01-02 03:04:05.",
            "0000-00-00 00:00:00",
            "1969-01-01",
            "字字字字",
        ] {
            assert!(parse_time(text, 0).is_err(), "{text}");
        }
    }
}
