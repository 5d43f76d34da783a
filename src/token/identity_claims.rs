//! Identity claims: the person's openid, phone and the like, for the backend.

use serde::{Deserialize, Serialize};

/// Claims about the person, where the config has a header for them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdentityClaims {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unionid: Option<String>,
    /// E.164.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
}

impl IdentityClaims {
    /// Whether all are absent.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Prints no personal data.
impl std::fmt::Debug for IdentityClaims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentityClaims(***)")
    }
}
