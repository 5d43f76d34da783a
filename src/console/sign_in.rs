//! Signing in with the admin token, and out.
//!
//! Must stay true: a sign-in opens a session with a new id, and ends the one that was sent with it;
//! the token is compared in constant time, and not at all when it was tried too often.

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderName, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Redirect, Response},
};
use maud::html;
use serde::Deserialize;

use super::{
    error_page::error_page,
    form::{SessionForm, read_form},
    page::{Section, page as framed},
    page_context::PageContext,
    state::{Console, SharedConsole},
};
use crate::{audit::Event, crypto};

#[derive(Deserialize)]
struct Credentials {
    #[serde(default)]
    token: String,
    /// The page to show then.
    #[serde(default)]
    to: String,
}

/// Fields of a form that has only a button.
#[derive(Deserialize)]
pub(super) struct Nothing {}

/// The page that asks for the token, instead of the one that was requested.
pub(super) fn page(context: &PageContext, is_page: bool) -> Response {
    let texts = context.texts();
    let message = context.has_cookie.then_some(texts.session_is_over);
    let to = if is_page {
        context.path.as_str()
    } else {
        "/console"
    };
    form(context, StatusCode::UNAUTHORIZED, message, to)
}

fn form(context: &PageContext, status: StatusCode, message: Option<&str>, to: &str) -> Response {
    let texts = context.texts();
    let body = html! {
        div.sign-in {
            h1 { (texts.sign_in_title) }
            p.lead { (texts.sign_in_lead) }
            @if let Some(message) = message {
                p.notice.bad role="alert" { (message) }
            }
            form method="post" action="/console/sign-in" {
                input type="hidden" name="to" value=(to);
                label for="token" { (texts.admin_token) }
                input id="token" name="token" type="password" autocomplete="off" required autofocus
                    spellcheck="false" aria-describedby="token-hint";
                p.hint id="token-hint" { (texts.admin_token_hint) }
                button type="submit" { (texts.sign_in) }
            }
        }
    };
    (
        status,
        framed(context, Section::None, texts.sign_in_title, &body),
    )
        .into_response()
}

/// Opens a session.
pub(super) async fn sign_in(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    request: Request,
) -> Response {
    let texts = context.texts();
    let Credentials { token, to } = match read_form(request, &context).await {
        Ok(credentials) => credentials,
        Err(response) => return response,
    };
    let to = own_page(&to);
    let Console { parts, .. } = &*console;
    let (memory, audit) = (&parts.memory, &parts.admin.audit);
    if !memory.sign_ins.begin(context.from) {
        let status = StatusCode::TOO_MANY_REQUESTS;
        return form(&context, status, Some(texts.too_many_attempts), to);
    }
    if !crypto::constant_time_eq(parts.token.expose().as_bytes(), token.trim().as_bytes()) {
        audit.record(&Event::ConsoleRefused { from: context.from });
        return form(&context, StatusCode::FORBIDDEN, Some(texts.wrong_token), to);
    }
    memory.sign_ins.succeed(context.from);
    if let Some(session) = &context.session {
        memory.sessions.close(&session.key);
    }
    let Ok(id) = memory.sessions.open(&parts.token, &parts.admin.entropy) else {
        return error_page(
            &context,
            StatusCode::SERVICE_UNAVAILABLE,
            texts.store_failed,
        );
    };
    audit.record(&Event::ConsoleSignedIn { from: context.from });
    let cookie = cookie(&context, id.expose(), "");
    (AppendHeaders([cookie]), Redirect::to(to)).into_response()
}

/// Ends the session.
pub(super) async fn sign_out(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
    SessionForm(Nothing {}): SessionForm<Nothing>,
) -> Response {
    if let Some(session) = &context.session {
        console.parts.memory.sessions.close(&session.key);
    }
    let cookie = cookie(&context, "", "; Max-Age=0");
    (AppendHeaders([cookie]), Redirect::to("/console")).into_response()
}

/// The listener speaks plain HTTP. Behind a proxy that speaks TLS the cookie is `Secure`; browsers
/// would not send such a cookie back over plain HTTP.
fn cookie(context: &PageContext, value: &str, more: &str) -> (HeaderName, String) {
    let name = &context.cookie_name;
    let secure = if context.is_https { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/console; HttpOnly; SameSite=Strict{secure}{more}");
    (header::SET_COOKIE, cookie)
}

/// The path if it is a page of the console, else its first page: a redirect leads nowhere else.
fn own_page(path: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/.".contains(&byte);
    let is_within = path == "/console" || path.starts_with("/console/");
    let is_own =
        is_within && !path.contains("//") && !path.contains("..") && path.bytes().all(is_plain);
    if is_own { path } else { "/console" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_leads_to_a_page_of_the_console_only() {
        for path in ["/console", "/console/people/42", "/console/why"] {
            assert_eq!(own_page(path), path);
        }
        for path in [
            "",
            "//evil.example",
            "/console//evil.example",
            "https://evil.example",
            "/admin",
            "/consolex",
            "/console/../admin",
            "/console\r\nX: y",
            "/console?x",
        ] {
            assert_eq!(own_page(path), "/console", "{path:?}");
        }
    }
}
