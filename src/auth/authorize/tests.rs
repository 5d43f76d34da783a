//! What `auth::authorize` promises.

use std::time::Duration;

use super::*;
use crate::store::engine_store::{EngineStore, faulty};
use crate::{
    config::{IdentityConfig, TokenConfig},
    entropy::Entropy,
    store::{RevocationEntry, RevocationTarget, User},
    token::{
        AccessTokenOptions, Grant, Issuer, Keyrings, Lifetimes,
        fixture::{self, NOW},
    },
};

struct World {
    store: EngineStore,
    keyrings: Arc<Keyrings>,
    denylist: Arc<Denylist>,
    issuer: Issuer,
    authorizer: Authorizer,
    metrics: Metrics,
}

impl World {
    async fn new(cache_entries: usize) -> Self {
        let (store, config, metrics) =
            (faulty::in_memory(), TokenConfig::default(), Metrics::new());
        let keyrings = Arc::new(
            Keyrings::open(
                &config,
                Lifetimes::from_config(&config),
                &store,
                &Entropy::default(),
                NOW,
            )
            .await
            .unwrap(),
        );
        let denylist = Arc::new(Denylist::new());
        let authorizer = Authorizer::new(
            Verifier::new(
                Arc::clone(&keyrings),
                &config,
                Lifetimes::from_config(&config),
            ),
            Arc::default(),
            Arc::clone(&denylist),
            IdentityHeaders::compile(&IdentityConfig::default()).unwrap(),
            cache_entries,
            &metrics,
        );
        let issuer = Issuer::new(Arc::clone(&keyrings), &config, Entropy::default());
        Self {
            store,
            keyrings,
            denylist,
            issuer,
            authorizer,
            metrics,
        }
    }

    fn token_of(&self, user: &User) -> String {
        self.issuer
            .access(
                &Grant {
                    user,
                    session: &fixture::session(),
                    global_epoch: 1,
                },
                &AccessTokenOptions::default(),
                NOW,
            )
            .unwrap()
            .text
    }

    fn token(&self) -> String {
        self.token_of(&fixture::user())
    }

    fn revoke(&self, target: RevocationTarget) {
        self.denylist.apply(&RevocationEntry { at: NOW, target });
    }

