//! What the gate would do with a request, and why, for people who write rules.
//!
//! Must stay true: the outcome is that of [`Gate::decide`] itself, on a head as a client sends it; nothing here decides. No
//! credential is in an explanation, nor a query or the value of a header that was given.

mod text;

use std::{mem::MaybeUninit, net::IpAddr};

use serde::Serialize;

use super::{AdmittedRequest, Decision, DryRunDecision, Gate, Rejection, Slot, access::RequestKind};
use crate::{
    api::problem,
    auth::Identity,
    config::{Config, RuleConfig},
    error::ErrorCode,
    policy::{Credential, Head, HeaderVerdict, Origin, Parsed, TokenLocations, credential, head, headers, path},
    types::Timestamp,
};

/// What happens to one request, and why. The names of its JSON are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether it would pass.
    pub passes: bool,
    /// `forwarded`, `answered`, `preflight`, `verified` or `refused`.
    pub outcome: &'static str,
    /// Who answers the client: `backend`, `auth_api`, `dialect` or `gate`.
    pub answered_by: &'static str,
    /// Code and HTTP status of the refusal, and what was wrong.
    pub code: Option<&'static str>,
    pub status: Option<u16>,
    pub detail: Option<String>,
    /// The gate only reports here: the code with which it would have rejected.
    pub would_refuse: Option<&'static str>,
    pub method: String,
    /// Without the query.
    pub path: String,
    /// How the head was read: `sound`, or what is wrong with it.
    pub head: String,
    /// How the path was read: `one reading`, or what is wrong with it; `None`: it did not come to that.
    pub path_reading: Option<String>,
    /// A proxy asks; method and path are those that it asks about.
    pub forward_auth: bool,
    pub client_ip: String,
    /// The name of the rule that decides; `None`: it does not come to rules.
    pub rule: Option<String>,
    pub rule_index: Option<usize>,
    /// What that rule asks for.
    pub asks: Option<String>,
    /// Every rule in order.
    pub rules: Vec<CheckedRule>,
    pub token: TokenReport,
    /// Whom the backend is told of; `None`: nobody.
    pub user: Option<String>,
    /// What the backend is told, names and values.
    pub backend_gets: Vec<HeaderNote>,
    /// Headers of the client that the backend does not get, and why.
    pub stripped: Vec<HeaderNote>,
}

/// What a rule has to do with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedRule {
    pub index: usize,
    pub name: String,
    pub decides: bool,
    pub why: String,
}

/// What the credential is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenReport {
    /// `none`, `malformed`, `valid`, or the code of what is wrong with it.
    pub state: &'static str,
    pub why: Option<String>,
    /// Whether the rule has a use for it.
    pub matters: bool,
    pub user: Option<String>,
    pub user_type: Option<String>,
    pub roles: Vec<String>,
    /// The `[[issuer]]` that signed it; `None`: menshen.
    pub issuer: Option<String>,
    /// RFC 3339; `None`: never, or not known.
    pub expires: Option<String>,
}

/// The name of a header, and its value or what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeaderNote {
    pub name: String,
    pub value: String,
}

impl HeaderNote {
    fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into() }
    }
}

impl Gate {
    /// Explains what [`Gate::decide`] makes of `bytes`, a whole head. `config` is the one that this gate was compiled from.
    pub fn explain(&self, config: &Config, bytes: &[u8], peer: Option<IpAddr>, now: Timestamp) -> Explanation {
        let mut slots: Vec<Slot<'_>> = (0..=self.limits.max_headers).map(|_| MaybeUninit::uninit()).collect();
        let head = match head::parse(bytes, &mut slots) {
            Ok(Parsed::Complete(head)) => Some(head),
            Ok(Parsed::Partial) | Err(_) => None,
        };
        let mut told = match self.decide_http1(bytes, peer, now) {
            None => {
                let rejection = Rejection::malformed(ErrorCode::RequestMalformed, "The head does not end.", peer);
                self.of_refusal(config, &rejection)
            }
            Some(Decision::Reject(rejection)) => self.of_refusal(config, &rejection),
            Some(Decision::AuthApi(request)) => {
                let dialect = self.access.local_routes.has(request.forward.method.as_str(), request.path());
                self.of_request(config, &request, "answered", if dialect { "dialect" } else { "auth_api" })
            }
            Some(Decision::Preflight(request)) => self.of_request(config, &request, "preflight", "gate"),
            Some(Decision::Forward(request)) => {
                let mut told = self.of_request(config, &request, "forwarded", "backend");
                told.backend_gets = backend_gets(config, &request, bytes);
                if let Some(head) = &head {
                    told.stripped = self.stripped(head, &request);
                }
                told
            }
            Some(Decision::AllowForwardAuth(allowed)) => {
                let mut told = self.of_request(config, &allowed.request, "verified", "gate");
                told.forward_auth = true;
                told.backend_gets = of_caller(allowed.request.identity.as_deref());
                let names = allowed.request.forward.removed_headers.iter().map(http::HeaderName::as_str);
                told.stripped = names
                    .map(|name| HeaderNote::new(name, text::of_header(self.headers.policy.verdict(name), false)))
                    .collect();
                told
            }
        };
        if let Some(head) = &head {
            // An answer of the auth API has no rule; each of its routes asks for what it needs.
            let rule = told.rule_index.and_then(|index| self.access.rules.rules().nth(index));
            let matters = rule.is_some_and(text::wants_token);
            let websocket = head.values("upgrade").next().is_some();
            let kind = if told.forward_auth { RequestKind::ForwardAuth } else { RequestKind::Proxied { websocket } };
            let locations = match rule {
                Some(_) => self.access.token_locations(self.access.rules.find(&told.path, &told.method), &told.path, kind),
                None => TokenLocations {
                    bare: self.access.local_routes.takes_bare_token(&told.path),
                    ..TokenLocations::default()
                },
            };
            // A proxy's question has a method of its own.
            let asked = Head { method: &told.method, ..*head };
            told.token = TokenReport { matters, ..self.token(&asked, locations, now) };
        }
        told
    }

