//! `POST /auth/password/login`.

use std::sync::Arc;

use axum::extract::{Request, State};
use utoipa::ToSchema;

use crate::{
    api::{
        ApiState, RequestContext, answer::TokenAnswer, body::Fields, problem::Problem,
        routes::client_type,
    },
    auth::{Password, PasswordLogin},
    dialect::TokenProfile,
    types::{ClientType, Username},
};

/// A login with a name and a password.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the schema of the body; `Fields` reads it, so that every wrong field is named at once"
)]
pub(in crate::api) struct PasswordLoginBody {
    /// The name that an operator gave, in any case.
    #[schema(min_length = 1, max_length = 64, pattern = "^[0-9A-Za-z_.@-]+$")]
    username: String,
    /// 1 to 256 bytes of UTF-8.
    #[schema(
        min_length = 1,
        max_length = 256,
        format = "password",
        pattern = r"^([ -~]{1,256}|[^\x00-\x1F\x7F]{1,64})$"
    )]
    password: String,
    /// Absent: `web`.
    client_type: Option<ClientType>,
}

/// Sign in with a name and a password.
///
/// For administrators and others whom an operator has given a name; nobody can register so.
#[utoipa::path(
    post, path = "/password/login", operation_id = "password_login", tag = "login",
    request_body = PasswordLoginBody,
    responses((status = 200, description = "Signed in.", body = TokenAnswer))
)]
pub(in crate::api) async fn post(
    State(api): State<ApiState>,
    context: RequestContext,
    request: Request,
) -> Result<TokenAnswer, Problem> {
    let login = read(Fields::read(request).await?, &api.terms)?;
    let signed_in = api.auth.password_login(login, context.client_ip).await?;
    Ok(TokenAnswer::new(&signed_in, api.openid_in_answers))
}

pub(in crate::api) fn read(
    mut fields: Fields,
    terms: &Arc<TokenProfile>,
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
        terms: Arc::clone(terms),
    };
    fields.finish(username.zip(password).map(login))
}
