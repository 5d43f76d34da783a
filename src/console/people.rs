//! Finding a person, exactly: there is no list of people to leaf through.
//!
//! Must stay true: each search is an event of the audit log, found or not.

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    error_page::operation_failed,
    form::SessionForm,
    page::{Section, page as framed, token_field},
    page_context::PageContext,
    state::{Console, SharedConsole},
};
use crate::{
    audit::Actor,
    auth::AdministrationError,
    store::UserIdentity,
    types::{AppId, Malformed, OpenId, Phone, UserId, Username},
};

/// What the page says besides.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Done {
    done: String,
}

/// By what a person is looked for.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Lookup {
    by: String,
    value: String,
    app_id: String,
}

pub(super) async fn page(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    done: Result<Query<Done>, QueryRejection>,
) -> Response {
    let texts = context.texts();
    let is_deleted = done.is_ok_and(|Query(done)| done.done == "deleted");
    let message = is_deleted.then_some((true, texts.person_deleted));
    lookup_page(&console, &context, StatusCode::OK, message, "phone")
}

fn lookup_page(
    console: &Console,
    context: &PageContext,
    status: StatusCode,
    message: Option<(bool, &str)>,
    by: &str,
) -> Response {
    let texts = context.texts();
    let apps = console.parts.config.wechat.apps();
    let choice = |value: &str, name: &str| -> Markup {
        html! {
            label.choice { input type="radio" name="by" value=(value) checked[value == by]; span { (name) } }
        }
    };
    let body = html! {
        h1 { (texts.people) }
        @if let Some((is_good, message)) = message {
            p.notice.bad[!is_good].good[is_good] role=(if is_good { "status" } else { "alert" }) { (message) }
        }
        section.card aria-labelledby="find" {
            h2 id="find" { (texts.find_person) }
            p.lead { (texts.find_person_lead) }
            form method="post" action="/console/people/find" {
                (token_field(context))
                fieldset.choices {
                    legend { (texts.find_by) }
                    (choice("phone", texts.phone))
                    (choice("id", texts.user_id))
                    (choice("username", texts.username))
                    (choice("openid", "openid"))
                }
                div.row {
                    p.field.grow {
                        label for="value" { (texts.value) }
                        input id="value" name="value" required autocomplete="off" spellcheck="false" maxlength="200" autofocus;
                    }
                    @if apps.len() > 1 {
                        p.field {
                            label for="app" { (texts.app_id_of_openid) }
                            select id="app" name="app_id" {
                                @for app in &apps { option value=(app.app_id) { (app.app_id) } }
                            }
                        }
                    } @else if let Some(app) = apps.first() {
                        input type="hidden" name="app_id" value=(app.app_id);
                    }
                }
                button type="submit" { (texts.find) }
            }
            p.hint { (texts.look_is_recorded) }
        }
    };
    (
        status,
        framed(context, Section::People, texts.people, &body),
    )
        .into_response()
}

pub(super) async fn find(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    SessionForm(lookup): SessionForm<Lookup>,
) -> Response {
    let texts = context.texts();
    let failed = |status, message| {
        lookup_page(
            &console,
            &context,
            status,
            Some((false, message)),
            &lookup.by,
        )
    };
    let id = match lookup.identity() {
        Ok(Wanted::Id(id)) => Ok(id),
        Ok(Wanted::Identity(identity)) => console.parts.admin.find(&identity, Actor::Console).await,
        Err(Malformed(message)) => {
            let message = format!("{} {message}", texts.value_is_malformed);
            return failed(StatusCode::BAD_REQUEST, &message);
        }
    };
    match id {
        Ok(id) => Redirect::to(&format!("/console/people/{id}")).into_response(),
        Err(AdministrationError::NoSuchUser) => failed(StatusCode::NOT_FOUND, texts.no_such_person),
        Err(error) => operation_failed(&context, &error),
    }
}

enum Wanted {
    Id(UserId),
    Identity(UserIdentity),
}

impl Lookup {
    fn identity(&self) -> Result<Wanted, Malformed> {
        let value = self.value.trim();
        Ok(match self.by.as_str() {
            "id" => Wanted::Id(UserId::parse(value)?),
            "username" => Wanted::Identity(UserIdentity::Username(Username::parse(value)?)),
            "openid" => Wanted::Identity(UserIdentity::OpenId(
                AppId::parse(self.app_id.trim())?,
                OpenId::parse(value)?,
            )),
            _ => Wanted::Identity(UserIdentity::Phone(Phone::parse_any(value)?)),
        })
    }
}
