//! What the backend is shown, as the config promises it.

use std::sync::Arc;

use super::foundation::Foundation;
use crate::{
    auth::Proofs,
    config::Config,
    crypto,
    token::{Assertions, Keyrings},
};

/// Makes them; from now on there are keys for them.
pub(super) async fn made(foundation: &Foundation, config: &Config, keyrings: &Arc<Keyrings>) -> anyhow::Result<Proofs> {
    let Foundation { root, store, clock, metrics, .. } = foundation;
    if config.identity.assertion {
        keyrings.assert_with(crypto::derive(root, "assertions"), &**store, clock.now()).await?;
    }
    Ok(Proofs::new(Assertions::new(keyrings.clone(), &config.tokens, &config.identity), metrics))
}
