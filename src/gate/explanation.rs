//! What the gate would do with a request, and why, for people who write rules.
//!
//! Must stay true: the outcome is that of [`Gate::decide`] itself, on a head as a client sends it; nothing here decides. No
//! credential is in an explanation, nor a query or the value of a header that was given.

mod words;

use std::{mem::MaybeUninit, net::IpAddr};

use serde::Serialize;

use super::{Field, Gate, Passage, Refused, Slot, Verdict, Way};
use crate::{
    api::problem,
    auth::Identity,
    config::{Config, RuleConfig},
    error::ErrorCode,
    policy::{Credential, Head, HeaderVerdict, Origin, Parsed, Places, credential, head, headers, path},
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
    /// The gate only reports here: the code with which it would have refused.
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
    pub rules: Vec<Considered>,
    pub token: TokenTold,
    /// Whom the backend is told of; `None`: nobody.
    pub user: Option<String>,
    /// What the backend is told, names and values.
    pub backend_gets: Vec<Told>,
    /// Headers of the client that the backend does not get, and why.
    pub stripped: Vec<Told>,
}

/// What a rule has to do with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Considered {
    pub index: usize,
    pub name: String,
    pub decides: bool,
    pub why: String,
}

/// What the credential is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenTold {
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
pub struct Told {
    pub name: String,
    pub value: String,
}

impl Told {
    fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into() }
    }
}

impl Gate {
    /// Explains what [`Gate::decide`] makes of `bytes`, a whole head. `config` is the one that this gate was compiled from.
    pub fn explain(&self, config: &Config, bytes: &[u8], peer: Option<IpAddr>, now: Timestamp) -> Explanation {
        let mut slots: Vec<Slot<'_>> = (0..=self.limits.max_headers).map(|_| MaybeUninit::uninit()).collect();
        let head = match head::parse(bytes, &mut slots) {
            Ok(Parsed::Complete { head, .. }) => Some(head),
            Ok(Parsed::Partial) | Err(_) => None,
        };
        let mut told = match self.decide(bytes, peer, now) {
            Verdict::Incomplete => {
                let refused = Refused::unreadable(ErrorCode::RequestMalformed, "The head does not end.", peer);
                self.of_refusal(config, &refused)
            }
            Verdict::Refuse(refused) => self.of_refusal(config, &refused),
            Verdict::AuthApi(passage) => {
                let dialect = self.answered.has(passage.method.as_str(), passage.path());
                self.of_passage(config, &passage, "answered", if dialect { "dialect" } else { "auth_api" })
            }
            Verdict::Preflight(passage) => self.of_passage(config, &passage, "preflight", "gate"),
            Verdict::Forward(passage) => {
                let mut told = self.of_passage(config, &passage, "forwarded", "backend");
                told.backend_gets = backend_gets(config, &passage, bytes);
                if let Some(head) = &head {
                    told.stripped = self.stripped(head, bytes, &passage);
                }
                told
            }
            Verdict::Verified(verified) => {
                let mut told = self.of_passage(config, &verified.passage, "verified", "gate");
                told.forward_auth = true;
                told.backend_gets = of_caller(verified.passage.identity.as_deref());
                let names = verified.passage.dropped.iter().map(http::HeaderName::as_str);
                told.stripped =
                    names.map(|name| Told::new(name, words::of_header(self.headers.verdict(name), false))).collect();
                told
            }
        };
        if let Some(head) = &head {
            // An answer of the auth API has no rule; each of its routes asks for what it needs.
            let rule = told.rule_index.and_then(|index| self.rules.rules().nth(index));
            let matters = rule.is_some_and(words::wants_token);
            let websocket = head.values("upgrade").next().is_some();
            let way = if told.forward_auth { Way::Asked } else { Way::Direct { websocket } };
            let places = match rule {
                Some(_) => self.places(self.rules.find(&told.path, &told.method), &told.path, way),
                None => Places { bare: self.answered.takes_bare_token(&told.path), ..Places::default() },
            };
            // A proxy's question has a method of its own.
            let asked = Head { method: &told.method, ..*head };
            told.token = TokenTold { matters, ..self.token(&asked, places, now) };
        }
        told
    }

    fn of_refusal(&self, config: &Config, refused: &Refused) -> Explanation {
        let detail = refused.detail.filter(|detail| !detail.is_empty()).map(str::to_owned);
        let about_path = refused.code == ErrorCode::PathAmbiguous;
        let wrong = detail.clone().unwrap_or_default();
        let in_head = refused.rule.is_none() && !about_path && !refused.asked;
        let path_reading = match refused.rule {
            Some(_) => Some(words::ONE_READING.to_owned()),
            None => about_path.then(|| wrong.clone()),
        };
        let told = Explanation {
            code: Some(refused.code.as_str()),
            status: Some(problem::status(refused.code).as_u16()),
            head: if in_head { wrong } else { words::SOUND.to_owned() },
            path_reading,
            forward_auth: refused.asked,
            ..Explanation::new(&refused.method, &refused.path, refused.origin)
        };
        let mut told = self.with_rule(config, told, refused.rule);
        told.detail = detail.or_else(|| {
            let rule = self.rules.rules().nth(refused.rule?)?;
            Some(words::of_refusal(refused.code, rule, refused.user.as_deref()))
        });
        told
    }

