//! The gate's decision on one request head, in its fixed order: framing -> path -> headers -> rule -> token.
//!
//! It reads the bytes that the client sent, before anything else does, and the target that it lets through is sent on as it
//! stands. Nothing here waits, reads the store or does I/O; for a token seen before it makes no signature check either.
//!
//! Must stay true: what cannot be decided is refused; the rules see exactly the path that is forwarded.

mod explanation;

use std::{collections::BTreeSet, mem::MaybeUninit, net::IpAddr, ops::Range, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};

use crate::{
    auth::{Authorizer, Identity},
    config::{Config, UpstreamAuthorization},
    error::ErrorCode,
    metrics::Metrics,
    policy::{
        AllowedDelimiters, Answered, Body, Cors, CorsFields, Credential, Decision, DropReason, ForwardAuth, FramingLimits,
        Head, HeaderPolicy, HeaderVerdict, HttpVersion, Origin, Parsed, Places, Question, Refusal, Rule, RuleSet, Ruling,
        Target, TokenState, client_ip, cors, credential, decision, framing, head, headers::AUTH_ASSERTION, identity,
        is_under, path,
    },
    types::Timestamp,
};

pub use explanation::{Considered, Explanation, TokenTold, Told};

/// Header slots on the stack; more only where the config allows more.
const STACK_SLOTS: usize = 101;

type Slot<'a> = MaybeUninit<httparse::Header<'a>>;

/// Everything the decision depends on: one immutable snapshot.
#[derive(Debug)]
pub struct Gate {
    rules: RuleSet,
    headers: HeaderPolicy,
    authorizer: Arc<Authorizer>,
    limits: FramingLimits,
    trusted_proxies: Vec<ipnet::IpNet>,
    auth_prefix: String,
    answered: Answered,
    forward_auth: Option<ForwardAuth>,
    keep_authorization: bool,
    cors: Option<Cors>,
    /// Cookies that bring tokens, on whatever path; none where the backend is to get them.
    token_cookies: Vec<Box<str>>,
    /// Report only for every path: no rule is enforced that a second reading of a request could get around.
    reports_all: bool,
    metrics: Metrics,
}

/// What is to be done with a request.
#[derive(Debug)]
pub enum Verdict {
    /// The head has not arrived whole.
    Incomplete,
    /// Answer with this code. Nothing is forwarded.
    Refuse(Box<Refused>),
    /// The auth API or a dialect answers.
    AuthApi(Box<Passage>),
    /// The backend answers.
    Forward(Box<Passage>),
    /// A browser asked what a page may send.
    Preflight(Box<Passage>),
    /// A proxy asked whether it may forward a request, and may.
    Verified(Box<Verified>),
}

impl Verdict {
    /// Where the request ends on its connection, where that is known.
    pub fn extent(&self) -> Option<&Extent> {
        match self {
            Self::Incomplete => None,
            Self::Refuse(refused) => refused.framing.as_ref(),
            Self::AuthApi(passage) | Self::Forward(passage) | Self::Preflight(passage) => Some(&passage.extent),
            Self::Verified(verified) => Some(&verified.passage.extent),
        }
    }

    /// Length of the head in bytes, where it is known.
    pub fn head_length(&self) -> Option<usize> {
        self.extent().map(|extent| extent.head)
    }
}

/// A refusal, with as much of the request as was understood.
#[derive(Debug)]
pub struct Refused {
    pub code: ErrorCode,
    /// What a person is told, where it is more than the code's usual text.
    pub detail: Option<&'static str>,
    /// Index of the rule that decided, if it came to that.
    pub rule: Option<usize>,
    pub method: String,
    /// Without the query; empty when the head could not be read.
    pub path: String,
    pub origin: Origin,
    /// `None`: where this request ends is in doubt, so the connection ends with it.
    pub framing: Option<Extent>,
    pub user: Option<Arc<Identity>>,
    /// Header fields for a page that may read this.
    pub cors: Option<CorsFields>,
    /// A proxy asked; method and path are those of the request that it asked about, as far as they could be told.
    pub asked: bool,
    /// The request id of a trusted proxy, where it is fit to be kept.
    pub request_id: Option<String>,
}

