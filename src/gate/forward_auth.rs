//! The decision on a request that a proxy asks about and forwards itself, as if it had come here.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue};

use super::{
    access::{AccessPolicy, Allowed, Denied, RequestKind},
    admitted::{AdmittedRequest, LoggedRequest},
    header_filter::HeaderFilter,
    observer::{DecisionObserver, RemovalReason},
    received::Received,
    rejection::Rejection,
};
use crate::{
    error::ErrorCode,
    policy::{DropReason, ForwardAuth, Head, HeaderVerdict, RejectReason},
    types::Timestamp,
};

/// The decision to allow, for a forward-auth request.
#[derive(Debug)]
pub struct ForwardAuthAllowed {
    /// The request that the proxy asked about, which this connection does not carry; `framing` is
    /// that of the forward-auth request.
    pub request: AdmittedRequest,
    /// Names that the client sent and the backend must not get.
    pub removed_headers: Vec<HeaderName>,
    /// The client's credential, where the backend is to get it.
    pub authorization: Option<HeaderValue>,
}

/// Decides on the request that the received one asks about.
pub(super) fn decide(
    forward_auth: &ForwardAuth,
    access: &AccessPolicy,
    headers: &HeaderFilter,
    received: Received<'_>,
    peer: Option<IpAddr>,
    now: Timestamp,
    observer: &mut impl DecisionObserver,
) -> Result<ForwardAuthAllowed, Box<Rejection>> {
    let head = received.head;
    let asked = forward_auth
        .auth_request(head, peer)
        .map_err(|reason| reject(received, reason))?;
    let subject = Head {
        method: asked.method,
        target: asked.target,
        ..*head
    };
    let received = Received {
        head: &subject,
        ..received
    };
    let parts = access
        .target(asked.target, asked.method, observer)
        .map_err(|reason| reject(received, reason))?;
    let path = parts.path;
    if access.local_route(asked.method, path).is_some() {
        let detail = "menshen answers this path itself: the proxy has to send it here, unasked.";
        return Err(reject(
            received,
            RejectReason::new(ErrorCode::Forbidden, detail),
        ));
    }
    let spoofed = spoofed_headers(forward_auth, headers, head, observer);
    let matched = access.rule(path, asked.method, observer);
    // The proxy would forward it, and then no rule has seen which path or method the backend takes
    // it for.
    let has_override = || {
        let is_override = HeaderVerdict::Drop(DropReason::Override);
        spoofed
            .iter()
            .any(|name| headers.policy.verdict(name.as_str()) == is_override)
    };
    let is_excused = matched.report_only && (access.report_only_everywhere || !has_override());
    if !spoofed.is_empty() && forward_auth.rejects_spoofed() && !is_excused {
        let detail = "The request has a header that clients may not send.";
        return Err(reject(
            received,
            RejectReason::new(ErrorCode::RequestMalformed, detail),
        ));
    }
    let rule = Some(matched.rule.index);
    let Allowed { identity, dry_run } = access
        .check(
            &subject,
            path,
            matched,
            RequestKind::ForwardAuth,
            now,
            observer,
        )
        .map_err(|Denied { reason, identity }| {
            Box::new(Rejection {
                rule,
                identity,
                ..*reject(received, reason)
            })
        })?;
    let keep_authorization = headers.keep_authorization || matched.report_only;
    let authorization = head
        .values("authorization")
        .next()
        .filter(|_| keep_authorization);
    let request = AdmittedRequest::not_forwarded(received, asked.target, parts, rule);
    Ok(ForwardAuthAllowed {
        request: AdmittedRequest {
            identity,
            log: LoggedRequest {
                dry_run,
                ..request.log
            },
            ..request
        },
        removed_headers: spoofed,
        authorization: authorization.and_then(|value| HeaderValue::from_bytes(value).ok()),
    })
}

/// Names of headers that the client has set and only menshen may.
fn spoofed_headers(
    forward_auth: &ForwardAuth,
    headers: &HeaderFilter,
    head: &Head<'_>,
    observer: &mut impl DecisionObserver,
) -> Vec<HeaderName> {
    let mut spoofed = Vec::new();
    for (index, header) in head.headers.iter().enumerate() {
        let verdict = headers.policy.verdict(header.name);
        if forward_auth.is_spoofed(header.name, verdict) {
            observer.header_removed(index, header.name, RemovalReason::Name(verdict));
            spoofed.extend(HeaderName::from_bytes(header.name.as_bytes()));
        }
    }
    spoofed
}

/// The rejection of a forward-auth request.
fn reject(received: Received<'_>, reason: RejectReason) -> Box<Rejection> {
    let rejection = Rejection::new(
        received.head,
        reason,
        received.origin,
        Some(received.framing),
    );
    Box::new(Rejection {
        forward_auth: true,
        ..rejection
    })
}
