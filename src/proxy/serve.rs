//! Carries out the gate's decision on a request, for both protocols.
//!
//! Must stay true: every request gets one response, which is never marked complete if it is not,
//! and one access record.

use std::pin::Pin;

use bytes::Bytes;
use http::{Method, StatusCode};
use prometheus::IntGauge;
use tokio::time::Sleep;

use super::{
    access_record::{RequestOutcome, RequestRecord, ResponseRecord, RuleIndex},
    auth_api,
    client::Client,
    connection::ConnectionService,
    exchange::Exchange,
    forward_auth,
    local_response::{LocalResponse, request_id_field},
    message::body_length,
    rejection::{RenderedRejection, deny},
    request_context::RequestContext,
    upstream::session::Connections,
};
use crate::{
    api::problem::Problem,
    error::ErrorCode,
    gate::{AdmittedRequest, Decision, ForwardAuthAllowed, Rejection},
    metrics::Metrics,
};

/// Counts a request as in flight until dropped.
struct InFlightGuard<'a>(&'a IntGauge);

impl<'a> InFlightGuard<'a> {
    /// `None`: there are `max` requests in flight.
    fn new(metrics: &'a Metrics, max: i64) -> Option<Self> {
        metrics.in_flight.inc();
        let counted = Self(&metrics.in_flight);
        // Counting comes before comparing, so concurrent requests never exceed the limit; both may
        // be rejected for the last slot.
        if counted.0.get() <= max {
            return Some(counted);
        }
        metrics.requests_overloaded.inc();
        None
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request with the gate's decision.
pub(super) struct DecidedRequest {
    pub(super) decision: Decision,
    pub(super) context: RequestContext,
    /// The head, into which the ranges of the decision point.
    pub(super) head: Bytes,
    /// The client's connection uses TLS.
    pub(super) is_tls: bool,
}

/// Serves one request to its end, including its access record.
pub(super) async fn serve(
    service: &ConnectionService,
    connections: &Connections,
    client: &mut impl Client,
    request: DecidedRequest,
    timer: Pin<&mut Sleep>,
) {
    let (context, head) = (&request.context, &request.head);
    let (metrics, limits) = (&service.metrics, context.snapshot.limits);
    match request.decision {
        Decision::Reject(rejection) => reject(context, client, &rejection).await,
        Decision::AllowForwardAuth(allowed) => allow_forward_auth(context, client, &allowed).await,
        Decision::Preflight(admitted) => preflight(context, client, &admitted).await,
        Decision::AuthApi(admitted) => {
            match InFlightGuard::new(metrics, limits.max_auth_requests) {
                Some(_in_flight) => {
                    Box::pin(auth_api::serve(context, client, &admitted, head)).await;
                }
                None => reject_overloaded(context, client, &admitted).await,
            }
        }
        Decision::Forward(mut admitted) => match InFlightGuard::new(metrics, limits.max_requests) {
            Some(_in_flight) => {
                admitted.client.mark_tls(request.is_tls);
                let exchange = Exchange {
                    context,
                    admitted: &admitted,
                    head,
                    body: body_length(admitted.framing.body),
                };
                exchange.run(connections, client, timer).await;
            }
            None => reject_overloaded(context, client, &admitted).await,
        },
    }
}

/// The method of a rejected request, which may be the reason for it.
fn method(rejection: &Rejection) -> Method {
    Method::from_bytes(rejection.method.as_bytes()).unwrap_or_default()
}

async fn reject(context: &RequestContext, client: &mut impl Client, rejection: &Rejection) {
    let RenderedRejection { response, status } = context.render_rejection(client, rejection);
    let sent = client.respond(&method(rejection), response).await.is_ok();
    let (status, error) = (sent.then_some(status), Some(rejection.code));
    context.record(
        RequestRecord::rejected(rejection),
        ResponseRecord::local(RequestOutcome::Refused, status, error),
    );
}

/// Rejects an admitted request because too many are in flight.
async fn reject_overloaded(
    context: &RequestContext,
    client: &mut impl Client,
    admitted: &AdmittedRequest,
) {
    let problem = Problem::new(ErrorCode::Overloaded);
    let RenderedRejection { response, status } = context.render_problem(client, admitted, &problem);
    let sent = client.respond(&admitted.forward.method, response).await;
    let (status, error) = (sent.is_ok().then_some(status), Some(problem.code));
    let request = RequestRecord {
        report_only: None,
        ..RequestRecord::admitted(admitted, RuleIndex::None)
    };
    context.record(
        request,
        ResponseRecord::local(RequestOutcome::Refused, status, error),
    );
}

async fn allow_forward_auth(
    context: &RequestContext,
    client: &mut impl Client,
    allowed: &ForwardAuthAllowed,
) {
    let (response, error) = match forward_auth::allow(context, allowed) {
        Ok(response) => (response, None),
        Err(problem) => (deny(&problem, &context.request_id), Some(problem.code)),
    };
    let status = response.status;
    // The method of the proxy's own request is not known here; the response has no body anyway.
    let sent = client.respond(&Method::GET, response).await;
    let status = sent.is_ok().then_some(status);
    context.record(
        RequestRecord::admitted(&allowed.request, RuleIndex::AuthApi),
        ResponseRecord::local(RequestOutcome::Verified, status, error),
    );
}

async fn preflight(context: &RequestContext, client: &mut impl Client, admitted: &AdmittedRequest) {
    let cors = admitted.cors.iter().flat_map(|fields| fields.iter());
    let mut fields: Vec<_> = cors.cloned().collect();
    fields.extend(request_id_field(&context.request_id));
    let response = LocalResponse::bodiless(StatusCode::NO_CONTENT, fields);
    let sent = client.respond(&admitted.forward.method, response).await;
    let status = sent.is_ok().then_some(StatusCode::NO_CONTENT);
    context.record(
        RequestRecord::admitted(admitted, RuleIndex::AuthApi),
        ResponseRecord::local(RequestOutcome::Preflight, status, None),
    );
}
