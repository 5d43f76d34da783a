//! One file for each route, or for a few of one resource.

pub(super) mod jwks;
pub(super) mod logout;
pub(super) mod me;
pub(super) mod password_login;
pub(super) mod phone;
pub(super) mod refresh;
pub(super) mod sessions;
pub(super) mod sms_login;
pub(super) mod sms_send;
pub(super) mod wechat_login;
pub(super) mod wechat_push;

use axum::extract::Request;

use super::{body::BodyFields, problem::Problem};
use crate::{
    auth::ReauthenticationProof,
    provider::wechat::LoginCode,
    types::{ClientType, Malformed, SmsCode},
};

/// The methods of a route of the auth API, by its path after the prefix.
pub(super) fn methods(path: &str) -> Option<&'static [&'static str]> {
    Some(match path {
        "/wechat/login" | "/password/login" | "/sms/send" | "/sms/login" | "/phone/sms"
        | "/phone/wechat" | "/refresh" | "/logout" => &["POST"],
        "/wechat/push" => &["GET", "HEAD", "POST"],
        "/phone" => &["DELETE"],
        "/me" => &["GET", "HEAD", "POST", "PATCH", "DELETE"],
        "/me/export" | "/sessions" | "/jwks.json" | "/openapi.json" => &["GET", "HEAD"],
        _ => {
            let sid = path.strip_prefix("/sessions/")?;
            (!sid.is_empty() && !sid.contains('/')).then_some(&["DELETE"])?
        }
    })
}

/// The whole of a [`FreshProofBody`](super::request_bodies::FreshProofBody), which may be absent.
async fn read_fresh_proof(request: Request) -> Result<ReauthenticationProof, Problem> {
    let mut fields = BodyFields::read_if_any(request).await?;
    let proof = fresh_proof(&mut fields);
    fields.finish(Some(proof))
}

fn fresh_proof(fields: &mut BodyFields) -> ReauthenticationProof {
    let sms = fields
        .optional("sms_code", SmsCode::parse)
        .map(ReauthenticationProof::Sms);
    let wechat = fields
        .optional("wechat_code", LoginCode::parse)
        .map(ReauthenticationProof::Wechat);
    sms.or(wechat).unwrap_or(ReauthenticationProof::None)
}

/// The kind of client that signs in, as requests name it.
pub(super) fn client_type(text: &str) -> Result<ClientType, Malformed> {
    [ClientType::MiniProgram, ClientType::App, ClientType::Web]
        .into_iter()
        .find(|known| known.as_str() == text)
        .ok_or(Malformed("must be miniprogram, app or web"))
}
