//! `/wechat/access_token`: the access token of a mini program, lent to a backend that calls WeChat
//! itself.
//!
//! WeChat's tokens have one owner, and that is menshen: two owners would invalidate each other's
//! tokens. The route has a secret of its own (`wechat.lend_token`), because a backend that sends
//! messages must not be able to ban users.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::json;

use super::{rejection::AdminRejection, require_token};
use crate::{
    provider::wechat::Wechat,
    types::{AppId, Secret},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenQuery {
    /// Absent: the first of the config.
    app_id: Option<String>,
}

/// The one route, for clients that have the secret.
pub fn router(wechat: Arc<Wechat>, secret: Secret<String>) -> Router {
    Router::new()
        .route("/wechat/access_token", get(lend))
        .layer(middleware::from_fn_with_state(
            Arc::new(secret),
            require_token,
        ))
        .with_state(wechat)
}

async fn lend(
    State(wechat): State<Arc<Wechat>>,
    query: Result<Query<TokenQuery>, QueryRejection>,
) -> Result<Response, AdminRejection> {
    let Query(TokenQuery { app_id }) = query?;
    let app_id = app_id.as_deref().map(AppId::parse).transpose()?;
    let unknown = || {
        AdminRejection::new(
            StatusCode::NOT_FOUND,
            "this is no mini program of the config",
        )
    };
    let app = wechat.app(app_id.as_ref()).ok_or_else(unknown)?;
    match wechat.access_token(&app).await {
        Ok(Some(token)) => {
            let token = Json(json!({ "app_id": app, "access_token": token.expose() }));
            Ok(([(header::CACHE_CONTROL, "no-store")], token).into_response())
        }
        Ok(None) => Err(AdminRejection::new(
            StatusCode::NOT_FOUND,
            "this menshen has no access token: development, or token_mode",
        )),
        Err(error) => Err(AdminRejection::new(
            StatusCode::BAD_GATEWAY,
            error.to_string(),
        )),
    }
}
