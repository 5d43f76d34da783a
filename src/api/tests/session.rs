//! The lifecycle of a session.

use axum::http::Method;
use serde_json::{Value, json};

use super::world::{Answered, Ask, World};
use crate::config::{HumanDuration, Rate};

async fn me(world: &World, signed_in: &Answered) -> u16 {
    world
        .send(Ask::get("/auth/me").by(signed_in))
        .await
        .status
        .as_u16()
}

async fn logout(world: &World, signed_in: &Answered, scope: &str) -> u16 {
    world
        .send(Ask::post("/auth/logout", &json!({ "scope": scope })).by(signed_in))
        .await
        .status
        .as_u16()
}

#[tokio::test]
async fn a_refresh_token_is_traded_for_its_successor() {
    let world = World::new().await;
    let first = world.login("alice-1").await;
    let second = world.refresh(first.text("refresh_token")).await;
    assert_eq!(second.says(), (200, ""));
    assert_eq!(
        (second.header("cache-control"), second.header("pragma")),
        ("no-store", "no-cache")
    );
    assert_eq!(
        (&second.body["is_new_user"], &second.body["user"]["id"]),
        (&json!(false), &first.body["user"]["id"])
    );
    assert_ne!(second.text("refresh_token"), first.text("refresh_token"));

    let replayed = world.refresh(first.text("refresh_token")).await;
    assert_eq!(
        replayed.text("refresh_token"),
        second.text("refresh_token"),
        "the same successor, until it is used"
    );
    let third = world.refresh(second.text("refresh_token")).await;
    assert_eq!(third.says(), (200, ""));
    assert_eq!(
        world.refresh(first.text("refresh_token")).await.says(),
        (401, "refresh_reused")
    );
    assert_eq!(
        world.refresh(third.text("refresh_token")).await.says(),
        (401, "session_revoked"),
        "reuse ends the session"
    );
    assert_eq!(me(&world, &third).await, 401);
    for (result, times) in [
        ("rotated", 2),
        ("replayed", 1),
        ("reused", 1),
        ("revoked", 1),
    ] {
        assert_eq!(
            world.metrics.refresh.with_label_values(&[result]).get(),
            times,
            "{result}"
        );
    }
    assert_eq!(
        world
            .metrics
            .revocations
            .with_label_values(&["reuse"])
            .get(),
        1
    );
    assert_eq!(
        world
            .metrics
            .audit_events
            .with_label_values(&["refresh.reused"])
            .get(),
        1
    );
}

#[tokio::test]
async fn what_is_no_refresh_token_of_ours_refreshes_nothing() {
    let world = World::new().await;
    let other = World::new().await;
    let signed_in = world.login("alice-1").await;
    let token = signed_in.text("refresh_token");
    let mut changed = token.to_owned();
    let last = if changed.pop() == Some('A') { 'Q' } else { 'A' };
    changed.push(last);
    let foreign = other.login("alice-1").await;
    for text in [
        "",
        "x",
        &changed,
        signed_in.text("access_token"),
        foreign.text("refresh_token"),
        &"a".repeat(9000),
    ] {
        assert_eq!(world.refresh(text).await.says(), (401, "refresh_invalid"));
    }
    assert_eq!(world.refresh(token).await.says(), (200, ""));
}

#[tokio::test]
async fn an_idle_session_ends() {
    let world = World::with(|config| config.tokens.idle_ttl = HumanDuration::days(1)).await;
    let signed_in = world.login("alice-1").await;
    world.advance(86_401);
    assert_eq!(
        world.refresh(signed_in.text("refresh_token")).await.says(),
        (401, "refresh_invalid")
    );
    assert_eq!(
        world.metrics.refresh.with_label_values(&["expired"]).get(),
        1
    );
}

#[tokio::test]
async fn signing_out_bites_at_once() {
    for (scope, mine, other) in [
        ("local", 401, 200),
        ("others", 200, 401),
        ("global", 401, 401),
    ] {
        let world = World::new().await;
        let (one, two) = (world.login("alice-1").await, world.login("alice-2").await);
        let bystander = world.login("bob-1").await;
        assert_eq!(logout(&world, &one, scope).await, 204, "{scope}");
        assert_eq!(
            (me(&world, &one).await, me(&world, &two).await),
            (mine, other),
            "{scope}"
        );
        let refreshed = world
            .refresh(two.text("refresh_token"))
            .await
            .status
            .as_u16();
        assert_eq!(refreshed, other, "{scope}");
        assert_eq!(me(&world, &bystander).await, 200, "{scope}");
        assert_eq!(
            world
                .metrics
                .audit_events
                .with_label_values(&["logout"])
                .get(),
            1
        );
    }
}

