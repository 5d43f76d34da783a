//! Verifies access tokens that menshen issued.
//!
//! Cheap checks come first (size, shape, header, key, claims, time), the signature last: a flood of
//! rubbish costs little. Nothing is trusted before the signature: until then each check can only
//! reject.
//!
//! Must stay true: the header's `alg` is compared with the one algorithm of the key that `kid`
//! names; a header with a member besides `alg`, `kid` and `typ` is rejected, and with it `crit`,
//! `b64`, `zip`, `enc`, `jwk`, `jku`, `x5c` and `x5u`; only canonical base64url passes. An ES256
//! signature has a twin (`s` and `n - s`), so nothing may be revoked by the text of a token:
//! revocation goes by session and epoch.

use std::{sync::Arc, time::Duration};

use arc_swap::Guard;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::MapAccess;

use super::{
    TokenError,
    claims::{AccessClaims, IDENTITY_CLAIMS, Lifetimes, MAX_LIFETIME, TOKEN_USE},
    custom_claims::CustomClaims,
    identity_claims::IdentityClaims,
    jws::{CompactJws, decode},
    key::VerifyingKey,
    keyring::{ACCESS_TOKEN, Keyring},
    keyrings::Keyrings,
    strict_json::{self, Member, ObjectReader, Text, read_once},
};
use crate::{
    config::TokenConfig,
    types::{ClientType, SessionId, Timestamp, UserId, UserType},
};

/// Longest decoded header, in bytes.
const MAX_HEADER_LEN: usize = 512;
/// Times are whole seconds up to 2^53, which every JSON reader reads as the same number.
pub(super) const MAX_NUMERIC_DATE: u64 = 1 << 53;

/// Whether an expired token is rejected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExpiryCheck {
    Enforced,
    Ignored,
}

/// Verifies access tokens with the current keys.
#[derive(Debug)]
pub struct Verifier {
    keyrings: Arc<Keyrings>,
    iss: String,
    aud: String,
    leeway: Duration,
    max_lifetime: Duration,
    renewable_for: Duration,
    custom_claims: Arc<[Arc<str>]>,
}

impl Verifier {
    pub fn new(keyrings: Arc<Keyrings>, config: &TokenConfig, lifetimes: Lifetimes) -> Self {
        Self {
            keyrings,
            iss: config.issuer.clone(),
            aud: config.audience.clone(),
            leeway: config.leeway.get(),
            max_lifetime: lifetimes.max_accepted_lifetime(),
            renewable_for: lifetimes.renewable_for,
            custom_claims: Arc::new([]),
        }
    }

    /// The same verifier, which also reads these custom claims.
    #[must_use]
    pub fn with_custom_claims(self, custom_claims: Arc<[Arc<str>]>) -> Self {
        Self {
            custom_claims,
            ..self
        }
    }

