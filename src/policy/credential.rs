//! The only credential of a request: its locations, and the rejection of a second one.
//!
//! `Authorization: Bearer` always counts (RFC 6750 section 2.1). A token without a scheme, another
//! header, a cookie, and `access_token` in the query of a WebSocket handshake (section 2.3) count
//! only where the config says so: queries end in logs, and a browser sends a cookie for the pages
//! of all sites.
//!
//! An empty field, cookie or parameter is no credential: a client that has no token yet sends it
//! (`wx.getStorageSync("token")` before the first login).
//!
//! Must stay true: several credentials are rejected, since proxies and backends differ on which one
//! counts, and so are several fields of one header and several parameters, empty or not; nothing
//! is decoded or repaired; a request with the cookie is rejected if a page of another site
//! changes something or opens a WebSocket.

use super::{cors::Cors, head::Head, reject_reason::RejectReason};
use crate::error::ErrorCode;

/// The query parameter for a token (RFC 6750 section 2.3).
const PARAMETER: &str = "access_token";

/// The rejection of a second credential.
const SECOND: RejectReason = RejectReason::new(
    ErrorCode::RequestMalformed,
    "A request has one credential at most.",
);

/// The rejection of a second field of one header, in report-only mode too.
const REPEATED: RejectReason =
    RejectReason::malformed("A header that may carry a token occurs once at most.");

/// The credential of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    None,
    /// A token in the form of RFC 6750 section 2.1, not verified yet.
    Bearer(&'a str),
    /// Anything else: another scheme, no token.
    Malformed,
}

/// A token does not print.
impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bearer(_) => "Bearer(***)",
            Self::Malformed => "Malformed",
        })
    }
}

/// Locations of a token in addition to `Authorization: Bearer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenLocations<'r> {
    /// `Authorization`, without a scheme.
    pub bare: bool,
    /// The header of this name, with `Bearer` or without.
    pub header: Option<&'r str>,
    /// The cookie of this name.
    pub cookie: Option<&'r str>,
    /// The query. The request is a WebSocket handshake.
    pub query: bool,
    /// It is a forward-auth request, which may lack some fields of the original one.
    pub forward_auth: bool,
}

/// Reads the credential.
pub fn read<'a>(
    head: &Head<'a>,
    locations: TokenLocations<'_>,
    cors: Option<&Cors>,
) -> Result<Credential<'a>, RejectReason> {
    let credential = in_headers(head, locations)?;
    if locations.cookie.is_none() && !locations.query {
        return Ok(credential);
    }
    in_other_locations(head, credential, locations, cors)
}

/// In `Authorization`, or in the header that the config names.
fn in_headers<'a>(
    head: &Head<'a>,
    locations: TokenLocations<'_>,
) -> Result<Credential<'a>, RejectReason> {
    let credential = in_header(head, "authorization", locations.bare)?;
    let Some(name) = locations.header else {
        return Ok(credential);
    };
    let own = in_header(head, name, true)?;
    if own == Credential::None {
        return Ok(credential);
    }
    if credential != Credential::None {
        return Err(SECOND);
    }
    Ok(own)
}

fn in_header<'a>(head: &Head<'a>, name: &str, bare: bool) -> Result<Credential<'a>, RejectReason> {
    let mut values = head.values(name);
    let Some(value) = values.next() else {
        return Ok(Credential::None);
    };
    if values.next().is_some() {
        return Err(REPEATED);
    }
    if value.is_empty() {
        return Ok(Credential::None);
    }
    let token = bearer(value).or_else(|| b64token(value).filter(|_| bare));
    Ok(token.map_or(Credential::Malformed, Credential::Bearer))
}

fn in_other_locations<'a>(
    head: &Head<'a>,
    in_headers: Credential<'a>,
    locations: TokenLocations<'_>,
    cors: Option<&Cors>,
) -> Result<Credential<'a>, RejectReason> {
    let as_credential = |text: &'a [u8]| match text {
        [] => Credential::None,
        _ => b64token(text).map_or(Credential::Malformed, Credential::Bearer),
    };
    // A page that deletes its cookie may leave it empty.
    let cookies = locations
        .cookie
        .into_iter()
        .flat_map(|name| cookies(head).filter_map(move |crumb| value_of(crumb, name)));
    let cookies = cookies.filter(|value| !value.is_empty());
    let query = head
        .target
        .split_once('?')
        .filter(|_| locations.query)
        .map_or("", |(_, query)| query);
    let parameters = query
        .split('&')
        .filter_map(|pair| value_of(pair.as_bytes(), PARAMETER));
    let mut of_cookie = false;
    let mut found = in_headers;
    let mut is_there = in_headers != Credential::None;
    let brought = cookies
        .map(|value| (value, true))
        .chain(parameters.map(|value| (value, false)));
    for (value, is_cookie) in brought {
        if is_there {
            return Err(SECOND);
        }
        is_there = true;
        found = as_credential(value);
        of_cookie = is_cookie;
    }
    if of_cookie && !may_use_cookie(head, locations.forward_auth, cors) {
        return Err(RejectReason::new(
            ErrorCode::Forbidden,
            "A page of another site may not act with the cookie of this one.",
        ));
    }
    Ok(found)
}

