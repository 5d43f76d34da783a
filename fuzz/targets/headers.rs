//! No header that passes folds, under any folding, to a name that only menshen may set, or to one
//! that frames a message.
//!
//! Input: lines. The first may allow odd names (`server.allow_headers`, by commas), the second is
//! one more reserved name, the others are names that a client sends.

use menshen::{
    config::{Config, IdentityConfig, UpstreamAuthorization},
    policy::{DropReason, HeaderPolicy, HeaderVerdict},
};

use super::readers::fold;

/// Names that a client never sets, whatever the config says.
const NEVER: [&str; 16] = [
    "X-User-Id",
    "X-User-Type",
    "X-Session-Id",
    "X-Client-Type",
    "X-Auth-State",
    "X-Auth-Assertion",
    "X-Request-Id",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "Forwarded",
    "X-Real-IP",
    "X-Original-URL",
    "X-HTTP-Method-Override",
    "Proxy",
    "X-Middleware-Subrequest",
];
/// Beginnings of such.
const NEVER_BEGINS: [&str; 6] = [
    "X-User-",
    "X-Auth-",
    "X-Session-",
    "X-Client-",
    "X-Menshen-",
    "X-Forwarded-",
];
/// Endings of names that bring the client's address.
const NEVER_ENDS: [&str; 5] = [
    "-Connecting-IP",
    "-Client-IP",
    "-Real-IP",
    "-Src-IP",
    "-Forwarded-For",
];
/// What frames, routes or ends with the hop: it passes under its own name or not at all.
const OWN_NAME: [&str; 7] = [
    "Content-Length",
    "Transfer-Encoding",
    "Host",
    "Cookie",
    "Content-Type",
    "Expect",
    "Sec-WebSocket-Key",
];
const HOP_BY_HOP: [&str; 8] = [
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authorization",
    "TE",
    "Trailer",
    "Upgrade",
    "HTTP2-Settings",
];

/// A panic is a broken promise.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.split('\n');
    let allow: Vec<String> = lines
        .next()
        .unwrap_or_default()
        .split(',')
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect();
    let reserved = lines.next().unwrap_or_default();
    let mut identity = IdentityConfig::default();
    if !reserved.is_empty() {
        identity
            .headers
            .insert(reserved.to_owned(), "sub".to_owned());
    }
    let policies =
        [UpstreamAuthorization::Remove, UpstreamAuthorization::Keep].map(|authorization| {
            let mut config = Config {
                identity: identity.clone(),
                ..Config::default()
            };
            config.server.allow_headers.clone_from(&allow);
            config.upstream.authorization = authorization;
            HeaderPolicy::compile(&config)
        });
    let names: Vec<&str> = lines.take(64).collect();
    for (keeps, policy) in policies.into_iter().enumerate() {
        let Ok(policy) = policy else { continue };
        for name in &names {
            judge(&policy, name, reserved, &allow, keeps == 1);
        }
    }
}

fn judge(
    policy: &HeaderPolicy,
    name: &str,
    reserved: &str,
    allow: &[String],
    keeps_authorization: bool,
) {
    let verdict = policy.verdict(name);
    let folded = fold(name.as_bytes());
    let is = |known: &str| folded == fold(known.as_bytes());
    let begins = |known: &str| folded.starts_with(&fold(known.as_bytes()));
    if is(reserved) && !reserved.is_empty() {
        assert_eq!(
            verdict,
            HeaderVerdict::Drop(DropReason::Reserved),
            "{name:?} is {reserved:?}"
        );
    }
    if verdict != HeaderVerdict::Pass {
        return;
    }
    assert!(!name.is_empty());
    for never in NEVER {
        assert!(!is(never), "{name:?} passes as {never}");
    }
    for never in NEVER_BEGINS {
        assert!(!begins(never), "{name:?} passes under {never}");
    }
    for never in NEVER_ENDS {
        assert!(
            !folded.ends_with(&fold(never.as_bytes())),
            "{name:?} passes with {never}"
        );
    }
    for own in OWN_NAME {
        assert!(
            !is(own) || name.eq_ignore_ascii_case(own),
            "{name:?} passes as {own}"
        );
    }
    for hop in HOP_BY_HOP {
        assert!(!is(hop), "{name:?} passes as {hop}");
    }
    assert!(
        !is("Authorization") || (keeps_authorization && name.eq_ignore_ascii_case("authorization")),
        "{name:?}"
    );
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_allowed = allow
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(name));
    assert!(is_plain || is_allowed, "{name:?} is odd and passes");
}
