//! `[[issuer]]`: tokens of others that are accepted too.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Algorithm, HumanDuration, Problems, SecretText, end_of_day, values::pairs};
use crate::types::{REVOCATION_RETENTION, Timestamp};

/// An external issuer whose tokens are accepted: the backend's own from before menshen, or an
/// identity provider. Its user ids are taken for menshen's, unless `user_id_prefix` separates them.
/// Its tokens pass the gate; routes of the auth API that need a session need a token of menshen. A
/// ban or a logout everywhere revokes the tokens of that user too, and for 8 days also those that
/// the issuer issues meanwhile; after that the issuer must enforce a ban itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = example())]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the config, and none depends on another"
)]
pub struct IssuerConfig {
    /// Its name in metrics, logs and `/readyz`: 1 to 64 letters, digits, `-` or `_`.
    #[schemars(example = &"legacy")]
    pub name: String,
    /// `iss` of its tokens, exactly. `""`: its tokens have none, as those of `SimpleJWT` and of
    /// most `NestJS` apps, and a token that has one is not its.
    #[schemars(example = &"nest-app")]
    pub issuer: String,
    /// `aud` of its tokens, exactly. Unset: they have none, and a token that has one is for another
    /// service.
    #[schemars(example = &"shop-api")]
    pub audience: Option<String>,
    /// Take a token whose `aud` is a list with more than `audience` in it. Off, because the other
    /// services that are named there could use the token here.
    #[serde(default)]
    #[schemars(example = false)]
    pub shared_audience: bool,
    /// How its tokens are signed: `HS256` alone, or any of `RS256`, `ES256` and `EdDSA`. A key is
    /// for one of them. `Ed25519` is the same as `EdDSA`, here and in keys and tokens (RFC 9864);
    /// Ed448 is not taken.
    #[schemars(example = ["HS256"])]
    pub algorithms: Vec<Algorithm>,
    /// The secret for HS256, at least 32 bytes; also `secret_file`.
    #[schemars(example = &"...")]
    pub secret: Option<SecretText>,
    /// Read `secret` from this file.
    #[schemars(extend("format" = "path"), example = &"legacy.secret")]
    pub secret_file: Option<PathBuf>,
    /// Former secrets that still verify.
    #[serde(default)]
    #[schemars(example = ["..."])]
    pub previous_secrets: Vec<SecretText>,
    /// Accept a secret that is short or can be guessed, as those of old backends often are: an
    /// attacker who guesses it can be any user. Needs `accept_until`.
    #[serde(default)]
    #[schemars(example = false)]
    pub allow_weak_secret: bool,
    /// A file with its public key (PEM, `BEGIN PUBLIC KEY`).
    #[schemars(extend("format" = "path"), example = &"issuer.pem")]
    pub public_key_file: Option<PathBuf>,
    /// A file with its public keys (a JWK set, RFC 7517); read again when it changes.
    #[schemars(extend("format" = "path"), example = &"issuer.jwks.json")]
    pub jwks_file: Option<PathBuf>,
    /// Where its public keys are published. `https`, or plain HTTP on this machine.
    #[schemars(example = &"https://id.example.com/.well-known/jwks.json")]
    pub jwks_url: Option<String>,
    /// Accept plain HTTP from another machine: an attacker in between can give menshen keys of
    /// their own.
    #[serde(default)]
    #[schemars(example = false)]
    pub allow_plain_http: bool,
    /// How often the keys are fetched, 1m to 24h; sooner where `max-age` of the response says so.
    /// The last keys stay valid while the address does not answer. Unset: 10m.
    #[schemars(extend("minimum" = "1m", "maximum" = "1d"), example = &"10m")]
    pub jwks_refresh: Option<HumanDuration>,
    /// The claim with the user's id: a text of letters, digits, `-` and `_`, or an integer. Unset:
    /// `sub`.
    #[schemars(example = &"user_id")]
    pub user_id_claim: Option<String>,
    /// Put in front of the id, so that user 7 of this issuer is not user 7 of menshen.
    #[serde(default)]
    #[schemars(example = &"idp-")]
    pub user_id_prefix: String,
    /// What kind of user it names where no claim says so. Unset: `user`.
    #[schemars(example = &"user")]
    pub user_type: Option<String>,
    /// Which of its claims are read as `user_type`, `roles`, `client_type`, `sid`, `openid`,
    /// `unionid`, `phone` and `nickname`. A claim that is not named is ignored: without `user_type`
    /// here an issuer cannot make administrators.
    #[serde(default)]
    #[schemars(example = pairs(&[("roles", "permissions")]))]
    pub claims: BTreeMap<String, String>,
    /// Claims that distinguish its access tokens from its other tokens: `SimpleJWT`'s refresh
    /// tokens are signed with the same key.
    #[serde(default)]
    #[schemars(example = pairs(&[("token_type", "access")]))]
    pub required_claims: BTreeMap<String, String>,
    /// What `typ` in the header may be; case does not count. `""`: it may be absent. Unset: absent,
    /// `JWT` or `at+jwt`.
    #[schemars(example = ["", "JWT", "at+jwt"])]
    pub types: Option<Vec<String>>,
    /// Accept tokens without `exp`, which never expire. Needs `accept_until`.
    #[serde(default)]
    #[schemars(example = false)]
    pub allow_no_exp: bool,
    /// Accept tokens without `iat`. Their lifetime is unknown, so `exp` must not be further away
    /// than `max_lifetime`.
    #[serde(default)]
    #[schemars(example = false)]
    pub allow_no_iat: bool,
    /// The longest life of a token, from `iat` to `exp`. Longer than 191h, and a ban is forgotten
    /// before the token ends. Unset: 191h, an hour less than 8 days.
    #[schemars(extend("minimum" = "1s", "maximum" = "400d"), example = &"24h")]
    pub max_lifetime: Option<HumanDuration>,
    /// How far its clock may differ. Unset: `tokens.leeway`.
    #[schemars(extend("minimum" = "0s", "maximum" = "5m"), example = &"30s")]
    pub leeway: Option<HumanDuration>,
    /// The last day on which its tokens are accepted, in UTC: `YYYY-MM-DD`. `menshen check` warns
    /// from 30 days before.
    #[schemars(example = &"2027-06-30")]
    pub accept_until: Option<String>,
}

