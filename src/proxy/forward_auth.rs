//! Responses to forward-auth requests: a status and header fields, never a body.
//!
//! Must stay true: only the decision to allow is a 2xx, whatever a dialect's error format says; a
//! denial is 401 or 403, since nginx takes any other status for a failure, but an error of menshen
//! keeps its 5xx; a decision to allow names no user whom the gate would not name to the backend,
//! and has every assertion that the config promises.

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{
    local_response::{LocalResponse, request_id_field},
    request_context::RequestContext,
};
use crate::{
    api::problem::Problem, error::ErrorCode, gate::ForwardAuthAllowed,
    policy::headers::X_MENSHEN_ERROR,
};

/// Tells Envoy which client headers to remove.
const X_ENVOY_AUTH_HEADERS_TO_REMOVE: HeaderName =
    HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// The response that allows a request, with the headers for the backend. If an assertion cannot be
/// signed, the request is denied.
pub(super) fn allow(
    context: &RequestContext,
    allowed: &ForwardAuthAllowed,
) -> Result<LocalResponse, Problem> {
    let snapshot = &context.snapshot;
    let headers = &snapshot.upstream_headers;
    let unsigned = |_| Problem::new(ErrorCode::ProofUnavailable);
    let signed = headers
        .signed(&allowed.request, context.timing.at)
        .map_err(unsigned)?;
    let mut fields = vec![(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    fields.extend(headers.identity(&allowed.request));
    fields.extend(signed.into_iter().flatten());
    if let Some(authorization) = &allowed.authorization
        && fields.iter().all(|(name, _)| name != header::AUTHORIZATION)
    {
        fields.push((header::AUTHORIZATION, authorization.clone()));
    }
    if let Some(forward_auth) = snapshot
        .gate
        .forward_auth()
        .filter(|it| it.removes_headers())
    {
        // Envoy removes headers after it has set them, so those that are set here must not be
        // named.
        let names = forward_auth
            .reserved()
            .iter()
            .chain(&allowed.removed_headers);
        let mut remove: Vec<_> = names
            .filter(|name| fields.iter().all(|(set, _)| set != *name))
            .map(HeaderName::as_str)
            .collect();
        remove.sort_unstable();
        remove.dedup();
        fields.extend(
            HeaderValue::from_str(&remove.join(","))
                .ok()
                .map(|value| (X_ENVOY_AUTH_HEADERS_TO_REMOVE, value)),
        );
    }
    fields.extend(request_id_field(&context.request_id));
    Ok(LocalResponse::bodiless(StatusCode::OK, fields))
}

/// The response that denies a request.
pub(super) fn deny(problem: &Problem, id: &str) -> LocalResponse {
    let status = match problem.status() {
        StatusCode::UNAUTHORIZED => StatusCode::UNAUTHORIZED,
        error if error.is_server_error() => error,
        _ => StatusCode::FORBIDDEN,
    };
    let mut fields = vec![
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            X_MENSHEN_ERROR,
            HeaderValue::from_static(problem.code.as_str()),
        ),
    ];
    fields.extend(
        problem
            .www_authenticate()
            .map(|how| (header::WWW_AUTHENTICATE, HeaderValue::from_static(how))),
    );
    fields.extend(
        problem
            .retry_after_secs(id)
            .map(|secs| (header::RETRY_AFTER, HeaderValue::from(secs))),
    );
    fields.extend(request_id_field(id));
    LocalResponse::bodiless(status, fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_refusal_is_a_pass_or_a_status_that_nginx_takes_for_a_failure() {
        for code in ErrorCode::ALL {
            let LocalResponse { status, fields, .. } = deny(&Problem::new(code), "r1");
            let expected = match Problem::new(code).status().as_u16() {
                401 => 401,
                fault @ 500..=599 => fault,
                _ => 403,
            };
            assert_eq!(status.as_u16(), expected, "{code:?}");
            let error = fields
                .iter()
                .find(|(name, _)| *name == X_MENSHEN_ERROR)
                .map(|(_, value)| value.as_bytes());
            assert_eq!(error, Some(code.as_str().as_bytes()));
        }
    }
}