/// The yes to a proxy's question.
#[derive(Debug)]
pub struct Verified {
    /// The request that it asked about, as this connection does not carry it; the extent is the question's own. `dropped` are
    /// names that the client sent and the backend must not get.
    pub passage: Passage,
    /// The client's credential, where the backend is to get it.
    pub authorization: Option<HeaderValue>,
}

/// A request that goes on, and all that is to be done to it.
#[derive(Debug)]
pub struct Passage {
    pub extent: Extent,
    /// Index of the rule that decided; `None` for the auth API.
    pub rule: Option<usize>,
    /// `None`: anonymous.
    pub identity: Option<Arc<Identity>>,
    /// The request target as it is forwarded: path and query.
    pub target: String,
    /// Length of the path in `target`.
    pub path_length: usize,
    pub method: http::Method,
    pub origin: Origin,
    /// Header fields of the client that go on, as places in the head.
    pub kept: Vec<Field>,
    /// The client's cookies without the one that brought a token, where there was one; they are not among `kept`.
    pub cookie: Option<HeaderValue>,
    /// Names of those that do not.
    pub dropped: Vec<HeaderName>,
    pub version: HttpVersion,
    /// A WebSocket handshake.
    pub websocket: bool,
    /// The client takes trailers (RFC 9110 section 10.1.4), and speaks what can carry them.
    pub trailers: bool,
    /// The rule's own longest silence of a stream.
    pub idle_timeout: Option<Duration>,
    /// The request id of a trusted proxy, where it is fit to be kept.
    pub request_id: Option<String>,
    /// The client's own `Host`, for `X-Forwarded-Host`.
    pub host: Option<HeaderValue>,
    /// Header fields for a page that may read what menshen answers; the backend's answers have their own.
    pub cors: Option<CorsFields>,
    /// The gate only reports here: what it would have done.
    pub would: Option<Would>,
}

/// What a gate that only reports would have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Would {
    Pass,
    Refuse(ErrorCode),
}

impl Would {
    /// Of the refusal.
    pub const fn code(self) -> Option<ErrorCode> {
        match self {
            Self::Pass => None,
            Self::Refuse(code) => Some(code),
        }
    }
}

impl Passage {
    /// A request that is not sent on, whatever is said of it.
    fn unsent(
        head: &Head<'_>,
        target: &str,
        parts: Target<'_>,
        origin: Origin,
        extent: Extent,
        rule: Option<usize>,
    ) -> Passage {
        Passage {
            extent,
            rule,
            identity: None,
            target: target.to_owned(),
            path_length: parts.path.len(),
            method: http::Method::from_bytes(head.method.as_bytes()).unwrap_or_default(),
            origin,
            kept: Vec::new(),
            cookie: None,
            dropped: Vec::new(),
            version: head.version,
            websocket: false,
            trailers: false,
            idle_timeout: None,
            request_id: request_id(head, origin),
            host: None,
            cors: None,
            would: None,
        }
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        &self.target[..self.path_length]
    }
}

/// A header field, as places in the bytes of its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    name: (u32, u32),
    value: (u32, u32),
}

impl Field {
    fn of(header: &httparse::Header<'_>, bytes: &[u8]) -> Self {
        let place = |part: &[u8]| {
            let start = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
            let end = start.saturating_add(part.len());
            (u32::try_from(start).unwrap_or(u32::MAX), u32::try_from(end).unwrap_or(u32::MAX))
        };
        Self { name: place(header.name.as_bytes()), value: place(header.value) }
    }

    /// Where the name is.
    pub const fn name(self) -> Range<usize> {
        self.name.0 as usize..self.name.1 as usize
    }

    /// Where the value is, without the white space around it.
    pub const fn value(self) -> Range<usize> {
        self.value.0 as usize..self.value.1 as usize
    }
}

/// Where a request ends on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Length of the head in bytes, its blank line included.
    pub head: usize,
    pub body: Body,
    /// Whether the client wants to go on with this connection.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// How a request came to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct {
        websocket: bool,
    },
    /// A proxy asks about it, and shows as much of it as it likes.
    Asked,
}

/// Configuration that cannot be compiled: key and message, for each problem.
pub type GateProblems = Vec<(String, String)>;

