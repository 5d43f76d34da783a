//! The phone number of a phone code.

use serde_json::json;

use super::*;

pub(super) async fn ask_phone(
    client: &Wechat,
    openid: &OpenId,
    code: &str,
) -> Result<Phone, WechatError> {
    let app = client.app(None).unwrap();
    client
        .phone_number(&app, openid, &PhoneCode::parse(code).unwrap())
        .await
}

/// The server, a client of it and alice.
async fn signed_in(metrics: &Metrics) -> (SimulatedWechat, Wechat, OpenId) {
    let server = simulated().await;
    let client = client(&server, 5, metrics);
    let openid = ask(&client, "alice-1").await.unwrap().openid;
    (server, client, openid)
}

#[tokio::test]
async fn every_published_answer_is_understood() {
    let server = SimulatedWechat::start(vec![KnownApp {
        app_id: "xxxx".to_owned(),
        secret: SECRET.to_owned(),
    }])
    .await
    .unwrap();
    let config = WechatConfig {
        app_id: Some("xxxx".to_owned()),
        ..config(&server.base_url(), Some(SECRET))
    };
    let client = new(&config, Mode::Production).unwrap();
    let openid = ask(&client, "alice-1").await.unwrap().openid;
    let vectors: Value = serde_json::from_str(include_str!(
        "../../../../tests/data/wechat-getuserphonenumber.json"
    ))
    .unwrap();
    let mut seen = 0;
    for vector in vectors["responses"].as_array().unwrap() {
        let id = vector["id"].as_str().unwrap();
        // One example has a placeholder in place of the number.
        server.set_response(
            id,
            &vector["body"].to_string().replace("xxxxxx", "13800138000"),
        );
        let got = ask_phone(&client, &openid, id).await;
        match vector["expect"].as_str().unwrap() {
            "ok" => assert_eq!(got.unwrap().as_str(), "+8613800138000", "{id}"),
            "invalid_code" => assert_eq!(got, Err(WechatError::CodeInvalid), "{id}"),
            "retryable" => assert!(matches!(got, Err(WechatError::Busy { .. })), "{id}"),
            "config_error" | "token_refresh_then_retry_once" => {
                assert_eq!(got, Err(WechatError::Misconfigured), "{id}");
            }
            other => panic!("{other}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 7);
}

#[tokio::test]
async fn a_code_works_once_and_for_the_user_it_was_given_to() {
    let metrics = Metrics::new();
    let (server, client, alice) = signed_in(&metrics).await;
    let bob = ask(&client, "bob-1").await.unwrap().openid;
    let nobody = OpenId::parse("oNobodyHere").unwrap();
    let invalid = Err(WechatError::CodeInvalid);
    assert_eq!(
        ask_phone(&client, &bob, "phone.13800138000.alice-1").await,
        invalid
    );
    assert_eq!(
        ask_phone(&client, &nobody, "phone.13800138000-1").await,
        invalid
    );
    assert_eq!(
        ask_phone(&client, &alice, "alice-2").await,
        invalid,
        "a login code is no phone code"
    );
    let phone = ask_phone(&client, &alice, "phone.13800138000.alice-1")
        .await
        .unwrap();
    assert_eq!(phone.as_str(), "+8613800138000");
    assert_eq!(
        ask_phone(&client, &alice, "phone.13800138000.alice-1").await,
        invalid
    );
    assert_eq!(server.calls_for("phone.13800138000.alice-1"), 3);
    let calls = |class| {
        metrics
            .wechat_calls
            .with_label_values(&["getuserphonenumber", class])
            .get()
    };
    assert_eq!((calls("ok"), calls("code_invalid")), (1, 4));
    assert_eq!(
        metrics
            .wechat_calls
            .with_label_values(&["stable_token", "ok"])
            .get(),
        1
    );
}

#[tokio::test]
async fn each_success_is_paid_for_and_nothing_else() {
    let metrics = Metrics::new();
    let (server, client, openid) = signed_in(&metrics).await;
    for code in [
        "phone.13800138000-1",
        "phone.13800138000-1",
        "fail.40029",
        "busy",
        "phone.13800138000-2",
        "garbage",
    ] {
        let _ = ask_phone(&client, &openid, code).await;
    }
    assert!((metrics.wechat_phone_cost.get() - 0.06).abs() < 1e-9);
    // WeChat has returned a number here too, so it is charged for although it is unusable.
    server.set_response(
        "foreign",
        &good("13800138000", "13800138000", "86", "wx-other"),
    );
    assert_eq!(
        ask_phone(&client, &openid, "foreign").await,
        Err(WechatError::Unusable)
    );
    assert!(
        metrics
            .render()
            .contains("menshen_wechat_phone_cost_cny_total 0.09"),
        "{}",
        metrics.render()
    );
}

#[tokio::test]
async fn misbehaviour_has_a_name_and_busy_alone_is_asked_again() {
    let (server, client, openid) = signed_in(&Metrics::new()).await;
    let busy = WechatError::Busy {
        retry_after: Duration::from_secs(1),
    };
    for (code, calls, expected) in [
        ("once-1", 2, None),
        ("busy-1", 2, Some(busy)),
        ("slow.20-1", 1, None),
        ("fail.40029", 1, Some(WechatError::CodeInvalid)),
        ("text.40163", 1, Some(WechatError::CodeInvalid)),
        ("fail.40013", 1, Some(WechatError::CodeInvalid)),
        (
            "fail.45011",
            1,
            Some(WechatError::RateLimited {
                retry_after: Duration::from_mins(1),
            }),
        ),
        ("fail.48001", 1, Some(WechatError::Misconfigured)),
        ("fail.99999", 1, Some(WechatError::Unusable)),
        ("empty", 1, Some(WechatError::Broken)),
        ("garbage", 1, Some(WechatError::Broken)),
        ("huge", 1, Some(WechatError::Broken)),
        ("cut", 1, Some(WechatError::Broken)),
        ("down", 1, Some(WechatError::Broken)),
        ("moved", 1, Some(WechatError::Broken)),
    ] {
        assert_eq!(
            ask_phone(&client, &openid, code).await.err(),
            expected,
            "{code}"
        );
        assert_eq!(server.calls_for(code), calls, "{code}");
    }
    assert_eq!(server.token_calls(), 1);
}

#[tokio::test]
async fn a_slow_answer_ends_with_the_time_and_is_not_asked_for_again() {
    let server = simulated().await;
    let client = client(&server, 1, &Metrics::new());
    let openid = ask(&client, "alice-1").await.unwrap().openid;
    assert_eq!(
        ask_phone(&client, &openid, "slow.30000").await,
        Err(WechatError::Timeout)
    );
    assert_eq!(server.calls_for("slow.30000"), 1);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let (server, client, openid) = signed_in(&Metrics::new()).await;
    drop(server);
    let error = ask_phone(&client, &openid, "phone.13800138000-1")
        .await
        .unwrap_err();
    assert!(
        matches!(error, WechatError::Unreachable | WechatError::Broken),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_replaced_once() {
    for errcode in [40001, 40014, 42001] {
        let metrics = Metrics::new();
        let (server, client, openid) = signed_in(&metrics).await;
        ask_phone(&client, &openid, "phone.13800138000-1")
            .await
            .unwrap();
        server.revoke_tokens(errcode);
        ask_phone(&client, &openid, "phone.13800138000-2")
            .await
            .unwrap();
        let tokens = server.tokens_seen();
        assert_eq!((server.token_calls(), tokens.len()), (2, 3), "{errcode}");
        assert!(
            tokens[0] == tokens[1] && tokens[1] != tokens[2],
            "{errcode}"
        );
        assert_eq!(
            metrics
                .wechat_calls
                .with_label_values(&["getuserphonenumber", "stale_token"])
                .get(),
            1
        );
    }
}

#[tokio::test]
async fn all_who_hold_a_revoked_token_share_one_new_one() {
    let (server, client, openid) = signed_in(&Metrics::new()).await;
    ask_phone(&client, &openid, "phone.13800138000-0")
        .await
        .unwrap();
    server.revoke_tokens(40001);
    let codes: Vec<_> = (1..=20)
        .map(|turn| format!("phone.13800138000-{turn}"))
        .collect();
    let asked =
        futures::future::join_all(codes.iter().map(|code| ask_phone(&client, &openid, code))).await;
    assert!(asked.iter().all(Result::is_ok));
    assert_eq!(server.token_calls(), 2);
}

#[tokio::test]
async fn the_same_token_again_is_for_the_operator_and_ends_there() {
    let (server, client, openid) = signed_in(&Metrics::new()).await;
    assert_eq!(
        ask_phone(&client, &openid, "fail.40001").await,
        Err(WechatError::Misconfigured)
    );
    assert_eq!(
        (server.calls_for("fail.40001"), server.token_calls()),
        (1, 2)
    );
}

#[tokio::test]
async fn a_new_token_that_is_not_taken_either_ends_there() {
    let (server, client, openid) = signed_in(&Metrics::new()).await;
    ask_phone(&client, &openid, "phone.13800138000-1")
        .await
        .unwrap();
    server.renew_tokens();
    assert_eq!(
        ask_phone(&client, &openid, "fail.42001").await,
        Err(WechatError::Misconfigured)
    );
    assert_eq!(
        (server.calls_for("fail.42001"), server.token_calls()),
        (2, 2)
    );
}

#[tokio::test]
async fn an_answer_has_to_be_about_one_number_and_this_mini_program() {
    let (server, client, openid) = signed_in(&Metrics::new()).await;
    let mut turn = 0;
    let mut read = async |body: &str| {
        turn += 1;
        let code = format!("written{turn}");
        server.set_response(&code, body);
        ask_phone(&client, &openid, &code).await.map(String::from)
    };
    for (body, number) in [
        (
            good("13800138000", "13800138000", "86", APP),
            "+8613800138000",
        ),
        (
            good("13800138000", "13800138000", 86, APP),
            "+8613800138000",
        ),
        (good("85291234567", "91234567", "852", APP), "+85291234567"),
        (good("+85291234567", "91234567", 852, APP), "+85291234567"),
        (
            good("13800138000", "13800138000", "86", APP)
                .replace("\"watermark\"", "\"more\":[1],\"watermark\""),
            "+8613800138000",
        ),
    ] {
        assert_eq!(read(&body).await.as_deref(), Ok(number), "{body}");
    }
    for body in [
        good("13800138000", "13800138000", "86", "wx-other"),
        good("13800138001", "13800138000", "86", APP),
        good("8613800138000", "13800138000", "86", APP),
        good("91234567", "91234567", "852", APP),
        good("12345", "12345", "86", APP),
        good("13800138000", "13800138000", 86.0, APP),
        good("13800138000", "13800138000", -86, APP),
        good("13800138000", "13800138000", Value::Null, APP),
        good("13800138000", "13800138000", "86", APP)
            .replace("\"watermark\"", "\"countryCode\":\"86\",\"watermark\""),
        r#"{"errcode":0,"phone_info":null}"#.to_owned(),
        r#"{"errcode":0,"phone_info":["13800138000","13800138000","86",[1,"wx0123456789abcdef"]]}"#
            .to_owned(),
        r#"{"errcode":0,"errmsg":"ok"}"#.to_owned(),
    ] {
        assert_eq!(read(&body).await, Err(WechatError::Unusable), "{body}");
    }
}

#[tokio::test]
async fn in_development_a_phone_code_is_its_own_number_without_network() {
    let client = new(
        &config("https://api.weixin.qq.com", Some(SECRET)),
        Mode::Development,
    )
    .unwrap();
    let openid = OpenId::parse("alice").unwrap();
    for code in ["13800138000", "+8613800138000", "138-0013-8000"] {
        assert_eq!(
            ask_phone(&client, &openid, code).await.unwrap().as_str(),
            "+8613800138000"
        );
    }
    for code in ["alice", "12345", "+85291234567"] {
        assert_eq!(
            ask_phone(&client, &openid, code).await,
            Err(WechatError::CodeInvalid),
            "{code}"
        );
    }
}

#[tokio::test]
async fn the_simulated_phone_button_can_be_decrypted_with_the_key_of_the_login() {
    let server = simulated().await;
    let config = WechatConfig {
        legacy_decrypt: true,
        ..config(&server.base_url(), Some(SECRET))
    };
    let client = new(&config, Mode::Production).unwrap();
    let key = ask(&client, "alice-1").await.unwrap().session_key.unwrap();
    let other = ask(&client, "alice-2").await.unwrap().session_key.unwrap();
    let (encrypted_data, iv) =
        SimulatedWechat::encrypted_phone(APP, "alice-1", "13800138000", START.as_secs());
    let sent = EncryptedPhone {
        encrypted_data: &encrypted_data,
        iv: &iv,
    };
    let decryption = client.phone_decryption().unwrap();
    let app = client.app(None).unwrap();
    for keys in [vec![key.clone()], vec![other.clone(), key]] {
        assert_eq!(
            decryption.phone(&app, &keys, &sent).unwrap().phone.as_str(),
            "+8613800138000"
        );
    }
    assert_eq!(decryption.phone(&app, &[other], &sent), Err(DecryptFailed));
    let without = super::config(&server.base_url(), Some(SECRET));
    assert!(
        new(&without, Mode::Production)
            .unwrap()
            .phone_decryption()
            .is_none(),
        "off unless asked for"
    );
}

fn good(full: &str, pure: &str, country: impl Into<Value>, app_id: &str) -> String {
    json!({
        "errcode": 0,
        "errmsg": "ok",
        "phone_info": {
            "phoneNumber": full,
            "purePhoneNumber": pure,
            "countryCode": country.into(),
            "watermark": { "timestamp": 1_637_744_274, "appid": app_id },
        },
    })
    .to_string()
}
