//! What the gate does with a request, and why, for people who write rules.
//!
//! Must stay true: the outcome and its reasons are what [`Trace`] saw while the gate itself decided
//! on the head; nothing here decides. An explanation has no credential, no query and no value of a
//! header of the client.

mod text;
mod trace;
mod written;

pub use written::WrittenRequest;

use std::{mem::MaybeUninit, net::IpAddr};

use serde::Serialize;

use crate::{
    auth::Identity,
    config::Config,
    error::ErrorCode,
    gate::{
        AdmittedRequest, Decision, ForwardAuthAllowed, Gate, LocalRoute, PathReading, Rejection,
        ReportOnlyDecision,
    },
    policy::{ClientConnection, Parsed, Rule, credential, head, headers},
    types::Timestamp,
};
use trace::{SeenCredential, Trace};

/// What happens to one request, and why. The names of its JSON fields are stable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether it passes.
    pub passes: bool,
    /// `forwarded`, `answered`, `preflight`, `verified` or `refused`.
    pub outcome: &'static str,
    /// What responds to the client: `backend`, `auth_api`, `dialect` or `gate`.
    pub answered_by: &'static str,
    /// Error code and HTTP status of the rejection, and its reason.
    pub code: Option<&'static str>,
    pub status: Option<u16>,
    pub detail: Option<String>,
    /// In report-only mode: the error code of the rejection that was not enforced.
    pub would_refuse: Option<&'static str>,
    pub method: String,
    /// Without the query.
    pub path: String,
    /// How the head was read: `sound`, or what is wrong with it.
    pub head: String,
    /// How the path was read: `one reading`, or what is wrong with it; `None`: it was not read.
    pub path_reading: Option<String>,
    /// It is a forward-auth request; method and path are those of the request that it is about.
    pub forward_auth: bool,
    pub client_ip: String,
    /// The name of the rule that decides; `None`: none does.
    pub rule: Option<String>,
    pub rule_index: Option<usize>,
    /// What that rule requires.
    pub asks: Option<String>,
    /// Every rule in order.
    pub rules: Vec<CheckedRule>,
    pub token: TokenReport,
    /// The user that the backend gets; `None`: anonymous.
    pub user: Option<String>,
    /// The headers that the backend gets from menshen, names and values.
    pub backend_gets: Vec<HeaderNote>,
    /// Headers of the client that the backend does not get, and why.
    pub stripped: Vec<HeaderNote>,
}

/// The part of one rule in the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedRule {
    pub index: usize,
    pub name: String,
    pub decides: bool,
    pub why: String,
}

/// The state of the credential.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TokenReport {
    /// `none`, `malformed`, `valid`, or the error code of an invalid one.
    pub state: &'static str,
    pub why: Option<String>,
    /// Whether the rule uses it.
    pub matters: bool,
    pub user: Option<String>,
    pub user_type: Option<String>,
    pub roles: Vec<String>,
    /// The `[[issuer]]` that signed it; `None`: menshen.
    pub issuer: Option<String>,
    /// RFC 3339; `None`: never, or not known.
    pub expires: Option<String>,
}

/// The name of a header, and its value or a note on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeaderNote {
    pub name: String,
    pub value: String,
}

impl HeaderNote {
    fn new(name: &str, value: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            value: value.into(),
        }
    }
}

/// Explains the decision of the gate on `bytes`, a whole head. `config` is the one that this gate
/// was compiled from.
pub fn explain(
    gate: &Gate,
    config: &Config,
    bytes: &[u8],
    peer: Option<IpAddr>,
    now: Timestamp,
) -> Explanation {
    let mut trace = Trace::default();
    let decision = gate.decide_http1_observed(bytes, peer, now, &mut trace);
    trace.removed.sort_by_key(|(index, _, _)| *index);
    let explainer = Explainer {
        gate,
        config,
        trace,
    };
    let explanation = match decision {
        None => {
            let detail = "The head does not end.";
            let rejection = Rejection::malformed(ErrorCode::RequestMalformed, detail, peer);
            Explanation {
                head: detail.to_owned(),
                ..explainer.rejection(&rejection)
            }
        }
        Some(Decision::Reject(rejection)) => explainer.rejection(&rejection),
        Some(Decision::AuthApi(request)) => {
            explainer.admitted(&request, "answered", explainer.local_route())
        }
        Some(Decision::Preflight(request)) => explainer.admitted(&request, "preflight", "gate"),
        Some(Decision::Forward(request)) => explainer.forwarded(&request, bytes),
        Some(Decision::AllowForwardAuth(allowed)) => explainer.forward_auth_allowed(&allowed),
    };
    let rule = explanation
        .rule_index
        .and_then(|index| gate.rules().rules().nth(index));
    // A request for the auth API has no rule; its routes check tokens themselves.
    let matters = rule.is_some_and(Rule::needs_token);
    let token = TokenReport {
        matters,
        ..explainer.token(&explanation.path, bytes, now)
    };
    Explanation {
        token,
        ..explanation
    }
}

