//! Compiles the dialects of the config, or reports everything that is wrong with them.

mod route;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderName, Method, StatusCode};

use super::{
    builtin,
    definition::{Dialect, DialectProblems, Route},
    error_template::{ErrorTemplate, SUBCODES},
    input::InputLocation,
    placeholder::{self, Placeholder},
    template::Template,
    text::Text,
    token_profile::TokenProfile,
    user_values::UserFormat,
};
use crate::{
    config::{
        Config, DialectAction, DialectConfig, DialectError, DialectKind, HumanDuration, nearest,
    },
    error::ErrorCode,
    policy::is_under,
    token::RESERVED_CLAIMS,
};

/// Claims that menshen sets in a refresh token inside a JWT.
const RESERVED_IN_REFRESH: [&str; 6] = ["iss", "sub", "iat", "exp", "jti", "token_use"];
/// Header fields that frame a response or describe its origin, which a dialect may not set.
const RESERVED_HEADERS: [&str; 16] = [
    "allow",
    "cache-control",
    "date",
    "pragma",
    "retry-after",
    "www-authenticate",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "upgrade",
    "trailer",
    "keep-alive",
    "x-menshen-error",
    "x-request-id",
];
/// With any leeway shorter than the retention of revocations.
const MAX_ACCESS_TTL: Duration = Duration::from_hours(7 * 24);

/// Every dialect of the config.
pub(super) fn all(config: &Config) -> Result<Vec<Dialect>, DialectProblems> {
    let mut problems = Vec::new();
    let mut dialects = Vec::new();
    for (n, given) in config.dialect.iter().enumerate() {
        let key = format!("dialect[{n}]");
        let mut compiler = Compiler {
            config,
            problems: &mut problems,
        };
        dialects.extend(
            compiler
                .dialect(given, n + 1, &key)
                .map(|dialect| (key, dialect)),
        );
    }
    check_conflicts(&dialects, config, &mut problems);
    if problems.is_empty() {
        Ok(dialects.into_iter().map(|(_, dialect)| dialect).collect())
    } else {
        Err(problems)
    }
}

/// Checks the dialects against each other: no path may have two meanings.
fn check_conflicts(
    dialects: &[(String, Dialect)],
    config: &Config,
    problems: &mut DialectProblems,
) {
    let mut seen: Vec<(&Method, &str)> = Vec::new();
    for (n, (key, dialect)) in dialects.iter().enumerate() {
        if dialects[..n]
            .iter()
            .any(|(_, other)| other.prefix == dialect.prefix)
        {
            let says = format!(
                "{:?} is the prefix of another dialect: rejections under it can have only one format",
                dialect.prefix
            );
            problems.push((format!("{key}.prefix"), says));
        }
        for Route {
            method,
            path,
            number,
            ..
        } in &dialect.routes
        {
            let is_custom = config
                .dialect
                .get(dialect.token_profile.number - 1)
                .is_some_and(|given| given.kind == DialectKind::Custom);
            let key = if is_custom {
                format!("{key}.route[{number}].path")
            } else {
                format!("{key}.prefix")
            };
            if is_under(path, &config.auth.prefix) {
                let says = format!(
                    "{method} {path} is under `auth.prefix`, where the auth API is: change one of the two prefixes"
                );
                problems.push((key, says));
            } else if seen.contains(&(method, path)) {
                problems.push((
                    key,
                    format!("{method} {path} is answered by another route already"),
                ));
            }
            seen.push((method, path));
        }
    }
}

struct Compiler<'a> {
    config: &'a Config,
    problems: &'a mut DialectProblems,
}

