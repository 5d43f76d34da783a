//! What `token::trusted_issuer` and `token::trusted_issuers` promise.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde_json::json;

use super::*;
use crate::{
    config::{Config, SecretText},
    token::{IssuerMatch, TrustedIssuers, fixture::NOW},
};

const SECRET: &str = "0kQ7pVtW2mXcR9sLdF4hJ6nB8yZ1aE3g";
const OTHER: &str = "u5GxT1cM8vK3zD6qWfP0jRb9hYs2LnEa";

fn config() -> IssuerConfig {
    IssuerConfig {
        secret: Some(SecretText::new(SECRET.to_owned())),
        ..IssuerConfig::named("legacy")
    }
}

fn issuer(config: &IssuerConfig) -> TrustedIssuer {
    let custom_claims: Arc<[Arc<str>]> = Arc::new(["tenant".into()]);
    TrustedIssuer::compile(config, &TokenConfig::default(), custom_claims).unwrap()
}

fn signed(secret: &str, header: &str, payload: &str) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256)
            .unwrap();
    format!("{message}.{signature}")
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// A good token but for what `change` says; `null` takes a claim away.
fn payload(change: &Value) -> String {
    let mut claims = json!({ "sub": "42", "iat": NOW.as_secs(), "exp": NOW.as_secs() + 3600 });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    claims.to_string()
}

fn verify(config: &IssuerConfig, change: &Value) -> Result<ExternalClaims, TokenError> {
    let token = signed(SECRET, HEADER, &payload(change));
    issuer(config)
        .verify(&token, NOW)
        .map(|accepted| accepted.claims)
}

#[test]
fn a_good_token_is_who_its_claims_say() {
    let mut config = config();
    config.claims = [
        ("user_type", "role"),
        ("roles", "permissions"),
        ("sid", "session"),
        ("nickname", "name"),
    ]
    .map(|(ours, theirs)| (ours.to_owned(), theirs.to_owned()))
    .into();
    let said = json!({ "role": "admin", "permissions": ["a", "b c", 7], "session": "s-1", "name": "张三", "tenant": "shop" });
    let claims = verify(&config, &said).unwrap();
    assert_eq!(
        (
            claims.sub.as_str(),
            claims.user_type.as_str(),
            &*claims.issuer
        ),
        ("42", "admin", "legacy")
    );
    assert_eq!(
        claims.roles,
        ["a", "7"],
        "one that is no plain name is left out"
    );
    assert_eq!(
        (
            claims.sid.as_deref(),
            claims.identity_claims.nickname.as_deref()
        ),
        (Some("s-1"), Some("张三"))
    );
    assert_eq!(claims.custom_claims.get("tenant"), ["shop"]);
    assert!(claims.custom_claims.get("other").is_empty());
}

#[test]
fn what_is_not_named_gives_no_rights() {
    let claims = verify(
        &config(),
        &json!({ "user_type": "admin", "roles": ["root"], "sid": "x" }),
    )
    .unwrap();
    assert_eq!(
        (claims.user_type.as_str(), claims.roles.len(), claims.sid),
        ("user", 0, None)
    );
}

#[test]
fn an_id_is_a_plain_text_or_an_exact_integer() {
    let mut config = config();
    config.user_id_claim = Some("user_id".to_owned());
    for (id, expected) in [
        (json!(7), Some("7")),
        (json!("7"), Some("7")),
        (json!(1_u64 << 53), Some("9007199254740992")),
        (json!((1_u64 << 53) + 1), None),
        (json!(-1), None),
        (json!(7.0), None),
        (json!(true), None),
        (json!(["7"]), None),
        (json!({ "id": 7 }), None),
        (json!(""), None),
        (json!("a b"), None),
        (json!("a\r\nX: y"), None),
        (json!(null), None),
    ] {
        let claims = verify(&config, &json!({ "user_id": id }));
        assert_eq!(
            claims.as_ref().ok().map(|claims| claims.sub.as_str()),
            expected,
            "{id}"
        );
    }
    config.user_id_prefix = "old-".to_owned();
    assert_eq!(
        verify(&config, &json!({ "user_id": 7 }))
            .unwrap()
            .sub
            .as_str(),
        "old-7"
    );
    assert!(
        verify(&config, &json!({ "user_id": "" })).is_err(),
        "the prefix alone is nobody"
    );
}

