//! Which parts of a client's request are forwarded: its header fields, its cookies, its target.
//!
//! Must stay true: every header field is asked about on every route, before anything of ours is set; what brought the token goes
//! no further.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::{
    admitted::{self, AdmittedRequest, ForwardedRequest, LoggedRequest},
    dry_run::DryRunDecision,
    message_framing::MessageFraming,
    request_id,
};
use crate::{
    auth::Identity,
    metrics::Metrics,
    policy::{DropReason, Head, HeaderPolicy, HeaderVerdict, HttpVersion, Origin, Rule, Target, credential},
};

/// Filters the requests of clients.
#[derive(Debug)]
pub(super) struct HeaderFilter {
    pub(super) policy: HeaderPolicy,
    /// `Authorization` is forwarded.
    pub(super) keep_authorization: bool,
    /// Cookies that bring tokens, on whatever path; none where the backend is to get them.
    pub(super) token_cookies: Vec<Box<str>>,
    /// The gate only reports for every path.
    pub(super) report_only_everywhere: bool,
    pub(super) metrics: Metrics,
}

/// What was decided about a request.
#[derive(Default)]
pub(super) struct Admission<'a> {
    /// `None`: no rule was asked.
    pub(super) rule: Option<&'a Rule>,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) websocket: bool,
    pub(super) dry_run: Option<DryRunDecision>,
}

impl HeaderFilter {
    /// The request as it is forwarded.
    pub(super) fn admit(
        &self,
        head: &Head<'_>,
        target: Target<'_>,
        origin: Origin,
        framing: MessageFraming,
        admission: Admission<'_>,
    ) -> AdmittedRequest {
        let Admission { rule, identity, websocket, dry_run } = admission;
        let mut forwarded = Vec::with_capacity(head.headers.len());
        let mut removed = Vec::new();
        let mut nominates = false;
        let mut trailers = false;
        let mut spoofed = 0;
        let mut let_through = 0;
        let mut host = None;
        for header in head.headers {
            let mut verdict = self.policy.verdict(header.name);
            if dry_run.is_some() && matches!(verdict, HeaderVerdict::Drop(_)) {
                let strict = verdict;
                verdict = self.policy.dry_run_verdict(header.name, strict, self.report_only_everywhere);
                let_through += u64::from(verdict != strict && strict != HeaderVerdict::Drop(DropReason::Credential));
            }
            match verdict {
                HeaderVerdict::Pass => {
                    if header.name.len() == 4 && header.name.eq_ignore_ascii_case("host") {
                        host = HeaderValue::from_bytes(header.value).ok();
                    }
                    forwarded.push((header.name, head.range(header)));
                }
                // These end at every hop; the exchange with the backend makes a handshake anew.
                HeaderVerdict::Handshake => nominates = true,
                HeaderVerdict::Drop(DropReason::HopByHop) => {
                    trailers |= header.name.eq_ignore_ascii_case("te") && accepts_trailers(header.value);
                }
                HeaderVerdict::Drop(reason) => {
                    spoofed += u64::from(reason != DropReason::Credential);
                    removed.extend(HeaderName::from_bytes(header.name.as_bytes()));
                }
            }
        }
        // What `Connection` names is for this hop only.
        if nominates {
            for name in self.policy.nominated(head) {
                forwarded.retain(|(forwarded, _)| !forwarded.eq_ignore_ascii_case(name));
                removed.extend(HeaderName::from_bytes(name.as_bytes()));
            }
        }
        // What brought the token ends here; a gate that only reports forwards what came.
        let other_cookies = if dry_run.is_none() { credential::without_cookies(head, &self.token_cookies) } else { None };
        let cookie = other_cookies.and_then(|others| {
            forwarded.retain(|(forwarded, _)| !forwarded.eq_ignore_ascii_case("cookie"));
            removed.push(http::header::COOKIE);
            HeaderValue::from_bytes(&others).ok().filter(|others| !others.is_empty())
        });
        let in_query =
            websocket && dry_run.is_none() && !self.keep_authorization && rule.is_some_and(|rule| rule.token_in_query);
        let without_token = if in_query { credential::without_parameter(head.target) } else { None };
        if spoofed > 0 {
            self.metrics.headers_stripped.inc_by(spoofed);
        }
        if let_through > 0 {
            self.metrics.report_only_headers.inc_by(let_through);
        }
        AdmittedRequest {
            forward: ForwardedRequest {
                method: admitted::method(head),
                target: without_token.unwrap_or_else(|| head.target.to_owned()),
                path_len: target.path.len(),
                forwarded_headers: forwarded.into_iter().map(|(_, range)| range).collect(),
                removed_headers: removed,
                cookie,
                host,
                websocket,
                trailers: trailers && head.version != HttpVersion::Http10,
                idle_timeout: rule.and_then(|rule| rule.idle_timeout),
            },
            origin,
            identity,
            cors: None,
            log: LoggedRequest {
                rule: rule.map(|rule| rule.index),
                request_id: request_id::from_proxy(head, origin),
                dry_run,
            },
            framing,
        }
    }
}

/// Whether a `TE` says that its sender takes trailers.
fn accepts_trailers(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}
