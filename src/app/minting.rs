//! `[mint]`: issues tokens in the backend's own form.

use http::HeaderName;

use crate::{
    auth::BackendTokenMinter,
    config::{Config, UpstreamAuthorization},
    dialect::MintClaims,
    entropy::Entropy,
    token::Minter,
};

/// `[mint]` compiled; `None`: it is off, or has no key, which the config's own check reports.
///
/// # Errors
/// Keys of the config, each with its problem.
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
    let minter = Minter::new(mint).unwrap_or_else(|error| {
        // The config's own check reports a wrong `mint.secret`.
        if mint.private_key.is_some() {
            problems.push(("mint.private_key".to_owned(), error.to_string()));
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
