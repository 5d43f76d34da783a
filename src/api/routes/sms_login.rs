//! `POST /auth/sms/login`.

use std::sync::Arc;

use axum::extract::{Request, State};

use crate::{
    api::{
        body::BodyFields,
        problem::Problem,
        request_bodies::SmsLoginBody,
        responses::TokenResponse,
        routes::client_type,
        state::{ApiContext, ApiState},
    },
    auth::SmsLogin,
    dialect::TokenProfile,
    types::SmsCode,
};

/// Sign in with a code that was sent to a phone.
#[utoipa::path(
    post, path = "/sms/login", operation_id = "sms_login", tag = "login",
    request_body = SmsLoginBody,
    responses((status = 200, description = "Signed in.", body = TokenResponse))
)]
pub(in crate::api) async fn post(
    State(api): State<ApiState>,
    context: ApiContext,
    request: Request,
) -> Result<TokenResponse, Problem> {
    let login = read(BodyFields::read(request).await?, &api, &api.token_profile)?;
    let signed_in = api.auth.sms_login(login, context.client_ip).await?;
    Ok(TokenResponse::new(&signed_in, api.openid_in_answers))
}

pub(in crate::api) fn read(
    mut fields: BodyFields,
    api: &ApiState,
    token_profile: &Arc<TokenProfile>,
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
        token_profile: Arc::clone(token_profile),
    };
    fields.finish(phone.zip(code).map(login))
}
