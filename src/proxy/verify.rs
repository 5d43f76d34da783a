//! Answers to a proxy that asks whether it may forward a request: a status and header fields, never a body.
//!
//! Must stay true: only a yes is a 2xx, whatever a dialect would make of a refusal; a no is 401 or 403, since nginx takes any
//! other status for a failure, but a fault of ours stays one; a yes names no user whom the gate would not name to the backend, and
//! has every proof that the config promises.

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::snapshot::Snapshot;
use crate::{api::problem::Problem, error::ErrorCode, gate::ForwardAuthAllowed, types::Timestamp};

/// Tells Envoy which of the client's headers to remove.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
const ERROR: HeaderName = HeaderName::from_static("x-menshen-error");

/// Header fields in order.
pub(super) type Fields = Vec<(HeaderName, HeaderValue)>;

/// Status and fields of a yes: what the backend is to be told. Where a proof cannot be made, it is none.
pub(super) fn yes(snapshot: &Snapshot, allowed: &ForwardAuthAllowed, now: Timestamp) -> (StatusCode, Fields) {
    let Ok(signed) = snapshot.outgoing.signed(&allowed.request, now) else {
        let request_id = allowed.request.log.request_id.as_deref().unwrap_or_default();
        return refusal(&Problem::new(ErrorCode::ProofUnavailable), request_id);
    };
    let mut fields = vec![(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let Ok(()) = snapshot.outgoing.identity(&allowed.request, |name, value| {
        fields.push((name, value));
        Ok::<_, std::convert::Infallible>(())
    });
    fields.extend(signed.into_iter().flatten());
    if let Some(authorization) = &allowed.authorization
        && fields.iter().all(|(name, _)| name != header::AUTHORIZATION)
    {
        fields.push((header::AUTHORIZATION, authorization.clone()));
    }
    if let Some(forward_auth) = snapshot.gate.forward_auth().filter(|it| it.tells_what_to_remove()) {
        // Envoy removes after it has set, so what is set here must not be named.
        let names = forward_auth.reserved().iter().chain(&allowed.removed_headers);
        let mut remove: Vec<_> =
            names.filter(|name| fields.iter().all(|(set, _)| set != *name)).map(HeaderName::as_str).collect();
        remove.sort_unstable();
        remove.dedup();
        fields.extend(HeaderValue::from_str(&remove.join(",")).ok().map(|value| (TO_REMOVE, value)));
    }
    (StatusCode::OK, fields)
}

/// Status and fields of a no.
pub(super) fn no(problem: &Problem, request_id: &str) -> (StatusCode, Fields) {
    let (status, mut fields) = refusal(problem, request_id);
    fields.extend(HeaderValue::from_str(request_id).ok().map(|id| (HeaderName::from_static("x-request-id"), id)));
    (status, fields)
}

/// The same without the field of the request's id.
fn refusal(problem: &Problem, request_id: &str) -> (StatusCode, Fields) {
    let status = match problem.status() {
        StatusCode::UNAUTHORIZED => StatusCode::UNAUTHORIZED,
        fault if fault.is_server_error() => fault,
        _ => StatusCode::FORBIDDEN,
    };
    let mut fields = vec![
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (ERROR, HeaderValue::from_static(problem.code.as_str())),
    ];
    fields.extend(problem.www_authenticate().map(|how| (header::WWW_AUTHENTICATE, HeaderValue::from_static(how))));
    fields.extend(problem.retry_after_secs(request_id).map(|secs| (header::RETRY_AFTER, HeaderValue::from(secs))));
    (status, fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_refusal_is_a_pass_or_a_status_that_nginx_takes_for_a_failure() {
        for code in ErrorCode::ALL {
            let (status, fields) = no(&Problem::new(code), "r1");
            let expected = match Problem::new(code).status().as_u16() {
                401 => 401,
                fault @ 500..=599 => fault,
                _ => 403,
            };
            assert_eq!(status.as_u16(), expected, "{code:?}");
            let error = fields.iter().find(|(name, _)| *name == ERROR).map(|(_, value)| value.as_bytes());
            assert_eq!(error, Some(code.as_str().as_bytes()));
        }
    }
}
