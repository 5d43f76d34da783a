//! Hooks: the requests and notifications to the backend, and the effects of its responses.

use std::sync::{Arc, Mutex};

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::world::*;
use crate::{
    config::{
        Config, DialectConfig, DialectKind, HookCreated, HookEvent, HookShare, Merge,
        OnHookFailure, Registration, UserIds,
    },
    dev::wechat::openid,
    store::UserIdentity,
    types::{AppId, OpenId, UserId},
};
use serde_json::{Value, json};

const SECRET: &str = "a secret of thirty-two bytes and more";
const PHONE: &str = "+8613800138000";

/// The backend that receives hooks.
#[derive(Clone)]
struct Hooked {
    url: String,
    asked: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    says: Arc<Mutex<Box<Says>>>,
}

type Says = dyn Fn(usize, &Value) -> Response + Send;

impl Hooked {
    /// Responds with what `says` returns for the number of the request and its body.
    async fn start(says: impl Fn(usize, &Value) -> Response + Send + 'static) -> Self {
        let socket = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let url = format!("http://{}/hooks", socket.local_addr().unwrap());
        let says: Arc<Mutex<Box<Says>>> = Arc::new(Mutex::new(Box::new(says)));
        let this = Self {
            url,
            asked: Arc::default(),
            says,
        };
        let at = this.clone();
        let receive = async move |headers: HeaderMap, body: Bytes| {
            let body: Value = serde_json::from_slice(&body).unwrap();
            let number = {
                let mut asked = at.asked.lock().unwrap();
                asked.push((headers, body.clone()));
                asked.len()
            };
            (at.says.lock().unwrap())(number, &body)
        };
        tokio::spawn(async move {
            axum::serve(socket, axum::Router::new().route("/hooks", post(receive))).await
        });
        this
    }

    /// Gives each new user the next number, and accepts everything else.
    async fn counting(from: usize) -> Self {
        Self::start(move |number, _| axum::Json(json!({ "id": from + number - 1 })).into_response())
            .await
    }

    fn now_says(&self, says: impl Fn(usize, &Value) -> Response + Send + 'static) {
        *self.says.lock().unwrap() = Box::new(says);
    }

    fn section(&self, config: &mut Config) {
        config.hooks.url = Some(self.url.clone());
        config.hooks.secret = Some(crate::config::SecretText::new(SECRET.to_owned()));
        config.hooks.timeout = crate::config::HumanDuration::secs(2);
    }

    async fn world(&self) -> World {
        self.world_with(|_| {}).await
    }

    async fn world_with(&self, change: impl FnOnce(&mut Config)) -> World {
        World::with(|config| {
            self.section(config);
            config
                .hooks
                .events
                .retain(|event| *event != HookEvent::LoginSucceeded);
            change(config);
        })
        .await
    }

    /// The bodies so far.
    fn bodies(&self) -> Vec<Value> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .map(|(_, body)| body.clone())
            .collect()
    }

    fn keys(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .map(|(headers, _)| headers["idempotency-key"].to_str().unwrap().to_owned())
            .collect()
    }
}

fn status(code: u16) -> Response {
    StatusCode::from_u16(code).unwrap().into_response()
}

fn answer(body: Value) -> Response {
    axum::Json(body).into_response()
}

