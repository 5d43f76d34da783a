//! Which requests pass: decides on the target, the rule that matches it, and the credential.

use std::sync::Arc;

use super::{
    observer::{DecisionObserver, LocalRoute, PathReading},
    report_only::ReportOnlyDecision,
};
use crate::{
    auth::{Authorizer, Identity},
    policy::{
        AllowedDelimiters, Cors, CorsFields, Credential, Head, LocalRoutes, RejectReason, Rule,
        RuleDecision, RuleMatch, RuleSet, Target, TokenLocations, TokenState, credential, is_under,
        path, rule_decision,
    },
    types::Timestamp,
};

/// The rules, the routes that menshen answers itself, and the verifier of tokens.
pub(super) struct AccessPolicy {
    pub(super) rules: RuleSet,
    pub(super) authorizer: Arc<Authorizer>,
    pub(super) auth_prefix: String,
    pub(super) local_routes: LocalRoutes,
    /// The header that may carry a token, where no rule or dialect has its own.
    pub(super) token_header: Option<Box<str>>,
    pub(super) cors: Option<Cors>,
    /// Every path is in report-only mode: no rule is enforced, so a second reading of a request
    /// cannot evade one.
    pub(super) report_only_everywhere: bool,
}

/// How a request reaches the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// Menshen forwards it.
    Proxied { websocket: bool },
    /// A proxy asks about it, and may omit parts of it.
    ForwardAuth,
}

/// A request that passes its rule.
pub(super) struct Allowed {
    /// The user of the token; `None`: anonymous.
    pub(super) identity: Option<Arc<Identity>>,
    /// In report-only mode: the decision that was not enforced.
    pub(super) report_only: Option<ReportOnlyDecision>,
}

/// A request that does not pass its rule.
pub(super) struct Denied {
    pub(super) reason: RejectReason,
    /// The user of a valid token that does not pass the rule.
    pub(super) identity: Option<Arc<Identity>>,
}

