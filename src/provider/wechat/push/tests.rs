//! Pushes as WeChat and its published samples make them.

use aes::{
    Aes256,
    cipher::{BlockModeEncrypt, KeyIvInit},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::*;
use crate::{
    config::{HumanDuration, SecretText, WechatApp},
    types::OpenId,
};

const TOKEN: &str = "QDG6eK";
const KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";
const APP: &str = "wx5823bf96d3bd56c7";
/// The published sample of `WXBizMsgCrypt`, as many SDKs test with it.
const SAMPLE: &str = "RypEvHKD8QQKFhvQ6QleEB4J58tiPdvo+rtK1I9qca6aM/wvqnLSV5zEPeusUiX5L5X/0lWfrf0QADHHhGd3QczcdCUpj911L3vg3W/sYYvuJTs3TUUkSUXxaccAS0qhxchrRYt66wiSpGLYL42aM6A8dTT+6k4aSknmPj48kzJs8qLjvd4Xgpue06DOdnLxAUHzM6+kDZ+HMZfJYuR+LtwGc2hgf5gsijff0ekUNXZiqATP7PF5mZxZ3Izoun1s4zG4LUMnvw2r+KqCKIw+3IQH03v+BCA9nMELNqbSf6tiWSrXJB3LAVGUcallcrw8V2t9EL4EhzJWrQUax5wLVMNS0+rUPA3k22Ncx4XXZS9o0MBH27Bo6BpNelZpS+/uh9KsNlY6bHCmJU9p8g7m3fVKn28H3KDYA5Pl/T8Z1ptDAVe0lXdQ2YoyyH2uyPIGHBZZIs2pDBS8R07+qN+E7Q==";
const NOW: u64 = 1_409_659_813;

fn app(app_id: &str, token: &str, key: Option<&str>) -> WechatApp {
    let secret = |text: &str| SecretText::new(text.to_owned());
    WechatApp {
        app_id: app_id.to_owned(),
        push_token: Some(secret(token)),
        push_aes_key: key.map(secret),
        ..WechatApp::default()
    }
}

fn pushes(apps: Vec<WechatApp>, plain: bool) -> PushReceiver {
    let mut config = WechatConfig {
        app: apps,
        ..WechatConfig::default()
    };
    config.push.enabled = true;
    config.push.plain = plain;
    config.push.max_age = HumanDuration::minutes(10);
    PushReceiver::new(&config, &Clock::manual(Timestamp::from_secs(NOW))).unwrap()
}

fn safe() -> PushReceiver {
    pushes(vec![app(APP, TOKEN, Some(KEY))], false)
}

fn signature(token: &str, timestamp: &str, nonce: &str, sealed: Option<&str>) -> String {
    let mut parts: Vec<&str> = [token, timestamp, nonce]
        .into_iter()
        .chain(sealed)
        .collect();
    parts.sort_unstable();
    hex::encode(aws_lc_rs::digest::digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        parts.concat().as_bytes(),
    ))
}

fn query(token: &str, timestamp: u64, sealed: Option<&str>) -> PushQuery {
    let (timestamp, nonce) = (timestamp.to_string(), "1372623149".to_owned());
    let signature = |sealed| signature(token, &timestamp, &nonce, sealed);
    PushQuery {
        signature: signature(None),
        msg_signature: signature(sealed),
        timestamp,
        nonce,
        echostr: String::new(),
    }
}

/// As WeChat encrypts a message, with this padding.
fn sealed(message: &[u8], app_id: &str, padding: impl Fn(usize) -> Vec<u8>) -> String {
    let key = STANDARD
        .decode("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2A=")
        .unwrap();
    let mut plain = [
        b"0123456789abcdef",
        &u32::try_from(message.len()).unwrap().to_be_bytes()[..],
        message,
        app_id.as_bytes(),
    ]
    .concat();
    plain.extend(padding(32 - plain.len() % 32));
    let (blocks, rest) = aes::Block::slice_as_chunks_mut(&mut plain);
    assert!(rest.is_empty());
    let (key, iv): (&[u8; 32], &[u8; 16]) = (
        key.as_slice().try_into().unwrap(),
        key[..16].try_into().unwrap(),
    );
    cbc::Encryptor::<Aes256>::new(key.into(), iv.into()).encrypt_blocks(blocks);
    STANDARD.encode(plain)
}

fn pkcs7(length: usize) -> Vec<u8> {
    vec![u8::try_from(length).unwrap(); length]
}

fn event(name: &str, more: &[(&str, serde_json::Value)]) -> serde_json::Value {
    let mut event = json!({
        "ToUserName": "gh_1", "FromUserName": "o_wechat", "CreateTime": NOW, "MsgType": "event", "Event": name,
        "OpenID": "o-alice", "AppID": APP
    });
    for (name, value) in more {
        event[*name] = value.clone();
    }
    event
}

