//! The security core: the form of a request, its user, and which parts of it are forwarded.
//!
//! A gate protects a backend only if both read a request alike. So these are pure functions over a
//! borrowed head, without I/O, and each known way to make two servers disagree is a row of a test
//! table beside them.
//!
//! Must stay true: a decision is about exactly the bytes that are forwarded; nothing is repaired;
//! what cannot be decided is rejected. The order is [`head::parse`], [`framing::check`],
//! [`path::check`], [`RuleSet::find`], [`rule_decision::decide`]; the client's headers go through
//! [`HeaderPolicy::verdict`] on every route before anything of ours is set.

pub mod client_connection;
pub mod cors;
pub mod credential;
pub mod forward_auth;
pub mod framing;
pub mod head;
pub mod headers;
pub mod identity;
pub mod local_routes;
pub mod path;
mod pattern;
mod reject_reason;
pub mod rule_decision;
pub mod rules;

pub use client_connection::ClientConnection;
pub use cors::{Cors, CorsFields};
pub use credential::{Credential, TokenLocations};
pub use forward_auth::{AuthRequest, ForwardAuth};
pub use framing::{BodyLength, Framing, FramingLimits, METHODS};
pub use head::{Head, HeaderRange, HttpVersion, Parsed, http2::Http2Head};
pub use headers::{DropReason, HeaderPolicy, HeaderVerdict};
pub use identity::{IdentityFields, IdentityHeaders, RequestedClaims};
pub use local_routes::{LocalRoutes, is_under};
pub use path::{AllowedDelimiters, Target};
pub use reject_reason::RejectReason;
pub use rule_decision::{RuleDecision, TokenState};
pub use rules::{Rule, RuleCheck, RuleMatch, RuleOutcome, RuleSet};

/// What is wrong with a config: the key and a message, for each problem.
pub type ConfigProblems = Vec<(String, String)>;
