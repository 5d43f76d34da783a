//! A key that verifies an external issuer's tokens: from a secret, a PEM file, or a JWK.
//!
//! Must stay true: each key is for one algorithm, by its own type and never by a token; a secret is
//! never read from a JWK set, because such sets are published.

use std::{collections::HashSet, fmt, path::Path};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::key::SignatureVerifier;
use crate::config::Algorithm;

/// Shortest RSA modulus, in bytes: 2048 bits (RFC 7518 section 3.3).
const MIN_MODULUS_LEN: usize = 256;
/// Shortest DER of a public key with such a modulus and the smallest exponent; verification
/// measures the modulus in bits again.
const MIN_RSA_SPKI_LEN: usize = 290;
/// Longest RSA modulus, in bytes.
const MAX_MODULUS_LEN: usize = 1024;

/// Longest JWK set, in bytes.
pub const MAX_JWKS_LEN: usize = 256 * 1024;

/// A key of an external issuer.
pub(super) struct TrustedKey {
    /// The issuer's id of the key; `None`: it has none.
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) check: SignatureVerifier,
}

/// The usable keys of a JWK set, and why others are not: `(which, why)`.
pub(super) struct TrustedKeySet {
    pub(super) keys: Vec<TrustedKey>,
    pub(super) ignored: Vec<(String, &'static str)>,
}

impl TrustedKey {
    /// A secret for HS256.
    pub(super) fn from_secret(secret: &[u8]) -> Self {
        Self {
            kid: None,
            algorithm: Algorithm::Hs256,
            check: SignatureVerifier::from_secret(secret),
        }
    }

    /// One public key in PEM (RFC 7468 section 13). The algorithm follows from its type.
    pub(super) fn from_pem(text: &[u8]) -> Result<Self, &'static str> {
        const MESSAGE: &str = "is not a PEM file with one public key (BEGIN PUBLIC KEY)";
        let mut blocks = pem::parse_many(text).map_err(|_| MESSAGE)?;
        let block = blocks
            .pop()
            .filter(|block| blocks.is_empty() && block.tag() == "PUBLIC KEY")
            .ok_or(MESSAGE)?;
        let der = block.contents();
        let is_of = |oid: &[u8]| memchr::memmem::find(&der[..der.len().min(32)], oid).is_some();
        // The object identifiers of RFC 8410, RFC 5480 and RFC 8017.
        let (algorithm, how): (_, &'static dyn VerificationAlgorithm) =
            if is_of(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]) {
                (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED)
            } else if is_of(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]) {
                if der.len() < MIN_RSA_SPKI_LEN {
                    return Err("is an RSA key of less than 2048 bits");
                }
                (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256)
            } else if is_of(&[0x2b, 0x65, 0x70]) {
                (Algorithm::EdDsa, &ED25519)
            } else {
                return Err("is not an Ed25519, P-256 or RSA key");
            };
        let key = ParsedPublicKey::new(how, der).map_err(|_| "has a key that cannot be used")?;
        Ok(Self {
            kid: None,
            algorithm,
            check: SignatureVerifier::Public(key),
        })
    }

    fn from_jwk(jwk: Jwk) -> Result<Self, &'static str> {
        if jwk.usage.is_some_and(|usage| usage != "sig") {
            return Err("is not for signatures (use)");
        }
        if jwk
            .key_ops
            .is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
        {
            return Err("is not for signatures (key_ops)");
        }
        if jwk.d.is_some() {
            return Err("has its private part published");
        }
        let part = |text: Option<String>| {
            text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
                .ok_or("lacks a part, or has one that is not base64url")
        };
        let (algorithm, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => (
                Algorithm::EdDsa,
                ParsedPublicKey::new(&ED25519, part(jwk.x)?),
            ),
            ("EC", Some("P-256")) => {
                let (x, y) = (part(jwk.x)?, part(jwk.y)?);
                if (x.len(), y.len()) != (32, 32) {
                    return Err("is not a point of its curve");
                }
                let point = [&[4][..], &x, &y].concat();
                (
                    Algorithm::Es256,
                    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point),
                )
            }
            ("RSA", _) => {
                let (n, e) = (part(jwk.n)?, part(jwk.e)?);
                let n = n
                    .iter()
                    .position(|&byte| byte != 0)
                    .map_or(&[][..], |start| &n[start..]);
                if n.len() < MIN_MODULUS_LEN || (n.len() == MIN_MODULUS_LEN && n[0] < 0x80) {
                    return Err("is an RSA key of less than 2048 bits");
                }
                if n.len() > MAX_MODULUS_LEN || e.len() > 4 {
                    return Err("is an RSA key that is too large");
                }
                let key = RsaPublicKeyComponents { n, e: &e[..] };
                (
                    Algorithm::Rs256,
                    key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256),
                )
            }
            ("oct", _) => return Err("is a secret, and this set is public"),
            _ => return Err("is of a kind that is not supported"),
        };
        if jwk.alg.is_some_and(|alg| !algorithm.is_named(&alg)) {
            return Err("is for another algorithm (alg)");
        }
        let key = key.map_err(|_| "cannot be used")?;
        Ok(Self {
            kid: jwk.kid,
            algorithm,
            check: SignatureVerifier::Public(key),
        })
    }
}

