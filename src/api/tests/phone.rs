//! Binding a phone by a code, changing and unbinding it, and merging two accounts.

use axum::http::Method;
use futures::future::join_all;
use serde_json::json;

use super::world::{Answered, Ask, World};
use crate::{
    config::{Config, Merge},
    store::RightsChange,
    types::UserId,
};

const PHONE: &str = "+8613800138000";
const OTHER: &str = "+8613900139000";

fn proven(config: &mut Config) {
    config.users.merge = Merge::Proven;
}

async fn unbind(world: &World, by: &Answered) -> Answered {
    world
        .send(Ask::new(Method::DELETE, "/auth/phone").by(by))
        .await
}

/// The user of the phone.
async fn owner(world: &World, phone: &str) -> String {
    world.advance(60);
    world.sign_in_by_sms(phone).await.user().to_owned()
}

#[tokio::test]
async fn a_user_of_wechat_adds_a_phone_and_signs_in_with_either() {
    let world = World::new().await;
    let alice = world.login("alice-1").await;
    let bound = world.bind_by_sms(&alice, PHONE).await;
    assert_eq!(bound.says(), (200, ""));
    assert_eq!(
        bound.body,
        json!({ "phone": PHONE, "masked": "138****8000", "country_code": "86" })
    );
    assert_eq!(
        (bound.header("cache-control"), bound.header("pragma")),
        ("no-store", "no-cache")
    );
    assert_eq!(world.me(&alice).await.text("phone_masked"), "138****8000");
    assert_eq!(owner(&world, PHONE).await, alice.user());
    assert_eq!(world.login("alice-2").await.user(), alice.user());
    assert_eq!(
        world
            .metrics
            .phone_bindings
            .with_label_values(&["sms", "bound"])
            .get(),
        1
    );
    assert_eq!(
        (world.audited("phone.bound"), world.audited("phone.refused")),
        (1, 0)
    );
}

#[tokio::test]
async fn binding_needs_a_token_and_both_fields() {
    let world = World::new().await;
    let alice = world.login("alice-1").await;
    for path in ["/auth/phone/sms", "/auth/phone/wechat"] {
        assert_eq!(
            world.send(Ask::post(path, &json!({}))).await.says(),
            (401, "token_missing")
        );
    }
    assert_eq!(
        unbind(&world, &alice).await.says(),
        (200, ""),
        "none is as good as one"
    );
    assert_eq!(
        world
            .send(Ask::new(Method::DELETE, "/auth/phone"))
            .await
            .says(),
        (401, "token_missing")
    );
    let wrong = world
        .send(Ask::post("/auth/phone/sms", &json!({ "phone": "1" })).by(&alice))
        .await;
    assert_eq!(
        (wrong.says(), wrong.wrong_fields()),
        ((400, "validation_failed"), vec!["phone", "code"])
    );
}

#[tokio::test]
async fn an_answer_that_was_lost_can_be_asked_for_again() {
    let world = World::new().await;
    let alice = world.login("alice-1").await;
    let code = world.bind_code(PHONE).await;
    let first = world.bind(&alice, PHONE, &code).await;
    let again = world.bind(&alice, PHONE, &code).await;
    assert_eq!((first.says(), &again.bytes), ((200, ""), &first.bytes));
    let eve = world.login("eve-1").await;
    assert_eq!(
        world.bind(&eve, PHONE, &code).await.says(),
        (400, "code_invalid"),
        "by nobody else"
    );
}

#[tokio::test]
async fn a_phone_of_somebody_else_is_a_conflict_and_stays_theirs() {
    let world = World::new().await;
    let bob = world.sign_in_by_sms(PHONE).await;
    let alice = world.login("alice-1").await;
    world.advance(60);
    let refused = world.bind_by_sms(&alice, PHONE).await;
    assert_eq!(refused.says(), (409, "phone_conflict"));
    assert!(world.me(&alice).await.body["phone_masked"].is_null());
    assert_eq!(owner(&world, PHONE).await, bob.user());
    assert_eq!(
        world
            .metrics
            .phone_bindings
            .with_label_values(&["sms", "phone_conflict"])
            .get(),
        1
    );
    assert_eq!(
        world
            .metrics
            .sms_codes_verified
            .with_label_values(&["right"])
            .get(),
        3,
        "the code itself was right"
    );
    assert_eq!(
        (
            world.audited("phone.refused"),
            world.audited("users.merged")
        ),
        (1, 0)
    );
}

