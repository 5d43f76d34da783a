//! `GET` and `POST /auth/wechat/push`: WeChat's message push.
//!
//! A request that WeChat has not signed gets 403, whatever is wrong with it. A signed one gets the
//! body that WeChat expects, or 503 when it could not be handled, so that WeChat pushes again.

use axum::{
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderName, header},
};

use crate::{
    api::{body, problem::Problem, state::ApiState},
    error::ErrorCode,
    provider::wechat::{PushMessage, PushQuery, PushReceiver, PushRejection},
};

/// The body that WeChat expects after a success.
const SUCCESS: &str = "success";

/// A plain text, which browsers must not take for anything else.
type PlainText = ([(HeaderName, &'static str); 2], String);

/// An absent parameter is empty, and matches no signature.
type Parameters = Result<Query<PushQuery>, QueryRejection>;

/// WeChat verifies that this URL is ours.
///
/// Only where `wechat.push.enabled` is set.
#[utoipa::path(
    get, path = "/wechat/push", operation_id = "wechat_push_check", tag = "wechat",
    params(
        ("signature" = String, Query, description = "SHA-1 of the sorted token, timestamp and nonce.", pattern = "^[0-9a-f]{40}$"),
        ("timestamp" = String, Query, description = "Seconds since 1970.", pattern = "^[0-9]{1,12}$"),
        ("nonce" = String, Query, pattern = "^[0-9A-Za-z]{1,64}$"),
        ("echostr" = String, Query, pattern = "^[0-9A-Za-z+/=_-]{1,256}$")
    ),
    responses((status = 200, description = "The `echostr`.", body = String, content_type = "text/plain"))
)]
pub(in crate::api) async fn get(
    State(api): State<ApiState>,
    query: Parameters,
) -> Result<PlainText, Problem> {
    let pushes = pushes(&api)?;
    let query = read_query(query)?;
    match pushes.echo(&query) {
        Ok(echo) => {
            count(&api, "check", "done");
            Ok(plain(echo))
        }
        Err(rejected) => Err(reject(&api, rejected)),
    }
}

/// WeChat pushes an event, in XML or JSON.
///
/// A cancelled authorisation deletes the user, a revoked one the data that it names. Only where
/// `wechat.push.enabled` is set.
#[utoipa::path(
    post, path = "/wechat/push", operation_id = "wechat_push", tag = "wechat",
    params(
        ("signature" = String, Query, description = "SHA-1 of the sorted token, timestamp and nonce.", pattern = "^[0-9a-f]{40}$"),
        ("msg_signature" = Option<String>, Query, description = "In safe mode: that of the encrypted body too."),
        ("timestamp" = String, Query, description = "Seconds since 1970.", pattern = "^[0-9]{1,12}$"),
        ("nonce" = String, Query, pattern = "^[0-9A-Za-z]{1,64}$")
    ),
    request_body(content = String, content_type = "text/xml"),
    responses((status = 200, description = "`success`", body = String, content_type = "text/plain"))
)]
pub(in crate::api) async fn post(
    State(api): State<ApiState>,
    query: Parameters,
    request: Request,
) -> Result<PlainText, Problem> {
    let pushes = pushes(&api)?;
    let query = read_query(query)?;
    let body = body::bytes(request).await?;
    let event = match pushes.read(&query, &body) {
        Ok(PushMessage::Authorization(event)) => event,
        Ok(PushMessage::Other) => {
            count(&api, "other", "done");
            return Ok(plain(SUCCESS));
        }
        Err(rejected) => return Err(reject(&api, rejected)),
    };
    match api.auth.withdraw_consent(&event).await {
        Ok(done) => {
            count(&api, event.change.name(), done.as_str());
            Ok(plain(SUCCESS))
        }
        Err(error) => {
            count(&api, event.change.name(), "failed");
            Err(Problem::from(error))
        }
    }
}

fn pushes(api: &ApiState) -> Result<&PushReceiver, Problem> {
    api.pushes
        .as_deref()
        .ok_or_else(|| Problem::new(ErrorCode::NotFound))
}

fn read_query(query: Parameters) -> Result<PushQuery, Problem> {
    let Query(query) = query.map_err(|_| Problem::new(ErrorCode::Forbidden))?;
    Ok(query)
}

fn reject(api: &ApiState, rejected: PushRejection) -> Problem {
    count(api, "unknown", rejected.as_str());
    // It is signed, so an operator should know why it is ignored.
    if matches!(
        rejected,
        PushRejection::Unreadable | PushRejection::OtherApp
    ) {
        tracing::warn!(error = %rejected, "a push of WeChat was rejected: {rejected}");
    }
    Problem::new(ErrorCode::Forbidden)
        .detail("This is not a push of WeChat for a mini program of this server.")
}

fn count(api: &ApiState, event: &'static str, result: &'static str) {
    api.metrics
        .wechat_pushes
        .with_label_values(&[event, result])
        .inc();
}

fn plain(text: &str) -> PlainText {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text.to_owned())
}