    /// The token's claims, if it is valid at `now`. Revocation is not checked here.
    ///
    /// A token of an unknown key requests a reload of the keys; it is rejected all the same.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<AccessClaims, TokenError> {
        self.verify_with(&self.keys(), token, now)
    }

    /// [`Verifier::verify`] with the keys of one snapshot, where the caller has to know which it
    /// was.
    pub fn verify_with(
        &self,
        keys: &Keyring,
        token: &str,
        now: Timestamp,
    ) -> Result<AccessClaims, TokenError> {
        self.check_token(keys, token, now, ExpiryCheck::Enforced)
    }

    /// The claims of a renewable token that has not expired for longer than a session may stay
    /// unused. It authorizes no request: it is the proof of session of a client without a refresh
    /// token.
    pub fn verify_for_renewal(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<AccessClaims, TokenError> {
        let claims = self.check_token(&self.keys(), token, now, ExpiryCheck::Ignored)?;
        let end = claims.exp.plus(self.renewable_for).plus(self.leeway);
        match claims.renewable {
            false => Err(TokenError::Kind),
            true if now >= end => Err(TokenError::Expired),
            true => Ok(claims),
        }
    }

    /// The claims of a token whether or not it has expired. They authorize only the end of their
    /// own session.
    pub fn verify_ignoring_expiry(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<AccessClaims, TokenError> {
        self.check_token(&self.keys(), token, now, ExpiryCheck::Ignored)
    }

    fn check_token(
        &self,
        keys: &Keyring,
        token: &str,
        now: Timestamp,
        expiry: ExpiryCheck,
    ) -> Result<AccessClaims, TokenError> {
        let jws = CompactJws::split_signed(token)?;
        let key = self.key_of(keys, jws.header)?;
        let payload = decode(jws.payload)?;
        let members = UnverifiedClaims {
            wanted: &self.custom_claims,
            ..UnverifiedClaims::default()
        };
        let claims = self.check(
            strict_json::object_into(&payload, members).ok_or(TokenError::Malformed)?,
            now,
            expiry,
        )?;
        if expiry == ExpiryCheck::Enforced && self.expired(&claims, now) {
            return Err(TokenError::Expired);
        }
        let message = jws.signing_input.as_bytes();
        if key.check.accepts(message, jws.signature) {
            Ok(claims)
        } else {
            Err(TokenError::Signature)
        }
    }

    /// The key that the header names, if the algorithm is the key's.
    fn key_of<'k>(&self, keys: &'k Keyring, header: &str) -> Result<&'k VerifyingKey, TokenError> {
        let mut bytes = [0; MAX_HEADER_LEN];
        let length = URL_SAFE_NO_PAD
            .decode_slice(header, &mut bytes)
            .map_err(|_| TokenError::Malformed)?;
        let header: Header<'_> = strict_json::object(&bytes[..length]).ok_or(TokenError::Header)?;
        if header.typ.is_none_or(|typ| typ.0 != ACCESS_TOKEN) {
            return Err(TokenError::Kind);
        }
        let (Some(alg), Some(kid)) = (header.alg, header.kid) else {
            return Err(TokenError::Header);
        };
        let Some(key) = keys.verifying(&kid.0) else {
            self.keyrings.request_reload();
            return Err(TokenError::UnknownKey);
        };
        if key.algorithm.is_named(&alg.0) {
            Ok(key)
        } else {
            Err(TokenError::Algorithm)
        }
    }

    /// `iss` of our tokens.
    pub fn issuer(&self) -> &str {
        &self.iss
    }

    /// The expiry of a token with these claims, the leeway included.
    pub fn end(&self, claims: &AccessClaims) -> Timestamp {
        claims.exp.plus(self.leeway)
    }

    /// Whether a token with these claims has expired, the leeway included.
    pub fn expired(&self, claims: &AccessClaims, now: Timestamp) -> bool {
        now >= self.end(claims)
    }

    /// The current keys.
    pub fn keys(&self) -> Guard<Arc<Keyring>> {
        self.keyrings.current()
    }

    /// The version of the current keys.
    pub fn keys_version(&self) -> u64 {
        self.keyrings.version()
    }

    fn check(
        &self,
        claims: UnverifiedClaims<'_>,
        now: Timestamp,
        expiry: ExpiryCheck,
    ) -> Result<AccessClaims, TokenError> {
        let missing = TokenError::Claims;
        if claims.token_use.ok_or(TokenError::Kind)?.0 != TOKEN_USE {
            return Err(TokenError::Kind);
        }
        if claims.iss.ok_or(missing)?.0 != self.iss || claims.aud.ok_or(missing)?.0 != self.aud {
            return Err(TokenError::IssuerOrAudience);
        }
        let client_type = claims.client_type.ok_or(missing)?.0;
        if claims.jti.ok_or(missing)?.0.is_empty() {
            return Err(missing);
        }
        let verified = AccessClaims {
            sub: UserId::parse(&claims.sub.ok_or(missing)?.0).map_err(|_| missing)?,
            sid: SessionId::parse(&claims.sid.ok_or(missing)?.0).map_err(|_| missing)?,
            iat: instant(claims.iat)?,
            exp: instant(claims.exp)?,
            user_type: UserType::parse(&claims.user_type.ok_or(missing)?.0).map_err(|_| missing)?,
            roles: claims.roles.ok_or(missing)?,
            client_type: [ClientType::MiniProgram, ClientType::App, ClientType::Web]
                .into_iter()
                .find(|known| known.as_str() == client_type)
                .ok_or(missing)?,
            ep: claims.ep.ok_or(missing)?,
            gep: claims.gep.ok_or(missing)?,
            renewable: claims.renewable.unwrap_or(false),
            identity_claims: claims.identity_claims.unwrap_or_default(),
            custom_claims: claims.custom_claims,
        };
        // For a renewal the store decides whether the session is active, so a token from before
        // `access_ttl` was shortened can be renewed.
        let max_lifetime = if expiry == ExpiryCheck::Ignored {
            MAX_LIFETIME
        } else {
            self.max_lifetime
        };
        if verified.exp > verified.iat.plus(max_lifetime) {
            return Err(TokenError::Claims);
        }
        let latest_start = now.plus(self.leeway);
        let not_before = if claims.nbf.is_some() {
            instant(claims.nbf)?
        } else {
            verified.iat
        };
        if verified.iat > latest_start || not_before > latest_start {
            return Err(TokenError::TooEarly);
        }
        Ok(verified)
    }
}

