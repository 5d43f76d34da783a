//! The texts of explanations.

use crate::{
    auth::Identity,
    config::{Access, RuleConfig},
    error::ErrorCode,
    gate::RemovalReason,
    policy::{DropReason, HeaderVerdict, Rule, RuleOutcome},
};

/// A valid head.
pub(super) const SOUND: &str = "sound";
/// A path with one reading.
pub(super) const ONE_READING: &str = "one reading";

/// A path with several readings that its rule allows.
pub(super) const ALLOWED_READINGS: &str = "decoded once or twice it is another, which comes to the same rule, and that allows it (allow_encoded)";

/// What a rule requires.
pub(super) fn describe_access(rule: &Rule) -> String {
    match rule.access {
        Access::Public => "public: no token is needed, and none is read".to_owned(),
        Access::Deny => "deny: no request passes".to_owned(),
        Access::Optional if rule.bad_token_is_anonymous => {
            "optional: a token, if there is a good one".to_owned()
        }
        Access::Optional => "optional: a token or none, but no bad one".to_owned(),
        Access::Required => {
            let types = one_of(
                "user type",
                rule.user_types
                    .iter()
                    .map(|wanted| wanted.as_str().to_owned()),
            );
            let roles = one_of("role", rule.roles.iter().cloned());
            let claims = rule
                .claims
                .iter()
                .map(|(name, values)| one_of(&format!("claim {name}"), values.iter().cloned()));
            format!(
                "required: a valid token{types}{roles}{}",
                claims.collect::<String>()
            )
        }
    }
}

fn one_of(what: &str, names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(", {what} {}", names.join(" or "))
    }
}

/// Why a rule decides, or why not.
pub(super) fn describe_outcome(outcome: RuleOutcome, rule: Option<&RuleConfig>) -> String {
    // Nothing for the default rule.
    let covers = rule.map(RuleConfig::methods_and_path).unwrap_or_default();
    match outcome {
        RuleOutcome::Decides if rule.is_none() => "no other rule matches".to_owned(),
        RuleOutcome::Decides => format!("{covers} is the first that matches"),
        RuleOutcome::DecidesLeniently => {
            format!(
                "{covers} matches for a backend that {IGNORES}, and is stricter than the first that matches exactly"
            )
        }
        RuleOutcome::AsksToo => {
            format!("{covers} matches for a backend that {IGNORES}, so its users are asked for too")
        }
        RuleOutcome::Yields if rule.is_none() => "an earlier rule is stricter".to_owned(),
        RuleOutcome::Yields => format!("{covers} matches, but an earlier rule is stricter"),
        RuleOutcome::Lenient => {
            format!("{covers} matches only for a backend that {IGNORES}, which opens nothing")
        }
        RuleOutcome::Method => format!("another method: it is for {covers}"),
        RuleOutcome::Path => format!("another path: it is for {covers}"),
        RuleOutcome::PathAndMethod => format!("another path and method: it is for {covers}"),
        RuleOutcome::Later => "a rule before it matches".to_owned(),
    }
}

/// What lenient backends do.
const IGNORES: &str = "ignores case, encoding, a slash at the end, blanks around a name or dots at its end, or takes HEAD for GET";

/// Why the rule rejects a request.
pub(super) fn describe_rejection(code: ErrorCode, rule: &Rule, user: Option<&Identity>) -> String {
    match (code, user) {
        (ErrorCode::TokenMissing, _) => {
            "the rule needs a token, and the request has none".to_owned()
        }
        (ErrorCode::Forbidden, _) if rule.access == Access::Deny => {
            "no request passes here".to_owned()
        }
        (ErrorCode::Forbidden, Some(user)) => {
            let claims = &user.claims;
            let roles = one_of(
                "roles",
                std::iter::once(claims.roles().join(", ")).filter(|roles| !roles.is_empty()),
            );
            format!(
                "the token is good, but user {} (type {}{roles}) does not meet the rule's requirements",
                claims.sub().as_str(),
                claims.user_type().as_str()
            )
        }
        (_, _) => "the token is not good".to_owned(),
    }
}

/// What happens to a cookie that carries a token.
const COOKIE: &str =
    "the cookie with the token is removed; the others are forwarded (token_cookie)";

/// Why the backend does not get a header.
pub(super) const fn describe_removal(reason: RemovalReason, websocket: bool) -> &'static str {
    match reason {
        RemovalReason::TokenCookie => COOKIE,
        RemovalReason::Connection => {
            "the Connection header names it: it is for this connection only"
        }
        RemovalReason::Name(verdict) => describe_verdict(verdict, websocket),
    }
}

const fn describe_verdict(verdict: HeaderVerdict, websocket: bool) -> &'static str {
    match verdict {
        HeaderVerdict::Pass => "it passes",
        HeaderVerdict::Handshake if websocket => "replaced for the WebSocket handshake",
        HeaderVerdict::Handshake | HeaderVerdict::Drop(DropReason::HopByHop) => {
            "for this connection only"
        }
        HeaderVerdict::Drop(DropReason::Reserved) => "only menshen may set it",
        HeaderVerdict::Drop(DropReason::ReservedPrefix) => {
            "begins as identity.reserved_prefixes has it"
        }
        HeaderVerdict::Drop(DropReason::Forwarding) => "only menshen may set forwarding headers",
        HeaderVerdict::Drop(DropReason::ClientAddress) => {
            "only menshen may set the client's address"
        }
        HeaderVerdict::Drop(DropReason::Override) => {
            "could give the backend another path, method or internal state"
        }
        HeaderVerdict::Drop(DropReason::WechatCloud) => {
            "only WeChat's cloud vouches for it (identity.wechat_cloud_headers)"
        }
        HeaderVerdict::Drop(DropReason::Credential) => {
            "the credential has been checked (upstream.authorization)"
        }
        HeaderVerdict::Drop(DropReason::OddName) => {
            "backends fold a sign in its name (server.allow_headers)"
        }
    }
}
