//! A compiled dialect: its routes, and how it renders their results and all rejections.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderName, Method, StatusCode};

use super::{
    chinese_messages::chinese_message,
    error_template::{self, DialectRejection, ErrorTemplate, RejectionValues, RenderedResponse},
    input::{Check, InputLocations},
    placeholder::{Placeholder, PlaceholderSource, PlaceholderValue},
    template::Template,
    text::Text,
    token_profile::TokenProfile,
};
use crate::config::{DialectAction, Language};

/// One dialect, compiled.
#[derive(Debug, Clone)]
pub struct Dialect {
    /// Empty, or a path without a slash at its end.
    pub prefix: String,
    pub bare_token: bool,
    /// The header that may carry a token. `None`: that of the gate.
    pub token_header: Option<HeaderName>,
    pub routes: Vec<Route>,
    pub token_profile: Arc<TokenProfile>,
    pub(super) errors: Vec<ErrorTemplate>,
    /// By error code or subcode.
    pub(super) messages: BTreeMap<String, Text>,
    pub(super) language: Language,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    pub method: Method,
    /// The whole path.
    pub path: String,
    pub action: DialectAction,
    /// The locations of each input, by the auth API's name.
    pub inputs: BTreeMap<String, InputLocations>,
    pub checks: Vec<Check>,
    pub replaces_profile: bool,
    pub rotates: bool,
    /// Index among the routes of the config, for problems.
    pub(super) number: usize,
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, Text)>,
    pub(super) body: Option<Template>,
    pub(super) errors: Vec<ErrorTemplate>,
}

/// What is wrong with a dialect: a key and a message for each problem.
pub type DialectProblems = Vec<(String, String)>;

impl Dialect {
    /// A rejection on any path under the prefix; `route`: by the error templates of that route
    /// first.
    pub fn render_error(
        &self,
        route: Option<usize>,
        rejection: &DialectRejection<'_>,
    ) -> RenderedResponse {
        let own = route
            .and_then(|n| self.routes.get(n))
            .map_or(&[][..], |route| &route.errors);
        let Some(template) = own
            .iter()
            .chain(&self.errors)
            .find(|template| template.fits(rejection))
        else {
            // The check of the config requires a template for every code.
            return RenderedResponse {
                status: rejection.status,
                headers: Vec::new(),
                body: Vec::new(),
            };
        };
        let values = RejectionValues {
            rejection,
            status: template.status.unwrap_or(rejection.status),
            message: self.message(rejection),
            item: template.item.as_ref(),
        };
        RenderedResponse {
            status: values.status,
            headers: error_template::render_headers(&template.headers, &values),
            body: template.body.render(&values),
        }
    }

    fn message(&self, rejection: &DialectRejection<'_>) -> String {
        // The message of the subcode comes before that of the error code.
        let subcode = rejection
            .subcode
            .and_then(|subcode| self.messages.get(subcode));
        match subcode.or_else(|| self.messages.get(rejection.code.as_str())) {
            Some(text) => text.render(&RejectionValues {
                rejection,
                status: rejection.status,
                message: String::new(),
                item: None,
            }),
            None => match self.language {
                Language::En => rejection.detail.to_owned(),
                Language::Zh => chinese_message(rejection.code).to_owned(),
            },
        }
    }
}

impl Route {
    /// The response to a success.
    pub fn render(&self, from: &impl PlaceholderSource) -> RenderedResponse {
        let all = RouteValues {
            status: self.status,
            from,
        };
        RenderedResponse {
            status: self.status,
            headers: error_template::render_headers(&self.headers, &all),
            body: self
                .body
                .as_ref()
                .map_or_else(Vec::new, |body| body.render(&all)),
        }
    }
}

/// The values of a success, with its status.
struct RouteValues<'a, S> {
    status: StatusCode,
    from: &'a S,
}

impl<S: PlaceholderSource> PlaceholderSource for RouteValues<'_, S> {
    fn get(&self, placeholder: Placeholder) -> PlaceholderValue<'_> {
        match placeholder {
            Placeholder::Status => PlaceholderValue::Number(self.status.as_u16().into()),
            Placeholder::Reason => PlaceholderValue::text(self.status.canonical_reason()),
            other => self.from.get(other),
        }
    }
}