/// A decision, with everything that was seen of it.
struct Explainer<'a> {
    gate: &'a Gate,
    config: &'a Config,
    trace: Trace,
}

impl Explainer<'_> {
    fn rejection(&self, rejection: &Rejection) -> Explanation {
        let detail = rejection
            .detail
            .filter(|detail| !detail.is_empty())
            .map(str::to_owned);
        let explanation = Explanation {
            code: Some(rejection.code.as_str()),
            status: Some(rejection.code.status().as_u16()),
            forward_auth: rejection.forward_auth,
            ..self.explanation(&rejection.method, &rejection.path, rejection.client)
        };
        let mut explanation = self.with_rule(explanation, rejection.rule);
        explanation.detail = detail.or_else(|| {
            let rule = self.gate.rules().rules().nth(rejection.rule?)?;
            Some(text::describe_rejection(
                rejection.code,
                rule,
                rejection.identity.as_deref(),
            ))
        });
        explanation
    }

    fn forwarded(&self, request: &AdmittedRequest, bytes: &[u8]) -> Explanation {
        Explanation {
            backend_gets: backend_gets(self.config, request, bytes),
            stripped: self.stripped(request.forward.websocket),
            ..self.admitted(request, "forwarded", "backend")
        }
    }

    fn forward_auth_allowed(&self, allowed: &ForwardAuthAllowed) -> Explanation {
        Explanation {
            forward_auth: true,
            backend_gets: identity_headers(allowed.request.identity.as_deref()),
            stripped: self.stripped(false),
            ..self.admitted(&allowed.request, "verified", "gate")
        }
    }

    fn admitted(
        &self,
        request: &AdmittedRequest,
        outcome: &'static str,
        answered_by: &'static str,
    ) -> Explanation {
        let explanation = Explanation {
            passes: true,
            outcome,
            answered_by,
            would_refuse: request
                .log
                .report_only
                .and_then(ReportOnlyDecision::code)
                .map(ErrorCode::as_str),
            user: request
                .identity
                .as_ref()
                .map(|identity| identity.claims.sub().as_str().to_owned()),
            ..self.explanation(
                request.forward.method.as_str(),
                request.path(),
                request.client,
            )
        };
        self.with_rule(explanation, request.log.rule)
    }

    /// What is the same for every outcome.
    fn explanation(&self, method: &str, path: &str, client: ClientConnection) -> Explanation {
        let path_reading = self.trace.path.map(|reading| match reading {
            PathReading::One => text::ONE_READING,
            PathReading::Allowed => text::ALLOWED_READINGS,
            PathReading::Ambiguous(detail) => detail,
        });
        Explanation {
            head: self.trace.head_rejected.unwrap_or(text::SOUND).to_owned(),
            path_reading: path_reading.map(str::to_owned),
            ..Explanation::new(method, path, client)
        }
    }

    const fn local_route(&self) -> &'static str {
        match self.trace.local_route {
            Some(LocalRoute::Dialect) => "dialect",
            Some(LocalRoute::AuthApi) | None => "auth_api",
        }
    }

    fn with_rule(&self, explanation: Explanation, index: Option<usize>) -> Explanation {
        let Some(index) = index else {
            return explanation;
        };
        let rules = || self.gate.rules().rules();
        let checked = rules()
            .zip(&self.trace.rules)
            .map(|(rule, outcome)| CheckedRule {
                index: rule.index,
                name: rule.name.to_string(),
                decides: rule.index == index,
                why: text::describe_outcome(*outcome, self.config.rule.get(rule.index)),
            });
        let rule = rules().nth(index);
        Explanation {
            rule: rule.map(|rule| rule.name.to_string()),
            rule_index: Some(index),
            asks: rule.map(text::describe_access),
            rules: checked.collect(),
            ..explanation
        }
    }

    /// The state of the credential, even if the gate did not check it.
    fn token(&self, path: &str, bytes: &[u8], now: Timestamp) -> TokenReport {
        let unseen;
        let credential = if let Some(credential) = &self.trace.credential {
            credential
        } else {
            unseen = self.unseen_credential(path, bytes);
            &unseen
        };
        let token = match credential {
            SeenCredential::None => return TokenReport::new("none", None),
            SeenCredential::Malformed(why) => {
                return TokenReport::new("malformed", Some((*why).to_owned()));
            }
            SeenCredential::Bearer(token) => token.expose(),
        };
        let authorizer = self.gate.authorizer();
        match self
            .trace
            .token
            .clone()
            .unwrap_or_else(|| authorizer.authorize(token, now))
        {
            Ok(identity) => TokenReport::valid(&identity),
            Err(code) => {
                let why = authorizer
                    .rejection_reason(token, now)
                    .map(|error| error.to_string());
                TokenReport::new(code.as_str(), why)
            }
        }
    }

    /// The credential of a request on which the gate decided without it.
    fn unseen_credential(&self, path: &str, bytes: &[u8]) -> SeenCredential {
        let mut slots: Vec<_> = (0..=self.config.server.max_headers)
            .map(|_| MaybeUninit::uninit())
            .collect();
        let Ok(Parsed::Complete(head)) = head::parse(bytes, &mut slots) else {
            return SeenCredential::None;
        };
        credential::read(&head, self.gate.token_locations(path), None).into()
    }

    fn stripped(&self, websocket: bool) -> Vec<HeaderNote> {
        let removed = self.trace.removed.iter();
        removed
            .map(|(_, name, reason)| {
                HeaderNote::new(name, text::describe_removal(*reason, websocket))
            })
            .collect()
    }
}

