//! `POST /wxa/business/getuserphonenumber`.
//!
//! A phone code is `phone.13800138000-1`, with anything after the `-`: this number of the mainland,
//! for anybody who has signed in here; `phone.13800138000.alice-1` is given to alice alone. A code
//! with a `Script` that ends well stands for 13800138000.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Query, State},
    response::Response,
};
use serde::Deserialize;

use super::{
    Desk, openid,
    script::{Script, failure, plain},
};
use crate::clock::Clock;

/// The number of codes that do not say one.
const NUMBER: &str = "13800138000";

#[derive(Deserialize)]
struct Asked {
    code: String,
    #[serde(default)]
    openid: String,
}

pub(super) async fn phone_number(
    State(desk): State<Arc<Desk>>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let token = query.get("access_token").map(String::as_str);
    let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
        return plain(failure(47001, "data format error rid: 1a1a1a1a-simulated"));
    };
    let (times, written) = {
        let mut book = desk.book();
        book.tokens_seen.push(token.map(str::to_owned));
        let times = book.calls.entry(asked.code.clone()).or_default();
        *times += 1;
        (*times, book.written.get(&asked.code).cloned())
    };
    if asked.openid.is_empty() {
        // The real server takes that. Here it is a mistake: nobody then checks whose code it is.
        return plain(failure(41009, "missing openid rid: 1b1b1b1b-simulated"));
    }
    if let Some(written) = written {
        return plain(written);
    }
    let app_id = match desk.app_of(token) {
        Ok(app_id) => app_id,
        Err(refusal) => return plain(refusal),
    };
    Script::of(&asked.code)
        .play(times, || {
            desk.number_for(&app_id, &asked)
                .unwrap_or_else(|refusal| refusal)
        })
        .await
}

impl Desk {
    /// The mini program whose token it is.
    fn app_of(&self, token: Option<&str>) -> Result<String, String> {
        let Some(token) = token else {
            return Err(failure(
                41001,
                "access_token missing rid: 1c1c1c1c-simulated",
            ));
        };
        let book = self.book();
        let of = book
            .tokens
            .iter()
            .find(|(_, tokens)| tokens.has(token))
            .map(|(app_id, _)| app_id.clone());
        let says = "invalid credential, access_token is invalid or not latest rid: 62c53f7f-0bbfe609-5464fb0c";
        of.ok_or_else(|| failure(book.refuses_tokens_with.unwrap_or(40001), says))
    }

    fn number_for(&self, app_id: &str, asked: &Asked) -> Result<String, String> {
        let invalid = || {
            failure(
                40029,
                "invalid code hint: [mGhbWV0sf-LxnVma] rid: 65f3e9f7-77cf1a1c-0dd74a0e",
            )
        };
        let (kind, _) = asked.code.split_once('-').unwrap_or((&asked.code, ""));
        let (number, person) = match kind.strip_prefix("phone.") {
            Some(rest) => rest
                .split_once('.')
                .map_or((rest, None), |(number, person)| (number, Some(person))),
            // A code of wx.login, or of nobody.
            None if Script::of(&asked.code) == Script::None => return Err(invalid()),
            None => (NUMBER, None),
        };
        let mut book = self.book();
        let is_theirs = person.is_none_or(|person| openid(app_id, person) == asked.openid);
        if !is_theirs || !book.openids.contains(&asked.openid) {
            return Err(invalid());
        }
        if !book.used.insert(format!("{app_id} {}", asked.code)) {
            return Err(failure(40163, "code been used, rid: 0c0c0c0c-simulated"));
        }
        let timestamp = Clock::System.now().as_secs();
        let watermark = format!(r#"{{"timestamp":{timestamp},"appid":"{app_id}"}}"#);
        Ok(format!(
            r#"{{"errcode":0,"errmsg":"ok","phone_info":{{"phoneNumber":"{number}","purePhoneNumber":"{number}","countryCode":"86","watermark":{watermark}}}}}"#
        ))
    }
}
