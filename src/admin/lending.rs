//! `/wechat/access_token`: the access token of a mini program, lent to a backend that calls WeChat
//! itself.
//!
//! WeChat's tokens have one owner, and that is menshen: a second one would take each other's away.
//! It is opened by a secret of its own (`wechat.lend_token`), because whoever sends messages for a
//! shop must not be able to ban its users.

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

use super::{exchange::Refused, require_token};
use crate::{
    provider::wechat::Wechat,
    types::{AppId, Secret},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Absent: the first of the config.
    app_id: Option<String>,
}

/// The one route, for whoever knows the secret.
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
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(Wanted { app_id }) = wanted?;
    let app_id = app_id.as_deref().map(AppId::parse).transpose()?;
    let unknown = || {
        Refused::new(
            StatusCode::NOT_FOUND,
            "this is no mini program of the config",
        )
    };
    let app = wechat.app(app_id.as_ref()).ok_or_else(unknown)?;
    match wechat.access_token(&app).await {
        Ok(Some(token)) => {
            let said = Json(json!({ "app_id": app, "access_token": token.expose() }));
            Ok(([(header::CACHE_CONTROL, "no-store")], said).into_response())
        }
        Ok(None) => Err(Refused::new(
            StatusCode::NOT_FOUND,
            "this menshen has no access token: development, or token_mode",
        )),
        Err(error) => Err(Refused::new(StatusCode::BAD_GATEWAY, error.to_string())),
    }
}
