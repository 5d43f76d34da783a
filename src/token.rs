//! Tokens: issuing, verification, and the keys for both. The only module that names a JWT library.
//!
//! An access token is a JWT in the form of RFC 9068; it is verified on each request without reading
//! the store. A refresh token is opaque, and no JWT at all, so neither can be taken for the other.
//!
//! Must stay true: one algorithm for each key, fixed where the key is made or read; a header's
//! `alg` is only compared. What is not understood is rejected.

mod assertion;
mod cache;
mod claims;
mod custom_claims;
mod error;
mod handle;
mod identity_claims;
mod inspect;
mod issue;
mod jws;
mod key;
mod keyring;
mod keyrings;
mod mint;
mod refresh;
mod strict_json;
mod trusted_issuer;
mod trusted_issuers;
mod trusted_key;
mod trusted_keys;
mod verified;
mod verify;

#[cfg(test)]
pub(crate) mod fixture;

pub use assertion::{Assertions, NotSigned};
pub use cache::TokenCache;
pub use claims::{
    AccessClaims, AccessTokenOptions, Grant, Lifetimes, MAX_LIFETIME, RESERVED_CLAIMS,
};
pub use custom_claims::CustomClaims;
pub use error::TokenError;
pub use handle::{SessionHandle, SessionHandles};
pub use identity_claims::IdentityClaims;
pub use inspect::{JwtKind, TokenInfo};
pub use issue::{AccessToken, IssueError, Issuer};
pub use key::{KeyError, generate};
pub use keyring::Keyring;
pub use keyrings::{KeyMaintenance, KeyringError, Keyrings, RotationResult};
pub use mint::Minter;
pub use refresh::{RefreshToken, RefreshTokens};
pub use trusted_issuer::{AcceptedToken, TrustedIssuer};
pub use trusted_issuers::{IssuerCandidates, IssuerMatch, TrustedIssuers};
pub use trusted_key::{MAX_JWKS_LEN, usable_keys};
pub use trusted_keys::KeyHealth;
pub use verified::{ExternalClaims, VerifiedClaims};
pub use verify::Verifier;
