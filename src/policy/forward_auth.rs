//! Forward-auth: the request that a proxy asks about.
//!
//! The decision is about another path than that of the request on this connection, so only listed
//! proxies may ask, and the path is read only from the location that the config names for this kind
//! of proxy: a client can send all other such headers through the same proxy (CVE-2026-40575).
//!
//! Must stay true: no proxy may ask by default; only one convention is read; a value that is not
//! there exactly once is rejected; the prefix is removed first, and the rest is checked like any
//! target (CVE-2026-48020).

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderName;
use ipnet::IpNet;

use super::{
    framing::METHODS,
    head::Head,
    headers::{DropReason, HeaderVerdict},
    reject_reason::RejectReason,
};
use crate::{
    config::{Config, ForgedHeaders, ForwardAuthDialect},
    error::ErrorCode,
    types::ClientIp,
};

/// The last segment of the route.
const ROUTE: &str = "/verify";

/// How forward-auth requests are read, compiled from the config.
#[derive(Debug, Clone)]
pub struct ForwardAuth {
    /// The whole route: `/auth/verify`.
    route: String,
    dialect: ForwardAuthDialect,
    callers: Vec<IpNet>,
    rejects_spoofed: bool,
    /// Headers that the proxy has to remove from the client's request unless the response sets
    /// them.
    reserved: Vec<HeaderName>,
}

/// The request that a proxy asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthRequest<'a> {
    pub method: &'a str,
    /// As the client sent it: path and query. Not checked.
    pub target: &'a str,
}

impl ForwardAuth {
    /// `None`: off. `reserved`: names that only menshen may set.
    pub fn compile(config: &Config, reserved: impl Iterator<Item = HeaderName>) -> Option<Self> {
        let section = &config.forward_auth;
        section.enabled.then(|| Self {
            route: format!("{}{ROUTE}", config.auth.prefix),
            dialect: section.dialect,
            callers: section.trusted_callers.clone(),
            rejects_spoofed: section.forged_headers == ForgedHeaders::Refuse,
            reserved: reserved.collect(),
        })
    }

    /// Whether a request with this target, as sent, is a forward-auth request.
    pub fn is_auth_request(&self, target: &str) -> bool {
        match (target.strip_prefix(&self.route), self.dialect) {
            (None, _) => false,
            (Some(rest), ForwardAuthDialect::Envoy) => rest.starts_with('/'),
            (Some(rest), ForwardAuthDialect::Nginx | ForwardAuthDialect::Traefik) => {
                rest.is_empty() || rest.starts_with('?')
            }
        }
    }

    /// The request that the proxy asks about, or why it is rejected. `peer`: `None` on a Unix
    /// socket.
    pub fn auth_request<'a>(
        &self,
        head: &Head<'a>,
        peer: Option<IpAddr>,
    ) -> Result<AuthRequest<'a>, RejectReason> {
        let peer = ClientIp::new(peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))).address();
        if !self.callers.iter().any(|network| network.contains(&peer)) {
            return Err(RejectReason::new(
                ErrorCode::Forbidden,
                "forward_auth.trusted_callers does not list this address.",
            ));
        }
        let (method, target) = match self.dialect {
            ForwardAuthDialect::Nginx => (
                only(head, "x-original-method")?,
                only(head, "x-original-uri")?,
            ),
            ForwardAuthDialect::Traefik => (
                only(head, "x-forwarded-method")?,
                only(head, "x-forwarded-uri")?,
            ),
            ForwardAuthDialect::Envoy => (
                head.method,
                head.target.get(self.route.len()..).unwrap_or_default(),
            ),
        };
        if !METHODS.contains(&method) {
            return Err(RejectReason::new(
                ErrorCode::MethodNotAllowed,
                "This method is not passed on.",
            ));
        }
        Ok(AuthRequest { method, target })
    }

    /// Whether a client has sent a header that must not reach the backend, which the proxy has to
    /// ensure here. Headers that the proxy itself adds do not count.
    pub fn is_spoofed(&self, name: &str, verdict: HeaderVerdict) -> bool {
        let ours = match self.dialect {
            ForwardAuthDialect::Nginx => ["x-original-method", "x-original-uri"].as_slice(),
            ForwardAuthDialect::Traefik => [].as_slice(),
            // Envoy removes its own headers from requests of clients, and sends some itself.
            ForwardAuthDialect::Envoy => {
                // A CDN in front may have set it, so it is no reason for a rejection; but Envoy can
                // remove it.
                let is_address = verdict == HeaderVerdict::Drop(DropReason::ClientAddress);
                return (is_foreign(verdict) || is_address) && !begins_with_envoy(name);
            }
        };
        is_foreign(verdict) && !ours.iter().any(|own| name.eq_ignore_ascii_case(own))
    }

    /// Whether a spoofed header is a reason for a rejection. Envoy removes them instead.
    pub fn rejects_spoofed(&self) -> bool {
        self.rejects_spoofed && !self.removes_headers()
    }

    /// Whether this proxy removes the headers that the response names.
    pub fn removes_headers(&self) -> bool {
        self.dialect == ForwardAuthDialect::Envoy
    }

    /// Names that only menshen may set.
    pub fn reserved(&self) -> &[HeaderName] {
        &self.reserved
    }
}

