//! What `wx.login` gave the mini program.

use std::fmt;

use crate::types::{Malformed, Secret};

/// A login code: five minutes, one use. Whoever has it can sign in with it, so it does not print.
#[derive(Clone)]
pub struct LoginCode(Secret<String>);

impl LoginCode {
    /// 1 to 256 visible ASCII characters (WeChat's own have 32; their form is not promised).
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let plausible = (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if plausible {
            Ok(Self(Secret::new(text.to_owned())))
        } else {
            Err(Malformed("must be the code that wx.login gave: 1 to 256 visible ASCII characters"))
        }
    }

    /// The code itself.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for LoginCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_visible_ascii_and_does_not_print() {
        for text in ["", " ", "a b", "a\n", "a\0", "é", &"x".repeat(257)] {
            assert!(LoginCode::parse(text).is_err(), "{text:?}");
        }
        let code = LoginCode::parse("0a3&=%+#xyz").unwrap();
        assert_eq!(code.expose(), "0a3&=%+#xyz");
        assert_eq!(format!("{code:?}"), "***");
    }
}