impl Gate {
    /// Compiles the snapshot; reports every problem of the rules and header names at once.
    pub fn compile(
        config: &Config,
        answered: Answered,
        authorizer: Arc<Authorizer>,
        metrics: Metrics,
    ) -> Result<Self, GateProblems> {
        let (rules, headers) = compile_policy(config)?;
        let keep_authorization = config.upstream.authorization == UpstreamAuthorization::Keep;
        let managed = config.identity.headers.keys().map(String::as_str).chain([AUTH_ASSERTION, "authorization"]);
        let managed = managed.filter_map(|name| name.parse().ok());
        let mut token_cookies: Vec<_> = rules.rules().filter_map(|rule| rule.token_cookie.clone()).collect();
        if keep_authorization {
            token_cookies.clear();
        }
        token_cookies.sort_unstable();
        token_cookies.dedup();
        Ok(Self {
            forward_auth: ForwardAuth::compile(config, managed),
            keep_authorization,
            cors: Cors::compile(&config.cors),
            token_cookies,
            reports_all: config.gate.reports_all(&config.rule),
            rules,
            headers,
            authorizer,
            limits: FramingLimits { max_headers: config.server.max_headers },
            trusted_proxies: config.server.trusted_proxies.clone(),
            auth_prefix: config.auth.prefix.clone(),
            answered,
            metrics,
        })
    }

    /// The rules, in order.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// How proxies ask, where they may.
    pub const fn forward_auth(&self) -> Option<&ForwardAuth> {
        self.forward_auth.as_ref()
    }

    /// Decides on the request that starts at `bytes[0]`. `peer`: `None` on a Unix socket.
    pub fn decide(&self, bytes: &[u8], peer: Option<IpAddr>, now: Timestamp) -> Verdict {
        if self.limits.max_headers < STACK_SLOTS {
            self.decide_within(bytes, peer, now, &mut [const { Slot::uninit() }; STACK_SLOTS])
        } else {
            let mut slots: Vec<Slot<'_>> = (0..=self.limits.max_headers).map(|_| Slot::uninit()).collect();
            self.decide_within(bytes, peer, now, &mut slots)
        }
    }

    fn decide_within<'b>(&self, bytes: &'b [u8], peer: Option<IpAddr>, now: Timestamp, slots: &mut [Slot<'b>]) -> Verdict {
        let (head, length) = match head::parse(bytes, slots) {
            Ok(Parsed::Complete { head, length }) => (head, length),
            Ok(Parsed::Partial) => return Verdict::Incomplete,
            Err(refusal) => {
                let ids = head::raw_values(bytes, "x-request-id");
                return Verdict::Refuse(Box::new(self.unreadable(refusal.detail, peer, ids)));
            }
        };
        let origin = client_ip::resolve(
            peer,
            head.values("x-forwarded-for"),
            head.values("x-forwarded-proto"),
            &self.trusted_proxies,
        );
        let framing = framing::check(&head, &self.limits)
            .and_then(|framing| framing::check_rest(&framing, &bytes[length..]).map(|()| framing));
        let framing = match framing {
            Ok(framing) => framing,
            Err(refusal) => return self.refuse(&head, refusal, origin, None),
        };
        let extent = Extent {
            head: length,
            body: framing.body,
            keep_alive: framing.keep_alive,
            expects_continue: framing.expect_continue,
        };
        if let Some(forward_auth) = self.forward_auth.as_ref().filter(|it| it.is_asked(head.target)) {
            return match forward_auth.question(&head, peer, |target, method| self.target(target, method)) {
                Ok(question) => self.verify(forward_auth, &head, question, origin, extent, now),
                Err(refusal) => no(refused(&head, refusal, origin, Some(extent))),
            };
        }
        if let Some(preflight) = self.preflight(&head, origin, extent) {
            return preflight;
        }
        let passage = |target, rule, identity, would| {
            Box::new(self.passage(bytes, &head, target, origin, extent, framing.websocket, rule, identity, would))
        };
        let target = match (self.target(head.target, head.method), self.as_it_came(head.target)) {
            (Ok(target), _) => target,
            (Err(refusal), Some(target)) => {
                return Verdict::Forward(passage(target, None, None, Some(Would::Refuse(refusal.code))));
            }
            (Err(refusal), None) => return self.refuse(&head, refusal, origin, Some(extent)),
        };
        if self.is_answered_here(head.method, target.path) {
            let fields = self.cors.as_ref().map(|cors| cors.answer(&head));
            let mut passage = passage(target, None, None, None);
            passage.cors = fields;
            return Verdict::AuthApi(passage);
        }
        let ruling = self.rules.find(target.path, head.method);
        let rule = ruling.rule;
        let reports = ruling.report_only;
        let fields = self.cors.as_ref().filter(|_| rule.cors).map(|cors| cors.answer(&head));
        let forward = |identity, would| {
            let mut passage = passage(target, Some(rule), identity, reports.then_some(would));
            passage.cors.clone_from(&fields);
            Verdict::Forward(passage)
        };
        let websocket = framing.websocket;
        match self.judge(&head, target.path, ruling, Way::Direct { websocket }, now) {
            Ok((Decision::Anonymous, _)) => forward(None, Would::Pass),
            Ok((Decision::Authenticated, identity)) => forward(identity, Would::Pass),
            Ok((Decision::Refuse(code), _)) if reports => forward(None, Would::Refuse(code)),
            Ok((Decision::Refuse(code), user)) => Verdict::Refuse(Box::new(Refused {
                code,
                detail: None,
                rule: Some(rule.index),
                method: head.method.to_owned(),
                path: target.path.to_owned(),
                origin,
                framing: Some(extent),
                user,
                cors: fields,
                asked: false,
                request_id: request_id(&head, origin),
            })),
            Err(refusal) if reports && !refusal.close => forward(None, Would::Refuse(refusal.code)),
            Err(refusal) => {
                let refused = refused(&head, refusal, origin, Some(extent));
                Verdict::Refuse(Box::new(Refused { rule: Some(rule.index), cors: fields, ..refused }))
            }
        }
    }

