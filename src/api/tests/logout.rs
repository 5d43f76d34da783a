//! Logout: which credential ends which session.

use axum::http::Method;
use serde_json::{Value, json};

use super::world::{Answered, Ask, World};
use crate::{
    config::{DialectConfig, DialectKind, Rate},
    telemetry::LogCapture,
};

const DAY: u64 = 24 * 3600;

fn logout(body: &Value) -> Ask {
    Ask::post("/auth/logout", body)
}

/// Whether the session is still active.
async fn lives(world: &World, signed_in: &Answered) -> bool {
    world.refresh(signed_in.text("refresh_token")).await.status == 200
}

/// The token with another last character.
fn forged(token: &str) -> String {
    let mut forged = token.to_owned();
    let last = if forged.pop() == Some('A') { 'Q' } else { 'A' };
    forged.push(last);
    forged
}

#[tokio::test]
async fn an_expired_access_token_ends_its_own_session_and_no_more() {
    let log_capture = LogCapture::start();
    let world = World::new().await;
    let (one, two, bystander) = (
        world.login("alice-1").await,
        world.login("alice-2").await,
        world.login("bob-1").await,
    );
    world.advance(DAY);
    assert_eq!(world.me(&one).await.says(), (401, "token_expired"));
    for scope in ["others", "global"] {
        assert_eq!(
            world
                .send(logout(&json!({ "scope": scope })).by(&one))
                .await
                .says(),
            (401, "token_expired")
        );
    }
    let forged = logout(&json!({})).token(&forged(one.text("access_token")));
    assert_eq!(
        world.send(forged).await.says(),
        (401, "token_expired"),
        "not genuine, which is not told"
    );
    assert_eq!(world.audited("logout"), 0);
    for body in [json!({}), json!({ "scope": "local" })] {
        let signed_in = if body == json!({}) { &one } else { &two };
        assert_eq!(
            world.send(logout(&body).by(signed_in)).await.says(),
            (204, ""),
            "{body}"
        );
        assert_eq!(
            world.send(logout(&body).by(signed_in)).await.says(),
            (401, "token_revoked"),
            "as a good one is told"
        );
        assert!(!lives(&world, signed_in).await);
    }
    assert!(lives(&world, &bystander).await);
    assert_eq!(world.audited("logout"), 2);
    assert!(
        log_capture.finish().contains("expired_access_token"),
        "and says how"
    );
}

#[tokio::test]
async fn a_refresh_token_is_enough_to_end_its_session() {
    let log_capture = LogCapture::start();
    let world = World::new().await;
    let first = world.login("alice-1").await;
    let (older, bystander) = (first.text("refresh_token"), world.login("alice-2").await);
    let newest = world.refresh(older).await;
    let newest = world.refresh(newest.text("refresh_token")).await;
    // Any token of the session: reuse of one that was replaced long ago ends the session too.
    assert_eq!(
        world
            .send(logout(&json!({ "refresh_token": older })))
            .await
            .says(),
        (204, "")
    );
    assert!(!lives(&world, &newest).await);
    assert_eq!(
        world.me(&newest).await.says(),
        (401, "token_revoked"),
        "at once"
    );
    assert_eq!(
        world
            .send(logout(&json!({ "refresh_token": older })))
            .await
            .says(),
        (204, ""),
        "once more"
    );
    assert!(lives(&world, &bystander).await);
    assert_eq!(world.audited("logout"), 1);
    let said = log_capture.finish();
    assert!(
        said.contains("proof=\"refresh_token\"") && !said.contains(older),
        "{said}"
    );
}

#[tokio::test]
async fn a_refresh_token_that_is_not_known_ends_nothing_and_is_no_error() {
    let (world, other) = (World::new().await, World::new().await);
    let (mine, foreign) = (world.login("alice-1").await, other.login("alice-1").await);
    let forged = forged(mine.text("refresh_token"));
    for text in [
        "x",
        &forged,
        foreign.text("refresh_token"),
        mine.text("access_token"),
        &"a".repeat(9000),
    ] {
        assert_eq!(
            world
                .send(logout(&json!({ "refresh_token": text })))
                .await
                .says(),
            (204, "")
        );
    }
    for none in [
        json!({ "refresh_token": "" }),
        json!({ "refresh_token": null }),
        json!({}),
    ] {
        assert_eq!(
            world.send(logout(&none)).await.says(),
            (401, "token_missing"),
            "{none}"
        );
    }
    for scope in ["others", "global"] {
        let more = logout(&json!({ "scope": scope, "refresh_token": mine.text("refresh_token") }));
        assert_eq!(
            world.send(more).await.says(),
            (401, "token_missing"),
            "{scope}"
        );
    }
    let wrong = world.send(logout(&json!({ "refresh_token": 7 }))).await;
    assert_eq!(
        (wrong.says(), wrong.wrong_fields()),
        ((400, "validation_failed"), vec!["refresh_token"])
    );
    assert!(lives(&world, &mine).await);
    assert_eq!(world.audited("logout"), 0);
}

