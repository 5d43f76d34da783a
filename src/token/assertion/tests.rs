//! What `token::assertion` promises.

use serde_json::{Value, json};

use super::*;
use crate::store::engine_store::faulty;
use crate::{
    config::Algorithm,
    crypto::Key,
    entropy::Entropy,
    token::{
        AccessTokenOptions, Grant, Issuer, Lifetimes, TokenError, Verifier,
        fixture::{self, NOW},
    },
};

const ALL: [Algorithm; 4] = [
    Algorithm::EdDsa,
    Algorithm::Es256,
    Algorithm::Rs256,
    Algorithm::Hs256,
];

fn asking() -> IdentityConfig {
    IdentityConfig {
        assertion: true,
        ..IdentityConfig::default()
    }
}

async fn keyrings(algorithm: Algorithm) -> (TokenConfig, Arc<Keyrings>) {
    let (store, config) = (
        faulty::in_memory(),
        TokenConfig {
            algorithm,
            ..TokenConfig::default()
        },
    );
    let keyrings = Keyrings::open(
        &config,
        Lifetimes::from_config(&config),
        &store,
        &Entropy::default(),
        NOW,
    )
    .await
    .unwrap();
    keyrings
        .enable_assertions(Key::new([5; 32]), &store, NOW)
        .await
        .unwrap();
    (config, Arc::new(keyrings))
}

fn jwks(keyrings: &Keyrings) -> Vec<Value> {
    let published: Value = serde_json::from_slice(&keyrings.current().jwks()).unwrap();
    published["keys"].as_array().unwrap().clone()
}

#[tokio::test]
async fn it_says_who_calls_and_for_whom_it_is() {
    let (config, keyrings) = keyrings(Algorithm::EdDsa).await;
    let assertions = Assertions::new(keyrings, &config, &asking()).unwrap();
    let (text, _) = assertions
        .sign(&VerifiedClaims::Own(fixture::claims()), NOW)
        .unwrap();
    assert_eq!(fixture::jws_header(&text)["typ"], "auth-assertion+jwt");
    let expected = json!({
        "iss": "menshen",
        "aud": "upstream",
        "sub": "42",
        "sid": fixture::session().id.to_string(),
        "iat": NOW.as_secs(),
        "exp": NOW.as_secs() + 60,
        "user_type": "user",
        "roles": ["editor"],
        "client_type": "web",
        "token_use": "assertion",
    });
    assert_eq!(fixture::jws_claims(&text), expected);
    let foreign = assertions
        .sign(&VerifiedClaims::External(fixture::foreign("7")), NOW)
        .unwrap()
        .0;
    let foreign = fixture::jws_claims(&foreign);
    assert_eq!(
        (
            &foreign["sub"],
            foreign.get("sid"),
            foreign.get("client_type")
        ),
        (&json!("7"), None, None)
    );
}

#[tokio::test]
async fn whatever_signs_tokens_assertions_are_signed_with_a_published_key() {
    for algorithm in ALL {
        let (config, keyrings) = keyrings(algorithm).await;
        let assertions = Assertions::new(keyrings.clone(), &config, &asking()).unwrap();
        let (text, _) = assertions
            .sign(&VerifiedClaims::Own(fixture::claims()), NOW)
            .unwrap();
        let header = fixture::jws_header(&text);
        let expected = if algorithm == Algorithm::Es256 {
            "ES256"
        } else {
            "EdDSA"
        };
        assert_eq!(header["alg"], expected, "{algorithm:?}");
        let published = jwks(&keyrings);
        let key = published
            .iter()
            .find(|key| key["kid"] == header["kid"])
            .expect("a published key");
        let key: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.clone()).unwrap();
        let key = jsonwebtoken::DecodingKey::from_jwk(&key).unwrap();
        let (message, signature) = text.rsplit_once('.').unwrap();
        let by = if algorithm == Algorithm::Es256 {
            jsonwebtoken::Algorithm::ES256
        } else {
            jsonwebtoken::Algorithm::EdDSA
        };
        assert!(
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, by).unwrap(),
            "{algorithm:?}"
        );
    }
}

#[tokio::test]
async fn an_assertion_is_no_access_token_and_an_access_token_no_assertion() {
    for algorithm in ALL {
        let (config, keyrings) = keyrings(algorithm).await;
        // Even where a backend has no name of its own.
        let identity = IdentityConfig {
            assertion_audience: config.audience.clone(),
            ..asking()
        };
        let assertions = Assertions::new(keyrings.clone(), &config, &identity).unwrap();
        let (text, _) = assertions
            .sign(&VerifiedClaims::Own(fixture::claims()), NOW)
            .unwrap();
        let verifier = Verifier::new(keyrings.clone(), &config, Lifetimes::from_config(&config));
        assert_eq!(
            verifier.verify(&text, NOW),
            Err(TokenError::Kind),
            "{algorithm:?}"
        );
        assert_eq!(
            verifier.verify_for_renewal(&text, NOW),
            Err(TokenError::Kind),
            "{algorithm:?}"
        );
        // Nor under the header of one, which is another signature.
        let (user, session) = (fixture::user(), fixture::session());
        let grant = Grant {
            user: &user,
            session: &session,
            global_epoch: 1,
        };
        let issuer = Issuer::new(keyrings, &config, Entropy::default());
        let token = issuer
            .access(&grant, &AccessTokenOptions::default(), NOW)
            .unwrap()
            .text;
        let (head, _) = token.split_once('.').unwrap();
        let (_, rest) = text.split_once('.').unwrap();
        assert!(verifier.verify(&format!("{head}.{rest}"), NOW).is_err());
        assert_ne!(
            fixture::jws_header(&token)["typ"],
            fixture::jws_header(&text)["typ"]
        );
        assert_ne!(
            fixture::jws_claims(&token)["token_use"],
            fixture::jws_claims(&text)["token_use"]
        );
    }
}

#[tokio::test]
async fn replicas_have_the_same_companion_and_other_stores_another() {
    let (store, config) = (
        faulty::in_memory(),
        TokenConfig {
            algorithm: Algorithm::Hs256,
            ..TokenConfig::default()
        },
    );
    let mut seen = Vec::new();
    for root in [5, 5, 6] {
        let keyrings = Keyrings::open(
            &config,
            Lifetimes::from_config(&config),
            &store,
            &Entropy::default(),
            NOW,
        )
        .await
        .unwrap();
        assert!(
            jwks(&keyrings).is_empty() && !keyrings.current().signs_assertions(),
            "none before it was asked for"
        );
        keyrings
            .enable_assertions(Key::new([root; 32]), &store, NOW)
            .await
            .unwrap();
        seen.push(jwks(&keyrings)[0]["kid"].clone());
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);
}

#[tokio::test]
async fn a_companion_verifies_no_access_token() {
    let (config, keyrings) = keyrings(Algorithm::Hs256).await;
    let published = jwks(&keyrings);
    let kid = published[0]["kid"].as_str().unwrap();
    assert!(
        keyrings.current().verifying(kid).is_none()
            && keyrings.current().kids().all(|known| known != kid)
    );
    assert_eq!(config.algorithm, Algorithm::Hs256);
}
