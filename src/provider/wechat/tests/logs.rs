//! Log lines about calls of WeChat.

use super::{phone::ask_phone, *};
use crate::telemetry::LogCapture;

/// Everything that is logged while `story` runs.
async fn said<T>(story: impl Future<Output = T>) -> (String, T) {
    let log_capture = LogCapture::start();
    let told = story.await;
    (log_capture.finish(), told)
}

#[tokio::test]
async fn the_same_refused_token_again_is_one_error_line() {
    let server = simulated().await;
    let client = client(&server, 5, &Metrics::new());
    let openid = ask(&client, "alice-1").await.unwrap().openid;
    let (lines, error) = said(ask_phone(&client, &openid, "fail.40001")).await;
    assert_eq!(error, Err(WechatError::Misconfigured));
    assert_eq!(lines.matches("ERROR").count(), 1, "{lines}");
    assert!(
        lines.contains("an access token that it refuses") && lines.contains(APP),
        "{lines}"
    );

    server.renew_tokens();
    let (lines, error) = said(ask_phone(&client, &openid, "fail.40014")).await;
    assert_eq!(error, Err(WechatError::Misconfigured));
    assert_eq!(lines.matches("ERROR").count(), 1, "{lines}");
}

#[tokio::test]
async fn no_line_holds_a_secret_token_phone_code_or_openid() {
    let server = simulated().await;
    let config = WechatConfig {
        legacy_decrypt: true,
        timeout: HumanDuration::secs(1),
        ..config(&server.base_url(), Some(SECRET))
    };
    let client = new(&config, Mode::Production).unwrap();
    let story = async {
        let alice = ask(&client, "c0de-1").await.unwrap();
        for code in [
            "phone.13800138000-c0de",
            "phone.13800138000-c0de",
            "fail.40029-c0de",
            "fail.48001-c0de",
            "fail.40001-c0de",
            "once-c0de",
            "busy-c0de",
            "empty-c0de",
            "garbage-c0de",
            "huge-c0de",
            "cut-c0de",
            "down-c0de",
            "slow.9000-c0de",
        ] {
            let _ = ask_phone(&client, &alice.openid, code).await;
        }
        server.revoke_tokens(42001);
        ask_phone(&client, &alice.openid, "phone.13800138000-c0de2")
            .await
            .unwrap();
        server.revoke_tokens(42001);
        server.set_response(
            "stable_token",
            r#"{"errcode":40125,"errmsg":"invalid s3cret, rid: 77-token"}"#,
        );
        ask_phone(&client, &alice.openid, "phone.13800138000-c0de3")
            .await
            .unwrap_err();
        let (data, iv) =
            SimulatedWechat::encrypted_phone(APP, "c0de-1", "13800138000", START.as_secs());
        let key = alice.session_key.clone().unwrap();
        let sent = EncryptedPhone {
            encrypted_data: &data,
            iv: &iv,
        };
        let (app, decryption) = (
            client.app(None).unwrap(),
            client.phone_decryption().unwrap(),
        );
        tracing::info!("{:?}", decryption.phone(&app, &[key], &sent));
        tracing::info!(
            "{:?} {sent:?} {decryption:?}",
            decryption.phone(&app, &[], &sent)
        );
        (alice, data, iv)
    };
    let (lines, (alice, data, iv)) = said(story).await;
    for expected in [
        "errcode=40029",
        "errcode=40125",
        "77-token",
        "rid",
        "getuserphonenumber",
        "stable_token",
        "***",
    ] {
        assert!(lines.contains(expected), "{expected} is not in:\n{lines}");
    }
    let key = alice.session_key.unwrap();
    let tokens: Vec<_> = server.tokens_seen().into_iter().flatten().collect();
    assert!(tokens.len() > 10);
    let hidden = [
        "c0de",
        "s3cret",
        "13800138000",
        "access_token=",
        alice.openid.as_str(),
        key.expose(),
        &data,
        &iv,
    ];
    for hidden in hidden.into_iter().chain(tokens.iter().map(String::as_str)) {
        assert!(!lines.contains(hidden), "{hidden} is in:\n{lines}");
    }
}