    /// The answer to a browser that asks what a page may send, where that is menshen's to give.
    fn preflight(&self, head: &Head<'_>, origin: Origin, extent: Extent) -> Option<Verdict> {
        let cors = self.cors.as_ref()?;
        let method = cors::asked_method(head)?;
        let (target, rule) = match self.target(head.target, method) {
            Ok(target) if self.is_answered_here(method, target.path) => (target, None),
            Ok(target) => {
                let rule = self.rules.find(target.path, method).rule;
                if !rule.cors {
                    return None;
                }
                (target, Some(rule.index))
            }
            Err(_) if self.as_it_came(head.target).is_some() => return None,
            // The request itself will be refused, and the page may read why.
            Err(_) => {
                let target = path::as_it_came(head.target)?;
                (target, Some(self.rules.find(target.path, method).rule.index))
            }
        };
        let passage = Passage::unsent(head, head.target, target, origin, extent, rule);
        Some(Verdict::Preflight(Box::new(Passage { cors: Some(cors.preflight(head)), ..passage })))
    }

    /// Answers a proxy's question as if the request that it is about had come here.
    fn verify(
        &self,
        forward_auth: &ForwardAuth,
        head: &Head<'_>,
        question: Question<'_>,
        origin: Origin,
        extent: Extent,
        now: Timestamp,
    ) -> Verdict {
        let asked = Head { method: question.method, target: question.target, ..*head };
        let path = question.parts.path;
        let wrong = |code, detail| no(refused(&asked, Refusal::wrong(code, detail), origin, Some(extent)));
        if self.is_answered_here(question.method, path) {
            return wrong(ErrorCode::Forbidden, "menshen answers this path itself: the proxy has to send it here, unasked.");
        }
        let forged =
            head.headers.iter().filter(|header| forward_auth.is_forged(header.name, self.headers.verdict(header.name)));
        let forged: Vec<_> = forged.filter_map(|header| HeaderName::from_bytes(header.name.as_bytes()).ok()).collect();
        let ruling = self.rules.find(path, question.method);
        let reports = ruling.report_only;
        // The proxy would send it on, and then no rule has seen which path or method the backend takes it for.
        let overrides =
            || forged.iter().any(|name| self.headers.verdict(name.as_str()) == HeaderVerdict::Drop(DropReason::Override));
        let excused = reports && (self.reports_all || !overrides());
        if !forged.is_empty() && forward_auth.refuses_forged() && !excused {
            return wrong(ErrorCode::RequestMalformed, "The request has a header that clients may not send.");
        }
        let rule = Some(ruling.rule.index);
        let (identity, would) = match self.judge(&asked, path, ruling, Way::Asked, now) {
            Ok((Decision::Anonymous, _)) => (None, Would::Pass),
            Ok((Decision::Authenticated, identity)) => (identity, Would::Pass),
            Ok((Decision::Refuse(code), _)) if reports => (None, Would::Refuse(code)),
            Ok((Decision::Refuse(code), user)) => {
                let refused = refused(&asked, Refusal::wrong(code, ""), origin, Some(extent));
                return no(Refused { rule, user, detail: None, ..refused });
            }
            Err(refusal) if reports && !refusal.close => (None, Would::Refuse(refusal.code)),
            Err(refusal) => return no(Refused { rule, ..refused(&asked, refusal, origin, Some(extent)) }),
        };
        let authorization = head.values("authorization").next().filter(|_| self.keep_authorization || reports);
        Verdict::Verified(Box::new(Verified {
            passage: Passage {
                identity,
                dropped: forged,
                would: reports.then_some(would),
                ..Passage::unsent(&asked, question.target, question.parts, origin, extent, rule)
            },
            authorization: authorization.and_then(|value| HeaderValue::from_bytes(value).ok()),
        }))
    }

