//! The requests of the webhook.

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::crypto::hmac_sha256;

#[tokio::test]
async fn the_signature_is_that_of_time_and_body() {
    let (seen, mut arrived) = mpsc::unbounded_channel();
    let receive = async move |headers: HeaderMap, body: Bytes| {
        seen.send((headers, body)).unwrap();
        StatusCode::ACCEPTED
    };
    let socket = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let url = format!("http://{}/a?key=b", socket.local_addr().unwrap());
    let router = Router::new().route("/a", post(receive));
    tokio::spawn(async move { axum::serve(socket, router).await });

    let town = Town::new().await;
    let sms = town.sms_with(&[SmsProvider::Webhook], |config| {
        config.webhook.url = Some(url);
        config.webhook.secret = Some(SecretText::new("key".to_owned()));
    });
    assert_eq!(town.send(&sms).await, Ok(()));

    let (headers, body) = arrived.recv().await.unwrap();
    let header = |name: &str| headers[name].to_str().unwrap();
    let signed = format!("1709224200.{}", std::str::from_utf8(&body).unwrap());
    assert_eq!(header("x-menshen-timestamp"), "1709224200");
    let signature = hex::encode(hmac_sha256(b"key", signed.as_bytes()));
    assert_eq!(header("x-menshen-signature"), format!("sha256={signature}"));
    assert_eq!(header("idempotency-key"), "m-1");
    assert_eq!(header("content-type"), "application/json");
    let expected =
        json!({ "id": "m-1", "phone": PHONE, "code": CODE, "purpose": "login", "expires_in": 300 });
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
}

#[tokio::test]
async fn a_private_address_is_refused_by_number_and_by_name() {
    let town = Town::new().await;
    let port = town.vendors.address().port();
    let new = |url: String| {
        let mut config = town.vendors.section(&[SmsProvider::Webhook]);
        config.webhook.allow_private = false;
        config.webhook.url = Some(url);
        Sms::new(
            &config,
            Mode::Production,
            town.metrics.clone(),
            &Entropy::default(),
        )
    };
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "169.254.169.254",
        "100.100.100.200",
    ] {
        assert_eq!(
            new(format!("http://{host}:{port}/hook/send"))
                .err()
                .unwrap(),
            SmsSetupError::PrivateAddress,
            "{host}"
        );
    }
    let by_name = new(format!("http://localhost:{port}/hook/send"))
        .unwrap()
        .unwrap();
    assert_eq!(town.send(&by_name).await, Err(SmsError::Unavailable));
    assert_eq!(
        (
            town.vendors.calls(SmsProvider::Webhook),
            town.counted(SmsProvider::Webhook, "unreachable")
        ),
        (0, 1)
    );
    assert_eq!(
        town.send(&town.sms(&[SmsProvider::Webhook])).await,
        Ok(()),
        "where it is allowed, it arrives"
    );
}
