//! What every request to the console has to pass, and the headers of every response.
//!
//! `Host` must be an address, `localhost` or a name of `admin.hosts`, so that a name that an
//! attacker points to this address (DNS rebinding) leads nowhere. A change must come from a page of
//! this origin. Must stay true: both are checked before anything else of the request is read.

use std::{net::Ipv6Addr, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{language::Language, page_context::PageContext, sign_in, state::Console};
use crate::{admin::AdminPeer, types::ClientIp};

/// The path of what a page updates itself with, which keeps no session open.
const UPDATES: &str = "/console/events";
/// The cookie with the language that was chosen.
const LANGUAGE_COOKIE: &str = "menshen_language";

/// Headers of every response.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer` browsers send forms with `Origin: null`, which could not be checked.
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Rejects requests that come by another name or from another origin, and finds out the rest.
pub(super) async fn guard(
    State(console): State<Arc<Console>>,
    mut request: Request,
    next: Next,
) -> Response {
    let (mut response, chosen) = match check(&console, &request) {
        Err(rejection) => (rejection.into_response(), None),
        Ok(host) => {
            let chosen = chosen_language(request.uri());
            let context = context(&console, &request, &host, chosen);
            request.extensions_mut().insert(context);
            (next.run(request).await, chosen)
        }
    };
    for (name, value) in HEADERS {
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

/// A host and its port, as a client names it.
#[derive(Debug, PartialEq, Eq)]
struct Authority {
    /// In lower case; an IPv6 address has its brackets.
    name: String,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str) -> Option<Self> {
        let end = match text.strip_prefix('[') {
            Some(rest) => rest.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (name, port) = text.split_at(end);
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return None,
            Some(port) => Some(port.parse().ok()?),
        };
        Some(Self {
            name: name.to_ascii_lowercase(),
            port,
        })
    }
}

/// The one `Host`; an absolute target has to agree with it.
fn authority(request: &Request<Body>) -> Option<Authority> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, other) = (hosts.next()?.to_str().ok()?, hosts.next());
    let target = request.uri().authority();
    let is_one = other.is_none() && target.is_none_or(|target| target.as_str() == host);
    is_one.then(|| Authority::parse(host)).flatten()
}

fn is_own_name(name: &str, configured: &[String]) -> bool {
    let is_v6 = |name: &str| {
        let inner = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
    };
    name == "localhost"
        || name.parse::<std::net::Ipv4Addr>().is_ok()
        || is_v6(name)
        || configured
            .iter()
            .any(|host| host.eq_ignore_ascii_case(name))
}

/// Whether a browser sent the request for a page of this origin. `Sec-Fetch-Site` (Fetch Metadata)
/// says so where the browser sends it, `Origin` everywhere; without either nothing is known.
fn is_same_origin(headers: &HeaderMap, host: &Authority) -> bool {
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next();
        // Two of them agree with nothing.
        let value = value.map(|value| value.to_str().unwrap_or("?"));
        if values.next().is_some() {
            Some("?")
        } else {
            value
        }
    };
    let site = one(HeaderName::from_static("sec-fetch-site"));
    let origin = one(header::ORIGIN);
    let origin_agrees = |origin: &str| {
        let authority = ["http://", "https://"]
            .iter()
            .find_map(|scheme| origin.strip_prefix(scheme));
        authority.and_then(Authority::parse).as_ref() == Some(host)
    };
    match (site, origin) {
        (Some(site), None) => site == "same-origin",
        (Some(site), Some(origin)) => site == "same-origin" && origin_agrees(origin),
        (None, Some(origin)) => origin_agrees(origin),
        (None, None) => false,
    }
}

/// Whether the browser says that a page of another origin made the request. A person who follows a
/// link or types the address comes from none.
fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.any(|site| site != "same-origin" && site != "none")
}

/// The language that the link to switch has named.
fn chosen_language(uri: &Uri) -> Option<Language> {
    let mut pairs = uri.query()?.split('&');
    let tag = pairs.find_map(|pair| pair.strip_prefix("lang="))?;
    Language::from_tag(tag)
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

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .find_map(|pair| {
            let (found, value) = pair.trim().split_once('=')?;
            (found == name).then_some(value)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_localhost_or_a_configured_name() {
        let configured = ["Ops.example.com".to_owned()];
        let is_own = |text: &str| {
            Authority::parse(text).is_some_and(|host| is_own_name(&host.name, &configured))
        };
        for own in [
            "127.0.0.1:9090",
            "127.0.0.1",
            "10.1.2.3:1",
            "[::1]:9090",
            "[fe80::1]",
            "localhost",
            "LOCALHOST:18080",
            "ops.example.com",
            "OPS.example.com:443",
        ] {
            assert!(is_own(own), "{own}");
        }
        for other in [
            "",
            "evil.example",
            "evil.example:9090",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "x.localhost",
            "localhost.",
            "0x7f.1",
            "[::1",
            "[::1]x",
            "::1",
            "[evil]",
            "127.0.0.1:x",
            "127.0.0.1:9090:1",
            "evil@127.0.0.1",
            "127.0.0.1:99999",
            "sub.ops.example.com",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }

    #[test]
    fn a_change_comes_from_a_page_of_this_origin() {
        let host = Authority::parse("127.0.0.1:9090").unwrap();
        let sent = |headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            is_same_origin(&map, &host)
        };
        let (site, origin) = ("sec-fetch-site", "origin");
        assert!(sent(&[(site, "same-origin")]));
        assert!(sent(&[(origin, "http://127.0.0.1:9090")]));
        assert!(sent(&[
            (site, "same-origin"),
            (origin, "http://127.0.0.1:9090")
        ]));
        for forged in [
            &[][..],
            &[(site, "cross-site")],
            &[(site, "same-site")],
            &[(site, "none")],
            &[(site, "same-origin"), (site, "same-origin")],
            &[(origin, "null")],
            &[(origin, "")],
            &[(origin, "http://127.0.0.1")],
            &[(origin, "http://127.0.0.1:9091")],
            &[(origin, "http://localhost:9090")],
            &[(origin, "http://evil.example")],
            &[(origin, "http://127.0.0.1:9090.evil.example")],
            &[
                (origin, "http://127.0.0.1:9090"),
                (origin, "http://evil.example"),
            ],
            &[(site, "cross-site"), (origin, "http://127.0.0.1:9090")],
            &[(site, "same-origin"), (origin, "http://evil.example")],
            &[(site, "same-origin"), (origin, "null")],
        ] {
            assert!(!sent(forged), "{forged:?}");
        }
    }
}
