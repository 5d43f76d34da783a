//! Verifies access tokens of one external issuer, by its rules in the config.
//!
//! As for menshen's own tokens, cheap checks come first and the signature last, and nothing is
//! trusted before it. Other issuers write more into a header: unknown parameters are ignored, those
//! that change how a token is read or where its key comes from are rejected.
//!
//! Must stay true: only this issuer's keys are tried; `iss`, `aud` and the required claims are
//! compared whole; a claim that the config does not name gives no rights.

use std::{sync::Arc, time::Duration};

use reqwest::Url;
use serde::de::MapAccess;
use serde_json::Value;

use super::{
    TokenError,
    custom_claims::{CustomClaims, texts},
    identity_claims::IdentityClaims,
    jws::{CompactJws, decode},
    mint::ORIGIN_MEMBER,
    strict_json::{self, Member, ObjectReader, Text, read_once},
    trusted_key::{TrustedKey, read_file},
    trusted_keys::{KeyHealth, TrustedKeys},
    verified::ExternalClaims,
    verify::MAX_NUMERIC_DATE,
};
use crate::{
    config::{Algorithm, IssuerConfig, MAPPED_CLAIMS, TokenConfig},
    crypto,
    metrics::Metrics,
    types::{Timestamp, UserId, UserType},
};

/// How often a JWK set is fetched where the config does not say.
const DEFAULT_REFRESH_INTERVAL: Duration = Duration::from_mins(10);
/// Longest text that goes into a header.
const MAX_HEADER_TEXT_LEN: usize = 128;

/// An external issuer whose tokens are accepted.
#[derive(Debug)]
pub struct TrustedIssuer {
    /// Its name in the config, metrics and logs.
    pub name: Arc<str>,
    /// `None`: its tokens have no `iss`.
    pub(super) iss: Option<String>,
    aud: Option<String>,
    shared_audience: bool,
    algorithms: Vec<Algorithm>,
    /// Accepted `typ` in lower case; the empty one stands for none.
    types: Vec<String>,
    user_id_claim: String,
    user_id_prefix: String,
    user_type: UserType,
    /// Its own claim for each of menshen's.
    claims: Vec<(&'static str, String)>,
    required: Vec<(String, String)>,
    /// Claims that rules and headers use.
    custom_claims: Arc<[Arc<str>]>,
    needs_exp: bool,
    needs_iat: bool,
    max_lifetime: Duration,
    leeway: Duration,
    accepted_until: Option<Timestamp>,
    pub(super) keys: Arc<TrustedKeys>,
}

/// A verified token of an external issuer.
#[derive(Debug)]
pub struct AcceptedToken {
    pub claims: ExternalClaims,
    /// The first instant at which it is no longer valid, the leeway included; `None`: there is
    /// none.
    pub end: Option<Timestamp>,
    /// The version of the keys that it was verified with.
    pub keys: u64,
}

impl TrustedIssuer {
    /// Compiles one issuer. A problem comes with its key in the table.
    pub(super) fn compile(
        config: &IssuerConfig,
        tokens: &TokenConfig,
        custom_claims: Arc<[Arc<str>]>,
    ) -> Result<Self, (&'static str, String)> {
        let name: Arc<str> = config.name.as_str().into();
        let user_type = config.user_type.as_deref().unwrap_or("user");
        let types = config
            .types
            .clone()
            .unwrap_or_else(|| ["", "jwt", "at+jwt"].map(str::to_owned).into());
        let claims = MAPPED_CLAIMS
            .into_iter()
            .filter_map(|ours| Some((ours, config.claims.get(ours)?.clone())));
        Ok(Self {
            keys: Arc::new(keys(config, name.clone())?),
            name,
            iss: Some(config.issuer.clone()).filter(|iss| !iss.is_empty()),
            aud: config.audience.clone(),
            shared_audience: config.shared_audience,
            algorithms: config.algorithms.clone(),
            types: types.iter().map(|typ| typ.to_ascii_lowercase()).collect(),
            user_id_claim: config
                .user_id_claim
                .clone()
                .unwrap_or_else(|| "sub".to_owned()),
            user_id_prefix: config.user_id_prefix.clone(),
            user_type: UserType::parse(user_type)
                .map_err(|wrong| ("user_type", wrong.to_string()))?,
            claims: claims.collect(),
            required: config.required_claims.clone().into_iter().collect(),
            custom_claims,
            needs_exp: !config.allow_no_exp,
            needs_iat: !config.allow_no_iat,
            max_lifetime: config.longest_life(),
            leeway: config.leeway.unwrap_or(tokens.leeway).get(),
            accepted_until: config.ends(),
        })
    }