impl AccessPolicy {
    /// The parts of a target that has one reading, or several that its rule allows.
    pub(super) fn target<'t>(
        &self,
        target: &'t str,
        method: &str,
        observer: &mut impl DecisionObserver,
    ) -> Result<Target<'t>, RejectReason> {
        let plain = path::check(target);
        let read = match plain {
            Err(_) if self.rules.allow_delimiters() => self.target_by_rule(target, method),
            Ok(_) | Err(_) => plain,
        };
        observer.path_read(match (plain, read) {
            (Ok(_), _) => PathReading::One,
            (Err(_), Ok(_)) => PathReading::Allowed,
            (Err(_), Err(reason)) => PathReading::Ambiguous(reason.detail),
        });
        read
    }

    /// The same if some rule allows percent-encoded delimiters.
    #[cold]
    fn target_by_rule<'t>(
        &self,
        target: &'t str,
        method: &str,
    ) -> Result<Target<'t>, RejectReason> {
        let path = path::split(target).path;
        let matched = self.rules.find(path, method);
        let is_local = |path: &str| self.local_route(method, path).is_some();
        let allowed = if is_local(path) {
            AllowedDelimiters::default()
        } else {
            matched.allowed_delimiters()
        };
        path::check_decoded(target, allowed, |decoded| {
            !is_local(decoded) && self.rules.find_decoded(decoded, method).is_same(&matched)
        })
    }

    /// The parts of an ambiguous target that is forwarded anyway, because no rule is enforced.
    pub(super) fn raw_target<'t>(&self, target: &'t str) -> Option<Target<'t>> {
        let parts = self
            .report_only_everywhere
            .then(|| path::raw_target(target))
            .flatten()?;
        (!is_under(parts.path, &self.auth_prefix)).then_some(parts)
    }

    /// The part of menshen that answers this request: the auth API if it is under its prefix, a
    /// dialect if it has the route.
    pub(super) fn local_route(&self, method: &str, path: &str) -> Option<LocalRoute> {
        if self.local_routes.has(method, path) {
            return Some(LocalRoute::Dialect);
        }
        is_under(path, &self.auth_prefix).then_some(LocalRoute::AuthApi)
    }

    /// The rules that decide on a request for this path.
    pub(super) fn rule(
        &self,
        path: &str,
        method: &str,
        observer: &mut impl DecisionObserver,
    ) -> RuleMatch<'_> {
        let matched = self.rules.find_observed(path, method, |rule, check| {
            observer.rule_checked(rule, check);
        });
        observer.rule_matched(&self.rules, path, matched);
        matched
    }

    /// Whether the credential of a request passes the rule.
    pub(super) fn check(
        &self,
        head: &Head<'_>,
        path: &str,
        matched: RuleMatch<'_>,
        kind: RequestKind,
        now: Timestamp,
        observer: &mut impl DecisionObserver,
    ) -> Result<Allowed, Denied> {
        let credential = credential::read(
            head,
            self.token_locations(matched, path, kind),
            self.cors.as_ref(),
        );
        observer.credential_read(credential);
        let allow = |identity, decision| {
            let report_only = matched.report_only.then_some(decision);
            Ok(Allowed {
                identity,
                report_only,
            })
        };
        let credential = match credential {
            Ok(credential) => credential,
            Err(reason) if matched.report_only && !reason.close => {
                return allow(None, ReportOnlyDecision::Reject(reason.code));
            }
            Err(reason) => {
                return Err(Denied {
                    reason,
                    identity: None,
                });
            }
        };
        let (decision, identity) = self.decide(credential, matched, now, observer);
        match decision {
            RuleDecision::Anonymous => allow(None, ReportOnlyDecision::Allow),
            RuleDecision::Authenticated => allow(identity, ReportOnlyDecision::Allow),
            RuleDecision::Reject(code) if matched.report_only => {
                allow(None, ReportOnlyDecision::Reject(code))
            }
            RuleDecision::Reject(code) => Err(Denied {
                reason: RejectReason::new(code, ""),
                identity,
            }),
        }
    }

    fn decide(
        &self,
        credential: Credential<'_>,
        matched: RuleMatch<'_>,
        now: Timestamp,
        observer: &mut impl DecisionObserver,
    ) -> (RuleDecision, Option<Arc<Identity>>) {
        let decide = |state: TokenState<'_>| rule_decision::decide(matched, state);
        let token = match credential {
            Credential::Bearer(token) if matched.rule.needs_token() => token,
            Credential::Malformed => return (decide(TokenState::Malformed), None),
            // A rule that needs no token ignores it.
            Credential::None | Credential::Bearer(_) => return (decide(TokenState::Missing), None),
        };
        let checked = self.authorizer.authorize(token, now);
        observer.token_checked(checked.as_ref().map_err(|code| *code));
        match checked {
            Ok(identity) => (decide(TokenState::Valid(&identity.claims)), Some(identity)),
            Err(code) => (decide(TokenState::Invalid(code)), None),
        }
    }

    /// The headers that may carry a token on this path, if no rule says otherwise.
    pub(super) fn token_headers(&self, path: &str) -> TokenLocations<'_> {
        let of_dialect = self.local_routes.token_header(path);
        TokenLocations {
            bare: self.local_routes.takes_bare_token(path),
            header: of_dialect.or(self.token_header.as_deref()),
            ..TokenLocations::default()
        }
    }

    /// The locations of a token in a request of this kind.
    pub(super) fn token_locations<'r>(
        &'r self,
        matched: RuleMatch<'r>,
        path: &str,
        kind: RequestKind,
    ) -> TokenLocations<'r> {
        let headers = self.token_headers(path);
        TokenLocations {
            bare: headers.bare,
            header: matched.token_header().or(headers.header),
            cookie: matched.token_cookie(),
            query: kind == RequestKind::Proxied { websocket: true } && matched.token_in_query(),
            forward_auth: kind == RequestKind::ForwardAuth,
        }
    }

    /// CORS header fields of a response of menshen, if this rule decides (`None`: no rule) and has
    /// CORS.
    pub(super) fn cors_fields(&self, head: &Head<'_>, rule: Option<&Rule>) -> Option<CorsFields> {
        let cors = self
            .cors
            .as_ref()
            .filter(|_| rule.is_none_or(|rule| rule.cors));
        cors.map(|cors| cors.response_fields(head))
    }
}
