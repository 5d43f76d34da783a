//! Who may pass where: the first rule that matches the path and method decides; what matches none
//! needs a token.
//!
//! Must stay true: a rule opens a path only when the path is, byte by byte, what the pattern says.
//! Case, encoding, a trailing slash, blanks around a name and dots at its end never open one
//! (`/Health` and `/health/` are not `/health`); they do not dodge one either: where a backend that
//! ignores them would take the path for one of an earlier rule that asks for more, that rule
//! decides, and where both ask for certain users, only who is one for both passes. Matching
//! allocates nothing.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{
    framing::METHODS,
    path::AllowedDelimiters,
    pattern::{Match, PathNames, Pattern},
};
use crate::{
    config::{Access, EncodedDelimiter, HumanDuration, RuleConfig},
    token::{RESERVED_CLAIMS, VerifiedClaims},
    types::UserType,
};

/// The name of the rule that decides when no other does: `required`, for every user.
pub const DEFAULT_RULE: &str = "default";

/// One rule, compiled.
#[derive(Debug, Clone)]
pub struct Rule {
    /// In metrics, logs and `menshen check`.
    pub name: Arc<str>,
    pub access: Access,
    /// With `optional`: a bad token counts as no token.
    pub bad_token_is_anonymous: bool,
    /// The cookie that may bring a token.
    pub token_cookie: Option<Box<str>>,
    /// The query of a WebSocket handshake may bring one.
    pub token_in_query: bool,
    /// Kinds of user that pass. Empty: all.
    pub user_types: Vec<UserType>,
    /// Roles of which one is needed. Empty: none needed.
    pub roles: Vec<String>,
    /// Longest silence of a stream. `None`: as the upstream says.
    pub idle_timeout: Option<Duration>,
    /// Browsers are answered, and pages of allowed origins may read refusals.
    pub cors: bool,
    /// What it would refuse is only told. `None`: as the set has it.
    pub report_only: Option<bool>,
    /// Claims of which one of the values is needed, each. Empty: none needed.
    pub claims: Vec<(Arc<str>, Vec<String>)>,
    /// Delimiters that its paths may have percent-encoded.
    pub allowed_delimiters: AllowedDelimiters,
    /// Its place among the rules, from 0; the default rule is the last.
    pub index: usize,
    pattern: Pattern,
    methods: MethodSet,
}

impl Rule {
    /// Whether whom this token names passes.
    fn admits(&self, caller: &VerifiedClaims) -> bool {
        let type_fits = self.user_types.is_empty() || self.user_types.contains(caller.user_type());
        let role_fits = self.roles.is_empty()
            || self
                .roles
                .iter()
                .any(|wanted| caller.roles().contains(wanted));
        let claim_fits = |(name, wanted): &(Arc<str>, Vec<String>)| {
            caller
                .custom_claims()
                .get(name)
                .iter()
                .any(|value| wanted.contains(value))
        };
        type_fits && role_fits && self.claims.iter().all(claim_fits)
    }

    /// Whether it asks for certain users.
    const fn is_conditional(&self) -> bool {
        !(self.user_types.is_empty() && self.roles.is_empty() && self.claims.is_empty())
    }

    /// How much it asks for, to compare two rules.
    const fn strictness(&self) -> u8 {
        match self.access {
            Access::Public => 0,
            Access::Optional => 1,
            Access::Required if self.is_conditional() => 3,
            Access::Required => 2,
            Access::Deny => 4,
        }
    }
}

/// What the rules say of one request.
#[derive(Debug, Clone, Copy)]
pub struct RuleMatch<'a> {
    /// The rule that decides.
    pub rule: &'a Rule,
    /// The rule that a lenient backend would have in mind, where it too asks for certain users and
    /// neither asks for more.
    also: Option<&'a Rule>,
    /// Nothing is refused here: every rule that could be meant, by whatever backend, only reports.
    pub report_only: bool,
}

