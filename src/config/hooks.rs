//! `[hooks]`: requests and events to the backend.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    HumanDuration, Mode, Problems, SecretText, UserIds, UsersConfig,
    address::{is_loopback, scheme_and_host},
};
use crate::types::is_public;

/// Shortest secret, in bytes: a signature is as good as its key.
const MIN_SECRET_LEN: usize = 32;

/// Hooks: requests and events to the backend, as signed `POST`s of JSON. See docs/hooks.md.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HooksConfig {
    /// The URL of the backend that receives hooks. Unset: none are sent. A redirect is not
    /// followed. Plain http is for this machine and private networks: hooks may contain personal
    /// data.
    #[schemars(example = &"http://127.0.0.1:3000/internal/menshen")]
    pub url: Option<String>,
    /// The key of the signature, at least 32 bytes; also `secret_file`. `X-Menshen-Signature` is
    /// `sha256=` and the hex HMAC-SHA256 of `X-Menshen-Timestamp` (seconds since 1970), a `.` and
    /// the body. The backend must check it, and refuse old timestamps.
    #[schemars(example = &"...")]
    pub secret: Option<SecretText>,
    /// Read `secret` from this file.
    #[schemars(extend("format" = "path"), example = &"hooks.secret")]
    pub secret_file: Option<PathBuf>,
    /// The events that are sent. `user.created`, `user.deleted`, `user.merged` and `user.withdrawn`
    /// are never lost; `login.succeeded` is sent while menshen runs and the backend keeps up.
    pub events: Vec<HookEvent>,
    /// When `user.created` is sent. `ask`: before the user is created, and the login waits; the
    /// response may name the id and further claims. `tell`: afterwards.
    pub created: HookCreated,
    /// What happens to a first login when the backend does not respond: `refuse` it (503, no user
    /// is created), or `continue` with an id of menshen's own, which is sent to the backend when it
    /// is back.
    pub on_failure: OnHookFailure,
    /// What `user.created` contains besides the kind of user: `openid` (with its `app_id`),
    /// `unionid`, `phone`, `profile` (`nickname` and `avatar_url`).
    pub share: Vec<HookShare>,
    /// Total time for one hook, its retries included. 100 milliseconds to 30 seconds.
    #[schemars(extend("minimum" = "100ms", "maximum" = "30s"))]
    pub timeout: HumanDuration,
    /// How often a hook is sent within that time, if the backend cannot be reached or answers 408,
    /// 429 or 5xx. 1 to 5.
    #[schemars(range(min = 1, max = 5))]
    pub attempts: u32,
    /// Most first logins that wait for the backend at once; for one more the hook counts as failed.
    /// 1 to 10000.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_waiting: usize,
    /// How long an event is retried before it is dropped, with a line in the audit log. 1 minute to
    /// 30 days.
    #[schemars(extend("minimum" = "1m", "maximum" = "30d"))]
    pub give_up_after: HumanDuration,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HookEvent {
    #[serde(rename = "user.created")]
    UserCreated,
    #[serde(rename = "login.succeeded")]
    LoginSucceeded,
    #[serde(rename = "user.deleted")]
    UserDeleted,
    #[serde(rename = "user.merged")]
    UserMerged,
    #[serde(rename = "user.withdrawn")]
    UserWithdrawn,
}

impl HookEvent {
    pub const ALL: [Self; 5] = [
        Self::UserCreated,
        Self::LoginSucceeded,
        Self::UserDeleted,
        Self::UserMerged,
        Self::UserWithdrawn,
    ];

    /// Its name in the config and on the wire; also a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserCreated => "user.created",
            Self::LoginSucceeded => "login.succeeded",
            Self::UserDeleted => "user.deleted",
            Self::UserMerged => "user.merged",
            Self::UserWithdrawn => "user.withdrawn",
        }
    }
}

/// When the backend hears of a new user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HookCreated {
    #[default]
    Ask,
    Tell,
}

/// What becomes of a first login without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnHookFailure {
    #[default]
    Refuse,
    Continue,
}

/// Personal data of a new user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HookShare {
    OpenId,
    UnionId,
    Phone,
    Profile,
}

impl HooksConfig {
    /// Whether it is sent to the backend.
    pub fn has(&self, event: HookEvent) -> bool {
        self.url.is_some() && self.events.contains(&event)
    }

    /// Whether a first login waits for the backend.
    pub fn asks(&self) -> bool {
        self.has(HookEvent::UserCreated) && self.created == HookCreated::Ask
    }

    pub(super) fn check(&self, mode: Mode, users: &UsersConfig, problems: &mut Problems) {
        match (&self.url, &self.secret) {
            (None, None) => {}
            (None, Some(_)) => problems.add(
                "hooks.url",
                "is missing: `hooks.secret` signs what is posted there",
            ),
            (Some(url), secret) => {
                check_url(url, mode, problems);
                match secret {
                    None => problems.add_conflict("hooks.secret", &["hooks.url"], SECRET_MISSING),
                    Some(secret) if secret.expose().len() < MIN_SECRET_LEN => {
                        let message =
                            "is shorter than 32 bytes: `openssl rand -hex 32` prints a good one";
                        problems.add("hooks.secret", message);
                    }
                    Some(_) => {}
                }
                if self.asks() && users.ids == UserIds::Integer && users.first_integer.is_none() {
                    let others = ["users.ids", "hooks.url", "hooks.created", "hooks.events"];
                    problems.add_conflict("users.first_integer", &others, FIRST_INTEGER_MISSING);
                }
                if self.events.is_empty() {
                    problems.warn("hooks.events", "is empty: no hook is sent");
                }
            }
        }
    }
}

/// The URL may hold a secret, so messages do not contain it.
fn check_url(url: &str, mode: Mode, problems: &mut Problems) {
    let key = "hooks.url";
    let Some((scheme, host)) = scheme_and_host(url) else {
        return problems
            .add(key, "is not a URL: write http://host/path or https://host/path, without user name or fragment");
    };
    if scheme != "http" || mode == Mode::Development || is_loopback(&host) {
        return;
    }
    let is_public_address = host.parse().is_ok_and(is_public);
    let is_full_name = host.parse::<std::net::IpAddr>().is_err() && host.contains('.');
    if is_public_address {
        problems.add_conflict(
            key,
            &["mode"],
            "must be https: it carries personal data over the internet",
        );
    } else if is_full_name {
        problems.warn(
            key,
            "is plain http: it carries personal data, so it must not leave a private network",
        );
    }
}

const FIRST_INTEGER_MISSING: &str = "is missing: the backend answers `user.created` with ids of its own, and where it gives none \
     menshen counts from here, so write a number above every id that the backend will ever give";

const SECRET_MISSING: &str = "is missing: give at least 32 bytes here or in `secret_file`, without which the backend could not \
     tell menshen from another sender";

impl Default for HooksConfig {
    fn default() -> Self {
        Self {
            url: None,
            secret: None,
            secret_file: None,
            events: HookEvent::ALL.to_vec(),
            created: HookCreated::Ask,
            on_failure: OnHookFailure::Refuse,
            share: vec![HookShare::OpenId, HookShare::UnionId, HookShare::Phone],
            timeout: HumanDuration::secs(5),
            attempts: 2,
            max_waiting: 64,
            give_up_after: HumanDuration::days(3),
        }
    }
}
