//! The built-in dialects, each a file in the language of `[[dialect]]`.

use serde::Deserialize;

use crate::config::{DialectConfig, DialectKind};

const SIMPLEJWT: &str = include_str!("builtin/simplejwt.toml");
const NEST: &str = include_str!("builtin/nest.toml");
const SUCCESS_DATA: &str = include_str!("builtin/success-data.toml");
const CODE_DATA: &str = include_str!("builtin/code-data.toml");

/// A built-in dialect as a team could write it; a custom one has no other source than its own.
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

/// What the config says, laid over the built-in dialect that it names.
pub(super) fn whole(config: &DialectConfig) -> Result<DialectConfig, String> {
    let Some(source) = source(config.kind) else {
        return Ok(config.clone());
    };
    let file: File = toml_edit::de::from_str(source).map_err(|error| error.to_string())?;
    let mut whole = file
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
    whole.kind = kind;
    whole.prefix = prefix.or(whole.prefix);
    whole.access_ttl = access_ttl.or(whole.access_ttl);
    whole.openid = openid.or(whole.openid);
    whole.phone = phone.or(whole.phone);
    whole.bare_token = bare_token.or(whole.bare_token);
    whole.language = language.or(whole.language);
    whole.user_types.extend(user_types);
    whole.claims.extend(claims);
    whole.refresh_claims.extend(refresh_claims);
    whole.messages.extend(messages);
    Ok(whole)
}
