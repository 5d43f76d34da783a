//! `[identity]`: what the backend is told about the caller.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the backend is told about the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityConfig {
    /// Header name = claim of the access token: `sub`, `user_type`, `sid`, `client_type` or `roles` (comma-joined). What is written here is all that is set, but for
    /// `X-Auth-State` (`authenticated` or `anonymous`), which always is.
    pub headers: BTreeMap<String, String>,
    /// No header whose name starts like this passes from a client, whatever sign stands for `-`, even where menshen sets none.
    pub reserved_prefixes: Vec<String>,
    /// Let `X-WX-*` pass: only where nothing but WeChat Cloud can reach menshen.
    pub wechat_cloud_headers: bool,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        let pair = |header: &str, claim: &str| (header.to_owned(), claim.to_owned());
        Self {
            headers: [
                pair("X-User-Id", "sub"),
                pair("X-User-Type", "user_type"),
                pair("X-Session-Id", "sid"),
                pair("X-Client-Type", "client_type"),
            ]
            .into(),
            reserved_prefixes: ["X-User-", "X-Auth-", "X-Session-", "X-Client-", "X-Menshen-"].map(str::to_owned).into(),
            wechat_cloud_headers: false,
        }
    }
}