#[tokio::test]
async fn both_tokens_end_both_sessions_but_not_beyond_what_was_asked() {
    let world = World::new().await;
    let sessions = async || {
        (
            world.login("alice-1").await,
            world.login("alice-2").await,
            world.login("alice-3").await,
        )
    };
    let world_refresh = |of: &Answered| of.text("refresh_token").to_owned();
    let (one, two, three) = sessions().await;
    let both = logout(&json!({ "refresh_token": world_refresh(&two) })).by(&one);
    assert_eq!(world.send(both).await.says(), (204, ""));
    assert_eq!(
        (
            lives(&world, &one).await,
            lives(&world, &two).await,
            lives(&world, &three).await
        ),
        (false, false, true)
    );
    // Its own refresh token in the same request does not end the session that is kept.
    let others =
        logout(&json!({ "scope": "others", "refresh_token": world_refresh(&three) })).by(&three);
    assert_eq!(world.send(others).await.says(), (204, ""));
    assert!(lives(&world, &three).await);
}

#[tokio::test]
async fn what_is_shown_beside_a_refresh_token_does_not_keep_it_from_ending_its_session() {
    let world = World::new().await;
    for (n, header) in [
        "",
        "Bearer",
        "Bearer undefined",
        "Bearer x.y.z",
        "Basic YTpi",
    ]
    .iter()
    .enumerate()
    {
        let signed_in = world.login(&format!("alice-{n}")).await;
        let body = json!({ "refresh_token": signed_in.text("refresh_token") });
        assert_eq!(
            world
                .send(logout(&body).header("authorization", header))
                .await
                .says(),
            (204, ""),
            "{header}"
        );
        assert!(!lives(&world, &signed_in).await, "{header}");
    }
    let signed_in = world.login("alice-9").await;
    let body = json!({ "refresh_token": signed_in.text("refresh_token") });
    let two = logout(&body).by(&signed_in).by(&signed_in);
    assert_eq!(
        world.send(two).await.says(),
        (400, "request_malformed"),
        "two readings are none"
    );
    assert!(lives(&world, &signed_in).await);
}

#[tokio::test]
async fn a_session_that_ended_stays_ended_and_a_fault_is_a_fault() {
    let world = World::new().await;
    let (one, two) = (world.login("alice-1").await, world.login("alice-2").await);
    assert_eq!(
        world
            .send(logout(&json!({ "scope": "global" })).by(&one))
            .await
            .says(),
        (204, "")
    );
    world.advance(DAY);
    assert_eq!(
        world.send(logout(&json!({})).by(&two)).await.says(),
        (401, "token_revoked")
    );
    let by_refresh_token = || logout(&json!({ "refresh_token": two.text("refresh_token") }));
    assert_eq!(
        world.send(by_refresh_token().by(&two)).await.says(),
        (204, ""),
        "nothing is left to end"
    );
    assert_eq!(world.audited("logout"), 1);
    // Past its absolute expiry, when no replica keeps its revocation any more.
    let old = world.login("bob-1").await;
    world.advance(200 * DAY);
    assert_eq!(
        world.send(logout(&json!({})).by(&old)).await.says(),
        (204, "")
    );
    let bob = world.login("bob-2").await;
    world.store.close().await.unwrap();
    assert_eq!(
        world.send(by_refresh_token()).await.says(),
        (503, "store_unavailable")
    );
    assert_eq!(
        world.send(logout(&json!({})).by(&bob)).await.says(),
        (503, "store_unavailable")
    );
}

#[tokio::test]
async fn signing_out_is_limited_by_address() {
    let world = World::with(|config| config.limits.api_per_ip = Rate::per_minute(2)).await;
    let attempt = || logout(&json!({ "refresh_token": "x" }));
    let answers = [
        world.send(attempt()).await,
        world.send(attempt()).await,
        world.send(attempt()).await,
    ];
    assert_eq!(
        answers.each_ref().map(|answer| answer.status.as_u16()),
        [204, 204, 429]
    );
}

#[tokio::test]
async fn the_token_that_renews_a_session_of_nest_signs_out_of_it_too() {
    let world =
        World::with(|config| config.dialect = vec![DialectConfig::for_kind(DialectKind::Nest)])
            .await;
    let login = world
        .send(Ask::post(
            "/api/v1/auth/wx-login",
            &json!({ "code": "alice-1" }),
        ))
        .await;
    let token = login.body["data"]["access_token"].as_str().unwrap();
    let ask = |path: &str| Ask::new(Method::POST, path).token(token);
    world.advance(8 * DAY);
    assert_eq!(
        world.send(Ask::get("/auth/me").token(token)).await.says(),
        (401, "token_expired")
    );
    assert_eq!(
        world.send(ask("/api/v1/auth/refresh")).await.status,
        200,
        "its session lives"
    );
    let out = world.send(ask("/api/v1/auth/logout")).await;
    assert_eq!(
        (out.status.as_u16(), &out.body["message"]),
        (200, &json!("退出成功"))
    );
    let refused = world.send(ask("/api/v1/auth/refresh")).await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("x-menshen-error")),
        (401, "session_revoked")
    );
    let again = world.send(ask("/api/v1/auth/logout")).await;
    assert_eq!(
        (again.status.as_u16(), again.header("x-menshen-error")),
        (401, "token_revoked")
    );
    for (header, code) in [
        ("", "token_missing"),
        ("Bearer", "token_invalid"),
        ("Bearer undefined", "token_invalid"),
    ] {
        let ask = Ask::new(Method::POST, "/api/v1/auth/logout").header("authorization", header);
        let answer = world.send(ask).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-menshen-error")),
            (401, code),
            "{header:?}"
        );
        assert_eq!(
            answer.body["message"] == "请先登录",
            header.is_empty(),
            "{header:?}"
        );
    }
}
