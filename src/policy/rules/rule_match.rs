//! The rules that decide on one request.

use super::{
    super::{
        path::AllowedDelimiters,
        pattern::{Match, PathNames},
    },
    rule::Rule,
};
use crate::token::VerifiedClaims;

/// The rules that decide on one request.
#[derive(Debug, Clone, Copy)]
pub struct RuleMatch<'a> {
    /// The rule that decides.
    pub rule: &'a Rule,
    /// The rule that matches for a lenient backend, where it is exactly as strict: its conditions
    /// hold too.
    also: Option<&'a Rule>,
    /// Nothing is rejected: each rule that matches for some backend is in report-only mode.
    pub report_only: bool,
}

impl<'a> RuleMatch<'a> {
    /// `exact`: the rule that matches the path byte by byte. `lenient`: the strictest of those that
    /// match for a lenient backend; `enforced`: one of those is enforced.
    pub(super) fn new(
        exact: &'a Rule,
        lenient: Option<&'a Rule>,
        enforced: bool,
        report_only: bool,
    ) -> Self {
        let (rule, also) = match lenient {
            Some(lenient) if lenient.strictness() > exact.strictness() => (lenient, None),
            Some(lenient) if lenient.strictness() == exact.strictness() => (exact, Some(lenient)),
            Some(_) | None => (exact, None),
        };
        let is_report_only = |rule: &Rule| rule.report_only.unwrap_or(report_only);
        Self {
            rule,
            also,
            report_only: is_report_only(exact) && is_report_only(rule) && !enforced,
        }
    }

    /// The header that may carry a token, by each of the rules that decide.
    pub fn token_header(&self) -> Option<&'a str> {
        let header = self.rule.token_header.as_deref();
        header.filter(|_| {
            self.also
                .is_none_or(|also| also.token_header == self.rule.token_header)
        })
    }

    /// The cookie that may carry a token, by each of the rules that decide.
    pub fn token_cookie(&self) -> Option<&'a str> {
        let cookie = self.rule.token_cookie.as_deref();
        cookie.filter(|_| {
            self.also
                .is_none_or(|also| also.token_cookie == self.rule.token_cookie)
        })
    }

    /// Whether the query of a WebSocket handshake may carry one, by the same rules.
    pub fn token_in_query(&self) -> bool {
        self.rule.token_in_query && self.also.is_none_or(|also| also.token_in_query)
    }

    /// Delimiters that may be percent-encoded in the path, by the same rules.
    pub fn allowed_delimiters(&self) -> AllowedDelimiters {
        let allowed = self.rule.allowed_delimiters;
        self.also
            .map_or(allowed, |also| allowed.and(also.allowed_delimiters))
    }

    /// Whether the same rules decide, in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        let decision = |matched: &Self| {
            (
                matched.rule.index,
                matched.also.map(|also| also.index),
                matched.report_only,
            )
        };
        decision(self) == decision(other)
    }

    /// The part of a rule in the decision on a request for this path. `check`: how it compares;
    /// `None`: the search ended before it.
    pub fn outcome(&self, rule: &Rule, check: Option<RuleCheck>, path: &str) -> RuleOutcome {
        let decides = rule.index == self.rule.index;
        match check {
            None => RuleOutcome::Later,
            Some(RuleCheck::First) if decides => RuleOutcome::Decides,
            Some(RuleCheck::First) => RuleOutcome::Yields,
            Some(RuleCheck::Lenient) if decides => RuleOutcome::DecidesLeniently,
            Some(RuleCheck::Lenient)
                if self
                    .also
                    .is_some_and(|also| also.index == rule.index && also.is_conditional()) =>
            {
                RuleOutcome::AsksToo
            }
            Some(RuleCheck::Lenient) => RuleOutcome::Lenient,
            Some(RuleCheck::OtherPath) => RuleOutcome::Path,
            Some(RuleCheck::OtherMethod) => match rule.pattern.covers(&PathNames::new(path)) {
                Match::Exact | Match::Lenient => RuleOutcome::Method,
                Match::No => RuleOutcome::PathAndMethod,
            },
        }
    }

    /// Whether the user of this token passes.
    pub fn allows(&self, caller: &VerifiedClaims) -> bool {
        self.rule.allows(caller) && self.also.is_none_or(|also| also.allows(caller))
    }
}

/// How a rule compares with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleCheck {
    /// It is the first that matches.
    First,
    /// It matches for a lenient backend only.
    Lenient,
    /// It is for other methods.
    OtherMethod,
    /// It is for other paths.
    OtherPath,
}

/// The part of a rule in the decision on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleOutcome {
    /// It is the first that matches.
    Decides,
    /// It matches for a lenient backend only, and is stricter than the first that matches.
    DecidesLeniently,
    /// It matches for a lenient backend only, and both it and the one that decides are for some
    /// users only.
    AsksToo,
    /// It is the first that matches, but one before it is stricter.
    Yields,
    /// It matches for a lenient backend only, and is no stricter than the one that decides.
    Lenient,
    /// It is for other methods.
    Method,
    /// It is for other paths.
    Path,
    /// It is for other paths and methods.
    PathAndMethod,
    /// A rule before it matches.
    Later,
}