impl Compiler<'_> {
    fn add(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push((key.to_owned(), message.into()));
    }

    /// The value, or a problem of this key.
    fn or_problem<T>(&mut self, key: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.add(key, message)).ok()
    }

    fn dialect(&mut self, given: &DialectConfig, number: usize, key: &str) -> Option<Dialect> {
        if given.kind != DialectKind::Custom {
            let extra = [
                ("route", !given.route.is_empty()),
                ("error", !given.error.is_empty()),
            ];
            for (name, _) in extra.into_iter().filter(|(_, is_given)| *is_given) {
                let kind = given.kind.as_str();
                let says = format!(
                    "is for `kind = \"custom\"` only: `menshen dialect {kind}` prints {kind} as one"
                );
                self.add(&format!("{key}.{name}"), says);
            }
        }
        let merged = builtin::merged(given);
        let merged = self.or_problem(key, merged)?;
        if merged.route.is_empty() {
            self.add(key, "has no [[dialect.route]]: it would answer nothing");
        }
        if merged.error.iter().all(|error| !error.codes.is_empty()) {
            self.add(
                key,
                "has no [[dialect.error]] without `codes`: some rejections would have no format",
            );
        }
        let prefix = merged.prefix.clone().unwrap_or_default();
        let is_prefix = prefix.is_empty() || (is_plain(&prefix) && !prefix.ends_with('/'));
        if !is_prefix {
            let says = format!(
                "{prefix:?} is not a plain path: write it like /api/v1, of letters, digits, -, _ and ., or leave it empty"
            );
            self.add(&format!("{key}.prefix"), says);
        }
        let token_header = self.token_header(&merged, key);
        self.check_ttl(&merged, key);
        let messages = self.messages(&merged, key);
        let routes: Vec<_> = merged
            .route
            .iter()
            .enumerate()
            .filter_map(|(n, route)| self.route(route, n, &prefix, &format!("{key}.route[{n}]")))
            .collect();
        let errors = self.errors(&merged.error, key);
        let claims = self.claims(&merged.claims, &RESERVED_CLAIMS, &format!("{key}.claims"));
        let refresh_claims = self.claims(
            &merged.refresh_claims,
            &RESERVED_IN_REFRESH,
            &format!("{key}.refresh_claims"),
        );
        let uses = |placeholder| {
            routes.iter().any(|route| {
                route
                    .body
                    .as_ref()
                    .is_some_and(|body| body.uses(placeholder))
                    || route.headers.iter().any(|(_, text)| text.uses(placeholder))
            })
        };
        let names_openid = |claims: &[(String, Text)]| {
            claims
                .iter()
                .any(|(_, text)| text.uses(Placeholder::UserOpenid))
        };
        // A custom dialect shows the openid wherever it has the placeholder.
        let openid = merged.openid.unwrap_or(given.kind == DialectKind::Custom);
        let token_profile = TokenProfile {
            number,
            access_ttl: merged.access_ttl.map(HumanDuration::get),
            names_openid: openid
                && (uses(Placeholder::UserOpenid)
                    || names_openid(&claims)
                    || names_openid(&refresh_claims)),
            renews: routes
                .iter()
                .any(|route| route.action == DialectAction::Renew),
            wraps_refresh_token: uses(Placeholder::RefreshJwt),
            user_format: UserFormat {
                ids: self.config.users.ids,
                openid,
                phone: merged.phone.unwrap_or_default(),
                user_types: merged.user_types.clone(),
            },
            claims,
            refresh_claims,
        };
        is_prefix.then(|| Dialect {
            prefix,
            bare_token: merged.bare_token.unwrap_or(false),
            token_header,
            routes,
            token_profile: Arc::new(token_profile),
            errors,
            messages,
            language: merged.language.unwrap_or_default(),
        })
    }

    /// The header of `access_token`. The gate checks that it has no other meaning.
    fn token_header(&mut self, merged: &DialectConfig, key: &str) -> Option<HeaderName> {
        let text = merged.access_token.as_deref()?;
        let header = match InputLocation::parse(text) {
            Ok(InputLocation::Header(name)) => Ok(name),
            Ok(InputLocation::Body(_) | InputLocation::Query(_)) | Err(_) => Err(format!(
                "{text:?} is not a header: write it like header.X-Token"
            )),
        };
        self.or_problem(&format!("{key}.access_token"), header)
    }

    fn check_ttl(&mut self, merged: &DialectConfig, key: &str) {
        let Some(ttl) = merged.access_ttl else { return };
        let key = format!("{key}.access_ttl");
        let idle = self.config.tokens.idle_ttl;
        if ttl < HumanDuration::secs(1) {
            self.add(
                &key,
                format!("{ttl} is less than a second: no user could stay signed in"),
            );
        } else if ttl.get() > MAX_ACCESS_TTL {
            self.add(
                &key,
                format!("{ttl} is longer than a revocation is remembered: 7d at most"),
            );
        } else if ttl > idle {
            self.add(
                &key,
                format!("{ttl} is longer than `tokens.idle_ttl`, which is {idle}"),
            );
        }
    }

    fn messages(&mut self, merged: &DialectConfig, key: &str) -> BTreeMap<String, Text> {
        let mut messages = BTreeMap::new();
        for (code, text) in &merged.messages {
            let key = format!("{key}.messages.{code}");
            let known = self.known_code(code, &key);
            let text = self.or_problem(
                &key,
                Text::parse(text, &[placeholder::COMMON, placeholder::MESSAGE]),
            );
            if let (true, Some(text)) = (known, text) {
                messages.insert(code.clone(), text);
            }
        }
        messages
    }

    fn known_code(&mut self, code: &str, key: &str) -> bool {
        let all: Vec<_> = ErrorCode::ALL
            .iter()
            .map(|code| code.as_str())
            .chain(SUBCODES)
            .map(str::to_owned)
            .collect();
        let is_known = all.iter().any(|known| known == code);
        if !is_known {
            let near = nearest(code, &all).map_or_else(
                || "docs/errors.md has them all".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            self.add(key, format!("{code:?} is not an error code; {near}"));
        }
        is_known
    }

    fn claims(
        &mut self,
        claims: &BTreeMap<String, String>,
        reserved: &[&str],
        key: &str,
    ) -> Vec<(String, Text)> {
        let mut compiled = Vec::new();
        for (name, text) in claims {
            let key = format!("{key}.{name}");
            if reserved.contains(&name.as_str()) {
                self.add(
                    &key,
                    "is a claim of menshen's own, which no dialect changes",
                );
                continue;
            }
            let text = self.or_problem(
                &key,
                Text::parse(
                    text,
                    &[&[Placeholder::Now], placeholder::CLAIM, placeholder::USER],
                ),
            );
            compiled.extend(text.map(|text| (name.clone(), text)));
        }
        compiled
    }

    fn errors(&mut self, errors: &[DialectError], key: &str) -> Vec<ErrorTemplate> {
        let mut templates = Vec::new();
        for (n, error) in errors.iter().enumerate() {
            let key = format!("{key}.error[{n}]");
            for (m, code) in error.codes.iter().enumerate() {
                self.known_code(code, &format!("{key}.codes[{m}]"));
            }
            let status = self.status(error.status, 200..=599, &format!("{key}.status"));
            if status.is_some_and(has_no_body) {
                self.add(
                    &format!("{key}.status"),
                    "has no body, and a rejection has one",
                );
            }
            let allowed: &[_] = &[placeholder::COMMON, placeholder::REJECTION];
            let body = self.or_problem(
                &format!("{key}.body"),
                Template::parse(&error.body, allowed),
            );
            let item = error
                .item
                .as_deref()
                .map(|item| Template::parse(item, &[placeholder::FIELD]));
            let item = item.and_then(|item| self.or_problem(&format!("{key}.item"), item));
            let lists = body
                .as_ref()
                .is_some_and(|body| body.uses(Placeholder::Errors));
            if lists && error.item.is_none() {
                self.add(
                    &format!("{key}.body"),
                    "has `{errors}`, but there is no `item` for one of them",
                );
            }
            let headers = self.headers(
                &error.headers,
                &[placeholder::COMMON, placeholder::MESSAGE],
                &key,
            );
            if templates
                .iter()
                .any(|before: &ErrorTemplate| before.codes.is_empty())
            {
                self.add(
                    &key,
                    "is never reached: one before it, without `codes`, fits everything",
                );
            }
            templates.extend(body.map(|body| ErrorTemplate {
                codes: error.codes.clone(),
                status,
                headers,
                body,
                item,
            }));
        }
        templates
    }

    fn headers(
        &mut self,
        headers: &BTreeMap<String, String>,
        allowed: &[&[Placeholder]],
        key: &str,
    ) -> Vec<(HeaderName, Text)> {
        let mut compiled = Vec::new();
        for (name, text) in headers {
            let key = format!("{key}.headers.{name}");
            if text.chars().any(char::is_control) {
                self.add(
                    &key,
                    "has a control character, which no header field can have",
                );
            }
            let text = self.or_problem(&key, Text::parse(text, allowed));
            match HeaderName::try_from(name.as_str()) {
                Ok(name) if compiled.iter().any(|(known, _)| *known == name) => {
                    self.add(&key, "is given twice, in another case");
                }
                Ok(name) if RESERVED_HEADERS.contains(&name.as_str()) => {
                    self.add(&key, "is menshen's to set");
                }
                Ok(name) => compiled.extend(text.map(|text| (name, text))),
                Err(_) => self.add(&key, "is not the name of a header field"),
            }
        }
        compiled
    }

    /// The status of the config; `None` if it is not set, or not in this range.
    fn status(
        &mut self,
        status: Option<u32>,
        range: std::ops::RangeInclusive<u16>,
        key: &str,
    ) -> Option<StatusCode> {
        let number = status?;
        let status = u16::try_from(number)
            .ok()
            .filter(|number| range.contains(number))
            .and_then(|number| StatusCode::from_u16(number).ok());
        if status.is_none() {
            self.add(
                key,
                format!(
                    "{number} is not a status from {} to {}",
                    range.start(),
                    range.end()
                ),
            );
        }
        status
    }
}

fn has_no_body(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    )
}

/// Whether every server reads the path alike: segments of letters, digits, `-`, `_` and `.`, and
/// an optional slash at the end.
fn is_plain(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    rest.split('/').all(|segment| {
        let is_dots = segment.bytes().all(|b| b == b'.');
        !is_dots
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    })
}