    /// The health of its keys.
    pub fn health(&self) -> KeyHealth {
        self.keys.health()
    }

    /// The version of its current keys.
    pub fn keys_version(&self) -> u64 {
        self.keys.current().version()
    }

    /// Starts the task that follows its keys.
    pub(super) fn follow(&self, metrics: &Metrics) {
        self.keys.follow(metrics);
    }

    /// The token's claims, if it is this issuer's and valid at `now`.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<AcceptedToken, TokenError> {
        let jws = CompactJws::split_signed(token)?;
        let header = decode(jws.header)?;
        let header: Header<'_> = strict_json::object(&header).ok_or(TokenError::Header)?;
        let alg = header.alg.ok_or(TokenError::Header)?.0;
        if !self
            .algorithms
            .iter()
            .any(|algorithm| algorithm.is_named(&alg))
        {
            return Err(TokenError::Algorithm);
        }
        let typ = header
            .typ
            .map(|typ| typ.0.to_ascii_lowercase())
            .unwrap_or_default();
        if !self.types.contains(&typ) {
            return Err(TokenError::Kind);
        }
        let payload = decode(jws.payload)?;
        let claims = UnverifiedClaims {
            of: Some(self),
            ..UnverifiedClaims::default()
        };
        let claims = strict_json::object_into(&payload, claims).ok_or(TokenError::Malformed)?;
        let (claims, end) = self.check(&claims, now)?;
        let keys = self.keys.current();
        let kid = header.kid.as_ref().map(|kid| &*kid.0);
        let message = jws.signing_input.as_bytes();
        let checked = keys.check(&alg, kid, message, jws.signature);
        if checked == Err(TokenError::UnknownKey) {
            self.keys.request_refresh();
        }
        checked.map(|()| AcceptedToken {
            claims,
            end,
            keys: keys.version(),
        })
    }

    /// Checks all but the signature; returns the claims and the expiry.
    fn check(
        &self,
        claims: &UnverifiedClaims<'_>,
        now: Timestamp,
    ) -> Result<(ExternalClaims, Option<Timestamp>), TokenError> {
        if claims.iss.as_ref().map(|iss| &*iss.0) != self.iss.as_deref() {
            return Err(TokenError::IssuerOrAudience);
        }
        self.check_audience(claims.aud.as_ref())?;
        let one = |name: &str| match claims.texts(name).as_slice() {
            [text] => Some(text.clone()),
            _ => None,
        };
        if self
            .required
            .iter()
            .any(|(name, value)| one(name).as_ref() != Some(value))
        {
            return Err(TokenError::Kind);
        }
        let end = self.check_times(claims, now)?;
        let mapped = |ours: &str| {
            self.claims
                .iter()
                .find(|(name, _)| *name == ours)
                .map(|(_, theirs)| theirs.as_str())
        };
        let text = |ours: &str| {
            mapped(ours)
                .and_then(one)
                .filter(|text| !text.is_empty() && text.len() <= MAX_HEADER_TEXT_LEN)
        };
        let user_type = match mapped("user_type").filter(|theirs| claims.value(theirs).is_some()) {
            None => self.user_type.clone(),
            Some(theirs) => one(theirs)
                .and_then(|text| UserType::parse(&text).ok())
                .ok_or(TokenError::Claims)?,
        };
        // A role that is no plain name does not fit into a header; without it the user has fewer
        // rights.
        let is_role = |role: &String| {
            !role.is_empty() && role.bytes().all(|b| b.is_ascii_graphic() && b != b',')
        };
        let verified = ExternalClaims {
            issuer: self.name.clone(),
            sub: self.user_id(claims)?,
            exp: claims.exp.map(Timestamp::from_secs),
            end,
            user_type,
            roles: mapped("roles")
                .map(|theirs| claims.texts(theirs))
                .unwrap_or_default()
                .into_iter()
                .filter(is_role)
                .collect(),
            client_type: text("client_type").filter(|text| is_graphic(text)),
            sid: text("sid").filter(|text| is_graphic(text)),
            identity_claims: IdentityClaims {
                openid: text("openid"),
                unionid: text("unionid"),
                phone: text("phone"),
                nickname: text("nickname"),
            },
            custom_claims: CustomClaims(
                self.custom_claims
                    .iter()
                    .map(|name| (name.clone(), claims.texts(name)))
                    .collect(),
            ),
        };
        Ok((verified, end))
    }

