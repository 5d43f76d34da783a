//! Export and deletion of an account.

use axum::http::Method;
use serde_json::{Value, json};

use super::world::{Answered, Ask, World};
use crate::config::UserIds;

const PHONE: &str = "+8613800138000";
const OTHER: &str = "+8613900139000";

async fn erase(world: &World, by: &Answered, proof: &Value) -> Answered {
    world
        .send(Ask::new(Method::DELETE, "/auth/me").json(proof).by(by))
        .await
}

/// Alice, with a phone, whose login is not recent any more.
async fn old_login(world: &World) -> Answered {
    let alice = world.login("alice-1").await;
    assert_eq!(world.bind_by_sms(&alice, PHONE).await.says(), (200, ""));
    world.advance(601);
    alice
}

/// The sorted member names of an object.
fn names(object: &Value) -> Vec<&str> {
    let mut names: Vec<_> = object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_copy_holds_everything_and_nothing_that_signs_in() {
    let world = World::with(|config| config.auth.openid_in_answers = true).await;
    let key = "tiihtNczf5v6AKRyjwEUhQ==";
    world.wechat.set_response(
        "a-1",
        &json!({ "openid": "o-alice", "unionid": "u-alice", "session_key": key }).to_string(),
    );
    let alice = world.login("a-1").await;
    assert_eq!(world.bind_by_sms(&alice, PHONE).await.says(), (200, ""));
    let change = json!({ "nickname": "小明", "bio": "b", "birthday": "2000-02-29" });
    assert_eq!(
        world
            .send(Ask::new(Method::PATCH, "/auth/me").json(&change).by(&alice))
            .await
            .says(),
        (200, "")
    );
    world.advance(60);
    let second = world.sign_in_by_sms(PHONE).await;

    let copy = world.send(Ask::get("/auth/me/export").by(&alice)).await;
    assert_eq!(
        (copy.says(), copy.header("cache-control")),
        ((200, ""), "no-store")
    );
    assert_eq!(
        names(&copy.body),
        ["openids", "sessions", "unionids", "user"]
    );
    let user = &copy.body["user"];
    assert_eq!(
        names(user),
        [
            "avatar_url",
            "bio",
            "birthday",
            "claims",
            "created_at",
            "id",
            "last_login_at",
            "nickname",
            "phone",
            "phone_masked",
            "roles",
            "user_type",
            "username"
        ]
    );
    assert_eq!(
        (&user["phone"], &user["nickname"], &user["id"]),
        (&json!(PHONE), &json!("小明"), &json!(alice.user()))
    );
    assert_eq!(
        copy.body["openids"],
        json!([{ "app_id": super::world::APP, "openid": "o-alice" }])
    );
    assert_eq!(copy.body["unionids"], json!(["u-alice"]));
    let sessions = copy.body["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    for session in sessions {
        assert_eq!(
            names(session),
            [
                "client_type",
                "created_at",
                "current",
                "expires_at",
                "id",
                "last_used_at"
            ]
        );
    }
    assert_eq!(
        sessions
            .iter()
            .filter(|session| session["current"] == true)
            .count(),
        1
    );
    let text = String::from_utf8_lossy(&copy.bytes);
    let tokens =
        [&alice, &second].map(|answer| [answer.text("access_token"), answer.text("refresh_token")]);
    for hidden in ["session_key", "salt", "password", "token", key]
        .iter()
        .chain(tokens.as_flattened())
    {
        assert!(!text.contains(hidden), "{hidden} is in {text}");
    }
    assert_eq!(world.audited("account.exported"), 1);
}

#[tokio::test]
async fn a_fresh_login_ends_the_account_at_once() {
    let world = World::new().await;
    let alice = world.login("alice-1").await;
    assert_eq!(world.bind_by_sms(&alice, PHONE).await.says(), (200, ""));
    let second = world.login("alice-2").await;
    let bystander = world.login("bob-1").await;
    world.advance(300);
    let gone = world
        .send(Ask::new(Method::DELETE, "/auth/me").by(&alice))
        .await;
    assert_eq!((gone.says(), gone.bytes.len()), ((204, ""), 0));
    for session in [&alice, &second] {
        assert_eq!(
            world.me(session).await.says(),
            (401, "token_revoked"),
            "at once"
        );
        assert_eq!(
            world
                .send(Ask::get("/auth/me/export").by(session))
                .await
                .says(),
            (401, "token_revoked")
        );
        assert_eq!(
            world.refresh(session.text("refresh_token")).await.status,
            401
        );
    }
    assert_eq!(world.me(&bystander).await.says(), (200, ""));
    assert_eq!(
        world
            .metrics
            .revocations
            .with_label_values(&["erased"])
            .get(),
        2
    );
    assert_eq!(world.audited("account.erased"), 1);

    let again = world.login("alice-3").await;
    assert_eq!(again.body["is_new_user"], true);
    assert_ne!(again.user(), alice.user());
    assert!(again.body["user"]["phone_masked"].is_null());
    let by_phone = world.sign_in_by_sms(PHONE).await;
    assert_eq!(
        by_phone.body["is_new_user"], true,
        "nor does the phone lead to it"
    );
}

#[tokio::test]
async fn an_old_login_is_asked_for_a_code_again() {
    let world = World::new().await;
    let alice = old_login(&world).await;
    for nothing in [
        Ask::new(Method::DELETE, "/auth/me"),
        Ask::new(Method::DELETE, "/auth/me").json(&json!({})),
    ] {
        let refused = world.send(nothing.by(&alice)).await;
        assert_eq!(refused.says(), (401, "reauthentication_required"));
        assert_eq!(
            refused.header("www-authenticate"),
            "Bearer error=\"insufficient_user_authentication\""
        );
    }
    // A refresh does not count as a login.
    let refreshed = world.refresh(alice.text("refresh_token")).await;
    assert_eq!(
        erase(&world, &refreshed, &json!({})).await.says(),
        (401, "reauthentication_required")
    );
    assert_eq!(world.me(&alice).await.says(), (200, ""));
    let fresh = world.login("alice-2").await;
    assert_eq!(erase(&world, &fresh, &json!({})).await.says(), (204, ""));
}

#[tokio::test]
async fn a_code_on_the_own_phone_is_proof() {
    let world = World::new().await;
    let alice = old_login(&world).await;
    let for_binding = world.bind_code(PHONE).await;
    assert_eq!(
        erase(&world, &alice, &json!({ "sms_code": for_binding }))
            .await
            .says(),
        (400, "code_invalid")
    );
    world.advance(60);
    let code = world.sms_code(PHONE).await;
    let wrong = super::sms::wrong(&code);
    assert_eq!(
        erase(&world, &alice, &json!({ "sms_code": wrong }))
            .await
            .says(),
        (400, "code_invalid")
    );
    assert_eq!(
        erase(&world, &alice, &json!({ "sms_code": code }))
            .await
            .says(),
        (204, "")
    );
    assert_eq!(world.me(&alice).await.says(), (401, "token_revoked"));
    assert_eq!(
        world
            .metrics
            .sms_codes_verified
            .with_label_values(&["right"])
            .get(),
        2
    );
    assert_eq!(
        world
            .metrics
            .sms_codes_verified
            .with_label_values(&["wrong"])
            .get(),
        2
    );
}

#[tokio::test]
async fn guesses_at_the_proof_are_counted_with_all_others() {
    let world = World::new().await;
    let alice = old_login(&world).await;
    let code = world.sms_code(PHONE).await;
    let guess = json!({ "sms_code": super::sms::wrong(&code) });
    for _ in 0..3 {
        assert_eq!(
            erase(&world, &alice, &guess).await.says(),
            (400, "code_invalid")
        );
    }
    for _ in 0..2 {
        assert_eq!(
            world
                .sms_login(PHONE, super::sms::wrong(&code))
                .await
                .says(),
            (400, "code_invalid")
        );
    }
    assert_eq!(
        erase(&world, &alice, &json!({ "sms_code": code }))
            .await
            .says(),
        (400, "code_invalid")
    );
    assert_eq!(world.me(&alice).await.says(), (200, ""));
}

#[tokio::test]
async fn a_code_of_somebody_else_is_none() {
    let world = World::new().await;
    let alice = old_login(&world).await;
    let eve = world.sign_in_by_sms(OTHER).await;
    world.advance(60);
    let code_of_eve = world.sms_code(OTHER).await;
    let without_phone = world.login("carol-1").await;
    for by in [&alice, &without_phone] {
        assert_eq!(
            erase(&world, by, &json!({ "sms_code": code_of_eve }))
                .await
                .says(),
            (400, "code_invalid")
        );
        assert_eq!(world.me(by).await.says(), (200, ""));
    }
    assert_eq!(
        world.sms_login(OTHER, &code_of_eve).await.user(),
        eve.user(),
        "nor is it used up"
    );
    let refused = erase(&world, &alice, &json!({ "wechat_code": "mallory-1" })).await;
    assert_eq!(refused.says(), (401, "wechat_code_invalid"));
    world.login("bob-1").await;
    assert_eq!(
        erase(&world, &alice, &json!({ "wechat_code": "bob-2" }))
            .await
            .says(),
        (401, "wechat_code_invalid")
    );
    assert_eq!(
        erase(&world, &eve, &json!({ "wechat_code": "bob-3" }))
            .await
            .says(),
        (403, "forbidden")
    );
    assert_eq!(world.me(&alice).await.says(), (200, ""));
    assert_eq!(world.audited("account.erased"), 0);
}

#[tokio::test]
async fn a_fresh_code_of_wechat_is_proof() {
    let world = World::new().await;
    let alice = old_login(&world).await;
    assert_eq!(
        erase(&world, &alice, &json!({ "wechat_code": "alice-1" }))
            .await
            .says(),
        (401, "wechat_code_invalid")
    );
    for (code, says) in [
        ("busy-1", (503, "wechat_busy")),
        ("fail.40226-1", (403, "wechat_blocked")),
    ] {
        assert_eq!(
            erase(&world, &alice, &json!({ "wechat_code": code }))
                .await
                .says(),
            says
        );
    }
    assert_eq!(world.me(&alice).await.says(), (200, ""));
    assert_eq!(
        erase(&world, &alice, &json!({ "wechat_code": "alice-2" }))
            .await
            .says(),
        (204, "")
    );
    assert_eq!(world.login("alice-3").await.body["is_new_user"], true);
    assert_eq!(
        world.metrics.sessions_opened.get(),
        2,
        "the proof is no login"
    );
}

#[tokio::test]
async fn an_account_ends_once_and_whoever_finds_it_gone_is_told_so() {
    let world = World::new().await;
    let (alice, second) = (world.login("alice-1").await, world.login("alice-2").await);
    let proof = json!({});
    let (one, other) = tokio::join!(
        erase(&world, &alice, &proof),
        erase(&world, &second, &proof)
    );
    let mut said = [one.says(), other.says()];
    said.sort_unstable();
    assert_eq!(said[0], (204, ""));
    // The second one finds that its session has ended, or that its user is gone.
    assert!(
        [(401, "session_revoked"), (401, "token_revoked")].contains(&said[1]),
        "{said:?}"
    );
    assert_eq!(world.audited("account.erased"), 1);
    assert_eq!(
        world
            .metrics
            .revocations
            .with_label_values(&["erased"])
            .get(),
        2
    );
}

#[tokio::test]
async fn an_integer_is_never_given_to_anybody_else() {
    let world = World::with(|config| {
        config.users.ids = UserIds::Integer;
        config.users.first_integer = Some(7);
    })
    .await;
    let alice = world.login("alice-1").await;
    assert_eq!(alice.user(), "7");
    assert_eq!(erase(&world, &alice, &json!({})).await.says(), (204, ""));
    assert_eq!(
        [
            world.login("alice-2").await.user(),
            world.login("bob-1").await.user()
        ],
        ["8", "9"]
    );
}

/// `wx.request` has no `PATCH`.
#[tokio::test]
async fn a_profile_is_changed_by_post_as_by_patch() {
    let world = World::new().await;
    let alice = world.login("alice-1").await;
    let change = json!({ "nickname": "小明", "bio": "hello" });
    let changed = world.send(Ask::post("/auth/me", &change).by(&alice)).await;
    assert_eq!(
        (changed.says(), changed.text("nickname")),
        ((200, ""), "小明")
    );
    let cleared = json!({ "bio": null });
    world.send(Ask::post("/auth/me", &cleared).by(&alice)).await;
    let me = world.me(&alice).await;
    assert_eq!(
        (me.text("nickname"), &me.body["bio"]),
        ("小明", &json!(null)),
        "what is absent stays, null clears"
    );
    let wrong = world
        .send(Ask::post("/auth/me", &json!({ "birthday": "never" })).by(&alice))
        .await;
    assert_eq!(wrong.wrong_fields(), ["birthday"]);
    assert_eq!(
        world.send(Ask::post("/auth/me", &change)).await.says(),
        (401, "token_missing")
    );
}
