//! `getuserphonenumber`: the phone number of a code of the phone number button.
//!
//! Source: `POST /wxa/business/getuserphonenumber`, developers.weixin.qq.com, "getPhoneNumber".
//! With the openid in the request WeChat checks that the code was given to this user, so it is
//! always sent.

use std::time::Instant;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::{
    LiveClient, PhoneCode, WechatError,
    api::{Api, CallError},
    api_client::Request,
    object::FromObject,
    phone_info::PhoneInfo,
};
use crate::types::{AppId, OpenId, Phone, Secret};

const API: Api = Api::PhoneNumber;

#[derive(Deserialize)]
struct PhoneNumberResponse {
    phone_info: FromObject<PhoneInfo>,
}

impl LiveClient {
    /// Calls once, and once more with a new access token when WeChat rejects the cached one: then
    /// it has not used the code.
    pub(super) async fn phone_number(
        &self,
        app: &AppId,
        openid: &OpenId,
        code: &PhoneCode,
    ) -> Result<Phone, WechatError> {
        let known = self.app(app)?;
        let body =
            Bytes::from(json!({ "code": code.expose(), "openid": openid.as_str() }).to_string());
        let deadline = Instant::now() + self.timeout;
        let token = match &known.tokens {
            Some(tokens) => Some(tokens.token(deadline).await?),
            None => None,
        };
        let ask = |token| self.ask_phone_number(app, token, &body, deadline);
        let mut answered = ask(token.clone()).await;
        if let (Err(CallError::StaleToken), Some(tokens), Some(token)) =
            (&answered, &known.tokens, &token)
        {
            answered = ask(Some(tokens.replace(token, deadline).await?)).await;
        }
        answered.map_err(|error| error.into_rejection(API).why)
    }

    async fn ask_phone_number(
        &self,
        app: &AppId,
        token: Option<Secret<String>>,
        body: &Bytes,
        deadline: Instant,
    ) -> Result<Phone, CallError> {
        let mut url = self.api.url(API);
        if let Some(token) = token {
            url.query_pairs_mut()
                .append_pair("access_token", token.expose());
        }
        let understand = |PhoneNumberResponse {
                              phone_info: FromObject(info),
                          }: PhoneNumberResponse| {
            // WeChat has returned the number, so it is charged for, whether or not it is usable.
            self.api.metrics().wechat_phone(self.phone_price);
            let is_ours = info.app_id() == app.as_str();
            info.phone()
                .filter(|_| is_ours)
                .ok_or(WechatError::Unusable)
        };
        self.api
            .call(API, &Request::Post(url, body.clone()), deadline, understand)
            .await
    }
}
