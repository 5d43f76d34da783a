//! The console: pages for operators, under `/console` of the admin listener, where there is an
//! admin token.
//!
//! HTML that the server renders, one style sheet, and a script without which all pages work. Acts
//! are the same operations as those of the admin API.
//!
//! Must stay true: nothing here is on the way of a proxied request; figures come from the counters,
//! the last requests from the thread that writes the log. No page of another origin can act:
//! `guard` checks `Host`, `Origin` and the session, `form` the token of the form.

mod alarm;
mod alarm_texts;
mod assets;
mod audit;
mod chart;
mod config;
mod error_page;
mod events;
mod explain;
mod figures;
mod file_keys;
mod form;
mod guard;
mod keys;
mod language;
mod memory;
mod now;
mod origin;
mod page;
mod page_context;
mod people;
mod person;
mod redact;
mod replicas;
mod samples;
mod sessions;
mod sign_in;
mod sign_in_limit;
mod state;
mod tables;
#[cfg(test)]
mod tests;
mod texts;
mod why;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    response::Redirect,
    routing::{get, post},
};

pub use language::Language;
pub use memory::{ConsoleMemory, LastReload, SeenReplicas};
pub use origin::{Authority, SECURITY_HEADERS, authority, cookie, is_own_name, is_same_origin};
pub use state::{Console, ConsoleParts};

use crate::admin::run_to_completion;

/// Longest body of a form, in bytes.
const MAX_FORM_LEN: usize = 16 * 1024;
/// Longest body with a config to check, in bytes as a form encodes it.
const MAX_CONFIG_LEN: usize = 512 * 1024;

/// The routes.
pub fn router(console: Console) -> Router {
    let console = Arc::new(console);
    let pages = Router::new()
        .route("/console", get(now::page))
        .route("/console/events", get(events::stream))
        .route("/console/why", get(why::page))
        .route("/console/why/explain", post(explain::explain))
        .route("/console/people", get(people::page))
        .route("/console/people/find", post(people::find))
        .route("/console/people/{id}", get(person::page))
        .route(
            "/console/people/{id}/delete",
            get(person::confirm_deletion).post(person::delete),
        )
        .route("/console/people/{id}/{act}", post(person::act))
        .route(
            "/console/people/{id}/sessions/{session}/end",
            post(person::end_session),
        )
        .route("/console/audit", get(audit::page))
        .route("/console/config", get(config::page))
        .route("/console/keys", get(keys::page))
        .route(
            "/console/keys/rotate",
            get(keys::confirm).post(keys::rotate),
        )
        .route("/console/sign-out", post(sign_in::sign_out))
        .route("/console/{*rest}", get(error_page::not_found))
        .layer(DefaultBodyLimit::max(MAX_FORM_LEN))
        .merge(
            Router::new()
                .route("/console/config/check", post(config::check))
                .layer(DefaultBodyLimit::max(MAX_CONFIG_LEN)),
        )
        .route_layer(middleware::from_fn_with_state(
            console.clone(),
            guard::require_session,
        ));
    Router::new()
        .route("/console/", get(async || Redirect::permanent("/console")))
        .route("/console/style.css", get(assets::style))
        .route("/console/console.js", get(assets::script))
        .route("/console/icon.svg", get(assets::icon))
        .route(
            "/console/sign-in",
            post(sign_in::sign_in).get(async || Redirect::to("/console")),
        )
        .layer(DefaultBodyLimit::max(MAX_FORM_LEN))
        .merge(pages)
        .layer(middleware::from_fn(run_to_completion))
        .layer(middleware::from_fn_with_state(
            console.clone(),
            guard::guard,
        ))
        .with_state(console)
}