#[test]
fn issuer_and_audience_are_compared_whole() {
    let nameless = config();
    let mut named = config();
    (named.issuer, named.audience) = ("https://id.example".to_owned(), Some("api".to_owned()));
    let mut shared = named.clone();
    shared.shared_audience = true;
    let good = json!("https://id.example");
    for (config, iss, aud, fits) in [
        (&nameless, json!(null), json!(null), true),
        (&nameless, json!(""), json!(null), false),
        (&nameless, json!("x"), json!(null), false),
        (&nameless, json!(null), json!("api"), false),
        (&named, good.clone(), json!("api"), true),
        (&named, good.clone(), json!(["api"]), true),
        (&named, good.clone(), json!(["api", "other"]), false),
        (&shared, good.clone(), json!(["api", "other"]), true),
        (&shared, good.clone(), json!(["api", 1]), false),
        (&shared, good.clone(), json!(["other"]), false),
        (&shared, good.clone(), json!([]), false),
        (&shared, good.clone(), json!([["api"]]), false),
        (&named, good.clone(), json!("api "), false),
        (&named, good.clone(), json!("API"), false),
        (&named, good.clone(), json!(null), false),
        (&named, good.clone(), json!({ "api": 1 }), false),
        (&named, json!("https://id.example/"), json!("api"), false),
        (&named, json!("https://id.exampl"), json!("api"), false),
        (&named, json!(null), json!("api"), false),
        (&named, json!(["https://id.example"]), json!("api"), false),
    ] {
        let outcome = verify(config, &json!({ "iss": iss, "aud": aud }));
        assert_eq!(outcome.is_ok(), fits, "{iss} {aud}: {outcome:?}");
    }
}

#[test]
fn times_are_whole_and_bounded() {
    let now = NOW.as_secs();
    for (change, expected) in [
        (json!({ "exp": now - 30 }), TokenError::Expired),
        (json!({ "exp": null }), TokenError::Claims),
        (json!({ "iat": null }), TokenError::Claims),
        (json!({ "exp": 1e300 }), TokenError::Malformed),
        (json!({ "exp": 9e9 + 0.5 }), TokenError::Malformed),
        (json!({ "exp": "9999999999" }), TokenError::Malformed),
        (json!({ "exp": -1 }), TokenError::Malformed),
        (json!({ "exp": u64::MAX }), TokenError::Claims),
        (json!({ "exp": now + 8 * 86_400 }), TokenError::Claims),
        (json!({ "iat": now + 31 }), TokenError::TooEarly),
        (json!({ "nbf": now + 31 }), TokenError::TooEarly),
        (json!({ "nbf": "x" }), TokenError::Malformed),
    ] {
        assert_eq!(verify(&config(), &change).err(), Some(expected), "{change}");
    }
    assert!(
        verify(&config(), &json!({ "exp": now - 29, "iat": now - 60 })).is_ok(),
        "the leeway"
    );
    let mut lenient = config();
    (lenient.allow_no_exp, lenient.allow_no_iat) = (true, true);
    assert!(verify(&lenient, &json!({ "exp": null, "iat": null })).is_ok());
    assert_eq!(
        verify(&lenient, &json!({ "iat": null, "exp": now + 9 * 86_400 })).err(),
        Some(TokenError::Claims)
    );
}

#[test]
fn its_last_day_is_the_end_of_every_token() {
    let mut config = config();
    config.accept_until = Some("2027-01-15".to_owned());
    let end = crate::config::end_of_day("2027-01-15").unwrap();
    let before = end.minus(Duration::from_mins(5));
    let claims = json!({ "sub": "42", "iat": before.as_secs(), "exp": before.as_secs() + 3600 });
    let token = signed(SECRET, HEADER, &claims.to_string());
    let issuer = issuer(&config);
    assert_eq!(
        issuer.verify(&token, before).unwrap().end,
        Some(end),
        "before its own end"
    );
    assert_eq!(issuer.verify(&token, end).err(), Some(TokenError::Ended));
}

#[test]
fn another_kind_of_token_of_the_same_issuer_is_none() {
    let mut config = config();
    config.required_claims = [("token_type".to_owned(), "access".to_owned())].into();
    assert!(verify(&config, &json!({ "token_type": "access" })).is_ok());
    for said in [
        json!("refresh"),
        json!(["access", "refresh"]),
        json!(null),
        json!("Access"),
        json!({ "access": 1 }),
    ] {
        assert_eq!(
            verify(&config, &json!({ "token_type": said })).err(),
            Some(TokenError::Kind),
            "{said}"
        );
    }
}

