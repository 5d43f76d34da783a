//! The last events of the audit log.

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    error_page::error_page,
    page::{Section, page as framed, time},
    page_context::PageContext,
    redact,
    state::SharedConsole,
};
use crate::telemetry::AuditLine;

/// Events in the list.
const MAX_ROWS: usize = 200;

/// Which events to show.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    event: String,
    /// The whole id of a user.
    person: String,
}

pub(super) async fn page(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Response {
    let texts = context.texts();
    let Ok(Query(filter)) = filter else {
        return error_page(&context, StatusCode::BAD_REQUEST, texts.form_is_unreadable);
    };
    let (event, person) = (filter.event.trim(), filter.person.trim());
    let events = console.parts.recent.audit_lines();
    let mut names: Vec<_> = events.iter().map(|line| line.event.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let is_wanted = |line: &&AuditLine| {
        (event.is_empty() || line.event == event)
            && (person.is_empty()
                || ["user", "gone"]
                    .iter()
                    .any(|name| line.field(name) == Some(person)))
    };
    let shown: Vec<_> = events.iter().filter(is_wanted).take(MAX_ROWS).collect();
    let body = html! {
        h1 { (texts.audit) }
        form.search method="get" action="/console/audit" role="search" {
            p.field {
                label for="event" { (texts.event) }
                select id="event" name="event" {
                    option value="" { (texts.all) }
                    @for name in names { option value=(name) selected[name == event] { (name) } }
                }
            }
            p.field.grow {
                label for="person" { (texts.user_id) }
                input id="person" name="person" value=(person) autocomplete="off" spellcheck="false" maxlength="200";
            }
            button type="submit" { (texts.filter) }
        }
        section.card aria-labelledby="events" {
            h2 id="events" { (texts.last_events) }
            @if shown.is_empty() { p.empty { (texts.no_events) } } @else {
                div.scroll.tall tabindex="0" role="region" aria-labelledby="events" {
                    table.stack {
                        thead { tr {
                            th scope="col" { (texts.time) }
                            th scope="col" { (texts.event) }
                            th scope="col" { (texts.person) }
                            th scope="col" { (texts.details) }
                        } }
                        tbody { @for line in shown { (row(line, person)) } }
                    }
                }
            }
            p.hint { (texts.events_are_in_the_log) }
        }
    };
    framed(&context, Section::Audit, texts.audit, &body).into_response()
}

fn row(line: &AuditLine, person: &str) -> Markup {
    // The id that was asked for is known already.
    let shown = |id: &str| {
        if id == person {
            id.to_owned()
        } else {
            redact::user_id(id)
        }
    };
    html! {
        tr {
            td.time { (time(&line.at)) }
            th scope="row" { code { (line.event) } }
            td { @if let Some(user) = line.field("user") { code { (shown(user)) } } }
            td.details {
                @for (name, value) in line.fields.iter().filter(|(name, _)| name != "user") {
                    span.pair {
                        span.name { (name) } " "
                        @match name.as_str() {
                            "client_ip" => code { (redact::address(value)) },
                            "session" | "gone" => code { (shown(value)) },
                            _ => code { (value) },
                        }
                    }
                }
            }
        }
    }
}