fn in_safe_mode(
    pushes: &PushReceiver,
    message: &[u8],
    as_json: bool,
) -> Result<PushMessage, PushRejection> {
    let sealed = sealed(message, APP, pkcs7);
    let body = if as_json {
        json!({ "ToUserName": "gh_1", "Encrypt": sealed }).to_string()
    } else {
        format!(
            "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>"
        )
    };
    pushes.read(&query(TOKEN, NOW, Some(&sealed)), body.as_bytes())
}

fn change(pushed: PushMessage) -> AuthorizationChange {
    match pushed {
        PushMessage::Authorization(event) => {
            assert_eq!(
                (event.openid, event.app_id.as_str()),
                (OpenId::parse("o-alice").unwrap(), APP)
            );
            event.change
        }
        PushMessage::Other => panic!("not about anybody's data"),
    }
}

#[test]
fn the_published_sample_opens() {
    let query = PushQuery {
        msg_signature: "477715d11cdb4164915debcba66cb864d751f3e6".to_owned(),
        timestamp: NOW.to_string(),
        nonce: "1372623149".to_owned(),
        ..PushQuery::default()
    };
    let body = format!(
        "<xml><ToUserName><![CDATA[{APP}]]></ToUserName><Encrypt><![CDATA[{SAMPLE}]]></Encrypt></xml>"
    );
    assert_eq!(
        safe().read(&query, body.as_bytes()),
        Ok(PushMessage::Other),
        "a text message"
    );
    let (message, named) = PushKey::parse(KEY).unwrap().open(SAMPLE).unwrap();
    assert_eq!(named, APP.as_bytes());
    let message = std::str::from_utf8(&message).unwrap();
    assert!(
        message.starts_with("<xml><ToUserName><![CDATA[wx5823bf96d3bd56c7]]></ToUserName>"),
        "{message}"
    );
}

#[test]
fn each_event_is_read_in_json_and_xml() {
    let pushes = safe();
    for (name, revoked, expected) in [
        (
            "user_authorization_cancellation",
            None,
            AuthorizationChange::Cancelled,
        ),
        (
            "user_info_modified",
            None,
            AuthorizationChange::ProfileCleaned,
        ),
        (
            "user_authorization_revoke",
            None,
            AuthorizationChange::Revoked(None),
        ),
        (
            "user_authorization_revoke",
            Some(""),
            AuthorizationChange::Revoked(None),
        ),
        (
            "user_authorization_revoke",
            Some("8"),
            AuthorizationChange::Revoked(Some(vec![8])),
        ),
        (
            "user_authorization_revoke",
            Some("6, 8,13"),
            AuthorizationChange::Revoked(Some(vec![6, 8, 13])),
        ),
        (
            "user_authorization_revoke",
            Some("8;9"),
            AuthorizationChange::Revoked(Some(vec![6, 8])),
        ),
    ] {
        let more: Vec<_> = revoked
            .map(|kinds| ("RevokeInfo", json!(kinds)))
            .into_iter()
            .collect();
        let message = event(name, &more);
        for as_json in [true, false] {
            let read = in_safe_mode(&pushes, message.to_string().as_bytes(), as_json).unwrap();
            assert_eq!(change(read), expected, "{message}");
        }
        let fields: String = message
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| match value.as_str() {
                Some(text) => format!("<{name}><![CDATA[{text}]]></{name}>"),
                None => format!("<{name}>{value}</{name}>"),
            })
            .collect();
        let read = in_safe_mode(&pushes, format!("<xml>{fields}</xml>").as_bytes(), false).unwrap();
        assert_eq!(change(read), expected, "{fields}");
    }
}

#[test]
fn whatever_is_not_signed_now_and_for_this_app_is_refused() {
    let pushes = safe();
    let message = event("user_authorization_cancellation", &[]).to_string();
    let sealed_message = sealed(message.as_bytes(), APP, pkcs7);
    let body = json!({ "Encrypt": sealed_message }).to_string();
    let good = query(TOKEN, NOW, Some(&sealed_message));
    assert!(pushes.read(&good, body.as_bytes()).is_ok());
    let read = |query: PushQuery| pushes.read(&query, body.as_bytes());
    for (query, refused) in [
        (
            query("another", NOW, Some(&sealed_message)),
            PushRejection::Forged,
        ),
        (
            PushQuery {
                msg_signature: good.signature.clone(),
                ..good.clone()
            },
            PushRejection::Forged,
        ),
        (
            PushQuery {
                msg_signature: String::new(),
                ..good.clone()
            },
            PushRejection::Forged,
        ),
        (
            PushQuery {
                msg_signature: good.msg_signature.to_uppercase(),
                ..good.clone()
            },
            PushRejection::Forged,
        ),
        (
            PushQuery {
                nonce: "x".to_owned(),
                ..good.clone()
            },
            PushRejection::Forged,
        ),
        (
            query(TOKEN, NOW - 601, Some(&sealed_message)),
            PushRejection::Stale,
        ),
        (
            query(TOKEN, NOW + 301, Some(&sealed_message)),
            PushRejection::Stale,
        ),
    ] {
        assert_eq!(read(query), Err(refused));
    }
    // The sender cannot move the boundary between time and nonce.
    let (time, nonce) = (
        &good.timestamp[..9],
        format!("{}{}", &good.timestamp[9..], good.nonce),
    );
    let moved = PushQuery {
        msg_signature: signature(TOKEN, time, &nonce, Some(&sealed_message)),
        timestamp: time.to_owned(),
        nonce,
        ..good
    };
    assert_eq!(read(moved), Err(PushRejection::Stale));
}

