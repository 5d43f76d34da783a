//! What `token::verify` promises.

mod claims;
mod shape;

use std::collections::BTreeMap;

use jsonwebtoken::EncodingKey;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    config::Algorithm,
    entropy::Entropy,
    store::{Session, StoredKey},
    token::{
        AccessTokenOptions, Grant, IssueError, Issuer, Lifetimes, RefreshTokens, fixture,
        fixture::NOW,
        key::{KeyPair, generate, jwa},
    },
};

const ALL: [Algorithm; 4] = [
    Algorithm::EdDsa,
    Algorithm::Es256,
    Algorithm::Rs256,
    Algorithm::Hs256,
];

/// One key, and all that issues and verifies with it.
struct World {
    stored: StoredKey,
    keyrings: Arc<Keyrings>,
    issuer: Issuer,
    verifier: Verifier,
}

impl World {
    fn new(algorithm: Algorithm) -> Self {
        let stored = generate(algorithm, &Entropy::default(), NOW).unwrap();
        let keyrings = Arc::new(Keyrings::fixed(std::slice::from_ref(&stored)).unwrap());
        let config = TokenConfig::default();
        let issuer = Issuer::new(Arc::clone(&keyrings), &config, Entropy::default());
        let verifier = Verifier::new(
            Arc::clone(&keyrings),
            &config,
            Lifetimes::from_config(&config),
        );
        Self {
            stored,
            keyrings,
            issuer,
            verifier,
        }
    }

    fn max_lifetime(&self) -> u64 {
        self.verifier.max_lifetime.as_secs()
    }

    fn token(&self) -> String {
        let (user, session) = (fixture::user(), fixture::session());
        self.issuer
            .access(
                &Grant {
                    user: &user,
                    session: &session,
                    global_epoch: 1,
                },
                &AccessTokenOptions::default(),
                NOW,
            )
            .unwrap()
            .text
    }

    fn verify(&self, token: &str) -> Result<AccessClaims, TokenError> {
        self.verifier.verify(token, NOW)
    }

    /// A token with any header and payload, signed with the right key.
    fn signed(&self, header: &str, payload: &(impl AsRef<[u8]> + ?Sized)) -> String {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload)
        );
        let pair = KeyPair::from_stored(&self.stored).unwrap();
        let signature = jsonwebtoken::crypto::sign(
            message.as_bytes(),
            &pair.signing,
            jwa(pair.verifying.algorithm),
        )
        .unwrap();
        format!("{message}.{signature}")
    }

    fn header(&self) -> Value {
        json!({"alg": self.stored.algorithm, "kid": self.stored.kid, "typ": "at+jwt"})
    }

    fn with_header(&self, header: &Value) -> Result<AccessClaims, TokenError> {
        self.verify(&self.signed(&header.to_string(), &payload().to_string()))
    }

    fn with_payload(
        &self,
        payload: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<AccessClaims, TokenError> {
        self.verify(&self.signed(&self.header().to_string(), payload))
    }
}

fn payload() -> Value {
    json!({
        "iss": "menshen", "aud": "backend", "sub": "42", "sid": "00000000000000000000000000000abc",
        "iat": NOW.as_secs(), "exp": NOW.as_secs() + 900, "jti": "a", "user_type": "user", "roles": ["editor"],
        "client_type": "web", "ep": 3, "gep": 1, "token_use": "access",
    })
}

/// The payload with a member changed, or removed by `None`.
fn changed(name: &str, value: Option<Value>) -> String {
    let mut payload = payload();
    let members = payload.as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    payload.to_string()
}

