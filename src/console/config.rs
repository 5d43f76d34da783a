//! The config in use, the outcome of the last reload, and a check of a config that is not applied.

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    response::Html,
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    file_keys::unknown_files,
    form::SessionForm,
    memory::{LastReload, ReloadState},
    page::{Section, page as framed, time, token_field},
    page_context::PageContext,
    state::{Console, SharedConsole},
};
use crate::config::{SecretText, ValueInForce};

/// Most problems of a config that a page lists.
const MAX_PROBLEMS: usize = 100;

/// Which values to show.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    /// The defaults too.
    all: Option<String>,
}

/// A config to check.
#[derive(Deserialize)]
pub(super) struct PastedConfig {
    config: SecretText,
}

pub(super) async fn page(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    shown: Result<Query<Shown>, QueryRejection>,
) -> Html<String> {
    let texts = context.texts();
    let with_defaults = shown.is_ok_and(|Query(shown)| shown.all.is_some());
    let reload = console.parts.memory.reload_state();
    let body = html! {
        h1 { (texts.config) }
        (last_reload(&reload, &context))
        (values(&console.parts.values, with_defaults, &context))
        (check_form(&context))
    };
    framed(&context, Section::Config, texts.config, &body)
}

fn last_reload(reload: &ReloadState, context: &PageContext) -> Markup {
    let texts = context.texts();
    html! {
        section.card aria-labelledby="reload" {
            h2 id="reload" { (texts.last_reload) }
            p { (texts.config_generation) " " strong { (reload.generation) } ", " (texts.since) " " (time(&reload.since.rfc3339())) "." }
            @match &reload.last {
                None => p.empty { (texts.no_reload) },
                Some(LastReload::Applied { at, restart_keys }) => {
                    p.notice.good { (texts.reload_applied) " " (time(&at.rfc3339())) }
                    @if !restart_keys.is_empty() {
                        p.notice { (texts.needs_restart) " " @for key in restart_keys { code { (key) } " " } }
                    }
                },
                Some(LastReload::Refused { at, why, problems }) => {
                    p.notice.bad role="alert" { (texts.reload_refused) " " (time(&at.rfc3339())) ": " span lang="en" { (why) } }
                    (problem_list(problems))
                },
            }
        }
    }
}

fn problem_list(problems: &[String]) -> Markup {
    html! {
        ul.problems lang="en" { @for problem in problems { li { code { (problem) } } } }
    }
}

fn values(values: &[ValueInForce], with_defaults: bool, context: &PageContext) -> Markup {
    let texts = context.texts();
    let shown = values
        .iter()
        .filter(|value| with_defaults || value.origin.is_some());
    html! {
        section.card aria-labelledby="values" {
            h2 id="values" { (texts.in_force) }
            p.filters {
                a href="/console/config" aria-current=[(!with_defaults).then_some("true")] { (texts.only_set) }
                a href="/console/config?all=yes" aria-current=[with_defaults.then_some("true")] { (texts.with_defaults) }
            }
            div.scroll.tall tabindex="0" role="region" aria-labelledby="values" {
                table.config.stack {
                    thead { tr {
                        th scope="col" { (texts.key) }
                        th scope="col" { (texts.value) }
                        th scope="col" { (texts.origin) }
                    } }
                    tbody {
                        @for value in shown {
                            tr {
                                th scope="row" { code { (value.key) } }
                                td { code.value { (value.value) } }
                                td { @match &value.origin { Some(origin) => code { (origin) }, None => span.quiet { (texts.default) } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn check_form(context: &PageContext) -> Markup {
    let texts = context.texts();
    html! {
        section.card aria-labelledby="check" {
            h2 id="check" { (texts.check_config) }
            p.lead { (texts.check_config_lead) }
            form method="post" action="/console/config/check" {
                (token_field(context))
                label for="config" { "config.toml" }
                textarea id="config" name="config" rows="12" required spellcheck="false" autocomplete="off" {}
                button type="submit" { (texts.check) }
            }
        }
    }
}

/// The warnings of a config, or what is wrong with it; at most [`MAX_PROBLEMS`] of either.
fn problems_of(console: &Console, text: &str) -> Result<Vec<String>, Vec<String>> {
    let unknown = unknown_files(text, &console.parts.values);
    if !unknown.is_empty() {
        let not_read = |key| {
            format!(
                "{key}: the config in use does not name this file, so it is not read here; `menshen check` reads it"
            )
        };
        return Err(unknown
            .into_iter()
            .take(MAX_PROBLEMS)
            .map(not_read)
            .collect());
    }
    match (console.parts.check)(text) {
        Ok(loaded) => Ok(loaded
            .warnings
            .iter()
            .take(MAX_PROBLEMS)
            .map(ToString::to_string)
            .collect()),
        Err(problems) => Err(problems
            .iter()
            .take(MAX_PROBLEMS)
            .map(ToString::to_string)
            .collect()),
    }
}

pub(super) async fn check(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    SessionForm(PastedConfig { config }): SessionForm<PastedConfig>,
) -> Html<String> {
    let texts = context.texts();
    let one_at_a_time = console.checks.clone().acquire_owned().await;
    // It reads the files that the config names.
    let checked = tokio::task::spawn_blocking(move || {
        let _one_at_a_time = one_at_a_time;
        problems_of(&console, config.expose())
    });
    let checked: Result<Vec<String>, Vec<String>> = checked
        .await
        .unwrap_or_else(|error| Err(vec![error.to_string()]));
    let body = html! {
        h1 { (texts.check_config) }
        p { a href="/console/config" { "← " (texts.config) } }
        section.card {
            @match &checked {
                Ok(warnings) => {
                    p.notice.good role="status" { (texts.config_is_valid) }
                    @if !warnings.is_empty() { h2 { (texts.warnings) } (problem_list(warnings)) }
                },
                Err(problems) => {
                    p.notice.bad role="alert" { (texts.config_is_invalid) " " (problems.len()) }
                    (problem_list(problems))
                },
            }
        }
        (check_form(&context))
    };
    framed(&context, Section::Config, texts.check_config, &body)
}