#[test]
fn what_does_not_open_or_is_about_another_app_is_refused() {
    let pushes = safe();
    let message = event("user_authorization_cancellation", &[]).to_string();
    let sealed_message = sealed(message.as_bytes(), APP, pkcs7);
    let opens = |sealed: &str| {
        let body = json!({ "Encrypt": sealed }).to_string();
        pushes.read(&query(TOKEN, NOW, Some(sealed)), body.as_bytes())
    };
    assert_eq!(
        opens(&sealed(message.as_bytes(), "wx_another", pkcs7)),
        Err(PushRejection::OtherApp)
    );
    assert_eq!(
        opens(&sealed(message.as_bytes(), APP, |length| vec![0; length])),
        Err(PushRejection::Forged)
    );
    for sealed in [
        "",
        "AAAA",
        "not base64",
        &sealed_message[..sealed_message.len() - 4],
    ] {
        assert_eq!(opens(sealed), Err(PushRejection::Forged), "{sealed}");
    }
    let elsewhere = event(
        "user_authorization_cancellation",
        &[("AppID", json!("wx_another"))],
    )
    .to_string();
    assert_eq!(
        in_safe_mode(&pushes, elsewhere.as_bytes(), true),
        Err(PushRejection::OtherApp)
    );
    for unreadable in [
        "",
        "{",
        "<xml>",
        &event("user_info_modified", &[("OpenID", json!("a b"))]).to_string(),
    ] {
        assert_eq!(
            in_safe_mode(&pushes, unreadable.as_bytes(), true),
            Err(PushRejection::Unreadable),
            "{unreadable}"
        );
    }
}

#[test]
fn a_body_that_nobody_signed_is_taken_only_where_that_is_wanted() {
    let message = event("user_authorization_cancellation", &[]).to_string();
    let good = query(TOKEN, NOW, None);
    assert_eq!(
        safe().read(&good, message.as_bytes()),
        Err(PushRejection::Forged)
    );
    let with_key = pushes(vec![app(APP, TOKEN, Some(KEY))], true);
    assert_eq!(
        with_key.read(&good, message.as_bytes()),
        Err(PushRejection::Forged),
        "an app with a key is in safe mode"
    );
    let plain = pushes(
        vec![app("wx_first", "elsewhere", None), app(APP, TOKEN, None)],
        true,
    );
    assert_eq!(
        change(plain.read(&good, message.as_bytes()).unwrap()),
        AuthorizationChange::Cancelled
    );
    assert_eq!(
        plain.read(&query("nobody", NOW, None), message.as_bytes()),
        Err(PushRejection::Forged)
    );
    let elsewhere = event(
        "user_authorization_cancellation",
        &[("AppID", json!("wx_first"))],
    )
    .to_string();
    assert_eq!(
        plain.read(&good, elsewhere.as_bytes()),
        Err(PushRejection::OtherApp)
    );
}

#[test]
fn several_apps_may_share_a_token_and_a_key() {
    let pushes = pushes(
        vec![
            app("wx_first", TOKEN, Some(KEY)),
            app(APP, TOKEN, Some(KEY)),
        ],
        false,
    );
    let message = event("user_authorization_cancellation", &[]).to_string();
    assert_eq!(
        change(in_safe_mode(&pushes, message.as_bytes(), true).unwrap()),
        AuthorizationChange::Cancelled
    );
}

#[test]
fn a_greeting_is_answered_with_what_was_sent_and_nothing_else() {
    let pushes = safe();
    let good = |echostr: &str| PushQuery {
        echostr: echostr.to_owned(),
        ..query(TOKEN, NOW, None)
    };
    assert_eq!(
        pushes.echo(&good("4375120948345356249")),
        Ok("4375120948345356249")
    );
    assert_eq!(
        pushes.echo(&good("<script>")),
        Err(PushRejection::Unreadable)
    );
    assert_eq!(pushes.echo(&good("")), Err(PushRejection::Unreadable));
    let forged = PushQuery {
        signature: "0".repeat(40),
        ..good("1")
    };
    assert_eq!(pushes.echo(&forged), Err(PushRejection::Forged));
}
