//! `POST /auth/logout`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
};
use utoipa::ToSchema;

use crate::{
    api::{ApiState, RequestContext, body::Fields, caller, problem::Problem},
    auth::{self, LogoutScope},
    dialect::TokenProfile,
    error::ErrorCode,
    types::{ClientIp, Malformed},
};

/// Which sessions end.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the schema of the body; `Fields` reads it, so that every wrong field is named at once"
)]
pub(in crate::api) struct LogoutBody {
    /// Absent: `local`, this session only. The others need an access token that has not expired.
    scope: Option<LogoutScope>,
    /// With `local`: ends its own session too, and needs no access token beside it. One that is not
    /// known ends nothing, which is no error (RFC 7009).
    refresh_token: Option<String>,
}

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
    context: RequestContext,
    request: Request,
) -> Result<StatusCode, Problem> {
    let from = context.client_ip;
    api.auth.limits().api(from)?;
    let token = caller::token(request.headers(), false).map(str::to_owned);
    let asked = read(Fields::read_if_any(request).await?)?;
    sign_out(
        &api,
        token.as_deref().map_err(|code| *code),
        &asked,
        &api.terms,
        from,
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a logout request asks for.
pub(in crate::api) struct Logout {
    pub(in crate::api) scope: LogoutScope,
    pub(in crate::api) refresh_token: Option<String>,
}

pub(in crate::api) fn read(mut fields: Fields) -> Result<Logout, Problem> {
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

/// Signs out by an access token, a refresh token, or both, which may be of two sessions. A refresh
/// token is enough by itself, so an access token beside it that does not count is ignored; a
/// request with two `Authorization` fields is refused all the same.
pub(in crate::api) async fn sign_out(
    api: &ApiState,
    token: Result<&str, ErrorCode>,
    asked: &Logout,
    terms: &TokenProfile,
    from: ClientIp,
) -> Result<(), Problem> {
    // More than its own session it does not end.
    let refresh_token = asked
        .refresh_token
        .as_deref()
        .filter(|_| asked.scope == LogoutScope::Local);
    match token.and_then(|token| api.authorizer.verify_for_logout(token, api.auth.now())) {
        Ok((claims, proof)) => {
            let (user, session, client_type) = (&claims.sub, claims.sid, claims.client_type);
            api.auth
                .logout(
                    auth::AuthenticatedCaller {
                        user,
                        session,
                        client_type,
                        from,
                        terms,
                    },
                    asked.scope,
                    proof,
                )
                .await?;
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
