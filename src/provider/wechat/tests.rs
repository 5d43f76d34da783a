//! What `provider::wechat` promises.

mod access_token;
mod logs;
mod phone;

use std::time::Instant;

use serde_json::Value;

use super::*;
use crate::{
    config::{HumanDuration, SecretText, WechatApp},
    dev::wechat::{KnownApp, SimulatedWechat},
    types::Timestamp,
};

const APP: &str = "wx0123456789abcdef";
const SECRET: &str = "s3cret&=+%/ with spaces";
const START: Timestamp = Timestamp::from_secs(1_800_000_000);

async fn simulated() -> SimulatedWechat {
    SimulatedWechat::start(vec![KnownApp {
        app_id: APP.to_owned(),
        secret: SECRET.to_owned(),
    }])
    .await
    .unwrap()
}

fn config(base_url: &str, secret: Option<&str>) -> WechatConfig {
    WechatConfig {
        base_url: base_url.to_owned(),
        timeout: HumanDuration::secs(5),
        app_id: Some(APP.to_owned()),
        secret: secret.map(|text| SecretText::new(text.to_owned())),
        ..WechatConfig::default()
    }
}

fn client(server: &SimulatedWechat, timeout: u64, metrics: &Metrics) -> Wechat {
    let config = WechatConfig {
        timeout: HumanDuration::secs(timeout),
        ..config(&server.base_url(), Some(SECRET))
    };
    Wechat::new(
        &config,
        Mode::Production,
        metrics.clone(),
        &Clock::manual(START),
        &Entropy::default(),
    )
    .unwrap()
}

/// From the config, with a clock that stands still.
fn new(config: &WechatConfig, mode: Mode) -> Result<Wechat, WechatSetupError> {
    Wechat::new(
        config,
        mode,
        Metrics::new(),
        &Clock::manual(START),
        &Entropy::default(),
    )
}

async fn ask(client: &Wechat, code: &str) -> Result<WechatIdentity, WechatError> {
    let app = client.app(None).unwrap();
    client
        .code_to_session(&app, &LoginCode::parse(code).unwrap())
        .await
        .map_err(|refused| refused.why)
}

#[tokio::test]
async fn every_published_answer_is_understood() {
    let server = simulated().await;
    let client = client(&server, 5, &Metrics::new());
    let vectors: Value =
        serde_json::from_str(include_str!("../../../tests/data/wechat-code2session.json")).unwrap();
    let mut seen = 0;
    for vector in vectors["responses"].as_array().unwrap() {
        let id = vector["id"].as_str().unwrap();
        let body = vector.get("body_raw").map_or_else(
            || vector["body"].to_string(),
            |raw| raw.as_str().unwrap().to_owned(),
        );
        server.set_response(id, &body);
        let got = ask(&client, id).await;
        let class = got.as_ref().map_or_else(WechatError::class, |_| "ok");
        let expected = match vector["expect"].as_str().unwrap() {
            "ok" => "ok",
            "invalid_code" | "code_used" => "code_invalid",
            "user_blocked" => "blocked",
            "rate_limited" => "rate_limited",
            "retryable" => "busy",
            "config_error" => "misconfigured",
            "upstream_error" => "unusable",
            other => panic!("{other}"),
        };
        assert_eq!(class, expected, "{id}");
        if let Ok(identity) = got {
            assert_eq!(
                identity.openid.as_str(),
                vector["body"]["openid"].as_str().unwrap(),
                "{id}"
            );
            assert_eq!(
                identity.session_key.unwrap().expose(),
                vector["body"]["session_key"].as_str().unwrap(),
                "{id}"
            );
            assert_eq!(
                identity.unionid.is_some(),
                vector["body"].get("unionid").is_some(),
                "{id}"
            );
        }
        seen += 1;
    }
    assert_eq!(seen, 13);
}

#[tokio::test]
async fn secret_and_code_arrive_as_they_are() {
    let server = simulated().await;
    let client = client(&server, 5, &Metrics::new());
    let code = "a&appid=x=+%2b#?/\"'";
    assert!(ask(&client, code).await.is_ok());
    assert_eq!(server.calls_for(code), 1);
    assert_eq!(
        ask(&client, code).await.unwrap_err(),
        WechatError::CodeInvalid,
        "a code works once"
    );
}

