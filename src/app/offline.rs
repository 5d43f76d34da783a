//! What operators work with where no menshen runs: the store alone.

use std::sync::Arc;

use crate::{
    admin::Operations,
    audit::Audit,
    auth::{Administration, AdministrationParts, AuthRules, Passwords},
    clock::Clock,
    config::Config,
    dialect::Dialects,
    entropy::Entropy,
    metrics::Metrics,
    store::Store,
    token::Keyrings,
};

/// Opens the store for operators. Whoever asks for this closes it.
pub async fn operations(config: &Config) -> anyhow::Result<Operations> {
    let (entropy, metrics, clock) = (Entropy::default(), Metrics::new(), Clock::System);
    let audit = Audit::new(metrics.clone());
    let store: Arc<dyn Store> = super::open_store(config, &entropy)?.store;
    let dialects = Dialects::compile(config).map_err(super::problems_error)?;
    let lifetimes = dialects.lifetimes(&config.tokens);
    let keyrings =
        Arc::new(Keyrings::open(&config.tokens, lifetimes, &*store, &entropy, clock.now()).await?);
    let administration = Arc::new(Administration::new(AdministrationParts {
        store: store.clone(),
        passwords: Arc::new(Passwords::new(entropy.clone())),
        denylist: None,
        metrics,
        audit: audit.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        first_integer: AuthRules::from_config(config).first_integer,
        outbox: AuthRules::from_config(config).outbox,
    }));
    Ok(Operations {
        administration,
        keyrings,
        store,
        audit,
        clock,
        entropy,
        export_key: super::export_key(config)?,
        is_live: false,
    })
}
