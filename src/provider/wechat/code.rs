//! Codes that the mini program gets from WeChat. The two kinds are not the same.

use crate::types::{Malformed, Secret};

/// The code of `wx.login`: valid for five minutes and one use. A credential, so it does not print.
#[derive(Debug, Clone)]
pub struct LoginCode(Secret<String>);

/// The code of the button `getPhoneNumber`: valid for five minutes and one use. It stands for a
/// phone number, so it does not print.
#[derive(Debug, Clone)]
pub struct PhoneCode(Secret<String>);

impl LoginCode {
    /// 1 to 256 visible ASCII characters (WeChat's own have 32; their format is not documented).
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        parse(text).map(Self).ok_or(Malformed(
            "must be the code that wx.login gave: 1 to 256 visible ASCII characters",
        ))
    }

    /// The code itself.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl PhoneCode {
    /// 1 to 256 visible ASCII characters (WeChat's own have 64; their format is not documented).
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        parse(text).map(Self).ok_or(Malformed(
            "must be the code that the button getPhoneNumber gave, not that of wx.login: 1 to 256 visible ASCII characters",
        ))
    }

    /// The code itself.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

fn parse(text: &str) -> Option<Secret<String>> {
    let is_plausible =
        (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    is_plausible.then(|| Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_visible_ascii_and_does_not_print() {
        for text in ["", " ", "a b", "a\n", "a\0", "é", &"x".repeat(257)] {
            assert!(
                LoginCode::parse(text).is_err() && PhoneCode::parse(text).is_err(),
                "{text:?}"
            );
        }
        let (login, phone) = (
            LoginCode::parse("0a3&=%+#xyz").unwrap(),
            PhoneCode::parse("e31968a7").unwrap(),
        );
        assert_eq!(
            (login.expose(), phone.expose()),
            ("0a3&=%+#xyz", "e31968a7")
        );
        assert_eq!(
            format!("{login:?} {phone:?}"),
            "LoginCode(***) PhoneCode(***)"
        );
    }
}
