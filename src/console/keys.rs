//! The signing keys, and their rotation.

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{Html, IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    error_page::error_page,
    form::SessionForm,
    page::{Section, fact, page as framed, time, token_field},
    page_context::PageContext,
    person::Confirmation,
    state::{Console, SharedConsole},
    tables::duration,
};
use crate::{
    admin::keys::{Keys, rotate_signing_key},
    audit::Actor,
    token::KeyringError,
    types::Timestamp,
};

/// What was just done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Done {
    done: String,
}

pub(super) async fn page(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    done: Result<Query<Done>, QueryRejection>,
) -> Html<String> {
    let texts = context.texts();
    let is_rotated = done.is_ok_and(|Query(done)| done.done == "rotated");
    let body = html! {
        h1 { (texts.keys) }
        @if is_rotated { p.notice.good role="status" { (texts.key_was_rotated) } }
        (key_table(&console, &context).await)
        p { a.button href="/console/keys/rotate" { (texts.rotate) } }
        p.hint { (texts.rotate_hint) }
    };
    framed(&context, Section::Keys, texts.keys, &body)
}

async fn key_table(console: &Console, context: &PageContext) -> Markup {
    let (admin, texts) = (&console.parts.admin, context.texts());
    let keys = Keys::from_keyrings(&admin.keyrings);
    // Keys of the config have no dates.
    let stored = admin.store.keys().await.unwrap_or_default();
    let now = admin.clock.now();
    let signs_from = |kid: &str| -> Option<Timestamp> {
        let key = stored.iter().find(|key| key.kid == kid)?;
        Some(key.signs_from)
    };
    html! {
        section.card aria-labelledby="signing" {
            h2 id="signing" { (texts.signing_keys) }
            dl.facts { (fact(texts.algorithm, &html! { code { (keys.algorithm) } })) }
            div.scroll tabindex="0" role="region" aria-labelledby="signing" {
                table.stack {
                    thead { tr {
                        th scope="col" { (texts.key_id) }
                        th scope="col" { (texts.used_for) }
                        th scope="col" { (texts.signs_from) }
                        th scope="col" { (texts.age) }
                    } }
                    tbody {
                        @for kid in &keys.verifying {
                            @let from = signs_from(kid);
                            tr {
                                th scope="row" { code { (kid) } }
                                td {
                                    @if *kid == keys.signing { span.tag.good { (texts.signs_and_verifies) } }
                                    @else if keys.next.as_ref().is_some_and(|next| next.kid == *kid) { span.tag { (texts.signs_next) } }
                                    @else { span.tag { (texts.verifies) } }
                                }
                                td.time data-label=(texts.signs_from) { @match from { Some(from) => (time(&from.rfc3339())), None => "–" } }
                                td data-label=(texts.age) { @match from.filter(|from| *from <= now) { Some(from) => (duration(now.since(from).as_secs_f64())), None => "–" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The second question before a rotation.
pub(super) async fn confirm(Extension(context): Extension<PageContext>) -> Response {
    question(&context, StatusCode::OK)
}

fn question(context: &PageContext, status: StatusCode) -> Response {
    let texts = context.texts();
    let body = html! {
        h1 { (texts.rotate_question) }
        section.card {
            p.lead { (texts.rotate_consequences) }
            form method="post" action="/console/keys/rotate" {
                (token_field(context))
                label.check { input type="checkbox" name="confirm" value="yes" required; span { (texts.rotate_confirm) } }
                p.buttons {
                    button type="submit" { (texts.rotate_now) }
                    a.button.quiet href="/console/keys" { (texts.cancel) }
                }
            }
        }
    };
    (
        status,
        framed(context, Section::Keys, texts.rotate_question, &body),
    )
        .into_response()
}

pub(super) async fn rotate(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    SessionForm(confirmation): SessionForm<Confirmation>,
) -> Response {
    let texts = context.texts();
    if !confirmation.is_given() {
        return question(&context, StatusCode::BAD_REQUEST);
    }
    match rotate_signing_key(&console.parts.admin, Actor::Console).await {
        Ok(_) => Redirect::to("/console/keys?done=rotated").into_response(),
        Err(KeyringError::NotOurs) => {
            error_page(&context, StatusCode::CONFLICT, texts.keys_are_of_the_config)
        }
        Err(error) => {
            tracing::error!(error = %error, "the console failed: {error}");
            error_page(
                &context,
                StatusCode::SERVICE_UNAVAILABLE,
                texts.store_failed,
            )
        }
    }
}
