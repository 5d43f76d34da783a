//! `[gate]`: whether what the gate decides is done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Problems, RuleConfig};

/// Whether the gate enforces its decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GateConfig {
    /// Report-only mode, for a first day in front of a live backend that still checks its callers
    /// itself. No request is refused for a path, a token or a rule. A request that would have been
    /// refused is forwarded as anonymous, with the client's `Authorization` (whatever
    /// `upstream.authorization` says). It is logged (`would_refuse`), and counted with the
    /// backend's response (`menshen_report_only_total`). Of the client's headers only those are
    /// removed that menshen sets itself, or that could change where a request ends; the others are
    /// counted (`menshen_report_only_headers_total`). A request whose end is ambiguous cannot be
    /// forwarded safely, and is still refused. The auth API and dialects work as always. **The
    /// backend is as open as it was without menshen.** As soon as one rule is enforced
    /// (`report_only = false`), an ambiguous path is refused everywhere, and headers that name
    /// another path or method are removed: either could bypass that rule.
    pub report_only: bool,
    /// Take the token from the header of this name too, on every path and by the auth API: alone or
    /// after `Bearer`. It is a credential like `Authorization`: a request that has both is refused
    /// (400; 403 in forward-auth), CORS preflights allow it, and only with `upstream.authorization =
    /// "keep"` it goes on to the backend, on paths where no rule or dialect has another. nginx drops names with `_` (`_token`) from what it forwards unless
    /// its config says `underscores_in_headers on;`.
    #[schemars(example = &"_token")]
    pub token_header: Option<String>,
}

impl GateConfig {
    /// Whether no rule is enforced: report-only mode is on, and no rule turns it off.
    pub fn is_report_only_everywhere(&self, rules: &[RuleConfig]) -> bool {
        self.report_only && rules.iter().all(|rule| rule.report_only != Some(false))
    }

    pub(super) fn check(&self, rules: &[RuleConfig], problems: &mut Problems) {
        const WARNING: &str =
            "no request is rejected, so the backend has to check its callers itself";
        if self.report_only {
            problems.warn("gate.report_only", format!("is true: {WARNING}"));
        }
        for n in rules
            .iter()
            .enumerate()
            .filter_map(|(n, rule)| (rule.report_only == Some(true)).then_some(n))
        {
            problems.warn(
                &format!("rule[{n}].report_only"),
                format!("is true: on its paths {WARNING}"),
            );
        }
    }
}
