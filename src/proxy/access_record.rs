//! The metrics and the access log line of each request, whichever part of menshen responded to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::StatusCode;
use prometheus::{Histogram, IntCounter};

use super::{
    report_only::{BackendResult, ReportOnlyLog, ReportOnlyResult},
    streams::CloseReason,
    upstream::Backend,
};
use crate::{
    entropy::{Entropy, NoEntropy},
    error::ErrorCode,
    gate::{AdmittedRequest, Rejection, ReportOnlyDecision},
    metrics::Metrics,
    policy::HttpVersion,
    telemetry::{AccessLine, AccessLog},
    types::{ClientIp, Timestamp},
};

/// How a request was answered: the `outcome` label, and `decision` in the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestOutcome {
    /// By the backend.
    Forwarded,
    /// By the gate, with a rejection.
    Refused,
    /// By the auth API.
    Auth,
    /// By menshen, because the exchange with the backend failed.
    Failed,
    /// By the gate: a forward-auth request was allowed.
    Verified,
    /// By the gate: a CORS preflight request.
    Preflight,
}

impl RequestOutcome {
    const ALL: [Self; 6] = [
        Self::Forwarded,
        Self::Refused,
        Self::Auth,
        Self::Failed,
        Self::Verified,
        Self::Preflight,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
            Self::Auth => "auth",
            Self::Failed => "failed",
            Self::Verified => "verified",
            Self::Preflight => "preflight",
        }
    }
}

/// Writes access records. Every counter that a request increments is looked up once, at start.
pub(super) struct Recorder {
    pub(super) metrics: Metrics,
    /// One for each rule in order, then one for the auth API and one for requests without a rule.
    rules: Vec<RuleCounters>,
    access: AccessLog,
    ids: RequestIds,
    /// The start of the process, and the second since then in which a failure was last logged.
    warned: (Instant, AtomicU64),
    report_only: ReportOnlyLog,
    /// Indexed by `ErrorCode`, in the order of `ErrorCode::ALL`.
    errors: [IntCounter; ErrorCode::ALL.len()],
}

#[derive(Debug)]
struct RuleCounters {
    name: Arc<str>,
    duration: Histogram,
    /// By outcome, then by status class: 1xx to 5xx, and none (the client disconnected before a
    /// response).
    requests: [[IntCounter; 6]; RequestOutcome::ALL.len()],
}

/// How a request ended: `ended` in the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completion {
    /// With a complete response.
    Complete,
    /// The client disconnected before that, or read nothing for too long.
    ClientLost,
    /// The backend or the client's body failed.
    Failed,
    /// menshen closed the stream.
    Closed(CloseReason),
}

impl Completion {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientLost => "client_gone",
            Self::Failed => "failed",
            Self::Closed(reason) => reason.as_str(),
        }
    }
}

/// The request of an access record, and the gate's decision on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestRecord<'a> {
    pub(super) rule: RuleIndex,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// In report-only mode: what the gate would have done.
    pub(super) report_only: Option<ReportOnlyDecision>,
    pub(super) user: Option<&'a str>,
    pub(super) client_ip: ClientIp,
}

impl<'a> RequestRecord<'a> {
    /// `without_rule`: for a request that matched no rule.
    pub(super) fn admitted(admitted: &'a AdmittedRequest, without_rule: RuleIndex) -> Self {
        Self {
            rule: admitted.log.rule.map_or(without_rule, RuleIndex::Rule),
            method: admitted.forward.method.as_str(),
            path: admitted.path(),
            report_only: admitted.log.report_only,
            user: admitted
                .identity
                .as_ref()
                .map(|identity| identity.claims.sub().as_str()),
            client_ip: admitted.client.ip,
        }
    }

    pub(super) fn rejected(rejection: &'a Rejection) -> Self {
        Self {
            rule: rejection.rule.map_or(RuleIndex::None, RuleIndex::Rule),
            method: &rejection.method,
            path: &rejection.path,
            report_only: None,
            user: rejection
                .identity
                .as_ref()
                .map(|identity| identity.claims.sub().as_str()),
            client_ip: rejection.client.ip,
        }
    }
}

/// The response of an access record.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseRecord<'a> {
    pub(super) outcome: RequestOutcome,
    /// `None`: the client disconnected before a response.
    pub(super) status: Option<StatusCode>,
    pub(super) error: Option<ErrorCode>,
    pub(super) ended: Completion,
    /// The backend to which the request was sent.
    pub(super) upstream: Option<&'a Backend>,
    /// Microseconds until its response head arrived.
    pub(super) upstream_us: Option<u64>,
    /// Bytes of the request's body and of the response's body that were passed on.
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl<'a> ResponseRecord<'a> {
    /// Of a response that menshen made itself.
    pub(super) const fn local(
        outcome: RequestOutcome,
        status: Option<StatusCode>,
        error: Option<ErrorCode>,
    ) -> Self {
        let ended = if status.is_some() {
            Completion::Complete
        } else {
            Completion::ClientLost
        };
        Self {
            outcome,
            status,
            error,
            ended,
            ..Self::forwarded(None)
        }
    }

    /// Of an exchange with this backend, before anything of a response was sent.
    pub(super) const fn forwarded(upstream: Option<&'a Backend>) -> Self {
        Self {
            outcome: RequestOutcome::Forwarded,
            status: None,
            error: None,
            ended: Completion::Complete,
            upstream,
            upstream_us: None,
            received: 0,
            sent: 0,
        }
    }
}

