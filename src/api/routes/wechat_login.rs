//! `POST /auth/wechat/login`.

use std::sync::Arc;

use axum::extract::{Request, State};

use crate::{
    api::{
        body::BodyFields,
        problem::Problem,
        request_bodies::WechatLoginBody,
        responses::TokenResponse,
        routes::{client_type, phone},
        state::{ApiContext, ApiState},
    },
    auth::{SignedData, WechatLogin, profile},
    dialect::TokenProfile,
    provider::wechat::LoginCode,
    store::Profile,
    types::{AppId, Malformed, Secret},
};

/// Sign in with a WeChat login code, and bind a phone.
///
/// With the result of the phone number button, the phone is bound when the login is done. If it
/// cannot be bound, the user is signed in all the same, and `phone_error` says why.
#[utoipa::path(
    post, path = "/wechat/login", operation_id = "wechat_login", tag = "login",
    request_body = WechatLoginBody,
    responses((status = 200, description = "Signed in.", body = TokenResponse))
)]
pub(in crate::api) async fn post(
    State(api): State<ApiState>,
    context: ApiContext,
    request: Request,
) -> Result<TokenResponse, Problem> {
    let login = read(BodyFields::read(request).await?, &api, &api.token_profile)?;
    let signed_in = api.auth.wechat_login(login, context.client_ip).await;
    let signed_in = signed_in.map_err(|error| Problem::from(&*error))?;
    Ok(TokenResponse::new(&signed_in, api.openid_in_answers))
}

pub(in crate::api) fn read(
    mut fields: BodyFields,
    api: &ApiState,
    token_profile: &Arc<TokenProfile>,
) -> Result<WechatLogin, Problem> {
    let code = fields.required("code", LoginCode::parse);
    let nickname = fields.if_valid("nickname", profile::nickname).flatten();
    let avatar_url = fields.if_valid("avatar_url", profile::avatar_url);
    let client_type = fields
        .optional("client_type", client_type)
        .unwrap_or_default();
    let app_id = fields.optional("app_id", AppId::parse);
    let missing = match (fields.has("raw_data"), fields.has("signature")) {
        (true, false) => Some("signature"),
        (false, true) => Some("raw_data"),
        (true, true) | (false, false) => None,
    };
    if let Some(missing) = missing {
        fields.reject(missing, "is required: raw_data and signature go together");
    }
    let raw_data = fields.optional("raw_data", raw_data);
    let signature = fields.optional("signature", signature);
    let signed = raw_data
        .zip(signature)
        .map(|(raw_data, signature)| SignedData {
            raw_data: Secret::new(raw_data),
            signature: Secret::new(signature),
        });
    let has_phone = ["phone_code", "encrypted_data", "iv"]
        .into_iter()
        .any(|field| fields.has(field));
    let phone = has_phone
        .then(|| phone::wechat_phone(&mut fields, "phone_code", api))
        .flatten();
    let profile = Profile {
        nickname,
        avatar_url,
        ..Profile::default()
    };
    let token_profile = Arc::clone(token_profile);
    let login = |code| WechatLogin {
        code,
        app_id,
        profile,
        replaces_profile: false,
        signed,
        phone,
        client_type,
        token_profile,
    };
    fields.finish(code.map(login))
}

/// Kept as received: the signature covers every byte.
fn raw_data(text: &str) -> Result<String, Malformed> {
    let is_short = text.len() <= 4096;
    is_short
        .then(|| text.to_owned())
        .ok_or(Malformed("must be at most 4096 bytes"))
}

fn signature(text: &str) -> Result<String, Malformed> {
    let is_hex = text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hex
        .then(|| text.to_owned())
        .ok_or(Malformed("must be 40 lower-case hex digits"))
}
