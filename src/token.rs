//! Tokens: what we sign, what we accept, and the keys for both. The only module that names a JWT library.

mod cache;
mod claims;
mod issue;
mod keyring;
mod refresh;
mod verify;

pub use cache::TokenCache;
pub use claims::{AccessClaims, Grant};
pub use issue::{IssueError, Issuer};
pub use keyring::{Keyring, KeyringError};
pub use refresh::{RefreshToken, RefreshTokens};
pub use verify::{TokenError, VerifiedToken, Verifier};
