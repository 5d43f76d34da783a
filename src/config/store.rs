//! `[store]`: where users, identities and sessions live.

use std::{path::PathBuf, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::{ByteSize, HumanDuration, Mode, Problems, SecretText};
use crate::{crypto::Key, types::Malformed};

/// Where users, identities and sessions live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `sled:PATH` (embedded, one replica), `postgres://USER@HOST:5432/DATABASE` or
    /// `mysql://USER@HOST:3306/DATABASE` (many replicas; the latter for MariaDB, too), or `memory:`
    /// (gone at exit; development only). TLS to a database is verified unless it is on this machine;
    /// `?sslrootcert=FILE` names its certificate authority. Without the password, because this is
    /// printed.
    pub url: String,
    /// Read the database's password from this file, for each new connection: a password that was
    /// changed needs no restart.
    #[schemars(extend("format" = "path"), example = &"db-password")]
    pub password_file: Option<PathBuf>,
    /// Most connections to the database, of this process.
    #[schemars(range(min = 1, max = 1000))]
    pub connections: usize,
    /// 32 bytes, as 64 hex digits or base64, that encrypt what is personal in the store; also
    /// `encryption_key_file`. Unset in development: made on first start as `store.key` beside the
    /// data. Production refuses to start without.
    #[schemars(example = &"...")]
    pub encryption_key: Option<SecretText>,
    /// Read `encryption_key` from this file. A missing file is made on first start, for its owner
    /// alone.
    #[schemars(extend("format" = "path", "x-made-on-first-start" = true), example = &"store.key")]
    pub encryption_key_file: Option<PathBuf>,
    /// The key before `encryption_key`, for the first start with a new one; also
    /// `previous_encryption_key_file`. That start encrypts the store with the new key, and then
    /// this one is not needed any more.
    #[schemars(example = &"...")]
    pub previous_encryption_key: Option<SecretText>,
    /// Read `previous_encryption_key` from this file.
    #[schemars(extend("format" = "path"), example = &"store.key.old")]
    pub previous_encryption_key_file: Option<PathBuf>,
    /// Memory for pages of the embedded store.
    #[schemars(extend("minimum" = "1MiB", "maximum" = "65536MiB"))]
    pub cache: ByteSize,
    /// How long to wait at start for another process that still holds the store, such as a
    /// predecessor that is shutting down.
    #[schemars(extend("minimum" = "1ms", "maximum" = "10m"))]
    pub lock_wait: HumanDuration,
    /// How often the store is polled for revocations of other replicas.
    #[schemars(extend("minimum" = "1ms", "maximum" = "1m"))]
    pub revocation_poll: HumanDuration,
    /// How often expired records are removed.
    #[schemars(extend("minimum" = "1ms", "maximum" = "1d"))]
    pub sweep_interval: HumanDuration,
}

impl StoreConfig {
    /// The engine that `url` names.
    pub fn engine(&self) -> Result<StoreEngine, Malformed> {
        self.url.parse()
    }

    /// The key that encrypts what is personal; `None` where none is given and one is to be made.
    pub fn key(&self) -> Result<Option<Key>, Malformed> {
        self.encryption_key
            .as_ref()
            .map(|text| read_key(text.expose()))
            .transpose()
    }

    /// The key before it.
    pub fn previous_key(&self) -> Result<Option<Key>, Malformed> {
        self.previous_encryption_key
            .as_ref()
            .map(|text| read_key(text.expose()))
            .transpose()
    }

    pub(super) fn check(&self, mode: Mode, problems: &mut Problems) {
        match (self.engine(), mode) {
            (Err(Malformed(what)), _) => problems.add("store.url", what),
            (Ok(StoreEngine::Memory), Mode::Production) => {
                let message = "`memory:` forgets every user at exit: use sled:PATH, or mode = \"development\"";
                problems.add_conflict("store.url", &["mode"], message);
            }
            (Ok(StoreEngine::Shared), _)
                if self.encryption_key.is_none() && self.encryption_key_file.is_none() =>
            {
                problems.add_conflict(
                    "store.encryption_key_file",
                    &["store.url", "store.encryption_key"],
                    "a database is shared by replicas, and all of them need the same key: make one with `openssl rand -hex 32`, \
                     and name its file here",
                );
            }
            (Ok(StoreEngine::Memory | StoreEngine::Sled(_) | StoreEngine::Shared), _) => {}
        }
        if self.password_file.is_some() && self.engine() != Ok(StoreEngine::Shared) {
            let message = "is the password of a database, and `store.url` names none";
            problems.add_conflict("store.password_file", &["store.url"], message);
        }
        if let Err(Malformed(what)) = self.key() {
            problems.add("store.encryption_key", what);
        }
        if let Err(Malformed(what)) = self.previous_key() {
            problems.add("store.previous_encryption_key", what);
        }
        if mode == Mode::Production
            && self.encryption_key.is_none()
            && self.encryption_key_file.is_none()
            && self.engine() != Ok(StoreEngine::Shared)
        {
            problems.add_conflict(
                "store.encryption_key_file",
                &["mode", "store.encryption_key"],
                "production needs a key: name a file here (made on first start if missing; keep a copy of it), or give \
                 `store.encryption_key`",
            );
        }
    }
}

/// What keeps the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreEngine {
    Memory,
    /// In this directory; a relative one is in the working directory.
    Sled(PathBuf),
    /// A database that many processes share.
    Shared,
}

impl FromStr for StoreEngine {
    type Err = Malformed;

    fn from_str(url: &str) -> Result<Self, Malformed> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sled", path)) if !path.is_empty() => Ok(Self::Sled(path.into())),
            Some(("postgres" | "postgresql" | "mysql", _)) => Ok(Self::Shared),
            Some(("sled", _)) => Err(Malformed("names no directory: write sled:PATH")),
            // The text is not repeated: a database URL holds a password.
            Some(_) | None => Err(Malformed(
                "names a store that this version does not know: use sled:PATH, postgres://..., mysql://... or memory:",
            )),
        }
    }
}

/// 32 bytes as 64 hex digits or as base64 (RFC 4648 sections 4 and 5, padding or not).
fn read_key(text: &str) -> Result<Key, Malformed> {
    let text = text.trim();
    let mut bytes = if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        (0..32)
            .map(|n| u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok())
            .collect()
    } else {
        let standard = text
            .trim_end_matches('=')
            .replace('-', "+")
            .replace('_', "/");
        STANDARD_NO_PAD.decode(standard).ok()
    };
    let key = bytes
        .as_deref()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .map(Key::new);
    bytes.zeroize();
    key.ok_or(Malformed(
        "is not 32 bytes: write 64 hex digits or base64, as `openssl rand -hex 32` prints",
    ))
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: "sled:./data".to_owned(),
            password_file: None,
            connections: 16,
            encryption_key: None,
            encryption_key_file: None,
            previous_encryption_key: None,
            previous_encryption_key_file: None,
            cache: ByteSize::mib(16),
            lock_wait: HumanDuration::secs(30),
            revocation_poll: HumanDuration::secs(1),
            sweep_interval: HumanDuration::minutes(1),
        }
    }
}
