//! One file for each route, or for a few of one resource.

pub(super) mod jwks;
pub(super) mod logout;
pub(super) mod me;
pub(super) mod openapi;
pub(super) mod password_login;
pub(super) mod phone;
pub(super) mod refresh;
pub(super) mod sessions;
pub(super) mod sms_login;
pub(super) mod sms_send;
pub(super) mod wechat_login;
pub(super) mod wechat_push;

use utoipa::ToSchema;

use super::body::Fields;
use crate::{
    auth::ReauthenticationProof,
    provider::wechat::LoginCode,
    types::{ClientType, Malformed, SmsCode},
};

/// The methods that a route of the auth API takes, by its path after the prefix.
pub(super) fn methods(path: &str) -> Option<&'static [&'static str]> {
    Some(match path {
        "/wechat/login" | "/password/login" | "/sms/send" | "/sms/login" | "/phone/sms"
        | "/phone/wechat" | "/refresh" | "/logout" => &["POST"],
        "/wechat/push" => &["GET", "HEAD", "POST"],
        "/phone" => &["DELETE"],
        "/me" => &["GET", "HEAD", "PATCH", "DELETE"],
        "/me/export" | "/sessions" | "/jwks.json" | "/openapi.json" => &["GET", "HEAD"],
        _ => {
            let sid = path.strip_prefix("/sessions/")?;
            (!sid.is_empty() && !sid.contains('/')).then_some(&["DELETE"])?
        }
    })
}

/// Proof that it is me, where my login is not fresh: one of the two.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the schema of the body; `Fields` reads it, so that every wrong field is named at once"
)]
pub(super) struct FreshProofBody {
    /// A code that was sent to my own phone, with the purpose `login`.
    #[schema(pattern = "^[0-9]{6}$")]
    sms_code: Option<String>,
    /// A code of `wx.login`.
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    wechat_code: Option<String>,
}

/// Reads the fields of a [`FreshProofBody`].
fn fresh_proof(fields: &mut Fields) -> ReauthenticationProof {
    let sms = fields
        .optional("sms_code", SmsCode::parse)
        .map(ReauthenticationProof::Sms);
    let wechat = fields
        .optional("wechat_code", LoginCode::parse)
        .map(ReauthenticationProof::Wechat);
    sms.or(wechat).unwrap_or(ReauthenticationProof::None)
}

/// Where somebody signs in, as requests name it.
pub(super) fn client_type(text: &str) -> Result<ClientType, Malformed> {
    [ClientType::MiniProgram, ClientType::App, ClientType::Web]
        .into_iter()
        .find(|known| known.as_str() == text)
        .ok_or(Malformed("must be miniprogram, app or web"))
}
