//! While the gate only reports: what it would have done, beside what the backend did.
//!
//! Each request is counted; where the two disagree a line says so, one a minute for each rule and code, because a first day in
//! front of a live backend can disagree on everything. What each request was about is in the access log (`would_refuse`).
//!
//! Must stay true: nobody waits here; a line names no path, user or address.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use super::access_record::{Outcome, Record};
use crate::{error::ErrorCode, gate::DryRunDecision, metrics::Metrics};

/// How often a line is written about one rule and code.
const LINE_EVERY: Duration = Duration::from_mins(1);

/// Disagreements, by rule and what the gate would have said.
#[derive(Debug, Default)]
pub(super) struct DryRunLog(Mutex<HashMap<(Arc<str>, &'static str), Noted>>);

#[derive(Debug)]
struct Noted {
    line: Instant,
    /// Since that line.
    count: u64,
}

impl DryRunLog {
    pub(super) fn note(&self, metrics: &Metrics, rule: &Arc<str>, would: DryRunDecision, record: &Record<'_>) {
        let code = would.code().map_or("pass", ErrorCode::as_str);
        metrics.report_only_requests.with_label_values(&[rule, code, backend(record)]).inc();
        let status = status(record);
        if !disagree(would, record) {
            return;
        }
        let Some(count) = self.line_is_due(rule, code) else { return };
        let request_id = record.request_id;
        match would {
            DryRunDecision::Reject(_) => tracing::warn!(
                rule = &**rule,
                code,
                status,
                count,
                request_id,
                "report only: the backend let pass what would have been refused"
            ),
            DryRunDecision::Allow => tracing::warn!(
                rule = &**rule,
                status,
                count,
                request_id,
                "report only: the backend refused a user who would have passed"
            ),
        }
    }

    /// How many disagreements a line is to speak of, where it is time for one.
    fn line_is_due(&self, rule: &Arc<str>, code: &'static str) -> Option<u64> {
        let mut noted = match self.0.try_lock() {
            Ok(noted) => noted,
            Err(TryLockError::Poisoned(noted)) => PoisonError::into_inner(noted),
            Err(TryLockError::WouldBlock) => return None,
        };
        let now = Instant::now();
        let Some(known) = noted.get_mut(&(rule.clone(), code)) else {
            noted.insert((rule.clone(), code), Noted { line: now, count: 0 });
            return Some(1);
        };
        known.count += 1;
        if now.duration_since(known.line) < LINE_EVERY {
            return None;
        }
        known.line = now;
        Some(std::mem::take(&mut known.count))
    }
}

/// Somebody would be shut out who is let in today, or the other way round. That an anonymous caller is refused by the backend (a wrong
/// password on a public path, say) is no disagreement about the gate.
fn disagree(would: DryRunDecision, record: &Record<'_>) -> bool {
    if !matches!(record.served.outcome, Outcome::Forwarded) {
        return false;
    }
    match would {
        DryRunDecision::Reject(_) => matches!(status(record), 100..=399),
        DryRunDecision::Allow => record.subject.user.is_some() && matches!(status(record), 401 | 403),
    }
}

/// What the backend did, in a closed list.
fn backend(record: &Record<'_>) -> &'static str {
    match (record.served.outcome, status(record)) {
        (Outcome::Failed, _) => "failed",
        // Whoever asked forwards by itself; what came of it is not known here.
        (Outcome::Verified | Outcome::Preflight | Outcome::Refused | Outcome::Auth, _) => "unknown",
        (Outcome::Forwarded, status) => match status {
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

/// 0 when the client was gone.
fn status(record: &Record<'_>) -> u16 {
    record.served.status.map_or(0, |status| status.as_u16())
}
