//! Why a request was refused: the last ones that ended with an error, and the form of `explain`.

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
    explain::explain_form,
    page::{Section, fact, page as framed, time},
    page_context::PageContext,
    redact,
    state::SharedConsole,
    texts::Texts,
};
use crate::{error::ErrorCode, telemetry::FailedRequest};

/// Requests in the list.
const MAX_ROWS: usize = 100;

/// Which requests to show. `lang` is read elsewhere.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    id: String,
    code: String,
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
    let requests = console.parts.recent.failed_requests();
    let id = filter.id.trim();
    let body = html! {
        h1 { (texts.why) }
        form.search method="get" action="/console/why" role="search" {
            label for="id" { (texts.request_id) }
            input id="id" name="id" value=(id) autocomplete="off" spellcheck="false" maxlength="200";
            button type="submit" { (texts.search) }
            a href="#explain" { (texts.explain_link) }
        }
        @if id.is_empty() {
            (recent(&requests, filter.code.trim(), &context))
        } @else {
            (found(&requests, id, &context))
        }
        section.card aria-labelledby="explain" {
            h2 id="explain" { (texts.explain) }
            p.lead { (texts.explain_lead) }
            (explain_form(&context, "GET", "/"))
        }
        @if !console.parts.config.telemetry.access_log {
            p.notice { (texts.access_log_is_off) }
        }
    };
    framed(&context, Section::Why, texts.why, &body).into_response()
}

/// The code of the error, or of the one that report-only mode did not enforce.
fn code(request: &FailedRequest) -> &str {
    let code = request.error.as_ref().or(request.would_refuse.as_ref());
    code.map_or("", String::as_str)
}

fn recent(requests: &[FailedRequest], wanted: &str, context: &PageContext) -> Markup {
    let texts = context.texts();
    let mut codes: Vec<_> = requests.iter().map(code).collect();
    codes.sort_unstable();
    codes.dedup();
    let shown = requests
        .iter()
        .filter(|request| wanted.is_empty() || code(request) == wanted)
        .take(MAX_ROWS);
    html! {
        section.card aria-labelledby="refusals" {
            h2 id="refusals" { (texts.last_refusals) }
            @if requests.is_empty() { p.empty { (texts.no_refusals) } } @else {
                p.filters {
                    a href="/console/why" aria-current=[wanted.is_empty().then_some("true")] { (texts.all) }
                    @for code in codes {
                        a href={ "/console/why?code=" (code) } aria-current=[(code == wanted).then_some("true")] { (code) }
                    }
                }
                div.scroll.tall tabindex="0" role="region" aria-labelledby="refusals" {
                    table.stack {
                        thead { tr {
                            th scope="col" { (texts.time) }
                            th scope="col" { (texts.code) }
                            th scope="col" { (texts.request) }
                            th scope="col" { (texts.rule) }
                            th scope="col" { (texts.network) }
                            th scope="col" { (texts.request_id) }
                        } }
                        tbody { @for request in shown { (row(request, texts)) } }
                    }
                }
            }
        }
    }
}

fn row(request: &FailedRequest, texts: &Texts) -> Markup {
    let id = percent_encoding::utf8_percent_encode(
        &request.request_id,
        percent_encoding::NON_ALPHANUMERIC,
    );
    html! {
        tr {
            td.time { (time(&request.at)) }
            td { span.status { (request.status) } " " code { (code(request)) } }
            td { code.path { (request.method) " " (redact::path(&request.path)) } }
            td data-label=(texts.rule) { (request.rule) }
            td data-label=(texts.network) { code { (redact::address(&request.client_ip)) } }
            td data-label=(texts.request_id) { a href={ "/console/why?id=" (id) } { code { (request.request_id) } } }
        }
    }
}

fn found(requests: &[FailedRequest], id: &str, context: &PageContext) -> Markup {
    let texts = context.texts();
    let found: Vec<_> = requests
        .iter()
        .filter(|request| request.request_id == id)
        .collect();
    html! {
        p { a href="/console/why" { "← " (texts.last_refusals) } }
        @if found.is_empty() { p.notice role="status" { (texts.request_not_found) } }
        @for request in found { (details(request, context)) }
    }
}

fn details(request: &FailedRequest, context: &PageContext) -> Markup {
    let texts = context.texts();
    let code = code(request);
    let known = ErrorCode::ALL
        .into_iter()
        .find(|known| known.as_str() == code);
    html! {
        section.card {
            h2 { span.status { (request.status) } " " code { (code) } }
            @if let Some(known) = known { p.lead lang="en" { (known.detail()) } }
            @if request.error.is_none() { p.notice { (texts.was_not_enforced) } }
            dl.facts {
                (fact(texts.time, &time(&request.at)))
                (fact(texts.request, &html! { code.path { (request.method) " " (redact::path(&request.path)) } }))
                (fact(texts.rule, &html! { (request.rule) }))
                (fact(texts.decision, &html! { code { (request.decision) } }))
                (fact(texts.network, &html! { code { (redact::address(&request.client_ip)) } }))
                (fact(texts.person, &html! { @match &request.user { Some(user) => code { (redact::user_id(user)) }, None => "–" } }))
                (fact(texts.request_id, &html! { code { (request.request_id) } }))
            }
            h3 { (texts.explain_this) }
            (explain_form(context, &request.method, &redact::path(&request.path)))
        }
    }
}