impl<'a> RuleMatch<'a> {
    /// `exact`: by the path as it stands. `lenient`: the strictest that a lenient backend could
    /// have in mind; `enforced`: one of those is enforced.
    fn new(exact: &'a Rule, lenient: Option<&'a Rule>, enforced: bool, report_only: bool) -> Self {
        let (rule, also) = match lenient {
            Some(lenient) if lenient.strictness() > exact.strictness() => (lenient, None),
            Some(lenient) if lenient.strictness() == exact.strictness() => (exact, Some(lenient)),
            Some(_) | None => (exact, None),
        };
        let reports = |rule: &Rule| rule.report_only.unwrap_or(report_only);
        Self {
            rule,
            also,
            report_only: reports(exact) && reports(rule) && !enforced,
        }
    }

    /// The cookie that may bring a token, by each rule that is asked.
    pub fn token_cookie(&self) -> Option<&'a str> {
        let cookie = self.rule.token_cookie.as_deref();
        cookie.filter(|_| {
            self.also
                .is_none_or(|also| also.token_cookie == self.rule.token_cookie)
        })
    }

    /// Whether the query of a WebSocket handshake may bring one, the same.
    pub fn token_in_query(&self) -> bool {
        self.rule.token_in_query && self.also.is_none_or(|also| also.token_in_query)
    }

    /// Delimiters that the path may have percent-encoded, the same.
    pub fn allowed_delimiters(&self) -> AllowedDelimiters {
        let allowed = self.rule.allowed_delimiters;
        self.also
            .map_or(allowed, |also| allowed.and(also.allowed_delimiters))
    }

    /// Whether the same rules decide, in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        let of = |matched: &Self| {
            (
                matched.rule.index,
                matched.also.map(|also| also.index),
                matched.report_only,
            )
        };
        of(self) == of(other)
    }

    /// What a rule has to do with a request for this path, by how it compared (`None`: the search
    /// had ended before it).
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

    /// Whether whom this token names passes.
    pub fn admits(&self, caller: &VerifiedClaims) -> bool {
        self.rule.admits(caller) && self.also.is_none_or(|also| also.admits(caller))
    }
}

/// How a rule compares with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleCheck {
    /// It is the first that matches.
    First,
    /// It matches for a lenient backend alone.
    Lenient,
    /// It is for other methods.
    OtherMethod,
    /// It is for other paths.
    OtherPath,
}

/// What a rule has to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleOutcome {
    /// It is the first that matches.
    Decides,
    /// It matches for a lenient backend alone, and asks for more than the first that matches.
    DecidesLeniently,
    /// It matches for a lenient backend alone, and both it and the one that decides ask for certain
    /// users.
    AsksToo,
    /// It is the first that matches, but one before it asks for more.
    Yields,
    /// It matches for a lenient backend alone, and asks for no more than the one that decides.
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

/// What is wrong with one rule of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProblem {
    /// The rule's place in the config, from 0.
    pub index: usize,
    /// The key in that rule.
    pub key: &'static str,
    pub message: String,
}

/// All rules, the default one last.
#[derive(Debug, Clone)]
pub struct RuleSet {
    rules: Vec<Rule>,
    default: Rule,
    /// What holds where a rule does not say.
    report_only: bool,
}

impl RuleSet {
    /// Compiles the rules of the config, or tells everything that is wrong with them. Each is
    /// enforced unless it says otherwise.
    pub fn compile(configured: &[RuleConfig]) -> Result<Self, Vec<RuleProblem>> {
        let mut problems = Vec::new();
        let mut names = HashSet::from([DEFAULT_RULE]);
        let mut rules = Vec::with_capacity(configured.len());
        for (index, config) in configured.iter().enumerate() {
            let mut report = |key, message: String| {
                problems.push(RuleProblem {
                    index,
                    key,
                    message,
                })
            };
            check_name(&config.name, &mut names, &mut report);
            check_combination(config, &mut report);
            if let Some(rule) = compile_one(index, config, &mut report) {
                rules.push(rule);
            }
        }
        if problems.is_empty() {
            Ok(Self {
                default: default_rule(rules.len()),
                rules,
                report_only: false,
            })
        } else {
            Err(problems)
        }
    }