#[tokio::test]
async fn signing_out_needs_no_body_but_a_right_one() {
    let world = World::new().await;
    let signed_in = world.login("alice-1").await;
    let wrong = world
        .send(Ask::post("/auth/logout", &json!({ "scope": "all" })).by(&signed_in))
        .await;
    assert_eq!(
        (wrong.says(), wrong.wrong_fields()),
        ((400, "validation_failed"), vec!["scope"])
    );
    assert_eq!(
        world
            .send(Ask::new(Method::POST, "/auth/logout").by(&signed_in))
            .await
            .says(),
        (204, "")
    );
    let again = world
        .send(Ask::new(Method::POST, "/auth/logout").by(&signed_in))
        .await;
    assert_eq!(again.says(), (401, "token_revoked"));
}

#[tokio::test]
async fn my_devices_are_listed_and_can_be_signed_out() {
    let world = World::new().await;
    let one = world.login("alice-1").await;
    world.advance(60);
    let two = world.login("alice-2").await;
    let bystander = world.login("bob-1").await;
    let list = world.send(Ask::get("/auth/sessions").by(&one)).await;
    let sessions = list.body["sessions"].as_array().unwrap();
    let current: Vec<_> = sessions.iter().map(|session| &session["current"]).collect();
    assert_eq!(current, [&json!(false), &json!(true)], "newest login first");
    assert_eq!(sessions[0]["client_type"], "miniprogram");

    let end = |sid: &Value, by: &Answered| {
        let path = format!("/auth/sessions/{}", sid.as_str().unwrap());
        world.send(Ask::new(Method::DELETE, &path).by(by))
    };
    assert_eq!(
        end(&sessions[0]["id"], &bystander).await.says(),
        (404, "not_found"),
        "not theirs"
    );
    assert_eq!(me(&world, &two).await, 200);
    assert_eq!(end(&sessions[0]["id"], &one).await.says(), (204, ""));
    assert_eq!(me(&world, &two).await, 401);
    assert_eq!(
        end(&sessions[0]["id"], &one).await.says(),
        (404, "not_found"),
        "no more"
    );
    for sid in ["x", "00000000000000000000000000000000", "%ff", "%00"] {
        assert_eq!(
            end(&json!(sid), &one).await.says(),
            (404, "not_found"),
            "{sid}"
        );
    }
    assert_eq!(
        world
            .metrics
            .revocations
            .with_label_values(&["session_ended"])
            .get(),
        1
    );
}

