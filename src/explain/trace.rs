//! The observer of a decision.

use std::sync::Arc;

use crate::{
    auth::Identity,
    error::ErrorCode,
    gate::{DecisionObserver, LocalRoute, PathReading, RemovalReason},
    policy::{Credential, RejectReason, Rule, RuleCheck, RuleMatch, RuleOutcome, RuleSet},
    types::Secret,
};

/// The steps of one decision. A step that does not happen stays empty.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// Why the head was rejected.
    pub(super) head_rejected: Option<&'static str>,
    pub(super) path: Option<PathReading>,
    pub(super) local_route: Option<LocalRoute>,
    /// How rules compared with the request, since the last match.
    checks: Vec<(usize, RuleCheck)>,
    /// The part of each rule in the decision, in order.
    pub(super) rules: Vec<RuleOutcome>,
    pub(super) credential: Option<SeenCredential>,
    /// The result of checking the token, if the rule needs one.
    pub(super) token: Option<Result<Arc<Identity>, ErrorCode>>,
    /// Header fields that are not forwarded, with their index in the head.
    pub(super) removed: Vec<(usize, String, RemovalReason)>,
}

/// The credential of a request.
#[derive(Debug)]
pub(super) enum SeenCredential {
    None,
    Bearer(Secret<String>),
    Malformed(&'static str),
}

impl From<Result<Credential<'_>, RejectReason>> for SeenCredential {
    fn from(read: Result<Credential<'_>, RejectReason>) -> Self {
        match read {
            Ok(Credential::None) => Self::None,
            Ok(Credential::Bearer(token)) => Self::Bearer(Secret::new(token.to_owned())),
            Ok(Credential::Malformed) => Self::Malformed("it is no bearer token"),
            Err(reason) => Self::Malformed(reason.detail),
        }
    }
}

impl DecisionObserver for Trace {
    fn head_rejected(&mut self, detail: &'static str) {
        self.head_rejected = Some(detail);
    }

    fn path_read(&mut self, reading: PathReading) {
        self.path = Some(reading);
    }

    fn local_route_found(&mut self, route: LocalRoute) {
        self.local_route = Some(route);
    }

    fn rule_checked(&mut self, rule: &Rule, check: RuleCheck) {
        self.checks.push((rule.index, check));
    }

    fn rule_matched(&mut self, rules: &RuleSet, path: &str, matched: RuleMatch<'_>) {
        let checks = std::mem::take(&mut self.checks);
        let check = |rule: &Rule| {
            checks
                .iter()
                .find(|(index, _)| *index == rule.index)
                .map(|(_, check)| *check)
        };
        self.rules = rules
            .rules()
            .map(|rule| matched.outcome(rule, check(rule), path))
            .collect();
    }

    fn credential_read(&mut self, credential: Result<Credential<'_>, RejectReason>) {
        self.credential = Some(credential.into());
    }

    fn token_checked(&mut self, token: Result<&Arc<Identity>, ErrorCode>) {
        self.token = Some(token.cloned());
    }

    fn header_removed(&mut self, index: usize, name: &str, reason: RemovalReason) {
        self.removed.push((index, name.to_owned(), reason));
    }
}