impl Explanation {
    fn new(method: &str, path: &str, client: ClientConnection) -> Self {
        Self {
            outcome: "refused",
            answered_by: "gate",
            method: method.to_owned(),
            path: path.to_owned(),
            head: text::SOUND.to_owned(),
            client_ip: client.ip.to_string(),
            token: TokenReport::new("none", None),
            ..Self::default()
        }
    }
}

impl TokenReport {
    fn new(state: &'static str, why: Option<String>) -> Self {
        Self {
            state,
            why,
            ..Self::default()
        }
    }

    fn valid(identity: &Identity) -> Self {
        let claims = &identity.claims;
        let issuer = match claims {
            crate::token::VerifiedClaims::Own(_) => None,
            crate::token::VerifiedClaims::External(claims) => Some(claims.issuer.to_string()),
        };
        Self {
            user: Some(claims.sub().as_str().to_owned()),
            user_type: Some(claims.user_type().as_str().to_owned()),
            roles: claims.roles().to_vec(),
            issuer,
            expires: claims.exp().map(Timestamp::rfc3339),
            ..Self::new("valid", None)
        }
    }
}

/// The headers that name the user.
fn identity_headers(identity: Option<&Identity>) -> Vec<HeaderNote> {
    let headers = identity
        .into_iter()
        .flat_map(|identity| identity.headers.iter());
    let mut notes: Vec<_> = headers
        .map(|(name, value)| {
            HeaderNote::new(name.as_str(), String::from_utf8_lossy(value.as_bytes()))
        })
        .collect();
    notes.push(HeaderNote::new(
        headers::AUTH_STATE_NAME.as_str(),
        if identity.is_some() {
            "authenticated"
        } else {
            "anonymous"
        },
    ));
    notes
}

/// Everything that is set on a request to the backend.
fn backend_gets(config: &Config, request: &AdmittedRequest, bytes: &[u8]) -> Vec<HeaderNote> {
    let mut notes = identity_headers(request.identity.as_deref());
    let mut note =
        |name: &str, value: String| notes.push(HeaderNote::new(&name.to_ascii_lowercase(), value));
    if config.identity.assertion && request.identity.is_some() {
        note(headers::AUTH_ASSERTION, "(newly signed)".to_owned());
    }
    if config.upstream.shared_secret.is_some() {
        note(
            &config.upstream.shared_secret_header,
            "(upstream.shared_secret)".to_owned(),
        );
    }
    note("x-forwarded-for", request.client.ip.to_string());
    // Only a gate that reports lets it pass.
    if !request
        .forward
        .forwarded_headers
        .iter()
        .any(|range| bytes[range.name()].eq_ignore_ascii_case(b"x-real-ip"))
    {
        note("x-real-ip", request.client.ip.to_string());
    }
    note(
        "x-forwarded-proto",
        if request.client.https {
            "https"
        } else {
            "http"
        }
        .to_owned(),
    );
    if let Some(host) = request.forward.host {
        note(
            "x-forwarded-host",
            String::from_utf8_lossy(&bytes[host.value()]).into_owned(),
        );
    }
    note(
        "x-request-id",
        request
            .log
            .request_id
            .clone()
            .unwrap_or_else(|| "(generated)".to_owned()),
    );
    notes
}

#[cfg(test)]
mod tests;
