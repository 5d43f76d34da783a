//! A snapshot of the signing keys: one signs, all verify.
//!
//! Assertions for the backend are signed with the newest key where its algorithm is quick and has a
//! public key (`EdDSA`, `ES256`). For a key of HS256 or RS256 an Ed25519 key is derived instead,
//! from a secret of the store and the key's id: it changes with the key, all replicas have the
//! same, and nothing more is stored.
//!
//! Must stay true: a derived key signs assertions and verifies nothing; no token of one `typ`
//! passes for one of another.

use std::sync::Arc;

use jsonwebtoken::{EncodingKey, Header, jwk::JwkSet};
use serde::Serialize;

use super::key::{KeyPair, VerifyingKey, jwa};
use crate::{
    config::Algorithm,
    crypto::{self, Key},
    types::{Secret, Timestamp},
};

/// `typ` of access tokens (RFC 9068 section 2.1): no other kind of token passes for one.
pub(super) const ACCESS_TOKEN: &str = "at+jwt";

/// `typ` of a refresh token inside a JWT.
pub(super) const REFRESH_TOKEN: &str = "rt+jwt";

/// `typ` of assertions.
pub(super) const ASSERTION: &str = "auth-assertion+jwt";

/// The keys of one moment. Immutable; a rotation makes another one.
#[derive(Debug)]
pub struct Keyring {
    /// Unique in the process; a token verified with another version is verified again.
    version: u64,
    header: Header,
    signing: EncodingKey,
    verifying: Vec<VerifyingKey>,
    dates: SigningDates,
    /// `None`: the newest key cannot sign assertions, and none is derived.
    assertion_key: Option<AssertionKey>,
    jwks: Arc<[u8]>,
}

/// When the signing key began to sign, and when which key replaces it. Unknown for keys of the
/// config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SigningDates {
    pub(super) since: Option<Timestamp>,
    pub(super) next: Option<(String, Timestamp)>,
}

/// The key that signs assertions.
#[derive(Debug)]
struct AssertionKey {
    header: Header,
    signing: EncodingKey,
}

impl Keyring {
    /// The first key signs; of two with one id the first counts. `None` without any key. With
    /// `derived_key_root` a key for assertions is derived where the newest key cannot sign them.
    pub(super) fn new(
        version: u64,
        keys: Vec<KeyPair>,
        dates: SigningDates,
        derived_key_root: Option<&Key>,
    ) -> Option<Self> {
        let mut signing = None;
        let mut verifying: Vec<VerifyingKey> = Vec::with_capacity(keys.len());
        for pair in keys {
            if verifying
                .iter()
                .all(|known| known.kid != pair.verifying.kid)
            {
                signing.get_or_insert(pair.signing);
                verifying.push(pair.verifying);
            }
        }
        let (newest, signing) = (verifying.first()?, signing?);
        let header = header(newest, ACCESS_TOKEN);
        let mut published: Vec<_> = verifying.iter().filter_map(|key| key.jwk.clone()).collect();
        let mut assertion_key = can_sign_assertions(newest.algorithm).then(|| AssertionKey {
            header: self::header(newest, ASSERTION),
            signing: signing.clone(),
        });
        for key in verifying
            .iter()
            .filter(|key| !can_sign_assertions(key.algorithm))
        {
            let Some(derived_key) = derived_key_root.and_then(|root| derived_key(root, key)) else {
                continue;
            };
            published.extend(derived_key.verifying.jwk.clone());
            if key.kid == newest.kid {
                let header = self::header(&derived_key.verifying, ASSERTION);
                assertion_key = Some(AssertionKey {
                    header,
                    signing: derived_key.signing,
                });
            }
        }
        let jwks = serde_json::to_vec(&JwkSet { keys: published }).ok()?.into();
        Some(Self {
            version,
            header,
            signing,
            verifying,
            dates,
            assertion_key,
            jwks,
        })
    }

    /// Keys that only verify. `spare` signs, and is published nowhere: no keyring accepts its
    /// tokens. `None` without any key.
    pub(super) fn published(spare: KeyPair, verifying: Vec<VerifyingKey>) -> Option<Self> {
        verifying.first()?;
        let jwks = serde_json::to_vec(&JwkSet { keys: Vec::new() })
            .ok()?
            .into();
        let header = header(&spare.verifying, ACCESS_TOKEN);
        let dates = SigningDates::default();
        Some(Self {
            version: 0,
            header,
            signing: spare.signing,
            verifying,
            dates,
            assertion_key: None,
            jwks,
        })
    }

    /// Whether assertions can be signed.
    pub const fn signs_assertions(&self) -> bool {
        self.assertion_key.is_some()
    }

    /// The JWK set (RFC 7517 section 5) of all public keys, as JSON. A secret is never in it.
    pub fn jwks(&self) -> Arc<[u8]> {
        Arc::clone(&self.jwks)
    }

    /// The id of the signing key.
    pub fn signing_kid(&self) -> &str {
        &self.verifying[0].kid
    }

    /// When the signing key began to sign, where known.
    pub const fn signs_since(&self) -> Option<Timestamp> {
        self.dates.since
    }

    /// The key that will sign next, and from when on, where known.
    pub fn next(&self) -> Option<(&str, Timestamp)> {
        self.dates
            .next
            .as_ref()
            .map(|(kid, from)| (kid.as_str(), *from))
    }

    /// The times of the change-over, for [`super::keyrings`].
    pub(super) const fn dates(&self) -> &SigningDates {
        &self.dates
    }

    /// The algorithm of the signing key.
    pub fn algorithm(&self) -> Algorithm {
        self.verifying[0].algorithm
    }

    /// The ids of all verifying keys; the first one signs.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.verifying.iter().map(|key| key.kid.as_str())
    }

    /// The version of this snapshot.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Looks a key up in the list: a `kid` is never a file name, an address or a query.
    pub(super) fn verifying(&self, kid: &str) -> Option<&VerifyingKey> {
        self.verifying.iter().find(|key| key.kid == kid)
    }

    /// A signed token with these claims.
    pub(super) fn sign(
        &self,
        claims: &impl Serialize,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&self.header, claims, &self.signing)
    }

    /// A signed JWT around a refresh token.
    pub(super) fn sign_refresh(
        &self,
        claims: &impl Serialize,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let header = Header {
            typ: Some(REFRESH_TOKEN.to_owned()),
            ..self.header.clone()
        };
        jsonwebtoken::encode(&header, claims, &self.signing)
    }

    /// A signed assertion with these claims; `None`: there is no key for it, or signing failed.
    pub(super) fn sign_assertion(&self, claims: &impl Serialize) -> Option<String> {
        let AssertionKey { header, signing } = self.assertion_key.as_ref()?;
        jsonwebtoken::encode(header, claims, signing).ok()
    }
}

fn header(key: &VerifyingKey, typ: &str) -> Header {
    let mut header = Header::new(jwa(key.algorithm));
    header.typ = Some(typ.to_owned());
    header.kid = Some(key.kid.clone());
    header
}

/// Whether keys of this algorithm sign assertions: they are quick, and have a public key.
const fn can_sign_assertions(algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::EdDsa | Algorithm::Es256 => true,
        Algorithm::Rs256 | Algorithm::Hs256 => false,
    }
}

/// The derived key that signs assertions in place of this one.
fn derived_key(root: &Key, key: &VerifyingKey) -> Option<KeyPair> {
    let seed = Secret::new(crypto::mac(root, &[b"assertion key", key.kid.as_bytes()]));
    KeyPair::from_ed25519_seed(&seed).ok()
}
