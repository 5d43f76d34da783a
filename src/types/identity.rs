//! Identifiers of a user: ours (`UserId`) and WeChat's (`OpenId`, `UnionId`, under an `AppId`); and
//! the kind of a user (`UserType`).

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Malformed;

/// Letters, digits and the signs given, within a length.
pub(super) fn is_plain(text: &str, max_len: usize, signs: &[u8]) -> bool {
    (1..=max_len).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || signs.contains(&b))
}

/// Declares a type of valid texts, which is `printed` or `masked`. Its `parse` is written apart.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $printing:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Malformed;
            fn try_from(text: String) -> Result<Self, Malformed> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0.as_ref().to_owned()
            }
        }

        text_type!(@$printing $name);
    };
    (@printed $name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
    (@masked $name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("***")
            }
        }
    };
}
pub(super) use text_type;

macro_rules! plain_text_type {
    ($(#[$doc:meta])* $name:ident, $printing:ident, $max_len:literal, $signs:literal, $expected:literal) => {
        text_type!($(#[$doc])* $name, $printing);

        impl $name {
            /// Parses a text of this form.
            pub fn parse(text: &str) -> Result<Self, Malformed> {
                is_plain(text, $max_len, $signs).then(|| Self(text.into())).ok_or(Malformed($expected))
            }
        }
    };
}

plain_text_type!(
    /// Our name for a user: a UUID, a decimal number or an imported id. 1 to 64 letters, digits,
    /// `-`, `_`; what `X-User-Id` carries, so nothing that could end a header fits in.
    UserId, printed, 64, b"-_", "must be 1 to 64 letters, digits, '-' or '_'"
);
plain_text_type!(
    /// A mini program's app id (`wx` and 16 hex digits as issued; test programs may differ).
    AppId, printed, 64, b"-_", "must be 1 to 64 letters, digits, '-' or '_'"
);
plain_text_type!(
    /// A user within one app id, from `jscode2session`. Personal: never logged.
    OpenId, masked, 128, b"-_.", "must be 1 to 128 letters, digits, '-', '_' or '.'"
);
plain_text_type!(
    /// A user across the apps of one Open Platform account. Personal: never logged.
    UnionId, masked, 128, b"-_.", "must be 1 to 128 letters, digits, '-', '_' or '.'"
);
plain_text_type!(
    /// The kind of a user, as rules and the backend see it: `user`, `admin`, or an imported kind.
    UserType, printed, 32, b"-_", "must be 1 to 32 letters, digits, '-' or '_'"
);

impl UserType {
    /// A user who signed in by a mini program or a phone.
    pub fn user() -> Self {
        Self("user".into())
    }

    /// An administrator.
    pub fn admin() -> Self {
        Self("admin".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_could_end_a_header_is_a_user_id() {
        for text in [
            "",
            " ",
            "a b",
            "a\r\nX: y",
            "a\0",
            "é",
            "a,b",
            &"x".repeat(65),
        ] {
            assert!(UserId::parse(text).is_err(), "{text:?}");
        }
        assert!(UserId::parse("0192f0c1-7a3e-7e1b-9d7a-0b6f3f8e2d11").is_ok());
        assert!(UserId::parse("42").is_ok());
    }

    #[test]
    fn an_openid_does_not_print() {
        let openid = OpenId::parse("oGZUI0egBJY1zhBYw2KhdUfwVJJE").expect("a real openid");
        assert_eq!(format!("{openid:?}"), "***");
    }

    #[test]
    fn reading_back_checks_again() {
        assert!(serde_json::from_str::<UserId>("\"a b\"").is_err());
    }
}
