//! Which parts of a client's request are forwarded: its header fields, its cookies, its target.
//!
//! Must stay true: every header field of every request gets a verdict, before menshen sets its own;
//! the field, cookie or parameter that carried the token is not forwarded.

use std::sync::Arc;

use http::HeaderValue;

use super::{
    admitted::{self, AdmittedRequest, ForwardedRequest, LoggedRequest},
    dry_run::DryRunDecision,
    observer::{DecisionObserver, RemovalReason},
    received::Received,
    request_id,
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
    /// `Authorization` is forwarded.
    pub(super) keep_authorization: bool,
    /// Cookies that carry tokens, on any path; empty if the backend gets them.
    pub(super) token_cookies: Vec<Box<str>>,
    /// The gate only reports, for every path.
    pub(super) report_only_everywhere: bool,
    pub(super) metrics: Metrics,
}

/// The decision to admit a request.
#[derive(Default)]
pub(super) struct Admission<'a> {
    /// `None`: no rule decided.
    pub(super) rule: Option<&'a Rule>,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) dry_run: Option<DryRunDecision>,
}

/// The header fields of a request, sorted.
struct Filtered {
    forwarded: Vec<HeaderRange>,
    removed: Vec<HeaderRange>,
    host: Option<HeaderRange>,
    cookie: Option<HeaderValue>,
    trailers: bool,
}

impl HeaderFilter {
    /// The request as it is forwarded.
    pub(super) fn admit(
        &self,
        received: Received<'_>,
        target: Target<'_>,
        admission: Admission<'_>,
        observer: &mut impl DecisionObserver,
    ) -> Box<AdmittedRequest> {
        let Received {
            head,
            origin,
            framing,
            websocket,
        } = received;
        let Admission {
            rule,
            identity,
            dry_run,
        } = admission;
        let mut filtered = self.filter(head, dry_run.is_some(), observer);
        let mut sent_target = None;
        // The token ends here; a gate that only reports forwards it.
        if dry_run.is_none() {
            self.remove_token_cookies(head, &mut filtered, observer);
            if websocket && !self.keep_authorization && rule.is_some_and(|rule| rule.token_in_query)
            {
                sent_target = credential::without_parameter(head.target);
            }
        }
        let Filtered {
            forwarded,
            removed,
            host,
            cookie,
            trailers,
        } = filtered;
        Box::new(AdmittedRequest {
            forward: ForwardedRequest {
                method: admitted::method(head),
                target: sent_target.unwrap_or_else(|| head.target.to_owned()),
                path_len: target.path.len(),
                forwarded_headers: forwarded,
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
        })
    }

    fn filter(
        &self,
        head: &Head<'_>,
        is_dry_run: bool,
        observer: &mut impl DecisionObserver,
    ) -> Filtered {
        let mut filtered = Filtered {
            forwarded: Vec::with_capacity(head.headers.len()),
            removed: Vec::new(),
            host: None,
            cookie: None,
            trailers: false,
        };
        let (mut nominates, mut spoofed, mut let_through) = (false, 0, 0);
        for (index, header) in head.headers.iter().enumerate() {
            let mut verdict = self.policy.verdict(header.name);
            if is_dry_run && matches!(verdict, HeaderVerdict::Drop(_)) {
                let strict = verdict;
                verdict =
                    self.policy
                        .dry_run_verdict(header.name, strict, self.report_only_everywhere);
                let_through += u64::from(
                    verdict != strict && strict != HeaderVerdict::Drop(DropReason::Credential),
                );
            }
            match verdict {
                HeaderVerdict::Pass => {
                    let range = head.range(header);
                    if header.name.eq_ignore_ascii_case("host") {
                        filtered.host = Some(range);
                    }
                    filtered.forwarded.push(range);
                    continue;
                }
                // Hop-by-hop; the exchange with the backend makes its own handshake.
                HeaderVerdict::Handshake => nominates = true,
                HeaderVerdict::Drop(DropReason::HopByHop) => {
                    filtered.trailers |=
                        header.name.eq_ignore_ascii_case("te") && accepts_trailers(header.value);
                }
                HeaderVerdict::Drop(reason) => {
                    spoofed += u64::from(reason != DropReason::Credential);
                    filtered.removed.push(head.range(header));
                }
            }
            observer.header_removed(index, header.name, RemovalReason::Name(verdict));
        }
        // The fields that `Connection` names are for this hop only.
        if nominates {
            for name in self.policy.nominated(head) {
                filtered.remove(head, name, RemovalReason::Connection, observer);
            }
        }
        if spoofed > 0 {
            self.metrics.headers_stripped.inc_by(spoofed);
        }
        if let_through > 0 {
            self.metrics.report_only_headers.inc_by(let_through);
        }
        filtered
    }

    fn remove_token_cookies(
        &self,
        head: &Head<'_>,
        filtered: &mut Filtered,
        observer: &mut impl DecisionObserver,
    ) {
        let Some(others) = credential::without_cookies(head, &self.token_cookies) else {
            return;
        };
        filtered.remove(head, "cookie", RemovalReason::TokenCookie, observer);
        filtered.cookie = HeaderValue::from_bytes(&others)
            .ok()
            .filter(|others| !others.is_empty());
    }
}

impl Filtered {
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
                    && self.forwarded.contains(&head.range(header))
                {
                    observer.header_removed(index, header.name, reason);
                }
            }
        }
        let is_it = |range: &mut HeaderRange| {
            head.bytes[range.name()].eq_ignore_ascii_case(name.as_bytes())
        };
        self.removed.extend(self.forwarded.extract_if(.., is_it));
    }
}

/// Whether a `TE` accepts trailers.
fn accepts_trailers(value: &[u8]) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}