    /// The parts of a target that has one reading, or several that its rule allows.
    fn target<'t>(&self, target: &'t str, method: &str) -> Result<Target<'t>, Refusal> {
        path::check(target).or_else(|refusal| {
            if self.rules.allow_delimiters() { self.target_by_rule(target, method) } else { Err(refusal) }
        })
    }

    /// The same where some rule allows delimiters to be percent-encoded.
    #[cold]
    fn target_by_rule<'t>(&self, target: &'t str, method: &str) -> Result<Target<'t>, Refusal> {
        let path = path::split(target).path;
        let ruling = self.rules.find(path, method);
        let here = self.is_answered_here(method, path);
        let allowed = if here { AllowedDelimiters::default() } else { ruling.allowed_delimiters() };
        path::check_decoded(target, allowed, |decoded| {
            !self.is_answered_here(method, decoded) && self.rules.find_decoded(decoded, method).is_same(&ruling)
        })
    }

    /// The refusal of a request whose head could not be read; its connection ends. `request_ids`: the values of `X-Request-Id`, as far as
    /// they could be told, which count if a trusted proxy sent them.
    pub fn unreadable<'v>(
        &self,
        detail: &'static str,
        peer: Option<IpAddr>,
        request_ids: impl Iterator<Item = &'v [u8]>,
    ) -> Refused {
        let refused = Refused::unreadable(ErrorCode::RequestMalformed, detail, peer);
        let origin = client_ip::resolve(peer, std::iter::empty(), std::iter::empty(), &self.trusted_proxies);
        Refused { request_id: if origin.trusted_peer { sole_id(request_ids) } else { None }, ..refused }
    }

    /// A refusal before any rule has been asked, which pages of allowed origins may read.
    fn refuse(&self, head: &Head<'_>, refusal: Refusal, origin: Origin, extent: Option<Extent>) -> Verdict {
        let cors = self.cors.as_ref().map(|cors| cors.answer(head));
        Verdict::Refuse(Box::new(Refused { cors, ..refused(head, refusal, origin, extent) }))
    }

    /// The parts of an ambiguous target that the backend gets all the same, because nothing is enforced that it could belong to.
    fn as_it_came<'a>(&self, target: &'a str) -> Option<Target<'a>> {
        let parts = self.reports_all.then(|| path::as_it_came(target)).flatten()?;
        (!is_under(parts.path, &self.auth_prefix)).then_some(parts)
    }

    /// What the rules say of the caller, and who the caller is.
    fn judge(
        &self,
        head: &Head<'_>,
        path: &str,
        ruling: Ruling<'_>,
        way: Way,
        now: Timestamp,
    ) -> Result<(Decision, Option<Arc<Identity>>), Refusal> {
        let credential = credential::read(head, self.places(ruling, path, way), self.cors.as_ref())?;
        if !decision::needs_token(ruling) {
            return Ok((decision::decide(ruling, TokenState::Missing), None));
        }
        Ok(match credential {
            Credential::None => (decision::decide(ruling, TokenState::Missing), None),
            Credential::Malformed => (decision::decide(ruling, TokenState::Malformed), None),
            Credential::Bearer(token) => match self.authorizer.authorize(token, now) {
                Ok(identity) => (decision::decide(ruling, TokenState::Valid(&identity.claims)), Some(identity)),
                Err(code) => (decision::decide(ruling, TokenState::Invalid(code)), None),
            },
        })
    }

    /// Where a token may stand in a request that came this way.
    fn places<'r>(&self, ruling: Ruling<'r>, path: &str, way: Way) -> Places<'r> {
        Places {
            bare: self.answered.takes_bare_token(path),
            cookie: ruling.token_cookie(),
            query: way == Way::Direct { websocket: true } && ruling.token_in_query(),
            asked: way == Way::Asked,
        }
    }

    /// Whether menshen answers this request itself: the auth API every one under its prefix, a dialect those of its routes.
    fn is_answered_here(&self, method: &str, path: &str) -> bool {
        is_under(path, &self.auth_prefix) || self.answered.has(method, path)
    }

    #[expect(clippy::too_many_arguments, reason = "a constructor, called at one place")]
    fn passage(
        &self,
        bytes: &[u8],
        head: &Head<'_>,
        target: Target<'_>,
        origin: Origin,
        extent: Extent,
        websocket: bool,
        rule: Option<&Rule>,
        identity: Option<Arc<Identity>>,
        would: Option<Would>,
    ) -> Passage {
        let mut kept = Vec::with_capacity(head.headers.len());
        let mut dropped = Vec::new();
        let mut nominates = false;
        let mut trailers = false;
        let mut forged = 0;
        let mut let_through = 0;
        let mut host = None;
        for header in head.headers {
            let mut verdict = self.headers.verdict(header.name);
            if would.is_some() && matches!(verdict, HeaderVerdict::Drop(_)) {
                let strict = verdict;
                verdict = self.headers.verdict_of_report(header.name, strict, self.reports_all);
                let_through += u64::from(verdict != strict && strict != HeaderVerdict::Drop(DropReason::Credential));
            }
            match verdict {
                HeaderVerdict::Pass => {
                    if header.name.len() == 4 && header.name.eq_ignore_ascii_case("host") {
                        host = HeaderValue::from_bytes(header.value).ok();
                    }
                    kept.push((header.name, Field::of(header, bytes)));
                }
                // These end at every hop; the long way to the backend makes a handshake anew.
                HeaderVerdict::Handshake => nominates = true,
                HeaderVerdict::Drop(DropReason::HopByHop) => {
                    trailers |= header.name.eq_ignore_ascii_case("te") && says_trailers(header.value);
                }
                HeaderVerdict::Drop(reason) => {
                    forged += u64::from(reason != DropReason::Credential);
                    dropped.extend(HeaderName::from_bytes(header.name.as_bytes()));
                }
            }
        }
        // What `Connection` names is for this hop only.
        if nominates {
            for name in self.headers.nominated(head) {
                kept.retain(|(kept, _)| !kept.eq_ignore_ascii_case(name));
                dropped.extend(HeaderName::from_bytes(name.as_bytes()));
            }
        }
        // What brought the token ends here; a gate that only reports sends on what came.
        let spent = if would.is_none() { credential::without_cookies(head, &self.token_cookies) } else { None };
        let cookie = spent.and_then(|left| {
            kept.retain(|(kept, _)| !kept.eq_ignore_ascii_case("cookie"));
            dropped.push(http::header::COOKIE);
            HeaderValue::from_bytes(&left).ok().filter(|left| !left.is_empty())
        });
        let in_query =
            websocket && would.is_none() && !self.keep_authorization && rule.is_some_and(|rule| rule.token_in_query);
        let sent_on = if in_query { credential::without_parameter(head.target) } else { None };
        if forged > 0 {
            self.metrics.headers_stripped.inc_by(forged);
        }
        if let_through > 0 {
            self.metrics.report_only_headers.inc_by(let_through);
        }
        Passage {
            extent,
            rule: rule.map(|rule| rule.index),
            identity,
            target: sent_on.unwrap_or_else(|| head.target.to_owned()),
            path_length: target.path.len(),
            method: http::Method::from_bytes(head.method.as_bytes()).unwrap_or_default(),
            origin,
            cookie,
            kept: kept.into_iter().map(|(_, field)| field).collect(),
            dropped,
            version: head.version,
            websocket,
            trailers: trailers && head.version == HttpVersion::Http11,
            idle_timeout: rule.and_then(|rule| rule.idle_timeout),
            request_id: request_id(head, origin),
            host,
            cors: None,
            would,
        }
    }
}

