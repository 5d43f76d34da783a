//! The hot path: from the text of an access token to the identity of its bearer.
//!
//! Must stay true: no store is read; a cached token allocates nothing and waits for no lock. It is
//! checked again for all that can change: time, revocation and keys.

use std::sync::Arc;

use prometheus::IntCounter;

use super::{
    denylist::Denylist,
    identity::{CachedAssertions, Identity},
    logout::LogoutProof,
};
use crate::{
    error::ErrorCode,
    metrics::Metrics,
    policy::IdentityHeaders,
    token::{
        AcceptedToken, AccessClaims, IssuerMatch, TokenCache, TokenError, TrustedIssuer,
        TrustedIssuers, VerifiedClaims, Verifier,
    },
    types::Timestamp,
};

/// Accepts or rejects access tokens.
pub struct Authorizer {
    verifier: Verifier,
    issuers: Arc<TrustedIssuers>,
    issuer_counters: Vec<Arc<IssuerCounters>>,
    denylist: Arc<Denylist>,
    identity_headers: IdentityHeaders,
    cache: TokenCache<CachedToken>,
    /// Checks that the cache has answered.
    cached: IntCounter,
    checks: CheckCounters,
}

/// A token that was verified with the keys of this version.
#[derive(Clone)]
struct CachedToken {
    keys: u64,
    /// The first instant at which it is no longer valid.
    end: Timestamp,
    /// Its external issuer; `None`: menshen signed it.
    by: Option<Arc<IssuerCounters>>,
    identity: Arc<Identity>,
}

/// An external issuer and its counters.
struct IssuerCounters {
    issuer: Arc<TrustedIssuer>,
    checks: CheckCounters,
}

/// Counters of checked tokens by their results, looked up once.
struct CheckCounters {
    verified: IntCounter,
    invalid: IntCounter,
    expired: IntCounter,
    revoked: IntCounter,
    ended: IntCounter,
    no_keys: IntCounter,
}

/// Expiry of an identity that has none of its own.
const NEVER: Timestamp = Timestamp::from_millis(u64::MAX);

impl CheckCounters {
    /// `result` gives the counter of a label value.
    fn new(
        result: impl Fn(&str) -> IntCounter,
        verified: &str,
        ended: &str,
        no_keys: &str,
    ) -> Self {
        Self {
            verified: result(verified),
            invalid: result("invalid"),
            expired: result("expired"),
            revoked: result("revoked"),
            ended: result(ended),
            no_keys: result(no_keys),
        }
    }

    fn count(&self, error: TokenError) {
        match error {
            TokenError::Expired => &self.expired,
            TokenError::Ended => &self.ended,
            TokenError::NoKeys => &self.no_keys,
            TokenError::TooLong
            | TokenError::Malformed
            | TokenError::Header
            | TokenError::UnknownKey
            | TokenError::Algorithm
            | TokenError::Kind
            | TokenError::Claims
            | TokenError::IssuerOrAudience
            | TokenError::TooEarly
            | TokenError::Signature => &self.invalid,
        }
        .inc();
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
        let counters = |issuer: &Arc<TrustedIssuer>| {
            let result = |name: &str| {
                let labels = [&*issuer.name, name];
                metrics.issuer_token_checks.with_label_values(&labels)
            };
            Arc::new(IssuerCounters {
                issuer: Arc::clone(issuer),
                checks: CheckCounters::new(result, "passed", "ended", "no_keys"),
            })
        };
        let issuer_counters = issuers.iter().map(counters).collect();
        Self {
            verifier,
            issuers,
            issuer_counters,
            denylist,
            identity_headers,
            cache: TokenCache::new(cache_entries),
            cached: result("cached"),
            checks: CheckCounters::new(result, "verified", "issuer_ended", "issuer_without_keys"),
        }
    }

    /// The identity of the token's bearer. Errors: `TokenInvalid`, `TokenExpired`, `TokenRevoked`;
    /// `IssuerUnavailable` where the issuer's keys are missing.
    pub fn authorize(&self, token: &str, now: Timestamp) -> Result<Arc<Identity>, ErrorCode> {
        match self.cache.get(token) {
            Some(cached)
                if cached.keys == self.keys_version(cached.by.as_deref()) && now < cached.end =>
            {
                self.check_revocation(cached.identity, cached.by.as_deref(), &self.cached)
            }
            // An expired token is rejected before its signature is checked.
            Some(_) | None => self.verify(token, now),
        }
    }

    /// Why a token is rejected, in more detail than clients get; `None`: it is valid, unless
    /// revoked.
    pub fn rejection_reason(&self, token: &str, now: Timestamp) -> Option<TokenError> {
        match self.issuers.match_issuer(token, self.verifier.issuer()) {
            IssuerMatch::Own => self.verifier.verify(token, now).err(),
            IssuerMatch::Candidates(candidates) => {
                candidates.verify(token, now).err().map(|(_, error)| error)
            }
            IssuerMatch::NoIssuer(error) => Some(error),
        }
    }

