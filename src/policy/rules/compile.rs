//! Compiles the rules of the config, and reports everything that is wrong with them.

use std::collections::HashSet;

use super::{
    super::{path::AllowedDelimiters, pattern::Pattern},
    rule::{MethodSet, Rule},
};
use crate::{
    config::{Access, EncodedDelimiter, HumanDuration, RuleConfig},
    token::RESERVED_CLAIMS,
    types::UserType,
};

/// The name of the rule that decides when no other does: `required`, for every user.
pub const DEFAULT_RULE: &str = "default";

/// The rule for what matches no other: every user passes.
pub(super) fn default_rule(index: usize) -> Rule {
    Rule {
        name: DEFAULT_RULE.into(),
        access: Access::Required,
        bad_token_is_anonymous: false,
        token_header: None,
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

/// Checks that a name is well formed and unique.
pub(super) fn check_name<'a>(
    name: &'a str,
    seen: &mut HashSet<&'a str>,
    report: &mut impl FnMut(&str, String),
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

/// Checks that each condition has an effect: an operator relies on one that has none.
pub(super) fn check_combination(config: &RuleConfig, report: &mut impl FnMut(&str, String)) {
    let conditional = config.access == Access::Required;
    for (key, what, is_set) in [
        ("user_types", "type", !config.user_types.is_empty()),
        ("roles", "role", !config.roles.is_empty()),
        ("claims", "claim", !config.claims.is_empty()),
    ] {
        if is_set && !conditional {
            report(
                key,
                format!("needs access = \"required\": no other rule checks the {what} of a user"),
            );
        }
    }
    for (name, values) in &config.claims {
        if name.is_empty() || RESERVED_CLAIMS.contains(&name.as_str()) {
            report(
                "claims",
                format!(
                    "{name:?} is a claim of menshen's own: use `user_types` and `roles` instead"
                ),
            );
        }
        if values.is_empty() {
            report(
                "claims",
                format!("{name:?} has no values: no request could pass"),
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
            report("token_cookie", format!("{name:?} is not a cookie name"));
        }
    }
    let asks = matches!(config.access, Access::Optional | Access::Required);
    for (key, _) in [
        ("token_header", config.token_header.is_some()),
        ("token_cookie", config.token_cookie.is_some()),
        ("token_in_query", config.token_in_query),
    ]
    .into_iter()
    .filter(|(_, set)| *set && !asks)
    {
        report(
            key,
            "needs access = \"required\" or \"optional\": for other rules no token is read"
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
            "has no effect where no request passes".to_owned(),
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
            "has no effect where no request passes".to_owned(),
        );
    }
}

/// Compiles one rule; `None`: its pattern or methods are invalid.
pub(super) fn compile_rule(
    index: usize,
    config: &RuleConfig,
    report: &mut impl FnMut(&str, String),
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
                .map_err(|error| report("user_types", error.to_string()))
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
        token_header: config.token_header.as_deref().map(Box::from),
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