#[tokio::test]
async fn one_of_many_who_bind_a_phone_at_once_gets_it() {
    let world = World::new().await;
    let code = world.bind_code(PHONE).await;
    let mut users = Vec::new();
    for n in 0..10 {
        users.push(world.login(&format!("user{n}-1")).await);
    }
    let answers = join_all(users.iter().map(|user| world.bind(user, PHONE, &code))).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 200).count(),
        1
    );
    // At most five guesses are compared, and any of them may be the right one.
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.says() == (400, "code_invalid"))
            .count(),
        9
    );
}

#[tokio::test]
async fn a_younger_account_is_joined_to_the_caller_s() {
    let world = World::with(proven).await;
    let alice = world.login("alice-1").await;
    world.advance(1);
    let by_phone = world.sign_in_by_sms(PHONE).await;
    world.advance(60);
    let bound = world.bind_by_sms(&alice, PHONE).await;
    assert_eq!(bound.says(), (200, ""));
    assert_eq!(
        (&bound.body["merged"], bound.body.get("tokens")),
        (&json!(true), None),
        "the caller's own tokens go on"
    );
    assert_eq!(world.me(&alice).await.text("phone_masked"), "138****8000");
    assert_eq!(
        world.me(&by_phone).await.says(),
        (401, "token_revoked"),
        "at once"
    );
    assert_ne!(
        world.refresh(by_phone.text("refresh_token")).await.status,
        200
    );
    assert_eq!(owner(&world, PHONE).await, alice.user());
    assert_eq!(
        (world.audited("users.merged"), world.audited("phone.bound")),
        (1, 1)
    );
}

#[tokio::test]
async fn the_caller_is_joined_to_an_older_account_and_gets_its_tokens() {
    let world = World::with(proven).await;
    let by_phone = world.sign_in_by_sms(PHONE).await;
    world.advance(60);
    let alice = world.login("alice-1").await;
    let second_device = world.login("alice-2").await;
    let bound = world.bind_by_sms(&alice, PHONE).await;
    assert_eq!(
        (bound.says(), &bound.body["merged"]),
        ((200, ""), &json!(true))
    );
    let tokens = &bound.body["tokens"];
    assert_eq!(
        (&tokens["user"]["id"], &tokens["is_new_user"]),
        (&json!(by_phone.user()), &json!(false))
    );
    assert_eq!(bound.header("cache-control"), "no-store");
    for gone in [&alice, &second_device] {
        assert_eq!(
            world.me(gone).await.says(),
            (401, "token_revoked"),
            "at once"
        );
        assert_ne!(world.refresh(gone.text("refresh_token")).await.status, 200);
    }
    let me = world
        .send(Ask::get("/auth/me").token(tokens["access_token"].as_str().unwrap()))
        .await;
    assert_eq!((me.says(), me.text("id")), ((200, ""), by_phone.user()));
    assert_eq!(
        world
            .refresh(tokens["refresh_token"].as_str().unwrap())
            .await
            .says(),
        (200, "")
    );
    assert_eq!(
        world.me(&by_phone).await.says(),
        (200, ""),
        "who is left stays signed in"
    );
    let again = world.login("alice-3").await;
    assert_eq!(
        (again.user(), &again.body["is_new_user"]),
        (by_phone.user(), &json!(false))
    );
    // The new session began with WeChat, like the old one.
    let button = world.send(Ask::post(
        "/auth/phone/wechat",
        &json!({ "code": "phone.13800138000-1" }),
    ));
    assert_eq!(button.await.says(), (401, "token_missing"));
    let button = Ask::post(
        "/auth/phone/wechat",
        &json!({ "code": "phone.13800138000-1" }),
    );
    assert_eq!(
        world
            .send(button.token(tokens["access_token"].as_str().unwrap()))
            .await
            .says(),
        (200, "")
    );
    assert_eq!(world.audited("users.merged"), 1);
}