/// Whether a cookie counts: the request is a plain read, which a link could cause, or it comes from
/// a page of this site, from a listed page, or from no page.
///
/// Browsers send `Sec-Fetch-Site` (Fetch Metadata, section 2.3); older ones send `Origin` with
/// everything that is not a plain read, and with WebSocket handshakes (RFC 6454, RFC 6455 section
/// 10.2). Other clients send neither. A forward-auth request may lack them, so there a request
/// without them that is no plain read is rejected.
fn may_use_cookie(head: &Head<'_>, forward_auth: bool, cors: Option<&Cors>) -> bool {
    let has = |name| head.values(name).next().is_some();
    // Forward-auth requests lack `Upgrade`, and some of them lack the others too.
    let websocket = [
        "upgrade",
        "sec-websocket-version",
        "sec-websocket-key",
        "sec-websocket-protocol",
    ]
    .into_iter()
    .any(has);
    let reads = matches!(head.method, "GET" | "HEAD" | "OPTIONS") && !websocket && !has("origin");
    if reads || cors.is_some_and(|cors| cors.allows_with_credentials(head)) {
        return true;
    }
    let mut sites = head.values("sec-fetch-site");
    if let Some(site) = sites.next() {
        return (site == b"same-origin" || site == b"none") && sites.next().is_none();
    }
    let mut origins = head.values("origin");
    let Some(origin) = origins.next() else {
        return !forward_auth;
    };
    let authority = origin
        .strip_prefix(b"https://")
        .or_else(|| origin.strip_prefix(b"http://"));
    let host = head.values("host").next();
    origins.next().is_none()
        && authority
            .zip(host)
            .is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

/// The pairs of all `Cookie` fields (RFC 6265 section 4.2.1).
fn cookies<'a>(head: &Head<'a>) -> impl Iterator<Item = &'a [u8]> {
    head.values("cookie")
        .flat_map(|value| value.split(|&byte| byte == b';'))
        .map(<[u8]>::trim_ascii)
}

/// The value after `name=`.
fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// All cookies except those of these names, as one field; `None`: there are none of these names.
pub fn without_cookies(head: &Head<'_>, names: &[Box<str>]) -> Option<Vec<u8>> {
    let is_named = |crumb: &&[u8]| names.iter().any(|name| value_of(crumb, name).is_some());
    if names.is_empty() || !cookies(head).any(|crumb| is_named(&crumb)) {
        return None;
    }
    let left: Vec<_> = cookies(head)
        .filter(|crumb| !crumb.is_empty() && !is_named(crumb))
        .collect();
    Some(left.join(&b"; "[..]))
}

/// A target without the token in its query; `None`: it has none.
pub fn without_parameter(target: &str) -> Option<String> {
    let (path, query) = target.split_once('?')?;
    let is_token = |pair: &&str| value_of(pair.as_bytes(), PARAMETER).is_some();
    if !query.split('&').any(|pair| is_token(&pair)) {
        return None;
    }
    let left: Vec<_> = query.split('&').filter(|pair| !is_token(pair)).collect();
    Some(if left.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", left.join("&"))
    })
}

/// `Bearer` in any case, spaces, and one b64token (RFC 6750 section 2.1).
fn bearer(value: &[u8]) -> Option<&str> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let token = rest.strip_prefix(b" ")?;
    let token = &token[token.iter().take_while(|&&byte| byte == b' ').count()..];
    if scheme.eq_ignore_ascii_case(b"bearer") {
        b64token(token)
    } else {
        None
    }
}

/// The whole text as one b64token.
fn b64token(token: &[u8]) -> Option<&str> {
    let padding = token.iter().rev().take_while(|&&byte| byte == b'=').count();
    let body = &token[..token.len() - padding];
    if body.is_empty() || !is_b64token_body(body) {
        return None;
    }
    str::from_utf8(token).ok()
}

/// Whether every byte is a letter, a digit or one of `-._~+/`. Without branches, so that many bytes
/// are compared at once: a token is the longest part of most heads.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "a branch for each byte would keep them from being compared at once"
)]
fn is_b64token_body(body: &[u8]) -> bool {
    body.iter().fold(true, |is_plain, &byte| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        // `-./` and the digits are adjacent.
        let digit = byte.wrapping_sub(b'-') <= b'9' - b'-';
        is_plain & (letter | digit | (byte == b'_') | (byte == b'~') | (byte == b'+'))
    })
}

#[cfg(test)]
mod tests;
