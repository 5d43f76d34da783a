//! Why a request is rejected before anything of it is forwarded.

use crate::error::ErrorCode;

/// Why a request is rejected before anything of it is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectReason {
    /// The error code of the response.
    pub code: ErrorCode,
    /// For people: what is wrong. Never anything from the request.
    pub detail: &'static str,
    /// The end of the request is uncertain, so the connection has to be closed: nothing after the
    /// request can be read.
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

    /// The request is well framed; the connection goes on.
    pub const fn new(code: ErrorCode, detail: &'static str) -> Self {
        Self {
            code,
            detail,
            close: false,
        }
    }
}
