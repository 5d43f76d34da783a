//! The response that allows a forward-auth request: a status and header fields, never a body.
//!
//! Must stay true: it names no user whom the gate would not name to the backend, and has every
//! assertion that the config promises.

use http::{HeaderName, HeaderValue, StatusCode};

use super::{
    local_response::{LocalResponse, no_store, request_id_field},
    request_context::RequestContext,
};
use crate::{api::problem::Problem, error::ErrorCode, gate::ForwardAuthAllowed};

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
    let mut fields = vec![no_store()];
    fields.extend(headers.identity(&allowed.request));
    fields.extend(signed.into_iter().flatten());
    for (name, value) in &allowed.credentials {
        if fields.iter().all(|(set, _)| set != name) {
            fields.push((name.clone(), value.clone()));
        }
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
        let remove = HeaderValue::from_str(&remove.join(",")).ok();
        fields.extend(remove.map(|names| (X_ENVOY_AUTH_HEADERS_TO_REMOVE, names)));
    }
    fields.extend(request_id_field(&context.request_id));
    Ok(LocalResponse::bodiless(StatusCode::OK, fields))
}