fn claims(answered: &Answered) -> Value {
    let payload = answered
        .text("access_token")
        .split('.')
        .nth(1)
        .unwrap()
        .to_owned();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

async fn known(world: &World, person: &str) -> Option<UserId> {
    let by = UserIdentity::OpenId(
        AppId::parse(APP).unwrap(),
        OpenId::parse(&openid(APP, person)).unwrap(),
    );
    world.store.find_user(&by).await.unwrap()
}

#[tokio::test]
async fn the_backend_gives_a_new_user_the_id_and_further_claims() {
    let backend = Hooked::start(|_, _| {
        answer(json!({ "id": "b-7", "claims": { "tenant": "north", "level": 3 } }))
    })
    .await;
    let world = backend.world().await;
    let first = world.login("alice-1").await;
    assert_eq!(
        (first.user(), &first.body["is_new_user"]),
        ("b-7", &json!(true))
    );
    assert_eq!(
        (
            &claims(&first)["sub"],
            &claims(&first)["tenant"],
            &claims(&first)["level"]
        ),
        (&json!("b-7"), &json!("north"), &json!(3))
    );

    let refreshed = world.refresh(first.text("refresh_token")).await;
    assert_eq!(claims(&refreshed)["tenant"], "north");
    let again = world.login("alice-2").await;
    assert_eq!(
        (again.user(), &claims(&again)["tenant"]),
        ("b-7", &json!("north"))
    );
    assert_eq!(backend.bodies().len(), 1, "who is known is not asked about");
    let export = world.send(Ask::get("/auth/me/export").by(&again)).await;
    assert_eq!(
        export.body["user"]["claims"],
        json!({ "tenant": "north", "level": 3 })
    );
}

#[tokio::test]
async fn a_question_names_the_person_and_nothing_that_is_not_shared() {
    let backend = Hooked::counting(40).await;
    let world = backend
        .world_with(|config| config.hooks.share = vec![HookShare::OpenId])
        .await;
    world
        .send(Ask::post(
            "/auth/wechat/login",
            &json!({ "code": "alice-1", "nickname": "Alice" }),
        ))
        .await;
    world.sign_in_by_sms(PHONE).await;
    let bodies = backend.bodies();
    assert_eq!(
        bodies[0]["user"],
        json!({ "id": null, "user_type": "user", "app_id": APP, "openid": openid(APP, "alice") })
    );
    assert_eq!(
        bodies[1]["user"],
        json!({ "id": null, "user_type": "user" })
    );
    assert_eq!(
        (&bodies[0]["event"], &bodies[0]["at"]),
        (&json!("user.created"), &json!("2027-01-15T08:00:00Z"))
    );
    assert_eq!(
        bodies
            .iter()
            .map(|body| body["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>(),
        backend.keys()
    );

    let open = Hooked::counting(40).await;
    let world = open
        .world_with(|config| config.hooks.share = vec![HookShare::Phone, HookShare::Profile])
        .await;
    world
        .send(Ask::post(
            "/auth/wechat/login",
            &json!({ "code": "alice-1", "nickname": "Alice" }),
        ))
        .await;
    world.sign_in_by_sms(PHONE).await;
    assert_eq!(
        open.bodies()[0]["user"],
        json!({ "id": null, "user_type": "user", "nickname": "Alice" })
    );
    assert_eq!(open.bodies()[1]["user"]["phone"], PHONE);
}

#[tokio::test]
async fn nobody_is_asked_about_who_is_not_proven() {
    let backend = Hooked::counting(40).await;
    let world = backend.world().await;
    let code = world.sms_code(PHONE).await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    assert_eq!(
        world.sms_login(PHONE, wrong).await.says(),
        (400, "code_invalid")
    );
    assert_eq!(backend.bodies().len(), 0);
    let signed_in = world.sms_login(PHONE, &code).await;
    assert_eq!((signed_in.user(), backend.bodies().len()), ("40", 1));
    assert_eq!(
        world.sms_login(PHONE, &code).await.says(),
        (400, "code_invalid"),
        "the code is used"
    );
}

#[tokio::test]
async fn where_registration_is_closed_nobody_is_asked() {
    let backend = Hooked::counting(40).await;
    let world = backend
        .world_with(|config| config.auth.registration = Registration::Closed)
        .await;
    assert_eq!(
        world.login("alice-1").await.says(),
        (403, "registration_closed")
    );
    assert_eq!(backend.bodies().len(), 0);
}

#[tokio::test]
async fn a_failure_of_a_moment_is_got_over_with_the_same_key() {
    let backend = Hooked::start(|number, _| {
        if number == 1 {
            status(500)
        } else {
            answer(json!({ "id": 7 }))
        }
    })
    .await;
    let world = backend.world().await;
    assert_eq!(world.login("alice-1").await.user(), "7");
    let keys = backend.keys();
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
    assert_eq!(
        world
            .metrics
            .hook_calls
            .with_label_values(&["user.created", "ok"])
            .get(),
        1
    );
}

/// An unusable response, and the class that it is counted as.
type Failing = (fn() -> Response, &'static str);

#[tokio::test]
async fn without_a_usable_answer_nobody_is_made_and_the_next_login_asks_the_same() {
    let backend = Hooked::start(|_, _| status(500)).await;
    let world = backend.world().await;
    let cases: [Failing; 7] = [
        (|| status(500), "server_error"),
        (|| status(404), "client_error"),
        (
            || (StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
            "redirect",
        ),
        (|| "<html>".into_response(), "unusable"),
        (|| answer(json!({ "id": "a b" })), "unusable"),
        (|| answer(json!({ "claims": { "sub": "1" } })), "unusable"),
        (|| "x".repeat(100_000).into_response(), "unusable"),
    ];
    for (n, (says, class)) in cases.into_iter().enumerate() {
        backend.now_says(move |_, _| says());
        let refused = world.login(&format!("alice-{n}")).await;
        assert_eq!(
            (refused.says(), refused.wait()),
            ((503, "registration_unavailable"), 2),
            "{class}"
        );
        assert!(
            world
                .metrics
                .hook_calls
                .with_label_values(&["user.created", class])
                .get()
                > 0,
            "{class}"
        );
    }
    assert_eq!(world.store.users(None, 1).await.unwrap(), []);
    let code = world.sms_code(PHONE).await;
    assert_eq!(
        world.sms_login(PHONE, &code).await.says(),
        (503, "registration_unavailable")
    );
    backend.now_says(|_, _| answer(json!({ "id": 7 })));
    assert_eq!(
        world.sms_login(PHONE, &code).await.user(),
        "7",
        "the code is as good as before"
    );
    backend.now_says(|_, _| answer(json!({ "id": 8 })));
    assert_eq!(world.login("alice-last").await.user(), "8");
    let about_alice: std::collections::BTreeSet<_> = backend
        .bodies()
        .iter()
        .filter(|body| body["user"]["openid"].is_string())
        .map(|body| body["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(about_alice.len(), 1);
}

#[tokio::test]
async fn a_slow_backend_holds_up_a_bounded_number_of_logins() {
    let backend = Hooked::start(|_, _| answer(json!({}))).await;
    let dead = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let world = backend
        .world_with(|config| {
            config.hooks.url = Some(format!("http://{}/", dead.local_addr().unwrap()));
            config.hooks.timeout = crate::config::HumanDuration::millis(300);
            config.hooks.max_waiting = 2;
        })
        .await;
    let codes: Vec<String> = (0..6).map(|n| format!("person{n}-1")).collect();
    let answers = futures::future::join_all(codes.iter().map(|code| world.login(code))).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.says() == (503, "registration_unavailable"))
    );
    let counted = |class| {
        world
            .metrics
            .hook_calls
            .with_label_values(&["user.created", class])
            .get()
    };
    assert_eq!((counted("timeout"), counted("busy")), (2, 4));
}

#[tokio::test]
async fn the_backend_may_refuse_somebody() {
    let backend = Hooked::start(|_, _| status(403)).await;
    let world = backend
        .world_with(|config| config.hooks.on_failure = OnHookFailure::Continue)
        .await;
    assert_eq!(
        world.login("alice-1").await.says(),
        (403, "registration_closed")
    );
    assert_eq!(world.store.users(None, 1).await.unwrap(), []);
}

#[tokio::test]
async fn where_it_may_go_on_the_backend_is_told_later() {
    let backend = Hooked::start(|_, _| status(500)).await;
    let world = backend
        .world_with(|config| config.hooks.on_failure = OnHookFailure::Continue)
        .await;
    let alice = world.login("alice-1").await;
    assert_eq!(alice.says(), (200, ""));
    backend.now_says(|_, _| status(204));
    assert_eq!(world.outbox_dispatcher.dispatch_due().await.unwrap(), 1);
    let told = backend.bodies().pop().unwrap();
    assert_eq!(
        (&told["event"], &told["user"]["id"]),
        (&json!("user.created"), &json!(alice.user()))
    );
    assert_eq!(told["user"]["openid"], openid(APP, "alice"));
    assert_eq!(told["id"], format!("user.created.{}", alice.user()));
    assert_eq!(world.outbox_dispatcher.dispatch_due().await.unwrap(), 0);
}

#[tokio::test]
async fn where_it_is_only_told_no_login_waits() {
    let backend = Hooked::start(|_, _| status(204)).await;
    let world = backend
        .world_with(|config| config.hooks.created = HookCreated::Tell)
        .await;
    let alice = world.login("alice-1").await;
    assert_eq!((alice.says(), backend.bodies().len()), ((200, ""), 0));
    assert_eq!(world.outbox_dispatcher.dispatch_due().await.unwrap(), 1);
    assert_eq!(backend.bodies()[0]["user"]["id"], alice.user());
}

#[tokio::test]
async fn an_id_of_somebody_who_is_here_makes_nobody() {
    let backend = Hooked::start(|_, _| answer(json!({ "id": 7 }))).await;
    let world = backend.world().await;
    assert_eq!(world.login("alice-1").await.user(), "7");
    assert_eq!(
        world.login("bob-1").await.says(),
        (503, "registration_unavailable")
    );
    assert_eq!(
        (known(&world, "bob").await, world.audited("hook.id_taken")),
        (None, 1)
    );
}

#[tokio::test]
async fn who_was_erased_and_comes_back_gets_another_id() {
    // It respects the idempotency key: the response to the first request is the deleted id again.
    let backend = Hooked::start(|_, body| match (&body["event"], &body["refused_id"]) {
        (event, Value::Null) if event == "user.created" => answer(json!({ "id": 7 })),
        (event, refused) if event == "user.created" => {
            answer(json!({ "id": if refused == "7" { 8 } else { 9 } }))
        }
        _ => status(204),
    })
    .await;
    let world = backend.world().await;
    let alice = world.login("alice-1").await;
    let gone = world
        .send(Ask::new(axum::http::Method::DELETE, "/auth/me").by(&alice))
        .await;
    assert_eq!(gone.says(), (204, ""));
    assert_eq!(world.login("alice-2").await.user(), "8");
    let keys = backend.keys();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
    assert_eq!(backend.bodies()[2]["refused_id"], "7");
}

#[tokio::test]
async fn parallel_first_logins_ask_once_and_make_one_user() {
    let backend = Hooked::counting(40).await;
    let world = backend.world().await;
    let codes: Vec<String> = (0..20).map(|n| format!("alice-{n}")).collect();
    let answers = futures::future::join_all(codes.iter().map(|code| world.login(code))).await;
    assert!(answers.iter().all(|answer| answer.user() == "40"));
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.body["is_new_user"] == true)
            .count(),
        1
    );
    assert_eq!(backend.bodies().len(), 1);
}

#[tokio::test]
async fn a_login_in_an_existing_api_asks_too() {
    let backend = Hooked::counting(40).await;
    let world = backend
        .world_with(|config| {
            config.dialect = vec![DialectConfig::for_kind(DialectKind::Nest)];
        })
        .await;
    let answered = world
        .send(Ask::post(
            "/api/v1/auth/wx-login",
            &json!({ "code": "alice-1" }),
        ))
        .await;
    assert_eq!(answered.body["data"]["user"]["id"], "40");
}

#[tokio::test]
async fn an_erasure_is_told_until_the_backend_has_heard() {
    let backend = Hooked::counting(40).await;
    let world = backend.world().await;
    let alice = world.login("alice-1").await;
    backend.now_says(|_, _| status(500));
    let gone = world
        .send(Ask::new(axum::http::Method::DELETE, "/auth/me").by(&alice))
        .await;
    assert_eq!(gone.says(), (204, ""));
    assert_eq!(world.outbox_dispatcher.dispatch_due().await.unwrap(), 0);
    backend.now_says(|_, _| status(200));
    assert_eq!(
        world.outbox_dispatcher.dispatch_due().await.unwrap(),
        0,
        "not so soon"
    );
    world.advance(1);
    assert_eq!(world.outbox_dispatcher.dispatch_due().await.unwrap(), 1);
    let told = backend.bodies().pop().unwrap();
    assert_eq!(
        told,
        json!({ "id": "user.deleted.40", "event": "user.deleted", "at": "2027-01-15T08:00:00Z", "user": { "id": "40" } })
    );
    assert!(
        backend.keys()[1..]
            .iter()
            .all(|key| key == "user.deleted.40")
    );
    world.advance(1000);
    assert_eq!(world.outbox_dispatcher.dispatch_due().await.unwrap(), 0);
}

#[tokio::test]
async fn after_three_days_an_event_is_given_up() {
    let backend = Hooked::counting(40).await;
    let world = backend.world().await;
    let alice = world.login("alice-1").await;
    backend.now_says(|_, _| status(404));
    world
        .send(Ask::new(axum::http::Method::DELETE, "/auth/me").by(&alice))
        .await;
    let mut looks = 0;
    while world.audited("hook.given_up") == 0 {
        world.outbox_dispatcher.dispatch_due().await.unwrap();
        world.advance(600);
        looks += 1;
        assert!(looks < 1000, "never given up");
    }
    assert_eq!(looks, 3 * 24 * 6 + 1);
    assert_eq!(world.store.backlog().await.unwrap().waiting, 0);
    assert_eq!(
        world
            .metrics
            .hook_events_lost
            .with_label_values(&["user.deleted"])
            .get(),
        1
    );
}

#[tokio::test]
async fn users_that_are_joined_are_told_of() {
    let backend = Hooked::counting(40).await;
    let world = backend
        .world_with(|config| config.users.merge = Merge::Proven)
        .await;
    let alice = world.login("alice-1").await;
    world.advance(100);
    let by_phone = world.sign_in_by_sms(PHONE).await;
    world.advance(100);
    assert_eq!(world.bind_by_sms(&alice, PHONE).await.says(), (200, ""));
    assert_eq!(world.outbox_dispatcher.dispatch_due().await.unwrap(), 1);
    let told = backend.bodies().pop().unwrap();
    assert_eq!(
        (&told["event"], &told["user"]["id"]),
        (&json!("user.merged"), &json!(alice.user()))
    );
    assert_eq!(told["gone"]["id"], by_phone.user());
}

#[tokio::test]
async fn logins_are_told_in_the_background() {
    let backend = Hooked::counting(40).await;
    let world = World::with(|config| backend.section(config)).await;
    let outbox_dispatcher = Arc::clone(&world.outbox_dispatcher);
    let carrying = tokio::spawn(async move { outbox_dispatcher.run_logins().await });
    let alice = world.login("alice-1").await;
    let told = loop {
        if let Some(told) = backend
            .bodies()
            .into_iter()
            .find(|body| body["event"] == "login.succeeded")
        {
            break told;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(
        (&told["user"], &told["method"], &told["is_new_user"]),
        (
            &json!({ "id": alice.user() }),
            &json!("wechat"),
            &json!(true)
        )
    );
    assert_eq!(told["session"]["client_type"], "miniprogram");
    carrying.abort();
}

#[tokio::test]
async fn the_backend_s_integers_and_menshen_s_never_meet() {
    let backend = Hooked::start(|_, _| answer(json!({ "id": 1000 }))).await;
    for on_failure in [OnHookFailure::Refuse, OnHookFailure::Continue] {
        let world = backend
            .world_with(|config| {
                config.users.ids = UserIds::Integer;
                config.users.first_integer = Some(1000);
                config.hooks.on_failure = on_failure;
            })
            .await;
        backend.now_says(|_, _| answer(json!({ "id": 1000 })));
        assert_eq!(
            world.login("alice-1").await.says(),
            (503, "registration_unavailable"),
            "{on_failure:?}"
        );
        backend.now_says(|_, _| answer(json!({ "id": 999 })));
        assert_eq!(world.login("alice-2").await.user(), "999");
        backend.now_says(|_, _| answer(json!({})));
        assert_eq!(world.login("bob-1").await.user(), "1000");
    }
}
