//! The admin operations where no menshen runs: on the store alone.

use std::sync::{Arc, atomic::AtomicBool};

use super::{
    check::problems_error,
    storage::{export_key, open_store},
};
use crate::{
    admin::AdminState,
    audit::Audit,
    auth::{Administration, AuthRules, Passwords},
    clock::Clock,
    config::Config,
    dialect::Dialects,
    entropy::Entropy,
    metrics::Metrics,
    store::{Access, Store},
    token::Keyrings,
};

/// Opens the store for admin operations, or for those alone that only read. The caller closes it.
pub async fn operations(config: &Config, access: Access) -> anyhow::Result<AdminState> {
    let (entropy, metrics, clock) = (Entropy::default(), Metrics::new(), Clock::System);
    let audit = Audit::new(metrics.clone());
    let store: Arc<dyn Store> = open_store(config, access, &metrics, &entropy).await?.store;
    let dialects = Dialects::compile(config).map_err(problems_error)?;
    let lifetimes = dialects.lifetimes(&config.tokens);
    let now = clock.now();
    let keyrings = match access {
        Access::ReadWrite => {
            Keyrings::open(&config.tokens, lifetimes, &*store, &entropy, now).await?
        }
        Access::ReadOnly => Keyrings::existing(&config.tokens, lifetimes, &*store, now).await?,
    };
    let rules = AuthRules::from_config(config);
    let administration = Arc::new(Administration {
        store: store.clone(),
        passwords: Arc::new(Passwords::new(entropy.clone())),
        denylist: None,
        metrics,
        audit: audit.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        first_integer: rules.first_integer,
        outbox: rules.outbox,
        is_changing_key: AtomicBool::default(),
    });
    Ok(AdminState {
        administration,
        keyrings: Arc::new(keyrings),
        store,
        audit,
        clock,
        entropy,
        export_key: export_key(config)?,
        is_live: false,
    })
}
