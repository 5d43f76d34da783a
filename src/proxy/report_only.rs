//! Report-only mode: compares what the gate would have done with what the backend did.
//!
//! Each request is counted. A disagreement is logged, once a minute for each rule and error code,
//! because on its first day in front of a live backend the gate may disagree on everything. The
//! access log has each single request (`would_refuse`).
//!
//! Must stay true: no request waits here; a log line names no path, user or address.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use crate::{error::ErrorCode, gate::ReportOnlyDecision, metrics::Metrics};

/// Least time between two lines about one rule and code.
const LINE_INTERVAL: Duration = Duration::from_mins(1);

/// The gate's decision on a request in report-only mode, and the backend's.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReportOnlyResult<'a> {
    pub(super) decision: ReportOnlyDecision,
    pub(super) backend: BackendResult,
    pub(super) is_authenticated: bool,
    pub(super) request_id: &'a str,
}

/// The backend's response.
#[derive(Debug, Clone, Copy)]
pub(super) enum BackendResult {
    /// It responded with this status; 0 if the client disconnected before that.
    Status(u16),
    Failed,
    /// menshen sent it no request.
    Unknown,
}

/// The last log line about each rule and error code.
#[derive(Debug, Default)]
pub(super) struct ReportOnlyLog(Mutex<HashMap<(Arc<str>, &'static str), LastLine>>);

#[derive(Debug)]
struct LastLine {
    written_at: Instant,
    /// Disagreements since that line.
    count: u64,
}

impl ReportOnlyLog {
    pub(super) fn record(
        &self,
        metrics: &Metrics,
        rule: &Arc<str>,
        reported: ReportOnlyResult<'_>,
    ) {
        let ReportOnlyResult {
            decision,
            backend,
            request_id,
            ..
        } = reported;
        let code = decision.code().map_or("pass", ErrorCode::as_str);
        metrics
            .report_only_requests
            .with_label_values(&[rule, code, backend.label()])
            .inc();
        let BackendResult::Status(status) = backend else {
            return;
        };
        if !is_disagreement(decision, status, reported.is_authenticated) {
            return;
        }
        let Some(count) = self.due_count(rule, code) else {
            return;
        };
        match decision {
            ReportOnlyDecision::Reject(_) => tracing::warn!(
                rule = &**rule,
                code,
                status,
                count,
                request_id,
                "report only: the backend accepted a request that would have been rejected"
            ),
            ReportOnlyDecision::Allow => tracing::warn!(
                rule = &**rule,
                status,
                count,
                request_id,
                "report only: the backend rejected a user that would have been allowed"
            ),
        }
    }

    /// The number of disagreements to log, if a line is due.
    fn due_count(&self, rule: &Arc<str>, code: &'static str) -> Option<u64> {
        let mut lines = match self.0.try_lock() {
            Ok(lines) => lines,
            Err(TryLockError::Poisoned(lines)) => PoisonError::into_inner(lines),
            Err(TryLockError::WouldBlock) => return None,
        };
        let now = Instant::now();
        let Some(known) = lines.get_mut(&(rule.clone(), code)) else {
            let first = LastLine {
                written_at: now,
                count: 0,
            };
            lines.insert((rule.clone(), code), first);
            return Some(1);
        };
        known.count += 1;
        if now.duration_since(known.written_at) < LINE_INTERVAL {
            return None;
        }
        known.written_at = now;
        Some(std::mem::take(&mut known.count))
    }
}

/// Whether the gate would reject a request that the backend accepts, or the other way round. A
/// backend that rejects an anonymous caller (for a wrong password on a public path, for example)
/// does not disagree with the gate.
fn is_disagreement(decision: ReportOnlyDecision, status: u16, is_authenticated: bool) -> bool {
    match decision {
        ReportOnlyDecision::Reject(_) => matches!(status, 100..=399),
        ReportOnlyDecision::Allow => is_authenticated && matches!(status, 401 | 403),
    }
}

impl BackendResult {
    /// The metric label, from a closed list.
    const fn label(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Status(status) => match status {
                401 => "401",
                403 => "403",
                100..=199 => "1xx",
                200..=299 => "2xx",
                300..=399 => "3xx",
                400..=499 => "4xx",
                500..=599 => "5xx",
                _ => "none",
            },
        }
    }
}
