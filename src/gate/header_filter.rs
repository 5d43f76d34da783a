//! Which parts of a client's request are forwarded: its header fields, its cookies, its target.
//!
//! Must stay true: every header field of every request gets a verdict, before menshen sets its own;
//! the field, cookie or parameter that carried the token is not forwarded.

use std::sync::Arc;

use http::HeaderValue;

use super::{
    admitted::{AdmittedRequest, ForwardedRequest},
    observer::{DecisionObserver, RemovalReason},
    received::Received,
    report_only::ReportOnlyDecision,
};
use crate::{
    auth::Identity,
    metrics::Metrics,
    policy::{
        DropReason, Head, HeaderPolicy, HeaderRange, HeaderVerdict, HttpVersion, Rule, Target,
        credential,
    },
};

/// Filters the requests of clients.
pub(super) struct HeaderFilter {
    pub(super) policy: HeaderPolicy,
    /// `Authorization` and the token header of the path are forwarded.
    pub(super) keep_authorization: bool,
    /// Cookies that carry tokens, on any path; empty if the backend gets them.
    pub(super) token_cookies: Vec<Box<str>>,
    /// Every path is in report-only mode.
    pub(super) report_only_everywhere: bool,
    pub(super) metrics: Metrics,
}

/// The decision to admit a request.
#[derive(Default)]
pub(super) struct Admission<'a> {
    /// `None`: no rule decided.
    pub(super) rule: Option<&'a Rule>,
    /// The header that may carry a token on this path, in addition to `Authorization`.
    pub(super) token_header: Option<&'a str>,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) report_only: Option<ReportOnlyDecision>,
}

impl HeaderFilter {
    /// The request as it is forwarded.
    pub(super) fn admitted_request(
        &self,
        received: Received<'_>,
        target: Target<'_>,
        admission: Admission<'_>,
        observer: &mut impl DecisionObserver,
    ) -> Box<AdmittedRequest> {
        let Received {
            head, websocket, ..
        } = received;
        let Admission {
            rule,
            token_header,
            identity,
            report_only,
        } = admission;
        // The token is not forwarded, except in report-only mode.
        let removes_token = report_only.is_none();
        let is_in_query = removes_token
            && websocket
            && !self.keep_authorization
            && rule.is_some_and(|rule| rule.token_in_query);
        let sent_target = is_in_query
            .then(|| credential::without_parameter(head.target))
            .flatten()
            .unwrap_or_else(|| head.target.to_owned());
        let index = rule.map(|rule| rule.index);
        let mut request = Box::new(AdmittedRequest::new(received, sent_target, target, index));
        request.identity = identity;
        request.log.report_only = report_only;
        let forward = &mut request.forward;
        forward.websocket = websocket;
        forward.idle_timeout = rule.and_then(|rule| rule.idle_timeout);
        let kept_token_header = token_header.filter(|_| self.keep_authorization);
        self.filter_headers(head, forward, kept_token_header, !removes_token, observer);
        if removes_token {
            self.remove_token_cookies(head, forward, observer);
        }
        request
    }

    fn filter_headers(
        &self,
        head: &Head<'_>,
        forward: &mut ForwardedRequest,
        kept_token_header: Option<&str>,
        is_report_only: bool,
        observer: &mut impl DecisionObserver,
    ) {
        forward.forwarded_headers.reserve_exact(head.headers.len());
        let (mut nominates, mut spoofed, mut unenforced) = (false, 0, 0);
        for (index, header) in head.headers.iter().enumerate() {
            let mut verdict = self.policy.verdict(header.name);
            if verdict == HeaderVerdict::Drop(DropReason::Credential)
                && kept_token_header.is_some_and(|name| header.name.eq_ignore_ascii_case(name))
            {
                verdict = HeaderVerdict::Pass;
            }
            if is_report_only && matches!(verdict, HeaderVerdict::Drop(_)) {
                let strict = verdict;
                verdict = self.policy.report_only_verdict(
                    header.name,
                    strict,
                    self.report_only_everywhere,
                );
                unenforced += u64::from(
                    verdict != strict && strict != HeaderVerdict::Drop(DropReason::Credential),
                );
            }
            match verdict {
                HeaderVerdict::Pass => {
                    let range = head.range(header);
                    if header.name.eq_ignore_ascii_case("host") {
                        forward.host = Some(range);
                    }
                    forward.forwarded_headers.push(range);
                    continue;
                }
                // Hop-by-hop; the exchange with the backend makes its own handshake.
                HeaderVerdict::Handshake => nominates = true,
                HeaderVerdict::Drop(DropReason::HopByHop) => {
                    forward.trailers |= head.version != HttpVersion::Http10
                        && header.name.eq_ignore_ascii_case("te")
                        && accepts_trailers(header.value);
                }
                HeaderVerdict::Drop(reason) => {
                    spoofed += u64::from(reason != DropReason::Credential);
                    forward.removed_headers.push(head.range(header));
                }
            }
            observer.header_removed(index, header.name, RemovalReason::Name(verdict));
        }
        // The fields that `Connection` names are for this hop only.
        if nominates {
            for name in self.policy.nominated(head) {
                forward.remove(head, name, RemovalReason::Connection, observer);
            }
        }
        if spoofed > 0 {
            self.metrics.headers_stripped.inc_by(spoofed);
        }
        if unenforced > 0 {
            self.metrics.report_only_headers.inc_by(unenforced);
        }
    }

    fn remove_token_cookies(
        &self,
        head: &Head<'_>,
        forward: &mut ForwardedRequest,
        observer: &mut impl DecisionObserver,
    ) {
        let Some(others) = credential::without_cookies(head, &self.token_cookies) else {
            return;
        };
        forward.remove(head, "cookie", RemovalReason::TokenCookie, observer);
        forward.cookie = HeaderValue::from_bytes(&others)
            .ok()
            .filter(|others| !others.is_empty());
    }
}

impl ForwardedRequest {
    /// Moves the fields of a name from the forwarded to the removed ones.
    fn remove<O: DecisionObserver>(
        &mut self,
        head: &Head<'_>,
        name: &str,
        reason: RemovalReason,
        observer: &mut O,
    ) {
        if O::OBSERVES {
            for (index, header) in head.headers.iter().enumerate() {
                if header.name.eq_ignore_ascii_case(name)
                    && self.forwarded_headers.contains(&head.range(header))
                {
                    observer.header_removed(index, header.name, reason);
                }
            }
        }
        let is_it = |range: &mut HeaderRange| {
            head.bytes[range.name()].eq_ignore_ascii_case(name.as_bytes())
        };
        let removed = self.forwarded_headers.extract_if(.., is_it);
        self.removed_headers.extend(removed);
    }
}

/// Whether a `TE` accepts trailers.
fn accepts_trailers(value: &[u8]) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}
