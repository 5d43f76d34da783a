//! What every request for the page has to pass, as for the console.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::console::{Language, SECURITY_HEADERS, authority, cookie, is_own_name, is_same_origin};

/// The cookie with the language that was chosen.
const LANGUAGE_COOKIE: &str = "menshen_demo_language";

/// Rejects requests that come by another name or from another origin, and finds out the language.
pub(super) async fn guard(mut request: Request, next: Next) -> Response {
    let chosen = Language::from_query(request.uri().query());
    let mut response = if let Err(rejection) = check(&request) {
        rejection.into_response()
    } else {
        let headers = request.headers();
        let language = chosen
            .or_else(|| Language::from_tag(cookie(headers, LANGUAGE_COOKIE)?))
            .unwrap_or_else(|| Language::accepted(headers));
        request.extensions_mut().insert(language);
        next.run(request).await
    };
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(language) = chosen {
        let tag = language.tag();
        let cookie = format!("{LANGUAGE_COOKIE}={tag}; Path=/; HttpOnly; SameSite=Strict");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
    response
}

fn check(request: &Request<Body>) -> Result<(), (StatusCode, &'static str)> {
    let host = authority(request).ok_or((
        StatusCode::BAD_REQUEST,
        "the request needs one valid Host header",
    ))?;
    if !is_own_name(&host.name, &[]) {
        let message = "this name is not one of the demo: open it by its address or localhost";
        return Err((StatusCode::MISDIRECTED_REQUEST, message));
    }
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    if is_change && !is_same_origin(request.headers(), &host) {
        let message = "the request does not come from the page of the demo";
        return Err((StatusCode::FORBIDDEN, message));
    }
    Ok(())
}
