//! Access rules: the first rule that matches the path and method decides; a request that matches
//! none needs a token.
//!
//! Must stay true: a rule opens a path only if the path matches its pattern byte by byte. Case,
//! encoding, a trailing slash, blanks around a name and dots at its end never open one (`/Health`
//! and `/health/` are not `/health`), and they do not evade one either: where a backend that
//! ignores them would take the path for one of an earlier, stricter rule, that rule decides; where
//! both are for some users only, a user has to pass both. Matching allocates nothing.

mod compile;
mod rule;
mod rule_match;

use std::collections::HashSet;

use super::{
    ConfigProblems,
    pattern::{Match, PathNames, Pattern},
};
use crate::config::{Access, RuleConfig};
use rule::MethodSet;

pub use compile::DEFAULT_RULE;
pub use rule::Rule;
pub use rule_match::{RuleCheck, RuleMatch, RuleOutcome};

/// All rules, the default one last.
#[derive(Debug, Clone)]
pub struct RuleSet {
    rules: Vec<Rule>,
    default: Rule,
    /// For rules that do not set it themselves.
    report_only: bool,
}

impl RuleSet {
    /// Compiles the rules of the config, or reports everything that is wrong with them. Each is
    /// enforced unless it says otherwise.
    pub fn compile(configured: &[RuleConfig]) -> Result<Self, ConfigProblems> {
        let mut problems = Vec::new();
        let mut names = HashSet::from([DEFAULT_RULE]);
        let mut rules = Vec::with_capacity(configured.len());
        for (index, config) in configured.iter().enumerate() {
            let mut report = |key: &str, message: String| {
                problems.push((format!("rule[{index}].{key}"), message));
            };
            compile::check_name(&config.name, &mut names, &mut report);
            compile::check_combination(config, &mut report);
            if let Some(rule) = compile::compile_rule(index, config, &mut report) {
                rules.push(rule);
            }
        }
        if problems.is_empty() {
            Ok(Self {
                default: compile::default_rule(rules.len()),
                rules,
                report_only: false,
            })
        } else {
            Err(problems)
        }
    }

    /// The same rules, in report-only mode or not, except for those that say so themselves.
    #[must_use]
    pub fn with_report_only(self, report_only: bool) -> Self {
        Self {
            report_only,
            ..self
        }
    }

    /// The rules that decide on a path that [`super::path::check`] accepted.
    pub fn find(&self, path: &str, method: &str) -> RuleMatch<'_> {
        self.find_observed(path, method, |_, _| ())
    }

    /// The same; `observe` gets each rule that is compared with the request, and how it compares.
    pub fn find_observed(
        &self,
        path: &str,
        method: &str,
        observe: impl FnMut(&Rule, RuleCheck),
    ) -> RuleMatch<'_> {
        let path = PathNames::new(path);
        self.find_by(method, |pattern| pattern.covers(&path), observe)
    }

    /// The rules that decide on a path that has been percent-decoded.
    pub fn find_decoded(&self, path: &str, method: &str) -> RuleMatch<'_> {
        let path = PathNames::new(path);
        self.find_by(method, |pattern| pattern.covers_decoded(&path), |_, _| ())
    }

    /// Whether some rule allows delimiters to be percent-encoded.
    pub fn allow_delimiters(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| !rule.allowed_delimiters.is_empty())
    }

    fn find_by(
        &self,
        method: &str,
        covers: impl Fn(&Pattern) -> Match,
        mut observe: impl FnMut(&Rule, RuleCheck),
    ) -> RuleMatch<'_> {
        let requested = MethodSet::from_method(method);
        // Backends run the handler of GET for HEAD too, so a rule for GET closes HEAD as well,
        // though it does not open it.
        let closes = if method == "HEAD" {
            MethodSet::from_method("GET")
        } else {
            requested
        };
        let mut lenient: Option<&Rule> = None;
        let mut enforced = false;
        for rule in &self.rules {
            let exact = rule.methods.contains(requested);
            if !exact && !rule.methods.contains(closes) {
                observe(rule, RuleCheck::OtherMethod);
                continue;
            }
            match covers(&rule.pattern) {
                Match::Exact if exact => {
                    observe(rule, RuleCheck::First);
                    return RuleMatch::new(rule, lenient, enforced, self.report_only);
                }
                Match::Exact | Match::Lenient => {
                    observe(rule, RuleCheck::Lenient);
                    enforced |= !rule.report_only.unwrap_or(self.report_only)
                        && rule.access != Access::Public;
                    lenient = Some(
                        lenient
                            .filter(|first| first.strictness() >= rule.strictness())
                            .unwrap_or(rule),
                    );
                }
                Match::No => observe(rule, RuleCheck::OtherPath),
            }
        }
        observe(&self.default, RuleCheck::First);
        RuleMatch::new(&self.default, lenient, enforced, self.report_only)
    }

    /// Every rule in order, the default one last.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().chain([&self.default])
    }
}

#[cfg(test)]
mod tests;
