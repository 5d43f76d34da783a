//! What `auth::assertions` promises.

use super::*;
use crate::store::engine_store::{EngineStore, faulty};
use crate::{
    auth::CachedAssertions,
    config::{Algorithm, IdentityConfig, MintConfig, SecretText, TokenConfig, UserIds},
    crypto::Key,
    entropy::Entropy,
    policy::IdentityFields,
    token::{
        self, Keyrings, Lifetimes, VerifiedClaims,
        fixture::{self, NOW},
    },
};

struct World {
    store: EngineStore,
    keyrings: Arc<Keyrings>,
    metrics: Metrics,
}

impl World {
    async fn signing_with(algorithm: Algorithm) -> Self {
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
        Self {
            store,
            keyrings: Arc::new(keyrings),
            metrics: Metrics::new(),
        }
    }

    fn assertions(&self) -> UpstreamAssertions {
        let identity = IdentityConfig {
            assertion: true,
            ..IdentityConfig::default()
        };
        UpstreamAssertions::new(
            Assertions::new(self.keyrings.clone(), &TokenConfig::default(), &identity),
            None,
            &self.metrics,
        )
    }
}

fn identity() -> Identity {
    Identity {
        claims: VerifiedClaims::Own(fixture::claims()),
        headers: IdentityFields::default(),
        assertions: CachedAssertions::default(),
    }
}

fn at(secs: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(secs))
}

#[tokio::test]
async fn an_assertion_is_signed_once_and_shown_until_half_of_its_life_is_over() {
    let world = World::signing_with(Algorithm::EdDsa).await;
    let (assertions, alice, bob) = (world.assertions(), identity(), identity());
    let assert = |who, secs| assertions.assertion(who, at(secs)).unwrap().unwrap();
    let first = assert(&alice, 0);
    assert!(first.is_sensitive());
    assert!(
        assert(&alice, 29).as_bytes().as_ptr() == first.as_bytes().as_ptr(),
        "not even copied"
    );
    let second = assert(&alice, 30);
    assert_ne!(second, first);
    assert_eq!(assert(&alice, 31), second);
    assert_eq!(assert(&bob, 30), second, "the same is said of the same");
    assert_ne!(
        assert(&bob, 30).as_bytes().as_ptr(),
        second.as_bytes().as_ptr(),
        "but nothing is shared"
    );
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_a_new_one() {
    let world = World::signing_with(Algorithm::EdDsa).await;
    let (assertions, alice) = (world.assertions(), identity());
    let later = assertions.assertion(&alice, at(1000)).unwrap();
    assert_ne!(assertions.assertion(&alice, at(999)).unwrap(), later);
}

#[tokio::test]
async fn another_key_and_another_config_make_a_new_one() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Hs256] {
        let world = World::signing_with(algorithm).await;
        let (assertions, alice) = (world.assertions(), identity());
        let kid = |assertions: &UpstreamAssertions| {
            let assertion = assertions.assertion(&alice, NOW).unwrap().unwrap();
            fixture::jws_header(assertion.to_str().unwrap())["kid"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let before = kid(&assertions);
        world
            .keyrings
            .rotate(&world.store, &Entropy::default(), NOW)
            .await
            .unwrap();
        let after = kid(&assertions);
        assert_ne!(after, before, "{algorithm:?}");
        let published = String::from_utf8(world.keyrings.current().jwks().to_vec()).unwrap();
        assert!(
            published.contains(&before) && published.contains(&after),
            "{published}"
        );
        // A reloaded config signs its own.
        let kept = alice.assertions.assertion.load_full().unwrap();
        world.assertions().assertion(&alice, NOW).unwrap();
        assert!(!Arc::ptr_eq(
            &kept,
            &alice.assertions.assertion.load_full().unwrap()
        ));
    }
}

#[tokio::test]
async fn what_cannot_be_signed_is_a_fault_and_counted() {
    let key = token::generate(Algorithm::Hs256, &Entropy::default(), NOW).unwrap();
    let keyrings = Arc::new(Keyrings::fixed(&[key]).unwrap());
    let world = World {
        store: faulty::in_memory(),
        keyrings,
        metrics: Metrics::new(),
    };
    assert_eq!(
        world.assertions().assertion(&identity(), NOW),
        Err(NotSigned)
    );
    assert_eq!(
        world
            .metrics
            .proof_errors
            .with_label_values(&["assertion"])
            .get(),
        1
    );
}

#[test]
fn nothing_is_signed_that_nobody_asked_for() {
    let assertions = UpstreamAssertions::new(None, None, &Metrics::new());
    assert_eq!(assertions.assertion(&identity(), NOW), Ok(None));
    assert_eq!(assertions.backend_token(&identity(), NOW), Ok(None));
}

#[test]
fn what_was_signed_does_not_print_and_is_not_copied() {
    let assertions = CachedAssertions::default();
    assertions.assertion.store(Some(Arc::new(CachedAssertion {
        generation: Arc::default(),
        keys: 0,
        made_at: NOW,
        renew_at: NOW,
        value: HeaderValue::from_static("hunter2"),
    })));
    assert!(!format!("{assertions:?}").contains("hunter2"));
    assert!(assertions.clone().assertion.load().is_none());
}

#[test]
fn a_minted_token_is_signed_once_and_shown_until_half_of_its_life_is_over() {
    let claims = [("sub", "{user.id:text}"), ("jti", "{jti}")]
        .map(|(name, text)| (name.to_owned(), text.to_owned()));
    let config = MintConfig {
        secret: Some(SecretText::new("s".repeat(32))),
        claims: claims.into(),
        ..MintConfig::default()
    };
    let backend_tokens = |prefix: &str| BackendTokenMinter {
        minter: Minter::new(&config).unwrap().unwrap(),
        claims: MintClaims::compile(&config, UserIds::Uuid).unwrap(),
        header: http::header::AUTHORIZATION,
        prefix: prefix.to_owned(),
        entropy: Entropy::default(),
    };
    let assertions =
        UpstreamAssertions::new(None, Some(backend_tokens("Bearer ")), &Metrics::new());
    let (alice, again) = (identity(), identity());
    let mint = |who, secs| {
        let (header, value) = assertions.backend_token(who, at(secs)).unwrap().unwrap();
        assert!(header == "authorization" && value.is_sensitive());
        value.to_str().unwrap().to_owned()
    };
    let first = mint(&alice, 0);
    let text = first.strip_prefix("Bearer ").expect("a prefix");
    assert_eq!(fixture::jws_claims(text)["sub"], "42");
    assert_eq!(mint(&alice, 149), first);
    assert_ne!(mint(&again, 149), first, "each session has its own");
    let second = mint(&alice, 150);
    let jti = |text: &str| {
        fixture::jws_claims(text)["jti"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_ne!(jti(&second), jti(&first));
    assert_eq!(jti(&first).len(), 32);
    // Another config, which may have another key, signs its own.
    let bare = UpstreamAssertions::new(None, Some(backend_tokens("")), &Metrics::new());
    let value = bare.backend_token(&alice, at(151)).unwrap().unwrap().1;
    assert!(value.to_str().unwrap().starts_with("eyJ"));
}
