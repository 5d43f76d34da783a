//! One token for all callers, fetched once and renewed in time.

use futures::future::join_all;
use serde_json::json;

use super::{phone::ask_phone, *};

/// A client whose clock can be moved, and a user that has logged in with it.
async fn signed_in(server: &SimulatedWechat, timeout: u64) -> (Wechat, Clock, OpenId) {
    let config = WechatConfig {
        timeout: HumanDuration::secs(timeout),
        ..config(&server.base_url(), Some(SECRET))
    };
    let clock = Clock::manual(START);
    let client = Wechat::new(
        &config,
        Mode::Production,
        Metrics::new(),
        &clock,
        &Entropy::default(),
    )
    .unwrap();
    let openid = ask(&client, "alice-1").await.unwrap().openid;
    (client, clock, openid)
}

#[tokio::test]
async fn every_published_answer_is_understood() {
    let (server, openid) = (simulated().await, OpenId::parse("o1").unwrap());
    let vectors: Value = serde_json::from_str(include_str!(
        "../../../../tests/data/wechat-access-token.json"
    ))
    .unwrap();
    let mut seen = 0;
    for vector in vectors["responses"].as_array().unwrap() {
        if vector.get("context").is_some() {
            continue;
        }
        let client = client(&server, 5, &Metrics::new());
        server.set_response("stable_token", &vector["body"].to_string());
        server.set_response("any", r#"{"errcode":40029}"#);
        let id = vector["id"].as_str().unwrap();
        let expected = match vector["expect"].as_str().unwrap() {
            "ok" => WechatError::CodeInvalid,
            "config_error" => WechatError::Misconfigured,
            other => panic!("{other}"),
        };
        assert_eq!(
            ask_phone(&client, &openid, "any").await,
            Err(expected),
            "{id}"
        );
        seen += 1;
    }
    assert_eq!(
        server.tokens_seen(),
        [
            Some("ACCESS_TOKEN".to_owned()),
            Some("ACCESS_TOKEN".to_owned())
        ]
    );
    assert_eq!(seen, 8);
}

#[tokio::test]
async fn what_is_no_token_is_not_used() {
    let (server, openid) = (simulated().await, OpenId::parse("o1").unwrap());
    for (body, error) in [
        (json!({}), WechatError::Unusable),
        (json!({ "access_token": "t" }), WechatError::Unusable),
        (
            json!({ "access_token": "t", "expires_in": 0 }),
            WechatError::Unusable,
        ),
        (
            json!({ "access_token": "t", "expires_in": -1 }),
            WechatError::Unusable,
        ),
        (
            json!({ "access_token": "", "expires_in": 7200 }),
            WechatError::Unusable,
        ),
        (
            json!({ "access_token": "a b", "expires_in": 7200 }),
            WechatError::Unusable,
        ),
        (
            json!({ "access_token": "x".repeat(513), "expires_in": 7200 }),
            WechatError::Unusable,
        ),
        (json!(["t", 7200]), WechatError::Unusable),
        (json!({ "errcode": 40001 }), WechatError::Misconfigured),
        (json!({ "errcode": 42001 }), WechatError::Misconfigured),
        (
            json!({ "errcode": 45009 }),
            WechatError::RateLimited {
                retry_after: Duration::from_mins(10),
            },
        ),
        (
            json!({ "errcode": -1 }),
            WechatError::Busy {
                retry_after: Duration::from_secs(1),
            },
        ),
    ] {
        let client = client(&server, 5, &Metrics::new());
        server.set_response("stable_token", &body.to_string());
        assert_eq!(
            ask_phone(&client, &openid, "phone.13800138000-1").await,
            Err(error),
            "{body}"
        );
    }
    assert_eq!(server.tokens_seen(), [], "nobody was asked for a number");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_at_once_share_one_call() {
    let server = simulated().await;
    let (client, _, openid) = signed_in(&server, 5).await;
    let client = Arc::new(client);
    server.delay_tokens(Duration::from_millis(50));
    let ask_for = |number: String| {
        let (client, openid) = (Arc::clone(&client), openid.clone());
        tokio::spawn(async move {
            let phone = ask_phone(&client, &openid, &format!("phone.{number}-1")).await;
            assert_eq!(phone.unwrap().as_str(), format!("+86{number}"));
        })
    };
    let numbers = (0..50).map(|n| (13_800_138_000_u64 + n).to_string());
    for asked in join_all(numbers.map(ask_for)).await {
        asked.unwrap();
    }
    assert_eq!((server.token_calls(), server.tokens_seen().len()), (1, 50));
}

#[tokio::test]
async fn a_caller_who_gives_up_takes_the_call_from_nobody() {
    let server = simulated().await;
    let (client, _, openid) = signed_in(&server, 5).await;
    server.delay_tokens(Duration::from_millis(200));
    let impatient = ask_phone(&client, &openid, "phone.13800138001-1");
    assert!(
        tokio::time::timeout(Duration::from_millis(50), impatient)
            .await
            .is_err()
    );
    assert!(
        ask_phone(&client, &openid, "phone.13800138002-1")
            .await
            .is_ok()
    );
    assert_eq!(server.token_calls(), 1);
}

#[tokio::test]
async fn a_token_that_does_not_come_in_time_is_a_timeout() {
    let server = simulated().await;
    let (client, _, openid) = signed_in(&server, 1).await;
    server.delay_tokens(Duration::from_mins(1));
    assert_eq!(
        ask_phone(&client, &openid, "phone.13800138000-1").await,
        Err(WechatError::Timeout)
    );
}

#[tokio::test]
async fn a_token_is_renewed_ahead_of_its_end_and_nobody_waits() {
    let server = simulated().await;
    let (client, clock, openid) = signed_in(&server, 5).await;
    let mut turn = 0;
    let mut next = async || {
        turn += 1;
        ask_phone(&client, &openid, &format!("phone.13800138000-{turn}"))
            .await
            .unwrap();
        server.tokens_seen().last().cloned().flatten().unwrap()
    };
    let first = next().await;
    server.renew_tokens();
    // Two hours minus 240 s, minus up to 60 s of jitter.
    clock.advance(Duration::from_secs(7200 - 301));
    assert_eq!((next().await, server.token_calls()), (first.clone(), 1));
    clock.advance(Duration::from_secs(61));
    server.delay_tokens(Duration::from_millis(100));
    assert_eq!(
        next().await,
        first,
        "the old one is used while the new one is fetched"
    );
    while server.token_calls() < 2 {
        tokio::task::yield_now().await;
    }
    server.delay_tokens(Duration::ZERO);
    let second = loop {
        let token = next().await;
        if token != first {
            break token;
        }
    };
    clock.advance(Duration::from_mins(100));
    assert_eq!((next().await, server.token_calls()), (second, 2));
}

#[tokio::test]
async fn a_token_at_its_end_is_not_used() {
    let server = simulated().await;
    let (client, clock, openid) = signed_in(&server, 5).await;
    ask_phone(&client, &openid, "phone.13800138000-1")
        .await
        .unwrap();
    server.renew_tokens();
    clock.advance(Duration::from_secs(7200 - 30));
    ask_phone(&client, &openid, "phone.13800138000-2")
        .await
        .unwrap();
    let seen = server.tokens_seen();
    assert_eq!((server.token_calls(), seen[0] != seen[1]), (2, true));
}

#[tokio::test]
async fn renewing_ahead_of_time_is_not_tried_at_each_call() {
    let server = simulated().await;
    let (client, clock, openid) = signed_in(&server, 5).await;
    ask_phone(&client, &openid, "phone.13800138000-0")
        .await
        .unwrap();
    clock.advance(Duration::from_secs(7200 - 200));
    server.set_response("stable_token", r#"{"errcode":45009}"#);
    for turn in 1..20 {
        ask_phone(&client, &openid, &format!("phone.13800138000-{turn}"))
            .await
            .unwrap();
    }
    assert_eq!(server.token_calls(), 2);
    clock.advance(Duration::from_secs(10));
    for turn in 20..40 {
        ask_phone(&client, &openid, &format!("phone.13800138000-{turn}"))
            .await
            .unwrap();
    }
    assert_eq!(server.token_calls(), 3);
}

#[tokio::test]
async fn who_comes_late_with_a_refused_token_gets_the_new_one_that_is_there() {
    let server = simulated().await;
    let client = client(&server, 5, &Metrics::new());
    let WechatClient::Live(live) = &client.client else {
        panic!("not live")
    };
    let keeper = live.apps[0].tokens.as_ref().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    let refused = keeper.token(deadline).await.unwrap();
    server.renew_tokens();
    let newer = keeper.replace(&refused, deadline).await.unwrap();
    server.renew_tokens();
    for _ in 0..3 {
        assert_eq!(
            keeper.replace(&refused, deadline).await.unwrap().expose(),
            newer.expose()
        );
    }
    assert!(newer.expose() != refused.expose());
    assert_eq!(server.token_calls(), 2);
}

#[tokio::test]
async fn each_mini_program_has_its_own() {
    let known = [APP, "wx2"].map(|app_id| KnownApp {
        app_id: app_id.to_owned(),
        secret: SECRET.to_owned(),
    });
    let server = SimulatedWechat::start(known.to_vec()).await.unwrap();
    let mut config = config(&server.base_url(), Some(SECRET));
    let secret = Some(SecretText::new(SECRET.to_owned()));
    config.app.push(WechatApp {
        app_id: "wx2".to_owned(),
        secret,
        ..WechatApp::default()
    });
    let client = new(&config, Mode::Production).unwrap();
    for app in [APP, "wx2"].map(|app| AppId::parse(app).unwrap()) {
        let login = LoginCode::parse(&format!("alice-{app}")).unwrap();
        let openid = client.code_to_session(&app, &login).await.unwrap().openid;
        let code = PhoneCode::parse(&format!("phone.13800138000-{app}")).unwrap();
        assert!(
            client.phone_number(&app, &openid, &code).await.is_ok(),
            "{app}"
        );
    }
    assert_eq!(server.token_calls(), 2);
    let stranger = AppId::parse("wx3").unwrap();
    let (openid, code) = (
        OpenId::parse("o1").unwrap(),
        PhoneCode::parse("phone.13800138000-3").unwrap(),
    );
    assert_eq!(
        client.phone_number(&stranger, &openid, &code).await,
        Err(WechatError::Misconfigured)
    );
}

#[tokio::test]
async fn where_wechat_cloud_adds_it_no_token_is_sent() {
    let server = simulated().await;
    let config = WechatConfig {
        token_mode: TokenMode::None,
        ..config(&server.base_url(), Some(SECRET))
    };
    let client = new(&config, Mode::Production).unwrap();
    let openid = ask(&client, "alice-1").await.unwrap().openid;
    server.set_response("stale", r#"{"errcode":40001}"#);
    server.set_response("wrong", r#"{"errcode":40029}"#);
    assert_eq!(
        ask_phone(&client, &openid, "wrong").await,
        Err(WechatError::CodeInvalid)
    );
    assert_eq!(
        ask_phone(&client, &openid, "stale").await,
        Err(WechatError::Misconfigured)
    );
    assert_eq!(
        (server.token_calls(), server.tokens_seen()),
        (0, vec![None, None])
    );
}
