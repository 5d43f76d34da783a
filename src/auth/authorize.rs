//! The hot path: from the text of a token to who is calling.
//!
//! Must stay true: no store is read, no lock is waited for, and a token seen before allocates nothing (but once for each turn
//! of the cache, when it moves to the younger generation). What was remembered
//! is checked again for all that can change: the time, revocation, and the keys.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use prometheus::IntCounter;

use super::denylist::Denylist;
use crate::{
    error::ErrorCode,
    metrics::Metrics,
    policy::IdentityHeaders,
    token::{AccessClaims, TokenCache, TokenError, Verified, Verifier},
    types::Timestamp,
};

/// Who is calling, as the token says and the backend is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub claims: Verified,
    /// What is set on the request to the backend.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Decides on access tokens.
#[derive(Debug)]
pub struct Authorizer {
    verifier: Verifier,
    denylist: Arc<Denylist>,
    identity_headers: IdentityHeaders,
    seen: TokenCache<Seen>,
    results: Results,
}

/// A token that was verified with the keys of this version.
#[derive(Debug, Clone)]
struct Seen {
    keys: u64,
    identity: Arc<Identity>,
}

/// `menshen_token_checks_total{result}`, looked up once.
#[derive(Debug)]
struct Results {
    cached: IntCounter,
    verified: IntCounter,
    invalid: IntCounter,
    expired: IntCounter,
    revoked: IntCounter,
}

impl Authorizer {
    pub fn new(
        verifier: Verifier,
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
        };
        Self { verifier, denylist, identity_headers, seen: TokenCache::new(cache_entries), results }
    }

    /// Who the bearer of this token is; `TokenInvalid`, `TokenExpired` or `TokenRevoked` when nobody.
    pub fn authorize(&self, token: &str, now: Timestamp) -> Result<Arc<Identity>, ErrorCode> {
        match self.seen.get(token) {
            Some(seen) if seen.keys == self.verifier.keys_version() => {
                if seen.identity.claims.own().is_some_and(|claims| self.verifier.expired(claims, now)) {
                    self.results.expired.inc();
                    return Err(ErrorCode::TokenExpired);
                }
                self.unless_revoked(seen.identity, &self.results.cached)
            }
            Some(_) | None => self.verify(token, now),
        }
    }

    /// What a token says that may have expired; it is worth no more than a refresh token. Whether its session lives is the store's
    /// to say.
    pub fn lapsed(&self, token: &str, now: Timestamp) -> Result<AccessClaims, ErrorCode> {
        self.verifier.verify_lapsed(token, now).map_err(|error| self.refused(error))
    }

    fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Identity>, ErrorCode> {
        let keys = self.verifier.keys();
        let claims = self.verifier.verify_with(&keys, token, now).map_err(|error| self.refused(error))?;
        let claims = Verified::Own(claims);
        let headers = self.identity_headers.values(&claims).inspect_err(|_| self.results.invalid.inc())?;
        let identity = Arc::new(Identity { claims, headers });
        // A revoked token is remembered too: refusing it again must not cost a signature check.
        self.seen.insert(token, Seen { keys: keys.version(), identity: Arc::clone(&identity) });
        self.unless_revoked(identity, &self.results.verified)
    }

    fn unless_revoked(&self, identity: Arc<Identity>, passed: &IntCounter) -> Result<Arc<Identity>, ErrorCode> {
        if self.denylist.refuses(&identity.claims) {
            self.results.revoked.inc();
            return Err(ErrorCode::TokenRevoked);
        }
        passed.inc();
        Ok(identity)
    }

    fn refused(&self, error: TokenError) -> ErrorCode {
        let expired = error == TokenError::Expired;
        if expired { &self.results.expired } else { &self.results.invalid }.inc();
        error.code()
    }
}

#[cfg(test)]
mod tests;
