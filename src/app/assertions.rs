//! What the backend is shown, as the config promises it.

use std::sync::Arc;

use http::HeaderName;

use super::{problems_error, process::Process};
use crate::{
    auth::{BackendTokenMinter, UpstreamAssertions},
    config::{Config, UpstreamAuthorization},
    crypto,
    dialect::MintClaims,
    entropy::Entropy,
    token::{Assertions, Keyrings, Minter},
};

/// Makes them; from now on there are keys for them.
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

/// What makes the backend's own tokens; `None`: nobody asked for them, or there is no key, which
/// the config's own checks tell.
pub(super) fn minting(
    config: &Config,
) -> Result<Option<BackendTokenMinter>, Vec<(String, String)>> {
    let mint = &config.mint;
    if config.upstream.authorization != UpstreamAuthorization::Mint {
        return Ok(None);
    }
    let mut problems = Vec::new();
    let claims = MintClaims::compile(mint, config.users.ids)
        .map_err(|found| problems.extend(found))
        .ok();
    let minter = Minter::new(mint).unwrap_or_else(|fault| {
        // What is wrong with a secret has been told.
        if mint.private_key.is_some() {
            problems.push(("mint.private_key".to_owned(), fault.to_string()));
        }
        None
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    let header = HeaderName::try_from(&mint.header).ok();
    Ok(minter
        .zip(claims)
        .zip(header)
        .map(|((minter, claims), header)| BackendTokenMinter {
            minter,
            claims,
            header,
            prefix: mint.prefix.clone(),
            entropy: Entropy::default(),
        }))
}
