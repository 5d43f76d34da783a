//! The built-in dialects, each a file in the language of `[[dialect]]`.

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
    let mut merged = file
        .dialect
        .into_iter()
        .next()
        .ok_or("a built-in dialect is empty")?;
    let DialectConfig {
        kind,
        prefix,
        access_ttl,
        openid,
        phone,
        bare_token,
        language,
        user_types,
        claims,
        refresh_claims,
        messages,
        route: _,
        error: _,
    } = config.clone();
    merged.kind = kind;
    merged.prefix = prefix.or(merged.prefix);
    merged.access_ttl = access_ttl.or(merged.access_ttl);
    merged.openid = openid.or(merged.openid);
    merged.phone = phone.or(merged.phone);
    merged.bare_token = bare_token.or(merged.bare_token);
    merged.language = language.or(merged.language);
    merged.user_types.extend(user_types);
    merged.claims.extend(claims);
    merged.refresh_claims.extend(refresh_claims);
    merged.messages.extend(messages);
    Ok(merged)
}
