//! Dialects: the APIs that existing mini programs call, as routes, inputs, shapes and messages.
//!
//! Each of them is written in the same language, that of `[[dialect]]` in the config: the built-in
//! ones are files in `builtin`, which `menshen dialect` prints, so whatever they can do a team can
//! write for itself. What a route does is a use case of `auth`; here stands only how it is asked
//! for and answered. No socket, no store: `api::dialects` puts the routes into the router.
//!
//! Must stay true: a dialect that cannot be compiled is refused at the check of the config, with
//! its line and a reason; what a client sent is a value in an answer and never a part of its
//! structure; a dialect never gives a token that says what menshen's own claims say.

mod action;
mod builtin;
mod compile;
mod error_template;
mod input;
mod language;
mod mint;
mod placeholder;
mod template;
#[cfg(test)]
mod tests;
mod text;
mod token_profile;
mod user_values;

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, Method, StatusCode};

pub use action::ACCESS_TOKEN;
pub use builtin::source;
pub use error_template::{DialectRejection, InvalidField, RenderedResponse};
pub use input::{Check, InputLocation, InputLocations};
pub use mint::MintClaims;
pub use placeholder::{Placeholder, PlaceholderSource, PlaceholderValue};
pub use token_profile::TokenProfile;
pub use user_values::{UserFormat, UserValues, national};

use crate::{
    config::{Config, DialectAction, Language, TokenConfig},
    policy::{LocalRoutes, is_under},
    token::Lifetimes,
};
use error_template::ErrorTemplate;
use template::Template;
use text::Text;

/// All dialects of a config.
#[derive(Debug, Clone, Default)]
pub struct Dialects {
    all: Vec<Dialect>,
    /// Where the auth API is, which has a shape of its own.
    auth_prefix: String,
}

/// One dialect, ready to be spoken.
#[derive(Debug, Clone)]
pub struct Dialect {
    /// Empty, or a path without a slash at its end.
    pub prefix: String,
    pub bare_token: bool,
    pub routes: Vec<Route>,
    pub token_profile: std::sync::Arc<TokenProfile>,
    errors: Vec<ErrorTemplate>,
    /// By wire code or finer one.
    messages: BTreeMap<String, Text>,
    language: Language,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    pub method: Method,
    /// The whole path.
    pub path: String,
    pub action: DialectAction,
    /// Where each input is, by the name that the auth API has for it.
    pub inputs: BTreeMap<String, InputLocations>,
    pub checks: Vec<Check>,
    pub profile_is_newer: bool,
    pub rotates: bool,
    /// Its place among the routes of the config, for what is said of it.
    number: usize,
    status: StatusCode,
    headers: Vec<(HeaderName, Text)>,
    body: Option<Template>,
    errors: Vec<ErrorTemplate>,
}

/// What is wrong with a dialect: the key and what to say of it.
pub type DialectProblems = Vec<(String, String)>;

impl Dialects {
    /// Compiles all dialects of a config; reports every problem at once.
    pub fn compile(config: &Config) -> Result<Self, DialectProblems> {
        compile::all(config).map(|all| Self {
            all,
            auth_prefix: config.auth.prefix.clone(),
        })
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Dialect> {
        self.all.iter()
    }

    /// The one whose shape refusals on this path have: that with the longest prefix, unless the
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

    /// What the gate has to know: which requests are answered here, and where a token may stand
    /// alone.
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
        }
    }

    /// How long tokens live over all dialects.
    pub fn lifetimes(&self, tokens: &TokenConfig) -> Lifetimes {
        let plain = Lifetimes::of(tokens);
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

impl Route {
    /// The answer to a success.
    pub fn render(&self, from: &impl PlaceholderSource) -> RenderedResponse {
        let all = SuccessValues {
            status: self.status,
            from,
        };
        RenderedResponse {
            status: self.status,
            headers: error_template::fill_headers(&self.headers, &all),
            body: self
                .body
                .as_ref()
                .map_or_else(Vec::new, |body| body.fill(&all)),
        }
    }
}

/// The places of a success, its status among them.
struct SuccessValues<'a, S> {
    status: StatusCode,
    from: &'a S,
}

impl<S: PlaceholderSource> PlaceholderSource for SuccessValues<'_, S> {
    fn get(&self, placeholder: Placeholder) -> PlaceholderValue<'_> {
        match placeholder {
            Placeholder::Status => PlaceholderValue::Number(self.status.as_u16().into()),
            Placeholder::Reason => PlaceholderValue::text(self.status.canonical_reason()),
            other => self.from.get(other),
        }
    }
}
