//! The hot path: from the text of a token to who is calling.
//!
//! Must stay true: no store is read, no lock is waited for, and a token seen before allocates
//! nothing. What was remembered is checked again for all that can change: the time, revocation, and
//! the keys.

use std::sync::Arc;

use prometheus::IntCounter;

use super::{denylist::Denylist, logout::SignOutProof, proof::KeptProofs};
use crate::{
    error::ErrorCode,
    metrics::Metrics,
    policy::{IdentityFields, IdentityHeaders},
    token::{
        Accepted, AccessClaims, TokenCache, TokenError, TrustedIssuer, TrustedIssuers, Verified,
        Verifier, Whose,
    },
    types::Timestamp,
};

/// Who is calling, as the token says and the backend is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub claims: Verified,
    /// What is set on the request to the backend.
    pub headers: IdentityFields,
    /// What was signed about it for the backend.
    pub proofs: KeptProofs,
}

/// Decides on access tokens.
pub struct Authorizer {
    verifier: Verifier,
    issuers: Arc<TrustedIssuers>,
    others: Vec<Arc<Other>>,
    denylist: Arc<Denylist>,
    identity_headers: IdentityHeaders,
    seen: TokenCache<Seen>,
    results: Results,
}

/// A token that was verified with the keys of this version.
#[derive(Clone)]
struct Seen {
    keys: u64,
    /// The first instant at which it is good no more.
    end: Timestamp,
    /// Who signed it; `None`: we did.
    by: Option<Arc<Other>>,
    identity: Arc<Identity>,
}

/// Another issuer, with its own counters.
#[derive(Debug)]
struct Other {
    issuer: Arc<TrustedIssuer>,
    passed: IntCounter,
    invalid: IntCounter,
    expired: IntCounter,
    ended: IntCounter,
    revoked: IntCounter,
    no_keys: IntCounter,
}

/// The end of what has none.
const NEVER: Timestamp = Timestamp::from_millis(u64::MAX);

/// `menshen_token_checks_total{result}`, looked up once.
#[derive(Debug)]
struct Results {
    cached: IntCounter,
    verified: IntCounter,
    invalid: IntCounter,
    expired: IntCounter,
    revoked: IntCounter,
    ended: IntCounter,
    no_keys: IntCounter,
}

impl Other {
    fn new(issuer: &Arc<TrustedIssuer>, metrics: &Metrics) -> Self {
        let result = |name: &str| {
            metrics
                .issuer_token_checks
                .with_label_values(&[&issuer.name, name])
        };
        Self {
            issuer: Arc::clone(issuer),
            passed: result("passed"),
            invalid: result("invalid"),
            expired: result("expired"),
            ended: result("ended"),
            revoked: result("revoked"),
            no_keys: result("no_keys"),
        }
    }
}

impl Authorizer {
    pub fn new(
        verifier: Verifier,
        issuers: Arc<TrustedIssuers>,
        denylist: Arc<Denylist>,
        identity_headers: IdentityHeaders,
        cache_entries: usize,
        metrics: &Metrics,
    ) -> Self {
        let result = |name: &str| metrics.token_checks.with_label_values(&[name]);
        let results = Results {
            cached: result("cached"),
            verified: result("verified"),
            invalid: result("invalid"),
            expired: result("expired"),
            revoked: result("revoked"),
            ended: result("issuer_ended"),
            no_keys: result("issuer_without_keys"),
        };
        let others = issuers
            .iter()
            .map(|issuer| Arc::new(Other::new(issuer, metrics)))
            .collect();
        Self {
            verifier,
            issuers,
            others,
            denylist,
            identity_headers,
            seen: TokenCache::new(cache_entries),
            results,
        }
    }

    /// Who the bearer of this token is; `TokenInvalid`, `TokenExpired` or `TokenRevoked` when
    /// nobody, `IssuerUnavailable` when nobody knows.
    pub fn authorize(&self, token: &str, now: Timestamp) -> Result<Arc<Identity>, ErrorCode> {
        match self.seen.get(token) {
            Some(seen) if seen.keys == self.keys_version(seen.by.as_deref()) && now < seen.end => {
                self.unless_revoked(seen.identity, seen.by.as_deref(), &self.results.cached)
            }
            // What is over is refused before its signature is looked at.
            Some(_) | None => self.verify(token, now),
        }
    }

    /// Why a token does not count, in more detail than clients are told; `None`: it does, but for
    /// revocation.
    pub fn objection(&self, token: &str, now: Timestamp) -> Option<TokenError> {
        match self.issuers.whose(token, self.verifier.issuer()) {
            Whose::Ours => self.verifier.verify(token, now).err(),
            Whose::Theirs(claimants) => claimants.verify(token, now).err().map(|(_, error)| error),
            Whose::Nobodys(error) => Some(error),
        }
    }

    fn keys_version(&self, by: Option<&Other>) -> u64 {
        by.map_or_else(
            || self.verifier.keys_version(),
            |other| other.issuer.keys_version(),
        )
    }