#[tokio::test]
async fn two_people_of_one_mini_program_are_never_joined() {
    let world = World::with(proven).await;
    let (alice, bob) = (world.login("alice-1").await, world.login("bob-1").await);
    assert_eq!(world.bind_by_sms(&bob, PHONE).await.says(), (200, ""));
    world.advance(60);
    assert_eq!(
        world.bind_by_sms(&alice, PHONE).await.says(),
        (409, "phone_conflict")
    );
    assert_eq!(
        world
            .bind_by_button(&alice, "phone.13800138000-1")
            .await
            .says(),
        (409, "phone_conflict")
    );
    assert_eq!(owner(&world, PHONE).await, bob.user());
    assert_eq!(world.audited("users.merged"), 0);
}

#[tokio::test]
async fn nobody_is_joined_without_the_code() {
    let world = World::with(proven).await;
    let by_phone = world.sign_in_by_sms(PHONE).await;
    let alice = world.login("alice-1").await;
    world.advance(60);
    let code = world.bind_code(PHONE).await;
    let refused = world.bind(&alice, PHONE, super::sms::wrong(&code)).await;
    assert_eq!(refused.says(), (400, "code_invalid"));
    for living in [&alice, &by_phone] {
        assert_eq!(world.me(living).await.says(), (200, ""));
    }
}

#[tokio::test]
async fn a_phone_is_changed_by_the_old_session_and_the_new_code() {
    let world = World::new().await;
    let alice = world.login("alice-1").await;
    assert_eq!(world.bind_by_sms(&alice, PHONE).await.says(), (200, ""));
    assert_eq!(world.bind_by_sms(&alice, OTHER).await.says(), (200, ""));
    assert_eq!(world.me(&alice).await.text("phone_masked"), "139****9000");
    assert_eq!(owner(&world, OTHER).await, alice.user());
    assert_ne!(
        owner(&world, PHONE).await,
        alice.user(),
        "the number before is somebody else's now"
    );

    let second = world.login("alice-2").await;
    assert_eq!(
        world
            .send(Ask::post("/auth/logout", &json!({})).by(&second))
            .await
            .says(),
        (204, "")
    );
    let code = world.bind_code("+8613700137000").await;
    assert_eq!(
        world.bind(&second, "+8613700137000", &code).await.says(),
        (401, "token_revoked")
    );
    assert_eq!(
        world.bind(&alice, "+8613700137000", &code).await.says(),
        (200, ""),
        "the code is not used up"
    );
}

#[tokio::test]
async fn a_ban_that_this_replica_has_not_heard_of_holds_in_the_store() {
    let world = World::new().await;
    let alice = world.login("alice-1").await;
    let code = world.bind_code(PHONE).await;
    let id = UserId::parse(alice.user()).unwrap();
    world
        .store
        .change_rights(&id, &RightsChange::Ban, world.clock.now())
        .await
        .unwrap()
        .unwrap();
    for answer in [
        world.bind(&alice, PHONE, &code).await,
        unbind(&world, &alice).await,
        world
            .send(Ask::new(Method::DELETE, "/auth/me").by(&alice))
            .await,
    ] {
        assert_eq!(answer.status, 401, "{}", answer.body);
    }
    assert_eq!(
        world
            .bind_by_button(&alice, "phone.13800138000-1")
            .await
            .status,
        403
    );
    assert_eq!(world.wechat.calls_for("phone.13800138000-1"), 0);
    assert_eq!(world.login("alice-2").await.says(), (403, "user_disabled"));
}