impl Refused {
    /// A request of which nothing but the peer is known; its connection ends.
    pub fn unreadable(code: ErrorCode, detail: &'static str, peer: Option<IpAddr>) -> Self {
        Self {
            code,
            detail: Some(detail),
            rule: None,
            method: String::new(),
            path: String::new(),
            origin: client_ip::resolve(peer, std::iter::empty(), std::iter::empty(), &[]),
            framing: None,
            user: None,
            cors: None,
            asked: false,
            request_id: None,
        }
    }
}

/// The request id that a trusted proxy has given.
fn request_id(head: &Head<'_>, origin: Origin) -> Option<String> {
    if origin.trusted_peer { sole_id(head.values("x-request-id")) } else { None }
}

/// One `X-Request-Id` of 1 to 64 letters, digits, `-`, `_` or `.`: anything else could confuse whoever searches logs for it.
fn sole_id<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Option<String> {
    let value = str::from_utf8(values.next()?).ok()?;
    let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    (values.next().is_none() && plain && (1..=64).contains(&value.len())).then(|| value.to_owned())
}

/// Whether a `TE` says that its sender takes trailers.
fn says_trailers(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// The claims, besides those that every token has, that some rule or header of the config asks for.
pub fn kept_claims(config: &Config) -> Arc<[Arc<str>]> {
    let of_rules = config.rule.iter().flat_map(|rule| rule.claims.keys().map(String::as_str));
    let names: BTreeSet<&str> = of_rules.chain(identity::custom_claims(&config.identity)).collect();
    names.into_iter().map(Arc::from).collect()
}

/// The rules and header names of a config, compiled; every problem of either.
pub fn compile_policy(config: &Config) -> Result<(RuleSet, HeaderPolicy), GateProblems> {
    let rules = RuleSet::compile(&config.rule).map(|rules| rules.reporting(config.gate.report_only));
    let headers = HeaderPolicy::compile(config);
    match (rules, headers) {
        (Ok(rules), Ok(headers)) => Ok((rules, headers)),
        (rules, headers) => {
            let of_rules = rules.err().unwrap_or_default();
            let of_headers = headers.err().unwrap_or_default();
            let of_rules =
                of_rules.into_iter().map(|problem| (format!("rule[{}].{}", problem.index, problem.key), problem.message));
            let of_headers = of_headers
                .into_iter()
                .map(|problem| (problem.key.to_owned(), format!("{:?} {}", problem.entry, problem.message)));
            Err(of_rules.chain(of_headers).collect())
        }
    }
}

/// A refusal that a proxy asked for.
fn no(refused: Refused) -> Verdict {
    Verdict::Refuse(Box::new(Refused { asked: true, ..refused }))
}

fn refused(head: &Head<'_>, refusal: Refusal, origin: Origin, extent: Option<Extent>) -> Refused {
    let path = head.target.split(['?', '#']).next().unwrap_or_default();
    Refused {
        code: refusal.code,
        detail: Some(refusal.detail),
        rule: None,
        method: head.method.to_owned(),
        // A refused target may hold anything, and a terminal may read the log.
        path: path.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect(),
        origin,
        framing: extent.map(|extent| Extent { keep_alive: extent.keep_alive && !refusal.close, ..extent }),
        user: None,
        cors: None,
        asked: false,
        request_id: request_id(head, origin),
    }
}
