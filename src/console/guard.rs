//! What every request to the console has to pass, and the headers of every response.
//!
//! `Host` must be an address, `localhost` or a name of `admin.hosts`, so that a name that an
//! attacker points to this address (DNS rebinding) leads nowhere. A change must come from a page of
//! this origin. Must stay true: both are checked before anything else of the request is read.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    language::Language,
    origin::{Authority, SECURITY_HEADERS, authority, cookie, is_own_name, is_same_origin},
    page_context::PageContext,
    sign_in,
    state::Console,
};
use crate::{admin::AdminPeer, types::ClientIp};

/// The path of what a page updates itself with, which keeps no session open.
const UPDATES: &str = "/console/events";
/// The cookie with the language that was chosen.
const LANGUAGE_COOKIE: &str = "menshen_language";

/// Rejects requests that come by another name or from another origin, and finds out the rest.
pub(super) async fn guard(
    State(console): State<Arc<Console>>,
    mut request: Request,
    next: Next,
) -> Response {
    let (mut response, chosen) = match check(&console, &request) {
        Err(rejection) => (rejection.into_response(), None),
        Ok(host) => {
            let chosen = Language::from_query(request.uri().query());
            let context = context(&console, &request, &host, chosen);
            request.extensions_mut().insert(context);
            (next.run(request).await, chosen)
        }
    };
    for (name, value) in SECURITY_HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    if let Some(language) = chosen {
        let cookie = format!(
            "{LANGUAGE_COOKIE}={}; Path=/console; HttpOnly; SameSite=Strict; Max-Age=31536000",
            language.tag()
        );
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}

/// Shows the sign-in page where nobody is signed in.
pub(super) async fn require_session(
    Extension(context): Extension<PageContext>,
    request: Request,
    next: Next,
) -> Response {
    if context.session.is_some() {
        return next.run(request).await;
    }
    let is_page = request.method() == Method::GET && context.path != UPDATES;
    sign_in::page(&context, is_page)
}

fn check(
    console: &Console,
    request: &Request<Body>,
) -> Result<Authority, (StatusCode, &'static str)> {
    let headers = request.headers();
    let host = authority(request).ok_or((
        StatusCode::BAD_REQUEST,
        "the request needs one valid Host header",
    ))?;
    if !is_own_name(&host.name, &console.parts.config.admin.hosts) {
        let message = "this name is not one of the console: open it by an address or localhost, or add the name to admin.hosts";
        return Err((StatusCode::MISDIRECTED_REQUEST, message));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) && !is_same_origin(headers, &host) {
        return Err((
            StatusCode::FORBIDDEN,
            "the request does not come from a page of the console",
        ));
    }
    Ok(host)
}

/// Whether the browser says that a page of another origin made the request. A person who follows a
/// link or types the address comes from none.
fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.any(|site| site != "same-origin" && site != "none")
}

fn context(
    console: &Console,
    request: &Request<Body>,
    host: &Authority,
    chosen: Option<Language>,
) -> PageContext {
    let headers = request.headers();
    let path = request.uri().path().to_owned();
    // Browsers send a cookie to every port of a host: each console has its own.
    let cookie_name = format!("menshen_console_{}", host.port.unwrap_or(80));
    let id = cookie(headers, &cookie_name);
    let (sessions, token) = (&console.parts.memory.sessions, &console.parts.token);
    // A page of another port of this host is another site's, though browsers send it this cookie.
    let id = id.filter(|_| !comes_from_elsewhere(headers));
    let session = id.and_then(|id| sessions.find(id, token, path != UPDATES));
    let language = chosen
        .or_else(|| Language::from_tag(cookie(headers, LANGUAGE_COOKIE)?))
        .unwrap_or_else(|| Language::accepted(headers));
    let peer = request.extensions().get::<AdminPeer>();
    PageContext {
        language,
        path,
        from: peer.map_or(ClientIp::LOOPBACK, |peer| ClientIp::new(peer.0)),
        cookie_name,
        is_https: headers
            .get(header::ORIGIN)
            .is_some_and(|origin| origin.as_bytes().starts_with(b"https://")),
        has_cookie: id.is_some(),
        session,
    }
}
