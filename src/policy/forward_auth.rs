//! Forward-auth: which request a proxy asks about.
//!
//! Here the path that is decided on is not the one that this connection carries, so it counts only
//! from proxies that are listed, and only where the config says that this kind of proxy puts it: a
//! client can send every other such header through the same proxy (CVE-2026-40575).
//!
//! Must stay true: nobody may ask by default; one convention is read and no other; what is not
//! there exactly once is refused; a prefix is taken off first, and what remains is checked as any
//! target is (CVE-2026-48020).

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

/// How questions are read, compiled from the config.
#[derive(Debug, Clone)]
pub struct ForwardAuth {
    /// The whole route: `/auth/verify`.
    route: String,
    dialect: ForwardAuthDialect,
    callers: Vec<IpNet>,
    rejects_spoofed: bool,
    /// What the proxy has to take from the client's request wherever the answer does not set it.
    reserved: Vec<HeaderName>,
}

/// A question of a proxy: may this request pass?
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

    /// Whether a request with this target, as sent, is a question.
    pub fn is_auth_request(&self, target: &str) -> bool {
        match (target.strip_prefix(&self.route), self.dialect) {
            (None, _) => false,
            (Some(rest), ForwardAuthDialect::Envoy) => rest.starts_with('/'),
            (Some(rest), ForwardAuthDialect::Nginx | ForwardAuthDialect::Traefik) => {
                rest.is_empty() || rest.starts_with('?')
            }
        }
    }

    /// What is asked, or why there is no answer but no. `peer`: `None` on a Unix socket.
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

    /// Whether a header of the client must not reach the backend, which here the proxy has to see
    /// to. What the proxy itself adds is not meant.
    pub fn is_spoofed(&self, name: &str, verdict: HeaderVerdict) -> bool {
        let ours = match self.dialect {
            ForwardAuthDialect::Nginx => ["x-original-method", "x-original-uri"].as_slice(),
            ForwardAuthDialect::Traefik => [].as_slice(),
            // Envoy takes its own headers from clients, and puts some of them into its questions.
            ForwardAuthDialect::Envoy => {
                // A CDN in front may have set it, so it is no reason to say no; but it can be
                // removed here.
                let is_address = verdict == HeaderVerdict::Drop(DropReason::ClientAddress);
                return (is_foreign(verdict) || is_address) && !begins_with_envoy(name);
            }
        };
        is_foreign(verdict) && !ours.iter().any(|own| name.eq_ignore_ascii_case(own))
    }

    /// Whether a forged header is a reason to say no. Envoy removes them instead.
    pub fn rejects_spoofed(&self) -> bool {
        self.rejects_spoofed && !self.tells_what_to_remove()
    }

    /// Whether this proxy removes the headers that the answer names.
    pub fn tells_what_to_remove(&self) -> bool {
        self.dialect == ForwardAuthDialect::Envoy
    }

    /// Names that only menshen may set.
    pub fn reserved(&self) -> &[HeaderName] {
        &self.reserved
    }
}

/// Something that a client sent and no proxy adds.
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
    let mut values = head.values(name);
    let value = values
        .next()
        .and_then(|value| str::from_utf8(value).ok())
        .filter(|value| !value.is_empty());
    match (value, values.next()) {
        (Some(value), None) => Ok(value),
        (_, _) => Err(RejectReason::new(
            ErrorCode::RequestMalformed,
            "The question does not say once which request it is about, as forward_auth.dialect has it.",
        )),
    }
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

    #[test]
    fn one_convention_is_read_and_no_other() {
        use ErrorCode::{MethodNotAllowed, PathAmbiguous, RequestMalformed};
        use ForwardAuthDialect::{Envoy, Nginx, Traefik};
        let nginx = [("X-Original-Method", "POST"), ("x-original-uri", "/a?b=c")];
        let traefik = [
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Uri", "/public"),
        ];
        let both = [nginx, traefik].concat();
        let verify = ("GET", "/auth/verify");
        let table: &[Row<'_>] = &[
            (Nginx, verify, &nginx, Ok("POST /a?b=c")),
            (Nginx, verify, &both, Ok("POST /a?b=c")),
            (Traefik, verify, &both, Ok("GET /public")),
            (
                Envoy,
                ("PUT", "/auth/verify/a?b=c"),
                &both,
                Ok("PUT /a?b=c"),
            ),
            (Envoy, ("GET", "/auth/verify/"), &[], Ok("GET /")),
            (Nginx, verify, &traefik, Err(RequestMalformed)),
            (Traefik, verify, &nginx, Err(RequestMalformed)),
            (Nginx, verify, &nginx[..1], Err(RequestMalformed)),
            (Nginx, verify, &nginx[1..], Err(RequestMalformed)),
            (
                Nginx,
                verify,
                &[nginx[0], nginx[1], nginx[1]],
                Err(RequestMalformed),
            ),
            (
                Nginx,
                verify,
                &[nginx[0], nginx[0], nginx[1]],
                Err(RequestMalformed),
            ),
            (
                Nginx,
                verify,
                &[nginx[0], ("X-Original-URI", "")],
                Err(RequestMalformed),
            ),
            (
                Nginx,
                verify,
                &[nginx[0], ("X-Original-URL", "/a")],
                Err(RequestMalformed),
            ),
            (
                Nginx,
                verify,
                &[nginx[0], ("X_Original_URI", "/a")],
                Err(RequestMalformed),
            ),
            (
                Nginx,
                verify,
                &[nginx[0], ("X-Original-URI", "/a/../b")],
                Err(PathAmbiguous),
            ),
            (
                Nginx,
                verify,
                &[nginx[0], ("X-Original-URI", "/a%2fb")],
                Err(PathAmbiguous),
            ),
            (
                Nginx,
                verify,
                &[nginx[0], ("X-Original-URI", "//a")],
                Err(PathAmbiguous),
            ),
            (
                Nginx,
                verify,
                &[nginx[0], ("X-Original-URI", "http://x/a")],
                Err(PathAmbiguous),
            ),
            (
                Nginx,
                verify,
                &[("X-Original-Method", "TRACE"), nginx[1]],
                Err(MethodNotAllowed),
            ),
            (
                Nginx,
                verify,
                &[("X-Original-Method", "post"), nginx[1]],
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
        ];
        for (dialect, line, sent, expected) in table {
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
        let policy = HeaderPolicy::compile(&Config::default()).unwrap();
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
