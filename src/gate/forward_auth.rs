//! The decision on a request that a proxy asks about and forwards itself.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue};

use super::{
    access::{AccessPolicy, Allowed, Denied, RequestKind},
    admitted::AdmittedRequest,
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
    /// The request that the proxy asks about, which is not on this connection; `framing` is that of
    /// the forward-auth request.
    pub request: AdmittedRequest,
    /// Headers of the client that the backend must not get.
    pub removed_headers: Vec<HeaderName>,
    /// The headers that may carry the client's token, if the backend gets it.
    pub credentials: Vec<(HeaderName, HeaderValue)>,
}

/// The parts of the gate that decide on the requests of proxies.
pub(super) struct ForwardAuthGate<'g> {
    pub(super) config: &'g ForwardAuth,
    pub(super) access: &'g AccessPolicy,
    pub(super) headers: &'g HeaderFilter,
}

impl ForwardAuthGate<'_> {
    /// Decides on the request that the received one is about.
    pub(super) fn decide(
        &self,
        received: Received<'_>,
        peer: Option<IpAddr>,
        now: Timestamp,
        observer: &mut impl DecisionObserver,
    ) -> Result<ForwardAuthAllowed, Box<Rejection>> {
        let Self {
            config,
            access,
            headers,
        } = self;
        let head = received.head;
        let subject = config
            .auth_request(head, peer)
            .map_err(|reason| reject(received, reason))?;
        let subject = Head {
            method: subject.method,
            target: subject.target,
            ..*head
        };
        let received = Received {
            head: &subject,
            ..received
        };
        let parts = access
            .target(subject.target, subject.method, observer)
            .map_err(|reason| reject(received, reason))?;
        let path = parts.path;
        if access.local_route(subject.method, path).is_some() {
            let detail =
                "menshen answers this path itself: the proxy has to send it here, unasked.";
            let reason = RejectReason::new(ErrorCode::Forbidden, detail);
            return Err(reject(received, reason));
        }
        let spoofed = self.spoofed_headers(head, observer);
        let matched = access.rule(path, subject.method, observer);
        // The proxy would forward it, and no rule would have seen the path or method that the
        // backend reads.
        let has_override = || {
            let is_override = HeaderVerdict::Drop(DropReason::Override);
            spoofed
                .iter()
                .any(|name| headers.policy.verdict(name.as_str()) == is_override)
        };
        let is_exempt = matched.report_only && (access.report_only_everywhere || !has_override());
        if !spoofed.is_empty() && config.rejects_spoofed() && !is_exempt {
            let detail = "The request has a header that clients may not send.";
            let reason = RejectReason::new(ErrorCode::RequestMalformed, detail);
            return Err(reject(received, reason));
        }
        let rule = Some(matched.rule.index);
        let Allowed {
            identity,
            report_only,
        } = access
            .check(
                &subject,
                path,
                matched,
                RequestKind::ForwardAuth,
                now,
                observer,
            )
            .map_err(|Denied { reason, identity }| {
                let mut rejection = reject(received, reason);
                (rejection.rule, rejection.identity) = (rule, identity);
                rejection
            })?;
        let mut credentials = Vec::new();
        if headers.keep_authorization || matched.report_only {
            let own = access.token_locations(matched, path, RequestKind::ForwardAuth);
            let names = ["authorization"].into_iter().chain(own.header);
            credentials.extend(names.filter_map(|name| {
                let value = HeaderValue::from_bytes(head.values(name).next()?).ok()?;
                Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
            }));
        }
        let target = subject.target.to_owned();
        let mut request = AdmittedRequest::new(received, target, parts, rule);
        request.identity = identity;
        request.log.report_only = report_only;
        Ok(ForwardAuthAllowed {
            request,
            removed_headers: spoofed,
            credentials,
        })
    }

    /// Names of headers that the client has sent and only menshen may set.
    fn spoofed_headers(
        &self,
        head: &Head<'_>,
        observer: &mut impl DecisionObserver,
    ) -> Vec<HeaderName> {
        let mut spoofed = Vec::new();
        for (index, header) in head.headers.iter().enumerate() {
            let verdict = self.headers.policy.verdict(header.name);
            if self.config.is_spoofed(header.name, verdict) {
                observer.header_removed(index, header.name, RemovalReason::Name(verdict));
                spoofed.extend(HeaderName::from_bytes(header.name.as_bytes()));
            }
        }
        spoofed
    }
}

/// The rejection of a forward-auth request.
fn reject(received: Received<'_>, reason: RejectReason) -> Box<Rejection> {
    let (head, framing) = (received.head, Some(received.framing));
    let mut rejection = Rejection::new(head, reason, received.client, framing);
    rejection.forward_auth = true;
    Box::new(rejection)
}
