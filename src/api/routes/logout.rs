//! `POST /auth/logout`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
};

use crate::{
    api::{
        body::BodyFields,
        caller,
        problem::Problem,
        request_bodies::LogoutBody,
        state::{ApiContext, ApiState},
    },
    auth::LogoutScope,
    dialect::TokenProfile,
    error::ErrorCode,
    types::{ClientIp, Malformed},
};

/// Sign out.
///
/// An access token ends its session also when it has expired.
#[utoipa::path(
    post, path = "/logout", operation_id = "logout", tag = "session", security(("bearer" = []), ()),
    request_body = Option<LogoutBody>,
    responses((status = 204, description = "Signed out."))
)]
pub(in crate::api) async fn post(
    State(api): State<ApiState>,
    context: ApiContext,
    request: Request,
) -> Result<StatusCode, Problem> {
    let from = context.client_ip;
    api.check_rate(from)?;
    let token = caller::token(request.headers(), false, api.token_header.as_deref());
    let token = token.map(str::to_owned);
    let logout = read(BodyFields::read_if_any(request).await?)?;
    sign_out(
        &api,
        token.as_deref().map_err(|code| *code),
        &logout,
        &api.token_profile,
        from,
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A logout request.
pub(in crate::api) struct Logout {
    pub(in crate::api) scope: LogoutScope,
    pub(in crate::api) refresh_token: Option<String>,
}

pub(in crate::api) fn read(mut fields: BodyFields) -> Result<Logout, Problem> {
    let scope = fields.optional("scope", scope).unwrap_or_default();
    let refresh_token = fields
        .optional("refresh_token", |text| Ok(text.to_owned()))
        .filter(|token| !token.is_empty());
    fields.finish(Some(Logout {
        scope,
        refresh_token,
    }))
}

fn scope(text: &str) -> Result<LogoutScope, Malformed> {
    LogoutScope::parse(text).ok_or(Malformed("must be local, others or global"))
}

/// Signs out with an access token, a refresh token, or both, which may be of two sessions. A
/// refresh token is enough, so an invalid access token beside it is ignored; a request with two
/// `Authorization` fields is still rejected.
pub(in crate::api) async fn sign_out(
    api: &ApiState,
    token: Result<&str, ErrorCode>,
    logout: &Logout,
    token_profile: &TokenProfile,
    from: ClientIp,
) -> Result<(), Problem> {
    // A refresh token ends its own session only.
    let refresh_token = logout
        .refresh_token
        .as_deref()
        .filter(|_| logout.scope == LogoutScope::Local);
    match token.and_then(|token| api.authorizer.verify_for_logout(token, api.auth.now())) {
        Ok((claims, proof)) => {
            let caller = caller::from_claims(&claims, from, token_profile);
            api.auth.logout(caller, logout.scope, proof).await?;
        }
        Err(code) if refresh_token.is_none() || code == ErrorCode::RequestMalformed => {
            return Err(code.into());
        }
        Err(_) => {}
    }
    if let Some(refresh_token) = refresh_token {
        api.auth.logout_by_refresh_token(refresh_token).await?;
    }
    Ok(())
}
