//! Compiles the parts of a config that are for the gate, and reports every problem.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    config::Config,
    policy::{HeaderPolicy, RuleSet, identity},
};

/// Problems of a config: a key and a message for each.
pub type GateProblems = Vec<(String, String)>;

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
pub fn compile_policy(config: &Config) -> Result<(RuleSet, HeaderPolicy), GateProblems> {
    let rules =
        RuleSet::compile(&config.rule).map(|rules| rules.with_report_only(config.gate.report_only));
    let headers = HeaderPolicy::compile(config);
    match (rules, headers) {
        (Ok(rules), Ok(headers)) => Ok((rules, headers)),
        (rules, headers) => {
            let of_rules = rules.err().unwrap_or_default();
            let of_headers = headers.err().unwrap_or_default();
            let of_rules = of_rules.into_iter().map(|problem| {
                (
                    format!("rule[{}].{}", problem.index, problem.key),
                    problem.message,
                )
            });
            let of_headers = of_headers.into_iter().map(|problem| {
                (
                    problem.key.to_owned(),
                    format!("{:?} {}", problem.entry, problem.message),
                )
            });
            Err(of_rules.chain(of_headers).collect())
        }
    }
}