    fn keys_version(&self, by: Option<&IssuerCounters>) -> u64 {
        by.map_or_else(
            || self.verifier.keys_version(),
            |counters| counters.issuer.keys_version(),
        )
    }

    /// The claims of a token that may have expired, for its renewal. The store decides whether its
    /// session is active.
    pub fn verify_for_renewal(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<AccessClaims, ErrorCode> {
        self.verifier
            .verify_for_renewal(token, now)
            .map_err(|error| self.count_rejection(error))
    }

    /// The claims of a token of ours for a logout, and whether it has expired: an expired one still
    /// ends its own session.
    pub fn verify_for_logout(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<(AccessClaims, LogoutProof), ErrorCode> {
        match self.authorize(token, now) {
            Ok(identity) => {
                let claims = identity.claims.own().ok_or(ErrorCode::TokenInvalid)?;
                Ok((claims.clone(), LogoutProof::AccessToken))
            }
            // `TokenInvalid` includes a token whose lifetime is too long since the config was
            // changed; it still ends its session.
            Err(rejection @ (ErrorCode::TokenExpired | ErrorCode::TokenInvalid)) => {
                let genuine = self
                    .verifier
                    .verify_ignoring_expiry(token, now)
                    .map_err(|_| rejection)?;
                let claims = VerifiedClaims::Own(genuine);
                if self.denylist.is_revoked(&claims) {
                    return Err(ErrorCode::TokenRevoked);
                }
                let claims = claims.own().ok_or(ErrorCode::TokenInvalid)?;
                Ok((claims.clone(), LogoutProof::ExpiredAccessToken))
            }
            Err(rejection) => Err(rejection),
        }
    }

    fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Identity>, ErrorCode> {
        match self.issuers.match_issuer(token, self.verifier.issuer()) {
            IssuerMatch::Own => {
                let keys = self.verifier.keys();
                let claims = self
                    .verifier
                    .verify_with(&keys, token, now)
                    .map_err(|error| self.count_rejection(error))?;
                let (keys, end) = (keys.version(), self.verifier.end(&claims));
                self.remember(token, keys, end, None, VerifiedClaims::Own(claims))
            }
            IssuerMatch::Candidates(candidates) => match candidates.verify(token, now) {
                Ok((issuer, AcceptedToken { claims, end, keys })) => self.remember(
                    token,
                    keys,
                    end.unwrap_or(NEVER),
                    self.counters_of(issuer).as_ref(),
                    VerifiedClaims::External(claims),
                ),
                Err((issuer, error)) => {
                    if let Some(counters) = self.counters_of(issuer) {
                        counters.checks.count(error);
                    }
                    Err(self.count_rejection(error))
                }
            },
            IssuerMatch::NoIssuer(error) => Err(self.count_rejection(error)),
        }
    }

    fn counters_of(&self, issuer: &Arc<TrustedIssuer>) -> Option<Arc<IssuerCounters>> {
        self.issuer_counters
            .iter()
            .find(|counters| Arc::ptr_eq(&counters.issuer, issuer))
            .cloned()
    }

    fn remember(
        &self,
        token: &str,
        keys: u64,
        end: Timestamp,
        by: Option<&Arc<IssuerCounters>>,
        claims: VerifiedClaims,
    ) -> Result<Arc<Identity>, ErrorCode> {
        let headers = self
            .identity_headers
            .fields(&claims)
            .inspect_err(|_| self.checks.invalid.inc())?;
        let identity = Arc::new(Identity {
            claims,
            headers,
            assertions: CachedAssertions::default(),
        });
        // A revoked token is cached too: rejecting it again must not cost a signature check.
        self.cache.insert(
            token,
            CachedToken {
                keys,
                end,
                by: by.cloned(),
                identity: Arc::clone(&identity),
            },
        );
        self.check_revocation(identity, by.map(Arc::as_ref), &self.checks.verified)
    }

    fn check_revocation(
        &self,
        identity: Arc<Identity>,
        by: Option<&IssuerCounters>,
        passed: &IntCounter,
    ) -> Result<Arc<Identity>, ErrorCode> {
        if self.denylist.is_revoked(&identity.claims) {
            self.checks.revoked.inc();
            by.inspect(|counters| counters.checks.revoked.inc());
            return Err(ErrorCode::TokenRevoked);
        }
        if self.denylist.is_doubtful(&identity.claims) {
            self.checks.expired.inc();
            return Err(ErrorCode::TokenExpired);
        }
        passed.inc();
        by.inspect(|counters| counters.checks.verified.inc());
        Ok(identity)
    }

    fn count_rejection(&self, error: TokenError) -> ErrorCode {
        self.checks.count(error);
        error.code()
    }
}

#[cfg(test)]
mod tests;
