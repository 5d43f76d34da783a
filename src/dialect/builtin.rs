//! The built-in dialects, each a file in the language of `[[dialect]]`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::{DialectConfig, DialectKind};

const SIMPLEJWT: &str = include_str!("builtin/simplejwt.toml");
const NEST: &str = include_str!("builtin/nest.toml");
const SUCCESS_DATA: &str = include_str!("builtin/success-data.toml");
const CODE_DATA: &str = include_str!("builtin/code-data.toml");

/// The source of a built-in dialect; a custom one is in the config only.
pub const fn source(kind: DialectKind) -> Option<&'static str> {
    match kind {
        DialectKind::Simplejwt => Some(SIMPLEJWT),
        DialectKind::Nest => Some(NEST),
        DialectKind::SuccessData => Some(SUCCESS_DATA),
        DialectKind::CodeData => Some(CODE_DATA),
        DialectKind::Custom => None,
    }
}

#[derive(Deserialize)]
struct File {
    dialect: Vec<DialectConfig>,
}

/// The built-in dialect that the config names, with the keys of the config laid over it.
pub(super) fn merged(config: &DialectConfig) -> Result<DialectConfig, String> {
    let Some(source) = source(config.kind) else {
        return Ok(config.clone());
    };
    let file: File = toml_edit::de::from_str(source).map_err(|error| error.to_string())?;
    let builtin = file
        .dialect
        .into_iter()
        .next()
        .ok_or("a built-in dialect is empty")?;
    let config = config.clone();
    Ok(DialectConfig {
        kind: config.kind,
        prefix: config.prefix.or(builtin.prefix),
        access_ttl: config.access_ttl.or(builtin.access_ttl),
        openid: config.openid.or(builtin.openid),
        phone: config.phone.or(builtin.phone),
        access_token: config.access_token.or(builtin.access_token),
        bare_token: config.bare_token.or(builtin.bare_token),
        language: config.language.or(builtin.language),
        user_types: overlay(builtin.user_types, config.user_types),
        claims: overlay(builtin.claims, config.claims),
        refresh_claims: overlay(builtin.refresh_claims, config.refresh_claims),
        messages: overlay(builtin.messages, config.messages),
        route: builtin.route,
        error: builtin.error,
    })
}

fn overlay<K: Ord, V>(mut base: BTreeMap<K, V>, over: BTreeMap<K, V>) -> BTreeMap<K, V> {
    base.extend(over);
    base
}