    /// The same rules, each of which only reports unless it says otherwise.
    #[must_use]
    pub fn with_report_only(self, report_only: bool) -> Self {
        Self {
            report_only,
            ..self
        }
    }

    /// What holds for a path that [`super::path::check`] accepted.
    pub fn find(&self, path: &str, method: &str) -> RuleMatch<'_> {
        self.find_observed(path, method, |_, _| ())
    }

    /// The same, and tells how each rule that is looked at compares with the request.
    pub fn find_observed(
        &self,
        path: &str,
        method: &str,
        observe: impl FnMut(&Rule, RuleCheck),
    ) -> RuleMatch<'_> {
        let path = PathNames::new(path);
        self.find_by(method, |pattern| pattern.covers(&path), observe)
    }

    /// What holds for a path that has been percent-decoded.
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
        let asked = MethodSet::of(method);
        // Backends run the handler of GET for HEAD too, so a rule for GET closes HEAD as well,
        // though it does not open it.
        let also = if method == "HEAD" {
            MethodSet::of("GET")
        } else {
            asked
        };
        let mut lenient: Option<&Rule> = None;
        let mut enforced = false;
        for rule in &self.rules {
            let exact = rule.methods.contains(asked);
            if !exact && !rule.methods.contains(also) {
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

fn default_rule(index: usize) -> Rule {
    Rule {
        name: DEFAULT_RULE.into(),
        access: Access::Required,
        bad_token_is_anonymous: false,
        token_cookie: None,
        token_in_query: false,
        user_types: Vec::new(),
        roles: Vec::new(),
        idle_timeout: None,
        cors: false,
        report_only: None,
        claims: Vec::new(),
        allowed_delimiters: AllowedDelimiters::default(),
        index,
        pattern: Pattern::everything(),
        methods: MethodSet::ALL,
    }
}

fn check_name<'a>(
    name: &'a str,
    seen: &mut HashSet<&'a str>,
    report: &mut impl FnMut(&'static str, String),
) {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if name.is_empty() || name.len() > 64 || !plain {
        report(
            "name",
            "must be 1 to 64 letters, digits, '-' or '_'".to_owned(),
        );
    } else if name == DEFAULT_RULE {
        report(
            "name",
            format!("'{DEFAULT_RULE}' is the rule for what matches no other"),
        );
    } else if !seen.insert(name) {
        report("name", format!("there is another rule named '{name}'"));
    }
}

/// A condition that would never be asked is a mistake somebody relies on.
fn check_combination(config: &RuleConfig, report: &mut impl FnMut(&'static str, String)) {
    let conditional = config.access == Access::Required;
    if !config.user_types.is_empty() && !conditional {
        report(
            "user_types",
            "needs access = \"required\": nobody else is asked for a type".to_owned(),
        );
    }
    if !config.roles.is_empty() && !conditional {
        report(
            "roles",
            "needs access = \"required\": nobody else is asked for a role".to_owned(),
        );
    }
    if !config.claims.is_empty() && !conditional {
        report(
            "claims",
            "needs access = \"required\": nobody else is asked for a claim".to_owned(),
        );
    }
    for (name, values) in &config.claims {
        if name.is_empty() || RESERVED_CLAIMS.contains(&name.as_str()) {
            report(
                "claims",
                format!(
                    "{name:?} is a claim of menshen's own: `user_types` and `roles` ask for what can be asked"
                ),
            );
        }
        if values.is_empty() {
            report(
                "claims",
                format!("{name:?} has no values: nobody could pass"),
            );
        }
    }
    if config.bad_token_is_anonymous && config.access != Access::Optional {
        report(
            "bad_token_is_anonymous",
            "needs access = \"optional\"".to_owned(),
        );
    }
    if let Some(name) = &config.token_cookie {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || name.len() > 128 || !name.bytes().all(token) {
            report("token_cookie", format!("{name:?} is no name of a cookie"));
        }
    }
    let asks = matches!(config.access, Access::Optional | Access::Required);
    for (key, _) in [
        ("token_cookie", config.token_cookie.is_some()),
        ("token_in_query", config.token_in_query),
    ]
    .into_iter()
    .filter(|(_, set)| *set && !asks)
    {
        report(
            key,
            "needs access = \"required\" or \"optional\": elsewhere no token is looked at"
                .to_owned(),
        );
    }
    if config
        .idle_timeout
        .is_some_and(|idle| !(HumanDuration::millis(1)..=HumanDuration::days(7)).contains(&idle))
    {
        report("idle_timeout", "must be from 1ms to 7d".to_owned());
    }
    if !config.allow_encoded.is_empty() && config.access == Access::Deny {
        report(
            "allow_encoded",
            "says nothing where nobody passes".to_owned(),
        );
    }
    if config.allow_encoded.contains(&EncodedDelimiter::Slash) && !config.path.ends_with("/**") {
        report(
            "allow_encoded",
            "\"%2F\" needs a path that ends in /**: decoded, it has one segment more".to_owned(),
        );
    }
    if config.idle_timeout.is_some() && config.access == Access::Deny {
        report(
            "idle_timeout",
            "says nothing where nobody passes".to_owned(),
        );
    }
}

fn compile_one(
    index: usize,
    config: &RuleConfig,
    report: &mut impl FnMut(&'static str, String),
) -> Option<Rule> {
    let pattern = Pattern::parse(&config.path)
        .map_err(|message| report("path", message))
        .ok();
    let methods = MethodSet::parse(&config.methods)
        .map_err(|message| report("methods", message))
        .ok();
    let user_types: Vec<_> = config
        .user_types
        .iter()
        .filter_map(|text| {
            UserType::parse(text)
                .map_err(|wrong| report("user_types", wrong.to_string()))
                .ok()
        })
        .collect();
    if config.roles.iter().any(|role| {
        role.trim().is_empty() || role.contains(',') || role.chars().any(char::is_control)
    }) {
        report(
            "roles",
            "must be names without ',' and control characters".to_owned(),
        );
    }
    Some(Rule {
        name: config.name.as_str().into(),
        access: config.access,
        bad_token_is_anonymous: config.bad_token_is_anonymous,
        token_cookie: config.token_cookie.as_deref().map(Box::from),
        token_in_query: config.token_in_query,
        user_types,
        roles: config.roles.clone(),
        idle_timeout: config.idle_timeout.map(HumanDuration::get),
        cors: config.cors,
        report_only: config.report_only,
        claims: config
            .claims
            .iter()
            .map(|(name, values)| (name.as_str().into(), values.clone()))
            .collect(),
        allowed_delimiters: AllowedDelimiters::new(&config.allow_encoded),
        index,
        pattern: pattern?,
        methods: methods?,
    })
}

/// Some of the methods that pass at all, one bit each in the order of [`METHODS`]; the highest bit
/// is any other method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MethodSet(u8);

impl MethodSet {
    const ALL: Self = Self(u8::MAX);

    fn of(method: &str) -> Self {
        Self(
            METHODS
                .iter()
                .position(|known| *known == method)
                .map_or(1 << METHODS.len(), |bit| 1 << bit),
        )
    }

    fn parse(names: &[String]) -> Result<Self, String> {
        if names.is_empty() {
            return Ok(Self::ALL);
        }
        if names.iter().any(|name| !METHODS.contains(&name.as_str())) {
            return Err(format!("must be among {}", METHODS.join(", ")));
        }
        Ok(Self(
            names.iter().fold(0, |bits, name| bits | Self::of(name).0),
        ))
    }

    const fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

#[cfg(test)]
mod tests;