    /// What a token says that may have expired; it is worth no more than a refresh token. Whether
    /// its session lives is the store's to say.
    pub fn lapsed(&self, token: &str, now: Timestamp) -> Result<AccessClaims, ErrorCode> {
        self.verifier
            .verify_lapsed(token, now)
            .map_err(|error| self.refused(error))
    }

    /// The claims of a token of ours for a logout, and whether it has expired: a genuine one ends
    /// its own session all the same.
    pub fn sign_out(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<(AccessClaims, SignOutProof), ErrorCode> {
        match self.authorize(token, now) {
            Ok(identity) => {
                let claims = identity.claims.own().ok_or(ErrorCode::TokenInvalid)?;
                Ok((claims.clone(), SignOutProof::AccessToken))
            }
            // Invalid is also one that lives longer than tokens may since the config was changed;
            // it still renews.
            Err(refusal @ (ErrorCode::TokenExpired | ErrorCode::TokenInvalid)) => {
                let genuine = self
                    .verifier
                    .verify_genuine(token, now)
                    .map_err(|_| refusal)?;
                let claims = Verified::Own(genuine);
                if self.denylist.refuses(&claims) {
                    return Err(ErrorCode::TokenRevoked);
                }
                let claims = claims.own().ok_or(ErrorCode::TokenInvalid)?;
                Ok((claims.clone(), SignOutProof::ExpiredAccessToken))
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Identity>, ErrorCode> {
        match self.issuers.whose(token, self.verifier.issuer()) {
            Whose::Ours => {
                let keys = self.verifier.keys();
                let claims = self
                    .verifier
                    .verify_with(&keys, token, now)
                    .map_err(|error| self.refused(error))?;
                let (keys, end) = (keys.version(), self.verifier.end(&claims));
                self.remember(token, keys, end, None, Verified::Own(claims))
            }
            Whose::Theirs(claimants) => match claimants.verify(token, now) {
                Ok((issuer, Accepted { claims, end, keys })) => self.remember(
                    token,
                    keys,
                    end.unwrap_or(NEVER),
                    self.other(issuer).as_ref(),
                    Verified::Foreign(claims),
                ),
                Err((issuer, error)) => {
                    if let Some(other) = self.other(issuer) {
                        other.refused(error);
                    }
                    Err(self.refused(error))
                }
            },
            Whose::Nobodys(error) => Err(self.refused(error)),
        }
    }

    fn other(&self, issuer: &Arc<TrustedIssuer>) -> Option<Arc<Other>> {
        self.others
            .iter()
            .find(|other| Arc::ptr_eq(&other.issuer, issuer))
            .cloned()
    }

    fn remember(
        &self,
        token: &str,
        keys: u64,
        end: Timestamp,
        by: Option<&Arc<Other>>,
        claims: Verified,
    ) -> Result<Arc<Identity>, ErrorCode> {
        let headers = self
            .identity_headers
            .fields(&claims)
            .inspect_err(|_| self.results.invalid.inc())?;
        let identity = Arc::new(Identity {
            claims,
            headers,
            proofs: KeptProofs::default(),
        });
        // A revoked token is remembered too: refusing it again must not cost a signature check.
        self.seen.insert(
            token,
            Seen {
                keys,
                end,
                by: by.cloned(),
                identity: Arc::clone(&identity),
            },
        );
        self.unless_revoked(identity, by.map(Arc::as_ref), &self.results.verified)
    }

    fn unless_revoked(
        &self,
        identity: Arc<Identity>,
        by: Option<&Other>,
        passed: &IntCounter,
    ) -> Result<Arc<Identity>, ErrorCode> {
        if self.denylist.refuses(&identity.claims) {
            self.results.revoked.inc();
            by.inspect(|other| other.revoked.inc());
            return Err(ErrorCode::TokenRevoked);
        }
        passed.inc();
        by.inspect(|other| other.passed.inc());
        Ok(identity)
    }

    fn refused(&self, error: TokenError) -> ErrorCode {
        let Results {
            invalid,
            expired,
            ended,
            no_keys,
            ..
        } = &self.results;
        counter(error, invalid, expired, ended, no_keys).inc();
        error.code()
    }
}

impl Other {
    fn refused(&self, error: TokenError) {
        counter(
            error,
            &self.invalid,
            &self.expired,
            &self.ended,
            &self.no_keys,
        )
        .inc();
    }
}

const fn counter<'c>(
    error: TokenError,
    invalid: &'c IntCounter,
    expired: &'c IntCounter,
    ended: &'c IntCounter,
    no_keys: &'c IntCounter,
) -> &'c IntCounter {
    match error {
        TokenError::Expired => expired,
        TokenError::Ended => ended,
        TokenError::NoKeys => no_keys,
        TokenError::TooLong
        | TokenError::Malformed
        | TokenError::Header
        | TokenError::UnknownKey
        | TokenError::Algorithm
        | TokenError::Kind
        | TokenError::Claims
        | TokenError::Foreign
        | TokenError::TooEarly
        | TokenError::Signature => invalid,
    }
}

#[cfg(test)]
mod tests;
