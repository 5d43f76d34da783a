//! Mints tokens in the form that a backend issued itself before menshen.
//!
//! Must stay true: the key is the backend's and signs nothing else; the header marks the token as
//! minted (`menshen`), so that no `[[issuer]]` with the same key accepts it: it would outlive its
//! session.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value};

use super::{
    assertion::NotSigned,
    key::{KeyError, KeyPair, jwa},
};
use crate::{config::MintConfig, types::Timestamp};

/// The header parameter that marks minted tokens. Private (RFC 7515 section 4.3), so that other
/// verifiers ignore it.
pub(super) const ORIGIN_MEMBER: &str = "menshen";
/// Its value.
pub(super) const MINTED: &str = "minted";

/// How much earlier than now `iat` is: `PyJWT`, and so `SimpleJWT`, rejects a token from the future
/// by a millisecond, and two machines have two clocks.
const CLOCK_DRIFT: Duration = Duration::from_secs(5);

/// Mints a backend's own tokens.
pub struct Minter {
    header: Header,
    signing: EncodingKey,
    issuer: Option<String>,
    audience: Option<String>,
    ttl: Duration,
}

impl Minter {
    /// `None`: there is no key.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub fn new(config: &MintConfig) -> Result<Option<Self>, KeyError> {
        let pair = match (&config.secret, &config.private_key) {
            (Some(secret), _) => KeyPair::from_secret(secret.expose().as_bytes())?,
            (None, Some(key)) => KeyPair::from_pem(key.expose().as_bytes())?,
            (None, None) => return Ok(None),
        };
        let mut header = Header::new(jwa(pair.verifying.algorithm));
        header.kid.clone_from(&config.key_id);
        header.extras.insert(ORIGIN_MEMBER, MINTED);
        Ok(Some(Self {
            header,
            signing: pair.signing,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            ttl: config.ttl.get(),
        }))
    }

    /// How long a token is valid from the `now` it was signed at.
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A token with these claims, and `iat`, `exp`, `iss` and `aud`.
    pub fn sign(
        &self,
        mut claims: Map<String, Value>,
        now: Timestamp,
    ) -> Result<String, NotSigned> {
        claims.insert("iat".to_owned(), now.minus(CLOCK_DRIFT).as_secs().into());
        claims.insert("exp".to_owned(), now.plus(self.ttl).as_secs().into());
        for (name, value) in [("iss", &self.issuer), ("aud", &self.audience)] {
            if let Some(value) = value {
                claims.insert(name.to_owned(), value.as_str().into());
            }
        }
        jsonwebtoken::encode(&self.header, &claims, &self.signing).map_err(|_| NotSigned)
    }
}

/// Prints no key.
impl std::fmt::Debug for Minter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minter")
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        config::{Algorithm, SecretText},
        entropy::Entropy,
        token::{
            self,
            fixture::{self, NOW},
        },
    };

    fn claims() -> Map<String, Value> {
        [("user_id".to_owned(), json!(42))].into_iter().collect()
    }

    #[test]
    fn a_minted_token_says_what_the_backend_reads_and_that_it_was_minted() {
        let config = MintConfig {
            secret: Some(SecretText::new("s".repeat(32))),
            issuer: Some("shop".to_owned()),
            key_id: Some("k1".to_owned()),
            ..MintConfig::default()
        };
        let text = Minter::new(&config)
            .unwrap()
            .unwrap()
            .sign(claims(), NOW)
            .unwrap();
        assert_eq!(
            fixture::jws_header(&text),
            json!({ "typ": "JWT", "alg": "HS256", "kid": "k1", "menshen": "minted" })
        );
        let (iat, exp) = (NOW.as_secs() - 5, NOW.as_secs() + 300);
        assert_eq!(
            fixture::jws_claims(&text),
            json!({ "user_id": 42, "iat": iat, "exp": exp, "iss": "shop" })
        );
    }

    #[test]
    fn a_private_key_says_its_algorithm_itself() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
            let key = token::generate(algorithm, &Entropy::default(), NOW).unwrap();
            let pem = pem::encode(&pem::Pem::new(
                "PRIVATE KEY",
                key.private.expose().as_slice(),
            ));
            let config = MintConfig {
                private_key: Some(SecretText::new(pem)),
                ..MintConfig::default()
            };
            let text = Minter::new(&config)
                .unwrap()
                .unwrap()
                .sign(claims(), NOW)
                .unwrap();
            assert_eq!(fixture::jws_header(&text)["alg"], algorithm.as_str());
        }
        let config = MintConfig {
            private_key: Some(SecretText::new("key".to_owned())),
            ..MintConfig::default()
        };
        assert_eq!(Minter::new(&config).err(), Some(KeyError::NotPem));
        assert!(Minter::new(&MintConfig::default()).unwrap().is_none());
    }
}
