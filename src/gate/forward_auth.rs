//! The decision on a request that a proxy asks about and forwards itself, as if it had come here.

use http::{HeaderName, HeaderValue};

use super::{
    access::{AccessPolicy, RequestKind},
    admitted::{AdmittedRequest, ForwardedRequest, LoggedRequest},
    dry_run::DryRunDecision,
    header_filter::HeaderFilter,
    message_framing::MessageFraming,
    rejection::Rejection,
};
use crate::{
    error::ErrorCode,
    policy::{AuthRequest, DropReason, ForwardAuth, Head, HeaderVerdict, Origin, RejectReason, RuleDecision},
    types::Timestamp,
};

/// The decision to allow, for a forward-auth request.
#[derive(Debug)]
pub struct ForwardAuthAllowed {
    /// The request that the proxy asked about, which this connection does not carry; `framing` is that of the forward-auth request.
    /// `removed_headers` are names that the client sent and the backend must not get.
    pub request: AdmittedRequest,
    /// The client's credential, where the backend is to get it.
    pub authorization: Option<HeaderValue>,
}

/// Decides on the request that `head` asks about.
pub(super) fn decide(
    forward_auth: &ForwardAuth,
    access: &AccessPolicy,
    headers: &HeaderFilter,
    head: &Head<'_>,
    asked: AuthRequest<'_>,
    origin: Origin,
    framing: MessageFraming,
    now: Timestamp,
) -> Result<ForwardAuthAllowed, Rejection> {
    let path = asked.parts.path;
    let subject = Head { method: asked.method, target: asked.target, ..*head };
    let reject = |reason| rejection(&subject, reason, origin, framing);
    if access.is_local(asked.method, path) {
        let detail = "menshen answers this path itself: the proxy has to send it here, unasked.";
        return Err(reject(RejectReason::new(ErrorCode::Forbidden, detail)));
    }
    let spoofed: Vec<_> = head
        .headers
        .iter()
        .filter(|header| forward_auth.is_spoofed(header.name, headers.policy.verdict(header.name)))
        .filter_map(|header| HeaderName::from_bytes(header.name.as_bytes()).ok())
        .collect();
    let matched = access.rules.find(path, asked.method);
    let report_only = matched.report_only;
    // The proxy would forward it, and then no rule has seen which path or method the backend takes it for.
    let has_override =
        || spoofed.iter().any(|name| headers.policy.verdict(name.as_str()) == HeaderVerdict::Drop(DropReason::Override));
    let is_excused = report_only && (access.report_only_everywhere || !has_override());
    if !spoofed.is_empty() && forward_auth.rejects_spoofed() && !is_excused {
        let detail = "The request has a header that clients may not send.";
        return Err(reject(RejectReason::new(ErrorCode::RequestMalformed, detail)));
    }
    let rule = Some(matched.rule.index);
    let (identity, would) = match access.check_credential(&subject, path, matched, RequestKind::ForwardAuth, now) {
        Ok((RuleDecision::Anonymous, _)) => (None, DryRunDecision::Allow),
        Ok((RuleDecision::Authenticated, identity)) => (identity, DryRunDecision::Allow),
        Ok((RuleDecision::Reject(code), _)) if report_only => (None, DryRunDecision::Reject(code)),
        Ok((RuleDecision::Reject(code), identity)) => {
            let rejection = reject(RejectReason::new(code, ""));
            return Err(Rejection { rule, identity, detail: None, ..rejection });
        }
        Err(reason) if report_only && !reason.close => (None, DryRunDecision::Reject(reason.code)),
        Err(reason) => return Err(Rejection { rule, ..reject(reason) }),
    };
    let keep_authorization = headers.keep_authorization || report_only;
    let authorization = head.values("authorization").next().filter(|_| keep_authorization);
    let request = AdmittedRequest::not_forwarded(&subject, asked.target, asked.parts, origin, framing, rule);
    Ok(ForwardAuthAllowed {
        request: AdmittedRequest {
            identity,
            forward: ForwardedRequest { removed_headers: spoofed, ..request.forward },
            log: LoggedRequest { dry_run: report_only.then_some(would), ..request.log },
            ..request
        },
        authorization: authorization.and_then(|value| HeaderValue::from_bytes(value).ok()),
    })
}

/// The rejection of a forward-auth request.
pub(super) fn rejection(head: &Head<'_>, reason: RejectReason, origin: Origin, framing: MessageFraming) -> Rejection {
    Rejection { forward_auth: true, ..Rejection::new(head, reason, origin, Some(framing)) }
}
