//! Where a request comes from: the name that the client used, and the origin of the page that sent
//! it. The pages of the console and those of the demo need the same checks.
//!
//! Must stay true: a name that an attacker points to this address (DNS rebinding) is not its own,
//! and a request that a page of another origin made is not of the same origin.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderName, Request, header};

/// Headers of every response.
pub const SECURITY_HEADERS: [(HeaderName, &str); 7] = [
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

/// A host and its port, as a client names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Authority {
    /// In lower case; an IPv6 address has its brackets.
    pub name: String,
    pub port: Option<u16>,
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
pub fn authority<B>(request: &Request<B>) -> Option<Authority> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, other) = (hosts.next()?.to_str().ok()?, hosts.next());
    let target = request.uri().authority();
    let is_one = other.is_none() && target.is_none_or(|target| target.as_str() == host);
    is_one.then(|| Authority::parse(host)).flatten()
}

/// Whether a name is an address, `localhost` or one of these.
pub fn is_own_name(name: &str, configured: &[String]) -> bool {
    let is_v6 = |name: &str| {
        let inner = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
    };
    name == "localhost"
        || name.parse::<Ipv4Addr>().is_ok()
        || is_v6(name)
        || configured
            .iter()
            .any(|host| host.eq_ignore_ascii_case(name))
}

/// Whether a browser sent the request for a page of this origin. `Sec-Fetch-Site` (Fetch Metadata)
/// says so where the browser sends it, `Origin` everywhere; without either nothing is known.
pub fn is_same_origin(headers: &HeaderMap, host: &Authority) -> bool {
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

/// The value of a cookie.
pub fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
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
