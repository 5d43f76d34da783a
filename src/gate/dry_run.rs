//! What a gate that only reports would have decided (`gate.report_only`).

use crate::error::ErrorCode;

/// What the gate would have decided on a request that it forwards because it only reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DryRunDecision {
    Allow,
    Reject(ErrorCode),
}

impl DryRunDecision {
    /// The code of the rejection, if it is one.
    pub const fn code(self) -> Option<ErrorCode> {
        match self {
            Self::Allow => None,
            Self::Reject(code) => Some(code),
        }
    }
}
