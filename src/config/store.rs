//! `[store]`: where users, identities and sessions live.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ByteSize, HumanDuration, SecretText};

/// Where users, identities and sessions live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `sled:PATH` (embedded, one replica) or `memory:` (gone at exit; development only).
    pub url: String,
    /// 32 bytes, as 64 hex digits or base64, that encrypt what is personal in the store; also `encryption_key_file`. Unset in
    /// development: made on first start as `store.key` beside the data. Production refuses to start without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_key: Option<SecretText>,
    /// Read `encryption_key` from this file. A missing file is made on first start, for its owner alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_key_file: Option<PathBuf>,
    /// Memory for pages of the embedded store.
    pub cache: ByteSize,
    /// How often revocations made by other replicas are looked for.
    pub revocation_poll: HumanDuration,
    /// How often what has expired is removed.
    pub sweep_interval: HumanDuration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: "sled:./data".to_owned(),
            encryption_key: None,
            encryption_key_file: None,
            cache: ByteSize::mib(16),
            revocation_poll: HumanDuration::secs(1),
            sweep_interval: HumanDuration::minutes(1),
        }
    }
}
