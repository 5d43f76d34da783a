//! The name that an administrator signs in with.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Malformed,
    identity::{is_plain, text_type},
};

text_type!(
    /// 1 to 64 letters, digits, `-`, `_`, `.` or `@`, in lower case: `Root` and `root` are one
    /// name, and one counter. Personal: it may be an address, so it is never logged.
    Username, masked
);

impl Username {
    /// Parses a name in any case, without the blanks around it.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let name = text.trim().to_ascii_lowercase();
        is_plain(&name, 64, b"-_.@")
            .then(|| Self(name.into()))
            .ok_or(Malformed(
                "must be 1 to 64 letters, digits, '-', '_', '.' or '@'",
            ))
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