    /// RFC 7519 section 4.1.3: a recipient that is not named has to reject it.
    fn check_audience(&self, aud: Option<&Value>) -> Result<(), TokenError> {
        let is_ours = |value: &Value| {
            value
                .as_str()
                .is_some_and(|aud| self.aud.as_deref() == Some(aud))
        };
        let fits = match (aud, &self.aud) {
            (None, None) => true,
            (None, Some(_)) | (Some(_), None) => false,
            (Some(Value::Array(list)), Some(_)) => match list.as_slice() {
                [only] => is_ours(only),
                list => {
                    self.shared_audience
                        && list.iter().all(Value::is_string)
                        && list.iter().any(is_ours)
                }
            },
            (Some(value), Some(_)) => is_ours(value),
        };
        if fits {
            Ok(())
        } else {
            Err(TokenError::IssuerOrAudience)
        }
    }

    fn check_times(
        &self,
        claims: &UnverifiedClaims<'_>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, TokenError> {
        if self.accepted_until.is_some_and(|end| now >= end) {
            return Err(TokenError::Ended);
        }
        let is_missing =
            (claims.exp.is_none() && self.needs_exp) || (claims.iat.is_none() && self.needs_iat);
        let too_large = [claims.exp, claims.iat, claims.nbf]
            .into_iter()
            .flatten()
            .any(|secs| secs > MAX_NUMERIC_DATE);
        if is_missing || too_large {
            return Err(TokenError::Claims);
        }
        let [exp, iat, nbf] =
            [claims.exp, claims.iat, claims.nbf].map(|secs| secs.map(Timestamp::from_secs));
        let latest_start = now.plus(self.leeway);
        if iat.is_some_and(|iat| iat > latest_start) || nbf.is_some_and(|nbf| nbf > latest_start) {
            return Err(TokenError::TooEarly);
        }
        let Some(exp) = exp else {
            return Ok(self.accepted_until);
        };
        if exp > iat.unwrap_or(now).plus(self.max_lifetime) {
            return Err(TokenError::Claims);
        }
        let end = exp.plus(self.leeway);
        if now >= end {
            return Err(TokenError::Expired);
        }
        Ok(Some(
            self.accepted_until
                .map_or(end, |accepted_until| accepted_until.min(end)),
        ))
    }

    /// A text, or an integer that every reader reads as the same number, as `SimpleJWT` writes it.
    fn user_id(&self, claims: &UnverifiedClaims<'_>) -> Result<UserId, TokenError> {
        let id = match claims.value(&self.user_id_claim) {
            Some(Value::String(text)) if !text.is_empty() => {
                format!("{}{text}", self.user_id_prefix)
            }
            Some(Value::Number(number)) => {
                let number = number
                    .as_u64()
                    .filter(|&number| number <= MAX_NUMERIC_DATE)
                    .ok_or(TokenError::Claims)?;
                format!("{}{number}", self.user_id_prefix)
            }
            Some(_) | None => return Err(TokenError::Claims),
        };
        UserId::parse(&id).map_err(|_| TokenError::Claims)
    }

    fn reads_claim(&self, name: &str) -> bool {
        self.user_id_claim == name
            || self.claims.iter().any(|(_, theirs)| theirs == name)
            || self.required.iter().any(|(required, _)| required == name)
            || self.custom_claims.iter().any(|claim| &**claim == name)
    }
}

