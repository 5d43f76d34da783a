//! The JWTs about a caller for the backend: assertions, and tokens in its own form.

use std::sync::Arc;

use super::{check::problems_error, minting::minting, process::Process};
use crate::{
    auth::UpstreamAssertions,
    config::{Config, UpstreamAuthorization},
    crypto,
    token::{Assertions, Keyrings},
};

/// Creates them from the config, with a key that signs assertions where these are on.
pub(super) async fn upstream_assertions(
    process: &Process,
    config: &Config,
    keyrings: &Arc<Keyrings>,
) -> anyhow::Result<UpstreamAssertions> {
    let Process {
        root,
        store,
        clock,
        metrics,
        ..
    } = process;
    if config.identity.assertion {
        keyrings
            .enable_assertions(crypto::derive(root, "assertions"), &**store, clock.now())
            .await?;
    }
    let assertions = Assertions::new(keyrings.clone(), &config.tokens, &config.identity);
    let minting = minting(config).map_err(problems_error)?;
    if minting.is_none() && config.upstream.authorization == UpstreamAuthorization::Mint {
        anyhow::bail!("mint: there is no key");
    }
    Ok(UpstreamAssertions::new(assertions, minting, metrics))
}
