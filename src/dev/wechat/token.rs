//! `POST /cgi-bin/stable_token` in normal mode: all calls get the same token, until it is about to
//! expire.

use std::sync::Arc;

use axum::{body::Bytes, extract::State, response::Response};
use serde::Deserialize;

use super::{
    scenario::{errcode_body, text_response},
    simulator::WechatSimulator,
};

#[derive(Deserialize)]
struct TokenRequest {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    appid: String,
    #[serde(default)]
    secret: String,
    #[serde(default)]
    force_refresh: bool,
}

pub(super) async fn stable_token(
    State(simulator): State<Arc<WechatSimulator>>,
    body: Bytes,
) -> Response {
    let (delay, canned) = {
        let mut records = simulator.records();
        records.token_calls += 1;
        (
            records.token_delay,
            records.canned.get("stable_token").cloned(),
        )
    };
    tokio::time::sleep(delay).await;
    if let Some(canned) = canned {
        return text_response(canned);
    }
    text_response(
        simulator
            .issue_token(&body)
            .unwrap_or_else(|rejection| rejection),
    )
}

impl WechatSimulator {
    fn issue_token(&self, body: &[u8]) -> Result<String, String> {
        let request: TokenRequest = serde_json::from_slice(body)
            .map_err(|_| errcode_body(41002, "appid missing rid: 662f0ee8-416d3b24-1426a0de"))?;
        if request.grant_type != "client_credential" {
            return Err(errcode_body(
                40002,
                "invalid grant_type rid: 64b09fbb-56b7faa9-1054a9fe",
            ));
        }
        if request.secret.is_empty() {
            return Err(errcode_body(
                41004,
                "appsecret missing rid: 0e0e0e0e-simulated",
            ));
        }
        if request.force_refresh {
            // It would invalidate all other tokens; menshen never sends it.
            return Err(errcode_body(
                45009,
                "reach max api daily quota limit rid: 0f0f0f0f-simulated",
            ));
        }
        self.check_credentials(&request.appid, &request.secret)?;
        let mut records = self.records();
        let (token, life) = records
            .tokens
            .entry(request.appid.clone())
            .or_default()
            .current(&request.appid);
        Ok(format!(
            r#"{{"access_token":"{token}","expires_in":{life}}}"#
        ))
    }
}
