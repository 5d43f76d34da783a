//! `POST /auth/password/login`.

use std::sync::Arc;

use axum::extract::{Request, State};

use crate::{
    api::{
        body::BodyFields,
        problem::Problem,
        request_bodies::PasswordLoginBody,
        responses::TokenResponse,
        routes::client_type,
        state::{ApiContext, ApiState},
    },
    auth::{Password, PasswordLogin},
    dialect::TokenProfile,
    types::{ClientType, Username},
};

/// Sign in with a name and a password.
///
/// For administrators, and other users to whom an operator has given a name. It creates no user.
#[utoipa::path(
    post, path = "/password/login", operation_id = "password_login", tag = "login",
    request_body = PasswordLoginBody,
    responses((status = 200, description = "Signed in.", body = TokenResponse))
)]
pub(in crate::api) async fn post(
    State(api): State<ApiState>,
    context: ApiContext,
    request: Request,
) -> Result<TokenResponse, Problem> {
    let login = read(BodyFields::read(request).await?, &api.token_profile)?;
    let signed_in = api.auth.password_login(login, context.client_ip).await?;
    Ok(TokenResponse::new(&signed_in, api.openid_in_answers))
}

pub(in crate::api) fn read(
    mut fields: BodyFields,
    token_profile: &Arc<TokenProfile>,
) -> Result<PasswordLogin, Problem> {
    let username = fields.required("username", Username::parse);
    let password = fields.required("password", Password::parse);
    let client_type = fields
        .optional("client_type", client_type)
        .unwrap_or(ClientType::Web);
    let login = |(username, password)| PasswordLogin {
        username,
        password,
        client_type,
        token_profile: Arc::clone(token_profile),
    };
    fields.finish(username.zip(password).map(login))
}