impl TrustedKeySet {
    /// Parses a JWK set (RFC 7517 section 5). Unusable keys are ignored, and the set may have no
    /// other. The length of the text bounds their number (`MAX_JWKS_LEN`).
    pub(super) fn parse(bytes: &[u8], algorithms: &[Algorithm]) -> Result<Self, &'static str> {
        let parsed: JwkSet = serde_json::from_slice(bytes).map_err(|_| "is not a JWK set")?;
        let mut set = Self {
            keys: Vec::new(),
            ignored: Vec::new(),
        };
        let mut kids = HashSet::new();
        for (n, jwk) in parsed.keys.into_iter().enumerate() {
            let jwk: Result<Jwk, _> = serde_json::from_value(jwk);
            let name = jwk
                .as_ref()
                .ok()
                .and_then(|jwk| jwk.kid.clone())
                .filter(|kid| is_plain(kid));
            let name = name.unwrap_or_else(|| format!("number {}", n + 1));
            match jwk
                .map_err(|_| "is not a JWK")
                .and_then(TrustedKey::from_jwk)
            {
                Err(why) => set.ignored.push((name, why)),
                Ok(key) if !algorithms.contains(&key.algorithm) => {
                    set.ignored.push((name, "is not among `algorithms`"));
                }
                Ok(key)
                    if key
                        .kid
                        .as_ref()
                        .is_some_and(|kid| !kids.insert(kid.clone())) =>
                {
                    set.ignored.push((name, "has the kid of another key"));
                }
                Ok(key) => set.keys.push(key),
            }
        }
        Ok(set)
    }

    /// Parses a JWK set that has to have a usable key.
    pub(super) fn with_keys(bytes: &[u8], algorithms: &[Algorithm]) -> Result<Self, &'static str> {
        let set = Self::parse(bytes, algorithms)?;
        set.problem().map_or(Ok(set), Err)
    }

    /// Why no signature can be checked with this set; `None`: it can.
    pub(super) const fn problem(&self) -> Option<&'static str> {
        match (self.keys.is_empty(), self.ignored.is_empty()) {
            (false, _) => None,
            (true, true) => Some("is an empty set: no key is valid"),
            (true, false) => Some("has no key that can be used"),
        }
    }
}

/// How many keys of a JWK set are usable with these algorithms; or why none is.
pub fn usable_keys(set: &[u8], algorithms: &[Algorithm]) -> Result<usize, &'static str> {
    TrustedKeySet::with_keys(set, algorithms).map(|set| set.keys.len())
}

/// Reads a key file of at most [`MAX_JWKS_LEN`] bytes.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let failed =
        |error: std::io::Error| format!("{} cannot be read ({})", path.display(), error.kind());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_JWKS_LEN as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > MAX_JWKS_LEN {
        Err(format!("{} is longer than 256 KiB", path.display()))
    } else {
        Ok(bytes)
    }
}

/// Fit for a log line.
fn is_plain(kid: &str) -> bool {
    (1..=128).contains(&kid.len()) && kid.bytes().all(|b| b.is_ascii_graphic())
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.algorithm.as_str(), self.kid)
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

/// The members of RFC 7517 section 4, RFC 7518 section 6 and RFC 8037 section 2 that matter here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

#[cfg(test)]
mod tests;