    fn of_passage(
        &self,
        config: &Config,
        passage: &Passage,
        outcome: &'static str,
        answered_by: &'static str,
    ) -> Explanation {
        let told = Explanation {
            passes: true,
            outcome,
            answered_by,
            would_refuse: passage.would.and_then(super::Would::code).map(ErrorCode::as_str),
            path_reading: Some(self.reading(passage).to_owned()),
            user: passage.identity.as_ref().map(|identity| identity.claims.sub().as_str().to_owned()),
            ..Explanation::new(passage.method.as_str(), passage.path(), passage.origin)
        };
        self.with_rule(config, told, passage.rule)
    }

    /// How the path is read.
    fn reading(&self, passage: &Passage) -> &'static str {
        match (path::check(&passage.target), self.target(&passage.target, passage.method.as_str())) {
            (Ok(_), _) => words::ONE_READING,
            (Err(_), Ok(_)) => words::ALLOWED_READINGS,
            (Err(_), Err(wrong)) => wrong.detail,
        }
    }

    fn with_rule(&self, config: &Config, told: Explanation, index: Option<usize>) -> Explanation {
        let Some(index) = index else { return told };
        let considered = |(rule, standing): (&crate::policy::Rule, _)| Considered {
            index: rule.index,
            name: rule.name.to_string(),
            decides: rule.index == index,
            why: words::of_standing(standing, config.rule.get(rule.index)),
        };
        let rules: Vec<_> = self.rules.standings(&told.path, &told.method).into_iter().map(considered).collect();
        let rule = self.rules.rules().nth(index);
        Explanation {
            rule: rule.map(|rule| rule.name.to_string()),
            rule_index: Some(index),
            asks: rule.map(words::of_access),
            rules,
            ..told
        }
    }

    /// What the credential would be good for, whether or not anybody asks.
    fn token(&self, head: &Head<'_>, places: Places<'_>, now: Timestamp) -> TokenTold {
        let token = match credential::read(head, places, self.cors.as_ref()) {
            Ok(Credential::None) => return TokenTold::of("none", None),
            Ok(Credential::Bearer(token)) => token,
            Ok(Credential::Malformed) => return TokenTold::of("malformed", Some("it is no bearer token".to_owned())),
            Err(refusal) => return TokenTold::of("malformed", Some(refusal.detail.to_owned())),
        };
        match self.authorizer.authorize(token, now) {
            Ok(identity) => TokenTold::valid(&identity),
            Err(code) => {
                let why = self.authorizer.objection(token, now).map(|error| error.to_string());
                TokenTold::of(code.as_str(), why)
            }
        }
    }

    fn stripped(&self, head: &Head<'_>, bytes: &[u8], passage: &Passage) -> Vec<Told> {
        let gone = head.headers.iter().filter(|header| !passage.kept.contains(&Field::of(header, bytes)));
        gone.map(|header| {
            let verdict: HeaderVerdict = self.headers.verdict(header.name);
            let spent = header.name.eq_ignore_ascii_case("cookie")
                && credential::without_cookies(head, &self.token_cookies).is_some();
            Told::new(header.name, if spent { words::COOKIE } else { words::of_header(verdict, passage.websocket) })
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
            head: words::SOUND.to_owned(),
            path_reading: None,
            forward_auth: false,
            client_ip: origin.ip.to_string(),
            rule: None,
            rule_index: None,
            asks: None,
            rules: Vec::new(),
            token: TokenTold::of("none", None),
            user: None,
            backend_gets: Vec::new(),
            stripped: Vec::new(),
        }
    }
}

impl TokenTold {
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
fn of_caller(identity: Option<&Identity>) -> Vec<Told> {
    let headers = identity.into_iter().flat_map(|identity| &identity.headers);
    let mut told: Vec<_> =
        headers.map(|(name, value)| Told::new(name.as_str(), String::from_utf8_lossy(value.as_bytes()))).collect();
    told.push(Told::new(headers::AUTH_STATE_NAME.as_str(), if identity.is_some() { "authenticated" } else { "anonymous" }));
    told
}

/// Everything that is set on a request to the backend.
fn backend_gets(config: &Config, passage: &Passage, bytes: &[u8]) -> Vec<Told> {
    let mut told = of_caller(passage.identity.as_deref());
    let mut say = |name: &str, value: String| told.push(Told::new(&name.to_ascii_lowercase(), value));
    if config.identity.assertion && passage.identity.is_some() {
        say(headers::AUTH_ASSERTION, "(signed anew)".to_owned());
    }
    if config.upstream.shared_secret.is_some() {
        say(&config.upstream.shared_secret_header, "(upstream.shared_secret)".to_owned());
    }
    say("x-forwarded-for", passage.origin.ip.to_string());
    // Only a gate that reports lets it pass.
    if !passage.kept.iter().any(|field| bytes[field.name()].eq_ignore_ascii_case(b"x-real-ip")) {
        say("x-real-ip", passage.origin.ip.to_string());
    }
    say("x-forwarded-proto", if passage.origin.https { "https" } else { "http" }.to_owned());
    if let Some(host) = &passage.host {
        say("x-forwarded-host", String::from_utf8_lossy(host.as_bytes()).into_owned());
    }
    say("x-request-id", passage.request_id.clone().unwrap_or_else(|| "(made anew)".to_owned()));
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