    fn of_refusal(&self, config: &Config, rejection: &Rejection) -> Explanation {
        let detail = rejection.detail.filter(|detail| !detail.is_empty()).map(str::to_owned);
        let about_path = rejection.code == ErrorCode::PathAmbiguous;
        let wrong = detail.clone().unwrap_or_default();
        let in_head = rejection.rule.is_none() && !about_path && !rejection.forward_auth;
        let path_reading = match rejection.rule {
            Some(_) => Some(text::ONE_READING.to_owned()),
            None => about_path.then(|| wrong.clone()),
        };
        let told = Explanation {
            code: Some(rejection.code.as_str()),
            status: Some(problem::status(rejection.code).as_u16()),
            head: if in_head { wrong } else { text::SOUND.to_owned() },
            path_reading,
            forward_auth: rejection.forward_auth,
            ..Explanation::new(&rejection.method, &rejection.path, rejection.origin)
        };
        let mut told = self.with_rule(config, told, rejection.rule);
        told.detail = detail.or_else(|| {
            let rule = self.access.rules.rules().nth(rejection.rule?)?;
            Some(text::of_refusal(rejection.code, rule, rejection.identity.as_deref()))
        });
        told
    }

    fn of_request(
        &self,
        config: &Config,
        request: &AdmittedRequest,
        outcome: &'static str,
        answered_by: &'static str,
    ) -> Explanation {
        let told = Explanation {
            passes: true,
            outcome,
            answered_by,
            would_refuse: request.log.dry_run.and_then(DryRunDecision::code).map(ErrorCode::as_str),
            path_reading: Some(self.reading(request).to_owned()),
            user: request.identity.as_ref().map(|identity| identity.claims.sub().as_str().to_owned()),
            ..Explanation::new(request.forward.method.as_str(), request.path(), request.origin)
        };
        self.with_rule(config, told, request.log.rule)
    }

    /// How the path is read.
    fn reading(&self, request: &AdmittedRequest) -> &'static str {
        match (
            path::check(&request.forward.target),
            self.access.target(&request.forward.target, request.forward.method.as_str()),
        ) {
            (Ok(_), _) => text::ONE_READING,
            (Err(_), Ok(_)) => text::ALLOWED_READINGS,
            (Err(_), Err(wrong)) => wrong.detail,
        }
    }

    fn with_rule(&self, config: &Config, told: Explanation, index: Option<usize>) -> Explanation {
        let Some(index) = index else { return told };
        let considered = |(rule, standing): (&crate::policy::Rule, _)| CheckedRule {
            index: rule.index,
            name: rule.name.to_string(),
            decides: rule.index == index,
            why: text::of_standing(standing, config.rule.get(rule.index)),
        };
        let rules: Vec<_> = self.access.rules.outcomes(&told.path, &told.method).into_iter().map(considered).collect();
        let rule = self.access.rules.rules().nth(index);
        Explanation {
            rule: rule.map(|rule| rule.name.to_string()),
            rule_index: Some(index),
            asks: rule.map(text::of_access),
            rules,
            ..told
        }
    }

    /// What the credential would be good for, whether or not anybody asks.
    fn token(&self, head: &Head<'_>, locations: TokenLocations<'_>, now: Timestamp) -> TokenReport {
        let token = match credential::read(head, locations, self.access.cors.as_ref()) {
            Ok(Credential::None) => return TokenReport::of("none", None),
            Ok(Credential::Bearer(token)) => token,
            Ok(Credential::Malformed) => return TokenReport::of("malformed", Some("it is no bearer token".to_owned())),
            Err(refusal) => return TokenReport::of("malformed", Some(refusal.detail.to_owned())),
        };
        match self.access.authorizer.authorize(token, now) {
            Ok(identity) => TokenReport::valid(&identity),
            Err(code) => {
                let why = self.access.authorizer.objection(token, now).map(|error| error.to_string());
                TokenReport::of(code.as_str(), why)
            }
        }
    }

    fn stripped(&self, head: &Head<'_>, request: &AdmittedRequest) -> Vec<HeaderNote> {
        let gone = head.headers.iter().filter(|header| !request.forward.forwarded_headers.contains(&head.range(header)));
        gone.map(|header| {
            let verdict: HeaderVerdict = self.headers.policy.verdict(header.name);
            let spent = header.name.eq_ignore_ascii_case("cookie")
                && credential::without_cookies(head, &self.headers.token_cookies).is_some();
            HeaderNote::new(
                header.name,
                if spent { text::COOKIE } else { text::of_header(verdict, request.forward.websocket) },
            )
        })
        .collect()
    }
}