#[tokio::test]
async fn busy_is_asked_again_exactly_once_and_nothing_else_is() {
    let server = simulated().await;
    let metrics = Metrics::new();
    let client = client(&server, 5, &metrics);
    let code_invalid = WechatError::CodeInvalid;
    let busy = WechatError::Busy {
        retry_after: Duration::from_secs(1),
    };
    for (code, calls, expected) in [
        ("alice-1", 1, None),
        ("once-1", 2, None),
        ("busy-1", 2, Some(busy)),
        ("fail.40029", 1, Some(code_invalid)),
        ("text.40163", 1, Some(code_invalid)),
        ("fail.40226", 1, Some(WechatError::Blocked)),
        (
            "fail.45011",
            1,
            Some(WechatError::RateLimited {
                retry_after: Duration::from_mins(1),
            }),
        ),
        ("fail.40125", 1, Some(WechatError::Misconfigured)),
        ("fail.99999", 1, Some(WechatError::Unusable)),
        ("empty", 1, Some(WechatError::Broken)),
        ("garbage", 1, Some(WechatError::Broken)),
        ("huge", 1, Some(WechatError::Broken)),
        ("cut", 1, Some(WechatError::Broken)),
        ("down", 1, Some(WechatError::Broken)),
        ("moved", 1, Some(WechatError::Broken)),
    ] {
        assert_eq!(ask(&client, code).await.err(), expected, "{code}");
        assert_eq!(server.calls_for(code), calls, "{code}");
    }
    assert_eq!(server.calls_for("moved"), 1, "a redirect is not followed");
    assert_eq!(
        metrics
            .wechat_calls
            .with_label_values(&["jscode2session", "busy"])
            .get(),
        3
    );
    assert_eq!(
        metrics
            .wechat_calls
            .with_label_values(&["jscode2session", "ok"])
            .get(),
        2
    );
}

#[tokio::test]
async fn a_slow_answer_ends_with_the_time_and_is_not_asked_for_again() {
    let server = simulated().await;
    let client = client(&server, 1, &Metrics::new());
    let begun = Instant::now();
    assert_eq!(
        ask(&client, "slow.30000").await.unwrap_err(),
        WechatError::Timeout
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(server.calls_for("slow.30000"), 1);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let base_url = simulated().await.base_url();
    let client = new(&config(&base_url, Some(SECRET)), Mode::Production).unwrap();
    let error = ask(&client, "alice-1").await.unwrap_err();
    assert!(
        matches!(error, WechatError::Unreachable | WechatError::Broken),
        "{error:?}"
    );
}

#[tokio::test]
async fn neither_secret_nor_code_is_in_any_text_about_a_failure() {
    let server = simulated().await;
    let client = client(&server, 1, &Metrics::new());
    for code in [
        "fail.40125-c0de",
        "garbage-c0de",
        "cut-c0de",
        "huge-c0de",
        "slow.9000-c0de",
    ] {
        let error = ask(&client, code).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("c0de") && !text.contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_for_the_operator() {
    let server = simulated().await;
    let client = new(&config(&server.base_url(), Some("other")), Mode::Production).unwrap();
    assert_eq!(
        ask(&client, "alice-1").await.unwrap_err(),
        WechatError::Misconfigured
    );
}

#[tokio::test]
async fn in_development_a_code_is_its_own_openid_without_network() {
    let here = config("https://api.weixin.qq.com", Some(SECRET));
    let client = new(&here, Mode::Development).unwrap();
    assert!(client.codes_are_reusable());
    assert_eq!(
        ask(&client, "alice").await.unwrap().openid.as_str(),
        "alice"
    );
    assert_eq!(
        ask(&client, "a/b").await.unwrap_err(),
        WechatError::CodeInvalid
    );
}

#[test]
fn the_network_is_used_in_production_and_for_a_simulated_wechat() {
    let live = |mode, base_url: &str, secret| {
        new(&config(base_url, secret), mode).map(|client| !client.codes_are_reusable())
    };
    assert_eq!(
        live(Mode::Development, "http://127.0.0.1:1", Some(SECRET)),
        Ok(true)
    );
    assert_eq!(
        live(Mode::Development, "http://127.0.0.1:1", None),
        Ok(false)
    );
    assert_eq!(
        live(Mode::Development, "https://api.weixin.qq.com", Some(SECRET)),
        Ok(false)
    );
    assert_eq!(
        live(Mode::Production, "http://127.0.0.1:1", None),
        Err(WechatSetupError::NoSecret(AppId::parse(APP).unwrap()))
    );
    assert_eq!(
        live(Mode::Production, "http://127.0.0.1:1", Some("")),
        Err(WechatSetupError::NoSecret(AppId::parse(APP).unwrap()))
    );
    assert_eq!(
        live(Mode::Production, "nowhere", Some(SECRET)),
        Err(WechatSetupError::BaseUrl)
    );
    let none = WechatConfig {
        base_url: "http://127.0.0.1:1".to_owned(),
        ..WechatConfig::default()
    };
    assert_eq!(
        new(&none, Mode::Production).err().unwrap(),
        WechatSetupError::NoApp
    );
}

#[test]
fn a_login_is_for_a_mini_program_that_is_ours() {
    let id = |text: &str| AppId::parse(text).unwrap();
    let mut several = config("http://127.0.0.1:1", Some(SECRET));
    several.app.push(WechatApp {
        app_id: "wx2".to_owned(),
        secret: Some(SecretText::new("2".to_owned())),
        ..WechatApp::default()
    });
    let client = new(&several, Mode::Production).unwrap();
    assert_eq!(client.app(None), Some(id(APP)), "the first without a wish");
    assert_eq!(client.app(Some(&id("wx2"))), Some(id("wx2")));
    assert_eq!(client.app(Some(&id("wx3"))), None);
    let any = new(&WechatConfig::default(), Mode::Development).unwrap();
    assert_eq!(any.app(Some(&id("wx3"))), Some(id("wx3")));
    assert_eq!(any.app(None), Some(id(DEVELOPMENT_APP)));
}
