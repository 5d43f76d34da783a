//! Phone numbers: one number, one value, however it was written.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Malformed, digits::ParsedDigits};

/// A phone number in E.164 form: `+`, country code, number; 8 to 15 digits in all. Personal: never
/// logged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Phone(Arc<str>);

/// The country code of mainland China.
pub const MAINLAND: &str = "86";

const NOT_E164: Malformed = Malformed("must be a phone number");
const NOT_MAINLAND: Malformed = Malformed("must be a mobile number of mainland China, 11 digits");
const NOT_SERVED: Malformed =
    Malformed("must be a phone number of a country that is served here, such as +86 138 0013 8000");

impl Phone {
    /// Parses what a person typed or pasted: `138 0013 8000`, `+86-138...`, `0086 138...`,
    /// `86138...`, also with full-width digits, other dashes and blanks, and invisible characters.
    /// A number does not begin with a dash. Without a country code it is of mainland China. For
    /// other countries (their codes in `countries`) the `+` or `00` is required, and only the
    /// length is checked.
    pub fn parse(text: &str, countries: &[String]) -> Result<Self, Malformed> {
        Self::read(text, |code| countries.iter().any(|known| known == code))
    }

    /// The same for numbers of any country, to look up a known number.
    pub fn parse_any(text: &str) -> Result<Self, Malformed> {
        Self::read(text, |_| true)
    }

    fn read(text: &str, is_served: impl Fn(&str) -> bool) -> Result<Self, Malformed> {
        let ParsedDigits { plus, digits } = ParsedDigits::parse(text).ok_or(NOT_SERVED)?;
        let (international, digits) = match digits.strip_prefix("00") {
            Some(rest) if !plus => (true, rest),
            Some(_) | None => (plus, digits.as_str()),
        };
        let mainland = |national: &str| {
            if is_served(MAINLAND) {
                Self::mainland(national)
            } else {
                Err(NOT_SERVED)
            }
        };
        if !international {
            // Eleven digits, or thirteen with the country code but no sign before it: no other
            // number has that form.
            return match digits.strip_prefix(MAINLAND) {
                Some(national) if digits.len() == 13 => mainland(national),
                Some(_) | None => mainland(digits),
            };
        }
        if let Some(national) = digits.strip_prefix(MAINLAND) {
            return mainland(national);
        }
        if (1..=3).any(|length| digits.get(..length).is_some_and(&is_served)) {
            Self::e164(digits)
        } else {
            Err(NOT_SERVED)
        }
    }

    /// A number that another system has checked: a country code and the number within it, digits
    /// only, as WeChat gives them.
    pub fn from_parts(country_code: &str, national: &str) -> Result<Self, Malformed> {
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(country_code) || country_code.len() > 3 || !is_digits(national) {
            return Err(NOT_E164);
        }
        if country_code == MAINLAND {
            Self::mainland(national)
        } else {
            Self::e164(&format!("{country_code}{national}"))
        }
    }

    /// The number as E.164, `+8613800138000`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number without its country code; `None` where it is not of mainland China.
    pub fn mainland_number(&self) -> Option<&str> {
        self.0.strip_prefix("+86")
    }

    /// The country code. No code is the prefix of another (ITU-T E.164 annex D), so its length
    /// follows from the number.
    pub fn country_code(&self) -> &str {
        let digits = &self.0[1..];
        let length = match digits.as_bytes() {
            [b'1' | b'7', ..] => 1,
            [b'2', b'0' | b'7', ..]
            | [b'3', b'0'..=b'4' | b'6' | b'9', ..]
            | [b'4', b'0' | b'1' | b'3'..=b'9', ..]
            | [b'5', b'1'..=b'8', ..]
            | [b'6', b'0'..=b'6', ..]
            | [b'8', b'1' | b'2' | b'4' | b'6', ..]
            | [b'9', b'0'..=b'5' | b'8', ..] => 2,
            _ => 3,
        };
        &digits[..length]
    }

    /// Masked, so that only its owner recognises it: `138****8000`; for other countries the country
    /// code and the last three digits.
    pub fn masked(&self) -> String {
        if let Some(number) = self.mainland_number() {
            return format!("{}****{}", &number[..3], &number[7..]);
        }
        format!(
            "+{}****{}",
            self.country_code(),
            &self.0[self.0.len() - 3..]
        )
    }

    /// Any mobile number of mainland China: a list of prefixes would soon be out of date.
    fn mainland(national: &str) -> Result<Self, Malformed> {
        match national.as_bytes() {
            [b'1', b'3'..=b'9', ..] if national.len() == 11 => {
                Ok(Self(format!("+{MAINLAND}{national}").into()))
            }
            _ => Err(NOT_MAINLAND),
        }
    }

    /// ITU-T E.164: at most 15 digits, the first of which is not 0.
    fn e164(digits: &str) -> Result<Self, Malformed> {
        let good = (8..=15).contains(&digits.len()) && !digits.starts_with('0');
        good.then(|| Self(format!("+{digits}").into()))
            .ok_or(NOT_E164)
    }
}

impl TryFrom<String> for Phone {
    type Error = Malformed;

