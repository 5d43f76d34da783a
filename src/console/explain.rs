//! The form of `explain`, and what the gate does with the request that was written into it.
//!
//! Must stay true: the page repeats no token, no header of the form and no query.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use axum::{
    Extension,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    error_page::error_page,
    form::SessionForm,
    page::{Section, fact, page as framed, time, token_field},
    page_context::PageContext,
    redact,
    state::SharedConsole,
    texts::Texts,
};
use crate::{
    config::SecretText,
    explain::{Explanation, HeaderNote, WrittenRequest, explain as decide},
    types::{Malformed, Phone},
};

/// A request, as the form has it.
#[derive(Deserialize)]
#[serde(default)]
pub(super) struct RequestForm {
    method: String,
    path: String,
    token: SecretText,
    /// One on each line.
    headers: SecretText,
    from: String,
}

impl Default for RequestForm {
    fn default() -> Self {
        Self {
            method: String::new(),
            path: String::new(),
            token: SecretText::new(String::new()),
            headers: SecretText::new(String::new()),
            from: String::new(),
        }
    }
}

/// The form, with these values in it.
pub(super) fn explain_form(context: &PageContext, method: &str, path: &str) -> Markup {
    let texts = context.texts();
    html! {
        form.explain method="post" action="/console/why/explain" {
            (token_field(context))
            div.row {
                p.field.method {
                    label for="method" { (texts.http_method) }
                    input id="method" name="method" value=(method) required maxlength="20" spellcheck="false" autocapitalize="characters";
                }
                p.field.grow {
                    label for="path" { (texts.path) }
                    input id="path" name="path" value=(path) required maxlength="8000" spellcheck="false" autocomplete="off";
                }
            }
            details {
                summary { (texts.explain_more) }
                p.field {
                    label for="access-token" { (texts.access_token) }
                    input id="access-token" name="token" type="password" autocomplete="off" maxlength="8000" spellcheck="false" aria-describedby="access-token-hint";
                }
                p.hint id="access-token-hint" { (texts.access_token_hint) }
                p.field {
                    label for="headers" { (texts.headers) }
                    textarea id="headers" name="headers" rows="3" spellcheck="false" placeholder="Origin: https://shop.example" {}
                }
                p.field {
                    label for="from" { (texts.peer) }
                    input id="from" name="from" placeholder="127.0.0.1" autocomplete="off" spellcheck="false" maxlength="45";
                }
            }
            button type="submit" { (texts.explain) }
        }
    }
}

pub(super) async fn explain(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    SessionForm(form): SessionForm<RequestForm>,
) -> Response {
    let texts = context.texts();
    let from = match form.from.trim() {
        "" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        text => text.parse(),
    };
    let Ok(from) = from else {
        return error_page(&context, StatusCode::BAD_REQUEST, texts.no_address);
    };
    let lines = form.headers.expose().lines().map(str::trim);
    let headers: Vec<_> = lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    let token = form.token.expose().trim();
    let written = WrittenRequest {
        method: form.method.trim(),
        target: form.path.trim(),
        headers: &headers,
        token: (!token.is_empty()).then_some(token),
    };
    let head = match written.head() {
        Ok(head) => head,
        Err(Malformed(message)) => return error_page(&context, StatusCode::BAD_REQUEST, message),
    };
    let parts = &console.parts;
    let now = parts.admin.clock.now();
    let explanation = decide(&parts.gate, &parts.config, head.expose(), Some(from), now);
    let body = html! {
        h1 { (texts.explain) }
        p { a href="/console/why" { "← " (texts.why) } }
        (result(&explanation, &parts.config.identity.headers, texts))
        section.card {
            h2 { (texts.explain_another) }
            (explain_form(&context, &explanation.method, &redact::path(&explanation.path)))
        }
    };
    framed(&context, Section::Why, texts.explain, &body).into_response()
}

/// The claim of each identity header, as `identity.headers` has them.
type HeaderClaims = BTreeMap<String, String>;

