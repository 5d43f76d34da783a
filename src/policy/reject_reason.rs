//! Why a request is rejected before anything of it is forwarded.

use crate::error::ErrorCode;

/// Why a request is rejected before anything of it is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectReason {
    /// What the client is told.
    pub code: ErrorCode,
    /// For people: what was wrong. Never what was sent.
    pub detail: &'static str,
    /// Where the request ends is in doubt, so the connection must be closed: what follows on it
    /// cannot be read.
    pub close: bool,
}

impl RejectReason {
    /// The bytes have no certain reading: the connection ends.
    pub const fn malformed(detail: &'static str) -> Self {
        Self {
            code: ErrorCode::RequestMalformed,
            detail,
            close: true,
        }
    }

    /// The request is well framed, and wrong in itself.
    pub const fn new(code: ErrorCode, detail: &'static str) -> Self {
        Self {
            code,
            detail,
            close: false,
        }
    }
}
