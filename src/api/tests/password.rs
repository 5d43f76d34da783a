//! Login with a name and a password.

use futures::future::join_all;
use serde_json::json;

use super::world::{Answered, Ask, World};
use crate::{
    auth::{Password, Passwords},
    config::{Config, Rate},
    entropy::Entropy,
    store::{AccountOutcome, NewAccount, NewUserId, PasswordHash, RightsChange},
    types::{Secret, UserId, UserType, Username},
};

const RIGHT: &str = "correct horse battery";
const WRONG: &str = "correct horse staple";
const HOME: u8 = 1;
/// A network without any earlier login.
const AWAY: u8 = 9;

/// A world with one administrator, `root`.
async fn world(change: impl FnOnce(&mut Config)) -> World {
    let world = World::with(change).await;
    let password = Password::parse_new(RIGHT).unwrap();
    add(
        &world,
        "root",
        Passwords::new(Entropy::default())
            .hash(&password)
            .await
            .unwrap(),
    )
    .await;
    world
}

async fn add(world: &World, name: &str, password: PasswordHash) {
    let account = NewAccount {
        new_user: NewUserId::Generated(UserId::parse(name).unwrap()),
        username: Username::parse(name).unwrap(),
        password,
        user_type: UserType::admin(),
        now: world.auth.now(),
    };
    assert!(matches!(
        world.store.create_account(&account).await.unwrap(),
        AccountOutcome::Created(_)
    ));
}

async fn login(world: &World, name: &str, password: &str, from: u8) -> Answered {
    let body = json!({ "username": name, "password": password });
    world
        .send(Ask::post("/auth/password/login", &body).from(from))
        .await
}

async fn change(world: &World, change: RightsChange) {
    let id = UserId::parse("root").unwrap();
    world
        .store
        .change_rights(&id, &change, world.auth.now())
        .await
        .unwrap()
        .unwrap();
}

/// Limits the wrong passwords an hour for one name, not those from one address.
fn three_for_a_name(config: &mut Config) {
    config.limits.admin_login_per_account = Rate::per(3, crate::config::HumanDuration::hours(1));
    config.limits.admin_login_per_ip = Rate::per_minute(1000);
}

#[tokio::test]
async fn a_name_and_a_password_become_a_session() {
    let world = world(|_| {}).await;
    let body = json!({ "username": " Root ", "password": RIGHT, "client_type": "web" });
    let answer = world.send(Ask::post("/auth/password/login", &body)).await;
    assert_eq!(answer.says(), (200, ""));
    assert_eq!(
        (answer.header("cache-control"), answer.header("pragma")),
        ("no-store", "no-cache")
    );
    let user = &answer.body["user"];
    assert_eq!(
        (&user["id"], &user["user_type"]),
        (&json!("root"), &json!("admin"))
    );
    assert_eq!(answer.body["is_new_user"], false);
    let sessions = world.send(Ask::get("/auth/sessions").by(&answer)).await;
    assert_eq!(sessions.body["sessions"][0]["client_type"], "web");
    assert_eq!(
        world.refresh(answer.text("refresh_token")).await.says(),
        (200, "")
    );
    assert_eq!(
        world
            .metrics
            .logins
            .with_label_values(&["password", "success"])
            .get(),
        1
    );
}

#[tokio::test]
async fn an_unknown_name_a_wrong_password_and_a_disabled_user_are_one_answer() {
    let world = world(|_| {}).await;
    let wrong = login(&world, "root", WRONG, HOME).await;
    assert_eq!(wrong.says(), (401, "credentials_invalid"));
    let unknown = login(&world, "nobody", RIGHT, HOME).await;
    change(&world, RightsChange::Ban).await;
    let disabled = login(&world, "root", WRONG, HOME).await;
    for other in [&unknown, &disabled] {
        assert_eq!(
            (other.status, &other.body, &other.headers),
            (wrong.status, &wrong.body, &wrong.headers)
        );
    }
    assert_eq!(
        login(&world, "root", RIGHT, HOME).await.says(),
        (403, "user_disabled"),
        "who knows the password is told"
    );
    change(&world, RightsChange::Unban).await;
    assert_eq!(login(&world, "root", RIGHT, HOME).await.says(), (200, ""));
    assert_eq!(world.metrics.sessions_opened.get(), 1);
}

#[tokio::test]
async fn a_password_that_was_changed_is_wrong() {
    let world = world(|_| {}).await;
    let before = login(&world, "root", RIGHT, HOME).await;
    let new = Password::parse_new("another password").unwrap();
    let hash = Passwords::new(Entropy::default()).hash(&new).await.unwrap();
    change(&world, RightsChange::Password(hash)).await;
    assert_eq!(
        login(&world, "root", RIGHT, HOME).await.says(),
        (401, "credentials_invalid")
    );
    assert_eq!(
        login(&world, "root", "another password", HOME).await.says(),
        (200, "")
    );
    assert_eq!(
        world.refresh(before.text("refresh_token")).await.says(),
        (401, "session_revoked")
    );
}

