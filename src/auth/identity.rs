//! The caller of a request, as a token has proven it.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use http::HeaderValue;

use crate::{policy::IdentityFields, token::VerifiedClaims, types::Timestamp};

/// The caller's verified claims, and what the backend gets of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub claims: VerifiedClaims,
    /// The identity headers of the request to the backend.
    pub headers: IdentityFields,
    /// Signed headers for the backend, once they have been made.
    pub assertions: CachedAssertions,
}

/// The signed headers of one identity. A clone starts without any and signs again.
#[derive(Default)]
pub struct CachedAssertions {
    pub(super) assertion: ArcSwapOption<CachedAssertion>,
    pub(super) backend_token: ArcSwapOption<CachedAssertion>,
}

/// A signed header value and its validity.
pub(super) struct CachedAssertion {
    pub(super) generation: Arc<()>,
    /// The version of the keys that signed it.
    pub(super) keys: u64,
    pub(super) made_at: Timestamp,
    pub(super) renew_at: Timestamp,
    pub(super) value: HeaderValue,
}

impl Clone for CachedAssertions {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// A cache is no part of the identity.
impl PartialEq for CachedAssertions {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for CachedAssertions {}

/// Prints no credential.
impl fmt::Debug for CachedAssertions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CachedAssertions")
    }
}