/// A required `NumericDate` (RFC 7519 section 2).
fn instant(secs: Option<u64>) -> Result<Timestamp, TokenError> {
    secs.filter(|&secs| secs <= MAX_NUMERIC_DATE)
        .map(Timestamp::from_secs)
        .ok_or(TokenError::Claims)
}

/// The header. No other member is allowed.
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
            _ => Err(serde::de::Error::custom("a header that is not ours")),
        }
    }
}

/// Unverified claims. Unknown ones are ignored: a newer replica may write more of them.
#[derive(Default)]
struct UnverifiedClaims<'a> {
    iss: Option<Text<'a>>,
    aud: Option<Text<'a>>,
    sub: Option<Text<'a>>,
    sid: Option<Text<'a>>,
    iat: Option<u64>,
    exp: Option<u64>,
    nbf: Option<u64>,
    jti: Option<Text<'a>>,
    user_type: Option<Text<'a>>,
    roles: Option<Vec<String>>,
    client_type: Option<Text<'a>>,
    ep: Option<u64>,
    gep: Option<u64>,
    renewable: Option<bool>,
    token_use: Option<Text<'a>>,
    identity_claims: Option<IdentityClaims>,
    /// The custom claims to be read.
    wanted: &'a [Arc<str>],
    custom_claims: CustomClaims,
}

impl<'de> ObjectReader<'de> for UnverifiedClaims<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<Member, A::Error> {
        match name {
            "iss" => read_once(&mut self.iss, map),
            "aud" => read_once(&mut self.aud, map),
            "sub" => read_once(&mut self.sub, map),
            "sid" => read_once(&mut self.sid, map),
            "iat" => read_once(&mut self.iat, map),
            "exp" => read_once(&mut self.exp, map),
            "nbf" => read_once(&mut self.nbf, map),
            "jti" => read_once(&mut self.jti, map),
            "user_type" => read_once(&mut self.user_type, map),
            "roles" => read_once(&mut self.roles, map),
            "client_type" => read_once(&mut self.client_type, map),
            "ep" => read_once(&mut self.ep, map),
            "gep" => read_once(&mut self.gep, map),
            "renewable" => read_once(&mut self.renewable, map),
            "token_use" => read_once(&mut self.token_use, map),
            IDENTITY_CLAIMS => read_once(&mut self.identity_claims, map),
            _ => self.custom_claims.read(self.wanted, name, map),
        }
    }
}

#[cfg(test)]
mod tests;