/// Whether a client has sent the header, because no proxy adds it.
const fn is_foreign(verdict: HeaderVerdict) -> bool {
    match verdict {
        HeaderVerdict::Pass | HeaderVerdict::Handshake => false,
        HeaderVerdict::Drop(reason) => match reason {
            DropReason::Reserved
            | DropReason::ReservedPrefix
            | DropReason::Override
            | DropReason::WechatCloud
            | DropReason::OddName => true,
            DropReason::Forwarding
            | DropReason::ClientAddress
            | DropReason::HopByHop
            | DropReason::Credential => false,
        },
    }
}

fn begins_with_envoy(name: &str) -> bool {
    name.get(..8)
        .is_some_and(|start| start.eq_ignore_ascii_case("x-envoy-"))
}

/// The one value of a header that a proxy sets.
fn only<'a>(head: &Head<'a>, name: &str) -> Result<&'a str, RejectReason> {
    head.only_value(name)
        .and_then(|value| str::from_utf8(value).ok())
        .filter(|value| !value.is_empty())
        .ok_or(RejectReason::new(
            ErrorCode::RequestMalformed,
            "The request does not name, exactly once, the request that it is about, as forward_auth.dialect says.",
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{HeaderPolicy, HttpVersion, path};

    fn compiled(dialect: ForwardAuthDialect) -> ForwardAuth {
        let mut config = Config::default();
        config.forward_auth.enabled = true;
        config.forward_auth.dialect = dialect;
        config.forward_auth.trusted_callers = vec!["10.0.0.0/8".parse().unwrap()];
        ForwardAuth::compile(&config, std::iter::empty()).unwrap()
    }

    /// Method and target asked about, or the code of the reason.
    fn ask(
        dialect: ForwardAuthDialect,
        peer: &str,
        line: (&str, &str),
        sent: &[(&str, &str)],
    ) -> Result<String, ErrorCode> {
        let headers: Vec<_> = sent
            .iter()
            .map(|(name, value)| httparse::Header {
                name,
                value: value.as_bytes(),
            })
            .collect();
        let head = Head {
            method: line.0,
            target: line.1,
            version: HttpVersion::Http11,
            headers: &headers,
            bytes: b"",
            is_followed: false,
        };
        let peer = (!peer.is_empty()).then(|| peer.parse().unwrap());
        let asked = compiled(dialect).auth_request(&head, peer);
        asked
            .and_then(|asked| path::check(asked.target).map(|_| asked))
            .map(|asked| format!("{} {}", asked.method, asked.target))
            .map_err(|reason| reason.code)
    }

    #[test]
    fn it_is_off_by_default() {
        assert!(ForwardAuth::compile(&Config::default(), std::iter::empty()).is_none());
    }

    #[test]
    fn the_route_is_the_whole_path_or_a_prefix_as_the_dialect_has_it() {
        for (target, header, prefix) in [
            ("/auth/verify", true, false),
            ("/auth/verify?x=/y", true, false),
            ("/auth/verify/", false, true),
            ("/auth/verify/api/x?y", false, true),
            ("/auth/verify//admin", false, true),
            ("/auth/verify/../x", false, true),
            ("/auth/verifyx", false, false),
            ("/auth/verify%2fx", false, false),
            ("/AUTH/verify", false, false),
            ("/x/auth/verify", false, false),
        ] {
            assert_eq!(
                compiled(ForwardAuthDialect::Nginx).is_auth_request(target),
                header,
                "{target}"
            );
            assert_eq!(
                compiled(ForwardAuthDialect::Traefik).is_auth_request(target),
                header,
                "{target}"
            );
            assert_eq!(
                compiled(ForwardAuthDialect::Envoy).is_auth_request(target),
                prefix,
                "{target}"
            );
        }
    }

    #[test]
    fn only_listed_callers_may_ask() {
        let nginx = [("X-Original-Method", "GET"), ("X-Original-URI", "/x")];
        for (peer, may) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("127.0.0.1", false),
            ("", false),
            ("::1", false),
        ] {
            let asked = ask(
                ForwardAuthDialect::Nginx,
                peer,
                ("GET", "/auth/verify"),
                &nginx,
            );
            assert_eq!(
                asked,
                if may {
                    Ok("GET /x".to_owned())
                } else {
                    Err(ErrorCode::Forbidden)
                },
                "{peer}"
            );
        }
    }

    /// Dialect, request line, header fields; what is asked about.
    type Row<'a> = (
        ForwardAuthDialect,
        (&'a str, &'a str),
        &'a [(&'a str, &'a str)],
        Result<&'a str, ErrorCode>,
    );

    const NGINX: [(&str, &str); 2] = [("X-Original-Method", "POST"), ("x-original-uri", "/a?b=c")];
    const TRAEFIK: [(&str, &str); 2] = [
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Uri", "/public"),
    ];
    const BOTH: [(&str, &str); 4] = [NGINX[0], NGINX[1], TRAEFIK[0], TRAEFIK[1]];
    const VERIFY: (&str, &str) = ("GET", "/auth/verify");

    const QUESTIONS: &[Row<'_>] = {
        use ErrorCode::{MethodNotAllowed, PathAmbiguous, RequestMalformed};
        use ForwardAuthDialect::{Envoy, Nginx, Traefik};
        &[
            (Nginx, VERIFY, &NGINX, Ok("POST /a?b=c")),
            (Nginx, VERIFY, &BOTH, Ok("POST /a?b=c")),
            (Traefik, VERIFY, &BOTH, Ok("GET /public")),
            (
                Envoy,
                ("PUT", "/auth/verify/a?b=c"),
                &BOTH,
                Ok("PUT /a?b=c"),
            ),
            (Envoy, ("GET", "/auth/verify/"), &[], Ok("GET /")),
            (Nginx, VERIFY, &TRAEFIK, Err(RequestMalformed)),
            (Traefik, VERIFY, &NGINX, Err(RequestMalformed)),
            (Nginx, VERIFY, &[NGINX[0]], Err(RequestMalformed)),
            (Nginx, VERIFY, &[NGINX[1]], Err(RequestMalformed)),
            (
                Nginx,
                VERIFY,
                &[NGINX[0], NGINX[1], NGINX[1]],
                Err(RequestMalformed),
            ),
            (
                Nginx,
                VERIFY,
                &[NGINX[0], NGINX[0], NGINX[1]],
                Err(RequestMalformed),
            ),
            (
                Nginx,
                VERIFY,
                &[NGINX[0], ("X-Original-URI", "")],
                Err(RequestMalformed),
            ),
            (
                Nginx,
                VERIFY,
                &[NGINX[0], ("X-Original-URL", "/a")],
                Err(RequestMalformed),
            ),
            (
                Nginx,
                VERIFY,
                &[NGINX[0], ("X_Original_URI", "/a")],
                Err(RequestMalformed),
            ),
            (
                Nginx,
                VERIFY,
                &[NGINX[0], ("X-Original-URI", "/a/../b")],
                Err(PathAmbiguous),
            ),
            (
                Nginx,
                VERIFY,
                &[NGINX[0], ("X-Original-URI", "/a%2fb")],
                Err(PathAmbiguous),
            ),
            (
                Nginx,
                VERIFY,
                &[NGINX[0], ("X-Original-URI", "//a")],
                Err(PathAmbiguous),
            ),
            (
                Nginx,
                VERIFY,
                &[NGINX[0], ("X-Original-URI", "http://x/a")],
                Err(PathAmbiguous),
            ),
            (
                Nginx,
                VERIFY,
                &[("X-Original-Method", "TRACE"), NGINX[1]],
                Err(MethodNotAllowed),
            ),
            (
                Nginx,
                VERIFY,
                &[("X-Original-Method", "post"), NGINX[1]],
                Err(MethodNotAllowed),
            ),
            (Envoy, ("GET", "/auth/verify//a"), &[], Err(PathAmbiguous)),
            (Envoy, ("GET", "/auth/verify/../a"), &[], Err(PathAmbiguous)),
            (
                Envoy,
                ("GET", "/auth/verify/a%2f..%2fb"),
                &[],
                Err(PathAmbiguous),
            ),
        ]
    };

    #[test]
    fn one_convention_is_read_and_no_other() {
        for (dialect, line, sent, expected) in QUESTIONS {
            let asked = ask(*dialect, "10.0.0.1", *line, sent);
            assert_eq!(
                asked,
                expected.map(str::to_owned),
                "{dialect:?} {line:?} {sent:?}"
            );
        }
    }

    #[test]
    fn what_a_client_may_not_send_is_told_from_what_the_proxy_adds() {
        let mut config = Config::default();
        config.gate.token_header = Some("X-Token".to_owned());
        let policy = HeaderPolicy::compile(&config).unwrap();
        for (name, [nginx, traefik, envoy]) in [
            ("X-User-Id", [true; 3]),
            ("x_user_id", [true; 3]),
            ("X.User.Id", [true; 3]),
            ("X-User-Role", [true; 3]),
            ("X-Auth-State", [true; 3]),
            ("X-HTTP-Method-Override", [true; 3]),
            ("X-Original-URL", [true; 3]),
            ("X_Original_URI", [true; 3]),
            ("Content_Length", [true; 3]),
            ("X-WX-OPENID", [true; 3]),
            ("X-Original-URI", [false, true, true]),
            ("x-original-method", [false, true, true]),
            ("X-Envoy-Internal", [true, true, false]),
            ("X-Forwarded-Uri", [false; 3]),
            ("X-Forwarded-For", [false; 3]),
            ("X-Real-IP", [false; 3]),
            ("X-Client-IP", [false, false, true]),
            ("EO-Connecting-IP", [false, false, true]),
            ("x_vercel_forwarded_for", [false, false, true]),
            ("Authorization", [false; 3]),
            ("x-token", [false; 3]),
            ("X_Token", [true; 3]),
            ("X.Token", [true; 3]),
            ("Cookie", [false; 3]),
            ("Connection", [false; 3]),
        ] {
            let forged = |dialect| compiled(dialect).is_spoofed(name, policy.verdict(name));
            assert_eq!(forged(ForwardAuthDialect::Nginx), nginx, "{name}");
            assert_eq!(forged(ForwardAuthDialect::Traefik), traefik, "{name}");
            assert_eq!(forged(ForwardAuthDialect::Envoy), envoy, "{name}");
        }
    }
}