#[tokio::test]
async fn a_profile_is_changed_as_a_merge_patch() {
    let world = World::new().await;
    let signed_in = world.login("alice-1").await;
    let patch = async |body: Value| {
        world
            .send(
                Ask::new(Method::PATCH, "/auth/me")
                    .json(&body)
                    .by(&signed_in),
            )
            .await
    };
    let all = json!({ "nickname": " 小明 ", "avatar_url": "https://x.example/a", "bio": "one\ntwo", "birthday": "2000-02-29" });
    let changed = patch(all).await;
    assert_eq!(
        (changed.text("nickname"), changed.text("birthday")),
        ("小明", "2000-02-29")
    );
    let changed = patch(json!({ "bio": null, "unknown": 1, "nickname": "微信用户" })).await;
    assert_eq!(
        (&changed.body["bio"], changed.text("nickname")),
        (&json!(null), "小明")
    );
    assert_eq!(patch(json!({})).await.body, changed.body);
    assert_eq!(
        world.send(Ask::get("/auth/me").by(&signed_in)).await.body,
        changed.body
    );

    let wrong = json!({ "nickname": "", "avatar_url": "x", "bio": 5, "birthday": "2001-02-29" });
    let wrong = patch(wrong).await;
    assert_eq!(wrong.says(), (400, "validation_failed"));
    assert_eq!(
        wrong.wrong_fields(),
        ["nickname", "avatar_url", "bio", "birthday"]
    );
    let merge = Ask::new(Method::PATCH, "/auth/me")
        .header("content-type", "application/merge-patch+json")
        .by(&signed_in);
    assert_eq!(
        world.send(merge.raw(r#"{"nickname":null}"#)).await.body["nickname"],
        json!(null)
    );
    assert_eq!(
        world
            .metrics
            .audit_events
            .with_label_values(&["profile.changed"])
            .get(),
        3
    );
}

#[tokio::test]
async fn without_a_good_token_there_is_a_challenge() {
    let world = World::new().await;
    let signed_in = world.login("alice-1").await;
    for (method, path) in [
        (Method::GET, "/auth/me"),
        (Method::PATCH, "/auth/me"),
        (Method::GET, "/auth/sessions"),
        (Method::DELETE, "/auth/sessions/x"),
        (Method::POST, "/auth/logout"),
    ] {
        let ask = || Ask::new(method.clone(), path);
        assert_eq!(
            world.send(ask()).await.says(),
            (401, "token_missing"),
            "{path}"
        );
        assert_eq!(
            world
                .send(ask().header("authorization", "Bearer x"))
                .await
                .says(),
            (401, "token_invalid"),
            "{path}"
        );
        let two = ask().by(&signed_in).by(&signed_in);
        assert_eq!(
            world.send(two).await.says(),
            (400, "request_malformed"),
            "{path}"
        );
    }
    let refresh = Ask::get("/auth/me").header(
        "authorization",
        &format!("Bearer {}", signed_in.text("refresh_token")),
    );
    assert_eq!(
        world.send(refresh).await.says(),
        (401, "token_invalid"),
        "a refresh token is no access token"
    );
    world.advance(24 * 3600);
    assert_eq!(
        world.send(Ask::get("/auth/me").by(&signed_in)).await.says(),
        (401, "token_expired")
    );
}

#[tokio::test]
async fn signing_out_everywhere_cannot_be_held_up() {
    let world = World::with(|config| config.limits.account_per_user = Rate::per_minute(1)).await;
    let (owner, thief) = (world.login("alice-1").await, world.login("alice-1").await);
    let change = Ask::new(Method::PATCH, "/auth/me").json(&json!({}));
    assert_eq!(world.send(change.by(&thief)).await.says(), (200, ""));
    let sign_out = |scope| {
        Ask::new(Method::POST, "/auth/logout")
            .json(&json!({ "scope": scope }))
            .by(&owner)
    };
    assert_eq!(
        world.send(sign_out("others")).await.says(),
        (429, "rate_limited")
    );
    assert_eq!(world.send(sign_out("global")).await.says(), (204, ""));
    assert_eq!(
        world.send(Ask::get("/auth/me").by(&thief)).await.says(),
        (401, "token_revoked")
    );
}

#[tokio::test]
async fn every_route_has_its_limit() {
    let world = World::with(|config| {
        config.limits.refresh_per_ip = Rate::per_minute(1);
        config.limits.refresh_per_session = Rate::per_minute(1);
        config.limits.api_per_ip = Rate::per_minute(8);
        config.limits.account_per_user = Rate::per_minute(1);
    })
    .await;
    let signed_in = world.login("alice-1").await;
    world.refresh("x").await;
    assert_eq!(world.refresh("x").await.says(), (429, "rate_limited"));
    let renewed = world.refresh(signed_in.text("refresh_token")).await;
    assert_eq!(renewed.says(), (200, ""), "a good one passes all the same");
    let once_more = world.refresh(renewed.text("refresh_token")).await;
    assert_eq!(
        (once_more.says(), once_more.wait()),
        ((429, "rate_limited"), 60)
    );

    let change = || {
        Ask::new(Method::PATCH, "/auth/me")
            .json(&json!({ "bio": "b" }))
            .by(&signed_in)
    };
    assert_eq!(world.send(change()).await.says(), (200, ""));
    let limited = world.send(change()).await;
    assert_eq!(
        (limited.says(), limited.header("retry-after")),
        ((429, "rate_limited"), "60")
    );
    assert_eq!(
        world
            .send(Ask::new(Method::POST, "/auth/logout").by(&signed_in))
            .await
            .says(),
        (429, "rate_limited")
    );

    for path in ["/auth/me", "/auth/sessions"] {
        assert_eq!(
            world.send(Ask::get(path).by(&signed_in)).await.says(),
            (200, "")
        );
    }
    for path in ["/auth/jwks.json", "/auth/openapi.json"] {
        assert_eq!(world.send(Ask::get(path)).await.says(), (200, ""));
    }
    assert_eq!(
        world.send(Ask::get("/auth/me")).await.says(),
        (401, "token_missing")
    );
    for path in [
        "/auth/me",
        "/auth/sessions",
        "/auth/jwks.json",
        "/auth/openapi.json",
    ] {
        assert_eq!(
            world.send(Ask::get(path).by(&signed_in)).await.says(),
            (429, "rate_limited"),
            "{path}"
        );
    }
    for (limit, times) in [
        ("refresh_per_ip", 1),
        ("refresh_per_session", 1),
        ("account_per_user", 2),
        ("api_per_ip", 4),
    ] {
        assert_eq!(
            world.metrics.rate_limited.with_label_values(&[limit]).get(),
            times,
            "{limit}"
        );
    }
}
