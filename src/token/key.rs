//! One signing key: generated or read, named by its thumbprint, published as a JWK.
//!
//! Must stay true: the algorithm is a property of the key and never guessed from a token; a secret
//! or private part is in no `Debug`, no error text and no JWK.

use std::fmt;

use aws_lc_rs::{
    encoding::AsDer,
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair,
        RsaPublicKeyComponents,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    DecodingKey, EncodingKey,
    jwk::{Jwk, PublicKeyUse, ThumbprintHash},
};

use crate::{
    config::Algorithm,
    crypto,
    entropy::Entropy,
    store::StoredKey,
    types::{Secret, Timestamp},
};

/// The shortest secret for HS256, in bytes (RFC 7518 section 3.2: at least the size of the hash).
pub(super) const MIN_SECRET_LEN: usize = 32;

/// The longest signature, in bytes: RSA with 8192 bits, and what decoding wants as room beyond.
const MAX_SIGNATURE_LEN: usize = 1024 + 3;

/// Why a key cannot be used. Contains nothing of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("not a PEM file with one PKCS#8 private key")]
    NotPem,
    #[error("not an Ed25519, P-256 or RSA (2048 bits or more) private key")]
    Unsupported,
    #[error("the secret is shorter than 32 bytes")]
    ShortSecret,
    #[error("an algorithm name that is not known")]
    UnknownAlgorithm,
    #[error("the key could not be made")]
    NotMade,
    #[error("a signature of the key does not verify")]
    SelfTest,
}

/// A key that signs and verifies.
pub(super) struct KeyPair {
    pub(super) signing: EncodingKey,
    pub(super) verifying: VerifyingKey,
}

/// A key that verifies.
pub(super) struct VerifyingKey {
    /// The RFC 7638 thumbprint; of a secret, a value derived from it one way.
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) check: SignatureVerifier,
    /// The published key; a secret has none.
    pub(super) jwk: Option<Jwk>,
}

/// A parsed key that checks signatures: the JWT library would parse the key again for each token,
/// which for RSA is a seventh of the time.
pub(super) enum SignatureVerifier {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

impl KeyPair {
    /// A key of the store.
    pub(super) fn from_stored(key: &StoredKey) -> Result<Self, KeyError> {
        let algorithm = by_name(&key.algorithm).ok_or(KeyError::UnknownAlgorithm)?;
        Self::new(algorithm, key.private.expose())
    }

    /// A PKCS#8 private key in PEM (RFC 7468 section 10). The algorithm follows from its type.
    pub(super) fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let mut blocks = pem::parse_many(text).map_err(|_| KeyError::NotPem)?;
        let block = blocks
            .pop()
            .filter(|block| blocks.is_empty() && block.tag() == "PRIVATE KEY");
        let der = Secret::new(block.ok_or(KeyError::NotPem)?.into_contents());
        [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256]
            .into_iter()
            .find_map(|algorithm| Self::new(algorithm, der.expose()).ok())
            .ok_or(KeyError::Unsupported)
    }

