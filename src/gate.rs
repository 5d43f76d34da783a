//! The gate's decision on one request head, in its fixed order: client address -> framing ->
//! forward-auth -> CORS preflight -> target -> local routes -> rule -> token -> headers.
//!
//! It is the first to read the client's bytes, and a target that passes is forwarded unchanged.
//! Nothing here waits, reads the store or does I/O; a cached token needs no signature check either.
//!
//! Must stay true: what cannot be decided is rejected, unless the whole gate is in report-only mode;
//! the rules see exactly the path that is forwarded.

mod access;
mod admitted;
mod compile;
mod forward_auth;
mod header_filter;
mod message_framing;
mod observer;
mod preflight;
mod received;
mod rejection;
mod report_only;
mod request_id;

use std::{mem::MaybeUninit, net::IpAddr, sync::Arc};

use crate::{
    auth::Authorizer,
    config::{Config, UpstreamAuthorization},
    error::ErrorCode,
    metrics::Metrics,
    policy::{
        ClientConnection, ConfigProblems, Cors, ForwardAuth, FramingLimits, Head, Http2Head,
        LocalRoutes, Parsed, RejectReason, Rule, RuleSet, TokenLocations, client_connection,
        framing, head, headers::AUTH_ASSERTION, is_under,
    },
    types::Timestamp,
};
use access::{AccessPolicy, Allowed, Denied, RequestKind};
use forward_auth::ForwardAuthGate;
use header_filter::{Admission, HeaderFilter};
use received::Received;

pub use admitted::{AdmittedRequest, ForwardedRequest, LoggedRequest};
pub use compile::{compile_policy, custom_claims};
pub use forward_auth::ForwardAuthAllowed;
pub use message_framing::MessageFraming;
pub use observer::{DecisionObserver, LocalRoute, PathReading, RemovalReason};
pub use rejection::Rejection;
pub use report_only::ReportOnlyDecision;

/// Header slots on the stack; they are on the heap only if the config allows more fields.
const STACK_SLOTS: usize = 101;

type Slot<'a> = MaybeUninit<httparse::Header<'a>>;

/// Everything that a decision depends on: one immutable snapshot.
pub struct Gate {
    access: AccessPolicy,
    headers: HeaderFilter,
    forward_auth: Option<ForwardAuth>,
    limits: FramingLimits,
    trusted_proxies: Vec<ipnet::IpNet>,
}

/// The decision on a request.
#[derive(Debug)]
pub enum Decision {
    /// The gate responds with this error code. Nothing is forwarded.
    Reject(Box<Rejection>),
    /// The auth API or a dialect responds.
    AuthApi(Box<AdmittedRequest>),
    /// The backend responds.
    Forward(Box<AdmittedRequest>),
    /// The gate responds to a CORS preflight.
    Preflight(Box<AdmittedRequest>),
    /// The gate allows a proxy to forward a request.
    AllowForwardAuth(Box<ForwardAuthAllowed>),
}

impl Decision {
    /// The framing of the request on its connection, if it is known.
    pub fn framing(&self) -> Option<&MessageFraming> {
        match self {
            Self::Reject(rejection) => rejection.framing.as_ref(),
            Self::AuthApi(request) | Self::Forward(request) | Self::Preflight(request) => {
                Some(&request.framing)
            }
            Self::AllowForwardAuth(allowed) => Some(&allowed.request.framing),
        }
    }

    /// The request id of a trusted proxy, if it is valid.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Reject(rejection) => rejection.request_id.as_deref(),
            Self::AuthApi(request) | Self::Forward(request) | Self::Preflight(request) => {
                request.log.request_id.as_deref()
            }
            Self::AllowForwardAuth(allowed) => allowed.request.log.request_id.as_deref(),
        }
    }

    /// Length of the head in bytes, if it is known.
    pub fn head_len(&self) -> Option<usize> {
        self.framing().map(|framing| framing.head_len)
    }
}