/// What `issuer.claims` may name.
pub const MAPPED_CLAIMS: [&str; 8] = [
    "user_type",
    "roles",
    "client_type",
    "sid",
    "openid",
    "unionid",
    "phone",
    "nickname",
];

/// How long before its last day `menshen check` warns.
const EXPIRY_NOTICE: Duration = Duration::from_hours(30 * 24);

/// `max_lifetime` where it is unset: a ban is remembered for longer.
pub(super) const DEFAULT_MAX_LIFETIME: Duration =
    REVOCATION_RETENTION.saturating_sub(Duration::from_hours(1));

impl IssuerConfig {
    /// The longest life of a token.
    pub fn longest_life(&self) -> Duration {
        self.max_lifetime
            .map_or(DEFAULT_MAX_LIFETIME, HumanDuration::get)
    }

    /// The first instant at which its tokens are not accepted any more; `None`: they always are.
    pub fn ends(&self) -> Option<Timestamp> {
        self.accept_until
            .as_deref()
            .and_then(|day| end_of_day(day).ok())
    }

    /// Warns when its last day is near or over.
    pub fn warn_expiry(&self, index: usize, now: Timestamp, problems: &mut Problems) {
        let key = format!("issuer[{index}].accept_until");
        match self.ends() {
            Some(end) if now >= end => problems.warn(
                &key,
                "is over: its tokens are refused, and the issuer can be removed",
            ),
            Some(end) if now.plus(EXPIRY_NOTICE) >= end => {
                let days = end.since(now).as_secs() / 86_400;
                problems.warn(
                    &key,
                    format!("is near: its tokens are refused in {days} days"),
                );
            }
            Some(_) | None => {}
        }
    }
}

/// The issuer of a team that migrates to menshen.
fn example() -> IssuerConfig {
    IssuerConfig {
        secret_file: Some("legacy.secret".into()),
        accept_until: Some("2027-06-30".to_owned()),
        ..IssuerConfig::named("legacy")
    }
}

impl IssuerConfig {
    /// One that signs with HS256 and says nothing of itself in its tokens.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            algorithms: vec![Algorithm::Hs256],
            ..Self::default()
        }
    }
}
