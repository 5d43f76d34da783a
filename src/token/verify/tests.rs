//! What `token::verify` promises.

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
        let verifier = Verifier::new(Arc::clone(&keyrings), &config, Lifetimes::of(&config));
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
fn every_claim_is_required() {
    let world = World::new(Algorithm::EdDsa);
    let names: Vec<String> = payload().as_object().unwrap().keys().cloned().collect();
    assert_eq!(names.len(), 13);
    for name in names {
        let refused = world.with_payload(&changed(&name, None));
        let expected = if name == "token_use" {
            TokenError::Kind
        } else {
            TokenError::Claims
        };
        assert_eq!(refused, Err(expected), "{name}");
        let null = world.with_payload(&changed(&name, Some(Value::Null)));
        assert_eq!(null, Err(TokenError::Malformed), "{name}");
    }
}

#[test]
fn a_claim_of_the_wrong_form_is_refused() {
    let world = World::new(Algorithm::EdDsa);
    for (name, value) in [
        ("sub", json!("")),
        ("sub", json!(" ")),
        ("sub", json!("a b")),
        ("sub", json!("a\r\nX-User-Id: 1")),
        ("sub", json!("a\u{0}")),
        ("sub", json!("x".repeat(65))),
        ("sub", json!(42)),
        ("sub", json!(["42"])),
        ("sid", json!("")),
        ("sid", json!("00000000000000000000000000000ABC")),
        ("sid", json!("abc")),
        ("jti", json!("")),
        ("jti", json!(1)),
        ("user_type", json!("")),
        ("user_type", json!("a,b")),
        ("client_type", json!("")),
        ("client_type", json!("Web")),
        ("client_type", json!({"web": null})),
        ("roles", json!("admin")),
        ("roles", json!([1])),
        ("roles", json!([null])),
        ("ep", json!(-1)),
        ("ep", json!("3")),
        ("ep", json!(3.0)),
        ("gep", json!(1e3)),
        ("gep", json!(-1)),
    ] {
        assert!(
            world
                .with_payload(&changed(name, Some(value.clone())))
                .is_err(),
            "{name}: {value}"
        );
    }
}

#[test]
fn numbers_that_are_no_time_are_refused() {
    let world = World::new(Algorithm::EdDsa);
    for name in ["exp", "iat", "nbf"] {
        for number in [
            "1e308",
            "1e400",
            "-1",
            "1800000900.0",
            "1.8e9",
            "18446744073709551616",
            "18446744073709551615",
            "9007199254740993",
            "\"1800000900\"",
            "null",
            "[]",
            "NaN",
            "01",
            "+1",
            "0x7f",
        ] {
            let payload = changed(name, Some(json!("@"))).replace("\"@\"", number);
            assert!(world.with_payload(&payload).is_err(), "{name}: {number}");
        }
    }
}

#[test]
fn time_counts_with_the_leeway_and_no_more() {
    let world = World::new(Algorithm::EdDsa);
    let token = world.token();
    let at = |millis| {
        world
            .verifier
            .verify(&token, Timestamp::from_millis(millis))
            .map(drop)
    };
    let (start, end) = (NOW.as_millis(), NOW.as_millis() + 900_000);
    assert_eq!(at(end + 29_999), Ok(()));
    assert_eq!(at(end + 30_000), Err(TokenError::Expired));
    assert_eq!(at(u64::MAX), Err(TokenError::Expired));
    assert_eq!(at(start - 30_000), Ok(()));
    assert_eq!(at(start - 30_001), Err(TokenError::TooEarly));
    assert_eq!(at(0), Err(TokenError::TooEarly));
    assert_eq!(TokenError::Expired.code(), ErrorCode::TokenExpired);
    assert_eq!(TokenError::TooEarly.code(), ErrorCode::TokenInvalid);
}

