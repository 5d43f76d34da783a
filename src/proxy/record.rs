//! What each request leaves in the metrics and the access log, whoever answered it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use prometheus::{Histogram, IntCounter};

use super::watched::Watched;
use crate::{
    entropy::{Entropy, NoEntropy},
    error::ErrorCode,
    gate::{AdmittedRequest, DryRunDecision},
    metrics::Metrics,
    telemetry::{AccessLine, AccessLog},
    types::{ClientIp, Timestamp},
};

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The backend.
    Forwarded,
    /// The gate, with a refusal.
    Refused,
    /// The auth API.
    Auth,
    /// Menshen, because the backend failed.
    Failed,
    /// The gate, to a proxy that asked and may forward the request.
    Verified,
    /// The gate, to a browser that asked what a page may send.
    Preflight,
}

impl Outcome {
    const ALL: [Self; 6] = [Self::Forwarded, Self::Refused, Self::Auth, Self::Failed, Self::Verified, Self::Preflight];

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

/// Writes records. Every counter that a request can touch is looked up once, at start.
#[derive(Debug)]
pub(super) struct Recorder {
    metrics: Metrics,
    /// One for each rule in order, then the auth API, then what came to no rule.
    rules: Vec<RuleCounters>,
    access: AccessLog,
    ids: RequestIds,
    /// Since when, and up to which second of it, a failure has been written about.
    warned: (Instant, AtomicU64),
    watched: Watched,
    /// In the order of `ErrorCode::ALL`, which is that of the codes themselves.
    errors: [IntCounter; ErrorCode::ALL.len()],
}

#[derive(Debug)]
struct RuleCounters {
    name: Arc<str>,
    duration: Histogram,
    /// By outcome, then by status class: 1xx to 5xx, and none (the client was gone).
    requests: [[IntCounter; 6]; Outcome::ALL.len()],
}

/// A request at its end.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) timing: &'a Timing,
    /// Index of the rule; `None`: no rule was reached.
    pub(super) rule: RuleIndex,
    pub(super) outcome: Outcome,
    pub(super) request_id: &'a str,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// 0 when the client was gone before an answer.
    pub(super) status: u16,
    pub(super) error: Option<ErrorCode>,
    /// The gate only reports: what it would have done.
    pub(super) would: Option<DryRunDecision>,
    pub(super) user: Option<&'a str>,
    pub(super) client_ip: ClientIp,
}

impl<'a> Record<'a> {
    /// Of a request that went to the backend.
    pub(super) fn forwarded(
        passage: &'a AdmittedRequest,
        timing: &'a Timing,
        request_id: &'a str,
        outcome: Outcome,
        status: u16,
        error: Option<ErrorCode>,
    ) -> Self {
        Self {
            timing,
            rule: passage.log.rule.map_or(RuleIndex::None, RuleIndex::Rule),
            outcome,
            request_id,
            method: passage.forward.method.as_str(),
            path: passage.path(),
            status,
            error,
            would: passage.log.dry_run,
            user: passage.identity.as_ref().map(|identity| identity.claims.sub().as_str()),
            client_ip: passage.origin.ip,
        }
    }
}

/// Which line of the rules decided.
#[derive(Debug, Clone, Copy)]
pub(super) enum RuleIndex {
    Rule(usize),
    AuthApi,
    None,
}

/// When a request's head was there, and how long the gate took to decide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) at: Timestamp,
    pub(super) start: Instant,
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
            requests: Outcome::ALL.map(|outcome| {
                ["1xx", "2xx", "3xx", "4xx", "5xx", "none"]
                    .map(|status| metrics.requests.with_label_values(&[name, outcome.as_str(), status]))
            }),
        };
        let rules = rules.chain(["auth", "none"]).map(counters).collect();
        Ok(Self {
            metrics: metrics.clone(),
            rules,
            access,
            ids: RequestIds::new(entropy)?,
            warned: (Instant::now(), AtomicU64::new(0)),
            watched: Watched::default(),
            errors: ErrorCode::ALL.map(|code| metrics.errors.with_label_values(&[code.as_str()])),
        })
    }

    /// An id for a request that brought none worth keeping.
    pub(super) fn request_id(&self) -> String {
        self.ids.next()
    }

    /// The gate has decided.
    pub(super) fn decided(&self, at: Timestamp, start: Instant) -> Timing {
        let took = start.elapsed();
        self.metrics.gate_duration.observe(took.as_secs_f64());
        Timing { at, start, gate_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX) }
    }

    pub(super) fn write(&self, record: &Record<'_>) {
        let took = record.timing.start.elapsed();
        let auth_api = self.rules.len() - 2;
        let at = match record.rule {
            RuleIndex::Rule(index) => index.min(auth_api.saturating_sub(1)),
            RuleIndex::AuthApi => auth_api,
            RuleIndex::None => auth_api + 1,
        };
        let rule = &self.rules[at];
        let class = match record.status / 100 {
            class @ 1..=5 => usize::from(class) - 1,
            _ => 5,
        };
        rule.requests[record.outcome as usize][class].inc();
        rule.duration.observe(took.as_secs_f64());
        if let Some(code) = record.error {
            self.errors[code as usize].inc();
        }
        if let Some(would) = record.would {
            self.watched.note(&self.metrics, &rule.name, would, record);
        }
        self.access.write(&AccessLine {
            at: record.timing.at.plus(took),
            request_id: record.request_id,
            method: record.method,
            path: record.path,
            status: record.status,
            rule: &rule.name,
            decision: record.outcome.as_str(),
            error: record.error.map(ErrorCode::as_str),
            would_refuse: record.would.and_then(DryRunDecision::code).map(ErrorCode::as_str),
            user: record.user,
            client_ip: record.client_ip,
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            gate_us: record.timing.gate_us,
        });
    }

    /// Whether it is time for another line about a failure: one in each second.
    pub(super) fn may_warn(&self) -> bool {
        let (since, last) = &self.warned;
        let second = since.elapsed().as_secs() + 1;
        last.fetch_max(second, Ordering::Relaxed) < second
    }

    pub(super) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// Ids that no two requests of any two processes share: random at start, then counted.
#[derive(Debug)]
struct RequestIds {
    process: u64,
    count: AtomicU64,
}

impl RequestIds {
    fn new(entropy: &Entropy) -> Result<Self, NoEntropy> {
        Ok(Self { process: u64::from_be_bytes(entropy.bytes()?), count: AtomicU64::new(0) })
    }

    fn next(&self) -> String {
        format!("{:016x}-{:08x}", self.process, self.count.fetch_add(1, Ordering::Relaxed))
    }
}
