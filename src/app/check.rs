//! The checks of a config that need more than the config: what only compiling it finds.

use super::minting::minting;
use crate::{
    clock::Clock,
    config::{Config, Problems, StoreEngine},
    dialect::Dialects,
    gate,
    policy::IdentityHeaders,
    proxy::Tls,
    store,
    token::TrustedIssuers,
};

/// The checks that the config cannot make itself: rules, header names, certificates, dialects,
/// issuers.
pub fn check(config: &Config, problems: &mut Problems) {
    add_all(problems, gate::compile_policy(config));
    add_all(problems, IdentityHeaders::compile(&config.identity));
    // The config's own check has reported a file that is not named.
    let tls = &config.server.tls;
    if config.server.wants_tls()
        && tls.cert_file.is_some()
        && tls.key_file.is_some()
        && let Err(error) = Tls::check(tls)
    {
        problems.add("server.tls", error.to_string());
    }
    // What else a URL may be, the config's own check has said.
    if config.store.engine() == Ok(StoreEngine::Shared)
        && let Err(error) = store::check_url(&config.store.url)
    {
        problems.add(
            "store.url",
            error.to_string().trim_start_matches("store.url "),
        );
    }
    add_all(problems, minting(config));
    add_all(problems, Dialects::compile(config));
    // Issuers are compiled only when the config's own checks have found their keys usable.
    if problems.is_empty() {
        let custom_claims = gate::custom_claims(config);
        add_all(problems, TrustedIssuers::compile(config, &custom_claims));
    }
    for (index, issuer) in config.issuer.iter().enumerate() {
        issuer.warn_expiry(index, Clock::System.now(), problems);
    }
}

fn add_all<T>(problems: &mut Problems, compiled: Result<T, Vec<(String, String)>>) {
    for (key, message) in compiled.err().unwrap_or_default() {
        problems.add(&key, message);
    }
}

/// The problems of a config that [`check`] has not seen, as one error.
pub(super) fn problems_error(problems: Vec<(String, String)>) -> anyhow::Error {
    let lines: Vec<_> = problems
        .into_iter()
        .map(|(key, message)| format!("{key}: {message}"))
        .collect();
    anyhow::anyhow!(lines.join("\n"))
}
