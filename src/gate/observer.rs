//! Observers of a decision. `menshen explain` prints what its observer saw, so it cannot differ
//! from the gate.
//!
//! Must stay true: an observer decides nothing, and without one (`()`) observation costs nothing.

use std::sync::Arc;

use crate::{
    auth::Identity,
    error::ErrorCode,
    policy::{Credential, HeaderVerdict, RejectReason, Rule, RuleCheck, RuleMatch, RuleSet},
};

/// Sees the steps of a decision. A step that is repeated (for a preflight that turns out to be
/// none) is seen again.
pub trait DecisionObserver {
    /// Whether it uses what it sees.
    const OBSERVES: bool = true;

    /// The head is ambiguous, or its end is uncertain.
    fn head_rejected(&mut self, detail: &'static str);

    fn path_read(&mut self, reading: PathReading);

    /// Menshen answers the request itself.
    fn local_route_found(&mut self, route: LocalRoute);

    /// A rule was compared with the request.
    fn rule_checked(&mut self, rule: &Rule, check: RuleCheck);

    /// The rules that decide were found.
    fn rule_matched(&mut self, rules: &RuleSet, path: &str, matched: RuleMatch<'_>);

    fn credential_read(&mut self, credential: Result<Credential<'_>, RejectReason>);

    /// The token was checked, because the rule needs one.
    fn token_checked(&mut self, token: Result<&Arc<Identity>, ErrorCode>);

    /// A header field of the client is not forwarded. `index`: its index in the head.
    fn header_removed(&mut self, index: usize, name: &str, reason: RemovalReason);
}

/// The reading of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathReading {
    /// It has one reading.
    One,
    /// It has several, which its rule allows.
    Allowed,
    /// Why it is ambiguous.
    Ambiguous(&'static str),
}

/// A part of menshen that answers requests itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalRoute {
    AuthApi,
    Dialect,
}

/// Why a header field is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalReason {
    /// By the verdict on its name.
    Name(HeaderVerdict),
    /// `Connection` names it.
    Connection,
    /// A cookie in it carried the token; the others are forwarded.
    TokenCookie,
}

/// No observer.
impl DecisionObserver for () {
    const OBSERVES: bool = false;

    fn head_rejected(&mut self, _: &'static str) {}
    fn path_read(&mut self, _: PathReading) {}
    fn local_route_found(&mut self, _: LocalRoute) {}
    fn rule_checked(&mut self, _: &Rule, _: RuleCheck) {}
    fn rule_matched(&mut self, _: &RuleSet, _: &str, _: RuleMatch<'_>) {}
    fn credential_read(&mut self, _: Result<Credential<'_>, RejectReason>) {}
    fn token_checked(&mut self, _: Result<&Arc<Identity>, ErrorCode>) {}
    fn header_removed(&mut self, _: usize, _: &str, _: RemovalReason) {}
}
