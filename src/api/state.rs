//! What the routes work with: the parts of the process, and what the gate knows of a request.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};

use super::problem::Problem;
use crate::{
    auth::{Auth, Authorizer},
    dialect::{Dialects, TokenProfile},
    error::ErrorCode,
    metrics::Metrics,
    provider::wechat::PushReceiver,
    token::Keyrings,
    types::ClientIp,
};

/// The parts of the process that the routes call.
#[derive(Clone)]
pub struct ApiState {
    pub auth: Arc<Auth>,
    pub authorizer: Arc<Authorizer>,
    /// Their public keys are served.
    pub keyrings: Arc<Keyrings>,
    /// Prefix of the auth API's routes: `/auth`, without a slash at its end.
    pub prefix: String,
    /// The response to a login has the `openid`.
    pub openid_in_answers: bool,
    /// Of the tokens that the auth API's own routes issue.
    pub token_profile: Arc<TokenProfile>,
    pub dialects: Arc<Dialects>,
    /// `None`: WeChat's pushes are not accepted.
    pub pushes: Option<Arc<PushReceiver>>,
    pub metrics: Metrics,
}

/// What the gate knows of a request. The proxy puts it into the request's extensions.
#[derive(Debug, Clone)]
pub struct RequestContext {
    pub request_id: String,
    pub client_ip: ClientIp,
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("a request reached the auth API without its context");
            Problem::new(ErrorCode::Internal)
        })
    }
}
