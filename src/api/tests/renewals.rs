//! The limits of renewals, in every API that has one: clients that share an address do not sign
//! each other out.

use axum::http::Method;
use futures::future::join_all;
use serde_json::json;

use super::world::{Answered, Ask, World};
use crate::config::{Config, DialectConfig, DialectKind, Rate};

/// An API in which a session is renewed.
#[derive(Clone, Copy, Debug)]
enum Api {
    Native,
    Simplejwt,
    Nest,
}

const APIS: [Api; 3] = [Api::Native, Api::Simplejwt, Api::Nest];
/// Well formed, of a session that does not exist.
const FORGED: &str =
    "mrt2_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABub2JvZHk";

impl Api {
    async fn world(self, change: impl FnOnce(&mut Config)) -> World {
        World::with(|config| {
            config.limits.login_per_ip = Rate::per_minute(1000);
            config.limits.refresh_per_ip = Rate::per_minute(2);
            config.dialect = match self {
                Self::Native => vec![],
                Self::Simplejwt => vec![DialectConfig::for_kind(DialectKind::Simplejwt)],
                Self::Nest => vec![DialectConfig::for_kind(DialectKind::Nest)],
            };
            change(config);
        })
        .await
    }

    async fn login(self, world: &World, code: &str) -> String {
        let path = match self {
            Self::Native => "/auth/wechat/login",
            Self::Simplejwt => "/api/login/",
            Self::Nest => "/api/v1/auth/wx-login",
        };
        let answer = world.send(Ask::post(path, &json!({ "code": code }))).await;
        assert_eq!(answer.status.as_u16(), 200, "{self:?}");
        self.token(&answer)
    }

    /// The credential of the next renewal.
    fn token(self, answer: &Answered) -> String {
        let token = match self {
            Self::Native => &answer.body["refresh_token"],
            Self::Simplejwt => &answer.body["refresh"],
            Self::Nest => &answer.body["data"]["access_token"],
        };
        token
            .as_str()
            .unwrap_or_else(|| panic!("no token in {} {}", answer.status, answer.body))
            .to_owned()
    }

    async fn renew(self, world: &World, token: &str) -> Answered {
        world
            .send(match self {
                Self::Native => Ask::post("/auth/refresh", &json!({ "refresh_token": token })),
                Self::Simplejwt => Ask::post("/api/token/refresh/", &json!({ "refresh": token })),
                Self::Nest => Ask::new(Method::POST, "/api/v1/auth/refresh").token(token),
            })
            .await
    }
}

#[tokio::test]
async fn good_renewals_cost_their_address_nothing() {
    for api in APIS {
        let world = api.world(|_| {}).await;
        for person in 0..20 {
            let token = api.login(&world, &format!("person{person}-1")).await;
            // No single flight: ten concurrent requests with the same token.
            let answers = join_all((0..10).map(|_| api.renew(&world, &token))).await;
            assert!(
                answers.iter().all(|answer| answer.status == 200),
                "{api:?} {person}"
            );
        }
        assert_eq!(
            world
                .metrics
                .rate_limited
                .with_label_values(&["refresh_per_ip"])
                .get(),
            0
        );
        // The limit of rejected renewals of the address is still unused.
        let statuses = [
            api.renew(&world, FORGED).await,
            api.renew(&world, FORGED).await,
            api.renew(&world, FORGED).await,
        ];
        assert_eq!(
            statuses.map(|answer| answer.status.as_u16()),
            [401, 401, 429],
            "{api:?}"
        );
    }
}

#[tokio::test]
async fn a_client_that_loops_with_a_bad_token_signs_out_no_neighbour() {
    for api in APIS {
        let world = api.world(|_| {}).await;
        let good = api.login(&world, "alice-1").await;
        let answers = join_all((0..8).map(|_| api.renew(&world, FORGED))).await;
        let refused = answers.iter().filter(|answer| answer.status == 401).count();
        let limited: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 429)
            .collect();
        assert_eq!(
            (refused, limited.len()),
            (2, 6),
            "{api:?}: parallel ones share one budget"
        );
        assert!(limited.iter().all(|answer| answer.wait() == 30), "{api:?}");
        for text in ["", "x", "a.b.c"] {
            let status = api.renew(&world, text).await.status.as_u16();
            assert!(
                matches!(status, 400 | 401 | 429),
                "{api:?} {text:?}: {status}"
            );
        }
        for _ in 0..5 {
            assert_eq!(
                api.renew(&world, &good).await.status,
                200,
                "{api:?}: a good one passes"
            );
        }
        let elsewhere = Ask::post("/auth/refresh", &json!({ "refresh_token": FORGED })).from(9);
        assert_eq!(
            world.send(elsewhere).await.says(),
            (401, "refresh_invalid"),
            "{api:?}: others are others"
        );
    }
}

#[tokio::test]
async fn a_genuine_token_of_an_ended_session_is_told_so_whatever_its_neighbours_do() {
    for api in APIS {
        let world = api.world(|_| {}).await;
        let ended = api.login(&world, "alice-1").await;
        let user = world.store.users(None, 1).await.unwrap().remove(0).id;
        world
            .store
            .revoke(
                &crate::store::RevocationScope::User(user),
                world.clock.now(),
            )
            .await
            .unwrap();
        // It counts against the address like any rejection, but that limit never rejects it.
        for _ in 0..5 {
            let answer = api.renew(&world, &ended).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("x-menshen-error")),
                (401, "session_revoked"),
                "{api:?}"
            );
        }
        assert_eq!(api.renew(&world, FORGED).await.status, 429, "{api:?}");
        assert_eq!(api.renew(&world, &ended).await.status, 401, "{api:?}");
    }
}

#[tokio::test]
async fn a_session_is_renewed_so_often_and_others_are_others() {
    for api in APIS {
        let world = api
            .world(|config| config.limits.refresh_per_session = Rate::per_minute(3))
            .await;
        let (mut mine, other) = (
            api.login(&world, "alice-1").await,
            api.login(&world, "bob-1").await,
        );
        for _ in 0..3 {
            let renewed = api.renew(&world, &mine).await;
            assert_eq!(renewed.status, 200, "{api:?}");
            if let Api::Native | Api::Nest = api {
                mine = api.token(&renewed);
            }
        }
        let over = api.renew(&world, &mine).await;
        assert_eq!((over.status.as_u16(), over.wait()), (429, 20), "{api:?}");
        assert_eq!(api.renew(&world, &other).await.status, 200, "{api:?}");
        world.advance(20);
        assert_eq!(
            api.renew(&world, &mine).await.status,
            200,
            "{api:?}: nothing was lost"
        );
        assert_eq!(
            world
                .metrics
                .rate_limited
                .with_label_values(&["refresh_per_session"])
                .get(),
            1
        );
    }
}

#[tokio::test]
async fn a_fault_of_the_store_is_no_refusal() {
    let world = Api::Native.world(|_| {}).await;
    let good = Api::Native.login(&world, "alice-1").await;
    world.store.close().await.unwrap();
    for token in [&good, FORGED, &good, FORGED, &good] {
        assert_eq!(
            world.refresh(token).await.says(),
            (503, "store_unavailable")
        );
    }
    assert_eq!(
        world.refresh("x").await.says(),
        (401, "refresh_invalid"),
        "none of those counted"
    );
}
