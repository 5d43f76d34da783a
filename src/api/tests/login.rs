//! Login with WeChat.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use super::world::{APP, Ask, World};
use crate::config::{Config, Mode, Rate, Registration, UserIds};

#[tokio::test]
async fn a_code_becomes_a_session() {
    let world = World::new().await;
    let answer = world.login("alice-1").await;
    assert_eq!(answer.says(), (200, ""));
    assert_eq!(
        (answer.header("cache-control"), answer.header("pragma")),
        ("no-store", "no-cache")
    );
    let mut names: Vec<_> = answer.body.as_object().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "access_token",
            "expires_in",
            "is_new_user",
            "refresh_expires_in",
            "refresh_token",
            "token_type",
            "user"
        ]
    );
    assert_eq!(answer.text("token_type"), "Bearer");
    assert_eq!(
        (
            &answer.body["expires_in"],
            &answer.body["refresh_expires_in"]
        ),
        (&json!(900), &json!(2_592_000))
    );
    assert_eq!(answer.body["is_new_user"], true);
    let user = &answer.body["user"];
    let mut names: Vec<_> = user.as_object().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "avatar_url",
            "created_at",
            "id",
            "last_login_at",
            "nickname",
            "phone_masked",
            "user_type"
        ]
    );
    assert_eq!(
        (&user["user_type"], &user["created_at"]),
        (&json!("user"), &json!("2027-01-15T08:00:00Z"))
    );

    let again = world.login("alice-2").await;
    assert_eq!(again.body["is_new_user"], false);
    assert_eq!(again.body["user"]["id"], user["id"]);
    assert_ne!(again.text("refresh_token"), answer.text("refresh_token"));
    assert_eq!(
        world
            .metrics
            .logins
            .with_label_values(&["wechat", "success"])
            .get(),
        2
    );
    assert_eq!(world.metrics.sessions_opened.get(), 2);
}

#[tokio::test]
async fn parallel_posts_of_one_code_share_one_call_and_one_answer() {
    let world = World::new().await;
    let answers = join_all((0..20).map(|_| world.login("slow.50-1"))).await;
    assert_eq!(world.wechat.calls(), 1);
    for answer in &answers {
        assert_eq!(answer.says(), (200, ""));
        assert_eq!(answer.body, answers[0].body);
    }
    assert_eq!(world.metrics.sessions_opened.get(), 1);
}

#[tokio::test]
async fn a_code_is_the_same_answer_for_ten_seconds_and_then_spent() {
    let world = World::new().await;
    let first = world.login("alice-1").await;
    world.advance(10);
    assert_eq!(world.login("alice-1").await.body, first.body);
    world.advance(1);
    assert_eq!(
        world.login("alice-1").await.says(),
        (401, "wechat_code_invalid")
    );
    world.auth.evict_expired();
    assert_eq!(
        world.login("alice-1").await.says(),
        (401, "wechat_code_invalid"),
        "the store remembers"
    );
    assert_eq!(world.wechat.calls(), 1);
}

#[tokio::test]
async fn a_code_from_elsewhere_is_spent_even_while_it_is_being_used() {
    let world = World::new().await;
    let login = |from: u8| {
        world.send(Ask::post("/auth/wechat/login", &json!({ "code": "slow.50-1" })).from(from))
    };
    let (home, elsewhere) = tokio::join!(login(1), login(2));
    assert_eq!(
        (home.says(), elsewhere.says()),
        ((200, ""), (401, "wechat_code_invalid"))
    );
    assert_eq!(login(2).await.says(), (401, "wechat_code_invalid"));
    assert_eq!(world.wechat.calls(), 1);
}

#[tokio::test]
async fn each_failure_of_wechat_has_its_code() {
    let world = World::with(|config| config.limits.enabled = false).await;
    for (code, says, retry_after) in [
        ("fail.40029", (401, "wechat_code_invalid"), ""),
        ("fail.40163", (401, "wechat_code_invalid"), ""),
        ("fail.40226", (403, "wechat_blocked"), ""),
        ("fail.45011", (429, "rate_limited"), "60"),
        ("fail.40125", (503, "wechat_misconfigured"), "60"),
        ("busy", (503, "wechat_busy"), "1"),
        ("empty", (503, "wechat_busy"), "2"),
        ("garbage", (503, "wechat_busy"), "2"),
        ("huge", (503, "wechat_busy"), "2"),
        ("slow.9000", (503, "wechat_busy"), "2"),
    ] {
        let answer = world.login(code).await;
        assert_eq!(answer.says(), says, "{code}");
        assert_eq!(answer.header("retry-after"), retry_after, "{code}");
        assert!(
            world
                .metrics
                .logins
                .with_label_values(&["wechat", says.1])
                .get()
                > 0,
            "{code}"
        );
    }
    assert_eq!(world.metrics.sessions_opened.get(), 0);
}

#[tokio::test]
async fn a_failure_of_the_moment_does_not_spend_the_code() {
    let world = World::new().await;
    assert_eq!(world.login("busy").await.says(), (503, "wechat_busy"));
    assert_eq!(world.login("busy").await.says(), (503, "wechat_busy"));
    assert_eq!(
        world.wechat.calls_for("busy"),
        4,
        "each login asks, and once more after errcode -1"
    );
    assert_eq!(
        world.login("fail.40029").await.says(),
        (401, "wechat_code_invalid")
    );
    world.advance(60);
    assert_eq!(
        world.login("fail.40029").await.says(),
        (401, "wechat_code_invalid")
    );
    assert_eq!(
        world.wechat.calls_for("fail.40029"),
        1,
        "a refused code is not asked about again"
    );
}