impl Gate {
    /// Compiles the snapshot; reports every problem of the rules and header names at once.
    pub fn compile(
        config: &Config,
        local_routes: LocalRoutes,
        authorizer: Arc<Authorizer>,
        metrics: Metrics,
    ) -> Result<Self, ConfigProblems> {
        let (rules, policy) = compile_policy(config)?;
        let keep_authorization = config.upstream.authorization == UpstreamAuthorization::Keep;
        let names = config.identity.headers.keys().map(String::as_str);
        let token_headers: Vec<_> = config.token_headers().map(|(_, name)| name).collect();
        let reserved = names
            .chain([AUTH_ASSERTION, "authorization"])
            .chain(token_headers.iter().copied());
        let reserved = reserved.filter_map(|name| name.parse().ok());
        let mut token_cookies: Vec<_> = rules
            .rules()
            .filter_map(|rule| rule.token_cookie.clone())
            .collect();
        if keep_authorization {
            token_cookies.clear();
        }
        token_cookies.sort_unstable();
        token_cookies.dedup();
        let report_only_everywhere = config.gate.is_report_only_everywhere(&config.rule);
        Ok(Self {
            access: AccessPolicy {
                rules,
                authorizer,
                auth_prefix: config.auth.prefix.clone(),
                local_routes,
                token_header: config.gate.token_header.as_deref().map(Box::from),
                cors: Cors::compile(&config.cors, &token_headers),
                report_only_everywhere,
            },
            headers: HeaderFilter {
                policy,
                keep_authorization,
                token_cookies,
                report_only_everywhere,
                metrics,
            },
            forward_auth: ForwardAuth::compile(config, reserved),
            limits: FramingLimits {
                max_headers: config.server.max_headers,
            },
            trusted_proxies: config.server.trusted_proxies.clone(),
        })
    }

    /// The rules, in order.
    pub fn rules(&self) -> &RuleSet {
        &self.access.rules
    }

    /// Forward-auth, if it is enabled.
    pub const fn forward_auth(&self) -> Option<&ForwardAuth> {
        self.forward_auth.as_ref()
    }