#[test]
fn a_header_that_changes_what_a_token_is_is_refused() {
    let issuer = issuer(&config());
    for (header, expected) in [
        (r#"{"alg":"HS256"}"#, None),
        (
            r#"{"alg":"HS256","typ":"at+JWT","kid":"x","x5t":"y"}"#,
            None,
        ),
        (r#"{"typ":"JWT"}"#, Some(TokenError::Header)),
        (r#"{"alg":"none"}"#, Some(TokenError::Algorithm)),
        (r#"{"alg":"hs256"}"#, Some(TokenError::Algorithm)),
        (r#"{"alg":"RS256"}"#, Some(TokenError::Algorithm)),
        (r#"{"alg":"HS384"}"#, Some(TokenError::Algorithm)),
        (r#"{"alg":"HS256","alg":"HS256"}"#, Some(TokenError::Header)),
        (r#"{"alg":"HS256","x":1,"x":2}"#, Some(TokenError::Header)),
        (r#"{"alg":"HS256","crit":[]}"#, Some(TokenError::Header)),
        (
            r#"{"alg":"HS256","crit":["exp"]}"#,
            Some(TokenError::Header),
        ),
        (r#"{"alg":"HS256","b64":false}"#, Some(TokenError::Header)),
        (r#"{"alg":"HS256","zip":"DEF"}"#, Some(TokenError::Header)),
        (
            r#"{"alg":"HS256","enc":"A256GCM"}"#,
            Some(TokenError::Header),
        ),
        (r#"{"alg":"HS256","cty":"JWT"}"#, Some(TokenError::Header)),
        (r#"{"alg":"HS256","jwk":{}}"#, Some(TokenError::Header)),
        (
            r#"{"alg":"HS256","jku":"http://127.0.0.1:1/"}"#,
            Some(TokenError::Header),
        ),
        (
            r#"{"alg":"HS256","x5u":"http://127.0.0.1:1/"}"#,
            Some(TokenError::Header),
        ),
        (r#"{"alg":"HS256","x5c":[]}"#, Some(TokenError::Header)),
        (r#"{"alg":"HS256","typ":"rt+jwt"}"#, Some(TokenError::Kind)),
        (r#"{"alg":"HS256","typ":"JWE"}"#, Some(TokenError::Kind)),
        (r#"["HS256"]"#, Some(TokenError::Header)),
    ] {
        let token = signed(SECRET, header, &payload(&json!({})));
        assert_eq!(issuer.verify(&token, NOW).err(), expected, "{header}");
    }
}

#[test]
fn the_text_of_a_token_has_one_spelling() {
    let issuer = issuer(&config());
    let good = signed(SECRET, HEADER, &payload(&json!({})));
    assert!(issuer.verify(&good, NOW).is_ok());
    let (message, signature) = good.rsplit_once('.').unwrap();
    for text in [
        format!("{good}="),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.x"),
        format!("{message}."),
        message.to_owned(),
        format!("{message}.{}", &signature[1..]),
        good.replacen('.', "..", 1),
        format!(" {good}"),
        good.repeat(100),
        String::new(),
    ] {
        assert!(issuer.verify(&text, NOW).is_err(), "{text:?}");
    }
    let twice = r#"{"sub":"1","sub":"2","iat":1,"exp":2}"#;
    assert_eq!(
        issuer.verify(&signed(SECRET, HEADER, twice), NOW).err(),
        Some(TokenError::Malformed)
    );
    let unknown_twice = payload(&json!({ "a": 1 })).replace("\"a\":1", "\"a\":1,\"a\":1");
    assert_eq!(
        issuer
            .verify(&signed(SECRET, HEADER, &unknown_twice), NOW)
            .err(),
        Some(TokenError::Malformed)
    );
}

#[test]
fn a_former_secret_verifies_and_a_strangers_does_not() {
    let mut config = config();
    config.previous_secrets = vec![SecretText::new(OTHER.to_owned())];
    let issuer = issuer(&config);
    for (secret, good) in [
        (SECRET, true),
        (OTHER, true),
        ("another secret of more than 32 bytes", false),
    ] {
        assert_eq!(
            issuer
                .verify(&signed(secret, HEADER, &payload(&json!({}))), NOW)
                .is_ok(),
            good,
            "{secret}"
        );
    }
}

fn issuers(list: Vec<IssuerConfig>) -> TrustedIssuers {
    let config = Config {
        issuer: list,
        ..Config::default()
    };
    TrustedIssuers::compile(&config, &Arc::from([])).unwrap()
}

#[test]
fn a_token_is_its_own_issuers_alone() {
    let with = |name: &str, iss: &str, secret: &str| IssuerConfig {
        issuer: iss.to_owned(),
        secret: Some(SecretText::new(secret.to_owned())),
        ..IssuerConfig::named(name)
    };
    let third = "w3Ns8RkPq5TzXb1LdVhG7cJmYf9KeA2u";
    let all = issuers(vec![
        with("a", "A", SECRET),
        with("b", "B", OTHER),
        with("c", "", third),
    ]);
    let by = |secret: &str, iss: Value| {
        let token = signed(secret, HEADER, &payload(&json!({ "iss": iss })));
        match all.match_issuer(&token, "menshen") {
            IssuerMatch::Own => "ours".to_owned(),
            IssuerMatch::Candidates(claimants) => match claimants.verify(&token, NOW) {
                Ok((issuer, _)) => issuer.name.to_string(),
                Err((issuer, error)) => format!("{}: {error}", issuer.name),
            },
            IssuerMatch::NoIssuer(error) => error.to_string(),
        }
    };
    let wrong = TokenError::Signature;
    assert_eq!(by(SECRET, json!("A")), "a");
    assert_eq!(by(OTHER, json!("B")), "b");
    assert_eq!(by(third, json!(null)), "c");
    assert_eq!(by(OTHER, json!("A")), format!("a: {wrong}"));
    assert_eq!(by(SECRET, json!("B")), format!("b: {wrong}"));
    assert_eq!(by(SECRET, json!(null)), format!("c: {wrong}"));
    assert_eq!(
        by(SECRET, json!("menshen")),
        "ours",
        "and so by our keys alone"
    );
    for iss in [json!("C"), json!(""), json!("a"), json!("A ")] {
        assert_eq!(
            by(SECRET, iss.clone()),
            TokenError::IssuerOrAudience.to_string(),
            "{iss}"
        );
    }
    assert_eq!(by(SECRET, json!(["A"])), TokenError::Malformed.to_string());
}

#[test]
fn of_several_without_a_name_each_looks_with_its_own_key() {
    let with = |name: &str, secret: &str| IssuerConfig {
        secret: Some(SecretText::new(secret.to_owned())),
        ..IssuerConfig::named(name)
    };
    let all = issuers(vec![with("first", SECRET), with("second", OTHER)]);
    for (secret, name) in [(SECRET, "first"), (OTHER, "second")] {
        let token = signed(secret, HEADER, &payload(&json!({})));
        let IssuerMatch::Candidates(claimants) = all.match_issuer(&token, "menshen") else {
            panic!("whose?")
        };
        assert_eq!(&*claimants.verify(&token, NOW).unwrap().0.name, name);
    }
    let late = signed(
        OTHER,
        HEADER,
        &payload(&json!({ "exp": NOW.as_secs() - 60, "iat": NOW.as_secs() - 90 })),
    );
    let IssuerMatch::Candidates(claimants) = all.match_issuer(&late, "menshen") else {
        panic!("whose?")
    };
    assert_eq!(
        claimants.verify(&late, NOW).unwrap_err().1,
        TokenError::Expired
    );
}

/// RFC 9864: `Ed25519` says what `EdDSA` meant; each is good wherever the other is, and neither is
/// Ed448.
#[test]
fn ed25519_has_two_names() {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    let token = |alg: &str| {
        let header = json!({ "alg": alg, "kid": "k", "typ": "JWT" }).to_string();
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload(&json!({})))
        );
        format!(
            "{message}.{}",
            URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()))
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    for (n, of_key) in [json!("EdDSA"), json!("Ed25519"), json!(null)]
        .into_iter()
        .enumerate()
    {
        let mut jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k", "alg": of_key });
        jwk.as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        std::fs::write(&file, json!({ "keys": [jwk] }).to_string()).unwrap();
        for named in ["EdDSA", "Ed25519"] {
            let algorithms: Vec<Algorithm> =
                serde_json::from_value(json!([named, "RS256"])).unwrap();
            let config = IssuerConfig {
                secret: None,
                jwks_file: Some(file.clone()),
                algorithms,
                ..config()
            };
            let issuer = issuer(&config);
            for (alg, fits) in [
                ("EdDSA", true),
                ("Ed25519", true),
                ("Ed448", false),
                ("RS256", false),
                ("ed25519", false),
            ] {
                let outcome = issuer.verify(&token(alg), NOW).map(drop);
                let expected = if fits {
                    Ok(())
                } else {
                    Err(TokenError::Algorithm)
                };
                assert_eq!(outcome, expected, "{alg} with {named} and key {n}");
            }
        }
    }
}
