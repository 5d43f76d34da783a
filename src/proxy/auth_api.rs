//! Passes a request to the auth API: reads its whole body, within limits, and calls the axum
//! Router.

use std::{future::poll_fn, pin::pin};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{
    access_record::{RequestOutcome, RequestRecord, ResponseRecord, RuleIndex},
    client::{BodyReadError, Client},
    local_response::LocalResponse,
    message::body_length,
    request_context::RequestContext,
};
use crate::{
    api::{self, BODY_TIMEOUT, MAX_BODY_LEN, problem::Problem},
    error::ErrorCode,
    gate::AdmittedRequest,
    policy::headers::X_MENSHEN_ERROR,
};

/// Serves one request of the auth API.
pub(super) async fn serve(
    context: &RequestContext,
    client: &mut impl Client,
    admitted: &AdmittedRequest,
    head: &Bytes,
) {
    let time = context.snapshot.limits.body_timeout.min(BODY_TIMEOUT);
    let mut response = match client
        .read_body(MAX_BODY_LEN, body_length(admitted.framing.body), time)
        .await
    {
        Ok(body) => run_to_completion(client, route(context, admitted, head, body)).await,
        Err(error) => {
            let malformed = Problem::new(ErrorCode::RequestMalformed);
            let problem = match error {
                BodyReadError::TooLarge => Problem::new(ErrorCode::BodyTooLarge),
                BodyReadError::TimedOut => {
                    malformed.detail("The request body did not arrive in time.")
                }
                BodyReadError::Incomplete => {
                    malformed.detail("The request body could not be read to its end.")
                }
            };
            context
                .snapshot
                .error_renderer
                .respond(admitted.path(), &problem, &context.request_id)
        }
    };
    for (name, value) in admitted.cors.iter().flat_map(|fields| fields.iter()) {
        response.headers_mut().append(name, value.clone());
    }
    let status = response.status();
    let error = response.headers().get(X_MENSHEN_ERROR).and_then(|code| {
        ErrorCode::ALL
            .into_iter()
            .find(|known| code == known.as_str())
    });
    let sent = client
        .respond(&admitted.forward.method, local_response(response).await)
        .await;
    let record = ResponseRecord::local(RequestOutcome::Auth, sent.is_ok().then_some(status), error);
    let request = RequestRecord {
        rule: RuleIndex::AuthApi,
        report_only: None,
        user: None,
        ..RequestRecord::admitted(admitted, RuleIndex::AuthApi)
    };
    context.record(
        request,
        ResponseRecord {
            received: client.received(),
            ..record
        },
    );
}

/// Calls the Router. The returned future does not borrow from the client.
fn route(
    context: &RequestContext,
    admitted: &AdmittedRequest,
    head: &Bytes,
    body: Bytes,
) -> impl Future<Output = Response<Body>> + use<> {
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = admitted.forward.method.clone();
    // The path was checked, so it is a URI.
    *request.uri_mut() = admitted.forward.target.parse().unwrap_or_default();
    let fields = admitted
        .forward
        .forwarded_headers
        .iter()
        .filter_map(|range| {
            let name = HeaderName::from_bytes(&head[range.name()]).ok()?;
            Some((
                name,
                HeaderValue::from_maybe_shared(head.slice(range.value())).ok()?,
            ))
        });
    for (name, value) in fields {
        request.headers_mut().append(name, value);
    }
    let (request_id, client_ip) = (context.request_id.clone(), admitted.client.ip);
    request.extensions_mut().insert(api::ApiContext {
        request_id,
        client_ip,
    });
    let response = context.snapshot.api.clone().oneshot(request);
    async move {
        // A Router cannot fail; its error type is empty.
        let Ok(response) = response.await;
        response
    }
}

/// Runs the work to completion even if the client disconnects, because half a login is useless. A
/// client's HTTP/2 reset is counted at once, because such a request costs as much as any other.
async fn run_to_completion<C: Client, T>(client: &mut C, work: impl Future<Output = T>) -> T {
    if !C::IS_HTTP2 {
        return work.await;
    }
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = work.as_mut() => return done,
        () = poll_fn(|cx| client.poll_closed(cx)) => {}
    }
    client.count_reset();
    work.await
}

/// The Router's response as a local response.
async fn local_response(response: Response<Body>) -> LocalResponse {
    let (parts, body) = response.into_parts();
    // The Router's bodies are in memory, so collecting them cannot fail.
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let announced = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    let fields = parts.headers.iter().filter(|(name, _)| {
        **name != header::CONTENT_LENGTH && **name != header::TRANSFER_ENCODING
    });
    let fields = fields
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    LocalResponse {
        status: parts.status,
        fields,
        content_length: announced.filter(|_| body.is_empty()),
        body,
    }
}