fn result(explanation: &Explanation, claims: &HeaderClaims, texts: &Texts) -> Markup {
    let outcome = match explanation.outcome {
        "forwarded" => texts.outcome_forwarded,
        "answered" => texts.outcome_answered,
        "preflight" => texts.outcome_preflight,
        "verified" => texts.outcome_verified,
        _ => texts.outcome_refused,
    };
    html! {
        section.card.result {
            h2 class=(if explanation.passes { "good" } else { "bad" }) {
                span.mark aria-hidden="true" { (if explanation.passes { "✓" } else { "!" }) }
                (outcome)
                @if let (Some(status), Some(code)) = (explanation.status, explanation.code) {
                    " " span.status { (status) } " " code { (code) }
                }
            }
            @if let Some(detail) = &explanation.detail { p.lead lang="en" { (without_user(detail, explanation)) } }
            @if let Some(code) = explanation.would_refuse { p.notice { (texts.was_not_enforced) " " code { (code) } } }
            dl.facts {
                (fact(texts.request, &html! { code.path { (explanation.method) " " (redact::path(&explanation.path)) } }))
                (fact(texts.head, &html! { span lang="en" { (explanation.head) } }))
                @if let Some(reading) = &explanation.path_reading { (fact(texts.path, &html! { span lang="en" { (reading) } })) }
                (fact(texts.rule, &html! { (explanation.rule.as_deref().unwrap_or("–")) }))
                @if let Some(asks) = &explanation.asks { (fact(texts.rule_asks, &html! { span lang="en" { (asks) } })) }
                (fact(texts.access_token, &token(explanation, texts)))
            }
            @if !explanation.rules.is_empty() {
                h3 { (texts.rules) }
                ol.rules {
                    @for rule in &explanation.rules {
                        li aria-current=[rule.decides.then_some("true")] {
                            strong { (rule.name) } " " span lang="en" { (rule.why) }
                        }
                    }
                }
            }
            (headers(texts.backend_gets, &explanation.backend_gets, claims))
            (headers(texts.stripped, &explanation.stripped, claims))
        }
    }
}

fn token(explanation: &Explanation, texts: &Texts) -> Markup {
    let token = &explanation.token;
    let state = match token.state {
        "none" => texts.token_none,
        "valid" => texts.token_valid,
        "malformed" => texts.token_malformed,
        code => code,
    };
    html! {
        (state)
        @if let Some(user) = &token.user { ", " (texts.person) " " code { (redact::user_id(user)) } }
        @if let Some(user_type) = &token.user_type { ", " code { (user_type) } }
        @if !token.roles.is_empty() { ", " (token.roles.join(", ")) }
        @if let Some(issuer) = &token.issuer { ", " (issuer) }
        @if let Some(expires) = &token.expires { ", " (texts.until) " " (time(expires)) }
        @if let Some(why) = &token.why { ": " span lang="en" { (why) } }
    }
}

fn headers(title: &str, notes: &[HeaderNote], claims: &HeaderClaims) -> Markup {
    html! {
        @if !notes.is_empty() {
            h3 { (title) }
            dl.facts.headers {
                @for note in notes { (fact(&note.name, &html! { span lang="en" { (shown(note, claims)) } })) }
            }
        }
    }
}

/// A text with the end of the user's id in place of the id.
fn without_user(text: &str, explanation: &Explanation) -> String {
    match &explanation.token.user {
        Some(user) => text.replace(user, &redact::user_id(user)),
        None => text.to_owned(),
    }
}

/// The value of a header without what is personal: ids, a nickname, a phone.
fn shown(note: &HeaderNote, claims: &HeaderClaims) -> String {
    let name = note.name.to_ascii_lowercase();
    let claim = claims
        .iter()
        .find(|(header, _)| header.eq_ignore_ascii_case(&name))
        .map(|(_, claim)| claim.as_str());
    if matches!(
        claim,
        Some("sub" | "sid" | "openid" | "unionid" | "nickname")
    ) || name.contains("user-id")
        || name.contains("session-id")
    {
        return redact::user_id(&note.value);
    }
    match Phone::parse_any(&note.value) {
        Ok(phone) => phone.masked(),
        Err(_) => note.value.clone(),
    }
}