#[tokio::test]
async fn wrong_fields_are_named_whoever_exists() {
    let world = world(|_| {}).await;
    for (body, fields) in [
        (json!({}), vec!["username", "password"]),
        (
            json!({ "username": "root", "password": "" }),
            vec!["password"],
        ),
        (
            json!({ "username": "root", "password": "x".repeat(257) }),
            vec!["password"],
        ),
        (
            json!({ "username": "a b", "password": 7 }),
            vec!["username", "password"],
        ),
        (
            json!({ "username": "root", "password": RIGHT, "client_type": "tv" }),
            vec!["client_type"],
        ),
    ] {
        let answer = world.send(Ask::post("/auth/password/login", &body)).await;
        assert_eq!(
            (answer.says(), answer.wrong_fields()),
            ((400, "validation_failed"), fields),
            "{body}"
        );
    }
    assert_eq!(world.metrics.sessions_opened.get(), 0);
}

#[tokio::test]
async fn an_attacker_with_many_addresses_cannot_shut_the_owner_out() {
    let world = world(three_for_a_name).await;
    assert_eq!(login(&world, "root", RIGHT, HOME).await.says(), (200, ""));
    let mut refused = Vec::new();
    for from in 100..108 {
        refused.push(login(&world, "root", WRONG, from).await.says().0);
    }
    assert_eq!(refused, [401, 401, 401, 429, 429, 429, 429, 429]);
    assert_eq!(
        login(&world, "root", RIGHT, HOME).await.says(),
        (200, ""),
        "where the owner is known"
    );
    let away = login(&world, "root", RIGHT, AWAY).await;
    assert_eq!(
        (away.says(), away.header("retry-after")),
        ((429, "rate_limited"), "1200")
    );
    world.advance(20 * 60);
    assert_eq!(login(&world, "root", RIGHT, AWAY).await.says(), (200, ""));
    assert_eq!(
        login(&world, "root", WRONG, 100).await.says().0,
        401,
        "the right one had cost nothing"
    );
    assert_eq!(login(&world, "root", WRONG, 101).await.says().0, 429);
    assert_eq!(
        login(&world, "root", RIGHT, AWAY).await.says(),
        (200, ""),
        "known by now"
    );

    world.advance(31 * 24 * 3600);
    for from in 100..104 {
        login(&world, "root", WRONG, from).await;
    }
    assert_eq!(
        login(&world, "root", RIGHT, HOME).await.says().0,
        429,
        "a month later it is forgotten"
    );
}

#[tokio::test]
async fn the_limit_of_a_name_does_not_tell_who_exists() {
    let world = world(three_for_a_name).await;
    for name in ["root", "nobody"] {
        let mut said = Vec::new();
        for from in 100..105 {
            said.push(login(&world, name, WRONG, from).await.says().0);
        }
        assert_eq!(said, [401, 401, 401, 429, 429], "{name}");
    }
}

#[tokio::test]
async fn parallel_guesses_share_one_budget() {
    let world = world(three_for_a_name).await;
    let answers = join_all((0..12).map(|n| login(&world, "root", WRONG, 100 + n))).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 401).count(),
        3
    );
}

#[tokio::test]
async fn one_address_has_few_attempts_and_takes_none_from_others() {
    let world = world(|config| config.limits.admin_login_per_ip = Rate::per_minute(2)).await;
    for _ in 0..5 {
        assert_eq!(
            login(&world, "root", RIGHT, HOME).await.says().0,
            200,
            "a right one costs the address nothing"
        );
    }
    assert_eq!(login(&world, "root", WRONG, HOME).await.says().0, 401);
    assert_eq!(login(&world, "root", WRONG, HOME).await.says().0, 401);
    let over = login(&world, "root", RIGHT, HOME).await;
    assert_eq!(
        (over.says(), over.header("retry-after")),
        ((429, "rate_limited"), "30"),
        "known or not"
    );
    assert_eq!(login(&world, "nobody", RIGHT, HOME).await.says().0, 429);
    assert_eq!(login(&world, "root", RIGHT, AWAY).await.says().0, 200);
    assert_eq!(
        world
            .metrics
            .rate_limited
            .with_label_values(&["admin_login_per_ip"])
            .get(),
        2
    );
}

#[tokio::test]
async fn more_at_once_than_can_be_computed_wait_a_second_and_cost_nothing() {
    let world = world(|config| {
        config.limits.admin_login_per_account = Rate::per_minute(18);
        config.limits.admin_login_per_ip = Rate::per_minute(1000);
    })
    .await;
    let answers = join_all((0..25).map(|n| login(&world, "root", RIGHT, 100 + n))).await;
    let (good, busy): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((good.len(), busy.len()), (18, 7));
    for answer in busy {
        assert_eq!(answer.says(), (429, "rate_limited"));
    }
    let mut left = 0;
    while login(&world, "root", WRONG, AWAY).await.status == 401 {
        left += 1;
    }
    assert_eq!(left, 18);
}

#[tokio::test]
async fn a_hash_that_cannot_be_read_is_a_fault_and_no_refusal() {
    let world = world(|_| {}).await;
    add(
        &world,
        "damaged",
        PasswordHash(Secret::new("$argon2id$nonsense".to_owned())),
    )
    .await;
    assert_eq!(
        login(&world, "damaged", RIGHT, HOME).await.says(),
        (503, "store_unavailable")
    );
}