    /// The headers that may carry a token on this path, if no rule says otherwise.
    pub fn token_locations(&self, path: &str) -> TokenLocations<'_> {
        if is_under(path, &self.access.auth_prefix) {
            return TokenLocations {
                header: self.access.token_header.as_deref(),
                ..TokenLocations::default()
            };
        }
        self.access.token_headers(path)
    }

    /// The verifier of access tokens.
    pub fn authorizer(&self) -> &Authorizer {
        &self.access.authorizer
    }

    /// Decides on the HTTP/1 request that starts at `bytes[0]`; `None`: its head is incomplete.
    /// `peer`: `None` on a Unix socket.
    pub fn decide_http1(
        &self,
        bytes: &[u8],
        peer: Option<IpAddr>,
        now: Timestamp,
    ) -> Option<Decision> {
        self.decide_http1_observed(bytes, peer, now, &mut ())
    }

    /// The same; the observer sees each step.
    pub fn decide_http1_observed(
        &self,
        bytes: &[u8],
        peer: Option<IpAddr>,
        now: Timestamp,
        observer: &mut impl DecisionObserver,
    ) -> Option<Decision> {
        if self.limits.max_headers < STACK_SLOTS {
            self.decide_http1_within(
                bytes,
                peer,
                now,
                &mut [const { Slot::uninit() }; STACK_SLOTS],
                observer,
            )
        } else {
            let mut slots: Vec<Slot<'_>> = (0..=self.limits.max_headers)
                .map(|_| Slot::uninit())
                .collect();
            self.decide_http1_within(bytes, peer, now, &mut slots, observer)
        }
    }

    fn decide_http1_within<'b>(
        &self,
        bytes: &'b [u8],
        peer: Option<IpAddr>,
        now: Timestamp,
        slots: &mut [Slot<'b>],
        observer: &mut impl DecisionObserver,
    ) -> Option<Decision> {
        match head::parse(bytes, slots) {
            Ok(Parsed::Complete(head)) => Some(self.decide_observed(&head, peer, now, observer)),
            Ok(Parsed::Partial) => None,
            Err(reason) => {
                observer.head_rejected(reason.detail);
                let ids = head::raw_values(bytes, "x-request-id");
                Some(Decision::Reject(Box::new(self.malformed(
                    reason.detail,
                    peer,
                    ids,
                ))))
            }
        }
    }

    /// Decides on an HTTP/2 request.
    pub fn decide_http2(&self, head: &Http2Head, peer: Option<IpAddr>, now: Timestamp) -> Decision {
        head.lend(|head| self.decide(head, peer, now))
    }

    /// Decides on a request of any HTTP version. `peer`: `None` on a Unix socket.
    pub fn decide(&self, head: &Head<'_>, peer: Option<IpAddr>, now: Timestamp) -> Decision {
        self.decide_observed(head, peer, now, &mut ())
    }

    fn decide_observed(
        &self,
        head: &Head<'_>,
        peer: Option<IpAddr>,
        now: Timestamp,
        observer: &mut impl DecisionObserver,
    ) -> Decision {
        self.try_decide(head, peer, now, observer)
            .unwrap_or_else(Decision::Reject)
    }

    /// The decision, in its fixed order. `Err`: the rejection, from any of the steps.
    fn try_decide(
        &self,
        head: &Head<'_>,
        peer: Option<IpAddr>,
        now: Timestamp,
        observer: &mut impl DecisionObserver,
    ) -> Result<Decision, Box<Rejection>> {
        // Its client and its framing.
        let (forwarded_for, forwarded_proto) = (
            head.values("x-forwarded-for"),
            head.values("x-forwarded-proto"),
        );
        let client =
            client_connection::resolve(peer, forwarded_for, forwarded_proto, &self.trusted_proxies);
        let checked = framing::check(head, &self.limits).map_err(|reason| {
            observer.head_rejected(reason.detail);
            self.reject(head, reason, client, None, None)
        })?;
        let framing = MessageFraming::new(head, &checked);
        let received = Received {
            head,
            client,
            framing,
            websocket: checked.websocket,
        };

        // Requests that are about another request.
        if let Some(config) = &self.forward_auth
            && config.is_auth_request(head.target)
        {
            let gate = ForwardAuthGate {
                config,
                access: &self.access,
                headers: &self.headers,
            };
            let allowed = gate.decide(received, peer, now, observer)?;
            return Ok(Decision::AllowForwardAuth(Box::new(allowed)));
        }
        if let Some(preflight) = preflight::decide(&self.access, received, observer) {
            return Ok(Decision::Preflight(Box::new(preflight)));
        }

        // The decision is about the path that is forwarded.
        let target = match self.access.target(head.target, head.method, observer) {
            Ok(target) => target,
            Err(reason) => return self.forward_raw_target(received, reason, observer),
        };
        if let Some(route) = self.access.local_route(head.method, target.path) {
            observer.local_route_found(route);
            let admission = Admission {
                token_header: self.token_locations(target.path).header,
                ..Admission::default()
            };
            let mut request = self
                .headers
                .admitted_request(received, target, admission, observer);
            request.cors = self.access.cors_fields(head, None);
            // The auth API gets all header fields of the client.
            request.forward.forwarded_headers = head
                .headers
                .iter()
                .map(|header| head.range(header))
                .collect();
            return Ok(Decision::AuthApi(request));
        }

        // Its rule, the token that the rule requires, and the headers that are forwarded.
        let matched = self.access.rule(target.path, head.method, observer);
        let rule = matched.rule;
        let kind = RequestKind::Proxied {
            websocket: checked.websocket,
        };
        let Allowed {
            identity,
            report_only,
        } = self
            .access
            .check(head, target.path, matched, kind, now, observer)
            .map_err(|Denied { reason, identity }| {
                let mut rejection = self.reject(head, reason, client, Some(framing), Some(rule));
                rejection.identity = identity;
                rejection
            })?;
        let locations = self.access.token_locations(matched, target.path, kind);
        let admission = Admission {
            rule: Some(rule),
            token_header: locations.header,
            identity,
            report_only,
        };
        let mut request = self
            .headers
            .admitted_request(received, target, admission, observer);
        request.cors = self.access.cors_fields(head, Some(rule));
        Ok(Decision::Forward(request))
    }

    /// A request with an ambiguous target, which is forwarded only if no rule is enforced.
    fn forward_raw_target(
        &self,
        received: Received<'_>,
        reason: RejectReason,
        observer: &mut impl DecisionObserver,
    ) -> Result<Decision, Box<Rejection>> {
        let Received {
            head,
            client,
            framing,
            ..
        } = received;
        let Some(target) = self.access.raw_target(head.target) else {
            return Err(self.reject(head, reason, client, Some(framing), None));
        };
        let admission = Admission {
            report_only: Some(ReportOnlyDecision::Reject(reason.code)),
            ..Admission::default()
        };
        let request = self
            .headers
            .admitted_request(received, target, admission, observer);
        Ok(Decision::Forward(request))
    }

    /// The rejection of a request whose head is unreadable; its connection is closed.
    /// `request_ids`: the readable values of `X-Request-Id`, which count if a trusted proxy sent
    /// them.
    pub fn malformed<'v>(
        &self,
        detail: &'static str,
        peer: Option<IpAddr>,
        request_ids: impl Iterator<Item = &'v [u8]>,
    ) -> Rejection {
        let rejection = Rejection::malformed(ErrorCode::RequestMalformed, detail, peer);
        let client = client_connection::resolve(
            peer,
            std::iter::empty(),
            std::iter::empty(),
            &self.trusted_proxies,
        );
        Rejection {
            request_id: if client.trusted_peer {
                request_id::only_valid(request_ids)
            } else {
                None
            },
            ..rejection
        }
    }

    /// A rejection, by this rule or before one was found, which pages of allowed origins may read.
    fn reject(
        &self,
        head: &Head<'_>,
        reason: RejectReason,
        client: ClientConnection,
        framing: Option<MessageFraming>,
        rule: Option<&Rule>,
    ) -> Box<Rejection> {
        let mut rejection = Box::new(Rejection::new(head, reason, client, framing));
        rejection.rule = rule.map(|rule| rule.index);
        rejection.cors = self.access.cors_fields(head, rule);
        rejection
    }
}