#[test]
fn not_before_is_honoured() {
    let world = World::new(Algorithm::EdDsa);
    let from = |secs: u64| {
        world
            .with_payload(&changed("nbf", Some(json!(secs))))
            .map(drop)
    };
    assert_eq!(from(NOW.as_secs()), Ok(()));
    assert_eq!(from(NOW.as_secs() + 30), Ok(()));
    assert_eq!(from(NOW.as_secs() + 31), Err(TokenError::TooEarly));
    assert_eq!(from(1 << 53), Err(TokenError::TooEarly));
    assert_eq!(
        from((1 << 53) + 1),
        Err(TokenError::Claims),
        "more than every reader takes for the same number"
    );
}

#[test]
fn no_token_lives_longer_than_revocations_are_remembered() {
    let world = World::new(Algorithm::EdDsa);
    let life = |secs: u64| {
        world
            .with_payload(&changed("exp", Some(json!(NOW.as_secs() + secs))))
            .map(drop)
    };
    assert_eq!(
        world.max_lifetime(),
        86_400,
        "a day at least, whatever tokens get now"
    );
    assert_eq!(life(world.max_lifetime()), Ok(()));
    assert_eq!(life(world.max_lifetime() + 1), Err(TokenError::Claims));
    assert_eq!(life((1 << 53) - NOW.as_secs()), Err(TokenError::Claims));
}

#[test]
fn a_name_twice_is_refused_whoever_would_win() {
    let world = World::new(Algorithm::EdDsa);
    let good = payload().to_string();
    let names: Vec<String> = payload().as_object().unwrap().keys().cloned().collect();
    for name in names {
        let value = payload()[&name].to_string();
        for again in [
            format!("{},\"{name}\":{value}}}", &good[..good.len() - 1]),
            // The same name in another spelling.
            format!(
                "{},\"\\u{:04x}{}\":{value}}}",
                &good[..good.len() - 1],
                name.as_bytes()[0],
                &name[1..]
            ),
        ] {
            assert_eq!(
                world.with_payload(&again),
                Err(TokenError::Malformed),
                "{again}"
            );
        }
    }
    let unknown = format!("{},\"x\":1,\"x\":1}}", &good[..good.len() - 1]);
    assert_eq!(world.with_payload(&unknown), Err(TokenError::Malformed));
    for name in ["alg", "kid", "typ"] {
        let header = world.header();
        let text = header.to_string();
        let again = format!("{},\"{name}\":{}}}", &text[..text.len() - 1], header[name]);
        assert_eq!(
            world.verify(&world.signed(&again, &good)),
            Err(TokenError::Header),
            "{again}"
        );
    }
}

/// Found by fuzzing: what is passed over was not looked at, so two readers could see two texts in
/// it.
#[test]
fn a_payload_that_is_not_utf8_is_refused_also_where_nobody_reads_it() {
    let world = World::new(Algorithm::EdDsa);
    let good = payload().to_string();
    for (name, value) in [
        (&b"x"[..], &b"\xff"[..]),
        (b"\xc0\xae", b"a"),
        (b"x", b"\xed\xa0\x80"),
        (b"x", b"\xe4\xbd"),
    ] {
        let member = [b",\"", name, b"\":{\"y\":\"", value, b"\"}}"].concat();
        let whole = [&good.as_bytes()[..good.len() - 1], &member].concat();
        assert_eq!(
            world.with_payload(&whole),
            Err(TokenError::Malformed),
            "{}",
            whole.escape_ascii()
        );
    }
    assert!(
        world
            .with_payload(&format!(
                "{},\"x\":{{\"y\":\"\u{4f60}\"}}}}",
                &good[..good.len() - 1]
            ))
            .is_ok()
    );
}

#[test]
fn a_claim_that_a_newer_version_writes_does_not_harm() {
    let world = World::new(Algorithm::EdDsa);
    let new = changed("tenant", Some(json!({"deep": [1, {"a": null}]})));
    assert_eq!(world.with_payload(&new), Ok(fixture::claims()));
}

