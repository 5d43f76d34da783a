//! The state of the routes: the parts of the process, and the context of a request.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};

use super::problem::Problem;
use crate::{
    auth::{Auth, Authorizer, limits::RateLimited},
    dialect::{Dialects, TokenProfile},
    error::ErrorCode,
    metrics::Metrics,
    policy::LocalRoutes,
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
    /// The header that may carry an access token in addition to `Authorization`.
    pub token_header: Option<Arc<str>>,
    /// Of the tokens that the auth API's own routes issue.
    pub token_profile: Arc<TokenProfile>,
    pub dialects: Arc<Dialects>,
    /// Of the same dialects.
    pub local_routes: Arc<LocalRoutes>,
    /// `None`: WeChat's pushes are not accepted.
    pub pushes: Option<Arc<PushReceiver>>,
    pub metrics: Metrics,
}

impl ApiState {
    /// Counts a request against the limit of its address, for routes whose use case has no limit.
    pub(super) fn check_rate(&self, from: ClientIp) -> Result<(), RateLimited> {
        self.auth.limits.api_per_ip.check(&from.network())
    }
}

/// The context of a request, from the gate. The proxy puts it into the extensions of the request.
#[derive(Debug, Clone)]
pub struct ApiContext {
    pub request_id: String,
    pub client_ip: ClientIp,
}

impl<S: Send + Sync> FromRequestParts<S> for ApiContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("a request reached the auth API without its context");
            Problem::new(ErrorCode::Internal)
        })
    }
}