#[tokio::test]
async fn a_store_that_is_down_is_a_503_before_wechat_uses_the_code_up() {
    let world = World::new().await;
    let signed_in = world.login("alice-1").await;
    world.store.close().await.unwrap();
    let calls = world.wechat.calls();
    for answer in [
        world.login("bob-1").await,
        world.refresh(signed_in.text("refresh_token")).await,
        world.send(Ask::get("/auth/me").by(&signed_in)).await,
        world.send(Ask::get("/auth/sessions").by(&signed_in)).await,
        world
            .send(Ask::post("/auth/logout", &json!({})).by(&signed_in))
            .await,
    ] {
        assert_eq!(answer.says(), (503, "store_unavailable"));
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=5).contains(&wait));
    }
    assert_eq!(world.wechat.calls(), calls);
}

#[tokio::test]
async fn logins_are_limited_for_each_address() {
    let world = World::with(|config| config.limits.login_per_ip = Rate::per_minute(2)).await;
    let login = |from: u8, n: usize| {
        world.send(
            Ask::post(
                "/auth/wechat/login",
                &json!({ "code": format!("alice-{from}{n}") }),
            )
            .from(from),
        )
    };
    assert_eq!(
        [login(1, 1).await.says(), login(1, 2).await.says()],
        [(200, ""), (200, "")]
    );
    let refused = login(1, 3).await;
    assert_eq!(
        (refused.says(), refused.header("retry-after")),
        ((429, "rate_limited"), "30")
    );
    assert_eq!(login(2, 1).await.says(), (200, ""));
    world.advance(30);
    assert_eq!(
        login(1, 3).await.says(),
        (200, ""),
        "the refused code is still good"
    );
    assert_eq!(
        world
            .metrics
            .rate_limited
            .with_label_values(&["login_per_ip"])
            .get(),
        1
    );
}

#[tokio::test]
async fn the_app_id_must_be_ours() {
    let world = World::new().await;
    let login = |app: &str, code: &str| {
        world.send(Ask::post(
            "/auth/wechat/login",
            &json!({ "code": code, "app_id": app }),
        ))
    };
    assert_eq!(login(APP, "alice-1").await.says(), (200, ""));
    let refused = login("wx2", "alice-2").await;
    assert_eq!(
        (refused.says(), refused.wrong_fields()),
        ((400, "validation_failed"), vec!["app_id"])
    );
    assert_eq!(world.wechat.calls(), 1);
}

#[tokio::test]
async fn a_profile_is_kept_where_there_is_none() {
    let world = World::new().await;
    let login = |code: &str, nickname: &str| {
        let body = json!({ "code": code, "nickname": nickname, "avatar_url": "https://x.example/a.png", "extra": [1, {}] });
        world.send(Ask::post("/auth/wechat/login", &body))
    };
    assert_eq!(
        login("alice-1", "微信用户").await.body["user"]["nickname"],
        json!(null)
    );
    let answer = login("alice-2", " 小明 ").await;
    assert_eq!(answer.body["user"]["nickname"], "小明");
    assert_eq!(answer.body["user"]["avatar_url"], "https://x.example/a.png");
    assert_eq!(
        login("alice-3", "Eve").await.body["user"]["nickname"],
        "小明"
    );
}

#[tokio::test]
async fn strangers_stay_out_where_registration_is_closed() {
    let world = World::with(|config| config.auth.registration = Registration::Closed).await;
    assert_eq!(
        world.login("alice-1").await.says(),
        (403, "registration_closed")
    );
}

#[tokio::test]
async fn user_ids_and_openids_follow_the_config() {
    let world = World::with(|config| {
        config.users.ids = UserIds::Integer;
        config.users.first_integer = Some(1001);
        config.auth.openid_in_answers = true;
    })
    .await;
    let answer = world.login("alice-1").await;
    assert_eq!(answer.body["user"]["id"], "1001");
    assert_eq!(answer.body["user"]["openid"].as_str().unwrap().len(), 28);
    assert_eq!(world.login("bob-1").await.body["user"]["id"], "1002");
}

#[tokio::test]
async fn one_session_for_each_client_type_where_the_config_says_so() {
    let world = World::with(|config| config.auth.single_session_per_client_type = true).await;
    let first = world.login("alice-1").await;
    let web = json!({ "code": "alice-2", "client_type": "web" });
    let web = world.send(Ask::post("/auth/wechat/login", &web)).await;
    assert_eq!(
        world.send(Ask::get("/auth/me").by(&first)).await.says(),
        (200, "")
    );
    let second = world.login("alice-3").await;
    assert_eq!(
        world.send(Ask::get("/auth/me").by(&first)).await.says(),
        (401, "token_revoked")
    );
    for living in [&web, &second] {
        assert_eq!(
            world.send(Ask::get("/auth/me").by(living)).await.says(),
            (200, "")
        );
    }
    assert_eq!(
        world
            .metrics
            .revocations
            .with_label_values(&["single_session"])
            .get(),
        1
    );
}

#[tokio::test]
async fn development_codes_are_their_own_openids_and_admins_exist_only_there() {
    let no_secret = |config: &mut Config| {
        config.mode = Mode::Development;
        config.wechat.secret = None;
    };
    let world = World::with(no_secret).await;
    let admin = world.login("admin-1").await;
    assert_eq!(admin.body["user"]["user_type"], "admin");
    assert_eq!(world.login("alice").await.body["user"]["user_type"], "user");
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(
        world.login("alice").await.says(),
        (200, ""),
        "codes are reusable"
    );
    assert_eq!(
        world.login("a/b").await.says(),
        (401, "wechat_code_invalid")
    );
    assert_eq!(world.wechat.calls(), 0);

    let production = World::new().await;
    assert_eq!(
        production.login("admin-1").await.body["user"]["user_type"],
        "user"
    );
}
