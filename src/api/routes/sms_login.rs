//! `POST /auth/sms/login`.

use std::sync::Arc;

use axum::extract::{Request, State};
use utoipa::ToSchema;

use crate::{
    api::{
        ApiState, RequestContext, answer::TokenAnswer, body::Fields, problem::Problem,
        routes::client_type,
    },
    auth::SmsLogin,
    dialect::TokenProfile,
    types::{ClientType, SmsCode},
};

/// A login with a code that was sent to a phone.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the schema of the body; `Fields` reads it, so that every wrong field is named at once"
)]
pub(in crate::api) struct SmsLoginBody {
    /// In any spelling.
    #[schema(example = "13800138000")]
    phone: String,
    /// Six digits.
    #[schema(pattern = "^[0-9]{6}$", example = "123456")]
    code: String,
    /// Absent: `miniprogram`.
    client_type: Option<ClientType>,
}

/// Sign in with a code that was sent to a phone.
#[utoipa::path(
    post, path = "/sms/login", operation_id = "sms_login", tag = "login",
    request_body = SmsLoginBody,
    responses((status = 200, description = "Signed in.", body = TokenAnswer))
)]
pub(in crate::api) async fn post(
    State(api): State<ApiState>,
    context: RequestContext,
    request: Request,
) -> Result<TokenAnswer, Problem> {
    let login = read(Fields::read(request).await?, &api, &api.terms)?;
    let signed_in = api.auth.sms_login(login, context.client_ip).await?;
    Ok(TokenAnswer::new(&signed_in, api.openid_in_answers))
}

pub(in crate::api) fn read(
    mut fields: Fields,
    api: &ApiState,
    terms: &Arc<TokenProfile>,
) -> Result<SmsLogin, Problem> {
    let phone = fields.required("phone", |text| api.auth.phone(text));
    let code = fields.required("code", SmsCode::parse);
    let client_type = fields
        .optional("client_type", client_type)
        .unwrap_or_default();
    let login = |(phone, code)| SmsLogin {
        phone,
        code,
        client_type,
        terms: Arc::clone(terms),
    };
    fields.finish(phone.zip(code).map(login))
}
