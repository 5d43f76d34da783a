//! One login on one device.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Malformed, named_enum};

/// How long the revocation log keeps the end of a session. No access token may be valid for longer
/// (`tokens.access_ttl` is checked against it).
pub const REVOCATION_RETENTION: Duration = Duration::from_hours(8 * 24);

/// The id of a session: 128 random bits, printed as 32 lower-case hex digits. Not a credential by
/// itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(u128);

impl SessionId {
    /// From random bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// Parses exactly what `Display` prints: each id has one spelling.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        const INVALID: Malformed = Malformed("must be 32 lower-case hex digits");
        let is_plain =
            text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_plain {
            return Err(INVALID);
        }
        Uuid::try_parse(text)
            .map(|id| Self(id.as_u128()))
            .map_err(|_| INVALID)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for SessionId {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::parse(&text)
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.to_string()
    }
}

named_enum! {
    /// The kind of client of a login.
    #[derive(Hash, Default, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum ClientType {
        /// A WeChat mini program.
        #[default]
        MiniProgram = "miniprogram",
        /// A native app.
        App = "app",
        /// A browser.
        Web = "web",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_each_id() {
        let id = SessionId::from_bits(0xabc);
        assert_eq!(SessionId::parse(&id.to_string()), Ok(id));
        for text in [
            "",
            "ABC",
            &"A".repeat(32),
            "00000000-0000-0000-0000-000000000abc",
            &"0".repeat(33),
        ] {
            assert!(SessionId::parse(text).is_err(), "{text:?}");
        }
    }
}
