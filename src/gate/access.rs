//! Who may pass where: the target, the rule that matches it, and the credential, without anything of HTTP around them.

use std::sync::Arc;

use crate::{
    auth::{Authorizer, Identity},
    policy::{
        AllowedDelimiters, Cors, Credential, Head, LocalRoutes, RejectReason, RuleDecision, RuleMatch, RuleSet, Target,
        TokenLocations, TokenState, credential, is_under, path, rule_decision,
    },
    types::Timestamp,
};

/// The rules, the routes that menshen answers itself, and what tokens are checked by.
#[derive(Debug)]
pub(super) struct AccessPolicy {
    pub(super) rules: RuleSet,
    pub(super) authorizer: Arc<Authorizer>,
    pub(super) auth_prefix: String,
    pub(super) local_routes: LocalRoutes,
    pub(super) cors: Option<Cors>,
    /// The gate only reports for every path: no rule is enforced that a second reading of a request could get around.
    pub(super) report_only_everywhere: bool,
}

/// How a request came to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// It is to be forwarded from here.
    Proxied { websocket: bool },
    /// A proxy asks about it, and shows as much of it as it likes.
    ForwardAuth,
}

impl AccessPolicy {
    /// The parts of a target that has one reading, or several that its rule allows.
    pub(super) fn target<'t>(&self, target: &'t str, method: &str) -> Result<Target<'t>, RejectReason> {
        path::check(target)
            .or_else(|reason| if self.rules.allow_delimiters() { self.target_by_rule(target, method) } else { Err(reason) })
    }

    /// The same where some rule allows delimiters to be percent-encoded.
    #[cold]
    fn target_by_rule<'t>(&self, target: &'t str, method: &str) -> Result<Target<'t>, RejectReason> {
        let path = path::split(target).path;
        let matched = self.rules.find(path, method);
        let is_local = self.is_local(method, path);
        let allowed = if is_local { AllowedDelimiters::default() } else { matched.allowed_delimiters() };
        path::check_decoded(target, allowed, |decoded| {
            !self.is_local(method, decoded) && self.rules.find_decoded(decoded, method).is_same(&matched)
        })
    }

    /// The parts of an ambiguous target that the backend gets all the same, because no rule is enforced that it could belong to.
    pub(super) fn raw_target<'t>(&self, target: &'t str) -> Option<Target<'t>> {
        let parts = self.report_only_everywhere.then(|| path::raw_target(target)).flatten()?;
        (!is_under(parts.path, &self.auth_prefix)).then_some(parts)
    }

    /// Whether menshen answers this request itself: the auth API every one under its prefix, a dialect those of its routes.
    pub(super) fn is_local(&self, method: &str, path: &str) -> bool {
        is_under(path, &self.auth_prefix) || self.local_routes.has(method, path)
    }

    /// What the rule decides on the credential of a request, and the user of a good token.
    pub(super) fn check_credential(
        &self,
        head: &Head<'_>,
        path: &str,
        matched: RuleMatch<'_>,
        kind: RequestKind,
        now: Timestamp,
    ) -> Result<(RuleDecision, Option<Arc<Identity>>), RejectReason> {
        let credential = credential::read(head, self.token_locations(matched, path, kind), self.cors.as_ref())?;
        if !rule_decision::needs_token(matched) {
            return Ok((rule_decision::decide(matched, TokenState::Missing), None));
        }
        Ok(match credential {
            Credential::None => (rule_decision::decide(matched, TokenState::Missing), None),
            Credential::Malformed => (rule_decision::decide(matched, TokenState::Malformed), None),
            Credential::Bearer(token) => match self.authorizer.authorize(token, now) {
                Ok(identity) => (rule_decision::decide(matched, TokenState::Valid(&identity.claims)), Some(identity)),
                Err(code) => (rule_decision::decide(matched, TokenState::Invalid(code)), None),
            },
        })
    }

    /// Where a token may stand in a request of this kind.
    pub(super) fn token_locations<'r>(&self, matched: RuleMatch<'r>, path: &str, kind: RequestKind) -> TokenLocations<'r> {
        TokenLocations {
            bare: self.local_routes.takes_bare_token(path),
            cookie: matched.token_cookie(),
            query: kind == RequestKind::Proxied { websocket: true } && matched.token_in_query(),
            forward_auth: kind == RequestKind::ForwardAuth,
        }
    }
}
