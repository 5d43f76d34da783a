//! The caller of a request, as a token has proven it.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use http::HeaderValue;

use crate::{policy::IdentityFields, token::VerifiedClaims, types::Timestamp};

/// Who is calling, as the token says and the backend is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub claims: VerifiedClaims,
    /// What is set on the request to the backend.
    pub headers: IdentityFields,
    /// What was signed about it for the backend.
    pub assertions: CachedAssertions,
}

/// The proofs of one identity that have been made. A copy has none: they are made again.
#[derive(Default)]
pub struct CachedAssertions {
    pub(super) assertion: ArcSwapOption<CachedAssertion>,
    pub(super) backend_token: ArcSwapOption<CachedAssertion>,
}

/// One that has been made.
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

/// They say nothing of who somebody is.
impl PartialEq for CachedAssertions {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for CachedAssertions {}

/// They are credentials.
impl fmt::Debug for CachedAssertions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CachedAssertions")
    }
}
