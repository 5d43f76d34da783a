//! `POST /wxa/business/getuserphonenumber`.
//!
//! A phone code is `phone.13800138000-1`, with anything after the `-`: this number of the mainland,
//! for any user who has signed in; `phone.13800138000.alice-1` is for alice alone. A code with a
//! `WechatScenario` that ends well stands for 13800138000.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Query, State},
    response::Response,
};
use serde::Deserialize;

use super::{
    identity::openid,
    scenario::{WechatScenario, errcode_body, text_response},
    simulator::WechatSimulator,
};
use crate::clock::Clock;

/// The number of codes without one.
const NUMBER: &str = "13800138000";

#[derive(Deserialize)]
struct PhoneRequest {
    code: String,
    #[serde(default)]
    openid: String,
}

pub(super) async fn phone_number(
    State(simulator): State<Arc<WechatSimulator>>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let token = query.get("access_token").map(String::as_str);
    let Ok(request) = serde_json::from_slice::<PhoneRequest>(&body) else {
        return text_response(errcode_body(
            47001,
            "data format error rid: 1a1a1a1a-simulated",
        ));
    };
    let (times, canned) = {
        let mut records = simulator.records();
        records.tokens_seen.push(token.map(str::to_owned));
        let times = records.calls.entry(request.code.clone()).or_default();
        *times += 1;
        (*times, records.canned.get(&request.code).cloned())
    };
    if request.openid.is_empty() {
        // The real server accepts that. Here it is an error: without it the owner of the code is
        // not checked.
        return text_response(errcode_body(
            41009,
            "missing openid rid: 1b1b1b1b-simulated",
        ));
    }
    if let Some(canned) = canned {
        return text_response(canned);
    }
    let app_id = match simulator.app_of_token(token) {
        Ok(app_id) => app_id,
        Err(rejection) => return text_response(rejection),
    };
    WechatScenario::parse(&request.code)
        .play(times, || {
            simulator
                .phone_for(&app_id, &request)
                .unwrap_or_else(|rejection| rejection)
        })
        .await
}

impl WechatSimulator {
    /// The mini program of this access token.
    fn app_of_token(&self, token: Option<&str>) -> Result<String, String> {
        let Some(token) = token else {
            return Err(errcode_body(
                41001,
                "access_token missing rid: 1c1c1c1c-simulated",
            ));
        };
        let records = self.records();
        let of = records
            .tokens
            .iter()
            .find(|(_, tokens)| tokens.has(token))
            .map(|(app_id, _)| app_id.clone());
        let says = "invalid credential, access_token is invalid or not latest rid: 62c53f7f-0bbfe609-5464fb0c";
        of.ok_or_else(|| errcode_body(records.refuses_tokens_with.unwrap_or(40001), says))
    }

    fn phone_for(&self, app_id: &str, request: &PhoneRequest) -> Result<String, String> {
        let invalid = || {
            errcode_body(
                40029,
                "invalid code hint: [mGhbWV0sf-LxnVma] rid: 65f3e9f7-77cf1a1c-0dd74a0e",
            )
        };
        let (kind, _) = request.code.split_once('-').unwrap_or((&request.code, ""));
        let (number, person) = match kind.strip_prefix("phone.") {
            Some(rest) => rest
                .split_once('.')
                .map_or((rest, None), |(number, person)| (number, Some(person))),
            // A code of wx.login, or an unknown one.
            None if WechatScenario::parse(&request.code) == WechatScenario::None => {
                return Err(invalid());
            }
            None => (NUMBER, None),
        };
        let mut records = self.records();
        let is_theirs = person.is_none_or(|person| openid(app_id, person) == request.openid);
        if !is_theirs || !records.openids.contains(&request.openid) {
            return Err(invalid());
        }
        if !records
            .used_codes
            .insert(format!("{app_id} {}", request.code))
        {
            return Err(errcode_body(
                40163,
                "code been used, rid: 0c0c0c0c-simulated",
            ));
        }
        let timestamp = Clock::System.now().as_secs();
        let watermark = format!(r#"{{"timestamp":{timestamp},"appid":"{app_id}"}}"#);
        Ok(format!(
            r#"{{"errcode":0,"errmsg":"ok","phone_info":{{"phoneNumber":"{number}","purePhoneNumber":"{number}","countryCode":"86","watermark":{watermark}}}}}"#
        ))
    }
}
