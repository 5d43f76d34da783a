//! The decision that report-only mode does not enforce (`gate.report_only`).

use crate::error::ErrorCode;

/// The decision that report-only mode did not enforce on a request that it forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportOnlyDecision {
    Allow,
    Reject(ErrorCode),
}

impl ReportOnlyDecision {
    /// The code of the rejection, if it is one.
    pub const fn code(self) -> Option<ErrorCode> {
        match self {
            Self::Allow => None,
            Self::Reject(code) => Some(code),
        }
    }
}
