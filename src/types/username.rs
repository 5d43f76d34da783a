//! The name with which an administrator signs in.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Malformed;

/// 1 to 64 letters, digits, `-`, `_`, `.` or `@`, in lower case: `Root` and `root` are one name,
/// and one counter. Personal: it may be an address, so it is never logged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(Arc<str>);

impl Username {
    /// Reads a name in any case, blanks around it ignored.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let name = text.trim().to_ascii_lowercase();
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
        if (1..=64).contains(&name.len()) && name.bytes().all(is_plain) {
            Ok(Self(name.into()))
        } else {
            Err(Malformed(
                "must be 1 to 64 letters, digits, '-', '_', '.' or '@'",
            ))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Username {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::parse(&text)
    }
}

impl From<Username> for String {
    fn from(name: Username) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_name_in_any_case() {
        assert_eq!(
            Username::parse(" Root@Example.com ").unwrap().as_str(),
            "root@example.com"
        );
        for text in ["", " ", "a b", "a\nb", "管理员", "a/b", &"x".repeat(65)] {
            assert!(Username::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(format!("{:?}", Username::parse("root").unwrap()), "***");
    }
}
