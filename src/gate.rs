//! The gate's decision on one request head, in its fixed order: origin -> framing -> target -> rule
//! -> token -> headers.
//!
//! It reads the bytes that the client sent, before anything else does, and the target that it lets
//! through is forwarded as it stands. Nothing here waits, reads the store or does I/O; for a token
//! seen before it makes no signature check either.
//!
//! Must stay true: what cannot be decided is rejected; the rules see exactly the path that is
//! forwarded.

mod access;
mod admitted;
mod compile;
mod dry_run;
mod forward_auth;
mod header_filter;
mod message_framing;
mod observer;
mod preflight;
mod received;
mod rejection;
mod request_id;

use std::{mem::MaybeUninit, net::IpAddr, sync::Arc};

use crate::{
    auth::Authorizer,
    config::{Config, UpstreamAuthorization},
    error::ErrorCode,
    metrics::Metrics,
    policy::{
        Cors, ForwardAuth, FramingLimits, Head, Http2Head, LocalRoutes, Origin, Parsed,
        RejectReason, RuleSet, client_ip, framing, head, headers::AUTH_ASSERTION,
    },
    types::Timestamp,
};
use access::{AccessPolicy, Allowed, Denied, RequestKind};
use header_filter::{Admission, HeaderFilter};
use received::Received;

pub use admitted::{AdmittedRequest, ForwardedRequest, LoggedRequest};
pub use compile::{GateProblems, compile_policy, kept_claims};
pub use dry_run::DryRunDecision;
pub use forward_auth::ForwardAuthAllowed;
pub use message_framing::MessageFraming;
pub use observer::{DecisionObserver, LocalRoute, PathReading, RemovalReason};
pub use rejection::Rejection;

/// Header slots on the stack; more only where the config allows more.
const STACK_SLOTS: usize = 101;

type Slot<'a> = MaybeUninit<httparse::Header<'a>>;

/// Everything the decision depends on: one immutable snapshot.
pub struct Gate {
    access: AccessPolicy,
    headers: HeaderFilter,
    forward_auth: Option<ForwardAuth>,
    limits: FramingLimits,
    trusted_proxies: Vec<ipnet::IpNet>,
}

/// What is to be done with a request.
#[derive(Debug)]
pub enum Decision {
    /// The gate answers with this code. Nothing is forwarded.
    Reject(Box<Rejection>),
    /// The auth API or a dialect answers.
    AuthApi(Box<AdmittedRequest>),
    /// The backend answers.
    Forward(Box<AdmittedRequest>),
    /// The gate answers a browser that asks what a page may send.
    Preflight(Box<AdmittedRequest>),
    /// The gate answers a proxy that may forward the request.
    AllowForwardAuth(Box<ForwardAuthAllowed>),
}

impl Decision {
    /// Where the request ends on its connection, where that is known.
    pub fn framing(&self) -> Option<&MessageFraming> {
        match self {
            Self::Reject(rejection) => rejection.framing.as_ref(),
            Self::AuthApi(request) | Self::Forward(request) | Self::Preflight(request) => {
                Some(&request.framing)
            }
            Self::AllowForwardAuth(allowed) => Some(&allowed.request.framing),
        }
    }

