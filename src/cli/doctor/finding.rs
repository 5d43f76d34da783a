//! The findings of a check, and how they are printed.

use std::fmt;

use serde::Serialize;

/// One line for a person, one object for a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    check: &'static str,
    pub(super) state: Status,
    /// What was seen.
    seen: String,
    /// What to do about it.
    advice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    Warning,
    Failed,
    /// There is nothing to check, or no way to.
    Skipped,
}

impl Finding {
    pub(super) fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self {
            check,
            state: Status::Ok,
            seen: seen.into(),
            advice: None,
        }
    }

    pub(super) fn warning(
        check: &'static str,
        seen: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            check,
            state: Status::Warning,
            seen: seen.into(),
            advice: Some(advice.into()),
        }
    }

    pub(super) fn failed(
        check: &'static str,
        seen: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            check,
            state: Status::Failed,
            seen: seen.into(),
            advice: Some(advice.into()),
        }
    }

    pub(super) fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self {
            check,
            state: Status::Skipped,
            seen: why.into(),
            advice: None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failed => "failed",
            Status::Skipped => "skipped",
        };
        write!(f, "{state:<8} {:<12} {}", self.check, self.seen)?;
        self.advice
            .as_ref()
            .map_or(Ok(()), |advice| write!(f, "\n{:<21} -> {advice}", ""))
    }
}
