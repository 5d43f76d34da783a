//! The page of a person who was found exactly, and what an operator can do there.
//!
//! Must stay true: each look is an event of the audit log, and each act too.

use axum::{
    Extension,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    error_page::{error_page, operation_failed},
    form::SessionForm,
    page::{Section, fact, page as framed, time, token_field},
    page_context::PageContext,
    sign_in::Nothing,
    state::SharedConsole,
};
use crate::{
    audit::{Actor, Event},
    auth::AdministrationError,
    store::{Identities, RightsChange, Session},
    types::{SessionId, UserId},
};

/// What was just done, for the page after it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Done {
    done: String,
    /// Sessions that it ended.
    ended: usize,
}

/// The answer to the second question.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Confirmation {
    confirm: String,
}

impl Confirmation {
    /// The box was ticked.
    pub(super) fn is_given(&self) -> bool {
        self.confirm == "yes"
    }
}

pub(super) async fn page(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    Path(id): Path<String>,
    done: Result<Query<Done>, QueryRejection>,
) -> Response {
    let (admin, texts) = (&console.parts.admin, context.texts());
    let Ok(id) = UserId::parse(&id) else {
        return error_page(&context, StatusCode::NOT_FOUND, texts.no_such_person);
    };
    let found = async {
        let found = admin.administration.user(&id).await?;
        Ok::<_, AdministrationError>((found, admin.administration.sessions(&id).await?))
    };
    let (found, sessions) = match found.await {
        Ok(found) => found,
        Err(error) => return operation_failed(&context, &error),
    };
    admin.audit.record(&Event::AccountShown {
        user: &found.user.id,
        by: Actor::Console,
    });
    let done = done.map(|Query(done)| done).unwrap_or_default();
    let body = html! {
        p { a href="/console/people" { "← " (texts.people) } }
        h1 { (name(&found)) @if found.user.disabled { " " span.tag.bad { (texts.banned) } } }
        @if let Some(message) = message(&done, &context) { p.notice.good role="status" { (message) } }
        div.columns {
            (profile(&found, &context))
            (acts(&found, &context))
        }
        (session_table(&found.user.id, &sessions, &context))
        p { a href={ "/console/audit?person=" (found.user.id) } { (texts.events_of_person) } }
    };
    framed(&context, Section::People, texts.people, &body).into_response()
}

fn name(found: &Identities) -> String {
    let user = &found.user;
    let nickname = user.profile.nickname.clone();
    nickname
        .or_else(|| user.username.as_ref().map(|name| name.as_str().to_owned()))
        .or_else(|| user.phone.as_ref().map(crate::types::Phone::masked))
        .unwrap_or_else(|| user.id.as_str().to_owned())
}

fn message(done: &Done, context: &PageContext) -> Option<String> {
    let texts = context.texts();
    let text = match done.done.as_str() {
        "ban" => texts.was_banned,
        "unban" => texts.was_unbanned,
        "sign-out" => texts.was_signed_out,
        _ => return None,
    };
    Some(format!("{text} {}: {}", texts.ended_sessions, done.ended))
}

fn profile(found: &Identities, context: &PageContext) -> Markup {
    let (texts, user) = (context.texts(), &found.user);
    let optional = |name: &str, value: Option<&str>| html! { @if let Some(value) = value { (fact(name, &html! { (value) })) } };
    html! {
        section.card aria-labelledby="profile" {
            h2 id="profile" { (texts.profile) }
            dl.facts {
                (fact(texts.user_id, &html! { code { (user.id) } }))
                (fact(texts.user_type, &html! { code { (user.user_type) } }))
                @if !user.roles.is_empty() { (fact(texts.roles, &html! { (user.roles.join(", ")) })) }
                (fact(texts.phone, &html! { (user.phone.as_ref().map_or_else(|| "–".to_owned(), crate::types::Phone::masked)) }))
                (optional(texts.username, user.username.as_ref().map(crate::types::Username::as_str)))
                (optional(texts.nickname, user.profile.nickname.as_deref()))
                (optional(texts.bio, user.profile.bio.as_deref()))
                (fact(texts.created, &time(&user.created_at.rfc3339())))
                (fact(texts.last_login, &time(&user.last_login_at.rfc3339())))
            }
            h3 { (texts.identities) }
            @if found.openids.is_empty() && found.unionids.is_empty() { p.empty { (texts.no_identities) } }
            dl.facts {
                @for (app_id, openid) in &found.openids {
                    (fact(&format!("openid · {app_id}"), &html! { code { (openid.as_str()) } }))
                }
                @for unionid in &found.unionids {
                    (fact("unionid", &html! { code { (unionid.as_str()) } }))
                }
            }
        }
    }
}

fn acts(found: &Identities, context: &PageContext) -> Markup {
    let (texts, id) = (context.texts(), &found.user.id);
    let button = |act: &str, text: &str, hint: &str| {
        html! {
            form method="post" action={ "/console/people/" (id) "/" (act) } {
                (token_field(context))
                button type="submit" { (text) }
                p.hint { (hint) }
            }
        }
    };
    html! {
        section.card.acts aria-labelledby="acts" {
            h2 id="acts" { (texts.acts) }
            (button("sign-out", texts.sign_out_all, texts.sign_out_all_hint))
            @if found.user.disabled {
                (button("unban", texts.unban, texts.unban_hint))
            } @else {
                (button("ban", texts.ban, texts.ban_hint))
            }
            p {
                a.button.danger href={ "/console/people/" (id) "/delete" } { (texts.delete) }
            }
            p.hint { (texts.delete_hint) }
        }
    }
}

