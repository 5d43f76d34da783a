//! What `token::trusted_key` promises.

use serde_json::{Value, json};

use super::*;
use crate::{
    entropy::Entropy,
    token::key::{self, KeyPair},
    types::Timestamp,
};

const PUBLIC: [Algorithm; 3] = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256];

fn pair(algorithm: Algorithm) -> KeyPair {
    KeyPair::from_stored(
        &key::generate(algorithm, &Entropy::default(), Timestamp::from_secs(1)).unwrap(),
    )
    .unwrap()
}

fn signature(pair: &KeyPair, message: &[u8]) -> String {
    jsonwebtoken::crypto::sign(message, &pair.signing, key::jwa(pair.verifying.algorithm)).unwrap()
}

fn published(pair: &KeyPair) -> Value {
    serde_json::to_value(&pair.verifying.jwk).unwrap()
}

fn parse(keys: &[Value]) -> Result<TrustedKeySet, &'static str> {
    TrustedKeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), &PUBLIC)
}

/// Why the one key is not taken.
fn refused(jwk: Value) -> Option<&'static str> {
    let mut set = parse(&[jwk, published(&pair(Algorithm::EdDsa))]).unwrap();
    set.ignored.pop().map(|(_, why)| why)
}

#[test]
fn each_kind_of_published_key_verifies_what_its_owner_signed() {
    for algorithm in PUBLIC {
        let (pair, other) = (pair(algorithm), pair(algorithm));
        let set = parse(&[published(&pair)]).unwrap();
        let [key] = set.keys.as_slice() else {
            panic!("{algorithm:?}")
        };
        assert_eq!(
            (key.algorithm, key.kid.as_ref()),
            (algorithm, Some(&pair.verifying.kid))
        );
        assert!(
            key.check.accepts(b"message", &signature(&pair, b"message")),
            "{algorithm:?}"
        );
        assert!(
            !key.check.accepts(b"another", &signature(&pair, b"message")),
            "{algorithm:?}"
        );
        assert!(
            !key.check
                .accepts(b"message", &signature(&other, b"message")),
            "{algorithm:?}"
        );
    }
}