#[tokio::test]
async fn a_phone_is_taken_away_unless_it_is_the_only_way_in() {
    let world = World::new().await;
    let by_phone = world.sign_in_by_sms(PHONE).await;
    let refused = unbind(&world, &by_phone).await;
    assert_eq!(refused.says(), (409, "phone_conflict"));
    assert_eq!(
        refused.text("detail"),
        "This phone number is the only way to sign in to this account."
    );

    let alice = world.login("alice-1").await;
    assert_eq!(world.bind_by_sms(&alice, OTHER).await.says(), (200, ""));
    let without = unbind(&world, &alice).await;
    assert_eq!(
        (without.says(), &without.body["phone_masked"]),
        ((200, ""), &json!(null))
    );
    assert_eq!(without.text("id"), alice.user());
    assert_eq!(unbind(&world, &alice).await.bytes, without.bytes);
    assert_eq!(world.audited("phone.unbound"), 1);
    assert_ne!(owner(&world, OTHER).await, alice.user());
}

/// An attacker: with a stolen token of an older session, and a phone of their own.
#[tokio::test]
async fn a_stolen_token_puts_no_phone_in_and_takes_none_out() {
    let world = World::with(proven).await;
    let thief = world.sign_in_by_sms("+8613700137000").await;
    let alice = world.login("alice-1").await;
    assert_eq!(world.bind_by_sms(&alice, PHONE).await.says(), (200, ""));
    world.advance(601);
    let stolen = world.refresh(alice.text("refresh_token")).await;
    for phone in [OTHER, "+8613700137000"] {
        let code = world.bind_code(phone).await;
        assert_eq!(
            world.bind(&stolen, phone, &code).await.says(),
            (401, "reauthentication_required"),
            "{phone}"
        );
    }
    assert_eq!(
        unbind(&world, &stolen).await.says(),
        (401, "reauthentication_required")
    );
    assert_eq!(world.me(&alice).await.text("phone_masked"), "138****8000");
    assert_eq!(
        world.me(&thief).await.says(),
        (200, ""),
        "nobody was joined to anybody"
    );
    assert_eq!(world.audited("phone.refused"), 2);
}

#[tokio::test]
async fn an_old_login_changes_its_phone_with_a_code_of_the_old_one_or_of_wechat() {
    for by_phone in [true, false] {
        let world = World::new().await;
        let alice = world.login("alice-1").await;
        assert_eq!(world.bind_by_sms(&alice, PHONE).await.says(), (200, ""));
        world.advance(601);
        let (code, wechat) = (world.bind_code(OTHER).await, "alice-2");
        let stranger = json!({ "phone": OTHER, "code": code, "wechat_code": "mallory-1" });
        let refused = world
            .send(Ask::post("/auth/phone/sms", &stranger).by(&alice))
            .await;
        assert_eq!(
            refused.says(),
            (401, "wechat_code_invalid"),
            "somebody else at WeChat"
        );
        let mut body = json!({ "phone": OTHER, "code": code });
        if by_phone {
            body["sms_code"] = json!(world.sms_code(PHONE).await);
        } else {
            body["wechat_code"] = json!(wechat);
        }
        let bound = world
            .send(Ask::post("/auth/phone/sms", &body).by(&alice))
            .await;
        assert_eq!(
            (bound.says(), bound.text("masked")),
            ((200, ""), "139****9000"),
            "{by_phone}"
        );
        let unbound =
            Ask::new(Method::DELETE, "/auth/phone").json(&json!({ "wechat_code": "alice-3" }));
        assert_eq!(world.send(unbound.by(&alice)).await.says(), (200, ""));
    }
}

#[tokio::test]
async fn the_button_needs_no_fresh_login_because_its_code_is_one() {
    let world = World::new().await;
    let alice = world.login("alice-1").await;
    world.advance(7 * 24 * 3600);
    let refreshed = world.refresh(alice.text("refresh_token")).await;
    assert_eq!(
        world
            .bind_by_button(&refreshed, "phone.13800138000.mallory-1")
            .await
            .says(),
        (400, "phone_code_invalid")
    );
    assert_eq!(
        world
            .bind_by_button(&refreshed, "phone.13800138000.alice-1")
            .await
            .says(),
        (200, "")
    );
}
