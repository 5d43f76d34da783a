//! A snapshot of the keys: one signs, all verify.
//!
//! Assertions for the backend are signed with the newest key where its algorithm is one that
//! anybody can check and that is quick (`EdDSA`, `ES256`). A key for HS256 or RS256 has a companion
//! for Ed25519 instead, derived from a secret of the store and the key's id: so it changes with the
//! key, all replicas have the same, and nothing more has to be kept.
//!
//! Must stay true: a companion signs assertions and verifies nothing; no token of one `typ` passes
//! for one of another.

use std::sync::Arc;

use jsonwebtoken::{EncodingKey, Header, jwk::JwkSet};
use serde::Serialize;

use super::key::{KeyPair, VerifyingKey, jwa};
use crate::{
    config::Algorithm,
    crypto::{self, Key},
    types::{Secret, Timestamp},
};

/// `typ` of our access tokens (RFC 9068 section 2.1), by which no other kind of token passes for
/// one.
pub(super) const ACCESS_TOKEN: &str = "at+jwt";

/// `typ` of a refresh token in the shape of a JWT: by it none is taken for an access token.
pub(super) const REFRESH_TOKEN: &str = "rt+jwt";

/// `typ` of what is signed for the backend.
pub(super) const ASSERTION: &str = "auth-assertion+jwt";

/// The keys of one moment. Never changes; a rotation makes another one.
#[derive(Debug)]
pub struct Keyring {
    /// Tells this snapshot from every other one of the process; what was verified with another is
    /// verified again.
    version: u64,
    header: Header,
    signing: EncodingKey,
    verifying: Vec<VerifyingKey>,
    dates: SigningDates,
    /// `None`: the newest key is no good for it, and no companion was asked for.
    assertion_key: Option<AssertionKey>,
    jwks: Arc<[u8]>,
}

/// When the key that signs began to, and which one takes its place when. Nobody knows it of keys
/// that are given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SigningDates {
    pub(super) since: Option<Timestamp>,
    pub(super) next: Option<(String, Timestamp)>,
}

/// What assertions are signed with.
#[derive(Debug)]
struct AssertionKey {
    header: Header,
    signing: EncodingKey,
}

impl Keyring {
    /// The first key signs; of two with one id the first counts. `None` without any key. With
    /// `derived_key_root` there are keys for assertions whatever the algorithm.
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

    /// Keys that only verify. `spare` signs, and is told to nobody: what it signed no keyring
    /// takes. `None` without any key.
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

    /// The id of the key that signs.
    pub fn signing_kid(&self) -> &str {
        &self.verifying[0].kid
    }

    /// When the key that signs began to, where that is known.
    pub const fn signs_since(&self) -> Option<Timestamp> {
        self.dates.since
    }

    /// The key that will sign next, and from when on, where that is known.
    pub fn next(&self) -> Option<(&str, Timestamp)> {
        self.dates
            .next
            .as_ref()
            .map(|(kid, from)| (kid.as_str(), *from))
    }

    /// When the keys change hands, for [`super::keyrings`].
    pub(super) const fn dates(&self) -> &SigningDates {
        &self.dates
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
    pub(super) fn sign(
        &self,
        claims: &impl Serialize,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&self.header, claims, &self.signing)
    }

    /// The same for a refresh token that has the shape of a JWT.
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

    /// A signed assertion with these claims; `None`: there is no key for it, or it did not sign.
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

/// Whether keys of this algorithm sign assertions: in microseconds, and so that whoever has the
/// public key can check it.
const fn can_sign_assertions(algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::EdDsa | Algorithm::Es256 => true,
        Algorithm::Rs256 | Algorithm::Hs256 => false,
    }
}

/// The key that signs assertions in the place of this one.
fn derived_key(root: &Key, key: &VerifyingKey) -> Option<KeyPair> {
    let seed = Secret::new(crypto::mac(root, &[b"assertion key", key.kid.as_bytes()]));
    KeyPair::from_ed25519_seed(&seed).ok()
}