    /// A secret for HS256.
    pub(super) fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        Self::new(Algorithm::Hs256, secret)
    }

    /// The Ed25519 key with this seed (RFC 8032 section 5.1.5), for derived keys.
    pub(super) fn from_ed25519_seed(seed: &crypto::Key) -> Result<Self, KeyError> {
        /// PKCS#8 of an Ed25519 key without its seed (RFC 8410 section 7).
        const PREFIX: [u8; 16] = [
            0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
        ];
        let der = Secret::new([&PREFIX[..], seed.expose()].concat());
        Self::new(Algorithm::EdDsa, der.expose())
    }

    fn new(algorithm: Algorithm, private: &[u8]) -> Result<Self, KeyError> {
        let parsed = |algorithm, public: &[u8]| {
            ParsedPublicKey::new(algorithm, public)
                .map(SignatureVerifier::Public)
                .map_err(|_| KeyError::Unsupported)
        };
        let (signing, decoding, check) = match algorithm {
            Algorithm::EdDsa => {
                let pair =
                    Ed25519KeyPair::from_pkcs8(private).map_err(|_| KeyError::Unsupported)?;
                let public = pair.public_key().as_ref();
                (
                    EncodingKey::from_ed_der(private),
                    DecodingKey::from_ed_der(public),
                    parsed(&ED25519, public)?,
                )
            }
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private)
                    .map_err(|_| KeyError::Unsupported)?;
                let public = pair.public_key().as_ref();
                let check = parsed(&ECDSA_P256_SHA256_FIXED, public)?;
                (
                    EncodingKey::from_ec_der(private),
                    DecodingKey::from_ec_der(public),
                    check,
                )
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(private).map_err(|_| KeyError::Unsupported)?;
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                // jsonwebtoken signs with the PKCS#1 part of the key, and takes it out of PEM only.
                let pem = Secret::new(pem::encode(&pem::Pem::new("PRIVATE KEY", private)));
                let signing = EncodingKey::from_rsa_pem(pem.expose().as_bytes())
                    .map_err(|_| KeyError::Unsupported)?;
                let check = parsed(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())?;
                (
                    signing,
                    DecodingKey::from_rsa_raw_components(&public.n, &public.e),
                    check,
                )
            }
            Algorithm::Hs256 if private.len() < MIN_SECRET_LEN => {
                return Err(KeyError::ShortSecret);
            }
            Algorithm::Hs256 => (
                EncodingKey::from_secret(private),
                DecodingKey::from_secret(private),
                SignatureVerifier::from_secret(private),
            ),
        };
        let jwk = (algorithm != Algorithm::Hs256)
            .then(|| public_jwk(&decoding, algorithm))
            .transpose()?;
        let kid = match &jwk {
            Some(jwk) => jwk.common.key_id.clone().ok_or(KeyError::Unsupported)?,
            None => secret_kid(private),
        };
        let pair = Self {
            signing,
            verifying: VerifyingKey {
                kid,
                algorithm,
                check,
                jwk,
            },
        };
        pair.self_test()?;
        Ok(pair)
    }

    /// Signs and verifies once, so that a key or a cryptographic backend that does not work is
    /// detected at start.
    fn self_test(&self) -> Result<(), KeyError> {
        const MESSAGE: &[u8] = b"menshen self test";
        let signature =
            jsonwebtoken::crypto::sign(MESSAGE, &self.signing, jwa(self.verifying.algorithm))
                .map_err(|_| KeyError::SelfTest)?;
        let check = &self.verifying.check;
        if check.accepts(MESSAGE, &signature) && !check.accepts(b"another message", &signature) {
            Ok(())
        } else {
            Err(KeyError::SelfTest)
        }
    }
}

impl SignatureVerifier {
    /// A secret for HS256.
    pub(super) fn from_secret(secret: &[u8]) -> Self {
        Self::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// Whether the signature (canonical base64url, as in a token) is valid for the message.
    pub(super) fn accepts(&self, message: &[u8], signature: &str) -> bool {
        let mut bytes = [0; MAX_SIGNATURE_LEN];
        let Ok(length) = URL_SAFE_NO_PAD.decode_slice(signature, &mut bytes) else {
            return false;
        };
        let signature = &bytes[..length];
        match self {
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.verifying, f)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm.as_str(), self.kid)
    }
}

/// Generates a key for the store, which signs at once.
pub fn generate(
    algorithm: Algorithm,
    entropy: &Entropy,
    now: Timestamp,
) -> Result<StoredKey, KeyError> {
    let private = match algorithm {
        Algorithm::EdDsa => {
            Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map(|der| der.as_ref().to_vec())
        }
        Algorithm::Es256 => {
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map(|der| der.as_ref().to_vec())
        }
        Algorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa2048)
            .and_then(|pair| pair.as_der())
            .map(|der| der.as_ref().to_vec()),
        Algorithm::Hs256 => Ok(entropy
            .bytes::<32>()
            .map_err(|_| KeyError::NotMade)?
            .to_vec()),
    };
    let private = Secret::new(private.map_err(|_| KeyError::NotMade)?);
    let pair = KeyPair::new(algorithm, private.expose())?;
    let (kid, algorithm) = (pair.verifying.kid, algorithm.as_str().to_owned());
    Ok(StoredKey {
        kid,
        algorithm,
        private,
        created_at: now,
        signs_from: now,
    })
}

/// The algorithm in the JWT library.
pub(super) const fn jwa(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
    }
}

fn by_name(text: &str) -> Option<Algorithm> {
    [
        Algorithm::EdDsa,
        Algorithm::Es256,
        Algorithm::Rs256,
        Algorithm::Hs256,
    ]
    .into_iter()
    .find(|algorithm| algorithm.is_named(text))
}

/// The public part, with the thumbprint (RFC 7638) as its `kid`.
fn public_jwk(decoding: &DecodingKey, algorithm: Algorithm) -> Result<Jwk, KeyError> {
    let mut jwk = Jwk::from_decoding_key(decoding, Some(jwa(algorithm)))
        .map_err(|_| KeyError::Unsupported)?;
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    jwk.common.key_id = Some(
        jwk.thumbprint(ThumbprintHash::SHA256)
            .map_err(|_| KeyError::Unsupported)?,
    );
    Ok(jwk)
}

