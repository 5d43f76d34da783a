//! `POST /auth/wechat/login`.

use std::sync::Arc;

use axum::extract::{Request, State};
use utoipa::ToSchema;

use crate::{
    api::{
        ApiState, RequestContext, answer::TokenAnswer, body::Fields, problem::Problem,
        routes::client_type,
    },
    auth::{SignedData, WechatLogin, profile},
    dialect::TokenProfile,
    provider::wechat::LoginCode,
    store::Profile,
    types::{AppId, ClientType, Malformed},
};

/// A login with the code of `wx.login`.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the schema of the body; `Fields` reads it, so that every wrong field is named at once"
)]
pub(in crate::api) struct WechatLoginBody {
    /// The code that `wx.login` gave; five minutes, one use. Not the code of the phone number
    /// button.
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    code: String,
    /// Kept where the user has none. Left out where it is none: empty, nothing visible, too long,
    /// with control characters, no string, or WeChat's anonymous one.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\x00-\x1F\x7F-\x9F]*[0-9A-Za-z\u4E00-\u9FFF][^\x00-\x1F\x7F-\x9F]*$"
    )]
    nickname: Option<String>,
    /// Kept where the user has none. An http or https URL. Left out where it is none, or one of a
    /// file that only the mini program can see (`wxfile://`, `http://tmp/`).
    #[schema(
        max_length = 512,
        pattern = r"^https?://([0-9A-Za-z]+(-[0-9A-Za-z]+)*\.)+[A-Za-z][0-9A-Za-z]*(-[0-9A-Za-z]+)*(:[1-9][0-9]{0,3})?([/?#][!-~]*)?$"
    )]
    avatar_url: Option<String>,
    /// `rawData` of `wx.getUserInfo`, as it came. With `signature` beside it, which is checked
    /// against this very login.
    #[schema(
        max_length = 4096,
        pattern = r"^([ -~]{0,4096}|[^\x00-\x1F\x7F]{0,1024})$"
    )]
    raw_data: Option<String>,
    /// `signature` of `wx.getUserInfo`: 40 lower-case hex digits.
    #[schema(pattern = "^[0-9a-f]{40}$")]
    signature: Option<String>,
    /// Absent: `miniprogram`.
    client_type: Option<ClientType>,
    /// The mini program, where there are several. Absent: the first of the configuration.
    #[schema(min_length = 1, max_length = 64, pattern = "^[0-9A-Za-z_-]+$")]
    app_id: Option<String>,
}

/// Sign in with a WeChat login code.
#[utoipa::path(
    post, path = "/wechat/login", operation_id = "wechat_login", tag = "login",
    request_body = WechatLoginBody,
    responses((status = 200, description = "Signed in.", body = TokenAnswer))
)]
pub(in crate::api) async fn post(
    State(api): State<ApiState>,
    context: RequestContext,
    request: Request,
) -> Result<TokenAnswer, Problem> {
    let login = read(Fields::read(request).await?, &api.terms)?;
    match api.auth.wechat_login(login, context.client_ip).await {
        Ok(signed_in) => Ok(TokenAnswer::new(&signed_in, api.openid_in_answers)),
        Err(error) => Err(Problem::from(&*error)),
    }
}

pub(in crate::api) fn read(
    mut fields: Fields,
    terms: &Arc<TokenProfile>,
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
        fields.refuse(missing, "is required: raw_data and signature go together");
    }
    let raw_data = fields.optional("raw_data", raw_data);
    let signature = fields.optional("signature", signature);
    let signed = raw_data
        .zip(signature)
        .map(|(raw_data, signature)| SignedData {
            raw_data,
            signature,
        });
    let profile = Profile {
        nickname,
        avatar_url,
        ..Profile::default()
    };
    let terms = Arc::clone(terms);
    let login = |code| WechatLogin {
        code,
        app_id,
        profile,
        profile_is_newer: false,
        signed,
        client_type,
        terms,
    };
    fields.finish(code.map(login))
}

/// Kept as it came: it is signed byte by byte.
fn raw_data(text: &str) -> Result<String, Malformed> {
    if text.len() <= 4096 {
        Ok(text.to_owned())
    } else {
        Err(Malformed("must be at most 4096 bytes"))
    }
}

fn signature(text: &str) -> Result<String, Malformed> {
    let is_hex = text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex {
        Ok(text.to_owned())
    } else {
        Err(Malformed("must be 40 lower-case hex digits"))
    }
}