    /// Parses exactly what [`Phone::as_str`] returns.
    fn try_from(text: String) -> Result<Self, Malformed> {
        let digits = text
            .strip_prefix('+')
            .filter(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
            .ok_or(NOT_E164)?;
        match digits.strip_prefix(MAINLAND) {
            Some(national) => Self::mainland(national),
            None => Self::e164(digits),
        }
    }
}

impl From<Phone> for String {
    fn from(phone: Phone) -> Self {
        phone.0.as_ref().to_owned()
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn parse(text: &str) -> Result<String, Malformed> {
        Phone::parse(text, &["86".to_owned()]).map(String::from)
    }

    #[test]
    fn one_number_in_every_spelling_is_one_number() {
        for text in [
            "13800138000",
            "+8613800138000",
            "008613800138000",
            "8613800138000",
            "+86 138 0013 8000",
            " 138-0013-8000 ",
            "+86 (138) 0013.8000",
            "１３８００１３８０００",
            "＋８６　１３８　００１３　８０００",
            "+86\u{a0}138\u{2009}0013\u{202f}8000",
            "+86（138）0013－8000",
            "\u{202d}13800138000\u{202c}",
            "\u{202a}+86 138-0013-8000\u{202c}",
            "\u{feff}138\u{2013}0013\u{2013}8000\u{200b}",
            "00\u{a0}86\u{3000}138\u{2011}0013\u{2011}8000",
            "\u{2068}(+86)\u{2069}13800138000\t",
        ] {
            assert_eq!(parse(text).as_deref(), Ok("+8613800138000"), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_number_of_the_mainland_is_refused() {
        for text in [
            "",
            " ",
            "+",
            "86",
            "+86",
            "1380013800",
            "138001380000",
            "12800138000",
            "03800138000",
            "+86 86 13800138000",
            "+8613800138000 ext 1",
            "13800138000\n13900139000",
            "13800138000\0",
            "١٣٨٠٠١٣٨٠٠٠",
            "1380013800a",
            "++8613800138000",
            "+85291234567",
            "0085291234567",
            "+1 415 555 2671",
            "0 86 13800138000",
            "13+800138000",
            "13800138000,13900139000",
            "-13800138000",
            "\u{2013}13800138000",
            "\u{ff0d}86 13800138000",
            "\u{202d}-13800138000\u{202c}",
            "+-8613800138000",
            ".13800138000",
            "\u{200b}",
            "138001\n38000",
            &"1".repeat(200),
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn other_countries_are_served_where_they_are_listed() {
        let countries = ["852".to_owned(), "1".to_owned()];
        let parse = |text: &str| Phone::parse(text, &countries).map(String::from);
        assert_eq!(parse("+852 9123 4567").as_deref(), Ok("+85291234567"));
        assert_eq!(parse("00852-9123-4567").as_deref(), Ok("+85291234567"));
        assert_eq!(parse("+1 (415) 555-2671").as_deref(), Ok("+14155552671"));
        for text in [
            "91234567",
            "85291234567",
            "+85312345678",
            "+8613800138000",
            "13800138000",
            "+852",
            "+1234567890123456",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_number_of_any_country_can_be_looked_for() {
        for (text, number) in [
            ("138 0013 8000", "+8613800138000"),
            ("+852 9123 4567", "+85291234567"),
            ("001 4155552671", "+14155552671"),
        ] {
            assert_eq!(
                Phone::parse_any(text).map(String::from).as_deref(),
                Ok(number)
            );
        }
        assert!(Phone::parse_any("91234567").is_err());
    }

    #[test]
    fn parts_from_wechat_are_digits() {
        assert_eq!(
            Phone::from_parts("86", "13800138000").unwrap().as_str(),
            "+8613800138000"
        );
        assert_eq!(
            Phone::from_parts("852", "91234567").unwrap().as_str(),
            "+85291234567"
        );
        for (country, national) in [
            ("86", "1380013800"),
            ("", "13800138000"),
            ("86", ""),
            ("+86", "13800138000"),
            ("8600", "1"),
        ] {
            assert!(
                Phone::from_parts(country, national).is_err(),
                "{country} {national}"
            );
        }
    }

    #[test]
    fn a_country_code_is_told_from_its_number() {
        for (code, national) in [
            ("1", "4155552671"),
            ("7", "9161234567"),
            ("86", "13800138000"),
            ("852", "91234567"),
            ("44", "7700900123"),
            ("886", "912345678"),
        ] {
            assert_eq!(
                Phone::from_parts(code, national).unwrap().country_code(),
                code
            );
        }
    }

    #[test]
    fn a_mask_hides_at_least_four_digits() {
        assert_eq!(
            Phone::from_parts("86", "13800138000").unwrap().masked(),
            "138****8000"
        );
        assert_eq!(
            Phone::from_parts("852", "91234567").unwrap().masked(),
            "+852****567"
        );
        assert_eq!(
            Phone::from_parts("1", "4155552671").unwrap().masked(),
            "+1****671"
        );
        assert_eq!(
            format!("{:?}", Phone::from_parts("852", "91234567").unwrap()),
            "***"
        );
    }

    proptest! {
        #[test]
        fn separators_and_prefixes_never_make_another_number(
            national in "1[3-9][0-9]{9}",
            prefix in select(vec!["", "+86", "0086", "86", "＋86", "+86 ", "00 86-"]),
            lead in select(vec!["", "\u{202d}", "\u{feff} ", "("]),
            gaps in prop::collection::vec(select(vec!["", " ", "-", "\u{3000}", ".", "\u{200b}", "\u{2013}", "\u{202c}"]), 11),
            wide in any::<bool>(),
        ) {
            let mut text = format!("{lead}{prefix}");
            for (digit, gap) in national.chars().zip(gaps) {
                let wide_digit = char::from_u32('０' as u32 + digit.to_digit(10).unwrap()).unwrap();
                text.push(if wide { wide_digit } else { digit });
                text.push_str(gap);
            }
            prop_assert_eq!(parse(&text), Ok(format!("+86{national}")));
        }

        #[test]
        fn whatever_is_sent_it_is_a_number_or_a_refusal(text in ".{0,40}") {
            if let Ok(number) = parse(&text) {
                prop_assert!(number.len() == 14 && number.starts_with("+861"));
                prop_assert_eq!(Phone::try_from(number.clone()).map(String::from), Ok(number));
            }
        }
    }
}