#[test]
fn what_is_issued_verifies_and_says_the_same() {
    for algorithm in ALL {
        let world = World::new(algorithm);
        let claims = world.verify(&world.token()).unwrap();
        assert_eq!(claims, fixture::claims(), "{algorithm:?}");
        let jti = |token: &str| {
            let payload = URL_SAFE_NO_PAD
                .decode(token.split('.').nth(1).unwrap())
                .unwrap();
            serde_json::from_slice::<Value>(&payload).unwrap()["jti"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let (one, another) = (jti(&world.token()), jti(&world.token()));
        assert_eq!(one.len(), 22);
        assert_ne!(one, another);
    }
}

#[test]
fn the_test_payload_is_good_as_it_stands() {
    for algorithm in ALL {
        let world = World::new(algorithm);
        assert_eq!(
            world.with_payload(&payload().to_string()),
            Ok(fixture::claims()),
            "{algorithm:?}"
        );
    }
}

#[test]
fn a_token_never_outlives_its_session() {
    let world = World::new(Algorithm::EdDsa);
    let user = fixture::user();
    let issue = |session: &Session| {
        world.issuer.access(
            &Grant {
                user: &user,
                session,
                global_epoch: 1,
            },
            &AccessTokenOptions::default(),
            NOW,
        )
    };
    let ends_in = |millis| Session {
        absolute_end: NOW.plus(Duration::from_millis(millis)),
        ..fixture::session()
    };
    let token = issue(&ends_in(60_500)).unwrap();
    assert_eq!(token.expires_in, Duration::from_mins(1));
    assert_eq!(
        world.verify(&token.text).unwrap().exp,
        NOW.plus(Duration::from_mins(1))
    );
    assert_eq!(
        issue(&fixture::session()).unwrap().expires_in,
        Duration::from_mins(15)
    );
    for over in [0, 999] {
        assert!(
            matches!(issue(&ends_in(over)), Err(IssueError::SessionOver)),
            "{over} ms left"
        );
    }
}

#[test]
fn an_access_token_does_not_print() {
    let world = World::new(Algorithm::EdDsa);
    let (user, session) = (fixture::user(), fixture::session());
    let token = world
        .issuer
        .access(
            &Grant {
                user: &user,
                session: &session,
                global_epoch: 1,
            },
            &AccessTokenOptions::default(),
            NOW,
        )
        .unwrap();
    assert!(!format!("{token:?}").contains(&token.text[..10]));
}

#[test]
fn only_the_exact_algorithm_of_the_key_passes() {
    for algorithm in ALL {
        let world = World::new(algorithm);
        for alg in [
            "none", "None", "NONE", "nOnE", "", "HS256", "RS256", "ES256", "EdDSA", "Ed25519",
            "hs256", "PS256", "HS512", "ed25519", "Ed448",
        ] {
            let mut header = world.header();
            header["alg"] = json!(alg);
            // RFC 9864: the same algorithm has two names.
            let is_its_own = alg == world.stored.algorithm
                || (algorithm == Algorithm::EdDsa && alg == "Ed25519");
            let expected = if is_its_own {
                Ok(fixture::claims())
            } else {
                Err(TokenError::Algorithm)
            };
            assert_eq!(
                world.with_header(&header),
                expected,
                "{alg:?} for {algorithm:?}"
            );
        }
        for alg in [json!(null), json!(["EdDSA"]), json!(1), json!({})] {
            let mut header = world.header();
            header["alg"] = alg;
            assert_eq!(world.with_header(&header), Err(TokenError::Header));
        }
    }
}

#[test]
fn an_unsigned_token_is_refused() {
    for algorithm in ALL {
        let world = World::new(algorithm);
        let token = world.token();
        let message = &token[..=token.rfind('.').unwrap()];
        assert_eq!(world.verify(message), Err(TokenError::Malformed));
        for signature in [
            "AA",
            "AAAA",
            &"A".repeat(86),
            &"A".repeat(342),
            &"A".repeat(43),
        ] {
            assert_eq!(
                world.verify(&format!("{message}{signature}")),
                Err(TokenError::Signature),
                "{algorithm:?}"
            );
        }
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
        let world = World::new(algorithm);
        let jwks = world.keyrings.current().jwks();
        let pair = KeyPair::from_stored(&world.stored).unwrap();
        let jwk = serde_json::to_value(&pair.verifying.jwk).unwrap();
        let mut secrets = vec![jwks.to_vec(), serde_json::to_vec(&jwk).unwrap()];
        // The public numbers, as an attacker has them: alone, and a P-256 point in its uncompressed
        // form.
        let number = |name: &str| {
            jwk[name]
                .as_str()
                .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        };
        secrets.extend([number("x"), number("n")].into_iter().flatten());
        if let (Some(x), Some(y)) = (number("x"), number("y")) {
            secrets.push([vec![4], x, y].concat());
        }
        assert!(secrets.len() > 2, "{algorithm:?}");
        for secret in secrets {
            let signing = EncodingKey::from_secret(&secret);
            for alg in ["HS256", &world.stored.algorithm] {
                let mut header = world.header();
                header["alg"] = json!(alg);
                let message = format!(
                    "{}.{}",
                    URL_SAFE_NO_PAD.encode(header.to_string()),
                    URL_SAFE_NO_PAD.encode(payload().to_string())
                );
                let signature = jsonwebtoken::crypto::sign(
                    message.as_bytes(),
                    &signing,
                    jsonwebtoken::Algorithm::HS256,
                )
                .unwrap();
                assert!(
                    world.verify(&format!("{message}.{signature}")).is_err(),
                    "{alg} with {algorithm:?}"
                );
            }
        }
    }
}

#[test]
fn a_header_that_is_not_ours_is_refused_whatever_it_says() {
    let world = World::new(Algorithm::EdDsa);
    for (name, value) in [
        ("crit", json!([])),
        ("crit", json!(["exp"])),
        ("crit", json!(["b64"])),
        ("crit", json!("b64")),
        ("crit", json!(null)),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("jku", json!("http://127.0.0.1/jwks.json")),
        ("x5u", json!("http://127.0.0.1/cert")),
        (
            "jwk",
            json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        ),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("AA")),
        ("cty", json!("JWT")),
        ("anything", json!(1)),
    ] {
        let mut header = world.header();
        header[name] = value.clone();
        assert_eq!(
            world.with_header(&header),
            Err(TokenError::Header),
            "{name}: {value}"
        );
    }
}

#[test]
fn a_key_is_only_looked_up() {
    let world = World::new(Algorithm::EdDsa);
    for kid in [
        "",
        "../../etc/passwd",
        "/dev/null",
        "x' UNION SELECT 'a",
        "$(id)",
        "http://127.0.0.1/",
        "0",
        "\0",
    ] {
        let mut header = world.header();
        header["kid"] = json!(kid);
        assert_eq!(
            world.with_header(&header),
            Err(TokenError::UnknownKey),
            "{kid:?}"
        );
    }
    let mut header = world.header();
    header.as_object_mut().unwrap().remove("kid");
    assert_eq!(
        world.with_header(&header),
        Err(TokenError::Header),
        "no kid"
    );
    header["kid"] = json!(7);
    assert_eq!(
        world.with_header(&header),
        Err(TokenError::Header),
        "a number"
    );
}

#[test]
fn no_other_kind_of_token_passes() {
    let world = World::new(Algorithm::EdDsa);
    for typ in [
        json!("JWT"),
        json!("AT+JWT"),
        json!("application/at+jwt"),
        json!(""),
        json!("rt+jwt"),
        json!("at+jwt "),
    ] {
        let mut header = world.header();
        header["typ"] = typ.clone();
        assert_eq!(world.with_header(&header), Err(TokenError::Kind), "{typ}");
    }
    let mut header = world.header();
    header.as_object_mut().unwrap().remove("typ");
    assert_eq!(world.with_header(&header), Err(TokenError::Kind));
    for token_use in [
        Some("refresh"),
        Some("assertion"),
        Some(""),
        Some("Access"),
        None,
    ] {
        let payload = changed("token_use", token_use.map(Value::from));
        assert_eq!(
            world.with_payload(&payload),
            Err(TokenError::Kind),
            "{token_use:?}"
        );
    }
    let refresh = RefreshTokens::new(crate::crypto::Key::new([1; 32])).issue(&fixture::session());
    assert_eq!(world.verify(&refresh), Err(TokenError::Malformed));
}

#[test]
fn a_key_of_another_service_does_not_count() {
    for algorithm in ALL {
        let (ours, theirs) = (World::new(algorithm), World::new(algorithm));
        assert_eq!(ours.verify(&theirs.token()), Err(TokenError::UnknownKey));
        let forged = theirs.signed(&ours.header().to_string(), &payload().to_string());
        assert_eq!(
            ours.verify(&forged),
            Err(TokenError::Signature),
            "{algorithm:?}"
        );
    }
}

#[test]
fn issuer_and_audience_are_one_exact_string() {
    let world = World::new(Algorithm::EdDsa);
    for (name, right) in [("iss", "menshen"), ("aud", "backend")] {
        for wrong in [
            String::new(),
            " ".to_owned(),
            right.to_uppercase(),
            format!("{right} "),
            right[..3].to_owned(),
            format!("{right}x"),
        ] {
            assert_eq!(
                world.with_payload(&changed(name, Some(json!(wrong)))),
                Err(TokenError::IssuerOrAudience),
                "{name} {wrong:?}"
            );
        }
        for wrong in [
            json!([right]),
            json!([right, "other"]),
            json!({"a": right}),
            json!(null),
            json!(1),
            json!(true),
        ] {
            assert_eq!(
                world.with_payload(&changed(name, Some(wrong.clone()))),
                Err(TokenError::Malformed),
                "{name} {wrong}"
            );
        }
    }
}

#[test]
fn a_signature_of_zeros_or_of_the_order_is_refused() {
    let world = World::new(Algorithm::Es256);
    let token = world.token();
    let message = &token[..token.rfind('.').unwrap()];
    let order: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let one = {
        let mut one = [0; 32];
        one[31] = 1;
        one
    };
    for r in [[0; 32], one, order, [0xff; 32]] {
        for s in [[0; 32], one, order, [0xff; 32]] {
            let signature = URL_SAFE_NO_PAD.encode([r, s].concat());
            assert_eq!(
                world.verify(&format!("{message}.{signature}")),
                Err(TokenError::Signature)
            );
        }
    }
}

#[test]
fn an_error_holds_nothing_of_the_token() {
    let world = World::new(Algorithm::EdDsa);
    let mut header = world.header();
    header["kid"] = json!("hunter2");
    let error = world.with_header(&header).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn the_other_key_of_two_verifies_too() {
    let keys: Vec<StoredKey> = ALL
        .iter()
        .map(|algorithm| generate(*algorithm, &Entropy::default(), NOW).unwrap())
        .collect();
    let verifier = Verifier::new(
        Arc::new(Keyrings::fixed(&keys).unwrap()),
        &TokenConfig::default(),
        Lifetimes::from_config(&TokenConfig::default()),
    );
    let mut passed = BTreeMap::new();
    for key in &keys {
        let alone = Arc::new(Keyrings::fixed(std::slice::from_ref(key)).unwrap());
        let issuer = Issuer::new(alone, &TokenConfig::default(), Entropy::default());
        let (user, session) = (fixture::user(), fixture::session());
        let token = issuer
            .access(
                &Grant {
                    user: &user,
                    session: &session,
                    global_epoch: 1,
                },
                &AccessTokenOptions::default(),
                NOW,
            )
            .unwrap();
        passed.insert(
            key.algorithm.clone(),
            verifier.verify(&token.text, NOW).is_ok(),
        );
    }
    assert_eq!(
        passed.values().filter(|passed| **passed).count(),
        4,
        "{passed:?}"
    );
}

proptest! {
    #[test]
    fn no_text_panics_or_passes(text in "\\PC*", bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let world = World::new(Algorithm::Hs256);
        prop_assert!(world.verify(&text).is_err());
        prop_assert!(world.verify(&String::from_utf8_lossy(&bytes)).is_err());
        let encoded = URL_SAFE_NO_PAD.encode(&bytes);
        let thrice = format!("{encoded}.{encoded}.{encoded}");
        prop_assert!(world.verify(&thrice).is_err());
    }

    #[test]
    fn no_payload_panics_or_passes(payload in "\\{(\"(sub|exp|iss|x)\":([0-9e.-]{1,8}|\"a\"|null|\\[\\]),?){0,4}\\}") {
        let world = World::new(Algorithm::Hs256);
        prop_assert!(world.with_payload(&payload).is_err());
    }

    #[test]
    fn a_changed_token_never_passes(which in 0..3usize, at in any::<prop::sample::Index>(), to in 0u8..128, cut in any::<bool>()) {
        let world = World::new([Algorithm::EdDsa, Algorithm::Es256, Algorithm::Hs256][which]);
        let good = world.token();
        let at = at.index(good.len());
        let mut text = good.clone().into_bytes();
        if cut {
            text.remove(at);
        } else {
            prop_assume!(text[at] != to);
            text[at] = to;
        }
        prop_assert!(world.verify(std::str::from_utf8(&text).unwrap()).is_err());
        prop_assert!(world.verify(&good[..at]).is_err());
    }
}
