//! Compiles the parts of a config that are for the gate, and reports every problem.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    config::Config,
    policy::{ConfigProblems, HeaderPolicy, RuleSet, identity},
};

/// The claims that some rule or header of the config uses, in addition to those of every token.
pub fn custom_claims(config: &Config) -> Arc<[Arc<str>]> {
    let of_rules = config
        .rule
        .iter()
        .flat_map(|rule| rule.claims.keys().map(String::as_str));
    let names: BTreeSet<&str> = of_rules
        .chain(identity::custom_claims(&config.identity))
        .collect();
    names.into_iter().map(Arc::from).collect()
}

/// Compiles the rules and header names of a config, or reports every problem of both.
pub fn compile_policy(config: &Config) -> Result<(RuleSet, HeaderPolicy), ConfigProblems> {
    let rules =
        RuleSet::compile(&config.rule).map(|rules| rules.with_report_only(config.gate.report_only));
    let headers = HeaderPolicy::compile(config);
    match (rules, headers) {
        (Ok(rules), Ok(headers)) => Ok((rules, headers)),
        (rules, headers) => {
            let of_headers = headers.err().unwrap_or_default();
            Err([rules.err().unwrap_or_default(), of_headers].concat())
        }
    }
}
