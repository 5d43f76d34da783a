//! The findings of a check, and how they are printed.

use std::fmt;

use serde::Serialize;

/// What a check found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) state: Status,
    /// What was seen.
    pub(super) seen: String,
    /// What to do about it.
    pub(super) advice: Option<String>,
}

/// A finding with the name of its check: one line for a person, one object for a program.
#[derive(Debug, Serialize)]
pub(super) struct NamedFinding {
    pub(super) check: &'static str,
    #[serde(flatten)]
    pub(super) finding: Finding,
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
    pub(super) fn ok(seen: impl Into<String>) -> Self {
        Self::new(Status::Ok, seen, None)
    }

    pub(super) fn warning(seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Status::Warning, seen, Some(advice.into()))
    }

    pub(super) fn failed(seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Status::Failed, seen, Some(advice.into()))
    }

    pub(super) fn skipped(why: impl Into<String>) -> Self {
        Self::new(Status::Skipped, why, None)
    }

    fn new(state: Status, seen: impl Into<String>, advice: Option<String>) -> Self {
        Self {
            state,
            seen: seen.into(),
            advice,
        }
    }
}

impl fmt::Display for NamedFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            state,
            seen,
            advice,
        } = &self.finding;
        let state = match state {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failed => "failed",
            Status::Skipped => "skipped",
        };
        write!(f, "{state:<8} {:<12} {seen}", self.check)?;
        advice
            .as_ref()
            .map_or(Ok(()), |advice| write!(f, "\n{:<21} -> {advice}", ""))
    }
}