/// Which rule decided.
#[derive(Debug, Clone, Copy)]
pub(super) enum RuleIndex {
    Rule(usize),
    AuthApi,
    None,
}

/// When a request's head was complete, and how many microseconds the gate took to decide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) at: Timestamp,
    pub(super) start: tokio::time::Instant,
    pub(super) gate_us: u64,
}

impl Recorder {
    pub(super) fn new<'a>(
        rules: impl Iterator<Item = &'a str>,
        metrics: &Metrics,
        access: AccessLog,
        entropy: &Entropy,
    ) -> Result<Self, NoEntropy> {
        let counters = |name: &str| RuleCounters {
            name: name.into(),
            duration: metrics.request_duration.with_label_values(&[name]),
            requests: RequestOutcome::ALL.map(|outcome| {
                ["1xx", "2xx", "3xx", "4xx", "5xx", "none"].map(|status| {
                    metrics
                        .requests
                        .with_label_values(&[name, outcome.as_str(), status])
                })
            }),
        };
        let rules = rules.chain(["auth", "none"]).map(counters).collect();
        Ok(Self {
            metrics: metrics.clone(),
            rules,
            access,
            ids: RequestIds::new(entropy)?,
            warned: (Instant::now(), AtomicU64::new(0)),
            report_only: ReportOnlyLog::default(),
            errors: ErrorCode::ALL.map(|code| metrics.errors.with_label_values(&[code.as_str()])),
        })
    }

    /// A new id, for a request without an acceptable one.
    pub(super) fn request_id(&self) -> String {
        self.ids.next()
    }

    /// Records how long the gate took to decide.
    pub(super) fn record_decision(&self, at: Timestamp, start: tokio::time::Instant) -> Timing {
        let took = start.elapsed();
        self.metrics.gate_duration.observe(took.as_secs_f64());
        Timing {
            at,
            start,
            gate_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// Records a finished request.
    pub(super) fn write(
        &self,
        timing: &Timing,
        request_id: &str,
        version: HttpVersion,
        request: RequestRecord<'_>,
        response: ResponseRecord<'_>,
    ) {
        let took = timing.start.elapsed();
        let auth_api = self.rules.len() - 2;
        let at = match request.rule {
            RuleIndex::Rule(index) => index.min(auth_api.saturating_sub(1)),
            RuleIndex::AuthApi => auth_api,
            RuleIndex::None => auth_api + 1,
        };
        let rule = &self.rules[at];
        let status = response.status.map_or(0, |status| status.as_u16());
        let class = match status / 100 {
            class @ 1..=5 => usize::from(class) - 1,
            _ => 5,
        };
        rule.requests[response.outcome as usize][class].inc();
        rule.duration.observe(took.as_secs_f64());
        if let Some(code) = response.error {
            self.errors[code as usize].inc();
        }
        if let (Some(backend), Some(micros)) = (response.upstream, response.upstream_us) {
            backend
                .response_seconds
                .observe(Duration::from_micros(micros).as_secs_f64());
        }
        if let Some(decision) = request.report_only {
            let backend = match response.outcome {
                RequestOutcome::Forwarded => BackendResult::Status(status),
                RequestOutcome::Failed => BackendResult::Failed,
                // A proxy that uses forward-auth forwards by itself, so the backend's response is
                // not known here.
                RequestOutcome::Verified
                | RequestOutcome::Preflight
                | RequestOutcome::Refused
                | RequestOutcome::Auth => BackendResult::Unknown,
            };
            let reported = ReportOnlyResult {
                decision,
                backend,
                is_authenticated: request.user.is_some(),
                request_id,
            };
            self.report_only.record(&self.metrics, &rule.name, reported);
        }
        self.access.write(&AccessLine {
            at: timing.at.plus(took),
            request_id,
            method: request.method,
            path: request.path,
            protocol: match version {
                HttpVersion::Http10 => "HTTP/1.0",
                HttpVersion::Http11 => "HTTP/1.1",
                HttpVersion::Http2 => "HTTP/2",
            },
            status,
            rule: &rule.name,
            decision: response.outcome.as_str(),
            error: response.error.map(ErrorCode::as_str),
            would_refuse: request
                .report_only
                .and_then(ReportOnlyDecision::code)
                .map(ErrorCode::as_str),
            user: request.user,
            client_ip: request.client_ip,
            upstream: response.upstream.map(|backend| &*backend.label),
            upstream_us: response.upstream_us,
            received: response.received,
            sent: response.sent,
            ended: response.ended.as_str(),
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            gate_us: timing.gate_us,
        });
    }

    /// Whether another failure may be logged: one each second.
    pub(super) fn may_warn(&self) -> bool {
        let (since, last) = &self.warned;
        let second = since.elapsed().as_secs() + 1;
        last.fetch_max(second, Ordering::Relaxed) < second
    }
}

/// Request ids that are unique across processes: a random number at start, then a counter.
#[derive(Debug)]
struct RequestIds {
    process: u64,
    count: AtomicU64,
}

impl RequestIds {
    fn new(entropy: &Entropy) -> Result<Self, NoEntropy> {
        Ok(Self {
            process: u64::from_be_bytes(entropy.bytes()?),
            count: AtomicU64::new(0),
        })
    }

    fn next(&self) -> String {
        format!(
            "{:016x}-{:08x}",
            self.process,
            self.count.fetch_add(1, Ordering::Relaxed)
        )
    }
}