impl Explanation {
    fn new(method: &str, path: &str, origin: Origin) -> Self {
        Self {
            passes: false,
            outcome: "refused",
            answered_by: "gate",
            code: None,
            status: None,
            detail: None,
            would_refuse: None,
            method: method.to_owned(),
            path: path.to_owned(),
            head: text::SOUND.to_owned(),
            path_reading: None,
            forward_auth: false,
            client_ip: origin.ip.to_string(),
            rule: None,
            rule_index: None,
            asks: None,
            rules: Vec::new(),
            token: TokenReport::of("none", None),
            user: None,
            backend_gets: Vec::new(),
            stripped: Vec::new(),
        }
    }
}

impl TokenReport {
    const fn of(state: &'static str, why: Option<String>) -> Self {
        Self { state, why, matters: false, user: None, user_type: None, roles: Vec::new(), issuer: None, expires: None }
    }

    fn valid(identity: &Identity) -> Self {
        let claims = &identity.claims;
        let issuer = match claims {
            crate::token::Verified::Own(_) => None,
            crate::token::Verified::Foreign(claims) => Some(claims.issuer.to_string()),
        };
        Self {
            user: Some(claims.sub().as_str().to_owned()),
            user_type: Some(claims.user_type().as_str().to_owned()),
            roles: claims.roles().to_vec(),
            issuer,
            expires: claims.exp().map(Timestamp::rfc3339),
            ..Self::of("valid", None)
        }
    }
}

/// Who is calling, as the backend is told.
fn of_caller(identity: Option<&Identity>) -> Vec<HeaderNote> {
    let headers = identity.into_iter().flat_map(|identity| &identity.headers);
    let mut told: Vec<_> =
        headers.map(|(name, value)| HeaderNote::new(name.as_str(), String::from_utf8_lossy(value.as_bytes()))).collect();
    told.push(HeaderNote::new(
        headers::AUTH_STATE_NAME.as_str(),
        if identity.is_some() { "authenticated" } else { "anonymous" },
    ));
    told
}

/// Everything that is set on a request to the backend.
fn backend_gets(config: &Config, request: &AdmittedRequest, bytes: &[u8]) -> Vec<HeaderNote> {
    let mut told = of_caller(request.identity.as_deref());
    let mut say = |name: &str, value: String| told.push(HeaderNote::new(&name.to_ascii_lowercase(), value));
    if config.identity.assertion && request.identity.is_some() {
        say(headers::AUTH_ASSERTION, "(signed anew)".to_owned());
    }
    if config.upstream.shared_secret.is_some() {
        say(&config.upstream.shared_secret_header, "(upstream.shared_secret)".to_owned());
    }
    say("x-forwarded-for", request.origin.ip.to_string());
    // Only a gate that reports lets it pass.
    if !request.forward.forwarded_headers.iter().any(|field| bytes[field.name()].eq_ignore_ascii_case(b"x-real-ip")) {
        say("x-real-ip", request.origin.ip.to_string());
    }
    say("x-forwarded-proto", if request.origin.https { "https" } else { "http" }.to_owned());
    if let Some(host) = &request.forward.host {
        say("x-forwarded-host", String::from_utf8_lossy(host.as_bytes()).into_owned());
    }
    say("x-request-id", request.log.request_id.clone().unwrap_or_else(|| "(made anew)".to_owned()));
    told
}

/// The pattern and methods of a rule, as its config has them; nothing for the default rule.
fn covers(rule: Option<&RuleConfig>) -> String {
    rule.map_or_else(String::new, |rule| {
        let methods = if rule.methods.is_empty() { String::new() } else { format!("{} ", rule.methods.join("|")) };
        format!("{methods}{}", rule.path)
    })
}

#[cfg(test)]
mod tests;
