//! The security core: what a request must look like, who it is from, and what of it may go on.
//!
//! Everything in front of the backend hangs on the two servers reading one request in one way. So these are pure functions
//! over a borrowed head, without I/O, and each known way to make two servers disagree is a row of a test table beside them.
//!
//! Must stay true: what is decided on is exactly what is forwarded; nothing is repaired; what cannot be decided is refused.
//! The order is [`head::parse`], [`framing::check`], [`path::check`], [`RuleSet::find`], [`decision::decide`]; the client's
//! headers go through [`HeaderPolicy::verdict`] on every route before anything of ours is set.

pub mod answered;
pub mod client_ip;
pub mod cors;
pub mod credential;
pub mod decision;
pub mod forward_auth;
pub mod framing;
pub mod head;
pub mod headers;
pub mod identity;
pub mod path;
mod pattern;
pub mod rules;

pub use answered::{Answered, is_under};
pub use client_ip::Origin;
pub use cors::{Cors, CorsFields};
pub use credential::{Credential, Places};
pub use decision::{Decision, TokenState};
pub use forward_auth::{ForwardAuth, Question};
pub use framing::{Body, Framing, FramingLimits, METHODS};
pub use head::{Head, HttpVersion, Parsed};
pub use headers::{DropReason, HeaderPolicy, HeaderProblem, HeaderVerdict};
pub use identity::{Asked, IdentityHeaders};
pub use path::{AllowedDelimiters, Target};
pub use rules::{Rule, RuleProblem, RuleSet, Ruling, Standing};

use crate::error::ErrorCode;

/// Why a request is refused before anything of it is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub code: ErrorCode,
    /// For people: what was wrong. Never what was sent.
    pub detail: &'static str,
    /// Where the request ends is in doubt, so what follows on the connection cannot be read: it must be closed.
    pub close: bool,
}

impl Refusal {
    /// The bytes have no certain reading: the connection ends.
    pub const fn broken(detail: &'static str) -> Self {
        Self { code: ErrorCode::RequestMalformed, detail, close: true }
    }

    /// The request is well framed, and wrong in itself.
    pub const fn wrong(code: ErrorCode, detail: &'static str) -> Self {
        Self { code, detail, close: false }
    }
}