/// The keys that the config names.
fn keys(config: &IssuerConfig, name: Arc<str>) -> Result<TrustedKeys, (&'static str, String)> {
    if let Some(path) = &config.public_key_file {
        let text = read_file(path).map_err(|why| ("public_key_file", why))?;
        let key = TrustedKey::from_pem(&text)
            .map_err(|why| ("public_key_file", format!("{} {why}", path.display())))?;
        if !config.algorithms.contains(&key.algorithm) {
            return Err((
                "algorithms",
                format!(
                    "lacks {}, which the public key is for",
                    key.algorithm.as_str()
                ),
            ));
        }
        return Ok(TrustedKeys::from_config(
            name,
            vec![key],
            crypto::sha256(&text),
        ));
    }
    if let Some(path) = &config.jwks_file {
        return TrustedKeys::from_file(name, path.clone(), config.algorithms.clone())
            .map_err(|why| ("jwks_file", format!("{}: {why}", path.display())));
    }
    if let Some(url) = &config.jwks_url {
        let url = Url::parse(url).map_err(|_| ("jwks_url", "is not a URL".to_owned()))?;
        let refresh = config
            .jwks_refresh
            .map_or(DEFAULT_REFRESH_INTERVAL, crate::config::HumanDuration::get);
        return Ok(TrustedKeys::from_url(
            name,
            url,
            refresh,
            config.algorithms.clone(),
        ));
    }
    let secrets: Vec<_> = config
        .secret
        .iter()
        .chain(&config.previous_secrets)
        .map(|secret| secret.expose().as_bytes())
        .collect();
    let digest = crypto::sha256(&secrets.join(&0));
    Ok(TrustedKeys::from_config(
        name,
        secrets.into_iter().map(TrustedKey::from_secret).collect(),
        digest,
    ))
}

fn is_graphic(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

/// The header parameters that are used.
#[derive(Default)]
struct Header<'a> {
    alg: Option<Text<'a>>,
    kid: Option<Text<'a>>,
    typ: Option<Text<'a>>,
}

impl<'de> ObjectReader<'de> for Header<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<Member, A::Error> {
        match name {
            "alg" => read_once(&mut self.alg, map),
            "kid" => read_once(&mut self.kid, map),
            "typ" => read_once(&mut self.typ, map),
            // They change how the token is read, or where its key comes from (RFC 7515 section 4.1,
            // RFC 7516, RFC 7797).
            "crit" | "b64" | "zip" | "enc" | "cty" | "jwk" | "jku" | "x5u" | "x5c" => {
                Err(serde::de::Error::custom("a header that is not taken"))
            }
            // Minted by menshen for a backend that has this issuer's key: accepted here it would
            // outlive its session.
            ORIGIN_MEMBER => Err(serde::de::Error::custom("a token that was minted here")),
            _ => Ok(Member::Ignored),
        }
    }
}

/// Unverified claims.
#[derive(Default)]
struct UnverifiedClaims<'a> {
    /// The issuer whose rules name the further claims.
    of: Option<&'a TrustedIssuer>,
    iss: Option<Text<'a>>,
    aud: Option<Value>,
    exp: Option<u64>,
    nbf: Option<u64>,
    iat: Option<u64>,
    further: Vec<(String, Value)>,
}

impl UnverifiedClaims<'_> {
    fn value(&self, name: &str) -> Option<&Value> {
        self.further
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
            .filter(|value| !value.is_null())
    }

    fn texts(&self, name: &str) -> Vec<String> {
        self.value(name).cloned().map(texts).unwrap_or_default()
    }
}

impl<'de> ObjectReader<'de> for UnverifiedClaims<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<Member, A::Error> {
        match name {
            "iss" => read_once(&mut self.iss, map),
            "aud" => read_once(&mut self.aud, map),
            "exp" => read_once(&mut self.exp, map),
            "nbf" => read_once(&mut self.nbf, map),
            "iat" => read_once(&mut self.iat, map),
            _ if self.of.is_some_and(|of| of.reads_claim(name)) => {
                if self.further.iter().any(|(known, _)| known == name) {
                    return Err(serde::de::Error::custom("a name twice"));
                }
                self.further.push((name.to_owned(), map.next_value()?));
                Ok(Member::Read)
            }
            _ => Ok(Member::Ignored),
        }
    }
}

#[cfg(test)]
mod tests;