#[test]
fn header_and_payload_are_objects() {
    let world = World::new(Algorithm::EdDsa);
    let (header, good) = (world.header().to_string(), payload().to_string());
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    for text in [
        "",
        "null",
        "1",
        "\"a\"",
        "[]",
        "{}x",
        "{} {}",
        "{",
        "\u{feff}{}",
        &deep,
    ] {
        assert_eq!(
            world.verify(&world.signed(&header, text)),
            Err(TokenError::Malformed),
            "{text:?}"
        );
        assert!(
            world.verify(&world.signed(text, &good)).is_err(),
            "{text:?}"
        );
    }
    let listed = json!([world.stored.algorithm, world.stored.kid, "at+jwt"]).to_string();
    assert_eq!(
        world.verify(&world.signed(&listed, &good)),
        Err(TokenError::Header)
    );
    // What means nothing is passed over without recursion, so its depth costs no stack.
    let nested = changed("x", Some(json!("@"))).replace("\"@\"", &deep);
    assert!(world.with_payload(&nested).is_ok());
    let nested = changed("roles", Some(json!("@"))).replace("\"@\"", &deep);
    assert_eq!(world.with_payload(&nested), Err(TokenError::Malformed));
    let many = format!(
        "{{{}}}",
        (0..200)
            .map(|n| format!("\"{n}\":0"))
            .collect::<Vec<_>>()
            .join(",")
    );
    assert_eq!(world.with_payload(&many), Err(TokenError::Malformed));
}

#[test]
fn a_token_has_three_parts_and_one_spelling() {
    for algorithm in ALL {
        let world = World::new(algorithm);
        let good = world.token();
        let parts: Vec<&str> = good.split('.').collect();
        let [header, payload, signature] = parts[..] else {
            panic!("three parts")
        };
        let mut bad = vec![
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "...".to_owned(),
            header.to_owned(),
            format!("{header}.{payload}"),
            format!("{header}..{signature}"),
            format!(".{payload}.{signature}"),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}.{signature}"),
            format!("{header}.{payload}.{payload}.{signature}.{signature}"),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{good} "),
            format!("{header}.\n{payload}.{signature}"),
            format!("{header}=.{payload}.{signature}"),
            format!("{header}.{payload}=.{signature}"),
            format!("{good}="),
            format!("{good}=="),
            format!("Bearer {good}"),
            good.to_uppercase(),
            good.repeat(2),
        ];
        if good.contains(['-', '_']) {
            bad.push(good.replace('-', "+").replace('_', "/"));
        }
        for text in bad {
            assert!(world.verify(&text).is_err(), "{text:?}");
        }
        assert!(world.verify(&good).is_ok());
    }
}

#[test]
fn trailing_bits_of_base64_do_not_make_a_second_text() {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for algorithm in ALL {
        let world = World::new(algorithm);
        let good = world.token();
        let mut first_attempt = 0;
        for (at, _) in good
            .char_indices()
            .filter(|&(at, _)| good[at + 1..].starts_with('.') || at + 1 == good.len())
        {
            for &sign in SIGNS {
                let mut text = good.clone().into_bytes();
                if text[at] == sign {
                    continue;
                }
                text[at] = sign;
                first_attempt += 1;
                assert!(
                    world.verify(std::str::from_utf8(&text).unwrap()).is_err(),
                    "{algorithm:?} at {at}"
                );
            }
        }
        assert_eq!(first_attempt, 3 * 63);
    }
}

#[test]
fn size_is_limited_before_anything_is_read() {
    let world = World::new(Algorithm::EdDsa);
    for text in [
        ".".repeat(MAX_TOKEN_LEN + 1),
        "a".repeat(200_000),
        format!("{}.{}.", "a".repeat(5000), "b".repeat(5000)),
    ] {
        assert_eq!(world.verify(&text), Err(TokenError::TooLong));
    }
    assert_eq!(
        world.verify(&".".repeat(MAX_TOKEN_LEN)),
        Err(TokenError::Malformed)
    );
    let long = changed("jti", Some(json!("x".repeat(5000))));
    assert!(
        world.with_payload(&long).is_ok(),
        "a long token within the limit"
    );
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
        Lifetimes::of(&TokenConfig::default()),
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
