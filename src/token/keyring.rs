//! A snapshot of the keys: one signs, all verify.

use std::sync::Arc;

use jsonwebtoken::{EncodingKey, Header, jwk::JwkSet};
use serde::Serialize;

use super::key::{KeyPair, VerifyingKey, jwa};
use crate::config::Algorithm;

/// `typ` of our access tokens (RFC 9068 section 2.1), by which no other kind of token passes for one.
pub(super) const ACCESS_TOKEN: &str = "at+jwt";

/// `typ` of a refresh token in the shape of a JWT: by it none is taken for an access token.
const REFRESH_TOKEN: &str = "rt+jwt";

/// The keys of one moment. Never changes; a rotation makes another one.
#[derive(Debug)]
pub struct Keyring {
    /// Tells this snapshot from every other one of the process; what was verified with another is verified again.
    version: u64,
    header: Header,
    signing: EncodingKey,
    verifying: Vec<VerifyingKey>,
    jwks: Arc<[u8]>,
}

impl Keyring {
    /// The first key signs; of two with one id the first counts. `None` without any key.
    pub(super) fn new(version: u64, keys: Vec<KeyPair>) -> Option<Self> {
        let mut signing = None;
        let mut verifying: Vec<VerifyingKey> = Vec::with_capacity(keys.len());
        for pair in keys {
            if verifying.iter().all(|known| known.kid != pair.verifying.kid) {
                signing.get_or_insert(pair.signing);
                verifying.push(pair.verifying);
            }
        }
        let newest = verifying.first()?;
        let mut header = Header::new(jwa(newest.algorithm));
        header.typ = Some(ACCESS_TOKEN.to_owned());
        header.kid = Some(newest.kid.clone());
        let published = JwkSet { keys: verifying.iter().filter_map(|key| key.jwk.clone()).collect() };
        let jwks = serde_json::to_vec(&published).ok()?.into();
        Some(Self { version, header, signing: signing?, verifying, jwks })
    }

    /// The JWK set (RFC 7517 section 5) of all public keys, as JSON. A secret is never in it.
    pub fn jwks(&self) -> Arc<[u8]> {
        Arc::clone(&self.jwks)
    }

    /// The id of the key that signs.
    pub fn signing_kid(&self) -> &str {
        &self.verifying[0].kid
    }

    /// The algorithm of the key that signs.
    pub fn algorithm(&self) -> Algorithm {
        self.verifying[0].algorithm
    }

    /// The ids of all keys that verify; the first one signs.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.verifying.iter().map(|key| key.kid.as_str())
    }

    /// Which snapshot this is.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Looked up among the few keys there are: a `kid` is never a file name, an address or a query.
    pub(super) fn verifying(&self, kid: &str) -> Option<&VerifyingKey> {
        self.verifying.iter().find(|key| key.kid == kid)
    }

    /// A signed token with these claims.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&self.header, claims, &self.signing)
    }

    /// The same for a refresh token that has the shape of a JWT.
    pub(super) fn sign_refresh(&self, claims: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
        let header = Header { typ: Some(REFRESH_TOKEN.to_owned()), ..self.header.clone() };
        jsonwebtoken::encode(&header, claims, &self.signing)
    }
}