    /// The request id of a trusted proxy, where it is fit to be kept.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Reject(rejection) => rejection.request_id.as_deref(),
            Self::AuthApi(request) | Self::Forward(request) | Self::Preflight(request) => {
                request.log.request_id.as_deref()
            }
            Self::AllowForwardAuth(allowed) => allowed.request.log.request_id.as_deref(),
        }
    }

    /// Length of the head in bytes, where it is known.
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
    ) -> Result<Self, GateProblems> {
        let (rules, policy) = compile_policy(config)?;
        let keep_authorization = config.upstream.authorization == UpstreamAuthorization::Keep;
        let reserved = config
            .identity
            .headers
            .keys()
            .map(String::as_str)
            .chain([AUTH_ASSERTION, "authorization"]);
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
        let report_only_everywhere = config.gate.reports_all(&config.rule);
        Ok(Self {
            access: AccessPolicy {
                rules,
                authorizer,
                auth_prefix: config.auth.prefix.clone(),
                local_routes,
                cors: Cors::compile(&config.cors),
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

    /// How proxies ask, where they may.
    pub const fn forward_auth(&self) -> Option<&ForwardAuth> {
        self.forward_auth.as_ref()
    }

    /// Whether a token without `Bearer` is taken on this path.
    pub fn takes_bare_token(&self, path: &str) -> bool {
        self.access.local_routes.takes_bare_token(path)
    }

    /// What tokens are checked by.
    pub fn authorizer(&self) -> &Authorizer {
        &self.access.authorizer
    }

    /// Decides on the HTTP/1 request that starts at `bytes[0]`; `None`: its head has not arrived
    /// whole. `peer`: `None` on a Unix socket.
    pub fn decide_http1(
        &self,
        bytes: &[u8],
        peer: Option<IpAddr>,
        now: Timestamp,
    ) -> Option<Decision> {
        self.decide_http1_observed(bytes, peer, now, &mut ())
    }

    /// The same, seen step by step.
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

    /// Decides on a request, whichever front end has read its head. `peer`: `None` on a Unix
    /// socket.
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
        self.admit(head, peer, now, observer)
            .unwrap_or_else(Decision::Reject)
    }

    /// The decision, in its fixed order.
    fn admit(
        &self,
        head: &Head<'_>,
        peer: Option<IpAddr>,
        now: Timestamp,
        observer: &mut impl DecisionObserver,
    ) -> Result<Decision, Box<Rejection>> {
        // Where it comes from, and where it ends.
        let (forwarded_for, forwarded_proto) = (
            head.values("x-forwarded-for"),
            head.values("x-forwarded-proto"),
        );
        let origin =
            client_ip::resolve(peer, forwarded_for, forwarded_proto, &self.trusted_proxies);
        let checked = framing::check(head, &self.limits).map_err(|reason| {
            observer.head_rejected(reason.detail);
            self.reject(head, reason, origin, None)
        })?;
        let framing = MessageFraming::new(head, &checked);
        let received = Received {
            head,
            origin,
            framing,
            websocket: checked.websocket,
        };

        // Questions about a request that is not this one.
        if let Some(forward_auth) = self
            .forward_auth
            .as_ref()
            .filter(|it| it.is_auth_request(head.target))
        {
            let allowed = forward_auth::decide(
                forward_auth,
                &self.access,
                &self.headers,
                received,
                peer,
                now,
                observer,
            )?;
            return Ok(Decision::AllowForwardAuth(Box::new(allowed)));
        }
        if let Some(preflight) = preflight::decide(&self.access, received, observer) {
            return Ok(Decision::Preflight(Box::new(preflight)));
        }

        // The path that is decided on is the one that is forwarded.
        let target = match self.access.target(head.target, head.method, observer) {
            Ok(target) => target,
            Err(reason) => {
                let raw = self.access.raw_target(head.target);
                let raw = raw.ok_or_else(|| self.reject(head, reason, origin, Some(framing)))?;
                let dry_run = Some(DryRunDecision::Reject(reason.code));
                let admission = Admission {
                    dry_run,
                    ..Admission::default()
                };
                return Ok(Decision::Forward(
                    self.headers.admit(received, raw, admission, observer),
                ));
            }
        };
        if let Some(route) = self.access.local_route(head.method, target.path) {
            observer.local_route_found(route);
            let mut request = self
                .headers
                .admit(received, target, Admission::default(), observer);
            request.cors = self.access.cors_fields(head, None);
            // The auth API gets everything that the client sent.
            request.forward.forwarded_headers = head
                .headers
                .iter()
                .map(|header| head.range(header))
                .collect();
            return Ok(Decision::AuthApi(request));
        }

        // Its rule, the token that the rule asks for, and the headers that go on.
        let matched = self.access.rule(target.path, head.method, observer);
        let rule = matched.rule;
        let kind = RequestKind::Proxied {
            websocket: checked.websocket,
        };
        let Allowed { identity, dry_run } = self
            .access
            .check(head, target.path, matched, kind, now, observer)
            .map_err(|Denied { reason, identity }| {
                let cors = self.access.cors_fields(head, Some(rule));
                let rejection = Rejection::new(head, reason, origin, Some(framing));
                Box::new(Rejection {
                    rule: Some(rule.index),
                    identity,
                    cors,
                    ..rejection
                })
            })?;
        let admission = Admission {
            rule: Some(rule),
            identity,
            dry_run,
        };
        let mut request = self.headers.admit(received, target, admission, observer);
        request.cors = self.access.cors_fields(head, Some(rule));
        Ok(Decision::Forward(request))
    }

    /// The rejection of a request whose head could not be read; its connection ends. `request_ids`:
    /// the values of `X-Request-Id`, as far as they could be read, which count if a trusted proxy
    /// sent them.
    pub fn malformed<'v>(
        &self,
        detail: &'static str,
        peer: Option<IpAddr>,
        request_ids: impl Iterator<Item = &'v [u8]>,
    ) -> Rejection {
        let rejection = Rejection::malformed(ErrorCode::RequestMalformed, detail, peer);
        let origin = client_ip::resolve(
            peer,
            std::iter::empty(),
            std::iter::empty(),
            &self.trusted_proxies,
        );
        Rejection {
            request_id: if origin.trusted_peer {
                request_id::only_valid(request_ids)
            } else {
                None
            },
            ..rejection
        }
    }

    /// A rejection before any rule has been asked, which pages of allowed origins may read.
    fn reject(
        &self,
        head: &Head<'_>,
        reason: RejectReason,
        origin: Origin,
        framing: Option<MessageFraming>,
    ) -> Box<Rejection> {
        let cors = self.access.cors_fields(head, None);
        Box::new(Rejection {
            cors,
            ..Rejection::new(head, reason, origin, framing)
        })
    }
}