#[test]
fn a_key_that_is_not_for_this_is_passed_over() {
    let rsa = published(&pair(Algorithm::Rs256));
    let with = |name: &str, value: Value| {
        let mut jwk = rsa.clone();
        jwk[name] = value;
        jwk
    };
    assert_eq!(refused(rsa.clone()), None);
    for (jwk, says) in [
        (with("use", json!("enc")), "use"),
        (with("key_ops", json!(["encrypt"])), "key_ops"),
        (with("alg", json!("RS512")), "alg"),
        (with("alg", json!("HS256")), "alg"),
        (with("d", json!("AQAB")), "private"),
        (
            with("n", json!(URL_SAFE_NO_PAD.encode([0xff; 255]))),
            "2048",
        ),
        (
            with(
                "n",
                json!(URL_SAFE_NO_PAD.encode([&[0][..], &[0x7f; 256]].concat())),
            ),
            "2048",
        ),
        (
            with("n", json!(URL_SAFE_NO_PAD.encode([0xff; 1025]))),
            "too large",
        ),
        (with("n", json!("a b")), "base64url"),
        (with("n", json!(null)), "lacks"),
        (with("kty", json!("oct")), "secret"),
        (with("kty", json!("AKP")), "not supported"),
        (with("kty", json!(7)), "not a JWK"),
        (json!("text"), "not a JWK"),
        (
            json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }),
            "secret",
        ),
        (
            json!({ "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA" }),
            "not supported",
        ),
        (
            json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" }),
            "curve",
        ),
        (
            json!({ "kty": "OKP", "crv": "X25519", "x": "AA" }),
            "not supported",
        ),
        (
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "AA" }),
            "cannot be used",
        ),
    ] {
        let why = refused(jwk.clone()).unwrap_or("taken");
        assert!(why.contains(says), "{jwk}: {why}");
    }
    let point = json!({ "kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode([1; 32]), "y": URL_SAFE_NO_PAD.encode([1; 32]) });
    assert_eq!(refused(point), Some("cannot be used"), "not on the curve");
}

#[test]
fn of_two_keys_with_one_id_the_first_counts() {
    let (first, second) = (
        published(&pair(Algorithm::EdDsa)),
        published(&pair(Algorithm::Es256)),
    );
    let mut twin = second;
    twin["kid"] = first["kid"].clone();
    let set = parse(&[first, twin]).unwrap();
    assert_eq!(
        (set.keys.len(), set.keys[0].algorithm, set.ignored.len()),
        (1, Algorithm::EdDsa, 1)
    );
}

#[test]
fn what_is_no_set_of_keys_is_an_error() {
    for text in ["", "{}", "[]", "null", "<html>", r#"{"keys":{}}"#] {
        assert!(
            TrustedKeySet::parse(text.as_bytes(), &PUBLIC).is_err(),
            "{text:?}"
        );
    }
}

#[test]
fn a_set_may_be_long_and_have_keys_of_any_kind() {
    let wanted = pair(Algorithm::EdDsa);
    let mut keys = vec![json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA" }); 500];
    keys.extend((0..40).map(|_| published(&pair(Algorithm::Es256))));
    keys.push(published(&wanted));
    let set = parse(&keys).unwrap();
    assert_eq!((set.keys.len(), set.ignored.len()), (41, 500));
    let key = set
        .keys
        .iter()
        .find(|key| key.kid.as_ref() == Some(&wanted.verifying.kid))
        .unwrap();
    assert!(
        key.check
            .accepts(b"message", &signature(&wanted, b"message"))
    );
    // Those that are not understood are no reason to refuse the others, nor to call the set an
    // empty one.
    assert!(
        parse(&keys[..500])
            .unwrap()
            .problem()
            .unwrap()
            .contains("can be used")
    );
}

/// RFC 9864: `Ed25519` says what `EdDSA` meant on this curve, `Ed448` another algorithm.
#[test]
fn a_key_of_ed25519_may_have_either_name() {
    let key = published(&pair(Algorithm::EdDsa));
    for (alg, says) in [
        (json!("EdDSA"), None),
        (json!("Ed25519"), None),
        (json!(null), None),
        (json!("Ed448"), Some("is for another algorithm (alg)")),
        (json!("ed25519"), Some("is for another algorithm (alg)")),
        (json!("ES256"), Some("is for another algorithm (alg)")),
    ] {
        let mut jwk = key.clone();
        jwk["alg"] = alg;
        assert_eq!(refused(jwk.clone()), says, "{jwk}");
    }
    for alg in ["EdDSA", "Ed448", "Ed25519"] {
        let jwk = json!({ "kty": "OKP", "crv": "Ed448", "alg": alg, "x": URL_SAFE_NO_PAD.encode([1; 57]) });
        assert_eq!(
            refused(jwk),
            Some("is of a kind that is not supported"),
            "{alg}"
        );
    }
    let mut other = published(&pair(Algorithm::Es256));
    other["alg"] = json!("Ed25519");
    assert_eq!(
        refused(other),
        Some("is for another algorithm (alg)"),
        "the name does not make the key"
    );
}

#[test]
fn a_set_without_a_key_is_a_set_and_says_what_it_lacks() {
    let problem = |text: &str, algorithms: &[Algorithm]| {
        assert!(
            TrustedKeySet::with_keys(text.as_bytes(), algorithms).is_err(),
            "{text}"
        );
        TrustedKeySet::parse(text.as_bytes(), algorithms)
            .unwrap()
            .problem()
            .unwrap()
    };
    let ec = json!({ "keys": [published(&pair(Algorithm::Es256))] }).to_string();
    assert!(problem(r#"{"keys":[]}"#, &PUBLIC).contains("empty"));
    assert!(problem(r#"{"keys":[{"kty":"oct"}]}"#, &PUBLIC).contains("can be used"));
    assert!(
        problem(&ec, &[Algorithm::Rs256]).contains("can be used"),
        "none of the algorithms that are wanted"
    );
    assert_eq!(
        TrustedKeySet::with_keys(ec.as_bytes(), &PUBLIC)
            .unwrap()
            .problem(),
        None
    );
}

#[test]
fn a_pem_file_holds_one_public_key_that_says_its_algorithm() {
    use aws_lc_rs::{
        encoding::AsDer,
        signature::{
            ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
        },
    };
    for algorithm in PUBLIC {
        let stored =
            key::generate(algorithm, &Entropy::default(), Timestamp::from_secs(1)).unwrap();
        let private = stored.private.expose();
        let spki = match algorithm {
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(private)
                .unwrap()
                .public_key()
                .as_der()
                .unwrap()
                .as_ref()
                .to_vec(),
            Algorithm::Es256 => {
                let pair =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private).unwrap();
                pair.public_key().as_der().unwrap().as_ref().to_vec()
            }
            Algorithm::Rs256 | Algorithm::Hs256 => RsaKeyPair::from_pkcs8(private)
                .unwrap()
                .public_key()
                .as_der()
                .unwrap()
                .as_ref()
                .to_vec(),
        };
        let text = pem::encode(&pem::Pem::new("PUBLIC KEY", spki));
        let key = TrustedKey::from_pem(text.as_bytes()).unwrap();
        let pair = KeyPair::from_stored(&stored).unwrap();
        assert_eq!(key.algorithm, algorithm);
        assert!(
            key.check.accepts(b"message", &signature(&pair, b"message")),
            "{algorithm:?}"
        );
        let private = pem::encode(&pem::Pem::new("PRIVATE KEY", private.as_slice()));
        for wrong in [
            format!("{text}{text}"),
            private,
            String::new(),
            pem::encode(&pem::Pem::new("PUBLIC KEY", [1; 44])),
        ] {
            assert!(TrustedKey::from_pem(wrong.as_bytes()).is_err());
        }
    }
}