/// A thumbprint of a secret would help to guess it; a truncated MAC under it reveals no more than
/// any signed token.
fn secret_kid(secret: &[u8]) -> String {
    let tag = crypto::mac(&Secret::new(crypto::sha256(secret)), &[b"menshen kid"]);
    URL_SAFE_NO_PAD.encode(&tag[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Algorithm; 4] = [
        Algorithm::EdDsa,
        Algorithm::Es256,
        Algorithm::Rs256,
        Algorithm::Hs256,
    ];

    fn made(algorithm: Algorithm) -> StoredKey {
        generate(algorithm, &Entropy::default(), Timestamp::from_secs(1)).unwrap()
    }

    #[test]
    fn a_made_key_reads_back_as_itself() {
        for algorithm in ALL {
            let stored = made(algorithm);
            let pair = KeyPair::from_stored(&stored).unwrap();
            assert_eq!(pair.verifying.kid, stored.kid);
            assert_eq!(pair.verifying.algorithm, algorithm);
            assert_ne!(
                made(algorithm).kid,
                stored.kid,
                "two keys of one name: {algorithm:?}"
            );
        }
    }

    #[test]
    fn a_key_file_says_its_algorithm_itself() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
            let stored = made(algorithm);
            let text = pem::encode(&pem::Pem::new(
                "PRIVATE KEY",
                stored.private.expose().as_slice(),
            ));
            let pair = KeyPair::from_pem(text.as_bytes()).unwrap();
            assert_eq!(
                (pair.verifying.algorithm, pair.verifying.kid),
                (algorithm, stored.kid)
            );
        }
    }

    #[test]
    fn what_is_no_private_key_is_refused() {
        let good = pem::encode(&pem::Pem::new(
            "PRIVATE KEY",
            made(Algorithm::EdDsa).private.expose().as_slice(),
        ));
        let public = pem::encode(&pem::Pem::new("PUBLIC KEY", vec![1; 44]));
        let noise = pem::encode(&pem::Pem::new("PRIVATE KEY", vec![1; 48]));
        for (text, says) in [
            (String::new(), KeyError::NotPem),
            ("secret".to_owned(), KeyError::NotPem),
            (public, KeyError::NotPem),
            (format!("{good}\n{good}"), KeyError::NotPem),
            (noise, KeyError::Unsupported),
        ] {
            assert_eq!(
                KeyPair::from_pem(text.as_bytes()).err(),
                Some(says),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert_eq!(
            KeyPair::from_secret(&[7; 31]).err(),
            Some(KeyError::ShortSecret)
        );
        assert!(KeyPair::from_secret(&[7; 32]).is_ok());
    }

    #[test]
    fn a_key_does_not_print() {
        let pair = KeyPair::from_secret(b"hunter2 hunter2 hunter2 hunter2 ").unwrap();
        assert!(!format!("{pair:?}").contains("hunter2"));
        assert!(pair.verifying.jwk.is_none(), "a secret is never published");
    }

    /// RFC 7638 section 3: the required members alone, in the order of their names, without white
    /// space.
    #[test]
    fn the_kid_is_the_thumbprint_of_the_published_key() {
        for (algorithm, members) in [
            (Algorithm::EdDsa, ["crv", "kty", "x"].as_slice()),
            (Algorithm::Es256, &["crv", "kty", "x", "y"]),
            (Algorithm::Rs256, &["e", "kty", "n"]),
        ] {
            let pair = KeyPair::from_stored(&made(algorithm)).unwrap();
            let jwk = serde_json::to_value(&pair.verifying.jwk).unwrap();
            let parts: Vec<String> = members
                .iter()
                .map(|name| format!("\"{name}\":{}", jwk[name]))
                .collect();
            let canonical = format!("{{{}}}", parts.join(","));
            assert_eq!(
                pair.verifying.kid,
                URL_SAFE_NO_PAD.encode(crypto::sha256(canonical.as_bytes())),
                "{algorithm:?}"
            );
        }
    }

    /// The example of RFC 8037 appendix A.1 to A.3.
    #[test]
    fn the_kid_is_the_thumbprint_of_the_rfc() {
        let seed = URL_SAFE_NO_PAD
            .decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
            .unwrap();
        let pair = KeyPair::from_ed25519_seed(&Secret::new(seed.try_into().unwrap())).unwrap();
        assert_eq!(
            pair.verifying.kid,
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }
}