    fn counted(&self) -> Vec<(&'static str, u64)> {
        ["cached", "verified", "invalid", "expired", "revoked"]
            .into_iter()
            .map(|result| {
                (
                    result,
                    self.metrics.token_checks.with_label_values(&[result]).get(),
                )
            })
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

#[tokio::test]
async fn a_token_seen_before_is_the_same_identity_without_another_check() {
    let world = World::new(10).await;
    let token = world.token();
    let first = world.authorizer.authorize(&token, NOW).unwrap();
    let again = world.authorizer.authorize(&token, NOW).unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    let headers: Vec<String> = first
        .headers
        .iter()
        .map(|(n, v)| format!("{n}: {}", v.to_str().unwrap()))
        .collect();
    assert_eq!(
        headers,
        [
            "x-client-type: web",
            "x-session-id: 00000000000000000000000000000abc",
            "x-user-id: 42",
            "x-user-type: user"
        ]
    );
    assert_eq!(world.counted(), [("cached", 1), ("verified", 1)]);
}

#[tokio::test]
async fn a_remembered_token_still_expires() {
    for cache_entries in [0, 10] {
        let world = World::new(cache_entries).await;
        let token = world.token();
        let end = NOW.plus(Duration::from_secs(900 + 30));
        assert!(world.authorizer.authorize(&token, NOW).is_ok());
        assert!(
            world
                .authorizer
                .authorize(&token, end.minus(Duration::from_millis(1)))
                .is_ok()
        );
        assert_eq!(
            world.authorizer.authorize(&token, end),
            Err(ErrorCode::TokenExpired)
        );
        assert_eq!(world.counted().last(), Some(&("expired", 1)));
    }
}

#[tokio::test]
async fn a_revocation_bites_whether_or_not_the_token_was_seen_before() {
    for seen in [false, true] {
        for target in [
            RevocationTarget::Session(fixture::session().id),
            RevocationTarget::User {
                id: fixture::user().id,
                epoch: 4,
            },
            RevocationTarget::Everything { epoch: 2 },
        ] {
            let world = World::new(10).await;
            let token = world.token();
            if seen {
                assert!(world.authorizer.authorize(&token, NOW).is_ok());
            }
            world.revoke(target.clone());
            for _ in 0..3 {
                assert_eq!(
                    world.authorizer.authorize(&token, NOW),
                    Err(ErrorCode::TokenRevoked),
                    "{target:?} {seen}"
                );
            }
            assert_eq!(world.counted().last(), Some(&("revoked", 3)));
        }
    }
}

/// Its client refreshes it, and the store knows whether its session goes on.
#[tokio::test]
async fn a_token_that_a_line_which_cannot_be_read_may_reject_is_expired() {
    let world = World::new(10).await;
    let token = world.token();
    assert!(world.authorizer.authorize(&token, NOW).is_ok());
    world.authorizer.denylist.doubt_until(NOW);
    assert_eq!(
        world.authorizer.authorize(&token, NOW),
        Err(ErrorCode::TokenExpired)
    );
    assert_eq!(world.counted().last(), Some(&("expired", 1)));
    let (claims, proof) = world.authorizer.verify_for_logout(&token, NOW).unwrap();
    assert_eq!(claims.sid, fixture::session().id, "it can still sign out");
    assert_eq!(proof, LogoutProof::ExpiredAccessToken);
}

#[tokio::test]
async fn a_token_of_a_removed_key_is_refused_though_it_was_seen() {
    let world = World::new(10).await;
    let token = world.token();
    assert!(world.authorizer.authorize(&token, NOW).is_ok());
    world
        .keyrings
        .rotate(&world.store, &Entropy::default(), NOW)
        .await
        .unwrap();
    assert!(
        world.authorizer.authorize(&token, NOW).is_ok(),
        "the replaced key still verifies"
    );
    assert!(world.authorizer.authorize(&token, NOW).is_ok());
    assert_eq!(
        world.counted(),
        [("cached", 1), ("verified", 2)],
        "a change of keys makes every token be verified again"
    );
    let dead = NOW.plus(Duration::from_hours(24));
    assert_eq!(
        world
            .keyrings
            .retire(&world.store, dead)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        world.authorizer.authorize(&token, NOW),
        Err(ErrorCode::TokenInvalid)
    );
}

#[tokio::test]
async fn what_was_refused_is_not_remembered() {
    let world = World::new(10).await;
    let token = world.token();
    for text in [
        String::new(),
        "a.b.c".to_owned(),
        format!("{token}x"),
        token[..token.len() - 1].to_owned(),
    ] {
        for _ in 0..2 {
            assert_eq!(
                world.authorizer.authorize(&text, NOW),
                Err(ErrorCode::TokenInvalid),
                "{text:?}"
            );
        }
    }
    assert_eq!(world.counted(), [("invalid", 8)]);
    assert_eq!(world.authorizer.cache.len(), 0);
}

#[tokio::test]
async fn a_claim_that_cannot_be_a_header_refuses_the_token() {
    let world = World::new(10).await;
    let user = User {
        roles: vec!["a\r\nX-User-Id: 1".to_owned()],
        ..fixture::user()
    };
    assert_eq!(
        world.authorizer.authorize(&world.token_of(&user), NOW),
        Err(ErrorCode::TokenInvalid)
    );
    assert_eq!(world.counted(), [("invalid", 1)]);
}

#[tokio::test]
async fn a_key_made_elsewhere_works_after_the_reload_that_its_token_asked_for() {
    let (here, config) = (World::new(10).await, TokenConfig::default());
    let there = Arc::new(
        Keyrings::open(
            &config,
            Lifetimes::from_config(&config),
            &here.store,
            &Entropy::default(),
            NOW,
        )
        .await
        .unwrap(),
    );
    there
        .rotate(&here.store, &Entropy::default(), NOW)
        .await
        .unwrap();
    let issuer = Issuer::new(there, &config, Entropy::default());
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
        .unwrap()
        .text;
    assert_eq!(
        here.authorizer.authorize(&token, NOW),
        Err(ErrorCode::TokenInvalid)
    );
    assert!(
        here.keyrings.reload_was_requested(),
        "somebody has to read the keys again"
    );
    here.keyrings.reload(&here.store, NOW).await.unwrap();
    assert!(here.authorizer.authorize(&token, NOW).is_ok());
}
