//! Requests that pass: pingora carries them, this says what the backend gets to see and what the client is told on failure.
//!
//! Must stay true: a request without a handover is refused; the client's headers are filtered before ours are set; ours
//! replace, never append; nothing that was sent is sent again.

use std::{any::Any, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, header};
use pingora::{
    Error, ErrorSource, ErrorType,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    prelude::HttpPeer,
    proxy::{FailToProxy, ProxyHttp, Session},
};

use super::{
    record::{Outcome, Record, Recorder, RuleIndex, Timing},
    upstream::Upstreams,
};
use crate::{api::problem::Problem, error::ErrorCode, gate::Passage};

/// The gate's decision, on its way to pingora's hooks.
pub(super) struct Handover {
    pub(super) passage: Box<Passage>,
    pub(super) timing: Timing,
    pub(super) request_id: String,
    /// The connection ends with this request.
    pub(super) last: bool,
}

/// pingora's hooks.
pub(super) struct Forward {
    pub(super) upstreams: Upstreams,
    pub(super) recorder: Arc<Recorder>,
    /// `Host` for the backend; `None`: the client's own.
    pub(super) host: Option<HeaderValue>,
    /// Longest silence of a client within a body.
    pub(super) body_timeout: Duration,
    pub(super) auth_state: AuthState,
}

/// `X-Auth-State`, ready to send.
pub(super) struct AuthState {
    pub(super) name: &'static str,
    pub(super) authenticated: HeaderValue,
    pub(super) anonymous: HeaderValue,
}

impl AuthState {
    pub(super) const fn new() -> Self {
        Self {
            name: "X-Auth-State",
            authenticated: HeaderValue::from_static("authenticated"),
            anonymous: HeaderValue::from_static("anonymous"),
        }
    }
}

/// What is known of one request.
#[derive(Default)]
pub(super) struct Ctx {
    handover: Option<Box<Handover>>,
    connects: usize,
    /// Set when menshen answered in the backend's stead.
    failed: Option<ErrorCode>,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::default()
    }

    /// No modules: bodies pass as they are.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn on_connection_reuse(&self, _session: &mut Session, ctx: &mut Ctx, handed: Box<dyn Any + Send + Sync>) {
        ctx.handover = handed.downcast().ok();
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> pingora::Result<bool> {
        let agreed = ctx
            .handover
            .as_ref()
            .is_some_and(|handover| session.req_header().raw_path() == handover.passage.target.as_bytes());
        let Some(handover) = ctx.handover.as_ref().filter(|_| agreed) else {
            // Decided on something else than what pingora read, or not at all: never forwarded.
            tracing::error!("a request reached the proxy that the gate had not decided on");
            return Error::e_explain(ErrorType::InternalError, "no decision");
        };
        if handover.last {
            session.set_keepalive(None);
        }
        session.set_read_timeout(Some(self.body_timeout));
        session.set_write_timeout(Some(self.body_timeout));
        session.set_total_drain_timeout(Some(self.body_timeout));
        Ok(false)
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Ctx) -> pingora::Result<Box<HttpPeer>> {
        ctx.connects += 1;
        Ok(self.upstreams.next())
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> pingora::Result<()> {
        let Some(handover) = &ctx.handover else {
            return Error::e_explain(ErrorType::InternalError, "no decision");
        };
        let passage = &handover.passage;
        for name in &passage.dropped {
            request.remove_header(name);
        }
        let identity = passage.identity.as_ref();
        if let Some(identity) = identity {
            for (name, value) in &identity.headers {
                set(request, name.clone(), value.clone())?;
            }
        }
        let state = if identity.is_some() { &self.auth_state.authenticated } else { &self.auth_state.anonymous };
        set(request, self.auth_state.name, state.clone())?;
        set(request, "X-Forwarded-For", text(passage.origin.ip.to_string())?)?;
        set(request, "X-Forwarded-Proto", HeaderValue::from_static(if passage.origin.https { "https" } else { "http" }))?;
        if let Some(host) = &passage.host {
            set(request, "X-Forwarded-Host", host.clone())?;
        }
        set(request, "X-Request-Id", text(handover.request_id.as_str())?)?;
        if let Some(host) = &self.host {
            set(request, header::HOST, host.clone())?;
        }
        Ok(())
    }

    /// What only menshen may say, the backend may not.
    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        _ctx: &mut Ctx,
    ) -> pingora::Result<()> {
        response.remove_header(&HeaderName::from_static("x-menshen-error"));
        Ok(())
    }

    /// Another backend is tried only where no connection came about, so nothing can have been sent.
    fn fail_to_connect(&self, _session: &mut Session, _peer: &HttpPeer, ctx: &mut Ctx, mut fault: Box<Error>) -> Box<Error> {
        fault.set_retry(ctx.connects < self.upstreams.len());
        fault
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        _session: &mut Session,
        mut fault: Box<Error>,
        _ctx: &mut Ctx,
        _reused: bool,
    ) -> Box<Error> {
        fault.set_retry(false);
        fault
    }

    async fn fail_to_proxy(&self, session: &mut Session, fault: &Error, ctx: &mut Ctx) -> FailToProxy {
        let failure = Failure::of(fault);
        self.recorder.metrics().upstream_errors.with_label_values(&[failure.kind]).inc();
        let gone = FailToProxy { error_code: 0, can_reuse_downstream: false };
        let Some(code) = failure.code else { return gone };
        ctx.failed = Some(code);
        if *fault.esource() != ErrorSource::Downstream {
            tracing::warn!(kind = failure.kind, cause = fault.etype().as_str(), "the backend failed a request");
        }
        let begun = session.response_written().is_some_and(|sent| !sent.status.is_informational() || sent.status == 101);
        if begun {
            return gone;
        }
        let request_id = ctx.handover.as_ref().map_or("", |handover| handover.request_id.as_str());
        let problem = Problem::new(code);
        let status = problem.status().as_u16();
        // The client may be gone by now; there is nobody else to tell.
        drop(answer(session, &problem, request_id).await);
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _fault: Option<&Error>, ctx: &mut Ctx) {
        let Some(handover) = &ctx.handover else { return };
        let passage = &handover.passage;
        self.recorder.write(&Record {
            timing: &handover.timing,
            rule: passage.rule.map_or(RuleIndex::None, RuleIndex::Rule),
            outcome: if ctx.failed.is_some() { Outcome::Failed } else { Outcome::Forwarded },
            request_id: &handover.request_id,
            method: passage.method.as_str(),
            path: passage.path(),
            status: session.response_written().map_or(0, |sent| sent.status.as_u16()),
            error: ctx.failed,
            user: passage.identity.as_ref().map(|identity| identity.claims.sub.as_str()),
            client_ip: passage.origin.ip,
        });
    }

    /// pingora's own lines may quote what clients sent; ours say what happened.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _fault: &Error) -> bool {
        true
    }
}

