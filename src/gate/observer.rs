//! What can be seen of a decision while it is taken. `menshen explain` prints what it saw, so that
//! it cannot say anything else than what the gate does.
//!
//! Must stay true: nothing is decided here, and without an observer (`()`) an observation costs
//! nothing.

use std::sync::Arc;

use crate::{
    auth::Identity,
    error::ErrorCode,
    policy::{Credential, HeaderVerdict, RejectReason, Rule, RuleCheck, RuleMatch, RuleSet},
};

/// Sees the steps of a decision as they are taken. A step that is taken anew (a preflight that
/// turns out to be none) is seen anew.
pub trait DecisionObserver {
    /// Whether anything is done with what is seen.
    const OBSERVES: bool = true;

    /// The head has no certain reading, or no certain end.
    fn head_rejected(&mut self, detail: &'static str);

    fn path_read(&mut self, reading: PathReading);

    /// Menshen answers the request itself.
    fn local_route_found(&mut self, route: LocalRoute);

    /// A rule was compared with the request.
    fn rule_checked(&mut self, rule: &Rule, check: RuleCheck);

    /// The rule that decides was found.
    fn rule_matched(&mut self, rules: &RuleSet, path: &str, matched: RuleMatch<'_>);

    fn credential_read(&mut self, credential: Result<Credential<'_>, RejectReason>);

    /// The rule asks for a token, and this is what became of it.
    fn token_checked(&mut self, token: Result<&Arc<Identity>, ErrorCode>);

    /// A header field of the client does not go to the backend. `index`: its place in the head.
    fn header_removed(&mut self, index: usize, name: &str, reason: RemovalReason);
}

/// How a path was read.
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

/// Why the backend does not get a header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalReason {
    /// What its name means.
    Name(HeaderVerdict),
    /// `Connection` names it.
    Connection,
    /// A cookie in it brought the token; the others go on.
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