fn session_table(user: &UserId, sessions: &[Session], context: &PageContext) -> Markup {
    let texts = context.texts();
    html! {
        section.card aria-labelledby="sessions" {
            h2 id="sessions" { (texts.sessions) }
            @if sessions.is_empty() { p.empty { (texts.no_sessions) } } @else {
                div.scroll tabindex="0" role="region" aria-labelledby="sessions" {
                    table.stack {
                        thead { tr {
                            th scope="col" { (texts.device) }
                            th scope="col" { (texts.signed_in_at) }
                            th scope="col" { (texts.last_used) }
                            th scope="col" { (texts.ends) }
                            th scope="col" { span.visually-hidden { (texts.acts) } }
                        } }
                        tbody {
                            @for session in sessions {
                                tr {
                                    th scope="row" {
                                        (session.client_type.as_str())
                                        @if let Some(app_id) = &session.app_id { " " code { (app_id) } }
                                    }
                                    td.time data-label=(texts.signed_in_at) { (time(&session.created_at.rfc3339())) }
                                    td.time data-label=(texts.last_used) { (time(&session.last_used_at.rfc3339())) }
                                    td.time data-label=(texts.ends) { (time(&session.idle_end.rfc3339())) }
                                    td {
                                        form method="post" action={ "/console/people/" (user) "/sessions/" (session.id) "/end" } {
                                            (token_field(context))
                                            button.quiet type="submit" { (texts.sign_out) }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The second question before a deletion.
pub(super) async fn confirm_deletion(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    Path(id): Path<String>,
) -> Response {
    let texts = context.texts();
    let Ok(id) = UserId::parse(&id) else {
        return error_page(&context, StatusCode::NOT_FOUND, texts.no_such_person);
    };
    if let Err(error) = console.parts.admin.administration.user(&id).await {
        return operation_failed(&context, &error);
    }
    question(&context, StatusCode::OK, &id)
}

fn question(context: &PageContext, status: StatusCode, id: &UserId) -> Response {
    let texts = context.texts();
    let body = html! {
        h1 { (texts.delete_question) }
        section.card {
            p.lead { (texts.delete_consequences) }
            p { code { (id) } }
            form method="post" action={ "/console/people/" (id) "/delete" } {
                (token_field(context))
                label.check { input type="checkbox" name="confirm" value="yes" required; span { (texts.delete_confirm) } }
                p.buttons {
                    button.danger type="submit" { (texts.delete_now) }
                    a.button.quiet href={ "/console/people/" (id) } { (texts.cancel) }
                }
            }
        }
    };
    (
        status,
        framed(context, Section::People, texts.delete_question, &body),
    )
        .into_response()
}

pub(super) async fn act(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    Path((id, act)): Path<(String, String)>,
    SessionForm(Nothing {}): SessionForm<Nothing>,
) -> Response {
    let texts = context.texts();
    let administration = &console.parts.admin.administration;
    let Ok(id) = UserId::parse(&id) else {
        return error_page(&context, StatusCode::NOT_FOUND, texts.no_such_person);
    };
    let by = Actor::Console;
    let ended = match act.as_str() {
        "ban" => administration.change(&id, &RightsChange::Ban, by).await,
        "unban" => administration.change(&id, &RightsChange::Unban, by).await,
        "sign-out" => administration.revoke_user(&id, by).await,
        _ => return error_page(&context, StatusCode::NOT_FOUND, texts.no_such_page),
    };
    match ended {
        Ok(ended) => shown_again(&id, &act, ended),
        Err(error) => operation_failed(&context, &error),
    }
}

pub(super) async fn delete(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    Path(id): Path<String>,
    SessionForm(confirmation): SessionForm<Confirmation>,
) -> Response {
    let Ok(id) = UserId::parse(&id) else {
        return error_page(
            &context,
            StatusCode::NOT_FOUND,
            context.texts().no_such_person,
        );
    };
    if !confirmation.is_given() {
        return question(&context, StatusCode::BAD_REQUEST, &id);
    }
    let administration = &console.parts.admin.administration;
    match administration.erase(&id, Actor::Console).await {
        Ok(_) => Redirect::to("/console/people?done=deleted").into_response(),
        Err(error) => operation_failed(&context, &error),
    }
}

pub(super) async fn end_session(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    Path((id, session)): Path<(String, String)>,
    SessionForm(Nothing {}): SessionForm<Nothing>,
) -> Response {
    let texts = context.texts();
    let (Ok(id), Ok(session)) = (UserId::parse(&id), SessionId::parse(&session)) else {
        return error_page(&context, StatusCode::NOT_FOUND, texts.no_such_session);
    };
    let administration = &console.parts.admin.administration;
    match administration
        .revoke_session(&id, session, Actor::Console)
        .await
    {
        Ok(ended) => shown_again(&id, "sign-out", ended),
        Err(error) => operation_failed(&context, &error),
    }
}

/// The page of the person, with what was done.
fn shown_again(id: &UserId, done: &str, ended: usize) -> Response {
    Redirect::to(&format!("/console/people/{id}?done={done}&ended={ended}")).into_response()
}
