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
    pub const fn is_empty(&self) -> bool {
        let Self {
            openid,
            unionid,
            phone,
            nickname,
        } = self;
        openid.is_none() && unionid.is_none() && phone.is_none() && nickname.is_none()
    }
}

/// Prints no personal data.
impl std::fmt::Debug for IdentityClaims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentityClaims(***)")
    }
}