fn set(
    request: &mut RequestHeader,
    name: impl pingora::http::IntoCaseHeaderName,
    value: HeaderValue,
) -> pingora::Result<()> {
    request.insert_header(name, value)
}

fn text(value: impl AsRef<str>) -> pingora::Result<HeaderValue> {
    HeaderValue::from_str(value.as_ref()).map_err(|_| Error::explain(ErrorType::InternalError, "not a header value"))
}

/// Writes a problem document through pingora and ends the connection.
pub(super) async fn answer(session: &mut Session, problem: &Problem, request_id: &str) -> pingora::Result<()> {
    let body = problem.body(request_id);
    let mut head = ResponseHeader::build(problem.status(), Some(6))?;
    head.insert_header(header::CONTENT_TYPE, "application/problem+json")?;
    head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    head.insert_header("X-Menshen-Error", problem.code.as_str())?;
    head.insert_header("X-Request-Id", text(request_id)?)?;
    session.set_keepalive(None);
    let head_only = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(head), head_only).await?;
    if !head_only {
        session.write_response_body(Some(body.into()), true).await?;
    }
    Ok(())
}

/// What a failure is called, and what the client is told of it.
struct Failure {
    /// Metric label.
    kind: &'static str,
    /// `None`: the client is gone.
    code: Option<ErrorCode>,
}

impl Failure {
    fn of(fault: &Error) -> Self {
        let told = |kind, code| Self { kind, code: Some(code) };
        match fault.esource() {
            ErrorSource::Downstream => match fault.etype() {
                ErrorType::WriteError
                | ErrorType::ReadError
                | ErrorType::ConnectionClosed
                | ErrorType::WriteTimedout
                | ErrorType::ConnectError => Self { kind: "client_gone", code: None },
                ErrorType::ReadTimedout => told("client_slow", ErrorCode::RequestMalformed),
                _ => told("client_malformed", ErrorCode::RequestMalformed),
            },
            ErrorSource::Upstream => match fault.etype() {
                ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
                    told("connect_timeout", ErrorCode::UpstreamTimeout)
                }
                ErrorType::ReadTimedout | ErrorType::WriteTimedout => told("timeout", ErrorCode::UpstreamTimeout),
                ErrorType::ConnectRefused
                | ErrorType::ConnectNoRoute
                | ErrorType::ConnectError
                | ErrorType::SocketError
                | ErrorType::TLSHandshakeFailure
                | ErrorType::InvalidCert => told("connect", ErrorCode::UpstreamUnavailable),
                ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => {
                    told("closed_early", ErrorCode::UpstreamUnavailable)
                }
                _ => told("invalid_answer", ErrorCode::UpstreamUnavailable),
            },
            ErrorSource::Internal | ErrorSource::Unset => told("internal", ErrorCode::Internal),
        }
    }
}
