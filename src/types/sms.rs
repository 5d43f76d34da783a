//! One-time codes that are sent to phones.

use serde::{Deserialize, Serialize};

use super::{Malformed, Secret, digits::ParsedDigits, named_enum};

/// Digits of a code.
pub const SMS_CODE_DIGITS: usize = 6;

/// A code that was sent to a phone: six digits. A credential, so it does not print.
#[derive(Debug, Clone)]
pub struct SmsCode(Secret<String>);

impl SmsCode {
    /// Six digits, in any spelling that people type or paste.
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

named_enum! {
    /// The purpose of a code, which is valid for no other one.
    #[derive(Default, Serialize, Deserialize, utoipa::ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum SmsPurpose {
        /// To sign in.
        #[default]
        Login = "login",
        /// To bind the phone to an account that is signed in.
        Bind = "bind",
    }
}

impl SmsPurpose {
    /// Parses what [`SmsPurpose::as_str`] returns.
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
        assert_eq!(
            format!("{:?}", SmsCode::parse("123456").unwrap()),
            "SmsCode(***)"
        );
    }
}
