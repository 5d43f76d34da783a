//! One-time codes that are sent to phones.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Malformed, Secret, digits::ParsedDigits};

/// Digits of a code.
pub const SMS_CODE_DIGITS: usize = 6;

/// A code that was sent to a phone: six digits. It proves the phone, so it does not print.
#[derive(Clone)]
pub struct SmsCode(Secret<String>);

impl SmsCode {
    /// Six digits, in whatever spelling people type and paste digits.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        const INVALID: Malformed = Malformed("must be the code from the text message: 6 digits");
        let digits = ParsedDigits::parse(text)
            .filter(|digits| !digits.plus && digits.digits.len() == SMS_CODE_DIGITS);
        digits
            .map(|digits| Self(Secret::new(digits.digits)))
            .ok_or(INVALID)
    }

    /// The code itself.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for SmsCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a code is for. One that was sent for one thing is good for no other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmsPurpose {
    /// To sign in.
    #[default]
    Login,
    /// To bind the phone to an account that is signed in.
    Bind,
}

impl SmsPurpose {
    /// As it stands in requests, messages to a webhook and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Bind => "bind",
        }
    }

    /// Reads what [`SmsPurpose::as_str`] writes.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        [Self::Login, Self::Bind]
            .into_iter()
            .find(|purpose| purpose.as_str() == text)
            .ok_or(Malformed("must be login or bind"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_six_digits_and_does_not_print() {
        for text in [
            "123456",
            " 123456 ",
            "１２３４５６",
            "123 456",
            "123-456",
            "123\u{2013}456",
            "\u{202d}123456\u{202c}",
            "\u{200b}1 2 3 4 5 6",
        ] {
            assert_eq!(SmsCode::parse(text).unwrap().expose(), "123456");
        }
        for text in [
            "",
            "12345",
            "1234567",
            "12345a",
            "12 345",
            "-123456",
            "+123456",
            "123\n456",
            "١٢٣٤٥٦",
            "123456\0",
        ] {
            assert!(SmsCode::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(format!("{:?}", SmsCode::parse("123456").unwrap()), "***");
    }
}
