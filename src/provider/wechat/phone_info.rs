//! Phone numbers in WeChat's format.
//!
//! Source: developers.weixin.qq.com, "getPhoneNumber": `purePhoneNumber` is without country code;
//! `phoneNumber` is the same for the mainland, and has the country code in front for other
//! countries; `countryCode` is a text in the table and a number in the example.

use serde::Deserialize;

use super::object::FromObject;
use crate::types::Phone;

/// `phone_info`. Other members are ignored, WeChat may add some.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PhoneInfo {
    phone_number: String,
    pure_phone_number: String,
    country_code: CountryCode,
    watermark: FromObject<PhoneInfoWatermark>,
}

/// The mini program that the number was given to.
#[derive(Deserialize)]
pub(super) struct PhoneInfoWatermark {
    pub(super) appid: String,
}

/// Digits, as a text or a number.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum CountryCode {
    Text(String),
    Number(u16),
}

impl PhoneInfo {
    /// The number, if it is one.
    pub(super) fn phone(&self) -> Option<Phone> {
        parse_phone(
            &self.phone_number,
            &self.pure_phone_number,
            &self.country_code,
        )
    }

    /// The mini program that it was given to.
    pub(super) fn app_id(&self) -> &str {
        &self.watermark.0.appid
    }
}

/// The number, if both spellings agree. The prefix of a foreign number is not documented: it may
/// have a `+` or not.
pub(super) fn parse_phone(full: &str, pure: &str, country: &CountryCode) -> Option<Phone> {
    let country = match country {
        CountryCode::Text(text) => text.clone(),
        CountryCode::Number(number) => number.to_string(),
    };
    let phone = Phone::from_parts(&country, pure).ok()?;
    let agree = match phone.mainland_number() {
        Some(national) => full == national,
        None => full.strip_prefix('+').unwrap_or(full) == &phone.as_str()[1..],
    };
    agree.then_some(phone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one_number() {
        let read = |full: &str, pure: &str, country: &str| {
            parse_phone(full, pure, &CountryCode::Text(country.to_owned())).map(String::from)
        };
        assert_eq!(
            read("13800138000", "13800138000", "86").as_deref(),
            Some("+8613800138000")
        );
        assert_eq!(
            read("85291234567", "91234567", "852").as_deref(),
            Some("+85291234567")
        );
        assert_eq!(
            read("+85291234567", "91234567", "852").as_deref(),
            Some("+85291234567")
        );
        for (full, pure, country) in [
            ("+8613800138000", "13800138000", "86"),
            ("8613800138000", "13800138000", "86"),
            ("13800138001", "13800138000", "86"),
            ("13800138000", "13800138001", "86"),
            ("13800138000", "13800138000", "852"),
            ("13800138000", "13800138000", "086"),
            ("13800138000", "13800138000", "+86"),
            ("13800138000", "13800138000", ""),
            ("91234567", "91234567", "852"),
            ("++85291234567", "91234567", "852"),
            ("852-91234567", "91234567", "852"),
            ("xxxxxx", "xxxxxx", "86"),
            ("", "", "86"),
        ] {
            assert_eq!(read(full, pure, country), None, "{full} {pure} {country}");
        }
    }
}
