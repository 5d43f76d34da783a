//! Dialects: the APIs that existing mini programs call, as routes, inputs, templates and messages.
//!
//! All of them are written in the language of `[[dialect]]` in the config: the built-in ones are
//! files in `builtin`, which `menshen dialect` prints, so a team can write whatever they do. A
//! route runs a use case of `auth`; here is only the form of its requests and responses. No
//! socket, no store: `api::dialects` adds the routes to the router.
//!
//! Must stay true: the check of the config rejects a dialect that does not compile, with its line
//! and a reason; a client's input is a value in a response and never part of its structure; a
//! dialect cannot set the claims that menshen sets itself.

mod action;
mod builtin;
mod chinese_messages;
mod compile;
mod definition;
mod error_template;
mod input;
mod mint;
mod placeholder;
mod template;
#[cfg(test)]
mod tests;
mod text;
mod token_profile;
mod user_values;

use std::time::Duration;

pub use action::ACCESS_TOKEN;
pub use builtin::source;
pub use definition::{Dialect, DialectProblems, Route};
pub use error_template::{DialectRejection, InvalidField, RenderedResponse};
pub use input::{Check, InputLocation, InputLocations};
pub use mint::MintClaims;
pub use placeholder::{Placeholder, PlaceholderSource, PlaceholderValue};
pub use token_profile::TokenProfile;
pub use user_values::{UserFormat, UserValues, national};

use crate::{
    config::{Config, DialectAction, TokenConfig},
    policy::{LocalRoutes, is_under},
    token::Lifetimes,
};

/// All dialects of a config.
#[derive(Debug, Clone, Default)]
pub struct Dialects {
    all: Vec<Dialect>,
    /// Prefix of the auth API, which has an error format of its own.
    auth_prefix: String,
}

impl Dialects {
    /// Compiles all dialects of a config; reports every problem at once.
    pub fn compile(config: &Config) -> Result<Self, DialectProblems> {
        compile::all(config).map(|all| Self {
            all,
            auth_prefix: config.auth.prefix.clone(),
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Dialect> {
        self.all.iter()
    }

    /// The dialect that renders rejections on this path: that with the longest prefix, unless the
    /// path is the auth API's.
    pub fn for_path(&self, path: &str) -> Option<&Dialect> {
        let under = self
            .all
            .iter()
            .filter(|dialect| is_under(path, &dialect.prefix));
        let longest = under.max_by_key(|dialect| dialect.prefix.len())?;
        let is_auth_api =
            is_under(path, &self.auth_prefix) && self.auth_prefix.len() > longest.prefix.len();
        (!is_auth_api).then_some(longest)
    }

    /// The rest of a path of the auth API, after its prefix.
    pub fn strip_auth_prefix<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(&self.auth_prefix)
            .filter(|rest| rest.starts_with('/'))
    }

    /// For the gate: the routes that menshen answers itself, and where a token may be below each
    /// prefix.
    pub fn local_routes(&self) -> LocalRoutes {
        let routes = self.all.iter().flat_map(|dialect| &dialect.routes);
        LocalRoutes {
            routes: routes
                .map(|route| (route.method.to_string(), route.path.clone()))
                .collect(),
            bare_token: self
                .all
                .iter()
                .filter(|dialect| dialect.bare_token)
                .map(|dialect| dialect.prefix.clone())
                .collect(),
            token_headers: self
                .all
                .iter()
                .filter_map(|dialect| {
                    let name = dialect.token_header.as_ref()?;
                    Some((dialect.prefix.clone(), name.as_str().into()))
                })
                .collect(),
        }
    }

    /// How long tokens live over all dialects.
    pub fn lifetimes(&self, tokens: &TokenConfig) -> Lifetimes {
        let plain = Lifetimes::from_config(tokens);
        let longest = self
            .all
            .iter()
            .filter_map(|dialect| dialect.token_profile.access_ttl)
            .max();
        let routes = self.all.iter().flat_map(|dialect| &dialect.routes);
        let renews = routes
            .into_iter()
            .any(|route| route.action == DialectAction::Renew);
        Lifetimes {
            max_access_ttl: longest.map_or(plain.max_access_ttl, |longest| {
                longest.max(plain.max_access_ttl)
            }),
            renewable_for: if renews {
                tokens.idle_ttl.get()
            } else {
                Duration::ZERO
            },
        }
    }
}
